"""Request a URL once, and find out whether the service itself answers this machine."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from ops.core.verdict import Assertion, Verdict
from ops.probes.challenge import detect_challenge
from ops.probes.http import ProbeClient, detect_maintenance

UNREACHABLE = "could not be reached"


@dataclass(frozen=True)
class HttpAnswer:
    """The answer of a service; only `obstacle` is set if the service itself did not answer."""

    status: int = 0
    content_type: str = ""
    """Media type in lower case, without parameters."""
    redirect_host: str = ""
    """Host of the `location` header."""
    body: bytes = b""
    obstacle: Assertion | None = None
    """Unhealthy: no connection. Inconclusive: a challenge, which has a hint, or maintenance mode."""


def request_once(web: ProbeClient, url: str) -> HttpAnswer:
    try:
        response, body = web.fetch(url)
    except httpx.RequestError as error:
        return HttpAnswer(obstacle=Assertion("answer", Verdict.UNHEALTHY, _unreachable(error)))
    status, headers = response.status_code, response.headers
    if obstacle := detect_challenge(status, headers, body) or detect_maintenance(status, headers):
        return HttpAnswer(obstacle=obstacle)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return HttpAnswer(status, kind, _host(headers.get("location", "")), body)


def find_download_problem(web: ProbeClient, url: str) -> str:
    """Return why a file cannot be downloaded; empty if the server offers it. Only the head is requested."""
    try:
        response, _ = web.send("HEAD", url)
    except httpx.RequestError as error:
        return _unreachable(error)
    return "" if response.status_code < 400 else f"answered with status {response.status_code}"


def _unreachable(error: httpx.RequestError) -> str:
    return f"{UNREACHABLE} ({type(error).__name__})"


def _host(location: str) -> str:
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        return ""
    return host if host.isascii() and host.isprintable() else ""
