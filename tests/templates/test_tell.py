"""Last job of a workflow: report a request whose run could not report itself."""

import ast
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.core.run_record import RecordRow, RunRecord, embed_record, is_edited, read_record
from ops.setup.workflows import load_scripts
from sandbox.github.actions.state import FakeJob, FakeStep
from tests.support.hostile import PIECES, skeleton
from tests.support.prepared_python import fresh_python
from tests.templates.scripts import COMMENT, Step, Workflow

COMMANDS = json.dumps({"recover:api": "./run ops rollback-worker --service api --environment production"})
GONE: dict[str, Any] = {"result": "success", "outputs": {"go": "true", "attempt": "1"}}
"""Result of a gate that accepted the request."""
FAILED: dict[str, Any] = {"result": "failure", "outputs": {}}
SUCCEEDED: dict[str, Any] = {"result": "success", "outputs": {}}
SKIPPED: dict[str, Any] = {"result": "skipped", "outputs": {}}
CANCELLED: dict[str, Any] = {"result": "cancelled", "outputs": {}}
STEPS = ["Set up job", "Run actions/checkout", "Set up ops", "Recover"]
BUTTON = "on:\n  workflow_dispatch:\n    inputs: {service: {}, incident: {}, dry_run: {type: boolean}, reason: {}}\n"


@pytest.fixture
def labeled_run(workflow: Workflow) -> "LabeledRun":
    """Return a run whose label was answered with the start comment."""
    github = workflow.github
    github.add_commit("Workflow", "alice", files={".github/workflows/incident.yml": "on: issues\n"})
    payload = workflow.label()
    run = github.start_run("incident.yml", "issues", payload, "alice")
    workflow.environ = {"GITHUB_RUN_ID": str(run.id), "COMMANDS": COMMANDS, "RUN_STEP": "Recover"}
    workflow.step("received", payload)
    return LabeledRun(workflow, payload, run.id)


class LabeledRun:
    def __init__(self, workflow: Workflow, payload: Mapping[str, Any], run: int) -> None:
        self.workflow, self.payload, self.run = workflow, payload, run
        self.received = workflow.bodies[0] if workflow.bodies else ""

    @property
    def github(self) -> Any:
        return self.workflow.github

    def job(self, name: str, conclusion: str, *steps: str) -> FakeJob:
        """Add a job; `steps` are the conclusions of its first steps."""
        job: FakeJob = self.github.add_job(self.run, name, conclusion=conclusion)
        job.steps = [
            FakeStep(name=step, number=number, status="completed", conclusion=end, started_at=None, completed_at=None)
            for number, (step, end) in enumerate(zip(STEPS, steps, strict=False), 1)
        ]
        return job

    def tell(self, payload: Any = None, **environ: Any) -> Step:
        """Run the script `tell`; `environ` holds `needs` and variables."""
        needs = environ.pop("needs")
        return self.workflow.step("tell", payload or self.payload, NEEDS=json.dumps(needs), **environ)

    def assert_reported(self, done: Step, *pieces: str) -> str:
        """Assert the report in the only comment, the log and the job summary, without the start announcement."""
        (body,) = self.workflow.bodies
        assert (done.code, done.err) == (0, "")
        assert body.startswith("**"), done.out
        assert [piece for piece in pieces if piece not in body] == []
        assert "starting" not in body
        assert body.splitlines()[-1] == f"<!-- backout:answered run={self.run} attempt=1 -->"
        assert done.summary.strip() == body.partition("\n\n<!--")[0].strip()
        assert re.fullmatch("::error title=request::[^\n]+\n", done.out)
        return body


def test_failed_gate_setup_names_step_and_log(labeled_run: LabeledRun) -> None:
    job = labeled_run.job("gate", "failure", "success", "success", "failure", "skipped")

    done = labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED, "report": SKIPPED})

    body = labeled_run.assert_reported(done)
    assert body == (
        "**Failed before the run began, and nothing was changed:** `recover:api` from `@alice` · job `gate` failed in "
        f"step `Set up ops` · [log]({labeled_run.github.urls.html}/acme/operations/actions/runs/{labeled_run.run}/job/"
        f"{job.id})\n\n**Next step:** Take the label off if it is still there, and put it on again. If that fails too, "
        "run on a laptop: `./run ops rollback-worker --service api --environment production --incident "
        f"{labeled_run.workflow.incident}`\n\n<!-- backout:answered run={labeled_run.run} attempt=1 -->\n"
    )


def set_duration(job: FakeJob, minutes: float) -> None:
    assert job.completed_at is not None
    job.started_at = job.completed_at - timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("conclusion", "steps", "minutes", "said"),
    [
        ("cancelled", [], 0, "was cancelled before it started"),
        ("cancelled", ["success", "cancelled"], 1, "was cancelled after 60 s in step `Run actions/checkout`"),
        (
            "cancelled",
            ["success", "cancelled"],
            15,
            "reached its time limit of 15 minutes in step `Run actions/checkout`",
        ),
        ("timed_out", ["success", "timed_out"], 9, "reached its time limit in step `Run actions/checkout`"),
        ("failure", ["failure"], 0, "failed in step `Set up job`, which downloads its actions"),
        ("failure", [], 0, "did not start: no runner, or a rule of its GitHub environment"),
    ],
    ids=["cancelled while it waits", "cancelled", "time limit", "timed out", "unknown action", "branch policy"],
)
@pytest.mark.sampled(2)
def test_recovery_job_that_never_ran_is_named(
    labeled_run: LabeledRun, conclusion: str, steps: list[str], minutes: float, said: str
) -> None:
    labeled_run.job("gate", "success", "success")
    set_duration(labeled_run.job("recovery-production", conclusion, *steps), minutes)
    result = "cancelled" if conclusion == "cancelled" else "failure"

    done = labeled_run.tell(
        needs={"gate": GONE, "recovery-production": {"result": result, "outputs": {}}},
        LIMITS=json.dumps({"recovery-production": 15}),
    )

    labeled_run.assert_reported(done, "nothing was changed", f"job `recovery-production` {said} · [log](")


def test_rejected_approval_names_reviewer(labeled_run: LabeledRun) -> None:
    labeled_run.job("security-production", "failure")
    reviews = [{"state": "rejected", "comment": "no", "environments": [], "user": {"login": "rita"}}]
    labeled_run.github.fault(path="/repos/*/*/actions/runs/*/approvals", status=200, body=json.dumps(reviews))

    done = labeled_run.tell(needs={"gate": GONE, "security-production": FAILED}, RUN_STEP="")

    labeled_run.assert_reported(
        done, "job `security-production` was rejected by the reviewer `@rita`", "nothing was changed"
    )


def test_refusal_before_run_is_reported(labeled_run: LabeledRun) -> None:
    labeled_run.job("recovery-production", "failure", "success", "success", "success", "failure")
    outputs = {"decision": "refused", "reason": "token_missing", "message": "no token", "hint": "Set it.", "run": ""}

    done = labeled_run.tell(needs={"gate": GONE, "recovery-production": {"result": "failure", "outputs": outputs}})

    body = labeled_run.assert_reported(
        done, "before the run began, and nothing was changed", "failed in step `Recover`"
    )
    assert "**Why:** no token, `token_missing`\n\n**Next step:** Set it. Then put the label on again." in body


@pytest.mark.parametrize("step", ["Recover", ""], ids=["named", "not named"])
def test_run_without_outputs_is_reported_as_unclear(labeled_run: LabeledRun, step: str) -> None:
    labeled_run.job("recovery-production", "failure", "success", "success", "success", "failure")

    done = labeled_run.tell(needs={"gate": GONE, "recovery-production": FAILED}, RUN_STEP=step)

    body = labeled_run.assert_reported(done, "it is not known whether anything was changed", "look at what is live")
    assert "nothing was changed" not in body


def test_ended_run_without_comment_is_reported(labeled_run: LabeledRun) -> None:
    labeled_run.job("recovery-production", "failure", "success", "success", "success", "failure")
    outputs = {"decision": "still_unhealthy", "reason": "still_unhealthy", "run": f"{labeled_run.run}.1-00ab"}

    done = labeled_run.tell(needs={"gate": GONE, "recovery-production": {"result": "failure", "outputs": outputs}})

    body = labeled_run.assert_reported(
        done, "**Ended as `still_unhealthy`, and could not report here:**", "Read the log"
    )
    assert "nothing was changed" not in body


def run_comment(run: str, text: str = "### Still unhealthy\n") -> str:
    return embed_record(text, RunRecord(run=run, decision="still_unhealthy"))


def test_comment_continued_by_run_is_kept(labeled_run: LabeledRun) -> None:
    (comment,) = labeled_run.github.issue(labeled_run.workflow.incident).comments
    comment.body = run_comment(f"{labeled_run.run}.1-00ab")
    labeled_run.job("recovery-production", "failure", "success", "success", "success", "failure")

    done = labeled_run.tell(needs={"gate": GONE, "recovery-production": FAILED})

    assert (done.code, done.out, done.err, done.summary) == (0, "", "", "")
    assert labeled_run.workflow.bodies == [run_comment(f"{labeled_run.run}.1-00ab")]


LAST = "### Writing\n\nrollback-worker on api in production, run `7.1-00ab`.\n\n**Plan:** 0ffae05a → 2c8b7e91\n"
"""Comment of a run that was killed before its end."""


def unfinished_comment(run: int) -> str:
    row = RecordRow(
        datetime(2026, 11, 24, 3, 12, tzinfo=UTC), "writing", "deployment of fortunet-api - 2c8b7e91 @ 100 %"
    )
    rate = {"total": None, "trigger_to_plan": 0.25, "trigger_to_write": 1.0}
    return embed_record(LAST, RunRecord(run=f"{run}.1-00ab", runbook="rollback-worker", rows=(row,), durations=rate))


def kill_run(labeled_run: LabeledRun, **acting: str) -> tuple[Step, str]:
    """Report a run whose recovery job lost its runner, so that its step has no end."""
    (comment,) = labeled_run.github.issue(labeled_run.workflow.incident).comments
    comment.body = unfinished_comment(labeled_run.run)
    labeled_run.job("recovery-production", "failure", "success", "success", "success", "")
    gate = {**GONE, "outputs": {**GONE["outputs"], "environment": "production"}}
    needs = {"gate": gate, "recovery-production": {"result": "failure", "outputs": acting}}
    done = labeled_run.tell(needs=needs)
    (body,) = labeled_run.workflow.bodies
    return done, body


def test_killed_run_is_reported_above_its_last_report(labeled_run: LabeledRun) -> None:
    done, body = kill_run(labeled_run)

    job = labeled_run.github.urls.html
    said, _, last = body.partition(f"<!-- backout:answered run={labeled_run.run} attempt=1 -->\n\n")
    assert re.sub(r"/runs/\d+/job/\d+", "/runs/N", said) == (
        "**The run stopped in its middle, and it is not known whether anything was changed:** `recover:api` from "
        f"`@alice` · job `recovery-production` failed · [log]({job}/acme/operations/actions/runs/N)\n\n"
        "**Next step:** Read the log, and look at what is live: `./run ops status --environment production`. Then put "
        "the label on again. If that fails too, run on a laptop: `./run ops rollback-worker --service api --environment production "
        f"--incident {labeled_run.workflow.incident}`\n\n"
    )
    assert last.startswith("#### Last report of the run: Writing\n\nrollback-worker on api in production")
    assert "The run stopped in its middle" in done.summary
    assert "::error title=request::The run stopped in its middle" in done.out


def test_killed_run_keeps_its_hidden_record(labeled_run: LabeledRun) -> None:
    """`ops incident import` can then complete the comment, and the report does not mark it as edited."""
    _, body = kill_run(labeled_run)

    found, before = read_record(body), read_record(unfinished_comment(labeled_run.run))
    assert found is not None
    assert before is not None
    assert replace(found, digest="") == replace(before, digest="")
    assert not is_edited(body)
    assert is_edited(body.replace("production", "staging"))


def test_killed_run_is_reported_once(labeled_run: LabeledRun) -> None:
    labeled_run.github.fault(method="PATCH", path=COMMENT, lost="after")

    _, body = kill_run(labeled_run)

    assert body.count("The run stopped in its middle") == 1


def test_ended_run_without_final_update_is_reported(labeled_run: LabeledRun) -> None:
    ended = {"run": "7.1-00ab", "decision": "recovered", "message": "recovered after 3.8 s"}

    _, body = kill_run(labeled_run, **ended)

    assert body.startswith("**Ended as `recovered`, and could not report here:** `recover:api` from `@alice`")
    assert "#### Last report of the run: Writing" in body


def test_successful_run_that_could_not_report_is_answered(labeled_run: LabeledRun) -> None:
    """GitHub failed while the run reported, so that its comment shows no end."""
    (comment,) = labeled_run.github.issue(labeled_run.workflow.incident).comments
    comment.body = unfinished_comment(labeled_run.run)
    job = labeled_run.job("recovery-production", "success", "success", "success", "success", "success")
    ended = {"run": "7.1-00ab", "decision": "recovered", "message": "recovered after 3.8 s", "watch": "api"}
    outputs = {**ended, "incident": str(labeled_run.workflow.incident), "answered": ""}
    needs = {"gate": GONE, "recovery-production": {"result": "success", "outputs": outputs}}

    for _ in range(2):
        labeled_run.tell(needs=needs, ACTING="recovery-production", RUN_STEP="Recover")

    (body,) = labeled_run.workflow.bodies
    assert body.partition(" · [log]")[0] == (
        "**Ended as `recovered`, and could not report here:** `recover:api` from `@alice` · job `recovery-production` ended"
    )
    assert f"/job/{job.id})\n\n**Why:** recovered after 3.8 s\n\n**Next step:** Read the log, and look" in body
    assert "again" not in body
    assert "#### Last report of the run: Writing" in body


def fail_build(labeled_run: LabeledRun, **acting: Any) -> str:
    """Report a redeploy-pages run whose plan succeeded and whose build failed."""
    (comment,) = labeled_run.github.issue(labeled_run.workflow.incident).comments
    comment.body = embed_record(
        "### Planned\n\nIt goes on.\n", RunRecord(run=f"{labeled_run.run}.1-00ab", decision="planned")
    )
    labeled_run.job("build-production", "failure", "success", "success", "failure")
    needs = {"gate": GONE, "fetch-production": {"result": "success", "outputs": {}}, "build-production": FAILED}
    labeled_run.tell(needs={**needs, "recovery-production": {**SKIPPED, **acting}}, ACTING="recovery-production")
    (body,) = labeled_run.workflow.bodies
    return body


def test_failed_build_is_reported_above_plan(labeled_run: LabeledRun) -> None:
    body = fail_build(labeled_run)

    said, _, last = body.partition("\n\n#### Last report of the run: ")
    assert said.startswith("**Failed before the run began, and nothing was changed:** `recover:api` from `@alice`")
    assert "job `build-production` failed in step `Set up ops`" in said
    assert last.startswith("Planned\n\nIt goes on.\n")
    assert not is_edited(body)


def test_dry_run_plan_counts_as_ended(labeled_run: LabeledRun) -> None:
    acting = {"result": "success", "outputs": {"run": f"{labeled_run.run}.1-00ab", "decision": "planned"}}

    assert fail_build(labeled_run, **acting).startswith("### Planned")


def test_successful_jobs_report_nothing(labeled_run: LabeledRun) -> None:
    before = len(labeled_run.github.requests)

    done = labeled_run.tell(needs={"gate": GONE, "recovery-production": {"result": "success", "outputs": {}}})

    assert (done.code, done.out, done.err, len(labeled_run.github.requests)) == (0, "", "", before)
    assert labeled_run.workflow.bodies == [labeled_run.received]


def test_missing_comment_is_posted_once(labeled_run: LabeledRun) -> None:
    labeled_run.github.issue(labeled_run.workflow.incident).comments.clear()
    labeled_run.job("gate", "failure", "failure")
    needs = {"gate": FAILED, "recovery-production": SKIPPED}

    done = labeled_run.tell(needs=needs)

    labeled_run.assert_reported(done, "job `gate` failed in step `Set up job`")
    assert labeled_run.tell(needs=needs).out == ""
    assert len(labeled_run.workflow.bodies) == 1


@pytest.mark.parametrize("forged", ["request", "answered"])
def test_marker_by_other_author_is_ignored(labeled_run: LabeledRun, forged: str) -> None:
    issue, text = (
        labeled_run.github.issue(labeled_run.workflow.incident),
        labeled_run.received.replace("request", forged),
    )
    ours = issue.comments.pop()
    labeled_run.github.comment(issue.number, text, "tina")
    issue.comments.append(ours)
    labeled_run.github.comment(issue.number, text, "alice")
    labeled_run.github.comment(issue.number, run_comment(f"{labeled_run.run}.1-00ab"), "tina")

    labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED})

    first, told, *rest = labeled_run.workflow.bodies
    assert [first, *rest] == [text, text, run_comment(f"{labeled_run.run}.1-00ab")]
    assert told.startswith("**Failed before the run began")


def test_comment_of_another_run_is_kept(labeled_run: LabeledRun) -> None:
    other = labeled_run.workflow.step("received", labeled_run.payload, GITHUB_RUN_ID=str(labeled_run.run + 1))
    assert other.outputs["comment"]

    labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED})

    told, waiting = labeled_run.workflow.bodies
    assert (told[:8], waiting[:12]) == ("**Failed", "**Received**")


def test_comment_is_found_among_200_others(labeled_run: LabeledRun) -> None:
    issue = labeled_run.github.issue(labeled_run.workflow.incident)
    ours = issue.comments.pop()
    for number in range(200):
        labeled_run.github.comment(issue.number, f"still broken {number}", "alice")
    issue.comments.append(ours)

    labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED})

    assert labeled_run.workflow.bodies[-1].startswith("**Failed before the run began")
    assert len(labeled_run.workflow.bodies) == 201


# Refusals and reruns.

REFUSED = {"go": "false", "attempt": "1", "reason": "no_write_access", "message": '"tina" may not', "hint": "Ask."}


def test_refusal_written_by_gate_is_not_repeated(labeled_run: LabeledRun) -> None:
    issue = labeled_run.github.issue(labeled_run.workflow.incident)
    outputs = {**REFUSED, "answered": "true"}

    done = labeled_run.tell(needs={"gate": {"result": "failure", "outputs": outputs}, "recovery-production": SKIPPED})

    assert (done.code, done.out, done.summary, issue.comments) == (0, "", "", [])


def test_refusal_not_written_by_gate_is_reported(labeled_run: LabeledRun) -> None:
    done = labeled_run.tell(needs={"gate": {"result": "failure", "outputs": REFUSED}, "recovery-production": SKIPPED})

    labeled_run.assert_reported(
        done, "**Refused, and nothing was changed:**", '"tina" may not', "Ask.", "`no_write_access`"
    )


def test_refusal_of_killed_gate_is_not_repeated(labeled_run: LabeledRun) -> None:
    refusal = embed_record("**Refused**\n", RunRecord(run=f"gate-{labeled_run.run}", source="gate"))
    labeled_run.github.comment(labeled_run.workflow.incident, refusal, "github-actions[bot]")

    labeled_run.tell(needs={"gate": CANCELLED, "recovery-production": SKIPPED})

    assert labeled_run.workflow.bodies == [refusal]


@pytest.mark.parametrize(
    "acting", [SKIPPED, {"result": "failure", "outputs": {"decision": "refused", "reason": "rerun"}}], ids=["if", "ops"]
)
def test_rerun_of_single_job_is_refused_in_new_comment(labeled_run: LabeledRun, acting: Any) -> None:
    (comment,) = labeled_run.github.issue(labeled_run.workflow.incident).comments
    comment.body = run_comment(f"{labeled_run.run}.1-00ab")
    again = {"GITHUB_RUN_ATTEMPT": "2", "GITHUB_TRIGGERING_ACTOR": "bob"}
    needs = {"gate": GONE, "recovery-production": acting, "security-production": SKIPPED}

    done = labeled_run.tell(needs=needs, **again)

    first, second = labeled_run.workflow.bodies
    assert first == run_comment(f"{labeled_run.run}.1-00ab")
    assert second.startswith(
        "**Refused, and nothing was changed:** `@bob` started one job of the run for `recover:api`"
    )
    assert "Put the label on again" in second
    assert "Reason: `rerun`" in second
    assert second.splitlines()[-1] == f"<!-- backout:answered run={labeled_run.run} attempt=2 -->"
    assert "::error title=request::Refused" in done.out
    labeled_run.tell(needs=needs, **again)
    assert len(labeled_run.workflow.bodies) == 2


def test_rerun_of_report_job_is_not_refused(labeled_run: LabeledRun) -> None:
    needs = {"gate": GONE, "recovery-production": FAILED, "report": {"result": "success", "outputs": {}}}

    done = labeled_run.tell(needs=needs, GITHUB_RUN_ATTEMPT="2")

    assert (done.out, labeled_run.workflow.bodies) == ("", [labeled_run.received])


def test_approval_job_does_not_hide_rerun_refusal(labeled_run: LabeledRun) -> None:
    approved = {"result": "success", "outputs": {}}
    needs = {"gate": GONE, "approve": approved, "recovery-production": SKIPPED}

    labeled_run.tell(needs=needs, GITHUB_RUN_ATTEMPT="2", ACTING="recovery-production security-production")

    assert "Reason: `rerun`" in labeled_run.workflow.bodies[1]


# Reports and buttons.


@pytest.mark.parametrize(
    ("name", "output", "says", "command"),
    [
        ("report", "report", "`report` from `@alice` · job `report` failed in step", "incident report {}"),
        ("check-outage", "check", "job `check-outage` failed in step", "check-outage --incident {}"),
    ],
)
def test_failed_job_of_a_label_is_answered_on_its_incident(
    labeled_run: LabeledRun, name: str, output: str, says: str, command: str
) -> None:
    labeled_run.github.issue(labeled_run.workflow.incident).comments.clear()
    payload = labeled_run.workflow.label(name)
    labeled_run.job(name, "failure", "success", "failure")

    gate = {"result": "success", "outputs": {"go": "false", output: "true", "attempt": "1"}}
    done = labeled_run.tell(payload, needs={"gate": gate, "recovery-production": SKIPPED, name: FAILED})

    labeled_run.assert_reported(done, says, f"`./run ops {command.format(labeled_run.workflow.incident)}`")


def test_failed_report_after_closing_is_only_logged(labeled_run: LabeledRun) -> None:
    payload = labeled_run.github.close(labeled_run.workflow.incident, "alice")

    done = labeled_run.tell(payload, needs={"gate": FAILED, "report": SKIPPED})

    assert "::error title=request::Failed" in done.out
    assert labeled_run.workflow.bodies == [labeled_run.received]


def press_button(labeled_run: LabeledRun, incident: str) -> Mapping[str, Any]:
    labeled_run.github.issue(labeled_run.workflow.incident).comments.clear()
    labeled_run.github.add_commit("Button", "alice", files={".github/workflows/rollback-worker.yml": BUTTON})
    inputs = {"service": "api", "incident": incident, "dry_run": "true", "reason": "it's `slow` @all"}
    run = labeled_run.github.dispatch("rollback-worker.yml", inputs, "alice")
    labeled_run.run = run.id
    labeled_run.workflow.environ |= {"GITHUB_RUN_ID": str(run.id)}
    payload: Mapping[str, Any] = run.payload
    return payload


@pytest.mark.parametrize("form", ["{}", "#{}", "{page}/issues/{}"])
@pytest.mark.sampled(2)
def test_button_is_answered_on_named_incident(labeled_run: LabeledRun, form: str) -> None:
    page = f"{labeled_run.github.urls.html}/{labeled_run.github.repository}"
    payload = press_button(labeled_run, form.format(labeled_run.workflow.incident, page=page))

    done = labeled_run.tell(payload, needs={"gate": FAILED, "recovery-production": SKIPPED})

    labeled_run.assert_reported(
        done, "`rollback-worker` from `@alice`", "``./run ops rollback-worker --service api --incident"
    )
    assert "--dry-run" in labeled_run.workflow.bodies[0]


@pytest.mark.parametrize("incident", ["", "99", "https://github.com/acme/other/issues/1", "1; go=true"])
@pytest.mark.sampled(2)
def test_button_without_incident_is_answered_in_log(labeled_run: LabeledRun, incident: str) -> None:
    payload = press_button(labeled_run, incident)

    done = labeled_run.tell(payload, needs={"gate": FAILED, "recovery-production": SKIPPED})

    assert (done.code, done.err, labeled_run.workflow.bodies) == (0, "", [])
    assert "::error title=request::Failed before the run began" in done.out
    assert "**Failed before the run began" in done.summary


def test_button_is_not_answered_on_pull_request(labeled_run: LabeledRun) -> None:
    labeled_run.github.add_commit("A change", "alice", files={"a": "b"}, branch="a-change")
    number = labeled_run.github.open_pull("A change", "a-change", "alice")
    payload = press_button(labeled_run, str(number))

    done = labeled_run.tell(payload, needs={"gate": FAILED, "recovery-production": SKIPPED})

    assert labeled_run.github.issue(number).comments == []
    assert "::error title=request::Failed" in done.out


def test_ended_button_run_is_not_reported_again(labeled_run: LabeledRun) -> None:
    payload = press_button(labeled_run, "")
    outputs = {"decision": "failed", "reason": "provider_refused", "run": f"{labeled_run.run}.1-00ab"}

    done = labeled_run.tell(
        payload, needs={"gate": GONE, "recovery-production": {"result": "failure", "outputs": outputs}}
    )

    assert (done.code, done.out, done.summary) == (0, "", "")


# Failures of GitHub, hostile text and missed reopenings.


@pytest.mark.parametrize(
    "fault",
    [
        {"method": "GET", "status": 500},
        {"method": "GET", "lost": "before"},
        {"method": "PATCH", "status": 502},
        {"method": "PATCH", "lost": "after"},
        {"method": "POST", "status": 502, "applied": True},
        {"method": "POST", "lost": "after"},
    ],
    ids=str,
)
@pytest.mark.sampled(2)
def test_failed_api_request_is_retried_without_duplicate(labeled_run: LabeledRun, fault: dict[str, Any]) -> None:
    if fault["method"] == "POST":
        labeled_run.github.issue(labeled_run.workflow.incident).comments.clear()
    labeled_run.github.fault(path="/repos/*/*/issues/**", **fault)

    done = labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED})

    (body,) = labeled_run.workflow.bodies
    assert body.startswith("**Failed before the run began")
    assert (done.code, "::warning" in done.out) == (0, False)


@pytest.mark.parametrize("fault", [{"status": 403}, pytest.param({"status": 500}, marks=pytest.mark.slow)], ids=str)
def test_api_outage_leaves_answer_in_job_summary(labeled_run: LabeledRun, fault: dict[str, Any]) -> None:
    labeled_run.github.fault(times=None, path="/repos/**", **fault)

    done = labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED})

    assert (done.code, labeled_run.workflow.bodies) == (int(fault["status"] == 500), [labeled_run.received])
    assert f"could not be written to the issue: GitHub answered {fault['status']}" in done.out
    assert "**Failed before the run began" in done.summary


def test_later_job_answers_if_the_first_one_could_not(labeled_run: LabeledRun) -> None:
    needs = {"gate": GONE, "recovery-production": FAILED, "tell": FAILED, "watch": SKIPPED}

    done = labeled_run.tell(needs=needs, ACTING="recovery-production")

    labeled_run.assert_reported(done, "`recover:api` from `@alice`")


def test_later_job_reports_only_the_later_jobs(labeled_run: LabeledRun) -> None:
    """The button has no incident, so that no comment shows the first answer."""
    payload = press_button(labeled_run, "")
    labeled_run.job("watch", "failure", "success", "failure")
    outputs = {"decision": "no_evidence", "reason": "no_evidence", "watch": "api"}
    needs = {"gate": GONE, "recovery-production": {"result": "failure", "outputs": outputs}}

    first = labeled_run.tell(payload, needs=needs, ACTING="recovery-production")
    second = labeled_run.tell(
        payload, needs={**needs, "tell": SUCCEEDED, "watch": FAILED}, ACTING="recovery-production"
    )

    assert first.out.count("::error") == second.out.count("::error") == 1
    assert "`recovery-production`" in first.summary
    assert second.summary.startswith("**The watch stopped early, and the service is not watched:** ")


@pytest.mark.parametrize("piece", [*PIECES, "\u202e\x1b[31m", "::set-output name=go::true", "a` @b `c", "%0A::error::"])
@pytest.mark.sampled(5)
def test_hostile_text_is_escaped(labeled_run: LabeledRun, piece: str) -> None:
    label = {"name": f"recover:{piece}"}
    payload = {**labeled_run.payload, "label": label, "sender": {"login": piece}}
    labeled_run.job("recovery-production", "failure", "failure").steps = []
    outputs = {"decision": piece, "reason": piece, "message": f"x {piece}\n::error::x", "hint": piece}

    done = labeled_run.tell(
        payload, needs={"gate": GONE, "recovery-production": {"result": "failure", "outputs": outputs}}
    )

    (body,) = labeled_run.workflow.bodies
    text = body.partition("\n\n<!--")[0]
    assert not re.search("[\u202e\x1b]", text)
    link, end = [tag for tag in skeleton(text) if tag not in {"<p []>", "</p>", "<strong []>", "</strong>"}]
    assert (link.startswith(f"<a [('href', '{labeled_run.github.urls.html}/acme/operations/actions/"), end) == (
        True,
        "</a>",
    )
    assert done.out.count("\n") == 1
    assert done.out.startswith("::error title=request::")
    assert "##[" not in done.out


@pytest.mark.parametrize("script", ["received", "tell", "wait"])
def test_script_supports_python_3_9(script: str) -> None:
    ast.parse(load_scripts()[script], feature_version=(3, 9))


def test_scripts_run_in_fresh_interpreter(labeled_run: LabeledRun) -> None:
    labeled_run.workflow.python = fresh_python

    done = labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED})
    labeled_run.assert_reported(done, "nothing was changed")

    done = labeled_run.workflow.step("received", labeled_run.payload, GITHUB_RUN_ATTEMPT="2")
    assert (done.out, done.err, len(labeled_run.workflow.bodies)) == ("", "", 2)


@pytest.mark.parametrize("script", ["received", "tell"])
def test_script_uses_no_expression_and_only_standard_library(script: str) -> None:
    text = load_scripts()[script]

    assert "${{" not in text
    found = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert found <= sys.stdlib_module_names


def test_missed_reopening_is_reported_in_new_comment(labeled_run: LabeledRun) -> None:
    """The run succeeded, so its comment stays; the waiting job lost its runner."""
    labeled_run.job("security-production", "success", "success")
    labeled_run.job("wait-production", "failure", "success", "failure")
    recovered = {"result": "success", "outputs": {"run": "r", "decision": "recovered"}}

    done = labeled_run.tell(
        needs={"gate": GONE, "security-production": recovered, "wait-production": FAILED, "end-production": SKIPPED},
        ACTING="security-production",
        ENDING="wait-production end-production",
        END_COMMAND="./run ops maintenance due",
    )

    first, last = labeled_run.workflow.bodies
    assert (done.code, first) == (0, labeled_run.received)
    assert last.startswith("**Nothing ended it in time:** `recover:api` from `@alice` · job `wait-production`")
    assert "Look whether it is still on. Run on a laptop: `./run ops maintenance due`" in last


def test_missed_reopening_is_reported_after_failed_run(labeled_run: LabeledRun) -> None:
    """The run closed the service but could not verify it; then the reopening job was refused."""
    labeled_run.job("security-production", "failure", "success", "success", "success", "failure")
    labeled_run.job("end-production", "failure", "success", "failure")
    (comment,) = labeled_run.github.issue(labeled_run.workflow.incident).comments
    comment.body = run_comment(f"{labeled_run.run}.1-00ab")
    outputs = {"run": "r", "decision": "still_unhealthy", "incident": str(labeled_run.workflow.incident)}
    needs = {
        "gate": GONE,
        "security-production": {"result": "failure", "outputs": outputs},
        "wait-production": {"result": "success", "outputs": {}},
        "end-production": FAILED,
    }
    ends = {"ACTING": "security-production", "ENDING": "wait-production end-production", "END_COMMAND": "./run ops x"}

    labeled_run.tell(needs=needs, **ends)
    labeled_run.tell(needs=needs, **ends)

    run, late = labeled_run.workflow.bodies
    assert run == run_comment(f"{labeled_run.run}.1-00ab")
    assert late.startswith("**Nothing ended it in time:** `recover:api` from `@alice` · job `end-production`")


def test_missed_reopening_is_reported_on_opened_incident(labeled_run: LabeledRun) -> None:
    """The button was pressed without an incident."""
    labeled_run.job("wait-production", "cancelled", "success", "cancelled")
    outputs = {"run": "r", "decision": "recovered", "answered": "true", "incident": str(labeled_run.workflow.incident)}
    payload = press_button(labeled_run, "")

    labeled_run.tell(
        payload,
        needs={
            "gate": GONE,
            "security-production": {"result": "success", "outputs": outputs},
            "wait-production": CANCELLED,
        },
        ACTING="security-production",
        ENDING="wait-production end-production",
    )

    assert labeled_run.workflow.bodies[-1].startswith("**Nothing ended it in time:** `rollback-worker` from `@alice`")


@pytest.mark.parametrize("skipped", [("end-",), ("wait-", "end-")])
def test_missed_reopening_is_reported_after_rerun(labeled_run: LabeledRun, skipped: tuple[str, ...]) -> None:
    """The gate approved only the first attempt, so the second skips the reopening. Staging has nothing to reopen."""
    outputs = {"run": "r", "decision": "recovered", "ends_at": "2026-11-24T05:00:00+00:00"}
    needs = {
        "gate": GONE,
        "security-production": {"result": "success", "outputs": outputs},
        "security-staging": SKIPPED,
        **{f"{kind}-security-{place}": SKIPPED for kind in ("wait", "end") for place in ("production", "staging")},
        "report": {"result": "success", "outputs": {}},
    }
    ids = "security-production security-staging"
    environ = {"ACTING": ids, "END_COMMAND": "./run ops maintenance due", "GITHUB_RUN_ATTEMPT": "2"}
    ended = {"result": "success", "outputs": {}}
    needs |= {f"{kind}-security-production": ended for kind in ("wait", "end") if f"{kind}-" not in skipped}

    labeled_run.tell(needs=needs, **environ)
    again = needs | {f"{kind}-security-production": ended for kind in ("wait", "end")}
    before = len(labeled_run.workflow.bodies)
    labeled_run.tell(needs=again, **environ)

    assert len(labeled_run.workflow.bodies) == before == 2
    last = labeled_run.workflow.bodies[-1]
    assert last.startswith("**Nothing ended it in time:** `recover:api` from `@alice` · ")
    assert "`end-security-production`" in last
    assert "staging" not in last


WATCHED: dict[str, Any] = {"run": "r", "decision": "recovered", "watch": "api", "answered": "true"}
"""Outputs of a run after which the service is watched."""


def tell_of_watch(labeled_run: LabeledRun, watch: dict[str, Any], **environ: str) -> list[str]:
    """Report a failed watch after a successful run twice. Return the comments after the first one."""
    outputs = {**WATCHED, "incident": str(labeled_run.workflow.incident)}
    needs = {
        "gate": {**GONE, "outputs": {**GONE["outputs"], "environment": "production"}},
        "recovery-production": {"result": "success", "outputs": outputs},
        "report": {"result": "success", "outputs": {}},
        "watch": watch,
    }
    for _ in range(2):
        labeled_run.tell(needs=needs, ACTING="recovery-production", PROGRAM="./run ops", **environ)
    first, *rest = labeled_run.workflow.bodies
    assert first == labeled_run.received
    return rest


@pytest.mark.parametrize("result", ["failure", "cancelled"])
def test_watch_that_died_is_reported_with_its_command(labeled_run: LabeledRun, result: str) -> None:
    labeled_run.job("watch", result, "success", "success", "failure")

    (body,) = tell_of_watch(labeled_run, {"result": result, "outputs": {}})

    assert body.startswith(
        "**The watch stopped early, and the service is not watched:** `recover:api` from `@alice` · job"
    )
    assert "in step `Set up ops`" in body
    number = labeled_run.workflow.incident
    command = f"./run ops watch --service api --environment production --incident {number}"
    assert f"**Next step:** Continue it. Run on a laptop: `{command}`" in body
    assert "changed" not in body


def test_relapse_on_the_incident_is_not_repeated(labeled_run: LabeledRun) -> None:
    labeled_run.job("watch", "failure", "success", "success", "success", "failure")

    ended = {"decision": "relapsed", "reason": "relapsed", "answered": "true"}

    assert tell_of_watch(labeled_run, {"result": "failure", "outputs": ended}) == []


def test_relapse_that_could_not_report_is_reported(labeled_run: LabeledRun) -> None:
    labeled_run.job("watch", "failure", "success", "success", "success", "failure")
    ended = {"decision": "relapsed", "message": "api in production relapsed", "hint": "Roll back: `ops x`"}

    (body,) = tell_of_watch(labeled_run, {"result": "failure", "outputs": ended})

    assert body.startswith("**The watch ended as `relapsed`:** ")
    assert "**Why:** api in production relapsed\n\n**Next step:** Roll back&#58; `ops x`" in body


def test_rerun_of_a_watch_that_dies_again_is_reported(labeled_run: LabeledRun) -> None:
    labeled_run.job("watch", "failure", "success", "failure")

    (body,) = tell_of_watch(labeled_run, {"result": "failure", "outputs": {}}, GITHUB_RUN_ATTEMPT="2")

    assert body.startswith("**The watch stopped early")


def test_watch_that_succeeded_reports_nothing(labeled_run: LabeledRun) -> None:
    assert tell_of_watch(labeled_run, {"result": "success", "outputs": {"decision": "mitigated"}}) == []


def tell_of_step(labeled_run: LabeledRun, step: dict[str, Any], answered: str = "true") -> list[str]:
    """Report an automatic step that failed after a relapse. Return the comments after the first one."""
    outputs = {**WATCHED, "incident": str(labeled_run.workflow.incident)}
    needs = {
        "gate": {**GONE, "outputs": {**GONE["outputs"], "environment": "production"}},
        "recovery-production": {"result": "success", "outputs": outputs},
        "watch": {"result": "failure", "outputs": {"decision": "relapsed", "answered": answered}},
        "next-recovery-production": {"result": "failure", **step},
    }
    labeled_run.tell(needs=needs, ACTING="recovery-production", PROGRAM="./run ops", RUN_STEP="Recover")
    return labeled_run.workflow.bodies[1:]


def test_automatic_step_that_did_not_begin_is_reported(labeled_run: LabeledRun) -> None:
    labeled_run.job("next-recovery-production", "failure", "success", "failure")

    (body,) = tell_of_step(labeled_run, {"outputs": {}})

    assert body.startswith("**The automatic step after the relapse failed, and nothing was changed:** `recover:api`")
    assert "`./run ops status --environment production`" in body


def test_automatic_step_that_died_is_reported_as_unknown(labeled_run: LabeledRun) -> None:
    labeled_run.job("next-recovery-production", "failure", "success", "success", "success", "failure")

    (body,) = tell_of_step(labeled_run, {"outputs": {}})

    assert body.startswith("**The automatic step after the relapse failed, and it is not known whether it was made:**")


def test_unpublished_relapse_does_not_hide_the_failed_step(labeled_run: LabeledRun) -> None:
    labeled_run.job("next-recovery-production", "failure", "success", "failure")

    relapse, step = tell_of_step(labeled_run, {"outputs": {}}, answered="")

    assert relapse.startswith("**The watch ended as `relapsed`:** ")
    assert step.startswith("**The automatic step after the relapse failed, and nothing was changed:** ")


def test_refused_automatic_step_is_not_reported_twice(labeled_run: LabeledRun) -> None:
    labeled_run.job("next-recovery-production", "failure", "success", "success", "success", "failure")

    assert tell_of_step(labeled_run, {"outputs": {"run": "r", "decision": "refused"}}) == []


def test_watch_of_a_report_job_that_died_is_reported(labeled_run: LabeledRun) -> None:
    labeled_run.job("watch", "failure", "success", "failure")
    gate = {"go": "false", "report": "true", "attempt": "1"}
    needs = {"gate": {"result": "success", "outputs": gate}, "recovery-production": SKIPPED, "watch": FAILED}
    payload = labeled_run.workflow.label("report")

    labeled_run.tell(payload, needs=needs, ACTING="recovery-production", PROGRAM="./run ops")

    number = labeled_run.workflow.incident
    body = labeled_run.workflow.bodies[-1]
    assert body.startswith("**No stopped watch was continued to its end:** ")
    assert f"Run on a laptop: `./run ops watch --stopped --incident {number}`" in body
