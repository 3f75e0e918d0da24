"""Deploy a version or split of a Worker, and compare its live deployment with that."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ops.cloudflare.marks import DeploymentMark
from ops.cloudflare.types.workers import Split, WorkerDeployment, describe_deployment, describe_split, is_same_split
from ops.core.errors import OpsError, ProviderError, Reason, SecretsChanged
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState, Rehearsal, Step


@dataclass(frozen=True, kw_only=True, eq=False)
class DeploySplit(Step):
    """Give the traffic of a Worker to a split of its versions."""

    worker: str
    live: WorkerDeployment
    """The live deployment when the plan was made."""
    find_split: Callable[[], Split]
    """Returns the split; the run itself may upload its version before."""
    mark: DeploymentMark
    accepted_secrets: frozenset[str] = frozenset()
    """Secrets that may return to their previous values."""
    refuse_secrets: Callable[[tuple[str, ...]], OpsError] | None = None
    """Makes the error for changed secrets that are not accepted."""
    rehearsal: "Callable[[DeploySplit], Rehearsal] | str | None" = None
    """Plans the rehearsal; or the reason why there is none; None if nobody wants one."""

    def check(self, ctx: Context[Any]) -> ObservedState:
        # A repair has the mark of a rehearsal.
        deployments = ctx.cloudflare.workers.list_deployments(self.worker, rehearsals=bool(self.mark.rehearsed))
        return self.observe(deployments, self.live)

    def apply(self, ctx: Context[Any]) -> str:
        return self.deploy(ctx, self.find_split(), self.mark)

    def deploy(self, ctx: Context[Any], split: Split, mark: DeploymentMark) -> str:
        """Deploy with one write, and once more with force if the changed secrets are accepted. Raises OpsError."""
        deploy = partial(ctx.cloudflare.workers.deploy, self.worker, split, mark=mark)
        try:
            return f"deployment {deploy()}"
        except SecretsChanged as changed:
            if changed.names and self.accepted_secrets.issuperset(changed.names):
                return f"deployment {deploy(force=True)}; accepted the previous values of {', '.join(changed.names)}"
            if self.refuse_secrets is None:
                raise
            raise self.refuse_secrets(changed.names) from None

    def plan_rehearsal(self, ctx: Context[Any]) -> Rehearsal | str | None:  # noqa: ARG002
        return self.rehearsal(self) if callable(self.rehearsal) else self.rehearsal

    def observe(
        self, deployments: tuple[WorkerDeployment, ...], live: WorkerDeployment, *, label: str = ""
    ) -> ObservedState:
        """Return whether a deployment of the split is live, or still the planned one, `live`.

        `label`: a name of the split for people. Another run's deployment counts as done if it deploys the same split.
        Raises ProviderError if Cloudflare lists no deployment.
        """
        if not deployments:
            raise no_deployments_error(self.worker)
        first, split, mark = deployments[0], self.find_split(), self.mark
        called = label or describe_split(split)
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
