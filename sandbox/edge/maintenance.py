"""What a Worker named ops-maintenance answers, as its source does, for a runtime without JavaScript.

Its source is not here, and the real runtime runs it: a test holds the two against each other.
"""

import html
import json
import math
from datetime import datetime
from typing import Any
from urllib.parse import quote

from sandbox.cloudflare.workers.state import Version
from sandbox.server import Request, Response

NAME = "ops-maintenance"
_OTHERWISE: dict[str, Any] = {"message": "This service is off for maintenance. Please try again later.", "until": ""}
_RETRY_AFTER = 600
_CORS = [("access-control-allow-origin", "*"), ("access-control-expose-headers", "ops-maintenance, retry-after")]


def answer(version: Version, request: Request, now: datetime) -> Response:
    run = version.upload.plain_text("RUN") or ""
    if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
        return Response(status=204, headers=[*_preflight(request), ("ops-maintenance", run)])
    block = _block(version, request) or _OTHERWISE
    left = (datetime.fromisoformat(block["until"]) - now).total_seconds() if block["until"] else 0
    as_html = "text/html" in request.headers.get("accept", "")
    body = _page(block["message"]) if as_html else json.dumps({"error": "maintenance", "message": block["message"]})
    return Response(
        status=503,
        headers=[
            *_CORS,
            ("cache-control", "no-store"),
            ("content-type", "text/html; charset=utf-8" if as_html else "application/json"),
            ("ops-maintenance", run),
            ("retry-after", str(math.ceil(left) if left > 0 else _RETRY_AFTER)),
            ("vary", "accept"),
        ],
        body=body.encode(),
    )


def _preflight(request: Request) -> list[tuple[str, str]]:
    return [
        *_CORS,
        ("access-control-allow-headers", request.headers.get("access-control-request-headers", "*")),
        ("access-control-allow-methods", request.headers["access-control-request-method"]),
        ("access-control-max-age", "0"),
        ("cache-control", "no-store"),
    ]


def _block(version: Version, request: Request) -> dict[str, Any] | None:
    host, path = request.headers.get("host", "").partition(":")[0], quote(request.path, safe="/%:@!$&'()*+,;=~")
    named = [b for b in version.upload.bindings if b["type"] == "json" and b["name"].startswith("BLOCK_")]
    blocks = [b["json"] for b in named if any(_is_at(closed[1], host) for closed in b["json"]["closed"])]
    return max((b for b in blocks if path.startswith(b["path"])), key=lambda b: len(b["path"]), default=None)


def _is_at(pattern: str, host: str) -> bool:
    own = pattern.partition("/")[0]
    return host.endswith(own[1:]) if own.startswith("*") else host == own


def _page(message: str) -> str:
    return f"<!doctype html><title>Maintenance</title><h1>Maintenance</h1><p>{html.escape(message)}</p>"
