"""What counts as an answer of the service, and the words that say where it was seen. Not for FortuneT."""

from collections.abc import Callable

import pytest

from ops.config.probes import HttpProbe, PageProbe
from ops.core.verdict import MaintenanceCheck, RateLimitCheck, Verdict
from ops.probes import application, http, page
from sandbox.server import HttpResponse, Server
from tests.conftest import Outcome, World
from tests.probes.test_probes import RAY, service
from tests.support import shop
from tests.support.commands import ended, texts
from tests.support.shop import Shop

URL = "https://shop.example"
OLD = ("age", "40")
NO_ANSWERS: dict[str, HttpResponse] = {
    "a login": HttpResponse(status=302, headers=[RAY, ("location", "https://team.cloudflareaccess.com/cdn-cgi/x")]),
    "a challenge": HttpResponse(status=403, headers=[RAY, ("cf-mitigated", "challenge")]),
    "a proxy that wants a password": HttpResponse(status=407, headers=[RAY]),
    "a gateway before Cloudflare": HttpResponse(status=502, body=b"squid"),
    "a firewall before Cloudflare": HttpResponse(status=403, body=b"blocked by policy"),
    "a stored answer": HttpResponse(headers=[RAY, OLD, ("content-type", "text/html")], body=b"<h1>ok"),
    "a stored closure": HttpResponse(status=503, headers=[RAY, OLD, ("ops-maintenance", "r")]),
}
"""None of them comes from the service now, so none shows that it works, fails, is open or is closed."""


def http_probe(web: http.ProbeClient) -> Verdict:
    return http.run_http_probe(web, "cart", HttpProbe(path="/cart"), URL, versions=frozenset()).verdict


def page_probe(web: http.ProbeClient) -> Verdict:
    return page.run_page_probe(web, "home", PageProbe(), URL).verdict


def closed(web: http.ProbeClient) -> Verdict:
    return http.run_maintenance_probe(web, [MaintenanceCheck(f"{URL}/", is_off=True)]).verdict


def opened(web: http.ProbeClient) -> Verdict:
    return http.run_maintenance_probe(web, [MaintenanceCheck(f"{URL}/", is_off=False)]).verdict


def limit(web: http.ProbeClient) -> Verdict:
    return application.prove_rate_limit(web, URL, RateLimitCheck("calc", 0, "mark")).verdict


def runtime(web: http.ProbeClient) -> Verdict:
    return Verdict.INCONCLUSIVE if isinstance(application.read_runtime_state(web, URL), str) else Verdict.HEALTHY


JUDGES: list[Callable[[http.ProbeClient], Verdict]] = [http_probe, page_probe, closed, opened, limit, runtime]


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_answer_of_another_sender_is_no_evidence_for_any_probe(answer: HttpResponse) -> None:
    server = Server(lambda _: answer)
    server.start()
    web = http.ProbeClient(server.url)
    try:
        assert {judge.__name__: judge(web) for judge in JUDGES} == {
            judge.__name__: Verdict.INCONCLUSIVE for judge in JUDGES
        }
    finally:
        web.close()
        server.stop()


def test_gateway_error_of_cloudflare_counts() -> None:
    with service(lambda _: HttpResponse(status=502, body=b"error code: 502")) as web:
        assert http_probe(web) == Verdict.UNHEALTHY


def rollback(opened_shop: Shop) -> Outcome:
    opened_shop.world.sandbox.switches.propagation_seconds = 0
    return opened_shop.ops("rollback-worker", "--service", "web", "--environment", "live", "--json", "--yes")


@pytest.mark.parametrize(("ray", "seen"), [("8f0c0ffee-AMS", "seen from AMS"), ("", "seen at one location")])
def test_success_says_where_it_was_seen(world: World, ray: str, seen: str) -> None:
    opened_shop = shop.open_shop(world)
    world.sandbox.edge_fault(headers={"cf-ray": ray}, times=None)

    outcome = rollback(opened_shop)
    again = rollback(opened_shop)

    assert (ended(outcome)[1], ended(again)[1]) == ("recovered", "nothing_to_do")
    assert outcome.result["message"].endswith(seen)
    assert again.result["message"].endswith(seen)
    assert outcome.result["probes_after"]["places"] == ([seen[-3:]] if ray else [])
    assert texts(outcome, "verified") == [f"healthy, {seen}"]
    assert opened_shop.live == {opened_shop.good: 100}


def test_place_is_that_of_the_switch(world: World) -> None:
    opened_shop = shop.open_shop(world)
    world.sandbox.switches.edge_place = "SIN"

    assert rollback(opened_shop).result["message"].endswith("seen from SIN")


def test_proxy_leaves_no_evidence_until_it_is_gone(world: World) -> None:
    opened_shop = shop.open_shop(world)
    proxy = world.sandbox.edge_fault(status=502, body="squid", headers={"cf-ray": ""}, times=None)

    stopped = rollback(opened_shop)
    proxy.remove()
    again = rollback(opened_shop)

    assert [ended(each)[:2] for each in (stopped, again)] == [(8, "no_evidence"), (0, "nothing_to_do")]
    assert "proxy" in stopped.result["hint"]
    assert opened_shop.live == {opened_shop.good: 100}
