"""`ops rollback-worker`: main path."""

import pytest

from tests.conftest import Releases, World
from tests.support.commands import LIST, PROMISE, WRITE
from tests.support.in_process import held
from tests.support.shop import Shop


@pytest.mark.slow
def test_rollback_restores_the_good_version(world: World, releases: Releases) -> None:
    outcome = world.rollback("--reason", "checkout fails", "--incident", "42")

    assert outcome.code == 0, outcome.err
    assert outcome.result["decision"] == "recovered"
    assert world.live == {releases.good: 100}
    message = world.sandbox.deployments("fortunet-api")[0].annotations["workers/message"]
    assert message.startswith("ops1 incident=42 run=")
    assert message.endswith(f"blames={releases.bad}; checkout fails")


@pytest.mark.slow
def test_repeated_rollback_does_nothing(world: World, releases: Releases) -> None:
    world.rollback()
    before = len(world.writes())

    outcome = world.rollback()

    assert outcome.result["decision"] == "nothing_to_do"
    assert outcome.result["reason"] == "already_stepped_back"
    assert len(world.writes()) == before
    assert world.live == {releases.good: 100}


def test_run_without_yes_or_terminal_is_a_dry_run(world: World, releases: Releases) -> None:
    where = ["--service", "api", "--environment", "production", "--config", str(world.config)]

    outcome = world.ops("rollback-worker", *where)

    assert outcome.code == 9
    assert "PLANNED" in outcome.out
    assert "Add --yes to make these changes" in outcome.out
    assert world.live == {releases.bad: 100}
    assert world.writes() == []


SETTINGS = ["the workers.dev and preview switches", "script settings", "caches"]


def plan_of(shop: Shop, bindings: tuple[tuple[str, str], ...], handlers: tuple[str, ...]) -> list[str]:
    """Deploy a version with these bindings, and return what a rollback from it does not undo."""
    bound = [{"type": kind, "name": name, "id": "0" * 32} for kind, name in bindings]
    sandbox = shop.world.sandbox
    sandbox.deploy("shop-web", sandbox.upload("shop-web", bindings=bound, handlers=handlers))
    result = shop.ops("rollback-worker", "--to", shop.good, "--dry-run", "--json").result
    return [str(each) for each in result["plan"]["not_undone"]]


def test_plan_of_a_service_without_data_and_triggers_names_none(shop: Shop) -> None:
    assert [each.partition(":")[0] for each in plan_of(shop, (), ("fetch",))] == SETTINGS


def test_plan_names_data_and_triggers_of_the_service(shop: Shop) -> None:
    """No version holds triggers, so no rollback restores them. A terminal shows the first names, --verbose all."""
    sandbox = shop.world.sandbox
    zone = sandbox.zones.all[sandbox.zones.add("shop.example")]
    for path, worker in (("buy/*", "shop-web"), ("basket/*", "shop-web"), ("docs/*", "shop-docs")):
        sandbox.zones.add_route(zone, f"shop.example/{path}", worker)
    sandbox.zones.add_domain(zone, "www.shop.example", "shop-web")
    sandbox.zones.add_domain(zone, "mail.shop.example", "shop-mail")
    sandbox.account.workers["shop-web"].schedules = [{"cron": "0,30 3 * * *"}]
    stores = tuple(("kv_namespace", f"STORE_{number}") for number in range(1, 9))

    not_undone = plan_of(shop, (("d1", "ORDERS"), *stores), ("fetch", "scheduled"))

    assert not_undone[:-3] == [
        "data: D1 ORDERS, " + ", ".join(f"KV STORE_{number}" for number in range(1, 9)),
        "database migrations",
        "cron triggers, which stay and run the older code: 0,30 3 * * *",
        "routes: shop.example/buy/*, shop.example/basket/*",
        "custom domains: www.shop.example",
    ]
    short = shop.ops("rollback-worker", "--to", shop.good, "--dry-run").out
    assert "STORE_5, and 3 more" in " ".join(short.split())
    assert "Add --verbose" in short
    whole = shop.ops("rollback-worker", "--to", shop.good, "--dry-run", "--verbose").out
    assert "STORE_8" in whole
    assert "--verbose" not in whole


def test_plan_names_the_kinds_of_triggers_that_it_cannot_read(shop: Shop) -> None:
    shop.world.sandbox.switches.has_assets_listed = False
    for path in ("schedules", "domains"):
        shop.world.sandbox.fault(method="GET", path=f"**/{path}", times=None, status=403, code=10000)

    not_undone = plan_of(shop, (), ("fetch", "scheduled"))

    assert not_undone[0] == "cron triggers, routes, custom domains (names not read)"
    assert [each.partition(":")[0] for each in not_undone[1:]] == SETTINGS


def test_no_write_waits_for_the_names_of_triggers(shop: Shop) -> None:
    faults = shop.world.sandbox.faults
    with held(faults, method="GET", path="**/schedules"), held(faults, method="GET", path="**/domains"):
        outcome = shop.ops("rollback-worker", "--yes", "--json")

    assert outcome.result["decision"] == "recovered"
    assert "custom domains (names not read)" in outcome.result["plan"]["not_undone"][0]


def test_write_that_cloudflare_rejects_opens_no_incident(shop: Shop) -> None:
    """Nothing changed, and each further try with the wrong token would open another one."""
    github = shop.world.sandbox.github
    shop.world.sandbox.fault(**WRITE, times=None, status=403, code=10000)

    outcome = shop.ops("rollback-worker", "--yes", **github.environ())

    assert (outcome.code, shop.live) == (4, {shop.bad: 100})
    assert not github.issues
    assert "ops incident import " not in outcome.out


def test_unknown_outcome_opens_an_incident_with_its_record(shop: Shop) -> None:
    """Nothing was seen to change, but people must know of it: the record is on the incident."""
    github = shop.world.sandbox.github

    def lose_all_reads() -> None:
        shop.world.sandbox.fault(**LIST, status=500, times=None)

    shop.world.sandbox.fault(**WRITE, lost="after", after=lose_all_reads)

    outcome = shop.ops("rollback-worker", "--yes", **github.environ())

    assert (outcome.code, shop.live) == (5, {shop.good: 100})
    (issue,) = github.issues
    assert issue.title == "rollback-worker on web in live: Unknown outcome"
    assert PROMISE.search(issue.comments[0].body)
    shop.world.sandbox.faults.clear()
    again = [shop.ops("rollback-worker", "--yes", **github.environ()) for _ in range(2)]
    assert ([each.code for each in again], shop.live, github.issues) == ([0, 0], {shop.good: 100}, [issue])
