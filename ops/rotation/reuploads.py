"""Where Cloudflare's secret edit cannot be used: which version of a Worker is uploaded anew with the new values."""

from collections.abc import Mapping
from typing import Any

from ops.cloudflare.deployment_mark import Mark
from ops.cloudflare.types.workers import split_prose
from ops.core.errors import Reason, Refused
from ops.core.next_step import Press
from ops.engine.runbook import Context
from ops.rotation.writes import Standing
from ops.workers import reupload
from ops.workers import reupload_rules as rules
from ops.workers.reupload_rules import Rebuild


def plans(
    ctx: Context[Any], found: Mapping[str, Standing], workers: Mapping[str, tuple[str, ...]]
) -> dict[str, Rebuild]:
    """Worker → its rebuild, of those that need one; `workers` has the names of the new values.

    The reads are the comparison. Raises Refused where a version cannot be rebuilt either, with the way on.
    """
    return {worker: _plan(ctx, found[worker], names) for worker, names in workers.items() if found[worker].obstacle}


def _plan(ctx: Context[Any], standing: Standing, names: tuple[str, ...]) -> Rebuild:
    live, worker, params = standing.live, standing.worker, ctx.params
    service, entry = next((name, each) for name, each in ctx.environment.services.items() if each.worker == worker)
    version = rules.majority(live.split)
    if version is None:
        raise Refused(
            f"{split_prose(live.split)} share the traffic of {worker}, and the new values go to one version alone",
            reason=Reason.LATEST_NOT_DEPLOYED,
            hint="Choose which of them shall serve, put its id in the place of VERSION, and rotate after it.",
            press=ctx.press("rollback-worker", service=service, to="VERSION"),
        )

    def accept(wanted: tuple[str, ...]) -> Press:
        accepted = tuple(dict.fromkeys((*params.inherit_latest, *wanted)))
        given = {"only": params.only, "restore": params.restore, "inherit_latest": accepted}
        return ctx.press("rotate-secrets", service=params.service, **given)

    return reupload.plan(
        ctx,
        worker,
        version,
        Mark(ctx.incident, ctx.run_id, None, params.reason, rotated=names),
        live=live,
        latest=standing.newest,
        edits=names,
        accepted=params.inherit_latest,
        accept=accept,
        static_assets=entry.static_assets,
    )
