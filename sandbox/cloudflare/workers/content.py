"""Code to be read back: of one version, with its settings, and of the script."""

import base64
import uuid
from typing import Any

from sandbox.clock import timestamp
from sandbox.cloudflare.body import invalid
from sandbox.cloudflare.routes import Answer, Call, Routes
from sandbox.cloudflare.tokens.state import SCRIPTS_READ
from sandbox.cloudflare.workers.state import Module, Upload, Version
from sandbox.cloudflare.workers.versions import detail, find_version
from sandbox.server import Response

ROUTES = Routes()


@ROUTES.add("GET", "/accounts/{account}/workers/workers/{script}/versions/{version}", SCRIPTS_READ)
def get_version(call: Call) -> Answer:
    """Of any version, and with `include=modules` its code: no other call answers code that is history.

    developers.cloudflare.com/api/resources/workers/subresources/beta/subresources/workers/subresources/versions
    """
    version = find_version(call.worker, call.parameters["version"])
    asked = call.request.query.get("include")
    if asked not in {None, "modules"}:
        raise invalid("query.include", 'must be "modules"')
    return Answer(_shown(call, version) | ({"modules": _modules(version.upload)} if asked else {}))


def _shown(call: Call, version: Version) -> dict[str, Any]:
    """Flat, where the older API has `resources` and `metadata`."""
    upload = version.upload
    resources = detail(version, call.worker, call.account.switches)["resources"]
    return {
        "id": version.id,
        "number": version.number,
        "created_on": timestamp(version.created_on),
        "author_email": version.author_email,
        "source": version.source,
        "annotations": version.annotations,
        "urls": [],
        "main_module": upload.main_module,
        "bindings": resources["bindings"],
        "cache_options": upload.cache_options,
        "containers": upload.containers,
        "startup_time_ms": 1,
        **({"placement": upload.placement} if upload.placement else {}),
        **resources["script_runtime"],
    }


def _modules(upload: Upload) -> list[dict[str, str]]:
    return [
        {
            "name": module.name,
            "content_type": module.content_type,
            "content_base64": base64.b64encode(module.content).decode(),
        }
        for module in upload.modules
    ]


@ROUTES.add("GET", "/accounts/{account}/workers/scripts/{script}/content/v2", SCRIPTS_READ)
def get_content(call: Call) -> Response:
    """A form with a part for each module; a header names the one that is the main one.

    developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/content/methods/get
    """
    worker = call.worker
    assert worker.latest is not None
    deployed = max(worker.live, key=worker.number, default=worker.latest.id)
    chosen = deployed if call.account.switches.content_of_deployed else worker.latest.id
    upload, boundary = worker.versions[chosen].upload, uuid.uuid4().hex
    body = b"".join(_part(module, boundary) for module in upload.modules) + f"--{boundary}--\r\n".encode()
    content_type = f"multipart/form-data; boundary={boundary}"
    return Response(headers=[("content-type", content_type), ("cf-entrypoint", upload.main_module)], body=body)


def _part(module: Module, boundary: str) -> bytes:
    name = module.name.replace("\\", "\\\\").replace('"', '\\"')
    head = f'content-disposition: form-data; name="{name}"; filename="{name}"\r\ncontent-type: {module.content_type}'
    return f"--{boundary}\r\n{head}\r\n\r\n".encode() + module.content + b"\r\n"
