"""Maintenance mode at the edge for a service or path, including orphaned routes."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from ops.maintenance.plan_text import OPEN_SECTION, UNCHANGED_SECTION
from tests.conftest import WORKER, World
from tests.support.commands import JSON, ended, texts
from tests.support.offline import ALSO, DEV, HOST, MAINTENANCE_WORKER, MaintenanceWorld, account, prepared


@pytest.fixture
def place(world: World) -> Iterator[MaintenanceWorld]:
    with prepared(world) as found:
        yield found


@pytest.mark.slow
def test_maintenance_closes_and_reopens_all_ingress_paths(place: MaintenanceWorld) -> None:
    before = place.ways

    closed = place.on("--message", "back <soon>", "--until", "2h", "--incident", "42")

    assert ended(closed) == (0, "recovered", "verified")
    assert re.search(r"\bapi\b.* offline .*\b6\b.* 503, seen from FRA$", closed.result["message"])
    assert "planned end" in closed.result["plan"]["summary"]
    assert place.routes == {f"{HOST}/*": MAINTENANCE_WORKER, f"{ALSO}/*": MAINTENANCE_WORKER}
    assert place.world.sandbox.subdomain(WORKER) == {"enabled": False, "previews_enabled": False}
    for host in (HOST, ALSO):
        assert place.serves(f"{host}/health") == place.serves(f"{host}/any?x=1") == "off"
    assert (place.get(DEV).status_code, MAINTENANCE_WORKER in place.get(DEV).headers) == (404, False)

    opened = place.off("--incident", "42")

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


@pytest.mark.slow
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
    assert any("%2F" in line for line in plan["sections"][OPEN_SECTION])

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
    printed = map("\n".join, outcome.result["plan"]["sections"].values())
    closed = [text for each in stored[0]["BLOCK_00"]["closed"] for text in each[1:3]]
    assert [text for text in printed if all(each in text for each in closed)]


@pytest.mark.slow
def test_specific_routes_are_closed_and_other_workers_named(place: MaintenanceWorld) -> None:
    place.route(f"{HOST}/api/ai/chat*", WORKER)
    place.route(f"{HOST}/api/ai/docs*", "other")
    place.route(f"{HOST}/api/ai/raw", None)

    outcome = place.on("--path", "/api/ai")

    assert outcome.code == 0
    assert place.serves(f"{HOST}/api/ai/chat/1") == place.serves(f"{HOST}/api/ai") == "off"
    assert place.serves(f"{HOST}/api/ai/docs") == "other"
    left = outcome.result["plan"]["sections"][UNCHANGED_SECTION]
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
    left = outcome.result["plan"]["sections"][UNCHANGED_SECTION]
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
    assert plan["warnings"][0] == "not probed afterwards, because the hosts are unknown: *.fortunet.example/shop/*"
    assert plan["sections"][UNCHANGED_SECTION] == [
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

    stays = "\n".join(plan["sections"][OPEN_SECTION])
    assert f"cron triggers of {WORKER}, which keep running: */5 * * * *" in stays
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
    assert texts(again, "verified") == [
        "the whole of api is offline as requested: 6 addresses answer 503, seen from FRA"
    ]


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
    text = (
        "api /api/ai is still offline, seen from FRA, because the whole of api is; to open it, reopen the whole of api"
    )
    assert outcome.result["message"] == text
    assert place.serves(f"{HOST}/api/ai") == place.serves(f"{HOST}/") == "off"
    place.off()
    assert place.ways == before


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--state", "of"], '"of"'),
        (["--state", "on", "--path", "api"], '"api"'),
        (["--state", "on", "--path", "/api/*"], '"/api/*"'),
        (["--state", "on", "--path", "/a?b"], '"/a?b"'),
        (["--state", "on", "--path", "/a/../b"], '"/a/../b"'),
        (["--state", "on", "--path", "/%61"], '"/%61"'),
        (["--state", "on", "--path", "/"], '"/"'),
        (["--state", "on", "--message", "x" * 301], " 301 "),
        (["--state", "on", "--until", "soon"], '"soon"'),
        (["--state", "on", "--until", "2001-01-01T00:00Z"], "2001-01-01"),
        (["--state", "off", "--message", "x"], "`--state off`"),
    ],
)
def test_invalid_options_are_refused_before_reads(place: MaintenanceWorld, arguments: list[str], says: str) -> None:
    outcome = place.ops(*arguments, "--service", "api")

    assert ended(outcome)[:2] == (2, "refused")
    assert says in outcome.result["message"]
    assert place.world.sandbox.requests == []


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


@pytest.mark.slow
def test_unreadable_zone_is_refused(place: MaintenanceWorld) -> None:
    place.world.edit_config("url: https://api.fortunet.example", "url: https://api.elsewhere.example")

    assert ended(place.on()) == (3, "refused", "no_way_in")


@pytest.mark.slow
def test_too_many_routes_are_refused(place: MaintenanceWorld) -> None:
    for number in range(61):
        place.route(f"{HOST}/{'long' * 1150}/{number}/*", WORKER)

    outcome = place.on()

    assert ended(outcome) == (3, "refused", "too_many_routes")
    assert place.world.writes() == []


@pytest.mark.slow
def test_missing_routes_permission_is_named(place: MaintenanceWorld) -> None:
    outcome = place.ops("--state", "on", "--service", "api", CLOUDFLARE_API_TOKEN=place.world.sandbox.token)

    assert ended(outcome) == (4, "failed", "not_authorised")
    assert '"Zone Read"' in outcome.result["hint"]


PATH = "/api/ai"


def test_service_in_a_zone_that_the_token_cannot_read_is_refused(place: MaintenanceWorld) -> None:
    place.world.edit_config("url: https://api.fortunet.example", "url: https://api.elsewhere.example")

    outcome = place.on()

    assert ended(outcome) == (3, "refused", "no_way_in")
    assert re.search(r"\bapi\.elsewhere\.example; .*: fortunet\.example$", outcome.result["message"])


WATCH_NOW = "to check every minute now: `ops watch --service api --environment production --closed`"
CHECKS = [
    ("", False, [f"nobody checks that it stays closed; {WATCH_NOW}"], 0),
    (
        "",
        True,
        [
            "after 30 min nobody checks that it stays closed; to check: `ops status --environment production`",
        ],
        1,
    ),
    (
        "1h",
        False,
        [f"only the schedule reopen-maintenance checks every 1h that it stays closed; {WATCH_NOW}"],
        0,
    ),
    ("1h", True, [], 2),
]


@pytest.mark.parametrize(("every", "in_job", "warnings", "kept"), CHECKS)
def test_plan_says_who_checks_that_it_stays_closed(
    place: MaintenanceWorld, every: str, in_job: bool, warnings: list[str], kept: int
) -> None:
    if every:
        place.world.edit_config("notify:\n", f"github: {{schedules: {{reopen-maintenance: {every}}}}}\n\nnotify:\n")
    environ = {"OPS_WATCHED": "true"} if in_job else {}

    plan = place.on("--dry-run", **environ).result["plan"]

    checks = [line for line in plan["follows"] if "stays closed" in line]
    found = [line.partition(" --config")[0] for line in plan["warnings"]]
    assert (found, len(checks)) == ([line.removesuffix("`") for line in warnings], kept)


def test_plan_says_what_happens_to_sockets_crons_and_queues(place: MaintenanceWorld) -> None:
    place.world.release(timedelta(hours=1), code="more", handlers=("fetch", "queue", "email"))
    account(place).workers[WORKER].schedules = [{"cron": "*/5 * * * *"}]

    stays = "\n".join(place.on("--dry-run").result["plan"]["sections"][OPEN_SECTION])

    assert "WebSockets that are open, perhaps: " in stays
    assert "Cloudflare does not document what a changed route does to them" in stays
    assert f"cron triggers of {WORKER}, which keep running: */5 * * * *" in stays
    assert "`wrangler queues pause-delivery QUEUE`" in stays
    assert "email: " in stays


def test_unreadable_maintenance_worker_closes_nothing(place: MaintenanceWorld) -> None:
    path = f"/accounts/*/workers/scripts/{MAINTENANCE_WORKER}/versions/*"
    place.world.sandbox.fault(method="GET", path=path, status=404, code=10007, times=None)

    outcome = place.on()

    assert ended(outcome)[2] == "malformed_answer", outcome.err
    assert place.world.writes() == []


@pytest.mark.slow
def test_maintenance_worker_that_changes_at_each_read_is_refused(place: MaintenanceWorld) -> None:
    def redeploy() -> None:
        (live,) = place.world.sandbox.live(MAINTENANCE_WORKER)
        place.world.sandbox.deploy(MAINTENANCE_WORKER, live)

    path = f"/accounts/*/workers/scripts/{MAINTENANCE_WORKER}/deployments"
    place.world.sandbox.fault(method="GET", path=path, before=redeploy, times=None)

    outcome = place.on()

    assert ended(outcome) == (3, "refused", "world_moved"), outcome.err
    assert place.world.writes() == []
