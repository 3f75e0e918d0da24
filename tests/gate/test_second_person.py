"""A restore by two people: the request, its approval and every refusal, with a shop's database."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.github.users.state import App
from tests.conftest import World
from tests.support.commands import ended
from tests.support.second_person import DATABASE, MIGRATION, Desk, open_desk
from tests.support.webhooks import receiving

BEFORE, AFTER = {"sales": 5, "applied": 2}, {"sales": 3, "applied": 1}
MINUTE = 60


@pytest.fixture
def desk(world: World) -> Desk:
    return open_desk(world)


def assert_refused(desk: Desk, reason: str) -> None:
    """Assert that the gate refused, answered on the issue, and removed the label."""
    assert (desk.outputs["go"], desk.outputs["reason"], desk.outputs["answered"]) == ("false", reason, "true")
    assert any(f"`{reason}`" in comment and "nothing was changed" in comment for comment in desk.comments)
    assert "approve:restore" not in [label.name for label in desk.hub.issue(desk.incident).labels]
    assert (desk.restores, desk.tables) == ([], BEFORE)


def test_label_requests_and_another_label_approves(desk: Desk) -> None:
    asked = desk.ask()
    assert ended(asked) == (0, "planned", "needs_two_people"), asked.err
    assert desk.restores == []
    (waiting,) = desk.comments
    assert "restore-database for web: waits for a second person" in waiting
    assert "\nIt loses at most 38 min of writes; at most 138 rows of sales." in waiting
    assert f"digest `{desk.code}`" in waiting
    assert "**Migrations taken back**\n\n- 0002_prices.sql, applied" in waiting
    assert "**Rows**\n\n- sales: 5 now, 3 of them at the target" in waiting

    done = desk.approve()

    assert done.result["outcome"]["changed"] == ["D1 database orders", "Holds of D1 database orders"]
    assert desk.tables == AFTER
    assert len(desk.restores) == 1
    assert [event["text"] for event in done.events if event["kind"] == "approved"] == [
        f"by bob, another person than the requester: digest {desk.code}"
    ]
    (use,) = [record["approval"] for record in desk.records if record["source"] == "approval"]
    assert (use["uses"], use["login"], use["event"]) == (desk.request["run"], "bob", str(desk.runs[-1]))
    assert any(f"**Approved** by `@bob`: the request `{desk.code}`" in comment for comment in desk.comments)


def test_button_requests_a_time_and_another_button_approves(desk: Desk) -> None:
    inputs = {"database": "orders", "to": "-90s", "environment": "live", "incident": str(desk.incident)}
    pressed = desk.press("restore-database", inputs, "alice")
    assert pressed.code == 0, pressed.err
    asked = desk.act(desk.runs[-1])
    assert ended(asked) == (0, "planned", "needs_two_people"), asked.err
    target = desk.request["params"]["to"]
    desk.sell(minutes=5)

    approved = desk.press_approve()
    assert (approved.code, desk.outputs["go"]) == (0, "true"), approved.err
    done = desk.act(desk.runs[-1])

    assert json.loads(desk.outputs["params"]) == {"database": "orders", "to": target}
    assert len(desk.restores) == 1
    assert desk.tables == {"sales": 3, "applied": 2}, done.err


def test_revert_of_a_migration_is_approved(desk: Desk) -> None:
    asked = desk.ask(label="recover:revert")
    assert ended(asked) == (0, "planned", "needs_two_people"), asked.err
    assert "loses the rows and columns that its down file deletes" in desk.comments[0]
    assert desk.request["params"] == {"database": "orders", "name": MIGRATION}

    done = desk.approve()

    assert done.code == 0, done.err
    assert desk.tables == {"sales": 5, "applied": 1}
    assert desk.restores == []


def test_another_down_file_needs_a_new_approval(desk: Desk) -> None:
    desk.ask(label="recover:revert")
    desk.add_label()
    desk.source = desk.fetch("DELETE FROM sales; ALTER TABLE sales DROP COLUMN price")

    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "request_changed")
    assert desk.tables == BEFORE


def test_dry_run_and_nothing_to_do_wait_for_nobody(desk: Desk) -> None:
    given = {"database": "orders", "environment": "live", "incident": str(desk.incident)}
    desk.press("restore-database", {**given, "to": "-90s", "dry_run": "true"}, "alice")
    where = ["--config", str(desk.world.config), "--yes", "--json", "--dry-run", "--environment", "live"]
    dry = desk.world.ops("restore-database", "--database", "orders", "--to", "-90s", *where, **desk.job(1))
    desk.press("restore-database", {**given, "to": "before-migration:0009_x.sql"}, "alice")
    nothing = desk.act(desk.runs[-1])

    assert ended(dry) == (0, "planned", "dry_run")
    assert ended(nothing)[1] != "planned"
    assert not any("approval" in record for record in desk.records)


@pytest.mark.parametrize("way", [Desk.add_label, Desk.press_approve], ids=["label", "button"])
def test_same_person_is_refused(desk: Desk, way: Callable[..., Any]) -> None:
    desk.post()

    done = way(desk, "alice")

    assert (done.code, desk.outputs["reason"]) == (3, "same_person")
    assert "alice made the request" in desk.outputs["message"]
    assert_refused(desk, "same_person")


def test_person_who_started_the_request_again_is_a_requester(desk: Desk) -> None:
    """Neither of both may approve."""
    run = desk.new_run()
    payload = desk.hub.label(desk.incident, "recover:orders", "alice")
    again = desk.gate("issues", payload, run, GITHUB_RUN_ATTEMPT="2", GITHUB_TRIGGERING_ACTOR="bob")
    assert again.code == 0, again.err
    desk.act(run, GITHUB_RUN_ATTEMPT="2", GITHUB_TRIGGERING_ACTOR="bob")
    desk.world.sandbox.clock.advance(MINUTE)

    for login in ("alice", "bob"):
        desk.add_label(login)
        assert desk.outputs["reason"] == "same_person"

    assert desk.approve("carol").result["outcome"]["changed"]


@pytest.mark.parametrize("way", [Desk.add_label, Desk.press_approve], ids=["label", "button"])
def test_app_is_refused(desk: Desk, way: Callable[..., Any]) -> None:
    desk.hub.add_user("helper[bot]", "write", "Bot")
    desk.post()

    way(desk, "helper[bot]")

    assert_refused(desk, "not_a_person")


def test_app_in_the_name_of_a_person_is_refused(desk: Desk) -> None:
    desk.post()
    agent = App(id=77, slug="agent", name="agent")

    desk.gate("issues", desk.hub.label(desk.incident, "approve:restore", "bob", app=agent), desk.new_run())

    assert_refused(desk, "not_a_person")
    assert "an app added the label in the name of bob" in desk.outputs["message"]


def test_approval_without_request_is_refused(desk: Desk) -> None:
    desk.add_label()

    assert_refused(desk, "no_request")


def test_approval_that_is_older_than_the_plan_is_refused(desk: Desk) -> None:
    payload = desk.hub.label(desk.incident, "approve:restore", "bob")
    desk.world.sandbox.clock.advance(MINUTE)
    desk.post()

    desk.gate("issues", payload, desk.new_run())

    assert_refused(desk, "request_changed")
    assert "is older than the plan" in desk.outputs["message"]


def test_text_approves_nothing(desk: Desk) -> None:
    desk.ask()
    desk.hub.comment(desk.incident, "approve:restore\n\nApproved by @bob, /approve", "bob")

    desk.act(desk.runs[-1])

    assert (desk.restores, desk.tables) == ([], BEFORE)


def test_approval_counts_once(desk: Desk) -> None:
    desk.ask()
    desk.approve("bob")
    desk.sell(minutes=2)
    sold = desk.tables

    desk.add_label("carol")

    assert (desk.outputs["go"], desk.outputs["reason"]) == ("false", "approval_used")
    assert "was approved before, by bob" in desk.outputs["message"]
    assert (len(desk.restores), desk.tables) == (1, sold)


def test_second_approval_at_the_same_time_is_refused_by_its_job(desk: Desk) -> None:
    """Both gates approved before either job ran."""
    desk.ask()
    desk.add_label("carol")
    second = (desk.runs[-1], desk.outputs)
    desk.approve("bob")
    desk.runs.append(second[0])
    desk.outputs = second[1]

    late = desk.act(second[0])

    assert ended(late) == (3, "refused", "approval_used")
    assert len(desk.restores) == 1


def test_renamed_label_is_refused(desk: Desk) -> None:
    """People may not know that a label with another description approves a restore."""
    desk.hub.add_label("looks-good")
    desk.post()
    desk.hub.remove_label("approve:restore")
    desk.rename("looks-good", "approve:restore")

    desk.add_label()

    assert_refused(desk, "label_changed")
    assert desk.outputs["hint"].startswith("Press the button approve-restore with the digest.")
    assert "ops labels sync" in desk.outputs["hint"]


def test_label_that_is_renamed_after_it_was_added_is_refused(desk: Desk) -> None:
    desk.post()
    payload = desk.hub.label(desk.incident, "approve:restore", "bob")
    desk.rename("approve:restore", "seen")

    desk.gate("issues", payload, desk.new_run())

    assert (desk.outputs["go"], desk.outputs["reason"]) == ("false", "label_taken")
    assert desk.tables == BEFORE


def test_expired_request_is_refused(desk: Desk) -> None:
    desk.post()
    desk.world.sandbox.clock.advance(30 * MINUTE)

    desk.add_label()

    assert_refused(desk, "request_too_old")


def test_job_that_starts_late_is_refused(desk: Desk) -> None:
    desk.post()
    desk.add_label()
    desk.world.sandbox.clock.advance(31 * MINUTE)

    assert ended(desk.act(desk.runs[-1]))[:2] == (3, "refused")
    assert desk.tables == BEFORE


def test_another_attempt_of_an_approval_is_refused(desk: Desk) -> None:
    desk.post()
    desk.add_label(GITHUB_RUN_ATTEMPT="2")
    assert_refused(desk, "rerun")

    desk.add_label()
    job = desk.act(desk.runs[-1], GITHUB_RUN_ATTEMPT="2")

    assert job.code == 3
    assert desk.tables == BEFORE


def test_greater_loss_needs_a_new_approval(desk: Desk) -> None:
    desk.ask()
    desk.sell(200)
    grown = desk.tables
    desk.add_label()

    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "loss_grew")
    assert refused.result["message"].startswith("it would remove 202 rows of sales now, and at most 138 was approved")
    assert desk.tables == grown
    assert desk.request["requesters"] == [desk.id_of("alice")]
    assert f"digest `{desk.code}`" in desk.comments[-1]
    desk.world.sandbox.clock.advance(MINUTE)
    assert desk.approve().result["outcome"]["changed"]
    assert desk.tables == AFTER


def test_another_plan_needs_a_new_approval(desk: Desk) -> None:
    desk.ask()
    desk.add_label()
    desk.migrate("0003_more.sql", "ALTER TABLE sales ADD COLUMN note TEXT")

    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "request_changed")
    assert desk.restores == []
    desk.world.sandbox.clock.advance(MINUTE)
    assert desk.approve("carol").result["outcome"]["changed"]
    assert desk.tables == AFTER


def test_label_is_refused_while_two_requests_wait(desk: Desk) -> None:
    desk.ask()
    inputs = {"database": "orders", "to": "-100s", "environment": "live", "incident": str(desk.incident)}
    desk.press("restore-database", inputs, "carol")
    desk.act(desk.runs[-1])
    desk.world.sandbox.clock.advance(MINUTE)

    desk.add_label()
    assert_refused(desk, "no_request")
    assert "several requests wait" in desk.outputs["message"]

    assert desk.press_approve().code == 0
    assert desk.act(desk.runs[-1]).result["outcome"]["changed"]


def test_button_approves_its_request_despite_a_forged_newer_one(desk: Desk) -> None:
    """Everybody with write access can write a record."""
    desk.ask()
    forged = desk.comments[0].replace(desk.request["digest"], "f" * 32)
    desk.hub.comment(desk.incident, forged.replace("9000.1", "9009.1"), "carol")

    desk.press_approve(code=desk.records[0]["approval"]["digest"][:8])

    assert desk.act(desk.runs[-1]).result["outcome"]["changed"]


def test_chat_calls_the_second_person(desk: Desk) -> None:
    hook = "notify:\n  slack:\n    webhook: SLACK_WEBHOOK_URL\n"
    desk.world.config.write_text(desk.world.config.read_text() + hook)
    with receiving() as receiver:
        desk.source |= receiver.environ
        desk.ask()

        (text,) = receiver.texts

    assert text.startswith("[DRILL] Waits for a second person: restore-database on web in live because of incident #1.")
    assert f"Digest {desk.code}, until" in text
    assert "Add the label approve:restore, or press Actions" in text


def test_person_without_write_access_is_refused(desk: Desk) -> None:
    desk.hub.add_user("tina", "triage")
    desk.post()

    desk.add_label("tina")

    assert_refused(desk, "no_write_access")


def test_unknown_permission_is_refused(desk: Desk) -> None:
    desk.post()
    desk.hub.fault(path="**/permission", status=403)

    desk.add_label()

    assert_refused(desk, "permission_unreadable")


def test_closed_incident_is_refused(desk: Desk) -> None:
    desk.post()
    desk.hub.close(desk.incident, "alice")

    desk.press_approve()

    assert desk.outputs["reason"] == "incident_closed"
    assert desk.tables == BEFORE


def test_request_without_incident_is_refused(desk: Desk) -> None:
    desk.press("restore-database", {"database": "orders", "to": "-90s", "environment": "live", "incident": ""}, "alice")

    done = desk.act(desk.runs[-1])

    assert ended(done) == (3, "refused", "needs_two_people")
    assert "number of the incident" in done.result["hint"]


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


def test_label_whose_event_github_does_not_show_is_refused(desk: Desk) -> None:
    desk.post()
    desk.hub.fault(path="**/issues/*/events", status=500, times=9)

    desk.add_label()

    assert_refused(desk, "permission_unknown")


def test_approval_on_a_laptop_is_ignored(desk: Desk) -> None:
    """A person who types the options of the job is still one person."""
    desk.ask()
    desk.add_label()

    done = desk.act(desk.runs[-1], GITHUB_ACTIONS=None)

    assert ended(done)[:2] == (3, "refused")
    assert (desk.restores, desk.tables) == ([], BEFORE)


def test_long_reason_fits_into_the_record(desk: Desk) -> None:
    reason = "prices - of <all> articles @ noon -- " * 25
    inputs = {"database": "orders", "to": "-90s", "environment": "live", "incident": str(desk.incident)}
    desk.press("restore-database", {**inputs, "reason": reason}, "alice")
    asked = desk.act(desk.runs[-1])
    assert ended(asked) == (0, "planned", "needs_two_people"), asked.err
    desk.world.sandbox.clock.advance(MINUTE)

    assert desk.approve().result["outcome"]["changed"]


def test_database_is_that_of_the_shop(desk: Desk) -> None:
    desk.ask()
    desk.approve()

    (sent,) = [each for each in desk.world.sandbox.requests if each.path.endswith("/time_travel/restore")]
    assert DATABASE in sent.path
