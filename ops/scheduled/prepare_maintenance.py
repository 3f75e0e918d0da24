"""`ops maintenance prepare`: deploy the Worker that answers during maintenance.

It is planned and checked like any runbook. It has no button, because no incident needs it.
"""

from dataclasses import dataclass, field, replace

from ops.config.probes import ProbeSet
from ops.core.errors import Reason, Refused
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.plan import Change, Plan, PlanSection
from ops.core.threads import run_parallel_mixed
from ops.core.verdict import MaintenanceCheck
from ops.engine.context import Context
from ops.engine.runbook import Runbook, TokenPermissions, param
from ops.engine.step import ObservedState
from ops.maintenance import steps as maintenance_steps
from ops.maintenance.steps import MaintenanceWrites
from ops.maintenance.writes import (
    SUBDOMAIN_OFF,
    SUBDOMAIN_ON,
    CreateWorker,
    DeployState,
    MaintenanceWrite,
    SetSubdomain,
    UploadState,
)


class PrepareMaintenance(Runbook["PrepareMaintenance.Params", "PrepareMaintenance.Details"]):
    """Deploy ops-maintenance, which answers 503 during maintenance."""

    @dataclass(frozen=True)
    class Params:
        reason: str = param("Reason, shown in the deployment message and the timeline", default="")

    @dataclass
    class Details(MaintenanceWrites):
        address: MaintenanceCheck = field(kw_only=True)

    name = "maintenance prepare"
    section = "Set-up"
    when = "No incident: run it once, on a quiet day"
    kind = "worker"
    by_label = False
    is_routine = True
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
        """Probe its address on workers.dev, which is known once there is a plan."""
        service = next(iter(ctx.environment.services.values()))
        addresses = () if plan is None else (replace(plan.details.address, run=plan.details.state_run),)
        return ProbeSet(service.url, (), service.verify, addresses=addresses)

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        worker, host = run_parallel_mixed(
            [
                lambda: maintenance_steps.read_worker(ctx.cloudflare.workers),
                lambda: ctx.cloudflare.workers.read_workers_dev_host(WORKER),
            ]
        )
        if not host:
            raise Refused(
                f"the account has no workers.dev subdomain, which is needed to probe {WORKER}",
                reason=Reason.NO_WAY_IN,
                hint="Choose one on the Workers & Pages page of the dashboard. This enables no other Worker.",
            )
        steps: list[MaintenanceWrite] = []
        if worker is None:
            steps += [CreateWorker(), SetSubdomain(WORKER, SUBDOMAIN_OFF, SUBDOMAIN_ON)]
        else:
            if worker.version.tag != ctx.cloudflare.maintenance.source_tag:
                kept = worker.state
                steps += [
                    UploadState(kept.windows, worker.deployment, kept.reopened),
                    DeployState(worker.deployment, kept.windows),
                ]
            if (live := ctx.cloudflare.workers.read_subdomain(WORKER)) != SUBDOMAIN_ON:
                steps.append(SetSubdomain(WORKER, live, SUBDOMAIN_ON))
        changes = maintenance_steps.build_changes(steps, None)
        stored = worker is None or any(isinstance(step, UploadState) for step in steps)
        run = ctx.run_id if stored or worker is None else worker.state.run
        off = () if worker is None else tuple(window.scope for window in worker.state.windows)
        return Plan(
            summary=f"{'deploy' if changes else 'already prepared:'} {WORKER}",
            changes=tuple(changes),
            sections=(PlanSection("Stays in maintenance", off),) if off else (),
            consequences=(
                "no route leads to it until `ops maintenance` repoints one",
                f"to undo it, delete the Worker {WORKER} in the dashboard after no route leads to it",
            ),
            reason=None if changes else Reason.ALREADY_PREPARED,
            done_message=f"Prepared {WORKER}",
            proved_claim=f"{WORKER} is ready: it answers 503 at https://{host}",
            proves_health=False,
            details=PrepareMaintenance.Details(changes, state_run=run, address=MaintenanceCheck(f"https://{host}/")),
        )

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:
        return maintenance_steps.check_change(ctx, plan.details, change)

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:
        return maintenance_steps.apply_change(ctx, plan.details, change)
