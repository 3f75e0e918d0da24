"""Multipart forms: parse a downloaded script, and build the metadata of an upload.

developers.cloudflare.com/workers/configuration/multipart-upload-metadata
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops.cloudflare.types.script import WorkerCode, WorkerModule
from ops.cloudflare.types.workers import SECRET_BINDING_TYPES
from ops.core.redaction import Secret


@dataclass(frozen=True)
class ScriptContent:
    """Content of a script. The header `cf-entrypoint` names its main module."""

    main_module: str
    modules: tuple[WorkerModule, ...]


def parse_form(headers: Mapping[str, str], body: bytes) -> ScriptContent:
    """Parse a script download. `headers` have lower-case names. Raises ValueError."""
    import email.parser
    import email.policy
    from email.message import Message

    head = f"content-type: {headers.get('content-type', '')}\r\n\r\n".encode("latin-1", "replace")
    message = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(head + body)
    if not message.is_multipart() or message.defects:
        raise ValueError("not a multipart form")
    modules = []
    parts = message.get_payload()
    for part in parts if isinstance(parts, list) else []:
        assert isinstance(part, Message)
        name, content = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if part.defects or not isinstance(name, str) or not name or not isinstance(content, bytes):
            raise ValueError("a part without a name, or an unreadable part")
        modules.append(WorkerModule(name, part.get_content_type(), content))
    if len({module.name for module in modules}) < len(modules):
        raise ValueError("two parts with the same name")
    return ScriptContent(headers.get("cf-entrypoint", ""), tuple(modules))


def build_upload_metadata(
    code: WorkerCode, edits: Mapping[str, Secret], *, message: str, tag: str = ""
) -> dict[str, Any]:
    """Return the metadata of an upload: bindings of `code`, new values for `edits`, other secrets inherited.

    Only the latest upload can be inherited from, whichever version is live: another version ID is refused (10057).
    """
    own = [dict(binding) for binding in code.bindings if binding["type"] not in SECRET_BINDING_TYPES]
    new = [{"type": "secret_text", "name": name, "text": value.reveal()} for name, value in edits.items()]
    others = sorted(code.secret_names - edits.keys())
    inherited = [{"type": "inherit", "name": name, "version_id": "latest"} for name in others]
    return {
        "main_module": code.main_module,
        "bindings": [*own, *new, *inherited],
        **code.settings,
        "annotations": {"workers/message": message, **({"workers/tag": tag} if tag else {})},
    }
