"""What an upload is made of, where somebody seeds one from Python."""

from collections.abc import Iterator, Mapping

from sandbox.cloudflare.workers.state import Module

MAIN = "index.js"


def module(code: str) -> Module:
    return Module(name=MAIN, content_type="application/javascript+module", content=code.encode())


def bindings(vars: Mapping[str, str], *, version_metadata: bool) -> Iterator[Mapping[str, str]]:  # noqa: A002
    for name, text in vars.items():
        yield {"type": "plain_text", "name": name, "text": text}
    if version_metadata:
        yield {"type": "version_metadata", "name": "CF_VERSION_METADATA"}
