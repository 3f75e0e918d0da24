"""A restore by two people: the request, its approval and every refusal, with a shop's database."""

import json
import shlex
import signal
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.github.users.state import App
from tests.conftest import World
from tests.support.commands import COMMENTS, ended
from tests.support.databases import RESTORE
from tests.support.second_person import DATABASE, MIGRATION, TOKEN, Desk, open_desk
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


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "change",
    [
        {"params": {"database": "orders", "to": "-5s"}},
        {"requesters": [1]},
        {"most_seconds": 9_000_000},
        {"most_rows": {"sales": 9_000_000}},
        {"environment": "staging"},
        {"runbook": "rollback-worker"},
        {"signature": "0" * 64},
        {"digest": "0" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_edited_request_is_refused(desk: Desk, change: dict[str, Any]) -> None:
    """Everybody with write access can edit a comment of the bot."""
    desk.ask()
    comment = next(each for each in desk.hub.issue(desk.incident).comments if '"approval":' in each.body)
    head, mark, block = comment.body.rpartition("<!-- backout:v1 ")
    record = json.loads(block.rpartition(" -->")[0])
    record["approval"] |= change
    escaped = json.dumps(record).replace("-", "\\u002d")
    comment.body = f"{head}{mark}{escaped} -->"

    gate = desk.add_label("alice" if "requesters" in change else "bob")
    if desk.outputs["go"] == "true":
        done = desk.act(desk.runs[-1])
        assert ended(done) == (3, "refused", "request_changed"), done.err
    else:
        assert (gate.code, desk.outputs["reason"]) == (3, "request_changed")

    assert (desk.restores, desk.tables) == ([], BEFORE)


def test_request_of_another_incident_is_refused(desk: Desk) -> None:
    desk.ask()
    other = desk.hub.open_issue("Another", labels=["incident"], author="carol")
    desk.hub.comment(other, desk.comments[0], "carol")
    desk.incident = other

    desk.add_label()
    done = desk.act(desk.runs[-1])

    assert ended(done) == (3, "refused", "request_changed")
    assert desk.tables == BEFORE


@pytest.mark.parametrize("repository", ["", "team/others"])
def test_request_of_another_repository_is_refused(desk: Desk, repository: str) -> None:
    """Two repositories may hold the same token, and both have an incident of the same number."""
    desk.post(repository=repository)
    desk.add_label()

    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "request_changed")
    said = refused.result["message"]
    assert said.startswith("the approved request was edited" if repository else "the plan differs from the approved")
    assert desk.restores == []


@pytest.mark.parametrize("signature", ["ü", "\0"])
def test_request_with_any_signature_is_refused(desk: Desk, signature: str) -> None:
    desk.ask()
    genuine = desk.request["signature"]
    comment = next(each for each in desk.hub.issue(desk.incident).comments if genuine in each.body)
    comment.body = comment.body.replace(genuine, json.dumps(signature)[1:-1])
    desk.add_label()

    assert ended(desk.act(desk.runs[-1])) == (3, "refused", "request_changed")
    assert desk.restores == []


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


@pytest.mark.parametrize("lost", ["before", "after"])
def test_lost_answer_to_the_use_is_settled(desk: Desk, lost: str) -> None:
    desk.ask()
    desk.add_label()
    desk.hub.fault(method="POST", path=COMMENTS, lost=lost, skip=1)

    done = desk.act(desk.runs[-1])

    assert done.result["outcome"]["changed"], done.err
    assert len([record for record in desk.records if record["source"] == "approval"]) == 1


def test_use_that_github_does_not_save_prevents_the_restore(desk: Desk) -> None:
    desk.ask()
    desk.add_label()
    desk.hub.fault(method="POST", path=COMMENTS, status=500, times=9)

    done = desk.act(desk.runs[-1])

    assert ended(done) == (3, "refused", "permission_unknown")
    assert desk.tables == BEFORE


def kill() -> None:
    signal.raise_signal(signal.SIGTERM)


def test_run_that_is_killed_before_the_use_may_be_approved_again(desk: Desk) -> None:
    desk.ask()
    desk.add_label()
    desk.world.sandbox.fault(path="**/query", before=kill)

    assert desk.act(desk.runs[-1]).code == 130
    assert desk.tables == BEFORE
    assert desk.approve("carol").result["outcome"]["changed"]


def test_run_that_is_killed_after_the_use_needs_a_new_request(desk: Desk) -> None:
    desk.ask()
    desk.add_label()
    desk.world.sandbox.fault(**RESTORE, before=kill, lost="before")

    killed = desk.act(desk.runs[-1])

    assert killed.code in {5, 130}, killed.err
    assert desk.tables == BEFORE
    desk.add_label("carol")
    assert desk.outputs["reason"] == "approval_used"


def test_one_person_on_a_laptop_is_named(desk: Desk) -> None:
    where = ["--environment", "live", "--config", str(desk.world.config), "--yes", "--json"]
    options = ["--database", "orders", "--to", "before-last-migration", "--incident", str(desk.incident)]
    laptop = {**desk.hub.environ(), "SHOP_TOKEN": TOKEN, "USER": "ana", "CLOUDFLARE_API_TOKEN": None}

    alone = desk.world.ops("restore-database", *options, *where, **laptop)
    desk.world.edit_config("        services: [web]\n", "        services: [web]\n        two_people: strict\n")
    strict = desk.world.ops("restore-database", *options, "--one-person", *where, **laptop)
    desk.world.edit_config("        two_people: strict\n", "")
    done = desk.world.ops("restore-database", *options, "--one-person", *where, **laptop)
    report = desk.world.ops("incident", "report", str(desk.incident), "--config", str(desk.world.config), **laptop)

    for outcome in (alone, strict):
        assert ended(outcome) == (3, "refused", "needs_two_people")
    assert "forbids --one-person" in strict.result["message"]
    assert done.result["outcome"]["changed"], done.err
    alone_text = "ana acts alone"
    assert any(alone_text in comment for comment in desk.comments)
    assert report.code == 0, report.err
    assert alone_text in (desk.hub.issues[-1].body or "")


@pytest.mark.parametrize("strict", ["", "        two_people: strict\n"], ids=["default", "strict"])
def test_single_responder_learns_that_nobody_can_approve(desk: Desk, strict: str) -> None:
    desk.world.edit_config("        services: [web]\n", f"        services: [web]\n{strict}")
    desk.world.edit_config("labels:\n", "responders: [alice]\nlabels:\n")

    asked = desk.ask()

    assert ended(asked) == (0, "planned", "needs_two_people"), asked.err
    assert "but ops.yml names no second responder: add one" in asked.result["message"]
    to = desk.request["params"]["to"]
    alone = f"restore-database --environment live --incident {desk.incident} --database orders --to {to} --one-person"
    assert (alone in asked.result["press"], "--one-person" in desk.comments[0]) == (not strict, not strict)


def test_single_responder_restores_alone_by_the_shown_command(desk: Desk) -> None:
    desk.world.edit_config("labels:\n", "responders: [alice]\nlabels:\n")
    _, *arguments = shlex.split(desk.ask().result["press"].replace("./run ops", "ops"))

    done = desk.world.ops(*arguments, "--yes", "--json", SHOP_TOKEN=TOKEN, CLOUDFLARE_API_TOKEN=None)

    assert done.result["outcome"]["changed"], done.err
    assert desk.tables == AFTER


def test_undo_of_a_strict_database_is_its_button(desk: Desk) -> None:
    desk.world.edit_config("        services: [web]\n", "        services: [web]\n        two_people: strict\n")
    desk.ask()

    (undo,) = desk.approve().result["undo"]

    assert undo.startswith("gh workflow run restore-database.yml -f database=orders -f to=")
    assert "one" not in undo


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


def test_deleted_request_is_refused(desk: Desk) -> None:
    desk.ask()
    desk.add_label()
    desk.hub.issue(desk.incident).comments.clear()

    assert ended(desk.act(desk.runs[-1])) == (3, "refused", "request_changed")
    assert desk.tables == BEFORE


@pytest.mark.slow
@pytest.mark.parametrize("number", range(0, 40, 2))
def test_kill_at_any_request_never_restores_without_a_recorded_use(desk: Desk, number: int) -> None:
    desk.ask()
    desk.add_label()
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
    desk.add_label("carol")
    assert desk.outputs["go"] == ("false" if used else "true")


def test_approval_on_a_laptop_is_ignored(desk: Desk) -> None:
    """A person who types the options of the job is still one person."""
    desk.ask()
    desk.add_label()

    done = desk.act(desk.runs[-1], GITHUB_ACTIONS=None)

    assert ended(done)[:2] == (3, "refused")
    assert (desk.restores, desk.tables) == ([], BEFORE)


def test_forged_request_of_the_same_run_changes_nothing(desk: Desk) -> None:
    desk.ask()
    comment = desk.hub.issue(desk.incident).comments[0]
    forged = comment.body.replace('"requesters":[1', '"requesters":[9')
    assert forged != comment.body
    desk.hub.comment(desk.incident, forged, "carol")

    assert desk.approve().result["outcome"]["changed"]


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
