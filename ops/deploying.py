"""How the world stands towards one deployment of a Worker, for every runbook that makes one."""

from ops.model.errors import ProviderError, Reason
from ops.model.worker import Deployment, Split, same_split, split_prose
from ops.model.worker_plan import deployed
from ops.runbook import State, World


def standing(
    deployments: tuple[Deployment, ...], live: Deployment, split: Split, run: str, *, worker: str, after: str = ""
) -> World:
    """Whether the run's deployment of `split` is first, or still `live` is; `after` is what people call the split.

    Raises ProviderError where none is listed: `live` was.
    """
    if not deployments:
        raise none_listed(worker)
    ours = [d for d in deployments if d.mark and d.mark.run == run and same_split(d.split, split)]
    if not ours and deployments[0].id == live.id:
        return World(State.PLANNED, f"{split_prose(live.split)} is live, as planned")
    if not ours or deployments[0].id != ours[0].id:
        return World(State.MOVED, deployed(deployments[0]))
    before_us = deployments[deployments.index(ours[-1]) + 1 :]
    slipped = [d for d in before_us if d.created_on > live.created_on and d.id != live.id]
    return World(State.DONE, f"{after or split_prose(split)} is live", tuple(deployed(d) for d in slipped))


def none_listed(worker: str) -> ProviderError:
    """It has some: the plan stands on them."""
    return ProviderError(
        f"Cloudflare no longer lists any deployment of {worker}",
        reason=Reason.MALFORMED_ANSWER,
        hint="Look in the dashboard whether the Worker is still there, and at https://www.cloudflarestatus.com/.",
    )
