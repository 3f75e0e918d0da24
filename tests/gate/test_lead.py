"""Hand over the lead of an incident: by the label `lead:LOGIN` and by `ops incident lead`."""

from datetime import timedelta
from typing import Any

import pytest

from ops.core.run_record import RecordRow, RunRecord, embed_record, read_record
from tests.conftest import Incident, Outcome
from tests.gate.support import Job
from tests.support.shop import OPS_YML

LEADS = "github: {leads: [alice, Bob]}\n"


def configure(job: Job, more: str = LEADS) -> Job:
    """Give the job the shop's ops.yml with `more`, and a second writer, Bob."""
    job.world.config.write_text(OPS_YML + more)
    job.github.add_user("Bob")
    return job


@pytest.fixture
def shop_job(job: Job) -> Job:
    return configure(job)


def leads(job: Job) -> list[tuple[str, str]]:
    """Return author and new lead of each record, oldest first."""
    comments = job.github.issue(job.incident).comments
    found = [(each.user.login, read_record(each.body)) for each in comments]
    return [(author, record.rows[0].text) for author, record in found if record and record.source == "lead"]


def record_of(job: Job) -> RunRecord:
    (record,) = (read_record(body) for body in job.comments)
    assert record
    return record


def hand_over(job: Job, login: str, by: str = "alice", **environ: str | None) -> Outcome:
    token = job.github.add_token(f"ghp_{by}", by)
    where = ("--to", login, "--config", str(job.world.config))
    return Incident(job.world, job.incident).ops(
        "incident", "lead", str(job.incident), *where, GITHUB_TOKEN=token, **environ
    )


@pytest.mark.parametrize("name", ["lead:Bob", "lead:bob", "LEAD:BOB"])
def test_label_records_who_leads(shop_job: Job, name: str) -> None:
    done = shop_job.gate(shop_job.label("alice", name))

    assert (done.code, shop_job.outputs["go"], shop_job.outputs["report"]) == (0, "false", "true"), done.err
    assert leads(shop_job) == [("github-actions[bot]", "Bob")]
    assert (record_of(shop_job).job, record_of(shop_job).rows[0].kind) == ("5001.1", "lead")
    assert shop_job.labels == ["incident"]
    assert [each.login for each in shop_job.github.issue(shop_job.incident).assignees] == ["Bob"]


@pytest.mark.parametrize(
    ("by", "name", "reason"),
    [
        ("tina", "lead:Bob", "no_write_access"),
        ("alice", "lead:zoe", "unknown_label"),
        ("alice", "lead:", "unknown_label"),
        ("alice", "lead:<!-- @org/team #1 -->", "unknown_label"),
    ],
)
def test_label_that_hands_nothing_over_is_refused(shop_job: Job, by: str, name: str, reason: str) -> None:
    done = shop_job.gate(shop_job.label(by, name))

    shop_job.assert_refused(done, reason)
    assert leads(shop_job) == []
    assert shop_job.labels == ["incident"]


@pytest.mark.parametrize(
    ("more", "login", "reason"),
    [
        ("github: {leads: [tina]}\n", "tina", "no_write_access"),
        ("github: {leads: [ghost-of-nobody]}\n", "ghost-of-nobody", "no_write_access"),
        ("responders: [alice]\ngithub: {leads: [Bob]}\n", "Bob", "not_a_responder"),
    ],
)
def test_only_a_person_who_may_respond_gets_the_lead(job: Job, more: str, login: str, reason: str) -> None:
    configure(job, more)

    by_label = job.gate(job.label("alice", f"lead:{login}"))
    by_command = hand_over(job, login)

    job.assert_refused(by_label, reason)
    assert by_command.code == 3
    assert leads(job) == []


@pytest.mark.parametrize("more", ["", "github: {environments: true}\n"])
def test_label_means_nothing_unless_configured(job: Job, more: str) -> None:
    configure(job, more)

    done = job.gate(job.label("alice", "lead:Bob"))

    assert done.out.startswith("not for us: ")
    assert (job.comments, job.labels) == ([], ["incident", "lead:Bob"])


def test_closed_incident_has_no_lead(shop_job: Job) -> None:
    shop_job.github.close(shop_job.incident, "alice")

    done = shop_job.gate(shop_job.label("alice", "lead:Bob"))

    shop_job.assert_refused(done, "incident_closed")
    assert hand_over(shop_job, "Bob").code == 3
    assert leads(shop_job) == []


def test_command_is_a_record_of_the_responder(shop_job: Job) -> None:
    done = hand_over(shop_job, "Bob")

    assert done.code == 0, done.err
    assert leads(shop_job) == [("alice", "Bob")]
    assert record_of(shop_job).job == ""


@pytest.mark.parametrize(("by", "login"), [("tina", "Bob"), ("alice", "-@org/team"), ("alice", "zoe"), ("alice", "")])
def test_command_without_the_right_is_refused(shop_job: Job, by: str, login: str) -> None:
    done = hand_over(shop_job, login, by)

    assert done.code == 3, done.err
    assert shop_job.comments == []


def lead_of(job: Job) -> tuple[str, bool]:
    """Return who leads by `ops incident show`, and whether a laptop's record says so."""
    where = ("--config", str(job.world.config))
    shown = Incident(job.world, job.incident).ops("incident", "show", str(job.incident), "--json", *where)
    lead = shown.result["lead"]
    return lead["login"], "alice, from a laptop" in lead["source"]


def test_latest_hand_over_counts(shop_job: Job) -> None:
    assert lead_of(shop_job) == ("", False)
    shop_job.gate(shop_job.label("alice", "lead:Bob"))
    assert lead_of(shop_job) == ("Bob", False)

    shop_job.world.sandbox.clock.advance(60)
    hand_over(shop_job, "alice")

    assert lead_of(shop_job) == ("alice", True)


def test_report_and_its_open_items_name_the_lead(shop_job: Job) -> None:
    shop_job.gate(shop_job.label("alice", "lead:Bob"))
    shop_job.github.close(shop_job.incident, "alice")
    where = (str(shop_job.incident), "--config", str(shop_job.world.config))

    done = Incident(shop_job.world, shop_job.incident).ops("incident", "report", *where)

    assert done.code == 0, done.err
    assert "- Lead: Bob since " in (shop_job.github.issues[-1].body or "")
    assert "`Bob`" in next(body for body in shop_job.comments if body.startswith("Report of this incident"))


def test_record_of_a_stranger_names_no_lead(shop_job: Job) -> None:
    now = shop_job.world.sandbox.clock.now()
    forged = RunRecord("lead-1", source="lead", rows=(RecordRow(now, "lead", "tina"),), job="5001.1")
    shop_job.github.comment(shop_job.incident, embed_record("x", forged), "tina", at=now)

    assert lead_of(shop_job) == ("", False)


def test_two_hand_overs_at_once_are_both_recorded(shop_job: Job) -> None:
    first, second = shop_job.label("alice", "lead:Bob"), shop_job.label("Bob", "lead:alice")

    codes = [shop_job.gate(each, GITHUB_RUN_ID=run).code for each, run in ((second, "5003"), (first, "5002"))]

    assert (codes, sorted(leads(shop_job))) == ([0, 0], [("github-actions[bot]", name) for name in ("Bob", "alice")])
    assert shop_job.labels == ["incident"]
    assert lead_of(shop_job)[0] == leads(shop_job)[-1][1]


@pytest.mark.parametrize(("fault", "code"), [({"status": 502}, 4), ({"lost": "after"}, 0)], ids=str)
def test_second_attempt_keeps_one_record(shop_job: Job, fault: dict[str, Any], code: int) -> None:
    payload = shop_job.label("alice", "lead:Bob")
    failing = shop_job.github.fault(method="POST", path="/repos/*/*/issues/*/comments", times=None, **fault)
    assert shop_job.gate(payload).code == code
    failing.remove()
    shop_job.world.sandbox.clock.advance(timedelta(minutes=2).total_seconds())

    assert shop_job.gate(payload, GITHUB_RUN_ATTEMPT="2").code == 0

    assert leads(shop_job) == [("github-actions[bot]", "Bob")]


def test_failed_assignment_is_a_warning(shop_job: Job) -> None:
    shop_job.github.fault(method="POST", path="/repos/*/*/issues/*/assignees", times=None, status=403)

    done = shop_job.gate(shop_job.label("alice", "lead:Bob"))

    assert done.code == 0
    assert "Bob" in done.err
    assert leads(shop_job) == [("github-actions[bot]", "Bob")]
