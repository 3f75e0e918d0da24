"""The Worker `ops-maintenance`: its preparation and its answers, which no request bypasses."""

import json
from email.message import Message

import pytest
from hypothesis import strategies as st

from ops.maintenance.plan_text import CLOSED_SECTION
from sandbox.edge import embedded
from sandbox.edge.front_door import RunningVersion
from sandbox.edge.workerd import WorkerdRuntime
from sandbox.server import HttpRequest, HttpResponse
from tests.conftest import WORKER, World
from tests.runbooks.test_maintenance import PATH, place
from tests.support.commands import ended, texts
from tests.support.offline import ALSO, HOST, MAINTENANCE_WORKER, MaintenanceWorld, account
from tests.support.properties import holds_for

__all__ = ["place"]


def spellings(path: str) -> st.SearchStrategy[str]:
    """Generate spellings that Cloudflare treats as a path with this prefix."""

    def spelt(letter: str) -> st.SearchStrategy[str]:
        if letter == "/":
            return st.sampled_from(["/", "//", "/./", "/x/../", "/%2e/"])
        return st.sampled_from([letter, letter, f"%{ord(letter):02x}", f"%{ord(letter):02X}"])

    more = st.sampled_from(["", "/", "//", "?", "?q=1", "/?/x", "/x/y", "%2Fx", "/%2e/", ";a", "#"[:0], "?x=/../.."])
    return st.tuples(*map(spelt, path), more).map("".join)


ANYTHING = st.text(st.sampled_from("ab/.%?&=2fF;:+~-_A"), max_size=20).map(lambda text: f"/{text}")


@pytest.mark.slow
@holds_for(8, 300, target=spellings(PATH), host=st.sampled_from([HOST, ALSO]))
def test_no_spelling_of_a_path_bypasses_maintenance(place: MaintenanceWorld, target: str, host: str) -> None:
    if PATH not in {route.pattern.removeprefix(HOST).removesuffix("*") for route in place.zone.routes.values()}:
        assert place.on("--path", PATH).code == 0

    assert place.serves(host + target) == "off", target


@pytest.mark.slow
@holds_for(8, 300, target=ANYTHING, host=st.sampled_from([HOST, ALSO]), normalize_html=st.booleans())
def test_no_request_bypasses_maintenance_of_a_service(
    place: MaintenanceWorld, target: str, host: str, normalize_html: bool
) -> None:
    place.world.sandbox.switches.urls_normalized = normalize_html
    if place.routes[f"{HOST}/*"] != MAINTENANCE_WORKER:
        assert place.on().code == 0

    assert place.serves(host + target) == "off", target


@pytest.mark.slow
def test_encoded_url_bypass_is_detected(place: MaintenanceWorld) -> None:
    place.world.sandbox.switches.urls_normalized = False

    outcome = place.on("--path", "/api/ai")

    assert ended(outcome) == (6, "still_unhealthy", "still_unhealthy")
    assert (
        f"https://{HOST}/api/a%69 encoded is answered 404, and not by ops-maintenance: it is open"
        in texts(outcome, "probed")[-1]
    )
    assert "--state on" in outcome.result["plan"]["next_step"]
    assert place.on().code == 0


@pytest.mark.slow
def test_prepare_is_idempotent_and_updates_old_source(place: MaintenanceWorld) -> None:
    assert ended(place.ops("prepare")) == (0, "nothing_to_do", "already_prepared")
    assert place.world.writes() == []
    place.on()
    (live,) = place.world.sandbox.live(MAINTENANCE_WORKER)
    version = account(place).workers[MAINTENANCE_WORKER].versions[live]
    version.annotations["workers/tag"] = "older"

    renewed = place.ops("prepare")

    assert ended(renewed)[:2] == (0, "recovered")
    assert renewed.result["plan"]["sections"][CLOSED_SECTION] == ["the whole of api"]
    assert place.serves(f"{HOST}/") == "off"
    assert place.off().code == 0
    assert place.routes == {f"{HOST}/*": WORKER}


@pytest.mark.slow
def test_prepare_dry_run_writes_nothing(place: MaintenanceWorld) -> None:
    del account(place).workers[MAINTENANCE_WORKER]

    assert ended(place.ops("prepare", "--dry-run"))[:2] == (0, "planned")
    assert MAINTENANCE_WORKER not in account(place).workers


@pytest.mark.slow
def test_sandbox_worker_answers_like_the_real_source(place: MaintenanceWorld, world: World) -> None:
    place.route("*.fortunet.example/*", WORKER)
    for number in range(40):  # more than fit into one variable
        place.route(f"{HOST}/api/with/many/routes/{number}/*", WORKER)
    place.on("--path", "/api", "--message", "all & <more>")
    place.on("--path", "/api/ai", "--message", "this")
    (live,) = world.sandbox.live(MAINTENANCE_WORKER)
    version = account(place).workers[MAINTENANCE_WORKER].versions[live]
    running = RunningVersion(worker=MAINTENANCE_WORKER, version=version, secrets={}, location="FRA")
    real = WorkerdRuntime(world.sandbox.clock, world.sandbox.kv, world.sandbox.d1, world.sandbox.providers)
    try:
        for host in (HOST, "any.fortunet.example", "elsewhere.example"):
            for target in ("/api", "/api/ai?x", "/api/aix", "/", "/other"):
                for accept in ("text/html", "*/*"):
                    asked = request(host, target, accept)
                    one, other = (
                        real.serve(running, asked),
                        embedded.answer_maintenance(version, asked, world.sandbox.clock.now()),
                    )
                    assert one.status == other.status
                    assert compared_headers(one) == compared_headers(other)
                    if accept != "text/html":
                        assert json.loads(one.body) == json.loads(other.body)
                    assert (b"all &#38; &#60;more&#62;" in one.body) == (b"all &amp; &lt;more&gt;" in other.body)
        asked = request(HOST, "/api", "*/*", "OPTIONS", **ASKS)
        one, other = real.serve(running, asked), embedded.answer_maintenance(version, asked, world.sandbox.clock.now())
        assert (one.status, compared_headers(one)) == (other.status, compared_headers(other))
    finally:
        real.close()


ASKS = {
    "origin": "https://app.example",
    "access-control-request-method": "PUT",
    "access-control-request-headers": "authorization,x-trace",
}
"""The headers of a preflight, without the host."""


def test_cross_origin_frontend_can_read_the_503(place: MaintenanceWorld) -> None:
    place.on("--until", "2h")

    preflight = place.get(f"{HOST}/api", "OPTIONS", **ASKS)
    answer = place.get(f"{HOST}/api", origin="https://app.example")

    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == answer.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-headers"] == "authorization,x-trace"
    assert preflight.headers["access-control-allow-methods"] == "PUT"
    assert preflight.headers["access-control-max-age"] == "0"
    assert "retry-after" in answer.headers["access-control-expose-headers"]
    for each in (preflight, answer):
        assert "access-control-allow-credentials" not in each.headers
    assert place.get(f"{HOST}/api", "OPTIONS").status_code == 503


def request(host: str, target: str, accept: str, method: str = "GET", **more: str) -> HttpRequest:
    headers = Message()
    headers["host"], headers["accept"] = host, accept
    for name, value in more.items():
        headers[name] = value
    return HttpRequest(method=method, target=target, headers=headers, body=b"")


def compared_headers(response: HttpResponse) -> dict[str, str]:
    wanted = {"cache-control", "content-type", "ops-maintenance", "retry-after", "vary"}
    found = {name.lower(): value for name, value in response.headers}
    return {name: value for name, value in found.items() if name in wanted or name.startswith("access-control-")}
