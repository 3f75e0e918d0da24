"""Who may approve a request: another person than each requester, with write access, and no App."""

import re

import pytest

from tests.gate.test_second_person import MINUTE, assert_refused, desk
from tests.support.commands import ended
from tests.support.second_person import Desk

__all__ = ["desk"]


def test_same_person_is_refused(desk: Desk) -> None:
    desk.post()

    done = desk.press_approve("alice")

    assert (done.code, desk.outputs["reason"]) == (3, "same_person")
    assert re.search(rf"\balice\b.*\b{desk.code}\b", desk.outputs["message"])
    assert_refused(desk, "same_person")


@pytest.mark.slow
def test_app_is_refused(desk: Desk) -> None:
    desk.hub.add_user("helper[bot]", "write", "Bot")
    desk.post()

    desk.press_approve("helper[bot]")

    assert_refused(desk, "not_a_person")


def test_person_who_started_the_request_again_is_a_requester(desk: Desk) -> None:
    """Neither of both may approve."""
    run = desk.new_run()
    payload = desk.hub.label(desk.incident, "recover:orders", "alice")
    again = desk.gate("issues", payload, run, GITHUB_RUN_ATTEMPT="2", GITHUB_TRIGGERING_ACTOR="bob")
    assert again.code == 0, again.err
    desk.act(run, GITHUB_RUN_ATTEMPT="2", GITHUB_TRIGGERING_ACTOR="bob")
    desk.world.sandbox.clock.advance(MINUTE)

    for login in ("alice", "bob"):
        desk.press_approve(login)
        assert desk.outputs["reason"] == "same_person"

    assert desk.approve("carol").result["outcome"]["changed"]


def test_person_without_write_access_is_refused(desk: Desk) -> None:
    desk.hub.add_user("tina", "triage")
    desk.post()

    desk.press_approve("tina")

    assert_refused(desk, "no_write_access")


def test_unknown_permission_is_refused(desk: Desk) -> None:
    desk.post()
    desk.hub.fault(path="**/permission", status=403)

    desk.press_approve()

    assert_refused(desk, "permission_unreadable")


def test_unknown_requester_is_refused(desk: Desk) -> None:
    """Without the id of each requester, nobody can be another person."""
    run = desk.new_run()
    payload = desk.hub.label(desk.incident, "recover:orders", "alice")
    desk.hub.fault(path="**/collaborators/bob/permission", status=500, skip=1, times=9)
    again = desk.gate("issues", payload, run, GITHUB_RUN_ATTEMPT="2", GITHUB_TRIGGERING_ACTOR="bob")
    assert (again.code, desk.outputs["requesters"]) == (0, ""), again.err

    done = desk.act(run, GITHUB_RUN_ATTEMPT="2", GITHUB_TRIGGERING_ACTOR="bob")

    assert ended(done) == (3, "refused", "permission_unknown")
    assert not any("approval" in record for record in desk.records)
