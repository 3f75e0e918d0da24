"""Maintenance mode at the edge for a service or path, including orphaned routes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from email.message import Message
from typing import Any

import pytest
from hypothesis import strategies as st

from sandbox.edge import embedded
from sandbox.edge.front_door import RunningVersion
from sandbox.edge.workerd import WorkerdRuntime
from sandbox.server import HttpRequest, HttpResponse
from tests.conftest import ROOT, WORKER, Outcome, World
from tests.support.commands import JSON, ended, texts
from tests.support.offline import ALSO, DEV, HOST, MAINTENANCE_WORKER, MaintenanceWorld, account, prepared
from tests.support.properties import holds_for


@pytest.fixture
def place(world: World) -> Iterator[MaintenanceWorld]:
    with prepared(world) as found:
        yield found


def test_maintenance_closes_and_reopens_all_ingress_paths(place: MaintenanceWorld) -> None:
    before = place.ways

    closed = place.on("--message", "back <soon>", "--until", "2h", "--incident", "42")

    assert ended(closed) == (0, "recovered", "verified")
    assert (
        closed.result["message"]
        == "the whole of api is in maintenance: every probed address answers 503 from ops-maintenance"
    )
    assert "planned end" in closed.result["plan"]["summary"]
    assert place.routes == {f"{HOST}/*": MAINTENANCE_WORKER, f"{ALSO}/*": MAINTENANCE_WORKER}
    assert place.world.sandbox.subdomain(WORKER) == {"enabled": False, "previews_enabled": False}
    for host in (HOST, ALSO):
        assert place.serves(f"{host}/health") == place.serves(f"{host}/any?x=1") == "off"
    assert (place.get(DEV).status_code, MAINTENANCE_WORKER in place.get(DEV).headers) == (404, False)

    opened = place.off()

    assert ended(opened) == (0, "recovered", "verified")
    assert place.ways == before
    assert place.serves(f"{HOST}/") == place.serves(f"{ALSO}/") == place.serves(f"{DEV}/") == "home"


@pytest.mark.slow
def test_answer_is_html_or_json_and_not_cached(place: MaintenanceWorld) -> None:
    place.on("--message", 'back <script>"soon"', "--until", "2h")

    program = place.get(f"{HOST}/x", accept="application/json")
    browser = place.get(f"{HOST}/x", accept="text/html,*/*")

    assert program.json() == {"error": "maintenance", "message": 'back <script>"soon"'}
    assert "<script>" not in browser.text
    assert "back &lt;script&gt;&quot;soon&quot;" in browser.text
    for answer in (program, browser):
        assert answer.headers["cache-control"] == "no-store"
        assert 7000 < int(answer.headers["retry-after"]) <= 7200


def test_maintenance_closes_only_the_path(place: MaintenanceWorld) -> None:
    closed = place.on("--path", "/api/ai/")

    assert ended(closed) == (0, "recovered", "verified")
    assert place.routes == {
        f"{HOST}/*": WORKER,
        f"{HOST}/api/ai*": MAINTENANCE_WORKER,
        f"{ALSO}/api/ai*": MAINTENANCE_WORKER,
    }
    for target in ("/api/ai", "/api/ai/", "/api/ai/x", "/api/ai?q=1", "/api/%61i", "//api/ai", "/x/../api/ai"):
        assert place.serves(f"{HOST}{target}") == place.serves(f"{ALSO}{target}") == "off", target
    assert place.serves(f"{HOST}/") == "home"
    plan = closed.result["plan"]
    assert any("/api/ai stays open on workers.dev" in line for line in plan["warnings"])
    assert any("%2F" in line for line in plan["sections"]["Stays open"])

    assert ended(place.off("--path", "/api/ai")) == (0, "recovered", "verified")
    assert place.routes == {f"{HOST}/*": WORKER}


@pytest.mark.slow
def test_previous_values_are_stored_before_route_changes(place: MaintenanceWorld) -> None:
    place.route(f"{HOST}/api/ai/chat*", WORKER)
    stored: list[Any] = []

    def look() -> None:
        (live,) = place.world.sandbox.live(MAINTENANCE_WORKER)
        bindings = account(place).workers[MAINTENANCE_WORKER].versions[live].upload.bindings
        stored.append({b["name"]: b.get("json", b.get("text")) for b in bindings})

    place.world.sandbox.fault(method="PUT", path="/zones/**", before=look)

    outcome = place.on("--path", "/api/ai", "--incident", "42")

    assert outcome.code == 0
    assert [each[1] for each in stored[0]["BLOCK_00"]["closed"]] == [
        f"{HOST}/api/ai/chat*",
        f"{HOST}/api/ai*",
        f"{ALSO}/api/ai*",
    ]
    assert stored[0]["BLOCK_00"]["closed"][0][3] == WORKER
    assert (
        place.world.sandbox.deployments(MAINTENANCE_WORKER)[0]
        .annotations["workers/message"]
        .startswith("ops1 incident=42 run=")
    )
    printed = "\n".join(outcome.result["plan"]["sections"]["Closed, with previous targets"])
    assert all(each[1] in printed and each[2] in printed for each in stored[0]["BLOCK_00"]["closed"])


@pytest.mark.slow
def test_specific_routes_are_closed_and_other_workers_named(place: MaintenanceWorld) -> None:
    place.route(f"{HOST}/api/ai/chat*", WORKER)
    place.route(f"{HOST}/api/ai/docs*", "other")
    place.route(f"{HOST}/api/ai/raw", None)

    outcome = place.on("--path", "/api/ai")

    assert outcome.code == 0
    assert place.serves(f"{HOST}/api/ai/chat/1") == place.serves(f"{HOST}/api/ai") == "off"
    assert place.serves(f"{HOST}/api/ai/docs") == "other"
    left = outcome.result["plan"]["sections"]["Unchanged"]
    assert [line.split(" ")[2] for line in left] == [f"{HOST}/api/ai/docs*", f"{HOST}/api/ai/raw"]
    place.off()
    assert place.routes[f"{HOST}/api/ai/chat*"] == WORKER


@pytest.mark.slow
def test_path_of_another_worker_stays_unchanged(place: MaintenanceWorld) -> None:
    place.route(f"{HOST}/pa*", "other")

    outcome = place.on("--path", "/pay")

    assert f"{HOST}/pay*" not in place.routes
    assert place.serves(f"{HOST}/pay") == "other"
    assert place.routes[f"{ALSO}/pay*"] == MAINTENANCE_WORKER
    assert outcome.code == 0
    left = outcome.result["plan"]["sections"]["Unchanged"]
    assert left == [f"the route {HOST}/pa* → other takes requests to {HOST}/pay, not this service: unchanged"]


@pytest.mark.slow
def test_wildcard_routes_are_repointed_and_overrides_named(place: MaintenanceWorld) -> None:
    place.route("*.fortunet.example/shop/*", WORKER)
    place.route("*.fortunet.example/docs/*", "other")
    before = place.ways

    outcome = place.on()

    assert outcome.code == 0
    assert place.serves("eu.fortunet.example/shop/1") == place.serves(f"{ALSO}/docs/1") == "off"
    assert place.serves("eu.fortunet.example/docs/1") == "other"
    plan = outcome.result["plan"]
    assert plan["warnings"] == ["not probed afterwards, because the hosts are unknown: *.fortunet.example/shop/*"]
    assert plan["sections"]["Unchanged"] == [
        f"the route *.fortunet.example/docs/* → other took requests to {ALSO}/… before; ops-maintenance takes them too"
    ]
    place.off()
    assert place.ways == before


@pytest.mark.slow
def test_host_in_unreadable_zone_is_named_and_probed_open(place: MaintenanceWorld) -> None:
    zones = place.world.sandbox.zones
    hidden = zones.all[zones.add("hidden.example")]
    zones.add_domain(hidden, "api.hidden.example", WORKER)
    seen = {"id": place.zone.id, "name": "fortunet.example"}
    page = {"success": True, "errors": [], "result": [seen], "result_info": {"total_count": 1}}
    place.world.sandbox.fault(method="GET", path="/zones", body=json.dumps(page), **JSON)

    outcome = place.on()

    assert ended(outcome) == (6, "still_unhealthy", "still_unhealthy")
    assert "api.hidden.example is a custom domain" in outcome.result["plan"]["warnings"][0]
    assert "https://api.hidden.example/ is answered 200, and not by ops-maintenance" in texts(outcome, "probed")[-1]
    assert place.serves(f"{HOST}/") == "off"


@pytest.mark.slow
def test_service_on_workers_dev_is_refused_with_the_ways_out(place: MaintenanceWorld) -> None:
    place.world.edit_config("url: https://api.fortunet.example", "url: https://api.acme.workers.dev")

    outcome = place.on()

    assert ended(outcome) == (3, "refused", "no_way_in")
    assert "Cloudflare's own zone" in outcome.result["message"]
    assert "maintenance: switch" in outcome.result["hint"]


def test_missing_workers_dev_subdomain_blocks_only_preparation(place: MaintenanceWorld) -> None:
    place.world.sandbox.fault(method="GET", path="/accounts/*/workers/subdomain", status=404, code=10007, times=None)

    assert place.on().code == 0
    assert ended(place.ops("prepare")) == (3, "refused", "no_way_in")


@pytest.mark.slow
def test_plan_names_ingress_outside_the_routes(place: MaintenanceWorld) -> None:
    sandbox = place.world.sandbox
    bound = [{"type": "service", "name": "API", "service": WORKER}]
    sandbox.deploy("shop", sandbox.upload("shop", bindings=bound))
    text = place.world.config.read_text()
    place.world.config.write_text(
        text.replace("      frontend:\n", "      shop: {worker: shop, url: https://shop.example}\n      frontend:\n", 1)
    )
    place.world.release(timedelta(hours=1), code="more", handlers=("fetch", "queue", "scheduled"))
    account(place).workers[WORKER].schedules = [{"cron": "*/5 * * * *"}]

    plan = place.on("--dry-run").result["plan"]

    stays = "\n".join(plan["sections"]["Stays open"])
    assert f"cron triggers of {WORKER}: */5 * * * *" in stays
    assert "queue" in stays
    assert "service bindings: shop" in stays
    assert "Pages" in stays


@pytest.mark.slow
def test_maintenance_on_is_idempotent(place: MaintenanceWorld) -> None:
    place.on("--until", "2h")
    versions = place.world.sandbox.deployments(MAINTENANCE_WORKER)
    place.world.sandbox.requests.clear()

    again = place.on()

    assert ended(again) == (0, "nothing_to_do", "already_off")
    assert place.world.writes() == []
    assert place.world.sandbox.deployments(MAINTENANCE_WORKER) == versions
    assert texts(again, "verified") == ["healthy"]


@pytest.mark.slow
def test_two_paths_close_and_reopen_independently(place: MaintenanceWorld) -> None:
    place.route(f"{HOST}/api/ai/chat*", WORKER)
    before = place.ways
    place.on("--path", "/api")
    place.on("--path", "/api/ai")
    place.on("--path", "/admin")

    first = place.off("--path", "/api")

    assert first.code == 0, first.err
    assert place.serves(f"{HOST}/api/ai/chat") == place.serves(f"{HOST}/api/ai") == "off"
    assert place.serves(f"{HOST}/admin") == "off"
    assert place.serves(f"{HOST}/api/other") != "off"
    assert place.off().code == 0
    assert place.ways == before


@pytest.mark.slow
def test_path_stays_closed_while_the_service_is_closed(place: MaintenanceWorld) -> None:
    before = place.ways
    place.on("--path", "/api/ai")
    place.on()

    outcome = place.off("--path", "/api/ai")

    assert outcome.code == 0
    assert outcome.result["message"] == (
        "/api/ai is still in maintenance, because the whole of api is; to open it, reopen the whole of api"
    )
    assert place.serves(f"{HOST}/api/ai") == place.serves(f"{HOST}/") == "off"
    place.off()
    assert place.ways == before


def test_maintenance_off_without_on_does_nothing(place: MaintenanceWorld) -> None:
    outcome = place.off()

    assert ended(outcome) == (0, "nothing_to_do", "not_off")
    assert place.world.writes() == []


@pytest.mark.slow
def test_route_changed_elsewhere_is_named_and_skipped(place: MaintenanceWorld) -> None:
    place.on()
    theirs = next(route for route in place.zone.routes.values() if route.pattern == f"{HOST}/*")
    place.world.sandbox.zones.add_route(place.zone, theirs.pattern, "other", id=theirs.id)
    stranger = place.route("www.fortunet.example/*", MAINTENANCE_WORKER)

    outcome = place.off()

    assert place.routes == {f"{HOST}/*": "other", "www.fortunet.example/*": MAINTENANCE_WORKER}
    assert place.zone.routes[stranger].script == MAINTENANCE_WORKER
    assert f"unchanged: route {HOST}/*: now → other, previously → {WORKER}" in outcome.result["plan"]["warnings"]
    assert place.off().result["plan"]["reason"] == "not_off"


@pytest.mark.slow
def test_reopening_an_unhealthy_service_is_not_recovered(place: MaintenanceWorld) -> None:
    place.on()
    place.world.release(timedelta(minutes=1), code="bad", behaviour={"status": 500})

    assert ended(place.off()) == (6, "still_unhealthy", "still_unhealthy")


@pytest.mark.slow
def test_other_runbooks_claim_no_recovery_during_maintenance(place: MaintenanceWorld) -> None:
    bad = place.world.release(timedelta(minutes=20), code="bad", behaviour={"status": 500})
    place.on()

    outcome = place.world.rollback()

    assert ended(outcome) == (8, "no_evidence", "no_evidence")
    assert "in maintenance mode" in texts(outcome, "probed")[0]
    assert place.world.live != {bad: 100}


# Interruption, concurrent changes and refusals

SCRIPTS = f"/accounts/*/workers/scripts/{MAINTENANCE_WORKER}"
STORED = [{"method": "POST", "path": f"{SCRIPTS}/versions"}, {"method": "POST", "path": f"{SCRIPTS}/deployments"}]
TURNED = {"method": "PUT", "path": "/zones/*/workers/routes/*"}
SWITCHED = {"method": "POST", "path": f"/accounts/*/workers/scripts/{WORKER}/subdomain"}
ON = [*STORED, TURNED, {"method": "POST", "path": "/zones/*/workers/routes"}, SWITCHED]
OFF = [TURNED, {"method": "DELETE", "path": "/zones/*/workers/routes/*"}, SWITCHED, *STORED]
"""The writes of closing and of reopening a whole service, in order."""
EACH_WRITE = pytest.mark.parametrize(
    "number", [pytest.param(number, marks=() if number == 2 else pytest.mark.slow) for number in range(5)]
)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@EACH_WRITE
def test_run_killed_after_any_write_is_completed_by_the_next(place: MaintenanceWorld, number: int) -> None:
    before = place.ways
    for run, writes, serves in ((place.on, ON, "off"), (place.off, OFF, "home")):
        place.world.sandbox.fault(**writes[number], after=interrupt)
        assert ended(run())[:2] == (130, "interrupted")

        again = run()

        assert again.code == 0, again.err
        assert place.serves(f"{HOST}/") == place.serves(f"{ALSO}/") == serves
    assert place.ways == before


@pytest.mark.parametrize("lost", ["before", pytest.param("after", marks=pytest.mark.slow)])
@EACH_WRITE
def test_unclear_write_is_resolved_by_read_back(place: MaintenanceWorld, number: int, lost: Any) -> None:
    before = place.ways
    place.world.sandbox.fault(**ON[number], lost=lost)
    assert place.on().code == 0
    assert len(place.world.sandbox.deployments(MAINTENANCE_WORKER)) == 2
    place.world.sandbox.fault(**OFF[number], lost=lost)
    assert place.off().code == 0
    assert place.ways == before


@pytest.mark.slow
def test_refused_write_names_the_rest_and_next_run_continues(place: MaintenanceWorld) -> None:
    place.world.sandbox.fault(**TURNED, status=403, code=10000, times=None)

    assert ended(place.on()) == (4, "failed", "not_authorised")
    assert place.serves(f"{HOST}/") == "home"

    place.world.sandbox.faults.clear()
    assert place.on().code == 0
    assert len(place.world.sandbox.deployments(MAINTENANCE_WORKER)) == 3, (
        "a run that opens meanwhile would notice a new version"
    )


def test_route_changed_after_the_plan_stops_the_run(place: MaintenanceWorld) -> None:
    (mine,) = place.zone.routes.values()

    def change() -> None:
        place.world.sandbox.zones.add_route(place.zone, mine.pattern, "other", id=mine.id)

    place.world.sandbox.fault(**STORED[1], before=change)

    outcome = place.on()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "; changed: " in outcome.result["message"]
    assert f"; not changed: Route {HOST}" in outcome.result["message"]
    assert place.routes == {f"{HOST}/*": "other"}


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0, 1])
def test_concurrent_runs_keep_all_previous_values(place: MaintenanceWorld, moment: int) -> None:
    """A second run, for a path, completes before the upload or the deployment of the first."""
    before = place.ways
    others: list[Outcome] = []
    place.world.sandbox.fault(**STORED[moment], before=lambda: others.append(run_in_another_process(place)))

    first = place.on()

    assert others[0].code == 0
    assert ended(first)[1:] == ("failed", "world_moved")
    assert place.serves(f"{HOST}/api/ai") == "off"
    assert place.on().code == 0
    assert place.serves(f"{HOST}/") == place.serves(f"{HOST}/api/ai") == "off"
    assert place.off().code == 0
    assert place.ways == before


def run_in_another_process(place: MaintenanceWorld) -> Outcome:
    """Run in another process, because signals and output belong to the first run."""
    where = ["--service", "api", "--environment", "production", "--config", str(place.world.config), "--yes", "--json"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **place.world.sandbox.environ()}
    done = subprocess.run(
        [sys.executable, "-m", "ops", "maintenance", "--state", "on", "--path", "/api/ai", *where],
        env=environ | {"CLOUDFLARE_API_TOKEN": "security"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--state", "of"], 'unknown state "of"'),
        (["--state", "on", "--path", "api"], '"api" is not a path'),
        (["--state", "on", "--path", "/api/*"], '"/api/*" is not a path'),
        (["--state", "on", "--path", "/a?b"], '"/a?b" is not a path'),
        (["--state", "on", "--path", "/a/../b"], '"/a/../b" is not a path'),
        (["--state", "on", "--path", "/%61"], '"/%61" is not a path'),
        (["--state", "on", "--path", "/"], '"/" is not a path'),
        (["--state", "on", "--message", "x" * 301], "the message has 301 characters"),
        (["--state", "on", "--until", "soon"], '"soon" is not an end'),
        (["--state", "on", "--until", "2001-01-01T00:00Z"], "is in the past"),
        (["--state", "off", "--message", "x"], "`--state off` takes no message"),
    ],
)
def test_invalid_options_are_refused_before_reads(place: MaintenanceWorld, arguments: list[str], says: str) -> None:
    outcome = place.ops(*arguments, "--service", "api")

    assert ended(outcome)[:2] == (2, "refused")
    assert says in outcome.result["message"]
    assert place.world.sandbox.requests == []


def test_pages_site_is_refused(place: MaintenanceWorld) -> None:
    outcome = place.ops("--state", "on", "--service", "frontend")

    assert ended(outcome) == (2, "refused", "unknown_name")
    assert outcome.result["hint"].startswith("Name one of: api. ")


def test_missing_worker_is_refused_with_prepare_command(place: MaintenanceWorld) -> None:
    del account(place).workers[MAINTENANCE_WORKER]

    outcome = place.on()

    assert ended(outcome) == (3, "refused", "not_prepared")
    assert "ops maintenance prepare --environment production" in outcome.result["press"]
    assert outcome.result["press_button"] == ""
    assert place.world.writes() == []


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "variables", [{"OTHER": "x"}, {"RUN": "x", "BLOCK_00": "x"}], ids=["foreign variables", "changed by hand"]
)
def test_unknown_worker_variables_are_refused(place: MaintenanceWorld, variables: dict[str, str]) -> None:
    place.world.sandbox.deploy(MAINTENANCE_WORKER, place.world.sandbox.upload(MAINTENANCE_WORKER, vars=variables))

    assert ended(place.on()) == ended(place.off()) == (3, "refused", "not_prepared")
    assert place.world.writes() == []


def test_service_without_routes_is_refused(place: MaintenanceWorld) -> None:
    place.zone.routes.clear()
    place.world.sandbox.zones.domains.clear()

    outcome = place.on()

    assert ended(outcome) == (3, "refused", "no_way_in")
    assert "no route or custom domain leads from" in outcome.result["message"]


def test_unreadable_zone_is_refused(place: MaintenanceWorld) -> None:
    place.world.edit_config("url: https://api.fortunet.example", "url: https://api.elsewhere.example")

    assert ended(place.on()) == (3, "refused", "no_way_in")


@pytest.mark.slow
def test_too_many_routes_are_refused(place: MaintenanceWorld) -> None:
    for number in range(60):
        place.route(f"{HOST}/a-rather-long-path-of-a-route/{number}/*", WORKER)

    outcome = place.on()

    assert ended(outcome) == (3, "refused", "too_many_routes")
    assert place.world.writes() == []


def test_missing_routes_permission_is_named(place: MaintenanceWorld) -> None:
    outcome = place.ops("--state", "on", "--service", "api", CLOUDFLARE_API_TOKEN=place.world.sandbox.token)

    assert ended(outcome) == (4, "failed", "not_authorised")
    assert '"Zone Read"' in outcome.result["hint"]


# No request bypasses maintenance


def spellings(path: str) -> st.SearchStrategy[str]:
    """Generate spellings that Cloudflare treats as a path with this prefix."""

    def spelt(letter: str) -> st.SearchStrategy[str]:
        if letter == "/":
            return st.sampled_from(["/", "//", "/./", "/x/../", "/%2e/"])
        return st.sampled_from([letter, letter, f"%{ord(letter):02x}", f"%{ord(letter):02X}"])

    more = st.sampled_from(["", "/", "//", "?", "?q=1", "/?/x", "/x/y", "%2Fx", "/%2e/", ";a", "#"[:0], "?x=/../.."])
    return st.tuples(*map(spelt, path), more).map("".join)


PATH = "/api/ai"
ANYTHING = st.text(st.sampled_from("ab/.%?&=2fF;:+~-_A"), max_size=20).map(lambda text: f"/{text}")


@pytest.mark.slow
@holds_for(8, 300, target=spellings(PATH), host=st.sampled_from([HOST, ALSO]))
def test_no_spelling_of_a_path_bypasses_maintenance(place: MaintenanceWorld, target: str, host: str) -> None:
    if PATH not in {route.pattern.removeprefix(HOST).removesuffix("*") for route in place.zone.routes.values()}:
        assert place.on("--path", PATH).code == 0

    assert place.serves(host + target) == "off", target


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


# Orphaned routes: they lead to ops-maintenance, but its live version does not store them


def orphan(place: MaintenanceWorld) -> None:
    """Leave orphaned routes: closed at the edge, but not stored in the live version."""
    assert place.on("--message", "stored").code == 0
    upload = place.world.sandbox.upload(MAINTENANCE_WORKER, vars={"RUN": "other", "BASE": ""})
    place.world.sandbox.deploy(MAINTENANCE_WORKER, upload)
    place.world.sandbox.requests.clear()


def test_off_reopens_orphaned_routes_from_an_older_version(place: MaintenanceWorld) -> None:
    before = place.ways
    orphan(place)

    opened = place.off()

    assert ended(opened) == (0, "recovered", "verified"), opened.err
    assert place.ways == before
    *routes, dev = opened.result["plan"]["warnings"]
    assert [HOST in routes[0], ALSO in routes[1]] == [True, True]
    assert "This run uses the previous target" in routes[0]
    assert dev.startswith(f"workers.dev of {WORKER} was switched off")


def test_on_stores_orphaned_routes(place: MaintenanceWorld) -> None:
    before = place.ways
    orphan(place)

    closed = place.on("--message", "again")

    assert ended(closed)[:2] == (0, "healthy_as_before"), closed.err
    assert place.get(f"{HOST}/x").json()["message"] == "again"
    assert place.off().code == 0
    assert place.ways == before


def test_off_of_another_service_skips_orphaned_routes(place: MaintenanceWorld) -> None:
    """`shop` of another team has routes of its own in the same zone."""
    sandbox, shop = place.world.sandbox, "shop.fortunet.example"
    sandbox.deploy("bookshop", sandbox.upload("bookshop", behaviour={"body": "books", "status": 200}))
    text = place.world.config.read_text().replace(
        "      frontend:\n", f"      shop: {{worker: bookshop, url: 'https://{shop}'}}\n      frontend:\n", 1
    )
    place.world.config.write_text(text)
    place.route(f"{shop}/*", "bookshop")
    orphan(place)
    assert place.ops("--state", "on", "--service", "shop").code == 0

    opened = place.ops("--state", "off", "--service", "shop")

    assert place.serves(f"{shop}/") == "books"
    assert place.routes[f"{HOST}/*"] == MAINTENANCE_WORKER
    assert f"no version of {MAINTENANCE_WORKER} stores it for bookshop" in opened.result["plan"]["warnings"][0]
    assert place.off().code == 0
    assert place.serves(f"{HOST}/") == "home"


@pytest.mark.slow
def test_unknown_orphaned_route_is_named_with_dashboard_page(place: MaintenanceWorld) -> None:
    place.zone.routes.clear()
    place.route(f"{HOST}/*", MAINTENANCE_WORKER)

    outcome = place.off()

    assert ended(outcome) == (6, "still_unhealthy", "still_unhealthy")
    (warning,) = outcome.result["plan"]["warnings"]
    assert "To change it: dashboard → fortunet.example → Workers Routes" in warning
    assert place.routes == {f"{HOST}/*": MAINTENANCE_WORKER}
    assert place.world.writes() == []


@pytest.mark.slow
def test_other_routes_and_workers_are_not_restored(place: MaintenanceWorld) -> None:
    """Another person recreated the first route; the second was stored for a Worker missing in ops.yml."""
    block: dict[str, Any] = {"service": "api", "path": "", "message": "m", "until": "", "run": "r"}
    block |= {"since": "2026-11-24T05:00:00Z", "incident": None, "subdomain": None}
    blocks = [
        block | {"worker": WORKER, "closed": [[place.zone.id, f"{HOST}/*", "0" * 32, WORKER]]},
        block | {"worker": "former", "closed": [[place.zone.id, f"{ALSO}/*", "", ""]]},
    ]
    sandbox = place.world.sandbox
    bindings = [{"type": "json", "name": f"BLOCK_0{n}", "json": each} for n, each in enumerate(blocks)]
    sandbox.deploy(
        MAINTENANCE_WORKER, sandbox.upload(MAINTENANCE_WORKER, vars={"RUN": "r", "BASE": ""}, bindings=bindings)
    )
    sandbox.deploy(MAINTENANCE_WORKER, sandbox.upload(MAINTENANCE_WORKER, vars={"RUN": "other", "BASE": ""}))
    place.zone.routes.clear()
    for host in (HOST, ALSO):
        place.route(f"{host}/*", MAINTENANCE_WORKER)

    outcome = place.off()

    assert ended(outcome)[0] == 6
    assert place.routes == {f"{HOST}/*": MAINTENANCE_WORKER, f"{ALSO}/*": MAINTENANCE_WORKER}
    assert len(outcome.result["plan"]["warnings"]) == 2


def test_deleted_route_counts_as_done(place: MaintenanceWorld) -> None:
    """Another person deletes the added route just before this run does."""
    before = place.routes
    place.on()

    def delete() -> None:
        place.zone.routes = {id_: r for id_, r in place.zone.routes.items() if r.pattern != f"{ALSO}/*"}

    place.world.sandbox.fault(method="DELETE", path="/zones/**", before=delete)

    outcome = place.off()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert place.routes == before
    assert f"route {ALSO}/* was deleted before" in texts(outcome, "written")


def test_lagging_deployment_list_is_not_another_run(place: MaintenanceWorld) -> None:
    """Each ingress path gets one stale deployment list after the new one was seen."""
    before = place.ways
    worker = account(place).workers[MAINTENANCE_WORKER]

    def hide() -> None:
        worker.hidden_reads[worker.history[-1].id] = 1

    for method in ("PUT", "POST"):
        place.world.sandbox.fault(method=method, path="/zones/**", times=None, before=hide)

    closed = place.on()

    assert ended(closed)[:2] == (0, "recovered"), closed.err
    assert place.off().code == 0
    assert place.ways == before


def test_irrelevant_zones_are_skipped_if_there_are_many(place: MaintenanceWorld) -> None:
    for number in range(60):
        place.world.sandbox.zones.add(f"customer-{number}.example")

    closed = place.on()

    assert closed.code == 0, closed.err
    read = {r.path.split("/")[4] for r in place.world.sandbox.requests if r.path.endswith("/workers/routes")}
    assert read == {place.zone.id}
    (warning,) = closed.result["plan"]["warnings"]
    assert "customer-0.example" in warning
    assert "and 55 more were not read" in warning


def test_zones_are_read_in_batches(place: MaintenanceWorld) -> None:
    for number in range(30):
        place.world.sandbox.zones.add(f"customer-{number}.example")
    under_way, most = set[object](), list[int]()

    def begin() -> None:
        under_way.add(object())
        most.append(len(under_way))

    place.world.sandbox.fault(
        method="GET", path="/zones/*/workers/routes", times=None, before=begin, delay=0.02, after=under_way.pop
    )

    assert place.ops("--state", "on", "--service", "api", "--dry-run").code == 0
    assert 1 < max(most) <= 8


# The maintenance Worker


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
    assert renewed.result["plan"]["sections"]["Stays in maintenance"] == ["the whole of api"]
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
    place.on("--path", "/api", "--message", "all & <more>")
    place.on("--path", "/api/ai", "--message", "this")
    (live,) = world.sandbox.live(MAINTENANCE_WORKER)
    version = account(place).workers[MAINTENANCE_WORKER].versions[live]
    running = RunningVersion(worker=MAINTENANCE_WORKER, version=version, secrets={})
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


def test_service_in_a_zone_that_the_token_cannot_read_is_refused(place: MaintenanceWorld) -> None:
    place.world.edit_config("url: https://api.fortunet.example", "url: https://api.elsewhere.example")

    outcome = place.on()

    assert ended(outcome) == (3, "refused", "no_way_in")
    assert (
        "the token cannot read the zone of api.elsewhere.example; it can read: fortunet.example"
        in (outcome.result["message"])
    )
