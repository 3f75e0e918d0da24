"""Concurrent deployments: the result says whether our change was made and who deployed."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.conftest import WORKER, Outcome, Releases, World
from tests.support.commands import WRITE, Command, ended, hotfix_by_colleague, ours, texts


def concurrent_rollback(world: World, releases: Releases) -> Callable[[], str]:
    """Return a function that deploys the same rollback for another run."""
    message = f"ops1 incident=- run=20261124T030500-beef blames={releases.bad}; "
    return lambda: world.sandbox.deploy(WORKER, releases.good, message=message, author="recovery@example.com")


def test_write_with_empty_answer_is_reported_as_replaced(world: World, releases: Releases) -> None:
    world.sandbox.fault(**WRITE, body="", applied=True, after=hotfix_by_colleague(world))

    outcome = world.rollback()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "our change was made and then replaced" in outcome.result["message"]
    assert "dana@example.com" in outcome.result["message"]
    assert outcome.result["wrote"]
    assert outcome.result["outcome"]["replaced"] == [f"Worker {WORKER}"]
    assert len(ours(world)) == len(world.writes()) == 1


def test_fix_during_a_slow_plan_is_not_overwritten(world: World, releases: Releases) -> None:
    """A colleague deploys while a read of the plan waits for the rate limit, after the deployments were read."""
    fix = hotfix_by_colleague(world)
    versions = f"/accounts/*/workers/scripts/{WORKER}/versions/*"
    world.sandbox.fault(method="GET", path=versions, status=429, headers={"retry-after": "3"}, before=fix)

    outcome = world.rollback()

    assert ended(outcome) == (3, "refused", "world_moved"), outcome.err
    assert "dana@example.com" in outcome.result["message"]
    assert ours(world) == world.writes() == []


def test_quick_plan_is_not_compared_again(world: World, releases: Releases) -> None:
    """Its last read is the comparison: each further call would delay the recovery."""
    outcome = world.rollback()

    assert ended(outcome)[:2] == (0, "recovered")
    assert texts(outcome, "compared") == []


@pytest.mark.slow
def test_lagging_history_is_read_again(world: World, releases: Releases) -> None:
    world.sandbox.switches.deployments_lag_reads = 1
    world.sandbox.fault(**WRITE, lost="after", before=hotfix_by_colleague(world))

    outcome = world.rollback()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert outcome.result["outcome"]["changed"] == [f"Worker {WORKER}"]
    assert any("dana@example.com" in text for text in texts(outcome, "warning"))


@pytest.mark.slow
def test_history_without_our_write_proves_it_not_applied(world: World, releases: Releases) -> None:
    world.sandbox.fault(**WRITE, lost="before", before=hotfix_by_colleague(world))

    outcome = world.rollback()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert not outcome.result["wrote"]
    assert outcome.result["outcome"]["not_changed"] == [f"Worker {WORKER}"]


def test_same_rollback_by_another_run_is_nothing_to_do(world: World, releases: Releases) -> None:
    world.sandbox.fault(**WRITE, lost="before", before=concurrent_rollback(world, releases))

    outcome = world.rollback()

    assert ended(outcome) == (0, "nothing_to_do", "already_live"), outcome.err
    assert not outcome.result["wrote"]
    assert outcome.result["outcome"]["done_by_others"] == [f"Worker {WORKER}"]
    assert "by another run or person" in texts(outcome, "compared")[-1]
    assert len(world.writes()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("answered", [True, False])
def test_same_rollback_after_ours_is_recovered(world: World, releases: Releases, answered: bool) -> None:
    rule = {} if answered else {"lost": "after"}
    world.sandbox.fault(**WRITE, **rule, after=concurrent_rollback(world, releases))

    outcome = world.rollback()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert outcome.result["wrote"]
    assert outcome.result["outcome"]["changed"] == [f"Worker {WORKER}"]
    assert world.live == {releases.good: 100}


def test_rejected_write_does_not_claim_another_runs_rollback(world: World, releases: Releases) -> None:
    world.sandbox.fault(**WRITE, code=10035, before=concurrent_rollback(world, releases))

    outcome = world.rollback()

    assert ended(outcome) == (0, "nothing_to_do", "already_live"), outcome.err
    assert not outcome.result["wrote"]


@pytest.mark.slow
def test_four_parallel_runs_end_with_the_good_version(world: World, releases: Releases) -> None:
    """A run that planned before the first write finds it done; a run that planned across it is refused."""
    world.release(timedelta(hours=9), code="older")
    world.edit_config("deadline: 10s", "deadline: 10m")  # four processes move one clock on
    barrier = threading.Barrier(4)
    world.sandbox.fault(**WRITE, before=lambda: barrier.wait(timeout=30), times=4)
    outcomes: list[Outcome] = []
    presses = [threading.Thread(target=lambda: outcomes.append(Command(world).run())) for _ in range(4)]
    for one in presses:
        one.start()
    for one in presses:
        one.join()

    assert {outcome.result["decision"] for outcome in outcomes} <= {"recovered", "nothing_to_do"}
    assert {outcome.code for outcome in outcomes} == {0}
    assert world.live == {releases.good: 100}
