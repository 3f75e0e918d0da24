"""A run in the hands of a person: cancelled, approved or rejected."""

from collections.abc import Iterable

from sandbox.github.actions import changes, serializers
from sandbox.github.actions.api import RUN, find_run
from sandbox.github.actions.state import Gate, RunChange
from sandbox.github.call import Access, Answer, ApiError, Call, Routes, fields, refused

ROUTES = Routes()


@ROUTES.add("POST", RUN + "/cancel", Access("actions:write", "actions/workflow-runs#cancel-a-workflow-run"))
def cancel(call: Call) -> Answer:
    run = find_run(call)
    if run.status == "completed":
        raise ApiError(409, "Cannot cancel a workflow run that is completed.")
    call.repository.change_run(RunChange("cancelled", run))
    return Answer(status=202, body={})


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
