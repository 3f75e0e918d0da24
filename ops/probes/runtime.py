"""Use the application's own endpoints below /__ops (docs/reference/runtime-contract.md).

One shows its state. The other counts requests against a rate limit, apart from those of users.
"""

from typing import TYPE_CHECKING

import httpx

from ops.core.runtime_contract import LIMIT_PROBE_PATH, RUNTIME_PATH, RuntimeState, parse_runtime_state
from ops.core.verdict import Assertion, ProbeResult, RateLimitCheck, Verdict
from ops.probes.edge_answer import describe_cache, describe_no_proof, detect_challenge

if TYPE_CHECKING:
    from ops.probes.http import ProbeClient

MAX_COUNTERS = 4
"""Counters to try: an earlier proof uses one up until its window ends, and the mark chooses one of 16."""


def read_runtime_state(web: "ProbeClient", url: str) -> RuntimeState | str:
    """Return the state that the service shows at the location that answers; or why it is unknown, for people."""
    where = f"{url}{RUNTIME_PATH}"
    try:
        response, body = web.fetch(where)
    except httpx.RequestError as error:
        return f"{where} could not be reached ({type(error).__name__})"
    if challenged := detect_challenge(response.status_code, response.headers, body):
        return f"{where} could not be read: {challenged.detail}"
    if cached := describe_cache(response.headers):
        return f"{where} could not be read: {describe_no_proof(cached)}"
    if response.status_code != 200:
        return f"{where} returned HTTP {response.status_code}"
    try:
        return parse_runtime_state(body.decode())
    except ValueError as error:
        return f"the response of {where} is invalid: {error}"


def prove_rate_limit(web: "ProbeClient", url: str, proof: RateLimitCheck) -> ProbeResult:
    """Send up to twice the limit, one request after the other.

    With fixed windows, the first 429 follows after `limit` requests and at most twice as many. An earlier one, or none,
    proves nothing. After a 429 at the first request, another counter is tried.
    """
    found = _find_first_429(web, url, proof)
    verdict = Verdict.HEALTHY if found.verdict == Verdict.HEALTHY else Verdict.INCONCLUSIVE
    return ProbeResult(f"limit {proof.name}", verdict, (found,), proves_health=False)


def _find_first_429(web: "ProbeClient", url: str, proof: RateLimitCheck) -> Assertion:
    wanted = f"wanted between request {proof.limit + 1} and {2 * proof.limit}"
    address = f"{url}{LIMIT_PROBE_PATH}{proof.name}"
    mark, *spare_marks = (proof.mark, *(f"{proof.mark}-{number}" for number in range(2, MAX_COUNTERS + 1)))
    for number in range(1, 2 * proof.limit + 1):
        try:
            response, body = web.fetch(address, {"ops-probe": mark})
            while number == 1 and response.status_code == 429 and spare_marks:
                mark = spare_marks.pop()
                response, body = web.fetch(address, {"ops-probe": mark})
        except httpx.RequestError as error:
            return _no_proof(f"request {number} got no answer ({type(error).__name__})")
        if challenged := detect_challenge(response.status_code, response.headers, body):
            return _no_proof(f"request {number} was not counted: {challenged.detail}")
        if cached := describe_cache(response.headers):
            return _no_proof(f"request {number} was not counted: {describe_no_proof(cached)}")
        if response.status_code == 429:
            text = f"at request {number}, {wanted}"
            return Assertion("first 429", Verdict.HEALTHY, text) if number > proof.limit else _no_proof(text)
        if response.status_code != 204:
            return _no_proof(f"request {number} was answered with status {response.status_code}")
    return _no_proof(f"none in {2 * proof.limit} requests, {wanted}")


def _no_proof(text: str) -> Assertion:
    return Assertion("first 429", Verdict.INCONCLUSIVE, text)
