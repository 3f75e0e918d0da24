"""Last job of a workflow: report a request whose run could not report itself."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.core.run_record import RecordRow, RunRecord, embed_record, is_edited
from sandbox.github.actions.state import FakeJob, FakeStep
from tests.support.hostile import PIECES, skeleton
from tests.templates.scripts import COMMENTS, Step, Workflow

GONE: dict[str, Any] = {"result": "success", "outputs": {"go": "true", "attempt": "1"}}
"""Result of a gate that accepted the request."""
FAILED: dict[str, Any] = {"result": "failure", "outputs": {}}
SKIPPED: dict[str, Any] = {"result": "skipped", "outputs": {}}
STEPS = ["Set up job", "Run actions/checkout", "Set up ops", "Recover"]


@pytest.fixture
def labeled_run(workflow: Workflow) -> "LabeledRun":
    """Return a run whose label was answered with the start comment."""
    github = workflow.github
    github.add_commit("Workflow", "alice", files={".github/workflows/incident.yml": "on: issues\n"})
    payload = workflow.label()
    run = github.start_run("incident.yml", "issues", payload, "alice")
    workflow.environ = {"GITHUB_RUN_ID": str(run.id), "RUN_STEP": "Recover"}
    workflow.announce(run.id)
    return LabeledRun(workflow, payload, run.id)


class LabeledRun:
    def __init__(self, workflow: Workflow, payload: Mapping[str, Any], run: int) -> None:
        self.workflow, self.payload, self.run = workflow, payload, run
        self.received = workflow.bodies[0] if workflow.bodies else ""

    @property
    def github(self) -> Any:
        return self.workflow.github

    def job(self, name: str, conclusion: str, *steps: str) -> FakeJob:
        """Add a job; `steps` are the conclusions of its first steps, "" without an end. Without steps, no runner."""
        job: FakeJob = self.github.add_job(self.run, name, conclusion=conclusion)
        job.steps = [
            FakeStep(
                name=step,
                number=number,
                status="completed" if end else "in_progress",
                conclusion=end or None,
                started_at=None,
                completed_at=None,
            )
            for number, (step, end) in enumerate(zip(STEPS, steps, strict=False), 1)
        ]
        job.runner_name = job.runner_name if steps else None
        return job

    def tell(self, payload: Any = None, **environ: Any) -> Step:
        """Run the script `tell`; `environ` holds `needs` and variables.

        `is_older`: the jobs are of an older version, which hands over each output alone.
        """
        needs, is_older = environ.pop("needs"), environ.pop("is_older", False)
        given = needs if is_older else {name: with_json_outputs(name, need) for name, need in needs.items()}
        return self.workflow.step("tell", payload or self.payload, NEEDS=json.dumps(given), **environ)

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


def with_json_outputs(name: str, need: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the job with its outputs as one, as `ops workflows sync` writes it: `null` if the step did not run."""
    whole = {"pass" if name == "gate" else "result": json.dumps(need["outputs"] or None)}
    return {**need, "outputs": whole if need["result"] != "skipped" else {}}


@pytest.mark.slow
def test_failed_gate_setup_names_step_and_log(labeled_run: LabeledRun) -> None:
    job = labeled_run.job("gate", "failure", "success", "success", "failure", "skipped")

    done = labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED, "report": SKIPPED})

    body = labeled_run.assert_reported(done)
    assert body == (
        "**Failed before the run began, and nothing was changed:** `recover:api` from `@alice` · job `gate` failed in "
        f"step `Set up ops` · [log]({labeled_run.github.urls.html}/acme/operations/actions/runs/{labeled_run.run}/job/"
        f"{job.id})\n\n**Next step:** Take the label off if it is still there, and put it on again. If that fails too, "
        "run on a laptop: `./run ops label recover:api --incident "
        f"{labeled_run.workflow.incident}`\n\n<!-- backout:answered run={labeled_run.run} attempt=1 -->\n"
    )


@pytest.mark.parametrize(
    ("power", "needs_token", "is_older"), [("recovery", True, False), ("none", False, False), ("none", False, True)]
)
def test_laptop_command_names_its_variables(
    labeled_run: LabeledRun, power: str, needs_token: bool, is_older: bool
) -> None:
    gate = {"result": "success", "outputs": {**GONE["outputs"], "environment": "production", "power": power}}
    variables = json.dumps({"production": "`SHOP_TOKEN`: 1Password: shop <b>", "staging": "`OTHER`"})

    labeled_run.tell(needs={"gate": gate, "recovery-production": FAILED}, VARIABLES=variables, is_older=is_older)

    command = f"`./run ops label recover:api --incident {labeled_run.workflow.incident}`"
    named = f"{command}, which needs `SHOP_TOKEN`&#58; 1Password&#58; shop &#60;b&#62;\n"
    assert command in labeled_run.workflow.bodies[0]
    assert (named in labeled_run.workflow.bodies[0]) == needs_token


def set_duration(job: FakeJob, minutes: float) -> None:
    assert job.completed_at is not None
    job.started_at = job.completed_at - timedelta(minutes=minutes)


@pytest.mark.slow
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


@pytest.mark.slow
def test_job_of_a_called_workflow_is_found_by_its_id(labeled_run: LabeledRun) -> None:
    labeled_run.job("recover / gate", "success", "success")
    set_duration(labeled_run.job("recover / recovery-production", "cancelled", "success", "cancelled"), 15)

    done = labeled_run.tell(
        needs={"gate": GONE, "recovery-production": {"result": "cancelled", "outputs": {}}},
        LIMITS=json.dumps({"recovery-production": 15}),
    )

    labeled_run.assert_reported(done, "nothing was changed", "job `recovery-production` reached its time limit of 15")


@pytest.mark.slow
def test_rejected_approval_names_reviewer(labeled_run: LabeledRun) -> None:
    labeled_run.job("security-production", "failure")
    reviews = [{"state": "rejected", "comment": "no", "environments": [], "user": {"login": "rita"}}]
    labeled_run.github.fault(path="/repos/*/*/actions/runs/*/approvals", status=200, body=json.dumps(reviews))

    done = labeled_run.tell(needs={"gate": GONE, "security-production": FAILED}, RUN_STEP="")

    labeled_run.assert_reported(
        done, "job `security-production` was rejected by the reviewer `@rita`", "nothing was changed"
    )


@pytest.mark.slow
def test_refusal_before_run_is_reported(labeled_run: LabeledRun) -> None:
    labeled_run.job("recovery-production", "failure", "success", "success", "success", "failure")
    outputs = {"decision": "refused", "reason": "token_missing", "message": "no token", "hint": "Set it.", "run": ""}

    done = labeled_run.tell(needs={"gate": GONE, "recovery-production": {"result": "failure", "outputs": outputs}})

    body = labeled_run.assert_reported(
        done, "before the run began, and nothing was changed", "failed in step `Recover`"
    )
    assert "**Why:** no token, `token_missing`\n\n**Next step:** Set it. Then put" in body


@pytest.mark.slow
@pytest.mark.parametrize("step", ["Recover", ""], ids=["named", "not named"])
def test_run_without_outputs_is_reported_as_unclear(labeled_run: LabeledRun, step: str) -> None:
    labeled_run.job("recovery-production", "failure", "success", "success", "success", "failure")

    done = labeled_run.tell(needs={"gate": GONE, "recovery-production": FAILED}, RUN_STEP=step)

    body = labeled_run.assert_reported(done, "it is not known whether anything was changed", "look at what is live")
    assert "nothing was changed" not in body


@pytest.mark.slow
def test_ended_run_without_comment_is_reported(labeled_run: LabeledRun) -> None:
    labeled_run.job("recovery-production", "failure", "success", "success", "success", "failure")
    outputs = {"decision": "still_unhealthy", "reason": "still_unhealthy", "run": f"{labeled_run.run}.1-00ab"}

    done = labeled_run.tell(needs={"gate": GONE, "recovery-production": {"result": "failure", "outputs": outputs}})

    body = labeled_run.assert_reported(
        done, "**Ended as `still_unhealthy`, and could not report here:**", "Read the log"
    )
    assert "nothing was changed" not in body


LOST = {
    "in the run": ["success", "success", "success", ""],
    "before the run": ["success", "success", ""],
    "between steps": ["success", "success", "success"],
    "before the first step": [],
}
"""Conclusions of the steps that GitHub knows of a job whose runner was lost; it may have gone on."""


@pytest.mark.slow
@pytest.mark.parametrize("steps", LOST.values(), ids=LOST)
def test_lost_runner_proves_nothing_unchanged(labeled_run: LabeledRun, steps: list[str]) -> None:
    job = labeled_run.job("recovery-production", "failure", *steps)
    job.runner_name = "GitHub Actions 1"

    done = labeled_run.tell(needs={"gate": GONE, "recovery-production": FAILED})

    body = labeled_run.assert_reported(done, "it is not known whether anything was changed", "look at what is live")
    assert "nothing was changed" not in body
    assert ("lost its runner" in body) is (steps != LOST["between steps"])


def run_comment(run: str, text: str = "### Still unhealthy\n") -> str:
    return embed_record(text, RunRecord(run=run, decision="still_unhealthy"))


@pytest.mark.slow
def test_comment_continued_by_run_is_kept(labeled_run: LabeledRun) -> None:
    (comment,) = labeled_run.github.issue(labeled_run.workflow.incident).comments
    comment.body = run_comment(f"{labeled_run.run}.1-00ab")
    labeled_run.job("recovery-production", "failure", "success", "success", "success", "failure")

    done = labeled_run.tell(needs={"gate": GONE, "recovery-production": FAILED})

    assert (done.code, done.out, done.err, done.summary) == (0, "", "", "")
    assert labeled_run.workflow.bodies == [run_comment(f"{labeled_run.run}.1-00ab")]


LAST = "### Writing\n\nrollback-worker on api in production, run `7.1-00ab`.\n\n**Plan:** 0ffae05a → 2c8b7e91\n"
"""Comment of a run that was killed before its end."""


WRITING = RecordRow(
    datetime(2026, 11, 24, 3, 12, tzinfo=UTC), "writing", "deployment of fortunet-api - 2c8b7e91 @ 100 %"
)


def unfinished_comment(run: int, rows: tuple[RecordRow, ...] = (WRITING,)) -> str:
    rate = {"total": None, "trigger_to_plan": 0.25, "trigger_to_write": 1.0}
    return embed_record(LAST, RunRecord(run=f"{run}.1-00ab", runbook="rollback-worker", rows=rows, durations=rate))


def kill_run(
    labeled_run: LabeledRun, acting: Mapping[str, str] | None = None, rows: tuple[RecordRow, ...] = (WRITING,)
) -> tuple[Step, str]:
    """Report a run whose recovery job lost its runner, so that its step has no end."""
    (comment,) = labeled_run.github.issue(labeled_run.workflow.incident).comments
    comment.body = unfinished_comment(labeled_run.run, rows)
    labeled_run.job("recovery-production", "failure", "success", "success", "success", "")
    gate = {**GONE, "outputs": {**GONE["outputs"], "environment": "production"}}
    needs = {"gate": gate, "recovery-production": {"result": "failure", "outputs": acting or {}}}
    done = labeled_run.tell(needs=needs)
    (body,) = labeled_run.workflow.bodies
    return done, body


@pytest.mark.slow
def test_ended_run_without_final_update_is_reported(labeled_run: LabeledRun) -> None:
    ended = {"run": "7.1-00ab", "decision": "recovered", "message": "recovered after 3.8 s"}

    _, body = kill_run(labeled_run, ended)

    assert body.startswith("**Ended as `recovered`, and could not report here:** `recover:api` from `@alice`")
    assert "#### Last report of the run: Writing" in body


@pytest.mark.slow
def test_successful_run_that_could_not_report_is_answered(labeled_run: LabeledRun) -> None:
    """GitHub failed while the run reported, so that its comment shows no end. The job of the report failed too."""
    (comment,) = labeled_run.github.issue(labeled_run.workflow.incident).comments
    comment.body = unfinished_comment(labeled_run.run)
    job = labeled_run.job("recovery-production", "success", "success", "success", "success", "success")
    ended = {"run": "7.1-00ab", "decision": "recovered", "message": "recovered after 3.8 s", "watch": "api"}
    outputs = {**ended, "incident": str(labeled_run.workflow.incident), "answered": ""}
    needs = {"gate": GONE, "recovery-production": {"result": "success", "outputs": outputs}, "report": FAILED}
    labeled_run.job("report", "failure", "success", "failure")

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


@pytest.mark.slow
def test_failed_build_is_reported_above_plan(labeled_run: LabeledRun) -> None:
    body = fail_build(labeled_run)

    said, _, last = body.partition("\n\n#### Last report of the run: ")
    assert said.startswith("**Failed before the run began, and nothing was changed:** `recover:api` from `@alice`")
    assert "job `build-production` failed in step `Set up ops`" in said
    assert last.startswith("Planned\n\nIt goes on.\n")
    assert not is_edited(body)


@pytest.mark.slow
def test_dry_run_plan_counts_as_ended(labeled_run: LabeledRun) -> None:
    acting = {"result": "success", "outputs": {"run": f"{labeled_run.run}.1-00ab", "decision": "planned"}}

    assert fail_build(labeled_run, **acting).startswith("### Planned")


@pytest.mark.slow
def test_successful_jobs_report_nothing(labeled_run: LabeledRun) -> None:
    before = len(labeled_run.github.requests)

    done = labeled_run.tell(needs={"gate": GONE, "recovery-production": {"result": "success", "outputs": {}}})

    assert (done.code, done.out, done.err, len(labeled_run.github.requests)) == (0, "", "", before)
    assert labeled_run.workflow.bodies == [labeled_run.received]


@pytest.mark.slow
def test_missing_comment_is_posted_once(labeled_run: LabeledRun) -> None:
    labeled_run.github.issue(labeled_run.workflow.incident).comments.clear()
    labeled_run.job("gate", "failure", "failure")
    needs = {"gate": FAILED, "recovery-production": SKIPPED}

    done = labeled_run.tell(needs=needs)

    labeled_run.assert_reported(done, "job `gate` failed in step `Set up job`")
    assert labeled_run.tell(needs=needs).out == ""
    assert len(labeled_run.workflow.bodies) == 1


@pytest.mark.slow
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


@pytest.mark.slow
def test_comment_of_another_run_is_kept(labeled_run: LabeledRun) -> None:
    labeled_run.workflow.announce(labeled_run.run + 1)

    labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED})

    told, waiting = labeled_run.workflow.bodies
    assert (told[:8], waiting[:12]) == ("**Failed", "**Received**")


@pytest.mark.slow
def test_comment_is_found_among_200_others(labeled_run: LabeledRun) -> None:
    issue = labeled_run.github.issue(labeled_run.workflow.incident)
    ours = issue.comments.pop()
    for number in range(200):
        labeled_run.github.comment(issue.number, f"still broken {number}", "alice")
    issue.comments.append(ours)

    labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED})

    assert labeled_run.workflow.bodies[-1].startswith("**Failed before the run began")
    assert len(labeled_run.workflow.bodies) == 201


@pytest.mark.slow
def test_comment_is_found_behind_a_page_with_a_hidden_one(labeled_run: LabeledRun) -> None:
    """GitHub hides comments of spammers after it cuts a list into pages, so a page may be short."""
    github = labeled_run.github
    issue = github.issue(labeled_run.workflow.incident)
    ours = issue.comments.pop()
    for number in range(100):
        github.comment(issue.number, f"still broken {number}", "alice")
    issue.comments.append(ours)
    short = json.dumps([{"id": at, "body": "", "user": {"login": "alice"}} for at in range(99)])
    github.fault(method="GET", path=COMMENTS, body=short, content_type="application/json")

    labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED})

    assert labeled_run.workflow.bodies[-1].startswith("**Failed before the run began")
    assert len(labeled_run.workflow.bodies) == 101


# Failures of GitHub, and hostile text.


@pytest.mark.slow
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
def test_failed_api_request_is_retried_without_duplicate(labeled_run: LabeledRun, fault: dict[str, Any]) -> None:
    if fault["method"] == "POST":
        labeled_run.github.issue(labeled_run.workflow.incident).comments.clear()
    clock = labeled_run.github.clock  # the program pauses in real time, which does not move it
    labeled_run.github.fault(path="/repos/*/*/issues/**", after=lambda: clock.advance(2), **fault)

    done = labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED})

    (body,) = labeled_run.workflow.bodies
    assert body.startswith("**Failed before the run began")
    assert (done.code, "::warning" in done.out) == (0, False)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [{"status": 403}, pytest.param({"status": 500}, marks=pytest.mark.slow)], ids=str)
def test_api_outage_leaves_answer_in_job_summary(labeled_run: LabeledRun, fault: dict[str, Any]) -> None:
    labeled_run.github.fault(times=None, path="/repos/**", **fault)

    done = labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED})

    assert (done.code, labeled_run.workflow.bodies) == (int(fault["status"] == 500), [labeled_run.received])
    assert f"could not be written to the issue: GitHub answered {fault['status']}" in done.out
    assert "**Failed before the run began" in done.summary


@pytest.mark.slow
@pytest.mark.parametrize("piece", [*PIECES, "\u202e\x1b[31m", "::set-output name=go::true", "a` @b `c", "%0A::error::"])
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
