"""Report by the kind of request: a refused one, a re-run, a report or a button."""

from collections.abc import Mapping
from typing import Any

import pytest

from ops.app.registry import DIRECT, DIRECT_RUNBOOK
from ops.core.run_record import RunRecord, embed_record
from tests.support.prepared_python import fresh_python
from tests.templates.test_tell import FAILED, GONE, SKIPPED, LabeledRun, labeled_run, run_comment

__all__ = ["labeled_run"]

CANCELLED: dict[str, Any] = {"result": "cancelled", "outputs": {}}
BUTTON = "on:\n  workflow_dispatch:\n    inputs: {service: {}, incident: {}, dry_run: {type: boolean}, reason: {}}\n"
REFUSED = {"go": "false", "attempt": "1", "reason": "no_write_access", "message": '"tina" may not', "hint": "Ask."}


@pytest.mark.slow
def test_refusal_written_by_gate_is_not_repeated(labeled_run: LabeledRun) -> None:
    issue = labeled_run.github.issue(labeled_run.workflow.incident)
    outputs = {**REFUSED, "answered": "true"}

    done = labeled_run.tell(needs={"gate": {"result": "failure", "outputs": outputs}, "recovery-production": SKIPPED})

    assert (done.code, done.out, done.summary, issue.comments) == (0, "", "", [])


@pytest.mark.slow
def test_refusal_not_written_by_gate_is_reported(labeled_run: LabeledRun) -> None:
    done = labeled_run.tell(needs={"gate": {"result": "failure", "outputs": REFUSED}, "recovery-production": SKIPPED})

    labeled_run.assert_reported(
        done, "**Refused, and nothing was changed:**", '"tina" may not', "Ask.", "`no_write_access`"
    )


@pytest.mark.slow
def test_refusal_of_killed_gate_is_not_repeated(labeled_run: LabeledRun) -> None:
    refusal = embed_record("**Refused**\n", RunRecord(run=f"gate-{labeled_run.run}", source="gate"))
    labeled_run.github.comment(labeled_run.workflow.incident, refusal, "github-actions[bot]")

    labeled_run.tell(needs={"gate": CANCELLED, "recovery-production": SKIPPED})

    assert labeled_run.workflow.bodies == [refusal]


@pytest.mark.slow
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
    assert "Put the label on" in second
    assert "Reason: `rerun`" in second
    assert second.splitlines()[-1] == f"<!-- backout:answered run={labeled_run.run} attempt=2 -->"
    assert "::error title=request::Refused" in done.out
    labeled_run.tell(needs=needs, **again)
    assert len(labeled_run.workflow.bodies) == 2


@pytest.mark.slow
def test_rerun_of_report_job_is_not_refused(labeled_run: LabeledRun) -> None:
    needs = {"gate": GONE, "recovery-production": FAILED, "report": {"result": "success", "outputs": {}}}

    done = labeled_run.tell(needs=needs, GITHUB_RUN_ATTEMPT="2")

    assert (done.out, labeled_run.workflow.bodies) == ("", [labeled_run.received])


@pytest.mark.slow
def test_approval_job_does_not_hide_rerun_refusal(labeled_run: LabeledRun) -> None:
    approved = {"result": "success", "outputs": {}}
    needs = {"gate": GONE, "approve": approved, "recovery-production": SKIPPED}

    labeled_run.tell(needs=needs, GITHUB_RUN_ATTEMPT="2", ACTING="recovery-production security-production")

    assert "Reason: `rerun`" in labeled_run.workflow.bodies[1]


def test_answer_leads_to_the_page_of_its_reason(labeled_run: LabeledRun) -> None:
    base = "https://github.example/acme/operations/blob/HEAD/"
    (comment,) = labeled_run.github.issue(labeled_run.workflow.incident).comments
    comment.body = run_comment(f"{labeled_run.run}.1-00ab")
    needs = {"gate": GONE, "recovery-production": SKIPPED}

    labeled_run.tell(needs=needs, DOCS=base, GITHUB_RUN_ATTEMPT="2", GITHUB_TRIGGERING_ACTOR="bob")

    assert f"Reason: [`rerun`]({base}docs/reference/reasons.md#rerun)" in labeled_run.workflow.bodies[1]


@pytest.mark.slow
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


OTHER_LABELS = {
    "ops:stop": "`./run ops stop --reason TEXT --incident {}`",
    "ops:resume": "`./run ops stop --lift`",
    "hold:lift": "`./run ops label hold:lift --incident {}`",
    "lead:bob": "",
    "approve:restore": "",
}


@pytest.mark.parametrize("name", OTHER_LABELS)
def test_label_whose_gate_fails_is_answered_on_its_issue(labeled_run: LabeledRun, name: str) -> None:
    labeled_run.github.issue(labeled_run.workflow.incident).comments.clear()
    payload = labeled_run.workflow.label(name)
    labeled_run.job("gate", "failure", "success", "failure")

    done = labeled_run.tell(payload, needs={"gate": FAILED, "recovery-production": SKIPPED})

    command = OTHER_LABELS[name].format(labeled_run.workflow.incident)
    body = labeled_run.assert_reported(done, f"`{name}` from `@alice`", command)
    assert ("on a laptop" in body) == bool(command)


def test_failed_report_after_closing_is_only_logged(labeled_run: LabeledRun) -> None:
    payload = labeled_run.github.close(labeled_run.workflow.incident, "alice")

    done = labeled_run.tell(payload, needs={"gate": FAILED, "report": SKIPPED})

    assert "::error title=request::Failed" in done.out
    assert labeled_run.workflow.bodies == [labeled_run.received]


def press_button(labeled_run: LabeledRun, incident: str, file: str = DIRECT_RUNBOOK) -> Mapping[str, Any]:
    labeled_run.github.issue(labeled_run.workflow.incident).comments.clear()
    labeled_run.github.add_commit("Button", "alice", files={f".github/workflows/{file}.yml": BUTTON})
    inputs = {"service": "api", "incident": incident, "dry_run": "true", "reason": "it's `slow` @all"}
    run = labeled_run.github.dispatch(f"{file}.yml", inputs, "alice")
    labeled_run.run = run.id
    labeled_run.workflow.environ |= {"GITHUB_RUN_ID": str(run.id)}
    payload: Mapping[str, Any] = run.payload
    return payload


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "command"), [(f"{DIRECT_RUNBOOK}{DIRECT}", DIRECT_RUNBOOK), (f"turn-off{DIRECT}", f"turn-off{DIRECT}")]
)
def test_only_the_direct_button_has_another_command(labeled_run: LabeledRun, file: str, command: str) -> None:
    payload = press_button(labeled_run, str(labeled_run.workflow.incident), file)

    labeled_run.tell(payload, needs={"gate": FAILED, "recovery-production": SKIPPED})

    (body,) = labeled_run.workflow.bodies
    assert f"`{file}` from `@alice`" in body
    assert f"./run ops {command} --service api" in body


@pytest.mark.slow
@pytest.mark.parametrize("form", ["{}", "#{}", "{page}/issues/{}"])
def test_button_is_answered_on_named_incident(labeled_run: LabeledRun, form: str) -> None:
    page = f"{labeled_run.github.urls.html}/{labeled_run.github.repository}"
    payload = press_button(labeled_run, form.format(labeled_run.workflow.incident, page=page))

    done = labeled_run.tell(payload, needs={"gate": FAILED, "recovery-production": SKIPPED})

    labeled_run.assert_reported(
        done, "`rollback-worker` from `@alice`", "``./run ops rollback-worker --service api --incident"
    )
    assert "--dry-run" in labeled_run.workflow.bodies[0]


@pytest.mark.slow
@pytest.mark.parametrize("incident", ["", "99", "https://github.com/acme/other/issues/1", "1; go=true"])
def test_button_without_incident_is_answered_in_log(labeled_run: LabeledRun, incident: str) -> None:
    payload = press_button(labeled_run, incident)

    done = labeled_run.tell(payload, needs={"gate": FAILED, "recovery-production": SKIPPED})

    assert (done.code, done.err, labeled_run.workflow.bodies) == (0, "", [])
    assert "::error title=request::Failed before the run began" in done.out
    assert "**Failed before the run began" in done.summary


@pytest.mark.slow
def test_button_is_not_answered_on_pull_request(labeled_run: LabeledRun) -> None:
    labeled_run.github.add_commit("A change", "alice", files={"a": "b"}, branch="a-change")
    number = labeled_run.github.open_pull("A change", "a-change", "alice")
    payload = press_button(labeled_run, str(number))

    done = labeled_run.tell(payload, needs={"gate": FAILED, "recovery-production": SKIPPED})

    assert labeled_run.github.issue(number).comments == []
    assert "::error title=request::Failed" in done.out


@pytest.mark.slow
def test_ended_button_run_is_not_reported_again(labeled_run: LabeledRun) -> None:
    payload = press_button(labeled_run, "")
    outputs = {"decision": "failed", "reason": "provider_refused", "run": f"{labeled_run.run}.1-00ab"}

    done = labeled_run.tell(
        payload, needs={"gate": GONE, "recovery-production": {"result": "failure", "outputs": outputs}}
    )

    assert (done.code, done.out, done.summary) == (0, "", "")


@pytest.mark.slow
def test_script_runs_in_fresh_interpreter(labeled_run: LabeledRun) -> None:
    labeled_run.workflow.python = fresh_python

    done = labeled_run.tell(needs={"gate": FAILED, "recovery-production": SKIPPED})
    labeled_run.assert_reported(done, "nothing was changed")
