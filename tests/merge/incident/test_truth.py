"""Incidents played by commands: each surface says what the truth table of the story says."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from tests.conftest import World, job_environ
from tests.support import limits, offline, switches
from tests.support.commands import WRITE
from tests.support.held_states import SHOP_SWITCHES
from tests.support.long_incidents import LongIncident, assert_truth, parse_time, read_truths
from tests.support.scenarios import SECRETS, Given, leaked
from tests.support.shop import WORKER, Shop, open_shop

ShopStory = Callable[[LongIncident, Shop], None]
Story = Callable[[World], Iterator[LongIncident]]
TRUTHS = read_truths(__file__)
WEB = ("--service", "web")
READING = {"CLOUDFLARE_API_TOKEN": "reading-all-that-may-be-held"}


def failed_then_good(night: LongIncident, shop: Shop) -> None:
    night.world.sandbox.fault(**WRITE, code=10021, message="no")
    night.press("03:20", "mai", "rollback-worker", *WEB, code=4)
    night.press("03:30", "mai", "rollback-worker", *WEB)


def worker_and_site(night: LongIncident, shop: Shop) -> None:
    night.press("03:20", "mai", "rollback-worker", *WEB)
    night.press("03:30", "mai", "rollback-pages", "--service", "docs")


def watched(night: LongIncident, shop: Shop) -> None:
    night.press("03:20", "mai", "rollback-worker", *WEB)
    night.watch("web")


def relapse(night: LongIncident, shop: Shop) -> None:
    night.press("03:20", "mai", "rollback-worker", *WEB)
    night.wait_until("03:23")

    def fail() -> None:
        failure.status = 500 if shop.live == {shop.good: 100} else None

    failure = night.world.sandbox.edge_fault(path="/cart", times=None, before=fail)
    night.watch("web", code=7)


def relapse_then_good(night: LongIncident, shop: Shop) -> None:
    relapse(night, shop)
    night.press("03:40", "bo", "rollback-worker", *WEB, "--to", shop.old)


def reopened(night: LongIncident, shop: Shop) -> None:
    night.press("03:20", "mai", "rollback-worker", *WEB)
    night.wait_until("03:30")
    night.hub.close(night.number, "mai")
    night.wait_until("04:00")
    night.world.sandbox.deploy(WORKER, shop.bad)
    night.wait_until("04:10")
    night.hub.add_user("bo")
    night.hub.reopen(night.number, "bo")
    night.press("04:15", "bo", "rollback-worker", *WEB)


def two_responders(night: LongIncident, shop: Shop) -> None:
    night.world.sandbox.fault(**WRITE, code=10021, message="no")
    night.press("03:20", "mai", "rollback-worker", *WEB, code=4)
    night.type("03:25", "bo", "rollback-worker", *WEB)


def imported_late(night: LongIncident, shop: Shop) -> None:
    down = night.hub.fault(method="*", path="/**", status=503, times=None)
    night.type("03:20", "mai", "rollback-worker", *WEB)
    down.remove()
    night.wait_until("05:00")
    where = ("--incident", str(night.number))
    assert night.ops("incident", "import", night.runs[0], *where, **night.laptop("mai")).code == 0


def github_down(night: LongIncident, shop: Shop) -> None:
    down = night.hub.fault(method="PATCH", path="/repos/*/*/issues/comments/*", status=502, times=None)
    night.press("03:20", "mai", "rollback-worker", *WEB)
    down.remove()
    night.wait_until("04:30")
    where = ("--incident", str(night.number))
    assert night.ops("incident", "import", night.runs[0], *where, **night.laptop("bo")).code == 0


def drill_run(night: LongIncident, shop: Shop) -> None:
    where = ("--environment", "live", "--yes", "--json")
    run = night.world.ops("rollback-worker", *WEB, *where, "--config", str(night.world.config), **night.tokens)
    real = {"GITHUB_API_URL": "https://api.github.com", "GITHUB_TOKEN": "ghp_mai-0123456789"}
    source = (run.result["run"], "--incident", str(night.number))
    assert night.ops("incident", "import", *source, **real).code == 2


def provider(night: LongIncident, shop: Shop) -> None:
    sandbox = night.world.sandbox
    sandbox.switches.status_pages_lag_seconds = 0
    sandbox.deploy(WORKER, shop.good, at=parse_time("02:30"))
    failure = sandbox.edge_fault(path="/cart", status=500, times=None)
    sandbox.status_pages.begin_incident("cloudflare", "Workers errors", {"Workers": "major_outage"})
    night.wait_until("03:45")
    check = ("check-outage", "web", "--incident", str(night.number))
    assert night.ops(*check, **job_environ(night.hub)).code == 0
    night.wait_until("04:10")
    failure.remove()
    sandbox.status_pages.cloudflare.incidents.clear()
    night.wait_until("04:15")
    assert night.ops(*check, **job_environ(night.hub)).code == 0


ON_SHOP: dict[str, ShopStory] = {
    "failed-then-good": failed_then_good,
    "worker-and-site": worker_and_site,
    "watched": watched,
    "relapse": relapse,
    "relapse-then-good": relapse_then_good,
    "reopened": reopened,
    "two-responders": two_responders,
    "imported-late": imported_late,
    "github-down": github_down,
    "drill-run": drill_run,
    "provider": provider,
}


@pytest.mark.parametrize("name", ON_SHOP)
def test_incident_of_a_shop_equals_its_truth_table(world: World, name: str) -> None:
    world.sandbox.clock.set(parse_time("03:00"))
    world.sandbox.switches.propagation_seconds = 0
    shop = open_shop(world)
    night = LongIncident(world, "live", shop.environ())
    night.open("03:15", "mai", service="web", began="03:11")

    ON_SHOP[name](night, shop)

    assert_truth(night, TRUTHS[name])


def feature_with_an_end(world: World) -> Iterator[LongIncident]:
    """Another team's application with its own switch."""
    place = switches.prepared(world)
    world.edit_config("session-do:", "basket:")
    switches.deploy(world, SHOP_SWITCHES)
    for name, state in (("basket", "on"), ("ai", "auto")):
        place.put(name, state=state, incident=None)
    world.sandbox.switches.kv_api_staleness_seconds = 0
    night = LongIncident(world, "production", {"CLOUDFLARE_API_TOKEN": "switching"})
    night.open("03:15", "mai", service="api", began="03:11")
    night.press("03:20", "mai", "feature", "--name", "basket", "--state", "off", "--until", "2h")
    yield night


def all_clear_after_a_recovery(world: World) -> Iterator[LongIncident]:
    place = switches.prepared(world)
    world.sandbox.switches.kv_api_staleness_seconds = 0
    for name, state in (("session-do", "on"), ("ai", "auto")):
        place.put(name, state=state, incident=None)
    bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": switches.NAMESPACE}]
    broken = {"runtime": switches.DECLARED, "paths": {"/health": {"status": 500}}}
    world.release(timedelta(minutes=10), code="bad", bindings=bound, behaviour=broken)
    night = LongIncident(world, "production", {"CLOUDFLARE_API_TOKEN": "switching"})
    night.open("03:15", "alice", service="api", began="03:11")
    asked = ("recover:rollback-api", "rollback-worker", "--service", "api")
    night.label("03:20", "alice", *asked, CLOUDFLARE_API_TOKEN=world.sandbox.token)
    night.press("03:25", "alice", "feature", "--name", "session-do", "--state", "off")
    night.press("03:50", "alice", "all-clear")
    yield night


def maintenance_with_two_owners(world: World) -> Iterator[LongIncident]:
    with offline.prepared(world):
        night = LongIncident(world, "production", {"CLOUDFLARE_API_TOKEN": "security"})
        night.open("03:15", "alice", service="api", began="03:11")
        other = LongIncident(world, "production", night.tokens)
        night.press("03:20", "alice", "maintenance", "--service", "api", "--state", "on")
        other.open("03:24", "bo", service="api")
        other.runs = night.runs[:]
        other.press("03:25", "bo", "maintenance", "--service", "api", "--state", "on")
        night.runs += other.runs[1:]
        yield night


def maintenance_released_by_one(world: World) -> Iterator[LongIncident]:
    for night in maintenance_with_two_owners(world):
        night.press("03:40", "alice", "maintenance", "--service", "api", "--state", "off")
        yield night


def rotation(world: World) -> Iterator[LongIncident]:
    leaked(world, Given())
    night = LongIncident(world, "production", SECRETS)
    night.open("03:15", "alice", service="api", began="03:11")
    night.press("03:20", "alice", "rotate-secrets", "--service", "api", "--only", "GROQ_API_KEY")
    yield night


def _prepare_limits(world: World) -> limits.LimitsWorld:
    place = limits.limits_world(world)
    place.github.switches.actions_may_create_pull_requests = True
    assert place.apply().code == 0
    world.sandbox.add_token(READING["CLOUDFLARE_API_TOKEN"], [*switches.PERMISSIONS, *offline.PERMISSIONS])
    return place


def limits_by_pull_request(world: World) -> Iterator[LongIncident]:
    place = _prepare_limits(world)
    night = LongIncident(world, "production", READING)
    night.open("03:15", "alice", service="api", began="03:11")
    _raise_limit(night, place, "03:20", "03:30")
    yield night


def rollback_then_limits(world: World) -> Iterator[LongIncident]:
    place = _prepare_limits(world)
    world.release(timedelta(minutes=10), code="bad", behaviour={"status": 500})
    night = LongIncident(world, "production", READING)
    night.open("03:15", "alice", service="api", began="03:11")
    night.press("03:20", "alice", "rollback-worker", "--service", "api", CLOUDFLARE_API_TOKEN=world.sandbox.token)
    _raise_limit(night, place, "03:30", "03:35")
    yield night


def _raise_limit(night: LongIncident, place: limits.LimitsWorld, requested: str, merged: str) -> None:
    night.press(requested, "alice", "propose-limits", "--only", "calc", GITHUB_SHA=place.sha, CLOUDFLARE_API_TOKEN=None)
    (number,) = night.hub.open_pulls()
    night.wait_until(merged)
    night.hub.add_user("bo")
    place.sha = night.hub.merge(number, "bo")
    place.write(night.hub.files()["limits.yml"].decode())
    assert place.apply(**job_environ(night.hub)).code == 0
    night.wait_until("03:40")  # reads of KV show a new value late


ON_REFERENCE: dict[str, Story] = {
    "feature-with-an-end": feature_with_an_end,
    "all-clear-after-a-recovery": all_clear_after_a_recovery,
    "maintenance-with-two-owners": maintenance_with_two_owners,
    "maintenance-released-by-one": maintenance_released_by_one,
    "rotation": rotation,
    "limits-by-pull-request": limits_by_pull_request,
    "rollback-then-limits": rollback_then_limits,
}


@pytest.mark.parametrize("name", ON_REFERENCE)
def test_incident_of_the_reference_equals_its_truth_table(world: World, name: str) -> None:
    world.sandbox.clock.set(parse_time("03:00"))
    for night in ON_REFERENCE[name](world):
        assert_truth(night, TRUTHS[name])
