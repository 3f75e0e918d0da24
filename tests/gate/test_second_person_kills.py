"""Approvals by a second person: lost answers, and a run that is killed at any request."""

import signal

import pytest

from tests.gate.test_second_person import BEFORE, desk
from tests.support.commands import COMMENTS, ended
from tests.support.databases import RESTORE
from tests.support.second_person import Desk

__all__ = ["desk"]


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["before", "after"])
def test_lost_answer_to_the_use_is_settled(desk: Desk, lost: str) -> None:
    desk.ask()
    desk.press_approve()
    desk.hub.fault(method="POST", path=COMMENTS, lost=lost, skip=1)

    done = desk.act(desk.runs[-1])

    assert done.result["outcome"]["changed"], done.err
    assert len([record for record in desk.records if record["source"] == "approval"]) == 1


def test_use_that_github_does_not_save_prevents_the_restore(desk: Desk) -> None:
    desk.ask()
    desk.press_approve()
    desk.hub.fault(method="POST", path=COMMENTS, status=500, times=9)

    done = desk.act(desk.runs[-1])

    assert ended(done) == (3, "refused", "permission_unknown")
    assert desk.tables == BEFORE


def kill() -> None:
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.slow
def test_run_that_is_killed_before_the_use_may_be_approved_again(desk: Desk) -> None:
    desk.ask()
    desk.press_approve()
    desk.world.sandbox.fault(path="**/query", before=kill)

    assert desk.act(desk.runs[-1]).code == 130
    assert desk.tables == BEFORE
    assert desk.approve("carol").result["outcome"]["changed"]


def test_run_that_is_killed_after_the_use_needs_a_new_request(desk: Desk) -> None:
    desk.ask()
    desk.press_approve()
    desk.world.sandbox.fault(**RESTORE, before=kill, lost="before")

    killed = desk.act(desk.runs[-1])

    assert killed.code in {5, 130}, killed.err
    assert desk.tables == BEFORE
    desk.press_approve("carol")
    assert desk.outputs["reason"] == "approval_used"


@pytest.mark.slow
@pytest.mark.parametrize("number", range(0, 40, 2))
def test_kill_at_any_request_never_restores_without_a_recorded_use(desk: Desk, number: int) -> None:
    desk.ask()
    desk.press_approve()
    seen = list[int]()

    def kill_once() -> None:
        seen.append(len(seen))
        if len(seen) == number + 1:
            kill()

    for fault in (desk.hub.fault, desk.world.sandbox.fault):
        fault(path="**", before=kill_once, times=None)
    desk.act(desk.runs[-1])
    used = [record for record in desk.records if record["source"] == "approval"]

    assert len(desk.restores) <= len(used) <= 1
    assert desk.restores or desk.tables == BEFORE
    desk.press_approve("carol")
    assert desk.outputs["go"] == ("false" if used else "true")
