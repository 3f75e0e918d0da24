"""Request a URL once and return the answer, or why the service itself did not answer."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from ops.probes.challenge import detect_challenge
from ops.probes.http import ProbeClient


@dataclass(frozen=True)
class HttpAnswer:
    status: int = 0
    """0 without an answer of the service."""
    content_type: str = ""
    """Media type in lower case, without parameters."""
    redirect_host: str = ""
    """Host of the `location` header."""
    body: bytes = b""
    problem: str = ""
    """Why the service itself did not answer: no connection, a challenge, a login page."""


def request_once(web: ProbeClient, url: str) -> HttpAnswer:
    try:
        response, body = web.fetch(url)
    except httpx.RequestError as error:
        return HttpAnswer(problem=f"{url} could not be reached from this machine ({type(error).__name__})")
    headers = response.headers
    if challenged := detect_challenge(response.status_code, headers, body):
        return HttpAnswer(problem=f"{url}: {challenged.detail}")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return HttpAnswer(response.status_code, kind, _host(headers.get("location", "")), body)


def _host(location: str) -> str:
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        return ""
    return host if host.isascii() and host.isprintable() else ""
