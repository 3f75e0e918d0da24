"""Request a URL of a service; run the `http` probe and the probe of maintenance mode.

Each assertion has its own verdict; `edge_answer` decides whether a response counts. The header `ops-maintenance` names
the run that stored the maintenance text; an application that turned on its own maintenance switch sends `switch`
(docs/reference/runtime-contract.md). Python cannot stop a search of a regular expression in its own process, and one
that backtracks would stop all other threads as well. So it gets a process and a time limit.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from ops.core.bounded_http import PROBE_AGENT, open_client, read_answer, ssl_context
from ops.core.redaction import Redactor
from ops.core.threads import CallTracker, run_in_batches
from ops.core.verdict import Assertion, ProbeResult, Verdict, worst_verdict
from ops.probes.edge_answer import (
    MAINTENANCE_HEADER,
    STILL_CACHED,
    UNBUSTED,
    UNREACHABLE,
    ContentComparison,
    EdgeAnswer,
    add_cache_buster,
    judge_answer,
    judge_error,
    judge_version,
    redirect_host,
)
from ops.tools import process

if TYPE_CHECKING:
    from ops.config import Service
    from ops.config.probes import HttpProbe
    from ops.core.verdict import MaintenanceCheck

OVERRIDE_HEADER = "cloudflare-workers-version-overrides"
"""developers.cloudflare.com/workers/versions-and-deployments/version-overrides"""
MAX_PARALLEL = 50
"""Most addresses in maintenance that are checked at the same time; a service may have hundreds."""
MAX_NAMED = 3
"""Failures that a detail names; the others are counted."""

JSON = "json "
"""Start of the name of an assertion on a value in the JSON answer."""
FORMER_HINT = (
    "A location may hold a former value of KV for a minute or longer. Start the same command again in a minute. If it "
    "ends the same, find out which KV namespace the application reads."
)
NO_VARIABLES: Mapping[str, str] = {}
NO_HEADERS_BY_ORIGIN: Mapping[str, Mapping[str, str]] = {}


def run_maintenance_probe(web: "ProbeClient", addresses: Sequence["MaintenanceCheck"]) -> ProbeResult:
    """Check each address once. An unreachable address proves nothing."""
    checked = run_in_batches([partial(_check_maintenance_address, web, address) for address in addresses], MAX_PARALLEL)
    said, places = [assertion for assertion, _ in checked], _probed_edge_places(answer for _, answer in checked)
    verdict = worst_verdict(each.verdict for each in said)
    telling = [f"{each.name} {each.detail}" for each in said if each.verdict == verdict]
    more = f"; and {len(telling) - MAX_NAMED} more" if len(telling) > MAX_NAMED else ""
    shown = f"{'; '.join(telling[:MAX_NAMED])}{more}"
    if verdict == Verdict.HEALTHY:
        found, share = ("503", "each") if addresses[0].is_off else ("no 503", "any")
        counted = "the address" if len(said) == 1 else f"{share} of {len(said)} addresses"
        shown = f"{found} by {MAINTENANCE_HEADER} at {counted}"
    hint = next((each.hint for each in said if each.hint), "") if verdict == Verdict.INCONCLUSIVE else ""
    assertion = Assertion("status", verdict, shown, hint)
    return ProbeResult("maintenance", verdict, (assertion,), proves_health=False, places=places)


def _probed_edge_places(answers: Iterable[EdgeAnswer]) -> tuple[str, ...]:
    return tuple(sorted({answer.place for answer in answers if answer.place}))


def _check_maintenance_address(web: "ProbeClient", address: "MaintenanceCheck") -> tuple[Assertion, EdgeAnswer]:
    name = f"{address.url} {address.way}".strip()
    try:
        response, body = web.fetch(address.url, {"accept": "application/json"})
    except httpx.RequestError as error:
        return replace(judge_error(error), name=name, verdict=Verdict.INCONCLUSIVE), EdgeAnswer()
    status = response.status_code
    is_ours = MAINTENANCE_HEADER in response.headers
    answer = judge_answer(status, response.headers, body, expected_status=503 if is_ours else 0)
    if answer.obstacle or answer.is_stored:
        said = answer.obstacle or Assertion(name, Verdict.INCONCLUSIVE, answer.doubt)
        return replace(said, name=name, detail=f"is not seen: {answer.doubt}"), answer
    header = response.headers.get(MAINTENANCE_HEADER) if status == 503 else None
    return _judge_maintenance(name, address, status, header), answer


def _judge_maintenance(name: str, address: "MaintenanceCheck", status: int, header: str | None) -> Assertion:
    """Return the assertion on an answer; `header`: the run that stored the maintenance text, None without one."""
    if not address.is_off:
        if header is None:
            return Assertion(name, Verdict.HEALTHY, f"is answered {status}, and not by {MAINTENANCE_HEADER}")
        return Assertion(name, Verdict.UNHEALTHY, f"is answered 503 by {MAINTENANCE_HEADER}: it is off")
    if header is None:
        return Assertion(name, Verdict.UNHEALTHY, f"is answered {status}, and not by {MAINTENANCE_HEADER}: it is open")
    if address.run and header != address.run:
        text = f"is answered 503 by {MAINTENANCE_HEADER}, but as an earlier run left it"
        return Assertion(name, Verdict.UNHEALTHY, text)
    return Assertion(name, Verdict.HEALTHY, f"is answered 503 by {MAINTENANCE_HEADER}")


MAX_SECONDS, CONNECT_SECONDS = 10.0, 3.0
"""Seconds for the whole response, and to connect."""
TIMEOUT = httpx.Timeout(MAX_SECONDS, connect=CONNECT_SECONDS)
NO_HEADERS: Mapping[str, str] = {}
MAX_BYTES = 1_000_000
MAX_TEXT_LENGTH = 80
"""Characters of a found value in an assertion."""

Redact = Callable[[str], str]
"""Redact secrets in a text, before it is truncated: half a secret would not be recognized."""


class ProbeClient:
    """HTTP client of all probes. With the sandbox's `edge_url`, every request goes there and keeps its Host."""

    def __init__(
        self,
        edge_url: str | None = None,
        headers_by_origin: Mapping[str, Mapping[str, str]] = NO_HEADERS_BY_ORIGIN,
    ) -> None:
        """`passes`: origin → the secret headers that a look at it carries, so that a firewall lets it through."""
        self.edge_url = edge_url
        self._headers_by_origin = headers_by_origin
        trust = edge_url is None
        verify = ssl_context(verify=trust, trust_env=trust)
        self._http = open_client(timeout=TIMEOUT, verify=verify, trust_env=trust, follow_redirects=False)
        self._under_way = CallTracker(self._http.close)

    def close(self) -> None:
        self._under_way.close()

    def fetch(self, url: str, headers: Mapping[str, str] = NO_HEADERS) -> tuple[httpx.Response, bytes]:
        """Send a GET with the secret headers of the origin. Raises httpx.RequestError."""
        parts = urlsplit(url)
        return self.send(
            "GET", url, headers={**headers, **self._headers_by_origin.get(f"{parts.scheme}://{parts.netloc}", {})}
        )

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        within: float = MAX_SECONDS,
        content: bytes | None = None,
    ) -> tuple[httpx.Response, bytes]:
        """Return the response and the first megabyte of its body within `within` seconds. Raises httpx.RequestError."""
        headers = {"user-agent": PROBE_AGENT, "cache-control": "no-cache", **headers}
        if self.edge_url is not None:
            parts = urlsplit(url)
            headers["host"] = parts.netloc
            url = self.edge_url.rstrip("/") + parts._replace(scheme="", netloc="").geturl()
        timeout = TIMEOUT if within >= MAX_SECONDS else httpx.Timeout(within, connect=min(within, CONNECT_SECONDS))
        sent = {"headers": headers, "content": content, "timeout": timeout}
        with self._under_way.call():
            return read_answer(self._http, method, url, within=within, most=MAX_BYTES, is_cut=True, **sent)


def run_http_probe(
    web: ProbeClient,
    name: str,
    spec: "HttpProbe",
    url: str,
    *,
    versions: frozenset[str],
    redact: Redact = str,
    environ: Mapping[str, str] = NO_VARIABLES,
    override: str = "",
    comparison: ContentComparison | None = None,
    may_show_former: bool = False,
) -> ProbeResult:
    """Send the request once.

    `versions`: the versions that may answer; empty for any, as before a run. `override`: the version override.
    `comparison`: with the deployments of a site; without it no cached answer counts.
    """
    headers = read_secret_headers(spec.request_headers, environ)
    if isinstance(headers, Assertion):
        return ProbeResult(name, headers.verdict, (headers,))
    if override:
        headers = {**headers, OVERRIDE_HEADER: override}
    address = url.rstrip("/") + spec.path
    address = add_cache_buster(address) if spec.cache_buster else address
    try:
        response, body = web.send(spec.method, address, headers=headers)
    except httpx.RequestError as error:
        unanswered = judge_error(error)
        return ProbeResult(name, unanswered.verdict, (unanswered,))
    seconds = response.elapsed.total_seconds()
    answer = judge_answer(response.status_code, response.headers, body, expected_status=spec.status)
    if uncounted := answer.obstacle or _find_uncounted(spec, comparison, address, answer, (response, body)):
        return ProbeResult(name, uncounted.verdict, (uncounted,), seconds)
    document = parse_json(body)
    echoed = value_at_path(document, spec.version) if spec.version else None
    echoed = echoed if isinstance(echoed, str) and echoed else None
    assertions = [*_judge_http_answer(spec, response, body, seconds, redact), *_judge_json(spec, document, redact)]
    verdict = worst_verdict(a.verdict for a in assertions)
    if spec.version:
        assertions.append(judge_version(echoed, versions))
        if assertions[-1].verdict == Verdict.UNHEALTHY:
            verdict = Verdict.UNHEALTHY
    result = ProbeResult(name, verdict, tuple(assertions), seconds, echoed, places=answer.places)
    return _accept_former_value(result, spec, document) if may_show_former else result


def _accept_former_value(result: ProbeResult, spec: "HttpProbe", document: Any) -> ProbeResult:
    """Return the result as inconclusive if only values differ: the location may still hold the former ones.

    An answer without the state of a switch comes from an application that does not know the switch.
    """
    failed = [each for each in result.assertions if each.verdict == Verdict.UNHEALTHY]
    are_shown = all(value_at_path(document, path) is not None or path.endswith(".revision") for path in spec.json_)
    if not (failed and are_shown and all(each.name.startswith(JSON) for each in failed)):
        return result
    doubts = (replace(each, verdict=Verdict.INCONCLUSIVE, hint=FORMER_HINT) for each in failed)
    passed = (each for each in result.assertions if each not in failed)
    return replace(result, verdict=Verdict.INCONCLUSIVE, assertions=(*passed, *doubts), shows_former=True)


def _find_uncounted(
    spec: "HttpProbe",
    comparison: ContentComparison | None,
    address: str,
    answer: EdgeAnswer,
    received: tuple[httpx.Response, bytes],
) -> Assertion | None:
    """Return an inconclusive assertion if a cache answered, and the content does not prove a deployment."""
    uncounted = answer.cached_assertion(STILL_CACHED if spec.cache_buster else UNBUSTED)
    if uncounted is None or comparison is None or spec.method == "HEAD":
        return uncounted
    content = comparison.compare(address, *received)
    if content.is_proof:
        return None
    text, hint = comparison.explain(content, answer.cached)
    return replace(uncounted, detail=text.removeprefix(f"{uncounted.name} "), hint=hint)


def _judge_http_answer(
    spec: "HttpProbe", response: httpx.Response, body: bytes, seconds: float, redact: Redact
) -> Iterator[Assertion]:
    yield _compare_wanted("status", str(response.status_code), str(spec.status), redact)
    for header, wanted in spec.headers.items():
        found = response.headers.get(header, "")
        yield _assert_found(f"header {header}", wanted.lower() in found.lower(), wanted, redact(found) or "none")
    if spec.body is not None:
        text = body.decode(errors="replace")
        if (found := search_patterns([spec.body], [text[:MAX_BYTES]])) is None:
            yield Assertion("body", Verdict.INCONCLUSIVE, PATTERN_TOO_SLOW)
        else:
            yield _assert_found("body", found[0], spec.body, f"{len(body)} bytes without it")
    if spec.latency is not None:
        text = f"{seconds * 1000:.0f} ms, at most {spec.latency * 1000:.0f} ms wanted"
        yield Assertion("latency", Verdict.HEALTHY if seconds <= spec.latency else Verdict.UNHEALTHY, text)


def _judge_json(spec: "HttpProbe", document: Any, redact: Redact) -> Iterator[Assertion]:
    for path, wanted in spec.json_.items():
        yield _compare_wanted(f"{JSON}{path}", _as_json(value_at_path(document, path)), _as_json(wanted), redact)


def _compare_wanted(name: str, actual: str, wanted: str, redact: Redact) -> Assertion:
    return _assert_found(name, actual == wanted, wanted[:MAX_TEXT_LENGTH], redact(actual))


def _assert_found(name: str, holds: bool, wanted: str, actual: str) -> Assertion:  # noqa: FBT001
    if holds:
        return Assertion(name, Verdict.HEALTHY, wanted)
    return Assertion(name, Verdict.UNHEALTHY, f"{actual[:MAX_TEXT_LENGTH]}, wanted {wanted}")


def parse_json(body: bytes) -> Any:
    """Return the document; None if the body is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def value_at_path(document: Any, path: str) -> Any:
    """Return the value at a dotted path (`version.id`, `items.0.name`); None if it is missing."""
    for step in path.split("."):
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class HttpAnswer:
    """The answer of a service; only `obstacle` is set if the service itself did not answer."""

    status: int = 0
    content_type: str = ""
    """Media type in lower case, without parameters."""
    redirect_host: str = ""
    """Host of the `location` header."""
    body: bytes = b""
    cached: str = ""
    """Headers that show that a cache answered; empty if the service did."""
    obstacle: Assertion | None = None
    """Unhealthy: no connection. Inconclusive: a challenge, which has a hint, or maintenance mode."""


def request_once(web: ProbeClient, url: str) -> HttpAnswer:
    try:
        response, body = web.fetch(url)
    except httpx.RequestError as error:
        return HttpAnswer(obstacle=Assertion("answer", Verdict.UNHEALTHY, _unreachable_text(error)))
    status, headers = response.status_code, response.headers
    answer = judge_answer(status, headers, body)
    if answer.obstacle:
        return HttpAnswer(obstacle=answer.obstacle)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return HttpAnswer(status, kind, redirect_host(headers.get("location", "")), body, answer.cached)


def find_download_problem(web: ProbeClient, url: str) -> str:
    """Return why a file cannot be downloaded; empty if the server offers it. Only the head is requested."""
    try:
        response, _ = web.send("HEAD", url)
    except httpx.RequestError as error:
        return _unreachable_text(error)
    return "" if response.status_code < 400 else f"answered with status {response.status_code}"


def _unreachable_text(error: httpx.RequestError) -> str:
    return f"{UNREACHABLE} ({type(error).__name__})"


def read_secret_headers(names: Mapping[str, str], environ: Mapping[str, str]) -> Mapping[str, str] | Assertion:
    """Return header → value; or an inconclusive assertion that names each variable without a usable value.

    `names` maps each header to its variable. No value of a variable is shown.
    """
    missing = dict.fromkeys(variable for variable in names.values() if not environ.get(variable))
    if missing:
        return _unusable_headers(f"{' and '.join(missing)} is not set, but `request_headers` of this probe needs it")
    values = {header: environ[variable].strip() for header, variable in names.items()}
    for header, value in values.items():
        if not re.fullmatch(r"[!-~]([ -~]{0,8190}[!-~])?", value):
            return _unusable_headers(f"{names[header]} has a value that cannot be sent as a header")
    return values


def headers_by_origin(services: Iterable["Service"], environ: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    """Return origin → all usable secret headers of the http and page probes there."""
    by_origin: dict[str, dict[str, str]] = {}
    for service in services:
        for probe in service.probes:
            asked = probe.http or probe.page
            headers = read_secret_headers(asked.request_headers, environ) if asked else {}
            if headers and not isinstance(headers, Assertion):
                by_origin.setdefault(service.url, {}).update(headers)
    return by_origin


def _unusable_headers(text: str) -> Assertion:
    hint = "Set the variable: on a laptop with `export`, in a job as a secret under `env:` of the step in the workflow."
    return Assertion("request_headers", Verdict.INCONCLUSIVE, text, hint)


SEARCH_SECONDS = 3.0
BACKTRACKING = re.compile(r"[*+?{|]")
"""Without any of these a pattern cannot backtrack, and is searched here."""
SEARCH_PROGRAM = """
import json, re
patterns, texts = json.load(open("input.json"))
found = [re.compile(pattern) for pattern in patterns]
print(json.dumps([any(pattern.search(text) for pattern in found) for text in texts]))
"""
PATTERN_TOO_SLOW = f"not searched to the end within {SEARCH_SECONDS:g} s: make the pattern simpler"


def search_patterns(patterns: Sequence[str], texts: Sequence[str]) -> list[bool] | None:
    """Return for each text whether a pattern is found in it; None if that takes longer than SEARCH_SECONDS."""
    if not any(BACKTRACKING.search(pattern) for pattern in patterns):
        return [any(re.search(pattern, text) for pattern in patterns) for text in texts]
    with process.scratch_folder() as folder:
        (folder / "input.json").write_text(json.dumps([patterns, texts]), encoding="ascii")
        argv = [sys.executable, "-I", "-S", "-c", SEARCH_PROGRAM]
        done = process.run_program(argv, environ={}, timeout=SEARCH_SECONDS, redactor=Redactor(), folder=folder)
    if done.code != 0:
        return None
    matches: list[bool] = json.loads(done.output)
    return matches


@dataclass(frozen=True)
class Observation:
    status: int
    body: bytes
    place: str
    """Airport code of the data center; empty if the answer names none."""
    is_from_cache: bool


def observe_edge(web: ProbeClient, url: str, headers: Mapping[str, str] = NO_HEADERS) -> Observation | None:
    """Send a GET with a unique query value; None if no answer came."""
    try:
        response, body = web.fetch(add_cache_buster(url), headers)
    except httpx.RequestError:
        return None
    answer = judge_answer(response.status_code, response.headers, body)
    return Observation(response.status_code, body, answer.place, bool(answer.cached))
