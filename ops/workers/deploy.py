"""Compare a Worker's deployments with the one that a plan creates."""

from ops.cloudflare.deployment_mark import DeploymentMark
from ops.cloudflare.types.workers import Split, WorkerDeployment, describe_deployment, describe_split, is_same_split
from ops.core.errors import ProviderError, Reason
from ops.engine.step import ChangeState, ObservedState


def observe_deployment(
    deployments: tuple[WorkerDeployment, ...],
    live: WorkerDeployment,
    split: Split,
    mark: DeploymentMark,
    *,
    worker: str,
    label: str = "",
) -> ObservedState:
    """Return whether a deployment of `split` is live, or still the planned one, `live`.

    `mark`: the mark of this run. `label`: a name of the split for people. Another run's deployment counts as done if it
    deploys the same split. Raises ProviderError if Cloudflare lists no deployment.
    """
    if not deployments:
        raise no_deployments_error(worker)
    first, called = deployments[0], label or describe_split(split)
    ours = [d for d in deployments if d.mark and d.mark.run == mark.run and is_same_split(d.split, split)]
    if not ours and first.id == live.id:
        return ObservedState(ChangeState.PLANNED, f"{describe_split(live.split)} is live, as planned")
    if ours and first.id == ours[0].id:
        before_us = deployments[deployments.index(ours[-1]) + 1 :]
        slipped = [d for d in before_us if d.created_on > live.created_on and d.id != live.id]
        return ObservedState(ChangeState.DONE, f"{called} is live", tuple(describe_deployment(d) for d in slipped))
    if _is_same_change(first, live, split, mark):
        also = (f"the same change was made again: {describe_deployment(first)}",) if ours else ()
        text = f"{called} is live{'' if ours else f', by another run or person: {describe_deployment(first)}'}"
        return ObservedState(ChangeState.DONE, text, notes=also, made_by_run=bool(ours))
    return ObservedState(ChangeState.CHANGED_ELSEWHERE, describe_deployment(first), made_by_run=bool(ours))


def _is_same_change(first: WorkerDeployment, live: WorkerDeployment, split: Split, mark: DeploymentMark) -> bool:
    """Return whether another deployment makes the same change. With an unchanged split, only an equal mark shows it."""
    if not is_same_split(first.split, split):
        return False
    theirs = first.mark
    facts = ("blames", "rotated", "restored", "revoked", "reset")
    is_equal = theirs is not None and all(getattr(theirs, name) == getattr(mark, name) for name in facts)
    return is_equal or not is_same_split(split, live.split)


def no_deployments_error(worker: str) -> ProviderError:
    """Return the error for an empty list, although the plan read at least one deployment."""
    return ProviderError(
        f"Cloudflare no longer lists any deployment of {worker}",
        reason=Reason.MALFORMED_ANSWER,
        hint="Check in the dashboard whether the Worker exists, and check https://www.cloudflarestatus.com/.",
    )
