"""Cloudflare challenges and blocks are inconclusive for every probe and runbook."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from ops.config import parse_config
from ops.config.probes import HttpProbe, PageProbe
from ops.config.sections import KeyProvider
from ops.core.clock import SystemClock
from ops.core.errors import ConfigError
from ops.core.redaction import Secret
from ops.core.runtime_contract import RUNTIME_PATH
from ops.core.verdict import KeyVerdict, MaintenanceCheck, RateLimitCheck, Verdict
from ops.probes import application, http, page, page_content
from ops.probes.browser import _read_browser_output
from ops.probes.edge_answer import judge_answer
from ops.tools import process
from sandbox.edge.front_door import SKIPS_CHALLENGE
from sandbox.server import HttpRequest, HttpResponse
from tests.conftest import Releases, World
from tests.probes.test_probes import StillClock, service
from tests.support.browser import spec as browser_spec
from tests.support.commands import ended, texts
from tests.support.offline import MaintenanceWorld, prepared

HEALTHY, INCONCLUSIVE = Verdict.HEALTHY, Verdict.INCONCLUSIVE
CHALLENGE = HttpResponse(status=403, headers=[("cf-mitigated", "challenge")], body=b"<title>Just a moment...</title>")
PAGE_ALONE = HttpResponse(status=503, body=b"<title>Just a moment...</title><script>window._cf_chl_opt={}</script>")
BLOCK = HttpResponse(status=403, body=b'<div id="cf-error-details">Sorry, you have been blocked</div>')
BLOCK_AS_TEXT = HttpResponse(status=429, body=b"error code: 1015")
LOGIN = HttpResponse(status=302, headers=[("location", "https://team.cloudflareaccess.com/cdn-cgi/access/login/x")])
STOPPED = {
    "a challenge": CHALLENGE,
    "its page": PAGE_ALONE,
    "a block": BLOCK,
    "a limit": BLOCK_AS_TEXT,
    "Access": LOGIN,
}
OWN: dict[str, HttpResponse] = {
    "its own 403": HttpResponse(status=403, body=b"no"),
    "its own 503": HttpResponse(status=503, body=b"down"),
    "a login of its own": HttpResponse(status=302, headers=[("location", "/login")]),
    "a page with the script of bot detection": HttpResponse(
        status=500, body=b"<script src=/cdn-cgi/challenge-platform/scripts/jsd/main.js></script>"
    ),
    "a Worker that throws": HttpResponse(status=500, body=b"error code: 1101"),
    "an address that cannot be read": HttpResponse(status=302, headers=[("location", "https://[")]),
}


@pytest.mark.parametrize("answer", STOPPED.values(), ids=STOPPED)
def test_cloudflare_challenge_is_detected(answer: HttpResponse) -> None:
    found = judge_answer(answer.status, dict(answer.headers), answer.body).obstacle

    assert found is not None
    assert (found.verdict, "request_headers" in found.hint) == (INCONCLUSIVE, True)


@pytest.mark.parametrize("answer", OWN.values(), ids=OWN)
def test_answer_of_the_service_is_no_challenge(answer: HttpResponse) -> None:
    headers = {**dict(answer.headers), "cf-ray": "8f0c0ffee0c0ffee-FRA"}
    assert judge_answer(answer.status, headers, answer.body).obstacle is None


def test_expected_block_is_no_challenge() -> None:
    assert judge_answer(403, {}, BLOCK.body, expected_status=403).obstacle is None
    assert judge_answer(403, {"cf-mitigated": "challenge"}, b"", expected_status=403).obstacle is not None


def http_probe(web: http.ProbeClient) -> Verdict:
    spec = HttpProbe(path="/admin", status=403)
    return http.run_http_probe(web, "admin", spec, "https://shop.example", versions=frozenset()).verdict


def maintenance_on(web: http.ProbeClient) -> Verdict:
    return http.run_maintenance_probe(web, [MaintenanceCheck("https://shop.example/", is_off=True)]).verdict


def maintenance_off(web: http.ProbeClient) -> Verdict:
    return http.run_maintenance_probe(web, [MaintenanceCheck("https://shop.example/", is_off=False)]).verdict


def limit_proof(web: http.ProbeClient) -> Verdict:
    return application.prove_rate_limit(web, "https://shop.example", RateLimitCheck("calc", 0, "mark")).verdict


def page_probe(web: http.ProbeClient) -> Verdict:
    return page.run_page_probe(web, "home", PageProbe(), "https://shop.example").verdict


PROBES: list[Callable[[http.ProbeClient], Verdict]] = [
    http_probe,
    page_probe,
    maintenance_on,
    maintenance_off,
    limit_proof,
]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.__name__)
@pytest.mark.parametrize("answer", [CHALLENGE, LOGIN], ids=["challenge", "Access"])
def test_challenge_is_inconclusive(probe: Callable[[http.ProbeClient], Verdict], answer: HttpResponse) -> None:
    with service(lambda _: answer) as web:
        assert probe(web) == INCONCLUSIVE


def test_challenge_is_no_page_runtime_or_key_answer() -> None:
    groq = KeyProvider(url="https://api.groq.example/v1")
    with service(lambda _: CHALLENGE) as web:
        assert "bot challenge" in page_content.read_page(web, SystemClock(), "https://shop.example/").error
        seen = application.read_runtime_state(web, "https://shop.example")
        said = application.check_key(web, groq, Secret("sk-0123456789"))

    assert f"https://shop.example{RUNTIME_PATH} could not be read: a Cloudflare bot challenge answered" in str(seen)
    assert said.verdict == KeyVerdict.UNCLEAR


@pytest.mark.parametrize(
    ("answer", "requests"), [(CHALLENGE, 1), (LOGIN, 1), (BLOCK_AS_TEXT, 10)], ids=["challenge", "Access", "limit"]
)
def test_page_is_requested_again_only_if_that_may_help(answer: HttpResponse, requests: int) -> None:
    seen: list[str] = []

    def respond(request: HttpRequest) -> HttpResponse:
        seen.append(request.path)
        return answer

    with service(respond) as web:
        page_content.read_page(web, StillClock(), "https://shop.example")

    assert len(seen) == requests


def test_challenged_browser_is_inconclusive_with_a_hint() -> None:
    last = json.dumps([["challenge", "inconclusive", "/: stopped"]])

    (found,) = _read_browser_output(process.FinishedProcess(0, last), browser_spec())

    assert (found.verdict, "WAF skip rule" in found.hint) == (INCONCLUSIVE, True)


@pytest.mark.slow
def test_recovery_behind_a_challenge_has_no_evidence(world: World, releases: Releases) -> None:
    world.sandbox.switches.edge_challenges_runners = True

    outcome = world.rollback()

    assert ended(outcome) == (8, "no_evidence", "no_evidence")
    assert world.live == {releases.good: 100}
    assert "request_headers" in outcome.result["hint"]
    assert "a Cloudflare bot challenge answered with status 403" in texts(outcome, "probed")[-1]


@pytest.fixture
def place(world: World) -> Any:
    with prepared(world) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("was_off", [False, True], ids=["on", "off"])
def test_maintenance_behind_a_challenge_has_no_evidence(place: MaintenanceWorld, was_off: bool) -> None:
    if was_off:
        place.on()
    place.world.sandbox.switches.edge_challenges_runners = True

    outcome = place.off() if was_off else place.on()

    assert ended(outcome) == (8, "no_evidence", "no_evidence"), outcome.err
    assert "request_headers" in outcome.result["hint"]


# Secret headers


def with_headers(world: World) -> None:
    world.edit_config("path: /health\n", "path: /health\n              request_headers: {X-Pass: SHOP_PASS}\n")
    calculate = "path: /api/charts/calculate?date=1990-05-17&time=08:30\n"
    world.edit_config(calculate, f"{calculate}              request_headers: {{X-Pass: SHOP_PASS}}\n")


@pytest.mark.slow
def test_request_headers_pass_the_challenge(world: World, releases: Releases) -> None:
    world.sandbox.switches.edge_challenges_runners = True
    with_headers(world)

    outcome = world.rollback(SHOP_PASS=SKIPS_CHALLENGE)

    assert ended(outcome) == (0, "recovered", "verified"), outcome.err
    assert SKIPS_CHALLENGE not in outcome.out + outcome.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "SHOP_PASS is not set, but `request_headers` of this probe needs it"),
        ("s3cret-one\ns3cret-two", "SHOP_PASS has a value"),
    ],
)
def test_unusable_header_variable_is_named(world: World, releases: Releases, value: str | None, said: str) -> None:
    with_headers(world)

    outcome = world.rollback(SHOP_PASS=value)

    assert ended(outcome) == (8, "no_evidence", "no_evidence")
    assert said in texts(outcome, "probed")[-1]
    assert "`env:`" in outcome.result["hint"]
    assert "s3cret" not in outcome.out + outcome.err


def test_page_probe_sends_headers_only_to_its_origin() -> None:
    """Neither another host nor its own host over plain HTTP gets them, where anyone could read them."""
    seen: dict[str, str] = {}

    def answer(request: HttpRequest) -> HttpResponse:
        seen[request.target] = request.headers.get("x-pass", "none")
        body = b'<img src="/own.png"><img src="http://shop.example/plain.png"><img src="https://cdn.example/other.png">'
        kind = "text/html" if request.target == "/" else "image/png"
        away = [("location", "http://shop.example/insecure.png")] if request.target == "/own.png" else []
        return HttpResponse(status=302 if away else 200, headers=[("content-type", kind), *away], body=body)

    with service(answer) as web:
        probe = PageProbe(request_headers={"x-pass": "SHOP_PASS"})
        found = page.run_page_probe(web, "home", probe, "https://shop.example", environ={"SHOP_PASS": "s3cret"})

    assert found.verdict == HEALTHY, found
    assert seen == {"/": "s3cret", "/own.png": "s3cret", "/plain.png": "none", "/insecure.png": "none"}


WRONG: Mapping[str, tuple[str, str]] = {
    "a value": ("{X-Pass: hunter2}", "NAME"),
    "a secret of the run": ("{X-Pass: GITHUB_TOKEN}", "a secret of the run, which no probe may send"),
    "a header of the connection": ("{Host: SHOP_HOST}", "host is a header of the connection and cannot be set here"),
    "twice": ("{x-pass: A_PASS, X-Pass: B_PASS}", "a header is given twice"),
    "no header": ('{"x pass": A_PASS}', "not a header's name"),
}


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
def test_invalid_request_headers_are_a_config_error(given: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(SHOP.replace("{CF-Access-Client-Secret: SHOP_PASS}", given), path="ops.yml")

    (problem,) = raised.value.problems
    assert problem.startswith("ops.yml:13 environments.live.services.web.probes[0].http.request_headers")
    assert said in problem


@pytest.mark.slow
def test_request_headers_work_for_another_team(world: World) -> None:
    world.config.write_text(SHOP)
    pages = world.sandbox.pages
    pages.add_project("shop-web", domains=["shop.example"])
    now = world.sandbox.clock.now()
    good = pages.add_deployment("shop-web", files={"index.html": b"<h1>ok</h1>"}, at=now - timedelta(hours=2))
    pages.add_deployment("shop-web", files={"index.html": b"<h1>no</h1>"}, at=now - timedelta(minutes=9))
    world.sandbox.switches.edge_challenges_runners = True
    world.sandbox.switches.static_files_answer_hit = False

    where = ["--service", "web", "--environment", "live", "--config", str(world.config), "--yes", "--json"]
    outcome = world.ops("rollback-pages", *where, CF_TOKEN=world.sandbox.token, SHOP_PASS=SKIPS_CHALLENGE)

    assert ended(outcome) == (0, "recovered", "verified"), outcome.err
    assert pages.live("shop-web") == good


SHOP = """
environments:
  live:
    account_id: 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
    token: CF_TOKEN
    services:
      web:
        pages: shop-web
        url: https://shop.example
        verify: {successes: 1}
        probes:
          - name: home
            http: {path: /, body: <h1>ok, request_headers: {CF-Access-Client-Secret: SHOP_PASS}}
"""
