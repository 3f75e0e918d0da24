"""Who may approve a request: another person than each requester, with write access, and no App."""

import json
import re

import pytest

from tests.gate.support import parse_outputs
from tests.gate.test_approval import approve as review
from tests.gate.test_second_person import BEFORE, MINUTE, assert_refused, desk
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

    done = desk.approve("carol")
    assert done.result["outcome"]["changed"], done.err


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


def test_reviewer_of_the_job_is_no_second_person(desk: Desk) -> None:
    """Carol approves the job in its GitHub environment. The plan still waits for a person who names its digest."""
    token = "    token: SHOP_TOKEN\n"
    desk.world.edit_config(token, f"{token}    approval: [database]\n")
    inputs = {"database": "orders", "to": "-90s", "environment": "live", "incident": str(desk.incident)}
    asked = desk.press("restore-database", inputs, "alice")
    assert asked.code == 0, asked.err
    run = next(each for each in desk.hub.runs if each.id == desk.runs[-1])
    review(desk.hub, run, "approve-live", by="carol")
    desk.hub.add_job(run.id, "approve-live", started_at=desk.hub.clock.now())

    waits = desk.act(run.id)
    desk.outputs["approval"] = json.dumps({"digest": "", "login": "carol", "id": 0, "at": f"{desk.hub.clock.now()}"})
    passed_off = desk.act(run.id)

    assert ended(waits) == (0, "planned", "needs_two_people"), waits.err
    reason = parse_outputs((desk.world.folder / "output").read_text())["reason"]
    assert (passed_off.code, reason) == (3, "request_changed"), passed_off.err
    assert (desk.restores, desk.tables) == ([], BEFORE)


def test_second_person_must_be_in_the_lists_of_the_runbook(desk: Desk) -> None:
    config = desk.world.config
    config.write_text("runbooks: {restore-database: {responders: [alice, bob]}}\n" + config.read_text())
    desk.ask()

    refused = desk.press_approve("carol")

    assert (refused.code, desk.outputs["reason"]) == (3, "not_a_responder")
    assert "carol is not among the responders of runbook restore-database in ops.yml" in refused.err.replace('"', "")
    assert desk.restores == []
    done = desk.approve("bob")
    assert done.result["outcome"]["changed"], done.err
