"""`ops rollback-worker`: main path."""

import pytest

from tests.conftest import Releases, World
from tests.support.commands import LIST, WRITE
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


@pytest.mark.parametrize(
    ("bindings", "handlers", "named"),
    [
        ((), ("fetch",), []),
        (
            (("kv_namespace", "BASKETS"), ("d1", "ORDERS")),
            ("fetch",),
            ["data in D1 ORDERS, KV BASKETS", "database mig"],
        ),
        ((), ("fetch", "scheduled"), ["cron triggers: "]),
    ],
)
def test_plan_names_only_what_the_service_has(
    shop: Shop, bindings: tuple[tuple[str, str], ...], handlers: tuple[str, ...], named: list[str]
) -> None:
    bound = [{"type": kind, "name": name, "id": "0" * 32} for kind, name in bindings]
    sandbox = shop.world.sandbox
    sandbox.deploy("shop-web", sandbox.upload("shop-web", bindings=bound, handlers=handlers))

    not_undone = shop.ops("rollback-worker", "--to", shop.good, "--dry-run", "--json").result["plan"]["not_undone"]

    assert [each.startswith(start) for each, start in zip(not_undone, named, strict=False)] == [True] * len(named)
    assert [each.partition(":")[0].partition(",")[0] for each in not_undone[len(named) :]] == [
        "routes",
        "script settings",
        "caches",
    ]


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
    assert "**Next step:** Start the same command again" in issue.comments[0].body
    shop.world.sandbox.faults.clear()
    again = [shop.ops("rollback-worker", "--yes", **github.environ()) for _ in range(2)]
    assert ([each.code for each in again], shop.live, github.issues) == ([0, 0], {shop.good: 100}, [issue])
