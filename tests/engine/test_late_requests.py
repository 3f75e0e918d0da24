"""Delayed jobs: a request is checked again when its job starts."""

from datetime import timedelta

import pytest

from tests.conftest import WORKER, Releases, World


def time_ago(world: World, ago: timedelta) -> str:
    return (world.sandbox.clock.now() - ago).isoformat()


@pytest.mark.slow
def test_durations_of_a_recent_request_start_at_the_request(world: World, releases: Releases) -> None:
    outcome = world.rollback("--requested-at", time_ago(world, timedelta(minutes=5)))

    assert outcome.result["decision"] == "recovered"
    assert outcome.result["durations"]["trigger_to_write"] >= 300
    assert world.live == {releases.good: 100}


def test_request_older_than_30_minutes_is_refused(world: World) -> None:
    world.release(timedelta(hours=3))
    bad = world.release(timedelta(hours=2), behaviour={"status": 500})

    outcome = world.rollback("--requested-at", time_ago(world, timedelta(minutes=31)))

    assert (outcome.code, outcome.result["reason"]) == (3, "request_too_old")
    assert "31 min old" in outcome.result["message"]
    assert world.live == {bad: 100}
    assert world.writes() == []


def test_deployment_after_the_request_is_refused(world: World, releases: Releases) -> None:
    fix = world.release(timedelta(minutes=3), code="the fix")

    outcome = world.rollback("--requested-at", time_ago(world, timedelta(minutes=5)))

    assert (outcome.code, outcome.result["reason"]) == (3, "world_moved")
    assert fix[:8] in outcome.result["message"]
    assert world.live == {fix: 100}
    assert world.writes() == []


@pytest.mark.slow
def test_rollback_after_the_request_leaves_nothing_to_do(world: World, releases: Releases) -> None:
    requested_at = time_ago(world, timedelta(minutes=5))
    world.sandbox.deploy(WORKER, releases.good, source="wrangler")

    outcome = world.rollback("--requested-at", requested_at)

    assert outcome.result["decision"] == "nothing_to_do"
    assert world.writes() == []
