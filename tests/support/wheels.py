"""Wheels made for a test, and a package index on loopback that serves them."""

import base64
import gzip
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def wheel(name: str, files: Mapping[str, str], tag: str = "py3-none-any") -> bytes:
    """Return a wheel of version 1.0. Files in `….data/scripts` or with the suffix .sh are executable."""
    info = f"{name}-1.0.dist-info"
    inside = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},"
        for path, text in inside.items()
    ]
    inside[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path, text in inside.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if path.endswith(".sh") else 0o100644) << 16
            archive.writestr(entry, text)
    return written.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def lock(pins: Mapping[str, list[bytes]]) -> str:
    """Return a lock file in uv's format: name → content of each allowed wheel."""
    return "".join(
        f"{name}==1.0 \\\n"
        + " \\\n".join(f"    --hash=sha256:{sha256(each)}" for each in contents)
        + "\n    # via us\n"
        for name, contents in pins.items()
    )


@dataclass
class PackageIndex:
    """A package index, and the paths requested from it."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Package → file name → content."""
    served: dict[str, bytes] = field(default_factory=dict)
    """File name → content that differs from the one on the page."""
    other: dict[str, bytes] = field(default_factory=dict)
    """Path → content, such as an archive."""
    has_hashes: bool = True
    packs: bool = False
    """Whether it answers with gzip to clients that accept it, as PyPI does."""
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> bytes | None:
        self.asked.append(path)
        kind, _, rest = path.strip("/").partition("/")
        if kind == "simple" and rest in self.files:
            return "".join(map(self._link, self.files[rest].items())).encode()
        if kind == "files":
            name = rest.partition("/")[2]
            return self.served.get(name) or self.files[rest.partition("/")[0]].get(name)
        return self.other.get(path)

    def _link(self, file: tuple[str, bytes]) -> str:
        name, content = file
        fragment = f"#sha256={sha256(content)}" if self.has_hashes else ""
        package = name.partition("-")[0].replace("_", "-")
        return f'<a data-requires-python="&gt;=3.8" href="../../files/{package}/{name}{fragment}">{name}</a><br/>\n'


@contextmanager
def index() -> Iterator[PackageIndex]:
    offered = PackageIndex()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = offered.answer(self.path)
            is_packed = offered.packs and content is not None and "gzip" in self.headers.get("Accept-Encoding", "")
            content = gzip.compress(content) if is_packed and content else content
            self.send_response(404 if content is None else 200)
            if is_packed:
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Type", "text/html" if "/simple/" in self.path else "application/octet-stream")
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        offered.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield offered
        finally:
            server.shutdown()
