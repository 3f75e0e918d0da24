"""Report a job after the run: a missed reopening, a watch or an automatic step."""

from typing import Any

import pytest

from tests.templates.test_tell import (
    FAILED,
    GONE,
    SKIPPED,
    LabeledRun,
    labeled_run,
    run_comment,
)
from tests.templates.test_tell_request import CANCELLED, press_button

__all__ = ["labeled_run"]

SUCCEEDED: dict[str, Any] = {"result": "success", "outputs": {}}


@pytest.mark.slow
def test_later_job_answers_if_the_first_one_could_not(labeled_run: LabeledRun) -> None:
    needs = {"gate": GONE, "recovery-production": FAILED, "tell": FAILED, "watch": SKIPPED}

    done = labeled_run.tell(needs=needs, ACTING="recovery-production")

    labeled_run.assert_reported(done, "`recover:api` from `@alice`")


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("skipped", [("end",), ("wait", "end")])
def test_missed_reopening_is_reported_after_rerun(labeled_run: LabeledRun, skipped: tuple[str, ...]) -> None:
    """The gate's pass is for the first attempt, so the second skips the reopening. Staging has nothing to reopen."""
    outputs = {"run": "r", "decision": "recovered", "ends_at": "2026-11-24T05:00:00+00:00"}
    needs = {
        "gate": GONE,
        "security-production": {"result": "success", "outputs": outputs},
        "security-staging": SKIPPED,
        **dict.fromkeys(("wait", "end-security-production", "end-security-staging"), SKIPPED),
        "report": {"result": "success", "outputs": {}},
    }
    ids = "security-production security-staging"
    environ = {"ACTING": ids, "END_COMMAND": "./run ops maintenance due", "GITHUB_RUN_ATTEMPT": "2"}
    ended = {"result": "success", "outputs": {}}
    needs |= {} if "wait" in skipped else {"wait": ended}

    labeled_run.tell(needs=needs, **environ)
    again = needs | {"wait": ended, "end-security-production": ended}
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


@pytest.mark.slow
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
    assert f"**Next step:** Run the job `watch` again on the page of its log, or run on a laptop: `{command}`" in body
    assert "changed" not in body


@pytest.mark.slow
def test_relapse_on_the_incident_is_not_repeated(labeled_run: LabeledRun) -> None:
    labeled_run.job("watch", "failure", "success", "success", "success", "failure")

    ended = {"decision": "relapsed", "reason": "relapsed", "answered": "true"}

    assert tell_of_watch(labeled_run, {"result": "failure", "outputs": ended}) == []


@pytest.mark.slow
def test_relapse_that_could_not_report_is_reported(labeled_run: LabeledRun) -> None:
    labeled_run.job("watch", "failure", "success", "success", "success", "failure")
    ended = {"decision": "relapsed", "message": "api in production relapsed", "hint": "Roll back: `ops x`"}

    (body,) = tell_of_watch(labeled_run, {"result": "failure", "outputs": ended})

    assert body.startswith("**The watch ended as `relapsed`:** ")
    assert "**Why:** api in production relapsed\n\n**Next step:** Roll back&#58; `ops x`" in body


@pytest.mark.slow
def test_rerun_of_a_watch_that_dies_again_is_reported(labeled_run: LabeledRun) -> None:
    labeled_run.job("watch", "failure", "success", "failure")

    (body,) = tell_of_watch(labeled_run, {"result": "failure", "outputs": {}}, GITHUB_RUN_ATTEMPT="2")

    assert body.startswith("**The watch stopped early")


@pytest.mark.slow
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


@pytest.mark.slow
def test_automatic_step_that_did_not_begin_is_reported(labeled_run: LabeledRun) -> None:
    labeled_run.job("next-recovery-production", "failure", "success", "failure")

    (body,) = tell_of_step(labeled_run, {"outputs": {}})

    assert body.startswith("**The automatic step after the relapse failed, and nothing was changed:** `recover:api`")
    assert "`./run ops status --environment production`" in body


@pytest.mark.slow
def test_automatic_step_that_died_is_reported_as_unknown(labeled_run: LabeledRun) -> None:
    labeled_run.job("next-recovery-production", "failure", "success", "success", "success", "failure")

    (body,) = tell_of_step(labeled_run, {"outputs": {}})

    assert body.startswith("**The automatic step after the relapse failed, and it is not known whether it was made:**")


@pytest.mark.slow
def test_unpublished_relapse_does_not_hide_the_failed_step(labeled_run: LabeledRun) -> None:
    labeled_run.job("next-recovery-production", "failure", "success", "failure")

    relapse, step = tell_of_step(labeled_run, {"outputs": {}}, answered="")

    assert relapse.startswith("**The watch ended as `relapsed`:** ")
    assert step.startswith("**The automatic step after the relapse failed, and nothing was changed:** ")


def test_refused_automatic_step_is_not_reported_twice(labeled_run: LabeledRun) -> None:
    labeled_run.job("next-recovery-production", "failure", "success", "success", "success", "failure")

    assert tell_of_step(labeled_run, {"outputs": {"run": "r", "decision": "refused"}}) == []


@pytest.mark.slow
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
