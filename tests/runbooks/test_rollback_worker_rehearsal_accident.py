"""Rehearsal of a rollback that replaces a deployment of somebody else: repaired, told, and never counted."""

import json
import signal
from collections.abc import Callable
from functools import partial

import pytest

from tests.conftest import Outcome
from tests.runbooks.test_rollback_worker_rehearsal import rehearsed, rollback, splits, steps
from tests.support.commands import WRITE, Command, ended
from tests.support.interleavings import RequestedRun, interleave
from tests.support.local_runs import record_local_run
from tests.support.shop import WORKER, Shop

__all__ = ["rehearsed"]
HOUR = 3600
OTHERS = ["hotfix", "dashboard", "rollback"]
"""Deployments by others: a new version, a rollback in the dashboard, and a rollback of another run."""


def deploy_by(rehearsed: Shop, who: str) -> tuple[Callable[[], object], str]:
    """Return a function that deploys, and the version that it deploys."""
    sandbox, version, message = rehearsed.world.sandbox, rehearsed.good, "by hand"
    if who == "hotfix":
        behaviour = {"status": 200, "body": {"version": "{{version}}"}}
        version = sandbox.upload(WORKER, code="hotfix", author="dana@shop.example", behaviour=behaviour)
    if who == "rollback":
        message = f"ops1 incident=- run=20261124T030500-beef blames={rehearsed.bad}"
    return lambda: sandbox.deploy(WORKER, version, message=message, author="dana@shop.example"), version


def press_again(rehearsed: Shop, live: str) -> None:
    """Press twice more: what somebody else deployed stays."""
    for _ in range(2):
        rehearsed.world.sandbox.clock.advance(60)
        outcome = rollback(rehearsed)
        assert ended(outcome) == (0, "nothing_to_do", "already_stepped_back"), outcome.err
        assert rehearsed.live == {live: 100}


def assert_said(outcome: Outcome, served: str, instead_of: str) -> None:
    """Check that each form of the result names what served, and in place of what."""
    message = outcome.result["message"]
    assert "the traffic was not moved" not in message
    assert "the rehearsal moved the traffic: " in message
    assert f"{served[:8]} served for " in message
    assert f"in place of {instead_of[:8]}, deployed " in message
    assert "dana@shop.example" in message
    assert f"; {instead_of[:8]} is live now" in message
    assert outcome.result["wrote"]
    assert outcome.result["undo"] == []
    assert any(text.startswith("moved: ") for text in steps(outcome))
    assert f"{served[:8]} served for " in outcome.err


@pytest.mark.sampled
@pytest.mark.parametrize("who", OTHERS)
@pytest.mark.parametrize("write", [1, 2], ids=["start", "restoration"])
def test_deployment_that_a_rehearsal_replaced_is_restored_and_told(rehearsed: Shop, write: int, who: str) -> None:
    deploy, version = deploy_by(rehearsed, who)
    rehearsed.world.sandbox.fault(**WRITE, skip=write - 1, before=deploy)

    outcome = rollback(rehearsed)

    ends = (4, "failed", "world_moved") if who == "hotfix" else (0, "nothing_to_do", "already_live")
    assert ended(outcome) == ends, outcome.err
    assert_said(outcome, rehearsed.bad, version)
    assert rehearsed.live == {version: 100}
    press_again(rehearsed, version)


@pytest.mark.sampled
@pytest.mark.parametrize("who", OTHERS)
def test_next_run_repairs_what_a_killed_rehearsal_replaced(rehearsed: Shop, who: str) -> None:
    deploy, version = deploy_by(rehearsed, who)
    leave_accident(rehearsed, deploy)
    rehearsed.world.sandbox.clock.advance(2 * HOUR)

    status = rehearsed.ops("status", "--environment", "live")
    listed = rehearsed.ops("versions", "web", "--environment", "live", "--json")
    outcome = rollback(rehearsed)

    bad = rehearsed.bad[:8]
    said = f"a rehearsal put {bad} live at "
    assert f"web: {bad} at 100 % and {rehearsed.good[:8]} at 0 %" in status.out
    assert said in status.out
    assert f"by accident, in place of {version[:8]}, deployed " in status.out
    assert "A rollback without `--to` deploys that again" in status.out
    assert listed.result["target"] == version
    assert any(said in note for note in listed.result["notes"])
    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert any(said in warning for warning in outcome.result["plan"]["warnings"])
    assert rehearsed.live == {version: 100}
    press_again(rehearsed, version)


def leave_accident(rehearsed: Shop, deploy: Callable[[], object]) -> None:
    """Leave what a run on this machine leaves that dies right after the start of its rehearsal."""
    deploy()
    record_local_run(rehearsed.world, "20261124T030500-dead", [])
    message = f"ops1 incident=- run=20261124T030500-dead blames=- rehearsed={rehearsed.good}"
    split = {rehearsed.bad: 100, rehearsed.good: 0}
    rehearsed.world.sandbox.deploy(WORKER, split, message=message, author="recovery@shop.example")


def test_time_of_an_accident_proves_no_version(rehearsed: Shop) -> None:
    """For hours the bad version was live, which is no service, and the rollback that it replaced still counts."""
    deploy, _ = deploy_by(rehearsed, "rollback")
    leave_accident(rehearsed, deploy)
    rehearsed.world.sandbox.clock.advance(20 * HOUR)
    rollback(rehearsed)
    rehearsed.world.sandbox.clock.advance(HOUR)
    worse = rehearsed.world.sandbox.upload(WORKER, code="worse")
    rehearsed.world.sandbox.deploy(WORKER, worse)

    listed = rehearsed.ops("versions", "web", "--environment", "live", "--json")

    why = {each["id"]: each["why"] for each in listed.result["versions"]}
    assert listed.result["target"] == rehearsed.good
    assert why[rehearsed.bad].startswith("it was rolled back at ")
    assert why[rehearsed.good] == "its release served 1 d 6 h"


@pytest.mark.slow
def test_rollback_by_hand_during_an_accident_counts(rehearsed: Shop) -> None:
    deploy, hotfix = deploy_by(rehearsed, "hotfix")
    leave_accident(rehearsed, deploy)
    rehearsed.world.sandbox.clock.advance(60)
    rehearsed.world.sandbox.deploy(WORKER, rehearsed.good, author="dana@shop.example")

    outcome = rollback(rehearsed)

    assert ended(outcome) == (0, "nothing_to_do", "already_stepped_back"), outcome.err
    assert f"it replaced {rehearsed.bad[:8]}" in outcome.result["message"]
    assert hotfix[:8] not in outcome.result["message"]


@pytest.mark.slow
def test_person_may_choose_another_version_than_the_replaced_one(rehearsed: Shop) -> None:
    deploy, _ = deploy_by(rehearsed, "hotfix")
    leave_accident(rehearsed, deploy)

    outcome = rollback(rehearsed, "--to", rehearsed.good)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert rehearsed.live == {rehearsed.good: 100}
    press_again(rehearsed, rehearsed.good)


def test_repair_does_not_bring_a_leaked_key_back_without_its_name(rehearsed: Shop) -> None:
    """After a rotation, CI deployed the leaked key again, and a rehearsal that died replaced that."""
    sandbox = rehearsed.world.sandbox
    behaviour = {"status": 200, "body": {"version": "{{version}}"}}
    leaked = sandbox.upload(WORKER, code="newer", behaviour=behaviour, secrets={"TILL_KEY": "leaked"})
    sandbox.deploy(WORKER, leaked)
    sandbox.clock.advance(HOUR)
    rotated = sandbox.put_secret(WORKER, "TILL_KEY", "fresh")
    sandbox.deploy(WORKER, rotated, message="ops1 incident=- run=20261124T020500-0001 blames=- rotated=TILL_KEY")
    record_local_run(rehearsed.world, "20261124T030500-dead", [])
    by_ci = sandbox.upload(WORKER, code="by CI", behaviour=behaviour, secrets={"TILL_KEY": "leaked"})
    sandbox.deploy(WORKER, by_ci, author="ci@shop.example")
    message = f"ops1 incident=- run=20261124T030500-dead blames=- rehearsed={rehearsed.good}"
    sandbox.deploy(WORKER, {rotated: 100, rehearsed.good: 0}, message=message, author="recovery@shop.example")
    sandbox.requests.clear()

    refused = [rollback(rehearsed), rollback(rehearsed)]

    assert [ended(each) for each in refused] == [(3, "refused", "secret_rotated")] * 2, refused[0].err
    assert rehearsed.world.writes() == []
    assert f"it is unknown whether {by_ci[:8]} has the new value of TILL_KEY" in refused[0].result["message"]
    named = rollback(rehearsed, "--accept-changed-secrets", "TILL_KEY")
    assert named.result["wrote"], named.err
    assert rehearsed.live == {by_ci: 100}
    assert "You accepted that: rotate TILL_KEY again" in named.result["message"]


def test_late_request_repairs_too(rehearsed: Shop) -> None:
    """The accident is newer than the request of the job that died, which people start again."""
    asked = rehearsed.world.sandbox.clock.now()
    rehearsed.world.sandbox.clock.advance(60)
    deploy, hotfix = deploy_by(rehearsed, "hotfix")
    leave_accident(rehearsed, deploy)

    outcome = rollback(rehearsed, "--requested-at", asked.isoformat())

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert rehearsed.live == {hotfix: 100}


@pytest.mark.slow
def test_mark_of_a_rehearsal_on_a_later_return_is_no_accident(rehearsed: Shop) -> None:
    """Everyone who deploys can write a mark; ten minutes later nothing came in between."""
    deploy, _ = deploy_by(rehearsed, "hotfix")
    deploy()
    rehearsed.world.sandbox.clock.advance(600)
    leave_accident(rehearsed, lambda: None)

    listed = rehearsed.ops("versions", "web", "--environment", "live")

    assert "by accident" not in listed.out


def rollback_run(rehearsed: Shop, *, rehearses: bool) -> RequestedRun:
    asked = {"service": "web", "no_rehearsal": not rehearses}
    token = {"SHOP_TOKEN": rehearsed.world.sandbox.token}
    reached = partial(is_live, rehearsed, rehearsed.good)
    return RequestedRun("rollback-worker", asked, reached, environ=token, environment="live")


def is_live(rehearsed: Shop, version: str) -> bool:
    return rehearsed.live == {version: 100}


def was_moved(rehearsed: Shop) -> bool:
    """Return whether the bad version served again after the good one."""
    found = [[version for version, share in split.items() if share > 0] for split in splits(rehearsed)]
    return [rehearsed.bad] in found[found.index([rehearsed.good]) :] if [rehearsed.good] in found else False


@pytest.mark.slow
@pytest.mark.parametrize("rehearses", [True, False], ids=["both rehearse", "one rehearses"])
@pytest.mark.parametrize("nth", range(1, 24))
def test_two_rollbacks_tell_of_moved_traffic_and_are_one(rehearsed: Shop, nth: int, rehearses: bool) -> None:
    first = rollback_run(rehearsed, rehearses=True)
    meeting = interleave(rehearsed.world, first, rollback_run(rehearsed, rehearses=rehearses), nth)

    assert rehearsed.live == {rehearsed.good: 100}
    assert meeting is None or nth < 23, "a run sends more requests"
    if meeting is not None:
        results = (meeting.first, meeting.second)
        assert all(result.exit_code in {0, 3, 4} for result in results), meeting.story
        said = any("the rehearsal moved the traffic: " in result.message for result in results)
        assert said is was_moved(rehearsed), meeting.story
        assert not said or any(result.wrote for result in results), meeting.story
        assert not said or not any("the traffic was not moved" in result.message for result in results), meeting.story
    press_again(rehearsed, rehearsed.good)


@pytest.mark.slow
@pytest.mark.parametrize("who", OTHERS)
def test_rehearsal_that_is_killed_after_an_accident_is_finished(rehearsed: Shop, who: str) -> None:
    """Somebody deploys right before the first write, and the run dies at each of the following requests."""
    world, sandbox = rehearsed.world, rehearsed.world.sandbox
    seen = set()
    for nth in range(20):
        deploy, version = deploy_by(rehearsed, who)
        sandbox.deploy(WORKER, rehearsed.bad, author="mai@shop.example")
        sandbox.clock.advance(HOUR)
        command = Command(world, service="web", environment="live", environ={"SHOP_TOKEN": sandbox.token})

        def arm(nth: int = nth, deploy: Callable[[], object] = deploy, command: Command = command) -> None:
            deploy()
            sandbox.fault(path="/client/v4/accounts/**", skip=nth, after=command.send(signal.SIGKILL))

        sandbox.fault(**WRITE, before=arm)
        outcome = command.run()
        sandbox.faults.clear()
        if outcome.code != -signal.SIGKILL:
            break
        seen.add(json.dumps(rehearsed.live))

        rollback(rehearsed)

        assert rehearsed.live == {version: 100}, nth
        press_again(rehearsed, version)
    assert len(seen) >= 2
