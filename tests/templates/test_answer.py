"""Answer to a label whose gate does not answer, on runs as GitHub's API shows them."""

from collections.abc import Mapping
from typing import Any

import pytest

from sandbox.github.actions.state import FakeRun
from tests.templates.scripts import COMMENTS, Step, Workflow

INCIDENT = ".github/workflows/incident.yml"
LABEL = "recover:api"


def start(workflow: Workflow, payload: Mapping[str, Any], title: str = "", **state: Any) -> FakeRun:
    """Add a run of incident.yml for the event; without a title, its file was refused."""
    hub = workflow.github
    hub.add_commit("Workflow", "alice", files={INCIDENT: "name: incident\non: issues\n"})
    run = hub.start_run("incident.yml", "issues", payload, "alice")
    hub.set_run_title(run.id, title.format(workflow.incident, at=payload["issue"]["updated_at"]))
    hub.set_run(run.id, **{"status": "completed", "conclusion": "success", **state})
    return run


REFUSED = {"conclusion": "startup_failure"}
QUEUED = {"status": "queued", "conclusion": None}
HANGING = {"status": "in_progress", "conclusion": None}
TITLE = f"incident #{{}} {LABEL} at {{at}}"


def answer(workflow: Workflow, payload: Mapping[str, Any], **environ: str) -> Step:
    values = {"SECONDS_TO_WAIT": "0", "DIRECT": "rollback-worker-direct.yml", **environ}
    done = workflow.step("answer", payload, **values)
    assert done.err == ""
    return done


@pytest.mark.parametrize("name", ["gate", "recover / gate"])
def test_request_whose_gate_ended_gets_no_second_comment(workflow: Workflow, name: str) -> None:
    payload = workflow.label()
    run = start(workflow, payload, TITLE, status="in_progress", conclusion=None)
    workflow.github.add_job(run.id, name, status="completed")

    done = answer(workflow, payload)

    assert (done.code, done.out, workflow.bodies) == (0, "", [])


@pytest.mark.parametrize(
    ("title", "conclusion"),
    [(TITLE, "startup_failure"), ("", "startup_failure"), (INCIDENT, "failure")],
    ids=["title", "no title", "path as title"],
)
def test_refused_file_is_answered_at_once(workflow: Workflow, title: str, conclusion: str) -> None:
    payload = workflow.label()
    run = start(workflow, payload, title, conclusion=conclusion)

    done = answer(workflow, payload, SECONDS_TO_WAIT="120")

    (body,) = workflow.bodies
    page = f"{workflow.github.urls.html}/{workflow.github.repository}/actions"
    assert done.code == 0
    assert body.startswith("**Did not start, and nothing was changed:** `recover:api` from `@alice` · ")
    assert f" · GitHub refused the workflow files · [run]({page}/runs/{run.id})" in body
    assert f"`./run ops label recover:api --incident {workflow.incident}`" in body
    assert f"[rollback-worker-direct]({page}/workflows/rollback-worker-direct.yml)" in body


@pytest.mark.parametrize(
    ("title", "state", "said"),
    [
        ("", None, "**No run started within 0 s:**"),
        (TITLE, QUEUED, "**No answer after 0 s"),
        (TITLE, HANGING, "**No answer after 0 s"),
        ("incident #99 recover:api at {at}", REFUSED, "**No run started within 0 s:**"),
        (TITLE, {"conclusion": "failure"}, "**Did not start, and nothing was changed:**"),
    ],
    ids=["none", "queued", "hanging", "another issue", "no job"],
)
def test_answer_says_what_is_known(workflow: Workflow, title: str, state: Mapping[str, Any] | None, said: str) -> None:
    payload = workflow.label()
    if state is not None:
        run = start(workflow, payload, title, **state)
        if state in (QUEUED, HANGING):
            workflow.github.add_job(run.id, "gate", **state)

    answer(workflow, payload, DIRECT="")

    (body,) = workflow.bodies
    assert body.startswith(said)
    assert "direct" not in body
    assert body.index("Take the label off") < body.index("Run on a laptop")  # else the run may start beside it


@pytest.mark.parametrize(("title", "state"), [(TITLE, {}), ("", REFUSED)], ids=["ended", "refused"])
def test_former_run_of_a_label_put_on_again_does_not_count(
    workflow: Workflow, title: str, state: Mapping[str, Any]
) -> None:
    former = start(workflow, workflow.label(), title, **state)
    workflow.github.add_job(former.id, "gate", status="completed")
    workflow.github.unlabel(workflow.incident, LABEL, "alice")
    workflow.world.sandbox.clock.advance(3)

    answer(workflow, workflow.label())

    assert workflow.bodies[0].startswith("**No run started")


def test_run_behind_a_hundred_newer_ones_is_still_known(workflow: Workflow) -> None:
    """The job is started again after other people's labels."""
    payload = workflow.label()
    run = start(workflow, payload, TITLE)
    workflow.github.add_job(run.id, "recover / gate", status="completed")
    for _ in range(101):
        start(workflow, payload, "incident #99 recover:web at {at}")

    assert answer(workflow, payload, GITHUB_RUN_ATTEMPT="2").out == ""
    assert workflow.bodies == []


def test_one_look_at_few_runs_is_one_request(workflow: Workflow) -> None:
    """The token of a job has 1,000 requests an hour, and each label asks for two minutes."""
    payload = workflow.label()
    start(workflow, payload, "incident #99 recover:web at {at}")

    answer(workflow, payload)

    assert [each.path.rpartition("/")[2] for each in workflow.github.requests] == ["runs", "comments"]


def test_unreadable_runs_are_unknown(workflow: Workflow) -> None:
    workflow.github.fault(path="/repos/*/*/actions/runs", status=503, times=None)

    answer(workflow, workflow.label())

    assert workflow.bodies[0].startswith("**Unknown whether it started:**")
    assert "503" in workflow.bodies[0]


@pytest.mark.slow
def test_gate_that_ends_late_is_waited_for(workflow: Workflow) -> None:
    payload = workflow.label()
    run = start(workflow, payload, TITLE, **QUEUED)
    job = workflow.github.add_job(run.id, "gate", status="queued", conclusion=None)

    def end() -> None:
        job.status = "completed"

    workflow.github.fault(path="/repos/*/*/actions/runs/*/jobs", times=1, after=end)

    assert answer(workflow, payload, SECONDS_TO_WAIT="5").out == ""
    assert workflow.bodies == []


def test_log_claims_no_answer_that_github_refused(workflow: Workflow) -> None:
    workflow.github.fault(path=COMMENTS, method="POST", status=403)

    done = workflow.step("answer", workflow.label(), SECONDS_TO_WAIT="0", DIRECT="")

    assert (done.code, workflow.bodies) == (1, [])
    assert "::No run started within 0 s\n" in done.out
    assert "on the issue" not in done.out


@pytest.mark.parametrize(
    ("label", "command"), [("report", "incident report {}"), ("check-outage", "check-outage --incident {}")]
)
def test_other_labels_name_their_own_command(workflow: Workflow, label: str, command: str) -> None:
    answer(workflow, workflow.label(label))

    assert f"`./run ops {command.format(workflow.incident)}`" in workflow.bodies[0]


def test_hostile_label_and_pull_request(workflow: Workflow) -> None:
    payload = workflow.label("recover:`@everyone`")
    answer(workflow, payload)
    answer(workflow, {**payload, "issue": {**payload["issue"], "pull_request": {}}})

    (body,) = workflow.bodies
    assert "`` recover:`@everyone` ``" in body
