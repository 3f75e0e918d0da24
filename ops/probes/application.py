"""Use the own endpoints of an application, and check a key of its AI provider.

Those below /__ops are in docs/reference/runtime-contract.md: one shows the state, the other counts requests against a
rate limit, apart from those of users. Those of a Durable Object are in docs/how-to/reset-durable-object.md; of their
texts, only the number at `proof` in ops.yml is ever shown. A check of a key is one read-only request of OpenAI's API:
platform.openai.com/docs/api-reference/models/list and …/chat/create
"""

import json
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import httpx

from ops.core.client_guards import WriteGuard, parse_token
from ops.core.errors import ConfigError, NotApplied, ProviderError, Reason, Refused, UnclearWrite
from ops.core.redaction import Secret
from ops.core.runtime_contract import LIMIT_PROBE_PATH, RUNTIME_PATH, RuntimeState, parse_runtime_state
from ops.core.verdict import (
    Assertion,
    KeyAnswer,
    KeyVerdict,
    ObjectObservation,
    ProbeResult,
    RateLimitCheck,
    Verdict,
    parse_proof,
)
from ops.probes.edge_answer import EdgeAnswer, judge_answer
from ops.probes.http import ProbeClient, parse_json, value_at_path

if TYPE_CHECKING:
    from ops.config.sections import DurableObject, KeyProvider


MAX_COUNTERS = 4
"""Counters to try: an earlier proof uses one up until its window ends, and the mark chooses one of 16."""
READ_TIMEOUT = 5.0
"""Seconds for a read: a stuck object may never answer, and a recovery must not wait for it."""


def read_runtime_state(web: ProbeClient, url: str) -> RuntimeState | str:
    """Return the state that the service shows at the location that answers; or why it is unknown, for people."""
    where = f"{url}{RUNTIME_PATH}"
    try:
        response, body = web.fetch(where)
    except httpx.RequestError as error:
        return f"{where} could not be reached ({type(error).__name__})"
    if doubt := judge_answer(response.status_code, response.headers, body).doubt:
        return f"{where} could not be read: {doubt}"
    if response.status_code != 200:
        return f"{where} returned HTTP {response.status_code}"
    try:
        return parse_runtime_state(body.decode())
    except ValueError as error:
        return f"the response of {where} is invalid: {error}"


def prove_rate_limit(web: ProbeClient, url: str, proof: RateLimitCheck) -> ProbeResult:
    """Send up to twice the limit, one request after the other.

    With fixed windows, the first 429 follows after `limit` requests and at most twice as many. An earlier one, or none,
    proves nothing. After a 429 at the first request, another counter is tried.
    """
    limited = _find_first_429(web, url, proof)
    verdict = Verdict.HEALTHY if limited.verdict == Verdict.HEALTHY else Verdict.INCONCLUSIVE
    return ProbeResult(f"limit {proof.name}", verdict, (limited,), proves_health=False)


def _find_first_429(web: ProbeClient, url: str, proof: RateLimitCheck) -> Assertion:
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
            return _unproved_rate_limit(f"request {number} got no answer ({type(error).__name__})")
        if doubt := judge_answer(response.status_code, response.headers, body).doubt:
            return _unproved_rate_limit(f"request {number} was not counted: {doubt}")
        if response.status_code == 429:
            text = f"at request {number}, {wanted}"
            return Assertion("first 429", Verdict.HEALTHY, text) if number > proof.limit else _unproved_rate_limit(text)
        if response.status_code != 204:
            return _unproved_rate_limit(f"request {number} was answered with status {response.status_code}")
    return _unproved_rate_limit(f"none in {2 * proof.limit} requests, {wanted}")


def _unproved_rate_limit(text: str) -> Assertion:
    return Assertion("first 429", Verdict.INCONCLUSIVE, text)


class DurableObjectAdmin(WriteGuard):
    """Of any service. It can only read but while somebody has entered `writing`."""

    def __init__(self, web: Callable[[], ProbeClient], environ: Mapping[str, str], tokens: frozenset[str]) -> None:
        """Of `environ`, only the variables in `tokens` are read."""
        self._web = web
        self._tokens = {name: Secret(value) for name in tokens if (value := environ.get(name, ""))}

    def read_state(self, url: str, spec: "DurableObject") -> ObjectObservation | str:
        """Return the object's state, or why it is unknown. Raises ConfigError and Refused."""
        assert spec.state is not None
        assert spec.proof is not None
        try:
            response, body = self._send_admin_request("GET", url + spec.state, spec, within=READ_TIMEOUT)
        except httpx.RequestError as error:
            return f"its state could not be read ({type(error).__name__})"
        answer = judge_answer(response.status_code, response.headers, body)
        if answer.blocker:
            return f"GET {spec.state} could not be read: {answer.doubt}"
        _check_access(answer, response.status_code, f"GET {spec.state}", spec)
        if response.status_code != 200:
            return f"GET {spec.state} returned HTTP {response.status_code}"
        if answer.doubt:
            return f"GET {spec.state} could not be read: {answer.doubt}"
        document = parse_json(body)
        proof = parse_proof(value_at_path(document, spec.proof))
        if proof is None:
            return f"GET {spec.state} has neither a number nor a text at {spec.proof}"
        return ObjectObservation(proof, value_at_path(document, spec.keeps) if spec.keeps else None)

    def reset(self, url: str, spec: "DurableObject") -> str:
        """Send a reset once; resets are idempotent.

        Raises ConfigError, Refused, NotApplied, UnclearWrite and ProviderError.
        """
        assert spec.reset is not None
        if not self._may_write:
            raise Refused("a reset of a Durable Object is a write, and only reads are allowed", reason=Reason.READ_ONLY)
        what = f"POST {spec.reset}"
        try:
            response, body = self._send_admin_request("POST", url + spec.reset, spec, content=b"")
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            text = f"{what} did not reach the application ({type(error).__name__})"
            raise NotApplied(text, reason=Reason.PROVIDER_UNAVAILABLE) from None
        except httpx.RequestError as error:
            raise UnclearWrite(f"no answer to {what} ({type(error).__name__})", reason=Reason.UNCLEAR) from None
        status = response.status_code
        answer = judge_answer(status, response.headers, body)
        if answer.blocker:
            raise Refused(
                f"{what} did not reach the application: {answer.doubt}",
                reason=Reason.NO_ENDPOINT,
                hint="Let this machine through with a WAF skip rule for this path. Then run the same command again.",
            )
        _check_access(answer, status, what, spec)
        if status >= 500 or status == 429:
            raise UnclearWrite(f"{what} returned HTTP {status}", reason=Reason.UNCLEAR)
        if not 200 <= status < 300:
            raise ProviderError(
                f"{what} returned HTTP {status}",
                reason=Reason.PROVIDER_REFUSED,
                hint="Correct `reset` in ops.yml, or reset every object of the Worker.",
            )
        return f"{what} returned HTTP {status}"

    def _send_admin_request(
        self, method: str, url: str, spec: "DurableObject", **more: Any
    ) -> tuple[httpx.Response, bytes]:
        headers = {"authorization": f"Bearer {self._read_admin_token(spec).reveal()}"}
        return self._web().send(method, url, headers=headers, **more)

    def _read_admin_token(self, spec: "DurableObject") -> Secret:
        name = spec.token or ""
        if name not in self._tokens:
            raise ConfigError(
                f"the token of the application is missing: {name} is not set",
                reason=Reason.TOKEN_MISSING,
                hint=(
                    f"{_advise_admin_token(spec)} On a laptop: `export {name}=…`. "
                    "In a job: set a secret of that name in the GitHub environment `recovery`."
                ),
            )
        return parse_token(name, self._tokens[name].reveal())


def _advise_admin_token(spec: "DurableObject") -> str:
    place = spec.token_location
    return f"The token is here: {place}." if place else "Use the value of the application's secret ADMIN_TOKEN."


def _check_access(answer: EdgeAnswer, status: int, what: str, spec: "DurableObject") -> None:
    if answer.is_maintenance:
        raise Refused(
            f"{what} was answered by ops-maintenance: the service is in maintenance mode",
            reason=Reason.NO_ENDPOINT,
            hint="Open the service first: `ops status` names the command. Then reset again.",
        )
    if status == 404:
        raise Refused(
            f"{what} returned HTTP 404; probably the application's secret ADMIN_TOKEN is not set",
            reason=Reason.NO_ENDPOINT,
            hint=(
                f"Set it with `wrangler secret put ADMIN_TOKEN`, set {spec.token} to the same value, "
                "or correct ops.yml."
            ),
        )
    if status in {401, 403}:
        raise Refused(
            f"the application rejected {spec.token} at {what} (HTTP {status})",
            reason=Reason.TOKEN_REFUSED,
            hint=f"Set {spec.token} to the value of the application's secret ADMIN_TOKEN.",
        )


UNAUTHORIZED_STATUSES = {401, 403}


def random_provider_key() -> Secret:
    """Return a key that no provider issued, as the control of a check."""
    return Secret(f"sk-{secrets.token_hex(24)}")


def check_key(web: ProbeClient, spec: "KeyProvider", key: Secret) -> KeyAnswer:
    """Send one request. An outage, a rate limit or a foreign page is unclear."""
    headers = {"authorization": f"Bearer {key.reveal()}", "content-type": "application/json"}
    method, path, content, wanted = "GET", "/models", None, "data"
    if spec.chat:
        asked = {"model": spec.chat, "messages": [{"role": "user", "content": "ping"}], "max_tokens": 1}
        method, path, content, wanted = "POST", "/chat/completions", json.dumps(asked).encode(), "choices"
    try:
        response, body = web.send(method, spec.url + path, headers=headers, within=spec.timeout, content=content)
    except httpx.TimeoutException:
        return KeyAnswer(KeyVerdict.UNCLEAR, f"no answer within {spec.timeout:g} s")
    except httpx.RequestError as error:
        return KeyAnswer(KeyVerdict.UNCLEAR, type(error).__name__)
    if blocker := judge_answer(response.status_code, response.headers, body, is_at_cloudflare=False).blocker:
        return KeyAnswer(KeyVerdict.UNCLEAR, blocker.detail)
    if response.status_code in UNAUTHORIZED_STATUSES:
        return KeyAnswer(KeyVerdict.REFUSED, f"status {response.status_code}")
    if response.status_code != 200:
        return KeyAnswer(KeyVerdict.UNCLEAR, f"status {response.status_code}")
    document = _application_json(body)
    if isinstance(document.get(wanted), list):
        return KeyAnswer(KeyVerdict.ACCEPTED, "status 200")
    # iflow rejects a key in the body of a 200; other pages have none of these fields.
    if any(isinstance(document.get(key), str | dict) for key in ("msg", "message", "error")):
        return KeyAnswer(KeyVerdict.REFUSED, "an error with status 200")
    return KeyAnswer(KeyVerdict.UNCLEAR, "status 200 with unexpected content")


def _application_json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    return document if isinstance(document, dict) else {}
