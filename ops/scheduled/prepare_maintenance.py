"""`ops maintenance prepare`: the Worker that answers for what is off, on a quiet day, so that a bad night has it.

It has a plan and a comparison like a runbook; but nothing is broken when somebody wants it, so it is no button.
"""

from dataclasses import dataclass, field, replace

from ops.cloudflare.types.zones import Subdomain
from ops.core.errors import Reason, Refused
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.plan import Change, Plan, PlanSection
from ops.core.threads import run_all
from ops.core.verdict import MaintenanceCheck
from ops.engine.context import Context
from ops.engine.runbook import ObservedState, Runbook, TokenPermissions, param
from ops.maintenance import steps as maintaining
from ops.maintenance.steps import Steps
from ops.maintenance.writes import Create, Deploy, Step, Store, Switch
from ops.probes.runner import ProbeSet

ITS_OWN = Subdomain(enabled=True, previews=False)


@dataclass(frozen=True)
class Params:
    reason: str = param("why, in a few words, for the deployment's message and the timeline", default="")


@dataclass
class Details(Steps):
    address: MaintenanceCheck = field(kw_only=True)


class PrepareMaintenance(Runbook[Params, Details]):
    """Deploy ops-maintenance, which answers 503 for what `ops maintenance` takes offline."""

    name = "maintenance prepare"
    when = "Nothing: it is for a quiet day"
    kind = "worker"
    by_label = False
    everyday = True
    params = Params
    example = Params()
    writes = (
        ("PUT", "/accounts/*/workers/scripts/*"),
        ("POST", "/accounts/*/workers/scripts/*/subdomain"),
        ("POST", "/accounts/*/workers/scripts/*/versions"),
        ("POST", "/accounts/*/workers/scripts/*/deployments"),
    )
    permissions = TokenPermissions(cloudflare=("Workers Scripts Write",))

    def probes(self, ctx: Context[Params], plan: Plan[Details] | None) -> ProbeSet:
        """At its own address on workers.dev, known once there is a plan."""
        service = next(iter(ctx.environment.services.values()))
        addresses = () if plan is None else (replace(plan.details.address, run=plan.details.run),)
        return ProbeSet(service.url, (), service.verify, addresses=addresses)

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        standing, host = run_all(
            [
                lambda: maintaining.standing(ctx.cloudflare.workers),
                lambda: ctx.cloudflare.workers.address(WORKER),
            ]
        )
        if not host:
            raise Refused(
                f"the account has no subdomain of workers.dev, where {WORKER} could be asked whether it answers",
                reason=Reason.NO_WAY_IN,
                hint="Choose one on the Workers & Pages page of the dashboard; no other Worker is switched on by that.",
            )
        steps: list[Step] = []
        if standing is None:
            steps += [Create(), Switch(WORKER, Subdomain(enabled=False, previews=False), ITS_OWN)]
        else:
            if standing.version.tag != ctx.cloudflare.maintenance.release:
                kept = standing.stored
                steps += [
                    Store(kept.blocks, standing.deployment, kept.opened),
                    Deploy(standing.deployment, kept.blocks),
                ]
            if (live := ctx.cloudflare.workers.subdomain(WORKER)) != ITS_OWN:
                steps.append(Switch(WORKER, live, ITS_OWN))
        changes = maintaining.changes(steps, None)
        stored = standing is None or any(isinstance(step, Store) for step in steps)
        run = ctx.run_id if stored or standing is None else standing.stored.run
        off = () if standing is None else tuple(block.what for block in standing.stored.blocks)
        return Plan(
            summary=f"{WORKER} is {'to be deployed' if changes else 'prepared already'}",
            changes=tuple(changes),
            sections=(PlanSection("Off at present, and stays off", off),) if off else (),
            follows=(
                "nothing leads to it until `ops maintenance` lets routes do so",
                f"to undo it, delete the Worker {WORKER} in the dashboard, once no route leads to it",
            ),
            reason=None if changes else Reason.ALREADY_PREPARED,
            done=f"Prepared {WORKER}",
            proves=f"{WORKER} is ready: it answers 503 at https://{host}",
            details=Details(changes, run=run, address=MaintenanceCheck(f"https://{host}/")),
        )

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:
        return maintaining.check(ctx, plan.details, change)

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:
        return maintaining.apply(ctx, plan.details, change)
