"""Requests and error rates in the plan of `ops rollback-worker`, for an application that is not FortuneT."""

import json
from datetime import timedelta

import pytest

from ops.cloudflare.records import read_worker_traffic
from ops.workers.plan_text import REJECTED_SECTION, REQUESTS_SECTION
from tests.conftest import Outcome
from tests.support.commands import LIST
from tests.support.in_process import held
from tests.support.orders import open_database
from tests.support.read_order import answer_first
from tests.support.shop import WORKER, Shop

READER = "Account Analytics Read"
GRAPHQL = {"method": "POST", "path": "/graphql"}
ROLLBACK = ("rollback-worker", "--service", "web", "--environment", "live", "--json")


@pytest.fixture
def busy(shop: Shop) -> Shop:
    """Give the token of the shop the right to read analytics, which answer before the history is read."""
    sandbox = shop.world.sandbox
    sandbox.add_token(sandbox.token, ["Workers Scripts Write", "Pages Write", "D1 Write", READER])
    sandbox.switches.analytics_sample_interval = 1
    answer_first(sandbox.faults, GRAPHQL, sandbox.faults, LIST, reader=read_worker_traffic)
    return shop


def count(shop: Shop, version: str, requests: int, errors: int, *, minutes_ago: float = 7) -> None:
    """Add requests of that time to the analytics, a second apart."""
    sandbox = shop.world.sandbox
    for number in range(requests):
        status = (
            "scriptThrewException" if number * errors // requests < (number + 1) * errors // requests else "success"
        )
        at = sandbox.clock.now() - timedelta(minutes=minutes_ago + 1) + timedelta(seconds=number * 60 / requests)
        sandbox.analytics.record_invocation(sandbox.account_id, WORKER, version, status, at=at, seconds=0.01, size=10)


def count_failures_of_earlier_versions(shop: Shop) -> None:
    """Let a fifth of their requests fail while each one was live."""
    count(shop, shop.good, 120, 24, minutes_ago=26 * 60)
    count(shop, shop.old, 120, 24, minutes_ago=50 * 60)


def section(outcome: Outcome, title: str) -> list[str]:
    found: list[str] = outcome.result["plan"]["sections"].get(title, [])
    return found


@pytest.mark.slow
def test_plan_shows_requests_by_version(busy: Shop) -> None:
    count(busy, busy.bad, 90, 28)
    count(busy, busy.good, 95, 0, minutes_ago=26 * 60)

    outcome = busy.ops(*ROLLBACK, "--dry-run")

    now = busy.world.sandbox.clock.now()
    yesterday = (now - timedelta(hours=26)).date()
    assert section(outcome, REQUESTS_SECTION)[:2] == [
        f"{busy.bad[:8]}, last 15 min: 90 requests, 31 % failed",
        f"{busy.good[:8]}, {yesterday}: 95 requests, 0 % failed",
    ]
    caveat = section(outcome, REQUESTS_SECTION)[2]
    assert caveat.startswith("Estimates of Cloudflare's analytics.")
    assert f"Minutes since {now - timedelta(minutes=5):%H:%M} UTC are incomplete" in caveat


@pytest.mark.slow
def test_version_with_many_errors_is_passed_over(busy: Shop) -> None:
    count(busy, busy.good, 120, 24, minutes_ago=26 * 60)

    outcome = busy.ops(*ROLLBACK, "--yes")

    assert outcome.result["decision"] == "recovered"
    assert busy.live == {busy.old: 100}
    (why,) = section(outcome, REJECTED_SECTION)
    assert why.startswith(f"{busy.good[:8]}: its error rate was above 5 % while it was live, by estimate (")
    assert why.endswith(": 120 requests, 20 % failed)")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("requests", "errors"),
    [
        pytest.param(1, 1, id="too few requests"),
        pytest.param(200, 10, id="at the limit"),
        pytest.param(120, 9, id="by chance"),
    ],
)
def test_version_within_the_limit_is_chosen(busy: Shop, requests: int, errors: int) -> None:
    count(busy, busy.good, requests, errors, minutes_ago=26 * 60)

    assert busy.ops(*ROLLBACK, "--yes").result["decision"] == "recovered"
    assert busy.live == {busy.good: 100}


@pytest.mark.slow
def test_failing_version_is_chosen_if_all_others_are_worse(busy: Shop) -> None:
    count(busy, busy.bad, 120, 60)
    count_failures_of_earlier_versions(busy)

    assert busy.ops(*ROLLBACK, "--yes").result["decision"] == "recovered"
    assert busy.live == {busy.good: 100}


def test_worse_version_than_the_live_one_is_no_target(busy: Shop) -> None:
    count(busy, busy.bad, 120, 2)
    count_failures_of_earlier_versions(busy)

    outcome = busy.ops(*ROLLBACK, "--yes")

    assert outcome.result["reason"] == "no_target"
    assert f"`--to {busy.good}`" in outcome.result["hint"]
    assert busy.live == {busy.bad: 100}


@pytest.mark.parametrize(("requests", "target"), [(99, "good"), (100, "bad")])
def test_rate_of_the_live_version_counts_from_a_hundred_requests_on(busy: Shop, requests: int, target: str) -> None:
    count(busy, busy.bad, requests, 1)
    count_failures_of_earlier_versions(busy)

    busy.ops(*ROLLBACK, "--yes")

    assert busy.live == {getattr(busy, target): 100}


def test_chosen_version_with_many_errors_has_a_warning(busy: Shop) -> None:
    count(busy, busy.good, 120, 24, minutes_ago=26 * 60)

    outcome = busy.ops(*ROLLBACK, "--to", busy.good, "--dry-run")

    assert any("may be bad: its error rate was above 5 %" in each for each in outcome.result["plan"]["warnings"])


def test_versions_shows_the_same_choice(busy: Shop) -> None:
    count(busy, busy.good, 120, 24, minutes_ago=26 * 60)

    outcome = busy.ops("versions", "web", "--environment", "live", "--json")

    assert json.loads(outcome.out)["target"] == busy.old


@pytest.mark.slow
@pytest.mark.parametrize(
    "trouble",
    ["no permission", "down", "empty", "late", "unreadable", "malformed"],
)
def test_choice_without_numbers_is_unchanged(busy: Shop, trouble: str) -> None:
    sandbox = busy.world.sandbox
    count(busy, busy.good, 120, 24, minutes_ago=1 if trouble == "late" else 26 * 60)
    match trouble:
        case "no permission":
            sandbox.add_token(sandbox.token, ["Workers Scripts Write"])
        case "down":
            sandbox.switches.analytics_down = True
        case "empty":
            sandbox.switches.analytics_empty = True
        case "unreadable":
            sandbox.fault(**GRAPHQL, lost="before", times=None)
        case "malformed":
            sandbox.fault(**GRAPHQL, body='{"data": {"viewer": null}}', times=None)

    outcome = busy.ops(*ROLLBACK, "--yes")

    assert outcome.result["decision"] == "recovered"
    assert busy.live == {busy.good: 100}
    assert section(outcome, REQUESTS_SECTION) == [] or trouble == "late"


def requests_before_write(shop: Shop) -> list[tuple[str, str]]:
    """Return the requests that the sandbox received before the write, without those for the analytics."""
    found: list[tuple[str, str]] = []
    for record in shop.world.sandbox.requests:
        if record.method == "POST" and record.path.endswith("/deployments"):
            return sorted(found)
        if not record.path.endswith("/graphql"):
            found.append((record.method, record.path))
    raise AssertionError("nothing was written")


@pytest.mark.slow
def test_hanging_analytics_delay_nothing(shop: Shop) -> None:
    with held(shop.world.sandbox.faults, **GRAPHQL) as hanging:
        outcome = shop.ops(*ROLLBACK, "--yes")

    assert outcome.result["decision"] == "recovered"
    assert hanging.hits == 1


@pytest.mark.slow
def test_write_waits_for_no_other_request(shop: Shop) -> None:
    sandbox = shop.world.sandbox
    sandbox.fault(**GRAPHQL, status=404, times=None)
    assert shop.ops(*ROLLBACK, "--yes").result["decision"] == "recovered"

    before = requests_before_write(shop)

    assert [path for method, path in before if method != "GET"] == []
    assert len([record for record in sandbox.requests if record.path.endswith("/graphql")]) == 1
    assert not any("analytics" in path for _, path in before)


def test_failing_version_is_not_proved_to_work_with_a_breaking_migration(busy: Shop) -> None:
    orders = open_database(busy)
    orders.migrate("0003_split_names.sql", hours=28)
    assert orders.rollback("--to", busy.good, "--dry-run").code == 0
    count(busy, busy.good, 120, 24, minutes_ago=26 * 60)

    refused = orders.rollback("--to", busy.good, "--dry-run")

    assert (refused.code, refused.result["reason"]) == (3, "breaking_migration")
