"""Prove a rate limit with requests that are counted apart from those of users.

With fixed windows, the first 429 follows after `limit` requests and at most twice as many
(docs/reference/runtime-contract.md). An earlier one, or none, proves nothing.
"""

from typing import TYPE_CHECKING

import httpx

from ops.core.runtime_contract import LIMIT_PROBE_PATH
from ops.core.verdict import Assertion, ProbeResult, RateLimitCheck, Verdict
from ops.probes.challenge import detect_challenge

if TYPE_CHECKING:
    from ops.probes.http import ProbeClient


def prove_rate_limit(web: "ProbeClient", url: str, proof: RateLimitCheck) -> ProbeResult:
    """Send up to twice the limit, one request after the other."""
    said = _ask(web, url, proof)
    verdict = Verdict.HEALTHY if said.verdict == Verdict.HEALTHY else Verdict.INCONCLUSIVE
    return ProbeResult(f"limit {proof.name}", verdict, (said,))


def _ask(web: "ProbeClient", url: str, proof: RateLimitCheck) -> Assertion:
    wanted = f"wanted between request {proof.limit + 1} and {2 * proof.limit}"
    for number in range(1, 2 * proof.limit + 1):
        try:
            response, body = web.fetch(f"{url}{LIMIT_PROBE_PATH}{proof.name}", {"ops-probe": proof.mark})
        except httpx.RequestError as error:
            return _inconclusive(f"request {number} got no answer ({type(error).__name__})")
        if challenged := detect_challenge(response.status_code, response.headers, body):
            return _inconclusive(f"request {number} was not counted: {challenged.detail}")
        if response.status_code == 429:
            text = f"at request {number}, {wanted}"
            return Assertion("first 429", Verdict.HEALTHY, text) if number > proof.limit else _inconclusive(text)
        if response.status_code != 204:
            return _inconclusive(f"request {number} was answered with status {response.status_code}")
    return _inconclusive(f"none in {2 * proof.limit} requests, {wanted}")


def _inconclusive(text: str) -> Assertion:
    return Assertion("first 429", Verdict.INCONCLUSIVE, text)
