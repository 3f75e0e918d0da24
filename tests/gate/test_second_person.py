"""A restore by two people: the request, its approval and every refusal, with a shop's database."""

import json
import re
from datetime import timedelta

import pytest

from ops.core.run_record import RunRecord, embed_record
from ops.database.plan_text import ROWS_SECTION, TAKEN_BACK_SECTION
from sandbox.github.users.state import ACTIONS_BOT
from tests.conftest import World
from tests.support.commands import COMMENTS, JSON, ended
from tests.support.second_person import DATABASE, MIGRATION, Desk, open_desk
from tests.support.webhooks import receiving

BEFORE, AFTER = {"sales": 5, "applied": 2}, {"sales": 3, "applied": 1}
MINUTE = 60


@pytest.fixture
def desk(world: World) -> Desk:
    return open_desk(world)


def assert_refused(desk: Desk, reason: str) -> None:
    """Assert that the gate refused and answered on the issue."""
    assert (desk.outputs["go"], desk.outputs["reason"], desk.outputs["answered"]) == ("false", reason, "true")
    assert any(f"`{reason}`" in comment and "nothing was changed" in comment for comment in desk.comments)
    assert (desk.restores, desk.tables) == ([], BEFORE)


@pytest.mark.slow
def test_label_requests_and_a_button_approves(desk: Desk) -> None:
    asked = desk.ask()
    assert ended(asked) == (0, "planned", "needs_two_people"), asked.err
    assert desk.restores == []
    (waiting,) = desk.comments
    assert "restore-database for web: waits for a second person" in waiting
    assert "\nIt loses at most 38 min of writes; at most 138 rows of sales." in waiting
    assert f"**Run workflow**: incident `1`, digest `{desk.digest}`" in waiting
    assert f"**{TAKEN_BACK_SECTION}**\n\n- 0002_prices.sql, " in waiting
    assert f"**{ROWS_SECTION}**\n\n- sales: 2 of 5 rows deleted" in waiting

    done = desk.approve()

    assert done.result["outcome"]["changed"] == ["D1 database orders", "Holds of D1 database orders"]
    assert desk.tables == AFTER
    assert len(desk.restores) == 1
    approved = [event["text"] for event in done.events if event["kind"] == "approved"]
    assert [(text.split(",")[0].rpartition(" ")[2], text.rpartition(" ")[2]) for text in approved] == [
        ("bob", desk.code)
    ]
    (use,) = [record["approval"] for record in desk.records if record["source"] == "approval"]
    assert (use["uses"], use["login"], use["event"]) == (desk.request["run"], "bob", str(desk.runs[-1]))
    assert any(f"**Approved** by `@bob`: the request `{desk.code}`" in comment for comment in desk.comments)


@pytest.mark.slow
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


@pytest.mark.slow
def test_second_press_of_label_or_button_restores_only_with_the_loss_by_name(desk: Desk) -> None:
    """The refusal prints the fields of the button, and the approval carries the accepted time."""
    desk.ask()
    desk.approve()
    desk.sell(2, minutes=5)
    label = desk.ask()
    inputs = {"database": "orders", "to": "-2m", "environment": "live", "incident": str(desk.incident)}
    desk.press("restore-database", inputs, "alice")
    button = desk.act(desk.runs[-1])

    for refused in (label, button):
        assert ended(refused) == (3, "refused", "no_target")
        assert f"to = {desk.restores[0]}" in refused.result["press_button"]
    assert (len(desk.restores), desk.tables["sales"]) == (1, 5)

    fields = re.findall(r"(\w+) = ([^;)]+)", button.result["hint"])
    desk.press("restore-database", {**inputs, **dict(fields)}, "alice")
    assert ended(desk.act(desk.runs[-1])) == (0, "planned", "needs_two_people")
    assert desk.request["params"]["accept_loss_since"] == dict(fields)["accept_loss_since"]
    desk.world.sandbox.clock.advance(60)
    assert desk.press_approve().code == 0, desk.outputs
    assert desk.act(desk.runs[-1]).result["outcome"]["changed"]
    assert len(desk.restores) == 2


@pytest.mark.slow
def test_revert_of_a_migration_is_approved(desk: Desk) -> None:
    asked = desk.ask(label="recover:revert")
    assert ended(asked) == (0, "planned", "needs_two_people"), asked.err
    assert "loses the rows and columns that its down file deletes" in desk.comments[0]
    assert "**\n\n- 1: ALTER TABLE sales DROP COLUMN price" in desk.comments[0]
    assert desk.request["params"] == {"database": "orders", "name": MIGRATION}

    done = desk.approve()

    assert done.code == 0, done.err
    assert desk.tables == {"sales": 5, "applied": 1}
    assert desk.restores == []


def test_another_down_file_needs_a_new_approval(desk: Desk) -> None:
    desk.ask(label="recover:revert")
    desk.press_approve()
    desk.source = desk.fetch("DELETE FROM sales; -- backout: accepts sales\nALTER TABLE sales DROP COLUMN price")

    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "request_changed")
    assert desk.tables == BEFORE


@pytest.mark.slow
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


@pytest.mark.slow
def test_label_approves_nothing_and_names_the_button(desk: Desk) -> None:
    """Each press gets the answer, and the label is consumed. Requests of the release before show 8 digits."""
    desk.ask()

    for count in (1, 2, 3):
        desk.add_label("carol" if count == 2 else "bob")

        assert_refused(desk, "label_changed")
        assert [each.name for each in desk.hub.issue(desk.incident).labels] == ["incident"]
        answers = [each for each in desk.comments if "`label_changed`" in each]
        assert [f"latest of {count} refused" in each for each in answers] == [count > 1]
    page = desk.hub.environ()["GITHUB_SERVER_URL"] + "/" + desk.hub.environ()["GITHUB_REPOSITORY"]
    answer = next(each for each in desk.comments if "`label_changed`" in each)
    assert re.search(rf"{page}/actions/workflows/approve-restore\.yml .*\*Run workflow\*.* incident 1\b", answer)
    assert re.search(r"\b32 digits.*\b8\b", answer)
    assert desk.digest not in answer
    assert desk.approve().result["outcome"]["changed"]


@pytest.mark.parametrize(
    ("digest", "says"),
    [
        ("0" * 32, f" {'0' * 32}:"),
        ("5f72fd05", r'"5f72fd05".* 32 '),
        ("%s0", " 32 "),
        ("approve\x1b[2J <b>@bob</b>", " 32 "),
    ],
)
def test_wrong_digest_is_answered(desk: Desk, digest: str, says: str) -> None:
    desk.post()

    for _ in range(2):
        desk.press_approve(digest=digest.replace("%s", desk.digest))

        assert_refused(desk, "no_request")
        assert re.search(says, desk.outputs["message"])
        assert " 32 " in desk.outputs["hint"]
    assert desk.press_approve(digest=f" {desk.digest.upper()} ").code == 0


@pytest.mark.slow
def test_digest_of_another_incident_is_refused(desk: Desk) -> None:
    """Also if somebody copied its comment to this incident."""
    desk.ask()
    first, genuine = desk.incident, desk.digest
    desk.incident = desk.hub.open_issue("Another", labels=["incident"], author="carol")
    desk.hub.comment(desk.incident, desk.hub.issue(first).comments[0].body, "carol")

    desk.press_approve(digest=genuine)

    assert_refused(desk, "no_request")
    assert genuine not in desk.outputs["message"]


def test_approval_without_request_is_refused(desk: Desk) -> None:
    desk.press_approve(digest="0" * 32)

    assert_refused(desk, "no_request")


def test_approval_that_is_older_than_the_plan_is_refused(desk: Desk) -> None:
    desk.post(ahead=timedelta(minutes=2))

    desk.press_approve()

    assert_refused(desk, "request_changed")
    assert "older than" in desk.outputs["message"]


@pytest.mark.slow
def test_summary_of_the_run_shows_the_request(desk: Desk) -> None:
    """Everybody with write access can edit the comment, and nobody the page of the run."""
    page = desk.world.folder / "summary.md"
    desk.source |= {"GITHUB_STEP_SUMMARY": str(page)}

    desk.ask()

    shown = page.read_text()
    assert "**Approve the restore of orders to" in shown
    assert f"digest `{desk.digest}`" in shown
    assert "\nIt loses at most 38 min of writes; at most 138 rows of sales." in shown
    run = f"{desk.hub.environ()['GITHUB_SERVER_URL']}/{desk.hub.environ()['GITHUB_REPOSITORY']}/actions/runs/9000"
    assert f"compare plan and digest with the [page of its run]({run})" in desk.comments[0]


@pytest.mark.slow
def test_text_approves_nothing(desk: Desk) -> None:
    desk.ask()
    desk.hub.comment(desk.incident, "approve:restore\n\nApproved by @bob, /approve", "bob")

    desk.act(desk.runs[-1])

    assert (desk.restores, desk.tables) == ([], BEFORE)


@pytest.mark.slow
def test_approval_counts_once(desk: Desk) -> None:
    desk.ask()
    desk.approve("bob")
    desk.sell(minutes=2)
    sold = desk.tables

    desk.press_approve("carol")

    assert (desk.outputs["go"], desk.outputs["reason"]) == ("false", "approval_used")
    assert "was approved before, by bob" in desk.outputs["message"]
    assert (len(desk.restores), desk.tables) == (1, sold)


def test_second_approval_at_the_same_time_restores_nothing(desk: Desk) -> None:
    """The second job finds the restore made, and only checks."""
    desk.ask()

    late = desk.approve_twice()

    assert ended(late) == (0, "nothing_to_do", "already_live")
    assert len(desk.restores) == 1


def test_expired_request_is_refused(desk: Desk) -> None:
    desk.post()
    desk.world.sandbox.clock.advance(30 * MINUTE)

    desk.press_approve()

    assert_refused(desk, "request_too_old")


@pytest.mark.slow
def test_job_that_starts_late_is_refused(desk: Desk) -> None:
    desk.post()
    desk.press_approve()
    desk.world.sandbox.clock.advance(31 * MINUTE)

    assert ended(desk.act(desk.runs[-1]))[:2] == (3, "refused")
    assert desk.tables == BEFORE


def test_another_attempt_of_an_approval_is_refused(desk: Desk) -> None:
    desk.post()
    desk.press_approve(GITHUB_RUN_ATTEMPT="2")
    assert_refused(desk, "rerun")

    desk.press_approve()
    job = desk.act(desk.runs[-1], GITHUB_RUN_ATTEMPT="2")

    assert job.code == 3
    assert desk.tables == BEFORE


@pytest.mark.slow
def test_greater_loss_needs_a_new_approval(desk: Desk) -> None:
    desk.ask()
    desk.sell(200)
    grown = desk.tables
    desk.press_approve()

    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "loss_grew")
    assert refused.result["message"].startswith(
        "nothing was changed: it would lose 202 rows of sales now, and at most 138 were approved"
    )
    assert desk.tables == grown
    assert desk.request["requesters"] == [desk.id_of("alice")]
    assert f"digest `{desk.digest}`" in desk.comments[-1]
    desk.world.sandbox.clock.advance(MINUTE)
    assert desk.approve().result["outcome"]["changed"]
    assert desk.tables == AFTER


@pytest.mark.slow
def test_another_plan_needs_a_new_approval(desk: Desk) -> None:
    desk.ask()
    desk.press_approve()
    desk.migrate("0003_more.sql", "ALTER TABLE sales ADD COLUMN note TEXT")

    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "request_changed")
    assert desk.restores == []
    desk.world.sandbox.clock.advance(MINUTE)
    assert desk.approve("carol").result["outcome"]["changed"]
    assert desk.tables == AFTER


@pytest.mark.slow
def test_chat_calls_the_second_person(desk: Desk) -> None:
    hook = "notify:\n  slack:\n    webhook: SLACK_WEBHOOK_URL\n"
    desk.world.config.write_text(desk.world.config.read_text() + hook)
    with receiving() as receiver:
        desk.source |= receiver.environ
        desk.ask()

        (text,) = receiver.texts

    assert text.startswith("[DRILL] Waits for a second person: restore-database on web in live because of incident #1.")
    assert f"Digest {desk.digest}, until" in text
    assert "Press Actions → approve-restore → Run workflow: incident = 1; digest =" in text


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


@pytest.mark.slow
def test_approval_on_a_laptop_is_ignored(desk: Desk) -> None:
    """A person who types the options of the job is still one person."""
    desk.ask()
    desk.press_approve()

    done = desk.act(desk.runs[-1], GITHUB_ACTIONS=None)

    assert ended(done)[:2] == (3, "refused")
    assert (desk.restores, desk.tables) == ([], BEFORE)


@pytest.mark.slow
def test_long_reason_fits_into_the_record(desk: Desk) -> None:
    reason = "prices - of <all> articles @ noon -- " * 25
    inputs = {"database": "orders", "to": "-90s", "environment": "live", "incident": str(desk.incident)}
    desk.press("restore-database", {**inputs, "reason": reason}, "alice")
    asked = desk.act(desk.runs[-1])
    assert ended(asked) == (0, "planned", "needs_two_people"), asked.err
    desk.world.sandbox.clock.advance(MINUTE)

    assert desk.approve().result["outcome"]["changed"]


@pytest.mark.slow
def test_database_is_that_of_the_shop(desk: Desk) -> None:
    desk.ask()
    desk.approve()

    (sent,) = [each for each in desk.world.sandbox.requests if each.path.endswith("/time_travel/restore")]
    assert DATABASE in sent.path


def test_approval_without_its_incident_is_refused(desk: Desk) -> None:
    desk.ask()
    desk.press_approve()
    desk.outputs["incident"] = ""

    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "request_changed")
    assert (desk.restores, desk.tables) == ([], BEFORE)


@pytest.mark.slow
def test_two_runs_of_one_approval_restore_once(desk: Desk) -> None:
    """The other run writes its comment between the read and the write of this one."""
    desk.ask()
    desk.press_approve()

    def use() -> None:
        desk.hub.add_run("approve-restore.yml", 4711)
        approval = {"uses": desk.request["run"], "digest": desk.digest, "login": "bob", "id": desk.id_of("bob")}
        at = f"{desk.world.sandbox.clock.now():%Y-%m-%dT%H:%M:%SZ}"
        record = RunRecord("approval-1", source="approval", approval={**approval, "at": at, "event": "4711"})
        desk.hub.comment(desk.incident, embed_record("used", record), ACTIONS_BOT)

    desk.hub.fault(method="POST", path=COMMENTS, sends='source\\":\\"approval', before=use)

    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "approval_used")
    assert (desk.restores, desk.tables) == ([], BEFORE)


@pytest.mark.slow
def test_approval_that_github_does_not_show_restores_nothing(desk: Desk) -> None:
    desk.ask()
    desk.press_approve()
    desk.hub.fault(method="GET", path=COMMENTS, skip=2, times=None, body="[]", **JSON)

    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "permission_unknown")
    assert (desk.restores, desk.tables) == ([], BEFORE)


@pytest.mark.slow
@pytest.mark.parametrize("path", [COMMENTS, "/repos/*/*/actions/runs/*"])
def test_gate_that_cannot_read_the_approval_refuses(desk: Desk, path: str) -> None:
    desk.ask()
    desk.hub.fault(method="GET", path=path, status=500, times=None)

    desk.press_approve()

    assert (desk.outputs["go"], desk.outputs["reason"]) == ("false", "permission_unknown")
    assert (desk.restores, desk.tables) == ([], BEFORE)
