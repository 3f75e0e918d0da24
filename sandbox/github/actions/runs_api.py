"""Runs of workflows, their attempts and jobs."""

from sandbox.github.actions import serializers as shapes
from sandbox.github.actions.state import Run
from sandbox.github.actions.workflows_api import find_workflow
from sandbox.github.routing import REPO, Answer, Call, Routes, not_found

ROUTES = Routes()
_RUNS = REPO + "/actions/runs"
_RUN = _RUNS + "/{run_id}"


@ROUTES.add("GET", _RUNS, "actions:read", "actions/workflow-runs#list-workflow-runs-for-a-repository")
def list_runs(call: Call) -> Answer:
    """Newest first."""
    return _listed(call, list(call.repository.runs.values()))


@ROUTES.add(
    "GET",
    REPO + "/actions/workflows/{workflow_id}/runs",
    "actions:read",
    "actions/workflow-runs#list-workflow-runs-for-a-workflow",
)
def list_runs_of_workflow(call: Call) -> Answer:
    workflow = find_workflow(call)
    return _listed(call, [run for run in call.repository.runs.values() if run.workflow is workflow])


def _listed(call: Call, runs: list[Run]) -> Answer:
    asked = {name: call.query.get(name) for name in ("status", "event", "branch", "actor", "head_sha")}
    found = [
        run
        for run in reversed(runs)
        if asked["status"] in {None, run.status, run.conclusion}
        and asked["event"] in {None, run.event}
        and asked["branch"] in {None, run.head_branch}
        and asked["actor"] in {None, run.actor.login}
        and asked["head_sha"] in {None, run.head.sha}
    ]
    return call.page(found, lambda run: shapes.run(call.repository, run, call.urls), under="workflow_runs")


def _find(call: Call) -> Run:
    run = call.repository.runs.get(call.number("run_id"))
    if run is None:
        raise not_found()
    return run


@ROUTES.add("GET", _RUN, "actions:read", "actions/workflow-runs#get-a-workflow-run")
def get_run(call: Call) -> Answer:
    return Answer(body=shapes.run(call.repository, _find(call), call.urls))


@ROUTES.add("GET", _RUN + "/jobs", "actions:read", "actions/workflow-jobs#list-jobs-for-a-workflow-run")
def list_jobs(call: Call) -> Answer:
    """Of the latest attempt, or of all of them."""
    run = _find(call)
    latest = call.choice("filter", "latest", "all") == "latest"
    return _jobs(call, run, run.run_attempt if latest else None)


@ROUTES.add(
    "GET",
    _RUN + "/attempts/{attempt_number}/jobs",
    "actions:read",
    "actions/workflow-jobs#list-jobs-for-a-workflow-run-attempt",
)
def list_jobs_of_attempt(call: Call) -> Answer:
    run, attempt = _find(call), call.number("attempt_number")
    if not 1 <= attempt <= run.run_attempt:
        raise not_found()
    return _jobs(call, run, attempt)


def _jobs(call: Call, run: Run, attempt: int | None) -> Answer:
    found = [job for job in run.jobs if attempt in {None, job.run_attempt}]
    return call.page(found, lambda job: shapes.job(run, job, call.urls), under="jobs")
