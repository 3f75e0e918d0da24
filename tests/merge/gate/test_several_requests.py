"""Several requests of one incident: a digest approves the one that its approver read."""

import json

from tests.gate.test_second_person import BEFORE, MINUTE, assert_refused, desk
from tests.support.commands import ended
from tests.support.second_person import Desk

__all__ = ["desk"]


def ask_for(desk: Desk, to: str, by: str = "alice") -> str:
    """Request a restore by the button, and return the digest of its comment."""
    inputs = {"database": "orders", "environment": "live", "incident": str(desk.incident)}
    desk.press("restore-database", {**inputs, "to": to}, by)
    asked = desk.act(desk.runs[-1])
    assert ended(asked) == (0, "planned", "needs_two_people"), asked.err
    desk.world.sandbox.clock.advance(MINUTE)
    return desk.digest


def test_digest_chooses_between_two_requests(desk: Desk) -> None:
    desk.ask()
    later = ask_for(desk, "-100s", by="carol")

    assert desk.press_approve(digest=later).code == 0
    assert desk.act(desk.runs[-1]).result["outcome"]["changed"]
    assert desk.tables == BEFORE


def test_request_that_was_swapped_after_it_was_read_is_refused(desk: Desk) -> None:
    """A writer hides a harmful request, and puts its signed comment back in place of the one that was read."""
    ask_for(desk, "before-last-migration")
    harmful = desk.hub.issue(desk.incident).comments[0]
    kept, harmful.body = harmful.body, "-"
    read = ask_for(desk, "-100s")
    desk.hub.issue(desk.incident).comments[1].body = "-"
    harmful.body = kept

    desk.press_approve(digest=read)

    assert_refused(desk, "no_request")
    assert "somebody edited or deleted the comment" in desk.outputs["message"]


def test_request_that_is_swapped_after_the_gate_is_refused(desk: Desk) -> None:
    ask_for(desk, "before-last-migration")
    first, second = desk.comments[0], ask_for(desk, "-100s")
    desk.press_approve(digest=second)
    for comment in desk.hub.issue(desk.incident).comments:
        comment.body = first
    desk.outputs["params"] = json.dumps({"database": "orders", "to": json.loads(desk.outputs["params"])["to"]})

    assert ended(desk.act(desk.runs[-1])) == (3, "refused", "request_changed")
    assert (desk.restores, desk.tables) == ([], BEFORE)


def test_same_plan_with_a_greater_loss_needs_its_own_approval(desk: Desk) -> None:
    """Its digest of the plan is equal, because that leaves out the loss."""
    desk.ask()
    few = desk.digest
    desk.sell(200)
    desk.ask()
    assert few != desk.digest
    grown = desk.tables

    desk.press_approve(digest=few)
    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "loss_grew")
    assert (desk.restores, desk.tables) == ([], grown)


def test_two_requests_of_one_plan_are_approved_once(desk: Desk) -> None:
    desk.ask()
    first = desk.digest
    desk.ask()
    assert desk.approve("bob").result["outcome"]["changed"]
    desk.sell(minutes=2)
    sold = desk.tables

    desk.press_approve("carol", digest=first)

    assert desk.outputs["reason"] == "approval_used"
    assert (len(desk.restores), desk.tables) == (1, sold)


def test_button_approves_its_request_despite_a_forged_newer_one(desk: Desk) -> None:
    """Everybody with write access can write a record."""
    desk.ask()
    genuine = desk.digest
    forged = desk.comments[0].replace(desk.request["digest"], "f" * 32)
    desk.hub.comment(desk.incident, forged.replace("9000.1", "9009.1"), "carol")

    desk.press_approve(digest=genuine)

    assert desk.act(desk.runs[-1]).result["outcome"]["changed"]
