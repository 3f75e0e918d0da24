"""`ops maintenance prepare`: the Worker that answers for what is off, on a quiet day, so that a bad night has it.

It has a plan and a comparison like a runbook; but nothing is broken when somebody wants it, so it is no button.
"""

from dataclasses import dataclass, field, replace

from ops.cloudflare.types.zones import WorkersDevSubdomain
from ops.core.errors import Reason, Refused
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.plan import Change, Plan, PlanSection
from ops.core.threads import run_all
from ops.core.verdict import MaintenanceCheck
from ops.engine.context import Context
from ops.engine.runbook import ObservedState, Runbook, TokenPermissions, param
from ops.maintenance import steps as maintenance_steps
from ops.maintenance.steps import MaintenanceWrites
from ops.maintenance.writes import CreateWorker, DeployState, MaintenanceWrite, SetSubdomain, UploadState
from ops.probes.runner import ProbeSet

ITS_OWN = WorkersDevSubdomain(enabled=True, previews_enabled=False)


@dataclass(frozen=True)
class Params:
    reason: str = param("why, in a few words, for the deployment's message and the timeline", default="")


@dataclass
class Details(MaintenanceWrites):
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
        addresses = () if plan is None else (replace(plan.details.address, run=plan.details.state_run),)
        return ProbeSet(service.url, (), service.verify, addresses=addresses)

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        worker, host = run_all(
            [
                lambda: maintenance_steps.read_worker(ctx.cloudflare.workers),
                lambda: ctx.cloudflare.workers.read_workers_dev_host(WORKER),
            ]
        )
        if not host:
            raise Refused(
                f"the account has no subdomain of workers.dev, where {WORKER} could be asked whether it answers",
                reason=Reason.NO_WAY_IN,
                hint="Choose one on the Workers & Pages page of the dashboard; no other Worker is switched on by that.",
            )
        steps: list[MaintenanceWrite] = []
        if worker is None:
            steps += [
                CreateWorker(),
                SetSubdomain(WORKER, WorkersDevSubdomain(enabled=False, previews_enabled=False), ITS_OWN),
            ]
        else:
            if worker.version.tag != ctx.cloudflare.maintenance.source_tag:
                kept = worker.state
                steps += [
                    UploadState(kept.windows, worker.deployment, kept.opened),
                    DeployState(worker.deployment, kept.windows),
                ]
            if (live := ctx.cloudflare.workers.read_subdomain(WORKER)) != ITS_OWN:
                steps.append(SetSubdomain(WORKER, live, ITS_OWN))
        changes = maintenance_steps.build_changes(steps, None)
        stored = worker is None or any(isinstance(step, UploadState) for step in steps)
        run = ctx.run_id if stored or worker is None else worker.state.run
        off = () if worker is None else tuple(window.scope for window in worker.state.windows)
        return Plan(
            summary=f"{WORKER} is {'to be deployed' if changes else 'prepared already'}",
            changes=tuple(changes),
            sections=(PlanSection("Off at present, and stays off", off),) if off else (),
            consequences=(
                "nothing leads to it until `ops maintenance` lets routes do so",
                f"to undo it, delete the Worker {WORKER} in the dashboard, once no route leads to it",
            ),
            reason=None if changes else Reason.ALREADY_PREPARED,
            done_message=f"Prepared {WORKER}",
            proved_claim=f"{WORKER} is ready: it answers 503 at https://{host}",
            details=Details(changes, state_run=run, address=MaintenanceCheck(f"https://{host}/")),
        )

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:
        return maintenance_steps.check_change(ctx, plan.details, change)

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:
        return maintenance_steps.apply_change(ctx, plan.details, change)
