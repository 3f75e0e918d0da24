"""Decisions that read their own record, while GitHub's lists are behind by two seconds."""

import pytest

from ops.core.clock import format_utc
from ops.github.stops import STOP_PERIOD
from tests.conftest import World
from tests.gate.support import Job
from tests.gate.test_responder_lists import bakery as open_bakery
from tests.support.commands import COMMENTS, ended
from tests.support.second_person import Desk, open_desk

__all__ = ["open_bakery"]


@pytest.fixture
def desk(world: World) -> Desk:
    world.sandbox.github.switches.lists_lag_seconds = 2.0
    return open_desk(world)


def test_approved_restore_waits_for_its_record(desk: Desk) -> None:
    desk.ask()

    outcome = desk.approve("bob")

    assert outcome.code == 0, outcome.err
    assert len(desk.restores) == 1
    assert sum("approval-" in each for each in desk.comments) <= 1


def test_second_approval_while_lists_are_behind_restores_nothing_more(desk: Desk) -> None:
    desk.ask()

    late = desk.approve_twice()

    assert ended(late)[0] in {0, 3}, late.err
    assert len(desk.restores) == 1


def test_refused_or_unread_use_is_not_waited_for(desk: Desk) -> None:
    """GitHub refuses the comment, or goes down with it. No later list shows it."""
    clock = desk.world.sandbox.clock
    desk.ask()

    def go_down() -> None:
        desk.hub.fault(path="**", status=503, times=None)

    for status, before in ((403, None), (503, go_down)):
        desk.press_approve()
        desk.hub.fault(method="POST", path=COMMENTS, status=status, before=before, times=None)
        began = clock.now()

        refused = desk.act(desk.runs[-1])

        assert (ended(refused), desk.restores) == ((3, "refused", "permission_unknown"), [])
        assert (clock.now() - began).total_seconds() < 1
        desk.hub.faults.clear()


def test_use_whose_first_read_fails_is_read_again(desk: Desk) -> None:
    desk.ask()
    desk.press_approve()

    def fail_reads() -> None:
        desk.hub.fault(method="GET", path=COMMENTS, status=503, times=3)

    desk.hub.fault(method="POST", path=COMMENTS, before=fail_reads, skip=1)

    done = desk.act(desk.runs[-1])

    assert done.code == 0, done.err
    assert len([record for record in desk.records if record["source"] == "approval"]) == 1


def test_stop_waits_for_its_event(open_bakery: Job) -> None:
    open_bakery.github.switches.lists_lag_seconds = 2.0

    stopped = open_bakery.gate(open_bakery.label("olga", "ops:stop"))
    refused = open_bakery.gate(open_bakery.label("anna", "recover:till"))

    assert stopped.code == 0, stopped.err
    assert (refused.code, open_bakery.outputs["reason"]) == (3, "stopped"), refused.err


def test_later_stop_shows_its_own_end(open_bakery: Job) -> None:
    """The list still has the event of the stop before."""
    clock = open_bakery.world.sandbox.clock
    open_bakery.github.switches.lists_lag_seconds = 2.0
    open_bakery.gate(open_bakery.label("olga", "ops:stop"))
    clock.advance(3600)

    stopped = open_bakery.gate(open_bakery.label("olga", "ops:stop"))
    (*_, event) = (each for each in open_bakery.github.issue(open_bakery.incident).events if each.event == "labeled")

    assert format_utc(event.created_at + STOP_PERIOD) in stopped.out, stopped.err
