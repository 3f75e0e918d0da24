"""Re-run attempts of a recovery run, and the comment that announces the start of a run."""

import itertools
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.core.run_record import RecordRow, RunRecord, embed_record, parse_job_run
from tests.conftest import Outcome
from tests.gate.support import LABEL, Job
from tests.support.properties import holds_for

BUTTON = "on:\n  workflow_dispatch:\n    inputs: {service: {}, environment: {}, incident: {}}\n"
RUN = "7001"
COMMENT = "/repos/*/*/issues/comments/*"
COMMENTS = "/repos/*/*/issues/*/comments"


def merge_config(job: Job) -> None:
    """Commit the ops.yml of the job to the default branch."""
    job.github.add_commit("Change ops.yml", "alice", files={"ops.yml": job.world.config.read_text()})


def rerun(job: Job, payload: Any, actor: str, event: str = "issues", **environ: str | None) -> Outcome:
    """Run the gate for a second attempt, started by `actor`."""
    if "ops.yml" not in job.github.files():
        merge_config(job)
    usual = {"GITHUB_RUN_ATTEMPT": "2", "GITHUB_RUN_ID": RUN, "GITHUB_ACTOR": "alice"}
    return job.gate(payload, event, **{**usual, "GITHUB_TRIGGERING_ACTOR": actor, **environ})


def assert_rerun_refused(job: Job, done: Outcome, why: str) -> None:
    job.assert_refused(done, "rerun")
    assert why in job.outputs["message"]
    assert "label" in job.outputs["hint"]


def record_run(
    job: Job, run: str, minutes: float, kind: str = "writing", by: str = "github-actions[bot]", **block: Any
) -> None:
    """Record a run on the incident, with its last row `minutes` from now."""
    at = job.world.sandbox.clock.now() + timedelta(minutes=minutes)
    rows = (RecordRow(at - timedelta(seconds=5), "requested", "x"), RecordRow(at, kind, "x"))
    if number := parse_job_run(run):
        job.github.add_run("maintenance.yml", number[0])
    about = {"runbook": "maintenance", "environment": "production", "rows": rows, **block}
    job.github.comment(job.incident, embed_record("### Run\n", RunRecord(run=run, **about)), by)


@pytest.mark.slow
def test_rerun_needs_no_label_and_acts_for_its_starter(job: Job) -> None:
    job.github.add_user("bob")
    payload = job.label()
    job.assert_accepted(job.gate(payload))
    job.world.sandbox.clock.advance(60)

    done = rerun(job, payload, "bob")

    job.assert_accepted(done)
    assert (job.outputs["attempt"], job.outputs["actor"]) == ("2", "bob")
    assert job.outputs["requested_at"] == payload["issue"]["updated_at"].replace("Z", "+00:00")
    assert 'requested by "bob"' in done.out
    assert [
        request.path.rpartition("collaborators/")[2] for request in job.github.requests if "coll" in request.path
    ] == [
        "alice/permission",
        "bob/permission",
    ]


@pytest.mark.slow
def test_rerun_removes_label_left_by_first_attempt(job: Job) -> None:
    payload = job.label()

    job.assert_accepted(rerun(job, payload, "alice"))

    assert job.labels == ["incident"]


def test_refused_request_can_be_rerun_by_writer(job: Job) -> None:
    payload = job.label("tina")
    job.assert_refused(job.gate(payload), "no_write_access")

    job.assert_accepted(rerun(job, payload, "alice"))


def test_rerun_requires_triggering_actor(job: Job) -> None:
    done = rerun(job, job.label(), "", GITHUB_TRIGGERING_ACTOR=None)

    assert (done.code, job.outputs["go"]) == (2, "false")
    assert "GITHUB_TRIGGERING_ACTOR is not set" in done.err


@pytest.mark.slow
def test_rerun_checks_responders_on_default_branch(job: Job) -> None:
    """A rerun uses the files of the commit of the request."""
    config = job.world.config
    job.github.add_user("bob")
    config.write_text(config.read_text().replace("responders: []", "responders: [alice]"))
    merge_config(job)
    config.write_text(config.read_text().replace("responders: [alice]", "responders: [alice, bob]"))
    payload = job.label()

    job.assert_refused(rerun(job, payload, "bob"), "not_a_responder")


@pytest.mark.sampled
@pytest.mark.parametrize(
    "text", [None, "", "responders: alice", "responders: [1]", "a: [", "- x"], ids=["missing", *"12345"]
)
def test_rerun_is_refused_if_responders_are_unreadable(job: Job, text: str | None) -> None:
    job.github.add_commit("Something", "alice", files={"ops.yml": text} if text is not None else {"a": ""})
    payload = job.label()
    if text is None:
        job.github.fault(method="GET", path="/repos/*/*/contents/ops.yml", status=404, times=None)

    job.assert_refused(rerun(job, payload, "alice"), "rerun")

    assert "responders" in job.outputs["message"]


@pytest.mark.slow
def test_rerun_of_old_request_is_refused(job: Job) -> None:
    payload = job.label()
    job.world.sandbox.clock.advance(31 * 60)

    job.assert_refused(rerun(job, payload, "alice"), "request_too_old")


def test_rerun_on_closed_incident_is_refused(job: Job) -> None:
    payload = job.label()
    job.github.close(job.incident, "alice")

    job.assert_refused(rerun(job, payload, "alice"), "incident_closed")
    assert "label" in job.outputs["hint"]


def test_rerun_is_refused_after_later_changes(job: Job) -> None:
    payload = job.label(name="recover:api-off")
    job.assert_accepted(job.gate(payload, GITHUB_RUN_ID=RUN))
    record_run(job, f"{RUN}.1-00ab", 1)
    record_run(job, "7002.1-00cd", 5)
    job.world.sandbox.clock.advance(10 * 60)

    done = rerun(job, payload, "alice")

    assert (done.code, job.outputs["go"], job.outputs["reason"]) == (3, "false", "rerun")
    assert f'"{RUN}.1-00ab" of "maintenance" changed something after the request' in job.outputs["message"]
    assert f"`{RUN}.1-00ab` of `maintenance` changed something" in job.answers[2]


CHANGES: dict[str, tuple[dict[str, Any], bool]] = {
    "this run wrote": ({"run": f"{RUN}.1-00ab", "minutes": 1}, True),
    "another run wrote": ({"run": "7002.1-00ab", "minutes": 1}, True),
    "a laptop wrote": ({"run": "20261124T030000-00ab", "minutes": 1, "source": "laptop", "by": "alice"}, True),
    "within the clocks' difference": ({"run": "7002.1-00ab", "minutes": -0.5}, True),
    "rows were cut": ({"run": "7002.1-00ab", "minutes": 1, "kind": "ended", "versions": (("w", "a", "b"),)}, True),
    "all rows were cut": ({"run": "7002.1-00ab", "minutes": 1, "rows": (), "versions": (("w", "a", "b"),)}, True),
    "before the request": ({"run": "7002.1-00ab", "minutes": -2}, False),
    "nothing was written": ({"run": f"{RUN}.1-00ab", "minutes": 1, "kind": "failed"}, False),
    "elsewhere": ({"run": "7002.1-00ab", "minutes": 1, "environment": "staging"}, False),
    "told by a stranger": ({"run": "7002.1-00ab", "minutes": 1, "by": "tina"}, False),
    "a note": ({"run": "7002.1-00ab", "minutes": 1, "source": "note"}, False),
}


@pytest.mark.sampled
@pytest.mark.parametrize(("change", "is_refused"), CHANGES.values(), ids=CHANGES)
def test_rerun_is_refused_only_after_recorded_change(job: Job, change: dict[str, Any], is_refused: bool) -> None:
    payload = job.label()
    record_run(job, **change)
    before = list(job.comments)

    done = rerun(job, payload, "alice")

    assert (done.code, job.outputs["go"]) == ((3, "false") if is_refused else (0, "true")), done.err
    assert [each for each in job.comments if each in before] == before
    assert job.outputs["reason"] == ("rerun" if is_refused else "")


def test_rerun_is_not_blocked_by_a_writer_who_is_no_responder(job: Job) -> None:
    config = job.world.config
    config.write_text(config.read_text().replace("responders: []", "responders: [alice]"))
    merge_config(job)
    job.github.add_user("dana")
    payload = job.label()
    record_run(job, "7002.1-00ab", 1, by="dana")

    job.assert_accepted(rerun(job, payload, "alice"))


@pytest.mark.slow
def test_rerun_is_refused_if_authors_of_changes_are_unreadable(job: Job) -> None:
    payload = job.label()
    record_run(job, "7002.1-00ab", 1)
    job.github.fault(method="POST", path="/graphql", status=502, times=None)

    done = rerun(job, payload, "alice")

    assert (done.code, job.outputs["reason"]) == (3, "rerun")
    assert "GitHub does not say who edited it" in job.outputs["message"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("path", ["/repos/*/*/issues/*", COMMENTS])
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 404}, {"body": "[7]"}, {"lost": "before"}], ids=str)
def test_rerun_is_refused_if_changes_are_unreadable(job: Job, path: str, fault: dict[str, Any]) -> None:
    payload = job.label()
    job.github.fault(method="GET", path=path, times=None, **fault)

    done = rerun(job, payload, "alice")

    assert (done.code, job.outputs["go"]) == (3, "false")
    assert job.outputs["reason"] in {"rerun", "unknown_incident"}


def press_button(job: Job, incident: str) -> tuple[Mapping[str, Any], str]:
    job.github.add_commit("Button", "alice", files={".github/workflows/rollback-worker.yml": BUTTON})
    inputs = {"service": "api", "environment": "production", "incident": incident}
    run = job.github.dispatch("rollback-worker.yml", inputs, by="alice")
    return run.payload, str(run.id)


@pytest.mark.slow
def test_rerun_of_button_keeps_original_request_time(job: Job) -> None:
    payload, run = press_button(job, str(job.incident))
    at = job.github.runs[0].created_at
    job.github.set_run(int(run), "completed", "failure")
    job.world.sandbox.clock.advance(600)
    job.github.rerun(int(run), "alice")

    done = rerun(job, payload, "alice", "workflow_dispatch", GITHUB_RUN_ID=run)

    job.assert_accepted(done)
    assert job.outputs["requested_at"] == at.isoformat()


def test_rerun_of_button_without_incident_is_refused(job: Job) -> None:
    payload, run = press_button(job, "")

    done = rerun(job, payload, "alice", "workflow_dispatch", GITHUB_RUN_ID=run)

    assert (done.code, job.outputs["go"], job.outputs["reason"]) == (3, "false", "rerun")
    assert "it names no incident" in job.outputs["message"]


def test_rerun_of_button_without_start_time_is_refused(job: Job) -> None:
    payload, run = press_button(job, str(job.incident))
    job.github.fault(method="GET", path="/repos/*/*/actions/runs/*", status=403)

    assert_rerun_refused(job, rerun(job, payload, "alice", "workflow_dispatch", GITHUB_RUN_ID=run), "button")


ROLES = ["admin", "maintain", "write", "triage", "read", None]
LISTED: list[list[str]] = [[], ["alice"], ["bob"]]
NUMBERS = itertools.count(1)


@pytest.mark.slow
@holds_for(
    10,
    300,
    roles=st.tuples(st.sampled_from(ROLES), st.sampled_from(ROLES)),
    listed=st.sampled_from(LISTED),
    actor=st.sampled_from(["alice", "bob", "BOB", "helper[bot]", "nobody-here", "bob "]),
    attempt=st.sampled_from(["2", "3", "17"]),
    by_label=st.booleans(),
    is_first_let_through=st.booleans(),
)
def test_rerun_requires_permission_of_triggering_actor(
    job: Job,
    roles: tuple[Any, Any],
    listed: list[str],
    actor: str,
    attempt: str,
    by_label: bool,
    is_first_let_through: bool,
) -> None:
    """The permission of the event's sender and the result of the first attempt do not matter."""
    github = job.github
    job.world.sandbox.clock.advance(3600)  # avoids the hourly rate limit of the token
    for login, role in zip(("alice", "bob"), roles, strict=True):
        github.add_user(login, role)
    text = job.world.config.read_text()
    job.world.config.write_text(re.sub(r"responders: \[.*\]", f"responders: [{', '.join(listed)}]", text))
    merge_config(job)
    job.incident = github.open_issue(f"Number {next(NUMBERS)}", "", ["incident"], "alice")
    payload, run = (job.label(), RUN) if by_label else press_button(job, str(job.incident))
    event = "issues" if by_label else "workflow_dispatch"
    if is_first_let_through:
        job.gate(payload, event, GITHUB_RUN_ID=run)

    rerun(job, payload, actor, event, GITHUB_RUN_ID=run, GITHUB_RUN_ATTEMPT=attempt)

    role = {"alice": roles[0], "bob": roles[1]}.get(actor.lower())
    may = role in {"admin", "maintain", "write"} and (not listed or actor.lower() in listed)
    assert job.outputs["go"] == ("true" if may else "false")
    assert job.outputs["attempt"] == attempt


def test_refusal_keeps_label_added_meanwhile(job: Job) -> None:
    payload = job.label()
    job.github.unlabel(job.incident, LABEL, "alice")
    job.github.fault(method="POST", path=COMMENTS, after=job.label)

    done = job.gate(payload)

    assert (done.code, job.outputs["reason"], job.labels) == (3, "label_taken", ["incident", LABEL])


# Comment that a step of a workflow of version 0.1 posted before the gate.


def post_start_comment(job: Job, run: str = RUN, attempt: str = "1", by: str = "github-actions[bot]") -> str:
    """Post the start comment, and return its ID."""
    text = f"**Received** `{LABEL}`, starting\n\n<!-- backout:request run={run} attempt={attempt} -->\n"
    return str(job.github.comment(job.incident, text, by))


@pytest.mark.slow
def test_accepted_request_passes_on_comment_id(job: Job) -> None:
    payload, comment = job.label(), post_start_comment(job)

    job.assert_accepted(job.gate(payload, GITHUB_RUN_ID=RUN, OPS_COMMENT=comment))

    assert job.outputs["comment"] == comment
    assert len(job.comments) == 1
    assert not [request for request in job.github.requests if "comments" in request.path]


@pytest.mark.sampled
@pytest.mark.parametrize("attempt", ["1", "2"])
def test_refusal_replaces_start_comment(job: Job, attempt: str) -> None:
    merge_config(job)
    payload, comment = job.label("tina"), post_start_comment(job, attempt=attempt)
    environ = {"GITHUB_RUN_ID": RUN, "GITHUB_RUN_ATTEMPT": attempt, "OPS_COMMENT": comment}

    done = job.gate(payload, **environ)

    job.assert_refused(done, "no_write_access")
    assert (job.outputs["comment"], len(job.comments)) == ("", 1)


@pytest.mark.slow
def test_second_refusal_updates_same_comment(job: Job) -> None:
    job.gate(job.label("tina"), GITHUB_RUN_ID=RUN, OPS_COMMENT=post_start_comment(job))
    payload = job.label("tina")

    job.gate(payload, GITHUB_RUN_ID="7002", OPS_COMMENT=post_start_comment(job, "7002"))

    (comment,) = job.comments
    assert "This is the latest of 2 refused requests" in comment


OTHERS: dict[str, dict[str, str]] = {
    "another person's": {"by": "tina"},
    "another run's": {"run": "7002"},
    "another attempt's": {"attempt": "2"},
}


@pytest.mark.sampled
@pytest.mark.parametrize("given", OTHERS.values(), ids=OTHERS)
def test_refusal_deletes_only_own_start_comment(job: Job, given: dict[str, str]) -> None:
    payload, comment = job.label("tina"), post_start_comment(job, **given)

    done = job.gate(payload, GITHUB_RUN_ID=RUN, OPS_COMMENT=comment)

    assert done.code == 3
    assert [each[:8] for each in job.comments] == ["**Receiv", "**Refuse"]


def test_refusal_keeps_comment_of_another_issue(job: Job) -> None:
    payload, here = job.label("tina"), job.incident
    job.incident = job.github.open_issue("Another", "", ["incident"], "alice")
    comment = post_start_comment(job)

    job.gate(payload, GITHUB_RUN_ID=RUN, OPS_COMMENT=comment)

    assert len(job.comments) == 1
    job.incident = here
    assert [each[:8] for each in job.comments] == ["**Refuse"]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "0", "-1", "x", "1\ngo=true", "9" * 30])
def test_invalid_comment_id_is_dropped(job: Job, text: str) -> None:
    job.assert_accepted(job.gate(job.label(), OPS_COMMENT=text))

    (posted,) = job.github.issue(job.incident).comments
    assert job.outputs["comment"] == str(posted.id)


def test_ignored_event_deletes_start_comment(job: Job) -> None:
    payload = {**job.label(), "repository": {"full_name": "acme/other", "default_branch": "main"}}

    done = job.gate(payload, GITHUB_RUN_ID=RUN, OPS_COMMENT=post_start_comment(job))

    assert (done.code, job.outputs, job.comments) == (0, {}, [])


@pytest.mark.slow
def test_unwritten_refusal_keeps_start_comment(job: Job) -> None:
    payload, comment = job.label("tina"), post_start_comment(job)
    job.github.fault(method="POST", path=COMMENTS, times=None, status=500)

    done = job.gate(payload, GITHUB_RUN_ID=RUN, OPS_COMMENT=comment)

    assert (done.code, job.outputs["reason"], job.outputs["answered"]) == (3, "no_write_access", "")
    assert '"tina" may not write' in job.outputs["message"]
    assert [each[:8] for each in job.comments] == ["**Receiv"]


@pytest.mark.slow
def test_failed_comment_deletion_is_a_warning(job: Job) -> None:
    payload, comment = job.label("tina"), post_start_comment(job)
    job.github.fault(method="DELETE", path=COMMENT, status=500)

    done = job.gate(payload, GITHUB_RUN_ID=RUN, OPS_COMMENT=comment)

    assert (done.code, job.outputs["answered"], len(job.comments)) == (3, "true", 2)
    assert "the comment that announces the run could not be deleted" in done.err


@pytest.mark.slow
def test_refusal_message_is_a_single_line(job: Job) -> None:
    done = job.gate(job.label(name="recover:x"), OPS_COMMENT=post_start_comment(job))

    assert done.code == 3
    assert json.dumps(job.outputs["message"]).count("\\n") == 0
