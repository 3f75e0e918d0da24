"""`ops targets`: the rollback of each service, as its plan says it, and what blocks it."""

import re
import threading
from collections import UserDict
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

import pytest

from ops.core.redaction import Redactor
from ops.github.stops import StopAnswer
from ops.status.targets import TargetTable, read_targets, target_lines
from sandbox import Sandbox
from tests.conftest import World
from tests.runbooks.test_rollback_worker_exports import ROOM, SQLITE
from tests.runbooks.test_rollback_worker_marks import Forged, of_run
from tests.support.hostile import skeleton
from tests.support.in_process import held
from tests.support.orders import open_database
from tests.support.rollback_targets import RunOps, assert_same_as_plan, targets_of
from tests.support.shop import SITE, WORKER, Shop, answering

STAGING_ACCOUNT = "7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e"
STAGING = f"""\
  staging:
    account_id: {STAGING_ACCOUNT}
    token: SHOP_STAGING_TOKEN
    services:
      web:
        worker: shop-web-staging
        url: https://web.staging.shop.example
"""


@pytest.fixture
def two_accounts(shop: Shop) -> Iterator[RunOps]:
    """Add an account for staging, whose Worker has one release."""
    world = shop.world
    world.config.write_text(world.config.read_text() + STAGING)
    with Sandbox(account_id=STAGING_ACCOUNT, virtual_clock=True) as other:
        world.sandbox.add_account(other)
        at = world.sandbox.clock.now() - timedelta(hours=5)
        first = other.upload("shop-web-staging", code="first", behaviour=answering(), at=at)
        other.deploy("shop-web-staging", first, at=at)
        yield partial(shop.ops, SHOP_STAGING_TOKEN=world.sandbox.token)


def test_each_service_has_its_target_health_and_reach(shop: Shop, two_accounts: RunOps) -> None:
    now = shop.world.sandbox.clock.now()

    rows = targets_of(two_accounts)

    assert [*rows] == ["web in live", "docs in live", "web in staging"]
    web, docs, staging = rows.values()
    assert (web["state"], web["target"], web["live"]) == ("ready", shop.good[:8], shop.bad[:8])
    assert [row["health"] for row in rows.values()] == ["unhealthy", "unhealthy", "no probe"]
    assert web["live_since"] == f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    assert (web["releases"], web["oldest"]) == (3, f"{now - timedelta(hours=60):%Y-%m-%dT%H:%M:%SZ}")
    assert docs["state"] == "ready"
    assert (staging["state"], staging["reason"], staging["releases"]) == ("blocked", "no_target", 1)
    for row in rows.values():
        assert_same_as_plan(two_accounts, row)
    assert shop.world.writes() == []


def test_token_that_only_reads_is_enough(shop: Shop) -> None:
    token = shop.world.sandbox.add_token("only-reads", {"Workers Scripts Read", "Pages Read"})

    rows = targets_of(shop.ops, SHOP_TOKEN=token)

    assert [row["state"] for row in rows.values()] == ["ready", "ready"]


def test_rollback_of_a_site_leaves_no_time_since_which_it_is_live(shop: Shop) -> None:
    sandbox = shop.world.sandbox
    newest, at = sandbox.pages.live(SITE), sandbox.clock.now() - timedelta(hours=1)
    sandbox.pages.rollback(SITE, sandbox.pages.projects[SITE].deployments[0].id, at=at)

    row = targets_of(shop.ops)["docs in live"]

    assert row["state"] == "nothing_to_do"
    assert (row["live_since"], row["live"] in str(newest)) == (None, False)
    assert_same_as_plan(shop.ops, row)


def never_deployed(shop: Shop) -> RunOps:
    shop.world.sandbox.upload("shop-new", code="first", behaviour=answering())
    shop.world.edit_config(f"worker: {WORKER}", "worker: shop-new")
    return shop.ops


def change_declared_classes(shop: Shop) -> RunOps:
    for classes in (ROOM, {**ROOM, "Cart": SQLITE}):
        code = f"declares {len(classes)}"
        version = shop.world.sandbox.upload(WORKER, code=code, behaviour=answering(), more={"exports": classes})
        shop.world.sandbox.deploy(WORKER, version)
        shop.world.sandbox.clock.advance(3600)
    return shop.ops


def break_schema(shop: Shop) -> RunOps:
    open_database(shop).migrate("0003_split_names.sql", hours=0.5)
    return shop.ops


def rotate(shop: Shop) -> RunOps:
    """The mark of a rotation says that the values of earlier versions were replaced."""
    sandbox = shop.world.sandbox
    now = sandbox.clock.now()
    for hours, code in ((0.9, "first"), (0.5, "second")):
        at = now - timedelta(hours=hours)
        version = sandbox.upload(WORKER, code=code, secrets={"PAY_KEY": "old"}, behaviour=answering(), at=at)
        sandbox.deploy(WORKER, version, at=at)
    new = sandbox.put_secret(WORKER, "PAY_KEY", "new")
    sandbox.deploy(WORKER, new, message="ops1 incident=- run=20261124T020500-0001 blames=- rotated=PAY_KEY")
    return shop.ops


def roll_back_already(shop: Shop) -> RunOps:
    shop.world.sandbox.deploy(WORKER, shop.good, author="ana@shop.example")
    return shop.ops


BLOCKS: dict[str, tuple[Callable[[Shop], RunOps], str]] = {
    "never deployed": (never_deployed, "no_target"),
    "a migration of Durable Objects": (change_declared_classes, "migration_between"),
    "a breaking migration": (break_schema, "breaking_migration"),
    "rotated secrets": (rotate, "secret_rotated"),
    "already rolled back": (roll_back_already, "already_stepped_back"),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_block_is_that_of_the_plan(shop: Shop, block: str) -> None:
    prepare, reason = BLOCKS[block]
    run = prepare(shop)

    row = targets_of(run)["web in live"]

    assert (row["reason"], row["target"]) == (reason, "")
    assert_same_as_plan(run, row)


def test_site_whose_live_deployment_is_unknown_is_blocked(shop: Shop) -> None:
    shop.world.sandbox.switches.edge_access_before_deployments = True

    row = targets_of(shop.ops)["docs in live"]

    assert (row["state"], row["reason"], row["live"], row["oldest"]) == ("blocked", "live_unknown", "", None)
    assert_same_as_plan(shop.ops, row)


@pytest.mark.parametrize("is_down", [False, True], ids=["GitHub answers", "GitHub is down"])
def test_records_on_github_count_as_in_the_plan(world: World, is_down: bool) -> None:
    """A mark that names an incident is believed only if a record on it says the same."""
    forged = Forged(world, "ops1 incident=1 run=7001.1-abcd blames={}; faster cart")
    of_run("rollback-worker.yml")(forged)
    if is_down:
        forged.hub.fault(path="/**", status=500, times=None)
    run = partial(forged.shop.ops, **forged.hub.environ())

    row = targets_of(run)["web in live"]

    assert (row["state"], row["reason"] == "unconfirmed_mark") == (
        ("blocked", True) if is_down else (row["state"], False)
    )
    assert_same_as_plan(run, row)


def test_service_that_cannot_be_read_is_named_beside_the_others(shop: Shop, two_accounts: RunOps) -> None:
    shop.world.sandbox.fault(
        path=f"/accounts/*/workers/scripts/{WORKER}/deployments", status=403, code=10000, times=None
    )

    outcome = two_accounts("targets", "--json", SHOP_STAGING_TOKEN=None)

    requests = sum(each.path.startswith("/client/") for each in shop.world.sandbox.requests)
    assert 0 < outcome.result["calls"] <= requests
    web, docs, staging = outcome.result["services"]
    assert [each["state"] for each in (web, docs, staging)] == ["unknown", "ready", "unknown"]
    assert [each["reason"] for each in (web, staging)] == ["not_authorised", "token_missing"]
    assert (outcome.code, outcome.result["exit_code"]) == (4, 4)
    assert all(name in outcome.err for name in ("web in live", "web in staging"))


def test_without_any_token_the_cause_is_the_error(shop: Shop) -> None:
    outcome = shop.ops("targets", SHOP_TOKEN=None)

    assert outcome.code == 2
    assert "SHOP_TOKEN" in outcome.err


def test_two_causes_are_no_common_cause(shop: Shop, two_accounts: RunOps) -> None:
    shop.world.sandbox.fault(path="/accounts/*/**", status=403, code=10000, times=None)

    outcome = two_accounts("targets", "--json", SHOP_STAGING_TOKEN=None)

    assert {each["reason"] for each in outcome.result["services"]} == {"not_authorised", "token_missing"}
    assert (outcome.code, outcome.result["exit_code"]) == (4, 4)
    assert all(name in outcome.err for name in ("web in live", "docs in live", "web in staging"))


def test_environment_limits_the_table(shop: Shop, two_accounts: RunOps) -> None:
    assert [*targets_of(two_accounts, "--environment", "staging")] == ["web in staging"]


class FailingEnviron(UserDict[str, str]):
    """Variables whose staging token fails outside of the main thread, where only a plan reads it."""

    def __getitem__(self, name: str) -> str:
        if name == "SHOP_STAGING_TOKEN" and threading.current_thread() is not threading.main_thread():
            raise RuntimeError(name)
        return super().__getitem__(name)


def test_bug_in_one_plan_is_named_beside_the_other_services(shop: Shop, two_accounts: RunOps) -> None:
    tokens = {"SHOP_TOKEN": shop.world.sandbox.token, "SHOP_STAGING_TOKEN": shop.world.sandbox.token}

    table = read_targets("", shop.world.config, FailingEnviron(shop.world.sandbox.environ() | tokens), Redactor())

    states = {str(each.place): (each.state, "RuntimeError" in each.why) for each in table.targets}
    assert states == {
        "web in live": ("ready", False),
        "docs in live": ("ready", False),
        "web in staging": ("unknown", True),
    }
    assert table.to_json()["exit_code"] == 4


@pytest.mark.slow
def test_silent_service_does_not_hold_up_the_others(shop: Shop) -> None:
    with held(shop.world.sandbox.faults, path=f"/accounts/*/workers/scripts/{WORKER}/versions"):
        rows = targets_of(shop.ops)

    assert (rows["web in live"]["state"], rows["docs in live"]["state"]) == ("unknown", "ready")


def test_table_and_markdown_hold_each_service_and_its_block(shop: Shop, two_accounts: RunOps) -> None:
    text, markdown = two_accounts("targets"), two_accounts("targets", "--markdown")

    web = next(line for line in text.out.splitlines() if line.startswith("  web in live"))
    assert re.search(rf"{shop.bad[:8]} for 1 h +unhealthy +to {shop.good[:8]} +2 d 12 h, 3 releases", web)
    assert "web in staging, blocked: " in text.out
    assert "warning for web in live: " in text.out
    assert "- warning for web in live: " in markdown.out
    assert f"| web in live | **to `{shop.good[:8]}`**" in markdown.out
    assert "**web in staging**, blocked: " in markdown.out


def test_many_calls_warn_of_the_limit_that_a_recovery_shares(shop: Shop) -> None:
    now = shop.world.sandbox.clock.now()
    few, many = (TargetTable(now, (), calls, StopAnswer()) for calls in (300, 612))

    assert not [line for line in target_lines(few) if "warning" in line]
    assert [line for line in target_lines(many) if "612" in line]


@pytest.mark.parametrize("is_down", [False, True], ids=["GitHub answers", "GitHub is down"])
def test_stop_of_all_recoveries_is_beside_the_targets(shop: Shop, is_down: bool) -> None:
    hub = shop.world.sandbox.github
    hub.add_user("mai")
    number = hub.open_issue("Wait for the provider", "", ["ops:stopped"], "mai")
    if is_down:
        hub.fault(path="/**", status=500, times=None)

    result = shop.ops("targets", "--json", **hub.environ()).result

    assert [row["state"] for row in result["services"]] == ["ready", "ready"]
    assert bool(result["stop_unread"]) is is_down
    assert (result["stop"] or {}).get("issue") == (None if is_down else number)
    shown = shop.ops("targets", "--markdown", **hub.environ()).out
    assert ("ops stop --lift" in shown, "unknown, whether" in shown) == (not is_down, is_down)


def test_hostile_author_changes_no_markdown(shop: Shop) -> None:
    sandbox = shop.world.sandbox
    sandbox.deploy(WORKER, shop.good, author="ana")
    plain = shop.ops("targets", "--markdown").out
    sandbox.deploy(WORKER, shop.bad)
    sandbox.deploy(WORKER, shop.good, author="@acme/all | <img src=x> [a](https://evil.example) #12")

    hostile = shop.ops("targets", "--markdown").out

    assert "evil" in hostile
    assert skeleton(hostile) == skeleton(plain)


def test_markdown_and_json_exclude_each_other(shop: Shop) -> None:
    assert shop.ops("targets", "--markdown", "--json").code == 2
