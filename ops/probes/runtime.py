"""Read the application's endpoint /__ops/runtime (docs/reference/runtime-contract.md)."""

import httpx

from ops.core.runtime_contract import RUNTIME_PATH, RuntimeState, parse_runtime_state
from ops.probes.challenge import detect_challenge
from ops.probes.http import ProbeClient


def read_runtime_state(web: ProbeClient, url: str) -> RuntimeState | str:
    """What the service at `url` shows at the location that answers; or why that is not known, for people."""
    where = f"{url}{RUNTIME_PATH}"
    try:
        response, body = web.fetch(where)
    except httpx.RequestError as error:
        return f"{where} could not be reached ({type(error).__name__})"
    if challenged := detect_challenge(response.status_code, response.headers, body):
        return f"{where} could not be read: {challenged.detail}"
    if response.status_code != 200:
        return f"{where} returned HTTP {response.status_code}"
    try:
        return parse_runtime_state(body.decode())
    except ValueError as error:
        return f"the response of {where} is invalid: {error}"
