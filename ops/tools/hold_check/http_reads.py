"""Read JSON with a token, from the provider itself or from this machine."""

import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import Any
from urllib import parse, request

from ops.tools.hold_check.values import Environ, UsageError

TIMEOUT, MAX_BYTES = 10.0, 30_000_000
"""Seconds of a request, and the largest answer that is read."""


class _AsItIs(request.HTTPErrorProcessor):
    """Returns each answer. A redirect would send the token to another address."""

    def http_response(self, _request: request.Request, response: Any) -> Any:
        return response

    https_response = http_response  # type: ignore[assignment]


def fetch_for_hold_check(
    url: str, headers: Mapping[str, str], query: Mapping[str, Any] | None = None
) -> tuple[int, Any]:
    """Return status and JSON of the answer; status 0 without an answer, None without JSON. It is sent twice at most.

    `query` is one of GraphQL, which only reads.
    """
    body = None if query is None else json.dumps(query).encode()
    sent = request.Request(url, body, {**headers, "User-Agent": "backout-hold-check"})  # noqa: S310
    opener, status, answered = request.build_opener(_AsItIs), 0, b""
    for attempt in range(2):
        time.sleep(attempt)
        with suppress(OSError, ValueError, HTTPException), opener.open(sent, timeout=TIMEOUT) as answer:
            status, answered = answer.status, answer.read(MAX_BYTES)
        if status not in {0, 429, 500, 502, 503, 504}:
            break
    try:
        return status, json.loads(answered)
    except ValueError:
        return status, None


def read_held_site(host: str, environ: Environ) -> bytes | None:
    """Return the front page of a host of Pages; None if it does not answer 200. It sends no token.

    Access and redirects are no answer. A sandbox's edge on this machine may stand for Cloudflare's.
    """
    if not re.fullmatch(r"[a-z0-9.-]+\.pages\.dev", host):
        return None
    edge = (environ.get("OPS_EDGE_URL") or "").rstrip("/")
    url = f"{edge}/" if is_loopback(edge) else f"https://{host}/"
    sent = request.Request(url, headers={"Host": host, "User-Agent": "backout-hold-check", "Cache-Control": "no-cache"})  # noqa: S310
    with (
        suppress(OSError, ValueError, HTTPException),
        request.build_opener(_AsItIs).open(sent, timeout=TIMEOUT) as answer,
    ):
        if answer.status == 200:
            return bytes(answer.read(MAX_BYTES))
    return None


def github_api(environ: Environ) -> str:
    """Return the URL of GitHub's API: that of the job's server, or of this machine. Raises UsageError."""
    api = (environ.get("GITHUB_API_URL") or "https://api.github.com").rstrip("/")
    server = parse.urlsplit(environ.get("GITHUB_SERVER_URL") or "https://github.com").hostname
    parts = parse.urlsplit(api)
    is_own = parts.scheme == "https" and parts.hostname in {server, f"api.{server}"} and "@" not in parts.netloc
    if not is_own and not is_loopback(api):
        raise UsageError("GITHUB_API_URL is not the API of GITHUB_SERVER_URL", "Leave both as GitHub sets them.")
    return api


def is_loopback(url: str) -> bool:
    parts = parse.urlsplit(url)
    return parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost"} and "@" not in parts.netloc
