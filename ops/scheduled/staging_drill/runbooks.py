"""The two changes of a staging drill, as runs: deploy the bad version, and undo it.

Both are planned, compared and read back like every run. No button, label or schedule starts them alone.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ops.cloudflare.marks import DRILL_BREAK, DRILL_UNDO, DeploymentMark
from ops.cloudflare.types.workers import WorkerDeployment, describe_split, short_id
from ops.config.probes import ProbeSet
from ops.core.clock import format_seconds
from ops.core.errors import Decision, Reason, Refused
from ops.core.next_step import SuggestedCommand
from ops.core.plan import RunOutcome
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, Runbook, TokenPermissions, require_service
from ops.engine.step import StepPlan
from ops.scheduled.staging_drill.bad_version import DrillFault, find_conflict, find_trace, make_bad_code
from ops.workers import reupload
from ops.workers.reupload import Reupload
from ops.workers.steps import DeploySplit, no_deployments_error

if TYPE_CHECKING:
    from ops.config import Service

UNDO = SuggestedCommand("ops staging-drill resume --now")
TAG = "staging-drill"
NOT_UPLOADABLE = "A drill needs a Worker whose version can be uploaded again. Choose another service."


@dataclass
class BadUpload(Reupload):
    """The upload of the bad version."""

    @property
    def name(self) -> str:
        return f"a harmless bad version of {short_id(self.code.version)}"


class _DrillRunbook(Runbook[Any]):
    """Base of the two. They publish nothing: the drill writes on its incident."""

    when = "No incident: a staging drill starts it"
    section = ""
    kinds = ("worker",)
    label_use = None
    incident_use = IncidentUse(is_routine=True)
    writes = (
        ("POST", "/accounts/*/workers/scripts/*/deployments"),
        ("POST", "/accounts/*/workers/scripts/*/versions"),
    )
    permissions = TokenPermissions(cloudflare=("Workers Scripts Write",))


class BreakStaging(_DrillRunbook):
    """Deploy a harmless bad version of the drill's Worker."""

    @dataclass(frozen=True)
    class Params:
        service: str
        fault: str
        """Value of a DrillFault."""
        until: str
        """Time (RFC 3339) at which the health path of the bad version works again by itself."""

    name = "staging-drill break"
    example = None

    def probes(self, ctx: Context[Any]) -> ProbeSet:
        """Probe nothing: the drill looks whether the bad version is bad."""
        service = require_service(ctx, *self.kinds)
        return ProbeSet(service.url, (), service.verify)

    def plan(self, ctx: Context[Any]) -> StepPlan:
        service, workers = require_service(ctx, *self.kinds), ctx.cloudflare.workers
        deployments, uploads = workers.list_deployments(service.worker), workers.list_uploads(service.worker)
        if not deployments:
            raise no_deployments_error(service.worker)
        live = deployments[0]
        check_live(service, live, age=(ctx.clock.now() - live.created_on).total_seconds())
        known = workers.read_version(service.worker, live.split[0][0])
        mark = DeploymentMark(incident=None, run=ctx.run_id, blames=None, text=DRILL_BREAK)
        planned = reupload.plan_reupload(
            ctx,
            service.worker,
            live.split[0][0],
            mark,
            live=live,
            latest=uploads[0],
            edits=(),
            accepted=known.secret_names if known else (),  # it is bad anyway, and nobody keeps it
            accept=lambda _: UNDO,
            static_assets=service.static_assets,
            fallback_hint=NOT_UPLOADABLE,
        )
        fault = DrillFault(ctx.params.fault)
        if conflict := find_conflict(planned.code, fault):
            text = f"cannot make a bad version of {service.worker}: {conflict}"
            raise Refused(
                text, reason=Reason.NOT_REBUILDABLE, hint="Rename it in the application, or choose another service."
            )
        upload = _make_upload(planned, fault, ctx.params.until)
        claim = f"{upload.name} is live in {ctx.environment.name}"
        return StepPlan(
            summary=f"Worker {service.worker}: {describe_split(live.split)} → {upload.name}",
            changes=reupload.build_reupload_steps(upload, undo=UNDO),
            done_message=f"Deployed {upload.name}",
            proved_claim=claim,
            decide=lambda: RunOutcome(Decision.HEALTHY_AS_BEFORE, Reason.VERIFIED, claim),
        )


def _make_upload(planned: Reupload, fault: DrillFault, until: str) -> BadUpload:
    """Return the upload of the bad version. Its tag is no commit: a rollback never chooses code of the same commit."""
    bad = BadUpload(**vars(planned))
    bad.code = make_bad_code(planned.code, fault, until)
    bad.source = replace(planned.source, tag=TAG) if planned.source else None
    return bad


def check_live(service: "Service", live: WorkerDeployment, *, age: float) -> None:
    """Refuse a live deployment that no rollback could return to. `age`: seconds since it is live."""
    if len(live.split) > 1:
        raise Refused(
            f"{service.worker} is split between {describe_split(live.split)}",
            reason=Reason.WORLD_MOVED,
            hint="Wait until one version has all of the traffic, then start the drill again.",
        )
    if age < service.min_served:
        raise Refused(
            f"{describe_split(live.split)} has served {service.worker} for only {format_seconds(age)}, "
            f"less than {format_seconds(service.min_served)} (`min_served`), so no rollback would choose it",
            reason=Reason.NO_TARGET,
            hint="Wait that long, then start the drill again.",
        )


class UndoDrill(_DrillRunbook):
    """Put back what was live before a staging drill."""

    @dataclass(frozen=True)
    class Params:
        service: str
        run: str
        """Run that deployed the bad version."""

    name = "staging-drill undo"
    example = None

    def plan(self, ctx: Context[Any]) -> StepPlan:
        service = require_service(ctx, *self.kinds)
        deployments = ctx.cloudflare.workers.list_deployments(service.worker)
        trace = find_trace(deployments, ctx.params.run)
        if trace is None or not trace.needs_undo:
            live = describe_split(deployments[0].split) if deployments else "no version"
            return StepPlan(
                summary=f"Worker {service.worker}: nothing to undo, {live} is live", reason=Reason.ALREADY_LIVE
            )
        step = DeploySplit(
            target=f"Worker {service.worker}",
            before=describe_split(trace.live.split),
            after=describe_split(trace.target),
            done_when=f"Cloudflare lists our deployment of {describe_split(trace.target)} first",
            undo=None,
            worker=service.worker,
            live=trace.live,
            find_split=lambda: trace.target,
            mark=DeploymentMark(incident=None, run=ctx.run_id, blames=None, text=DRILL_UNDO),
        )
        serving = frozenset(version for version, percent in trace.target if percent > 0)
        return StepPlan(
            summary=f"Worker {service.worker}: {step.before} → {step.after}, as before the drill",
            changes=(step,),
            done_message=f"Undid the drill: {step.after} is live again",
            proved_claim=f"{step.after} is live as before; the probes are healthy",
            probes=lambda: ProbeSet(service.url, service.probes, service.verify, serving),
        )
