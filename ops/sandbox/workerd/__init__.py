"""The real runtime behind the edge: each version that is asked for runs in a workerd of its own, through miniflare."""

import base64
import http.client
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ops import nodejs
from ops.sandbox.edge import Running
from ops.sandbox.embedded import version_metadata
from ops.sandbox.server import Request, Response
from ops.sandbox.workers import SOURCE_MAP, Upload

_HOST = Path(__file__).parent / "host.mjs"
_HOP_BY_HOP = {"connection", "content-length", "keep-alive", "transfer-encoding"}
_PATIENCE = 5.0
"""Seconds that Node has to end of its own accord."""

# developers.cloudflare.com/workers/configuration/multipart-upload-metadata → miniflare's names of module types
_MODULE_TYPES = {
    "application/javascript+module": "ESModule",
    "application/javascript": "CommonJS",
    "application/wasm": "CompiledWasm",
    "application/octet-stream": "Data",
    "text/plain": "Text",
}

# Type of binding → the option of miniflare that makes it, and what the option says of one binding.
_BINDINGS: dict[str, tuple[str, Callable[[Mapping[str, Any]], Any]]] = {
    "plain_text": ("bindings", lambda binding: binding["text"]),
    "json": ("bindings", lambda binding: binding["json"]),
    "kv_namespace": ("kvNamespaces", lambda binding: binding["namespace_id"]),
    "d1": ("d1Databases", lambda binding: binding["id"]),
    "r2_bucket": ("r2Buckets", lambda binding: binding["bucket_name"]),
    "queue": ("queueProducers", lambda binding: binding["queue_name"]),
    "durable_object_namespace": (
        "durableObjects",
        lambda binding: {"className": binding["class_name"], "useSQLite": True},
    ),
    "ratelimit": ("ratelimits", lambda binding: {key: binding[key] for key in ("namespace_id", "simple")}),
}


class NotStartedError(Exception):
    """Code that workerd does not take. Cloudflare would have refused its upload."""


class Workerd:
    """Starts Node at the first request, and a version at the first request for it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sandbox-workerd-", ignore_cleanup_errors=True)
        self._lock = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[str] | None = None
        self._urls: dict[tuple[str, frozenset[tuple[str, str]]], str] = {}

    def serve(self, running: Running, request: Request) -> Response:
        try:
            return _forward(request, self._url(running))
        except NotStartedError as error:
            return _failure(500, f"{running.worker} does not start in workerd: {error}")
        except (OSError, http.client.HTTPException) as error:
            return _failure(502, f"workerd gave no answer: {error!r}")

    def close(self) -> None:
        """Node ends when its stdin does, as it would without us; the group is what it may have left behind."""
        with self._lock:
            self._closed = True
        if self._process:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process.stdout.close()
        self._folder.cleanup()

    def _url(self, running: Running) -> str:
        key = (running.version.id, frozenset(running.secrets.items()))
        with self._lock:
            if self._closed:
                raise NotStartedError("the sandbox is stopping")
            if key not in self._urls:
                self._urls[key] = self._start(_options(running))
            return self._urls[key]

    def _start(self, options: Mapping[str, Any]) -> str:
        process = self._process = self._process or self._node()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({**options, "resourcePersistencePath": f"{self._folder.name}/state"}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline() or '{"error": "Node ended"}')
        if "error" in answer:
            raise NotStartedError(answer["error"])
        return str(answer["url"])

    def _node(self) -> subprocess.Popen[str]:
        """With a home of its own and nothing of our environment but PATH: uploaded code sees no secret of ours."""
        return subprocess.Popen(
            [str(nodejs.node()), str(_HOST)],
            cwd=nodejs.install(),
            env={"PATH": os.environ.get("PATH", ""), "HOME": self._folder.name, "TMPDIR": self._folder.name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def _options(running: Running) -> dict[str, Any]:
    """A binding of a type that miniflare does not know is left out."""
    upload = running.version.upload
    options: dict[str, Any] = {
        "name": running.worker,
        "modules": _modules(upload),
        "compatibilityDate": upload.compatibility_date,
        "compatibilityFlags": upload.compatibility_flags,
        "bindings": dict(running.secrets),
    }
    for binding in upload.bindings:
        if binding["type"] == "version_metadata":
            options["bindings"][binding["name"]] = version_metadata(running.version)
        elif binding["type"] in _BINDINGS:
            option, value = _BINDINGS[binding["type"]]
            options.setdefault(option, {})[binding["name"]] = value(binding)
    return options


def _modules(upload: Upload) -> list[dict[str, str]]:
    """The main module first: miniflare takes it for the entry."""
    modules = sorted(upload.modules, key=lambda module: module.name != upload.main_module)
    return [
        {
            "type": _MODULE_TYPES[module.content_type],
            "path": module.name,
            "contents": base64.b64encode(module.content).decode(),
        }
        for module in modules
        if module.content_type != SOURCE_MAP
    ]


def _forward(request: Request, url: str) -> Response:
    """The request as it came, Host included: it is what the Worker sees as its URL."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc)) as connection:
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name.lower() not in _HOP_BY_HOP - {"content-length"}:
                connection.putheader(name, value)
        connection.endheaders(request.body)
        answer = connection.getresponse()
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
        return Response(status=answer.status, headers=headers, body=answer.read())


def _failure(status: int, text: str) -> Response:
    return Response(status=status, headers=[("content-type", "text/plain")], body=text.encode())
