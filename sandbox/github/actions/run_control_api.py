"""Run control by a person: cancel, rerun, approve or reject."""

from collections.abc import Callable, Collection, Iterable

from sandbox.github.actions import changes, serializers
from sandbox.github.actions.api import RUN, find_run
from sandbox.github.actions.state import FakeJob, FakeRun, PendingDeployment, RunChange
from sandbox.github.call import (
    REPO,
    GitHubAnswer,
    GitHubCall,
    GitHubRefusal,
    RouteAccess,
    Routes,
    fields,
    not_found,
    validation_failed,
)

ROUTES = Routes()


@ROUTES.add("POST", RUN + "/cancel", RouteAccess("actions:write", "actions/workflow-runs#cancel-a-workflow-run"))
def cancel(call: GitHubCall) -> GitHubAnswer:
    run = find_run(call)
    if run.status == "completed":
        raise GitHubRefusal(409, "Cannot cancel a workflow run that is completed.")
    call.repository.change_run(RunChange("cancelled", run))
    return GitHubAnswer(status=202, body={})


@ROUTES.add("POST", RUN + "/rerun", RouteAccess("actions:write", "actions/workflow-runs#re-run-a-workflow"))
def rerun(call: GitHubCall) -> GitHubAnswer:
    return _rerun(call, find_run(call), lambda _: ())


@ROUTES.add(
    "POST",
    RUN + "/rerun-failed-jobs",
    RouteAccess("actions:write", "actions/workflow-runs#re-run-failed-jobs-from-a-workflow-run"),
)
def rerun_failed_jobs(call: GitHubCall) -> GitHubAnswer:
    return _rerun(call, find_run(call), changes.failed_jobs)


_JOB = REPO + "/actions/jobs/{job_id}"


@ROUTES.add(
    "POST", _JOB + "/rerun", RouteAccess("actions:write", "actions/workflow-runs#re-run-a-job-from-a-workflow-run")
)
def rerun_job(call: GitHubCall) -> GitHubAnswer:
    run, job = _find_job(call)
    return _rerun(call, run, lambda _: [job])


@ROUTES.add("GET", _JOB, RouteAccess("actions:read", "actions/workflow-jobs#get-a-job-for-a-workflow-run"))
def get_job(call: GitHubCall) -> GitHubAnswer:
    run, job = _find_job(call)
    return GitHubAnswer(body=serializers.job(run, job, call.urls))


def _find_job(call: GitHubCall) -> tuple[FakeRun, FakeJob]:
    number = call.number("job_id")
    for run in call.repository.runs.values():
        for job in run.jobs:
            if job.id == number:
                return run, job
    raise not_found()


def _rerun(call: GitHubCall, run: FakeRun, choose: Callable[[FakeRun], Collection[FakeJob]]) -> GitHubAnswer:
    """Rerun jobs; a refusal is a 403 with GitHub's text: github.com/metabase/metabase/pull/70916."""
    fields(call, optional={"enable_debug_logging": bool})
    try:
        changes.rerun(call.repository, call.user, run, choose(run))
    except changes.RerunError as error:
        raise GitHubRefusal(403, str(error)) from error
    return GitHubAnswer(status=201, body={})


_PENDING = RUN + "/pending_deployments"


@ROUTES.add(
    "GET", _PENDING, RouteAccess("actions:read", "actions/workflow-runs#get-pending-deployments-for-a-workflow-run")
)
def list_pending_deployments(call: GitHubCall) -> GitHubAnswer:
    run = find_run(call)
    return GitHubAnswer(
        body=[
            serializers.pending_deployment(
                gate.environment, call.urls, may_approve=changes.may_review(call.user, run, gate.environment)
            )
            for gate in _one_of_each(gate for gate in run.gates if gate.state == "waiting")
        ]
    )


def _one_of_each(gates: Iterable[PendingDeployment]) -> Iterable[PendingDeployment]:
    """Return one pending deployment per environment."""
    return {gate.environment.id: gate for gate in gates}.values()


@ROUTES.add(
    "POST",
    _PENDING,
    RouteAccess(
        "deployments:write", "actions/workflow-runs#review-pending-deployments-for-a-workflow-run", role="read"
    ),
)
def review_pending_deployments(call: GitHubCall) -> GitHubAnswer:
    """Review environments and return their deployments. Only a required reviewer may, so GITHUB_TOKEN may not."""
    run = find_run(call)
    body = fields(call, required={"environment_ids": list, "state": str, "comment": str})
    if body["state"] not in {"approved", "rejected"}:
        raise validation_failed(f"For 'properties/state', \"{body['state']}\" is not a possible value.")
    try:
        answer = {"state": body["state"], "comment": body["comment"]}
        changes.review(call.repository, call.user, run, body["environment_ids"], **answer)
    except changes.ReviewError as error:
        raise GitHubRefusal(422, str(error)) from error
    names = {one.name for one in run.reviews[-1].environments}
    deployments = call.repository.deployments.values()
    found = [one for one in deployments if one.run_id == run.id and one.environment in names]
    return GitHubAnswer(body=[serializers.deployment(one, call.urls) for one in found])


@ROUTES.add(
    "GET", RUN + "/approvals", RouteAccess("actions:read", "actions/workflow-runs#get-the-review-history-for-a-run")
)
def list_approvals(call: GitHubCall) -> GitHubAnswer:
    """Return the reviews of all attempts, oldest first, without times."""
    return GitHubAnswer(body=[serializers.review(one, call.urls) for one in find_run(call).reviews])
