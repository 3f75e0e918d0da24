"""Find out whether a server answers this machine, without judging its content."""

import httpx

from ops.core.verdict import Assertion, Verdict
from ops.probes.challenge import detect_challenge
from ops.probes.http import ProbeClient, detect_maintenance

UNREACHABLE = "could not be reached"


def find_obstacle(web: ProbeClient, url: str) -> Assertion | None:
    """Return the reason why the service does not answer this machine itself; None if it does.

    Unhealthy: no connection. Inconclusive: a challenge, which has a hint, or maintenance mode.
    """
    try:
        response, body = web.fetch(url)
    except httpx.RequestError as error:
        return Assertion("answer", Verdict.UNHEALTHY, f"{UNREACHABLE} ({type(error).__name__})")
    challenged = detect_challenge(response.status_code, response.headers, body)
    return challenged or detect_maintenance(response.status_code, response.headers)


def find_download_problem(web: ProbeClient, url: str) -> str:
    """Return why a file cannot be downloaded; empty if the server offers it. Only the head is requested."""
    try:
        response, _ = web.send("HEAD", url)
    except httpx.RequestError as error:
        return f"{UNREACHABLE} ({type(error).__name__})"
    return "" if response.status_code < 400 else f"answered with status {response.status_code}"
