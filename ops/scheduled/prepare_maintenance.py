"""`ops maintenance prepare`: deploy the Worker that answers during maintenance.

It is planned and checked like any runbook. It has no button, because no incident needs it.
"""

from dataclasses import dataclass, replace

from ops.config.probes import ProbeSet
from ops.core.errors import Reason, Refused
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.plan import PlanSection
from ops.core.threads import run_parallel_mixed
from ops.core.verdict import MaintenanceCheck
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, Runbook, TokenPermissions, param
from ops.engine.step import StepPlan
from ops.maintenance import plan_text, steps
from ops.maintenance.plan_text import CLOSED_SECTION
from ops.maintenance.steps import StoredState
from ops.maintenance.writes import (
    SUBDOMAIN_OFF,
    SUBDOMAIN_ON,
    CreateWorker,
    DeployState,
    MaintenanceWrite,
    SetSubdomain,
    UploadState,
    count_calls,
)


class PrepareMaintenance(Runbook["PrepareMaintenance.Params"]):
    """Deploy ops-maintenance, which answers 503 during maintenance."""

    @dataclass(frozen=True)
    class Params:
        reason: str = param("Reason, shown in the deployment message and the timeline", default="")

    name = "maintenance prepare"
    section = "Set-up"
    when = "No incident: run it once, on a quiet day"
    kinds = ("worker",)
    label_use = None
    incident_use = IncidentUse(is_routine=True)
    example = Params()
    writes = (
        ("PUT", "/accounts/*/workers/scripts/*"),
        ("POST", "/accounts/*/workers/scripts/*/subdomain"),
        ("POST", "/accounts/*/workers/scripts/*/versions"),
        ("POST", "/accounts/*/workers/scripts/*/deployments"),
    )
    permissions = TokenPermissions(cloudflare=("Workers Scripts Write",))

    def probes(self, ctx: Context[Params]) -> ProbeSet:
        """Probe nothing: its address on workers.dev is known once there is a plan."""
        service = next(iter(ctx.environment.services.values()))
        return ProbeSet(service.url, (), service.verify)

    def plan(self, ctx: Context[Params]) -> StepPlan:
        worker, host = run_parallel_mixed(
            [
                lambda: steps.read_maintenance_worker(ctx.cloudflare.workers),
                lambda: ctx.cloudflare.workers.read_workers_dev_host(WORKER),
            ]
        )
        if not host:
            raise Refused(
                f"the account has no workers.dev subdomain, which is needed to probe {WORKER}",
                reason=Reason.NO_WAY_IN,
                hint="Choose one on the Workers & Pages page of the dashboard. This enables no other Worker.",
            )
        writes: list[MaintenanceWrite] = []
        if worker is None:
            writes += [CreateWorker(), SetSubdomain(WORKER, SUBDOMAIN_OFF, SUBDOMAIN_ON)]
        else:
            if worker.version.tag != ctx.cloudflare.maintenance.source_tag:
                kept = worker.state
                writes += [
                    UploadState(kept.windows, worker.deployment, kept.reopened),
                    DeployState(worker.deployment, kept.windows),
                ]
            if (live := ctx.cloudflare.workers.read_subdomain(WORKER)) != SUBDOMAIN_ON:
                writes.append(SetSubdomain(WORKER, live, SUBDOMAIN_ON))
        is_stored = worker is None or any(isinstance(write, UploadState) for write in writes)
        stored = StoredState(run=ctx.run_id if is_stored or worker is None else worker.state.run)
        changes = steps.build_maintenance_steps(writes, stored)
        off = () if worker is None else tuple(window.scope for window in worker.state.windows)
        return StepPlan(
            summary=f"{'deploy' if changes else 'already prepared:'} {WORKER}",
            changes=changes,
            sections=(
                *([PlanSection(CLOSED_SECTION, off)] if off else []),
                plan_text.describe_calls(ctx, count_calls(writes)),
            ),
            consequences=(
                "no route leads to it until `ops maintenance` repoints one",
                f"to undo it, delete the Worker {WORKER} in the dashboard after no route leads to it",
            ),
            reason=None if changes else Reason.ALREADY_PREPARED,
            done_message=f"Prepared {WORKER}",
            proved_claim=f"{WORKER} is ready: it answers 503 at https://{host}",
            proves_health=False,
            probes=lambda: replace(self.probes(ctx), addresses=(MaintenanceCheck(f"https://{host}/", run=stored.run),)),
        )
