"""A run in the hands of a person: cancelled, run again, approved or rejected."""

from collections.abc import Callable, Collection, Iterable

from sandbox.github.actions import changes, serializers
from sandbox.github.actions.api import RUN, find_run
from sandbox.github.actions.state import Gate, Job, Run, RunChange
from sandbox.github.call import REPO, Access, Answer, ApiError, Call, Routes, fields, not_found, refused

ROUTES = Routes()


@ROUTES.add("POST", RUN + "/cancel", Access("actions:write", "actions/workflow-runs#cancel-a-workflow-run"))
def cancel(call: Call) -> Answer:
    run = find_run(call)
    if run.status == "completed":
        raise ApiError(409, "Cannot cancel a workflow run that is completed.")
    call.repository.change_run(RunChange("cancelled", run))
    return Answer(status=202, body={})


@ROUTES.add("POST", RUN + "/rerun", Access("actions:write", "actions/workflow-runs#re-run-a-workflow"))
def rerun(call: Call) -> Answer:
    return _rerun(call, find_run(call), lambda _: ())


@ROUTES.add(
    "POST",
    RUN + "/rerun-failed-jobs",
    Access("actions:write", "actions/workflow-runs#re-run-failed-jobs-from-a-workflow-run"),
)
def rerun_failed_jobs(call: Call) -> Answer:
    return _rerun(call, find_run(call), changes.failed_jobs)


_JOB = REPO + "/actions/jobs/{job_id}"


@ROUTES.add("POST", _JOB + "/rerun", Access("actions:write", "actions/workflow-runs#re-run-a-job-from-a-workflow-run"))
def rerun_job(call: Call) -> Answer:
    run, job = _find_job(call)
    return _rerun(call, run, lambda _: [job])


@ROUTES.add("GET", _JOB, Access("actions:read", "actions/workflow-jobs#get-a-job-for-a-workflow-run"))
def get_job(call: Call) -> Answer:
    run, job = _find_job(call)
    return Answer(body=serializers.job(run, job, call.urls))


def _find_job(call: Call) -> tuple[Run, Job]:
    number = call.number("job_id")
    for run in call.repository.runs.values():
        for job in run.jobs:
            if job.id == number:
                return run, job
    raise not_found()


def _rerun(call: Call, run: Run, choose: Callable[[Run], Collection[Job]]) -> Answer:
    """403 with GitHub's text: github.com/metabase/metabase/pull/70916."""
    fields(call, optional={"enable_debug_logging": bool})
    try:
        changes.rerun(call.repository, call.user, run, choose(run))
    except changes.RerunError as error:
        raise ApiError(403, str(error)) from error
    return Answer(status=201, body={})


_PENDING = RUN + "/pending_deployments"


@ROUTES.add("GET", _PENDING, Access("actions:read", "actions/workflow-runs#get-pending-deployments-for-a-workflow-run"))
def list_pending_deployments(call: Call) -> Answer:
    run = find_run(call)
    return Answer(
        body=[
            serializers.pending_deployment(
                gate.environment, call.urls, may_approve=changes.may_review(call.user, run, gate.environment)
            )
            for gate in _one_of_each(gate for gate in run.gates if gate.state == "waiting")
        ]
    )


def _one_of_each(gates: Iterable[Gate]) -> Iterable[Gate]:
    """One gate of each environment."""
    return {gate.environment.id: gate for gate in gates}.values()


@ROUTES.add(
    "POST",
    _PENDING,
    Access("deployments:write", "actions/workflow-runs#review-pending-deployments-for-a-workflow-run", role="read"),
)
def review_pending_deployments(call: Call) -> Answer:
    """The deployments of these environments. Only a required reviewer may answer, so GITHUB_TOKEN may not."""
    run = find_run(call)
    body = fields(call, required={"environment_ids": list, "state": str, "comment": str})
    if body["state"] not in {"approved", "rejected"}:
        raise refused(f"For 'properties/state', \"{body['state']}\" is not a possible value.")
    try:
        answer = {"state": body["state"], "comment": body["comment"]}
        changes.review(call.repository, call.user, run, body["environment_ids"], **answer)
    except changes.ReviewError as error:
        raise ApiError(422, str(error)) from error
    names = {one.name for one in run.reviews[-1].environments}
    deployments = call.repository.deployments.values()
    found = [one for one in deployments if one.run_id == run.id and one.environment in names]
    return Answer(body=[serializers.deployment(one, call.urls) for one in found])


@ROUTES.add("GET", RUN + "/approvals", Access("actions:read", "actions/workflow-runs#get-the-review-history-for-a-run"))
def list_approvals(call: Call) -> Answer:
    """Of all attempts, oldest first, without times."""
    return Answer(body=[serializers.review(one, call.urls) for one in find_run(call).reviews])
