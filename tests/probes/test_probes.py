"""HTTP probes, rounds and deadlines: the verdict for each answer."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.config.probes import HttpProbe, Probe, ProbeSet, VerificationRule
from ops.config.sections import DurableObject
from ops.core.clock import SystemClock
from ops.core.redaction import Redactor
from ops.core.threads import run_parallel
from ops.core.verdict import ProbeObservation, ProbeResult, RateLimitCheck, Verdict
from ops.probes import application, http
from ops.probes.application import DurableObjectAdmin
from ops.probes.runner import ProbeRunner
from sandbox.server import HttpRequest, HttpResponse, Server

OLD, NEW = "0ffae05a-f982-4f2f-bf78-2f7305c78298", "2c8b7e91-9781-4881-93aa-b7e29ebc37ac"
HEALTHY, UNHEALTHY, INCONCLUSIVE = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.INCONCLUSIVE
BODY = {"status": "ok", "items": [{"name": "rat"}], "on": True, "version": {"id": NEW}}

# HTTP


RAY = ("cf-ray", "8f0c0ffee0c0ffee-FRA")


def with_ray(response: HttpResponse | None) -> HttpResponse | None:
    """Return the response as Cloudflare passes it on."""
    return response and replace(response, headers=[*response.headers, RAY])


@contextmanager
def service(answer: Callable[[HttpRequest], HttpResponse | None]) -> Iterator[http.ProbeClient]:
    server = Server(lambda request: with_ray(answer(request)))
    server.start()
    web = http.ProbeClient(server.url)
    try:
        yield web
    finally:
        web.close()
        server.stop()


def probe_health(web: http.ProbeClient, *, versions: frozenset[str] = frozenset(), **spec: Any) -> ProbeResult:
    spec = {"path": "/health", **spec}
    return http.run_http_probe(web, "health", HttpProbe(**spec), "https://api.example", versions=versions)


def json_answer(body: Any = BODY, **fields: Any) -> HttpResponse:
    return HttpResponse(body=json.dumps(body).encode(), **fields)


ANSWERS: dict[str, tuple[HttpResponse, dict[str, Any], Verdict, str]] = {
    "the status": (json_answer(), {}, HEALTHY, "status 200"),
    "another status": (json_answer(status=503), {}, UNHEALTHY, "status 503, wanted 200"),
    "a wanted error": (json_answer(status=404), {"status": 404}, HEALTHY, "status 404"),
    "a redirect": (json_answer(status=302, headers=[("location", "/")]), {}, UNHEALTHY, "status 302"),
    "a value": (json_answer(), {"json": {"status": "ok"}}, HEALTHY, "status 200"),
    "another value": (
        json_answer({"status": "no"}),
        {"json": {"status": "ok"}},
        UNHEALTHY,
        'json status "no", wanted "ok"',
    ),
    "a value in a list": (json_answer(), {"json": {"items.0.name": "rat"}}, HEALTHY, "status 200"),
    "a list that is too short": (json_answer(), {"json": {"items.1.name": "rat"}}, UNHEALTHY, 'null, wanted "rat"'),
    "true is not 1": (json_answer(), {"json": {"on": 1}}, UNHEALTHY, "json on true, wanted 1"),
    "a path through a text": (json_answer(), {"json": {"status.code": 1}}, UNHEALTHY, "json status.code null"),
    "HTML where JSON is wanted": (HttpResponse(body=b"<html>"), {"json": {"status": "ok"}}, UNHEALTHY, "null"),
    "nothing where JSON is wanted": (HttpResponse(), {"json": {"status": "ok"}}, UNHEALTHY, "null"),
    "a header": (json_answer(headers=[("X-Cache", "HIT from X")]), {"headers": {"x-cache": "hit"}}, HEALTHY, "status"),
    "another header": (json_answer(headers=[("x-cache", "MISS")]), {"headers": {"x-cache": "HIT"}}, UNHEALTHY, "MISS"),
    "no header": (json_answer(), {"headers": {"x-cache": "HIT"}}, UNHEALTHY, "header x-cache none, wanted HIT"),
    "a pattern": (json_answer(), {"body": "r[a]t"}, HEALTHY, "status 200"),
    "no pattern": (HttpResponse(body=b"dog"), {"body": "r[a]t"}, UNHEALTHY, "body 3 bytes without it, wanted r[a]t"),
    "a body that is no text": (HttpResponse(body=b"\xff\xfe"), {"body": "rat"}, UNHEALTHY, "2 bytes without it"),
    "a fast answer": (json_answer(), {"latency": "10s"}, HEALTHY, "status 200"),
    "a body that is cut off": (HttpResponse(body=b"{}", truncate_at=1), {}, INCONCLUSIVE, "could not be reached"),
    "a broken encoding": (json_answer(headers=[("content-encoding", "gzip")]), {}, INCONCLUSIVE, "DecodingError"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("given", "spec", "verdict", "said"), ANSWERS.values(), ids=ANSWERS)
def test_response_is_checked_against_all_expectations(
    given: HttpResponse, spec: dict[str, Any], verdict: Verdict, said: str
) -> None:
    with service(lambda _: given) as web:
        result = probe_health(web, **spec)

    assert result.verdict == verdict, result
    assert said in result.detail


def test_slow_answer_exceeds_the_latency_limit() -> None:
    with service(lambda _: (threading.Event().wait(0.02), json_answer())[1]) as web:
        result = probe_health(web, latency="10ms")

    assert result.verdict == UNHEALTHY
    assert "at most 10 ms wanted" in result.detail
    assert result.seconds is not None
    assert result.seconds >= 0.02


ECHOES: dict[str, tuple[Any, frozenset[str], Verdict, Verdict]] = {
    "expected version": (NEW, frozenset({NEW}), HEALTHY, HEALTHY),
    "one of a split": (NEW, frozenset({OLD, NEW}), HEALTHY, HEALTHY),
    "other version": (OLD, frozenset({NEW}), UNHEALTHY, UNHEALTHY),
    "any version before a run": (OLD, frozenset(), HEALTHY, HEALTHY),
    "none": (None, frozenset({NEW}), INCONCLUSIVE, HEALTHY),
    "an empty one": ("", frozenset({NEW}), INCONCLUSIVE, HEALTHY),
    "a number": (7, frozenset({NEW}), INCONCLUSIVE, HEALTHY),
}


@pytest.mark.slow
@pytest.mark.parametrize(("echoed", "versions", "assertion", "verdict"), ECHOES.values(), ids=ECHOES)
def test_echoed_version_is_a_separate_assertion(
    echoed: Any, versions: frozenset[str], assertion: Verdict, verdict: Verdict
) -> None:
    with service(lambda _: json_answer({"version": {"id": echoed}})) as web:
        result = probe_health(web, versions=versions, version="version.id")

    assert {a.name: a.verdict for a in result.assertions}["version"] == assertion
    assert result.verdict == verdict
    assert ("version" in result.detail) == (assertion != HEALTHY or verdict == HEALTHY)


def test_unhealthy_answer_without_version_is_unhealthy() -> None:
    with service(lambda _: json_answer({}, status=500)) as web:
        result = probe_health(web, versions=frozenset({NEW}), version="version.id")

    assert result.verdict == UNHEALTHY


def test_refused_connection_is_inconclusive() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        web = http.ProbeClient(f"http://127.0.0.1:{taken.getsockname()[1]}")
        result = probe_health(web)
        web.close()

    assert result.verdict == INCONCLUSIVE
    assert result.detail == "answer could not be reached (ConnectError)"


def test_closed_connection_is_inconclusive() -> None:
    with service(lambda _: None) as web:
        assert probe_health(web).verdict == INCONCLUSIVE


@pytest.mark.slow
def test_request_has_service_host_and_no_credentials() -> None:
    seen: list[HttpRequest] = []

    def note(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return json_answer()

    with service(note) as web:
        probe_health(web, path="/health?deep=1", method="HEAD", cache_buster=False)

    (request,) = seen
    assert (request.method, request.target) == ("HEAD", "/health?deep=1")
    assert request.headers["host"] == "api.example"
    assert {"authorization", "cookie"}.isdisjoint(name.lower() for name in request.headers)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "start"), [("/health", "/health?"), ("/health?a=1", "/health?a=1&")])
def test_each_request_has_a_unique_query_value(path: str, start: str) -> None:
    seen: list[str] = []

    def note(request: HttpRequest) -> HttpResponse:
        seen.append(request.target)
        return json_answer()

    with service(note) as web:
        for method in ("GET", "HEAD", "GET"):
            probe_health(web, path=path, method=method)

    assert len({*seen}) == 3
    assert all(re.fullmatch(re.escape(start) + "backout-probe=[0-9a-f]{16}", target) for target in seen)


CACHED: dict[str, tuple[dict[str, str], str]] = {
    "HIT": ({"cf-cache-status": "HIT"}, "cf-cache-status: HIT"),
    "in small letters": ({"CF-Cache-Status": "hit"}, "cf-cache-status: HIT"),
    "with an age": ({"cf-cache-status": "HIT", "age": "40"}, "cf-cache-status: HIT, age 40 s"),
    "an error of the origin": ({"cf-cache-status": "STALE", "age": "7000"}, "cf-cache-status: STALE, age 7000 s"),
    "in the background": ({"cf-cache-status": "UPDATING", "age": "61"}, "cf-cache-status: UPDATING, age 61 s"),
    "304 of the origin": ({"cf-cache-status": "REVALIDATED"}, "cf-cache-status: REVALIDATED"),
    "Cache API": ({"age": "1"}, "age 1 s"),
    "an age beside DYNAMIC": ({"cf-cache-status": "DYNAMIC", "age": "3"}, "cf-cache-status: DYNAMIC, age 3 s"),
    "no number": ({"age": "old"}, "an unreadable age"),
}


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(("headers", "said"), CACHED.values(), ids=CACHED)
def test_cached_answer_proves_nothing(headers: dict[str, str], said: str, status: int) -> None:
    """Neither its health nor its failure, nor the version in it."""
    with service(lambda _: json_answer(status=status, headers=[*headers.items()])) as web:
        result = probe_health(web, version="version.id", versions=frozenset({OLD}))

    assert (result.verdict, result.echoed_version) == (INCONCLUSIVE, None)
    assert result.detail == f"cached answer ({said}): proves nothing"
    assert "no-store" in result.assertions[0].hint


def test_cached_answer_is_no_state_of_the_application() -> None:
    """Of its switches and limits, its rate limit, and the memory of a Durable Object."""
    hit = json_answer(headers=[("cf-cache-status", "HIT")])
    spec = DurableObject(**{"class": "Cart"}, reset="/r", state="/s", token="CART_TOKEN", proof="version.id")  # type: ignore[arg-type]
    with service(lambda _: hit) as web:
        shown = application.read_runtime_state(web, "https://api.example")
        limited = application.prove_rate_limit(web, "https://api.example", RateLimitCheck("orders", 3, "mark"))
        admin = DurableObjectAdmin(lambda: web, {"CART_TOKEN": "0123456789abcdef"}, frozenset({"CART_TOKEN"}))
        memory = admin.read_state("https://api.example", spec)

    said = "cached answer (cf-cache-status: HIT): proves nothing"
    assert (said in str(shown), said in limited.detail, said in str(memory)) == (True, True, True)


@pytest.mark.slow
@pytest.mark.parametrize("status", ["MISS", "EXPIRED", "BYPASS", "DYNAMIC", "NONE/UNKNOWN", ""])
def test_answer_of_the_service_counts(status: str) -> None:
    with service(lambda _: json_answer(headers=[("cf-cache-status", status), ("age", "0")])) as web:
        assert probe_health(web).verdict == HEALTHY


@pytest.mark.slow
def test_probe_sends_no_cookie_of_an_earlier_response() -> None:
    """A cookie may pin a version or a session: the next probe would not see what a new user sees."""
    seen: list[str | None] = []

    def pin(request: HttpRequest) -> HttpResponse:
        seen.append(request.headers["cookie"])
        return json_answer(headers=[("set-cookie", "version=old; Path=/; Max-Age=3600")])

    with service(pin) as web:
        results = [probe_health(web).verdict for _ in range(2)]

    assert (results, seen) == ([HEALTHY] * 2, [None, None])


@pytest.mark.slow
def test_unfinished_answer_is_unhealthy_after_10_seconds() -> None:
    silent, dripping = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_drip, args=(dripping,), daemon=True).start()
    with silent, dripping:
        webs = [http.ProbeClient(f"http://127.0.0.1:{server.getsockname()[1]}") for server in (silent, dripping)]
        results = run_parallel([lambda web=web: probe_health(web) for web in webs])  # type: ignore[misc]
        for web in webs:
            web.close()

    assert [result.verdict for result in results] == [UNHEALTHY, UNHEALTHY]
    assert [result.detail for result in results] == ["answer no answer within 10 s"] * 2


def _drip(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(240):
            threading.Event().wait(0.5)
            try:
                connection.sendall(b".")
            except OSError:
                return


# Rounds


class StillClock(SystemClock):
    """A clock that only `sleep` advances, without waiting."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def prober(web: http.ProbeClient | None = None, clock: StillClock | None = None) -> ProbeRunner:
    def broken() -> http.ProbeClient:
        raise RuntimeError("no client")

    return ProbeRunner(
        web=(lambda: web) if web else broken,
        environ=lambda _: {},
        redactor=Redactor(),
        clock=clock or StillClock(),
        folder=Path(),
        pictures=Path(),
    )


def probe_set(*probes: Probe, successes: int = 2) -> ProbeSet:
    verify = VerificationRule.model_validate({"successes": successes, "interval": "100ms", "deadline": "1s"})
    return ProbeSet("https://api.example", probes, verify)


HEALTH = Probe(name="health", http=HttpProbe(path="/health"))


def test_probe_bug_is_inconclusive() -> None:
    seen = prober().run_round(probe_set(HEALTH))

    assert seen.verdict == INCONCLUSIVE
    assert "the probe failed with RuntimeError" in seen.detail


def test_empty_probe_set_is_inconclusive() -> None:
    assert prober().run_round(probe_set()).verdict == INCONCLUSIVE


@pytest.mark.slow
def test_failure_resets_the_success_count() -> None:
    statuses, counts = iter([200, 500, 200, 200]), []
    with service(lambda _: json_answer(status=next(statuses))) as web:
        result = prober(web).run_until_healthy(probe_set(HEALTH), on_round=lambda count, *_: counts.append(count))

    assert (result.verdict, result.rounds, counts) == (HEALTHY, 4, [1, 0, 1, 2])


@pytest.mark.parametrize(("status", "verdict"), [(500, UNHEALTHY), (None, INCONCLUSIVE)])
def test_last_failed_round_decides_at_the_deadline(status: int | None, verdict: Verdict) -> None:
    def ignored(_count: int, _needed: int, _seen: ProbeObservation) -> None: ...

    with service(lambda _: None if status is None else json_answer(status=status)) as web:
        result = prober(web).run_until_healthy(probe_set(HEALTH, successes=10), on_round=ignored)

    assert result.verdict == verdict
    assert result.rounds > 1


@pytest.mark.slow
def test_unhealthy_service_is_probed_less_often() -> None:
    """Two minutes of probes stay within 30 requests per minute, the limit of the reference application."""
    clock, asked = StillClock(), list[float]()

    def served(_: Any) -> Any:
        asked.append(clock.monotonic())
        return json_answer(status=500 if clock.monotonic() < 90 else 200)

    verify = VerificationRule.model_validate({"successes": 3, "interval": "1s", "deadline": "2m"})
    with service(served) as web:
        probes = ProbeSet("https://api.example", (HEALTH,), verify)
        result = prober(web, clock).run_until_healthy(probes, on_round=lambda *_: None)

    assert result.verdict == HEALTHY
    assert asked[:4] == [0, 1, 2, 3]
    assert asked[-1] - asked[-3] == 2
    assert max(sum(first <= at < first + 60 for at in asked) for first in asked) < 30
