"""Reset stuck Durable Objects: clear their memory and keep their storage.

Cloudflare has no API call that restarts an object. The application resets one object through its own endpoint, or a new
version of the same code restarts all objects of a Worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare.marks import DeploymentMark
from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion, format_split
from ops.config.probes import ProbeSet
from ops.core.errors import ConfigError, OpsError, Reason, Refused
from ops.core.names import did_you_mean, quote_name
from ops.core.plan import PlanSection
from ops.core.threads import run_parallel_mixed
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, JobNeeds, JobSecret, Runbook, TokenPermissions, param, require_service
from ops.engine.step import StepPlan
from ops.workers import object_reset, reupload
from ops.workers.object_reset import ResetObject, RestartObjects, TrackedObject
from ops.workers.reupload import Reupload

if TYPE_CHECKING:
    from ops.config import Environment, Service


class ResetDurableObject(Runbook["ResetDurableObject.Params"]):
    """Clear the memory of stuck Durable Objects; storage is kept."""

    @dataclass(frozen=True)
    class Params:
        service: str = param("Service in ops.yml whose Durable Objects are reset")
        name: str = param("Object in ops.yml (default: every object of the Worker)", default="")
        inherit_latest: tuple[str, ...] = param(
            "Secrets to inherit from a latest upload that is not live, comma-separated", default=()
        )
        reason: str = param("Reason, shown in the deployment message and the timeline", default="")

    name = "reset-durable-object"
    when = "A Durable Object is stuck: requests to it time out"
    incident_use = IncidentUse(menu_rank=3)
    kinds = ("worker",)
    setting = "`durable_objects`"
    example = Params(service="api")
    writes = (
        ("POST", "/accounts/*/workers/scripts/*/versions"),
        ("POST", "/accounts/*/workers/scripts/*/deployments"),
    )
    permissions = TokenPermissions(cloudflare=("Workers Scripts Write",))
    job = JobNeeds(secrets=(JobSecret.ADMIN_TOKENS,))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:
        return [{}] if environment.services[service].durable_objects else []

    def probes(self, ctx: Context[Params]) -> ProbeSet:
        return _build_probes(ctx, require_service(ctx, *self.kinds))

    def plan(self, ctx: Context[Params]) -> StepPlan:
        service = require_service(ctx, *self.kinds)
        return _plan_one_object(ctx, service) if ctx.params.name else _plan_all_objects(ctx, service)


def _build_probes(
    ctx: Context[ResetDurableObject.Params],
    service: "Service",
    tracked: Sequence[TrackedObject] = (),
    without_proof: Sequence[str] = (),
    upload: Reupload | None = None,
) -> ProbeSet:
    """Return the probes. `without_proof`: objects whose reset cannot be proved, known before the reset."""
    probes = service.probes_with([ctx.params.name] if ctx.params.name else service.durable_objects)
    versions = frozenset([upload.uploaded_version] if upload else [])
    unproved = "; ".join([*without_proof, *(each.storage_problem for each in tracked if each.storage_problem)])
    return ProbeSet(service.url, probes, service.verify, versions, unproved=unproved)


def _plan_one_object(ctx: Context[ResetDurableObject.Params], service: "Service") -> StepPlan:
    tracked_object = _find_object(ctx, service)
    if tracked_object.has_state_endpoint:
        now = object_reset.read_object_state(ctx, tracked_object)
        if isinstance(now, OpsError):
            raise object_reset.refuse_with_alternative(ctx, now)
        tracked_object.before = now
    proof = (
        f"{tracked_object.spec.proof} shows a restart"
        if tracked_object.has_state_endpoint
        else "the application confirms it"
    )
    keeps = (f"its value at {tracked_object.spec.keeps}, which is compared",) if tracked_object.spec.keeps else ()
    closed = isinstance(tracked_object.before, str) and tracked_object.has_state_endpoint
    no_state = f"{tracked_object.name} has no `state` in ops.yml, so its reset cannot be proved"
    without_proof = () if tracked_object.has_state_endpoint else (no_state,)
    return StepPlan(
        summary=(
            f"{tracked_object.name} ({tracked_object.spec.class_}) of Worker {service.worker}: "
            "its application clears its memory"
        ),
        changes=(
            ResetObject(
                target=f"Durable Object {tracked_object.name} of {service.worker}",
                before=tracked_object.memory_text,
                after="empty memory",
                done_when=f"POST {tracked_object.spec.reset} succeeds, and {proof}",
                undo=None,
                tracked=tracked_object,
            ),
        ),
        sections=(
            PlanSection(
                "Unchanged by the reset", (*keeps, *object_reset.KEPT, "all other objects and the live version")
            ),
        ),
        not_undone=object_reset.NOT_UNDONE,
        consequences=(object_reset.CONNECTIONS_CLOSED,),
        warnings=(f"{tracked_object.memory_text}: its memory before the reset is unknown",) if closed else (),
        next_step=object_reset.suggest_full_reset(ctx),
        proved_claim=f"the memory of {tracked_object.name} is empty, and the probes are healthy",
        healthy_before_message=(
            "the object's memory is empty. No probe failed before the reset, so check whether the object works again"
        ),
        done_message=f"Reset {tracked_object.name} of {ctx.params.service}",
        probes=partial(_build_probes, ctx, service, (tracked_object,), without_proof),
    )


def _find_object(ctx: Context[ResetDurableObject.Params], service: "Service") -> TrackedObject:
    name, known = ctx.params.name, service.durable_objects
    if ctx.params.inherit_latest:
        raise ConfigError(
            "`inherit_latest` applies to a whole Worker, but `name` names one object", hint="Omit one of them."
        )
    if name not in known:
        raise Refused(
            f'service {service.name} has no Durable Object "{quote_name(name)}"{did_you_mean(name, known)}',
            reason=Reason.UNKNOWN_NAME,
            hint=f"Use one of: {', '.join(known) or 'none'}. Or reset every object of the Worker.",
            suggested_command=object_reset.suggest_full_reset(ctx),
        )
    if known[name].reset is None:
        raise Refused(
            f"{name} has no `reset` endpoint in ops.yml",
            reason=Reason.NO_ENDPOINT,
            hint="Reset every object of the Worker, or add `reset` to the object in ops.yml.",
            suggested_command=object_reset.suggest_full_reset(ctx),
        )
    return TrackedObject(name, service, known[name])


def _plan_all_objects(ctx: Context[ResetDurableObject.Params], service: "Service") -> StepPlan:
    """Plan a reset of every object. The second round of reads is the comparison before the upload."""
    readable = [TrackedObject(name, service, spec) for name, spec in service.durable_objects.items() if spec.state]
    deployments, uploads, *seen = run_parallel_mixed(
        [
            lambda: ctx.cloudflare.workers.list_deployments(service.worker),
            lambda: ctx.cloudflare.workers.list_uploads(service.worker),
            *(
                (lambda tracked_object=tracked_object: object_reset.read_object_state(ctx, tracked_object))
                for tracked_object in readable
            ),
        ]
    )
    live = object_reset.require_live_deployment(ctx, service, deployments)
    tracked, closed = [], []
    for tracked_object, now in zip(readable, seen, strict=True):
        if isinstance(now, ConfigError):
            closed.append(f"{tracked_object.name}: {now.message}")
        else:  # another version of the application may answer after the deployment
            tracked_object.before = now.message if isinstance(now, OpsError) else now
            tracked.append(tracked_object)
    upload = _plan_reupload(ctx, service, live, uploads[0])
    assert upload.source is not None
    classes = object_reset.find_classes(upload.source, service.worker)
    if not classes.own:
        raise Refused(
            f"{service.worker} has no Durable Object class of its own",
            reason=Reason.NO_TARGET,
            hint="Pass with `--service` the service whose Worker has the class in its code.",
        )
    named = {name: spec.class_ for name, spec in service.durable_objects.items()}
    if owner := object_reset.find_owner_elsewhere(named, classes):
        raise _foreign_objects_refusal(ctx, service, owner)
    upload.mark = replace(upload.mark, reset=tuple(classes.own))
    return _build_plan(ctx, service, upload, classes, tuple(tracked), without_proof=closed)


def _foreign_objects_refusal(ctx: Context[ResetDurableObject.Params], service: "Service", owner: str) -> Refused:
    """Return the refusal of a reset that would restart every object but those that ops.yml names."""
    other = next((each.name for each in ctx.environment.services.values() if each.worker == owner), None)
    return Refused(
        f"the Worker {owner} owns {', '.join(service.durable_objects)} of {service.name}, so a new version of "
        f"{service.worker} restarts only other objects",
        reason=Reason.NO_TARGET,
        hint=f"Reset the objects of {owner}." if other else f"Add {owner} to ops.yml as a service, and reset that one.",
        suggested_command=ctx.suggest("reset-durable-object", service=other) if other else None,
    )


def _plan_reupload(
    ctx: Context[ResetDurableObject.Params], service: "Service", live: WorkerDeployment, latest: WorkerVersion
) -> Reupload:
    return reupload.plan_reupload(
        ctx,
        service.worker,
        live.split[0][0],
        DeploymentMark(ctx.request.incident, ctx.run_id, None, ctx.params.reason),
        live=live,
        latest=latest,
        edits=(),
        accepted=ctx.params.inherit_latest,
        accept=lambda names: ctx.suggest("reset-durable-object", service=ctx.params.service, inherit_latest=names),
        static_assets=service.static_assets,
        fallback_hint=object_reset.FALLBACK_HINT,
    )


def _build_plan(
    ctx: Context[ResetDurableObject.Params],
    service: "Service",
    upload: Reupload,
    classes: object_reset.WorkerClasses,
    tracked: tuple[TrackedObject, ...],
    *,
    without_proof: Sequence[str],
) -> StepPlan:
    named = {name: spec.class_ for name, spec in service.durable_objects.items()}
    compared = [PlanSection("Objects compared before and after", tuple(f"{w.name}: {w.memory_text}" for w in tracked))]
    unknown = [f"{each.name}: {each.before}" for each in tracked if isinstance(each.before, str)]
    undo = ctx.suggest("rollback-worker", service=ctx.params.service, to=format_split(upload.live.split))
    seen = ", ".join(each.name for each in tracked)
    restarted = f"{seen} restarted" if seen else f"a new version of {service.worker} is live, so its objects restart"
    uploading, deploying = reupload.build_reupload_steps(upload, undo=undo, words=object_reset.RESETS_AGAIN)
    return StepPlan(
        summary=f"Worker {service.worker}: every Durable Object restarts ({', '.join(classes.own)}); {upload.name}",
        changes=(uploading, RestartObjects.of(deploying, tracked)),
        sections=(
            *object_reset.object_reset_sections(classes),
            *(compared if tracked else ()),
            reupload.reupload_section(upload),
        ),
        not_undone=object_reset.NOT_UNDONE,
        consequences=(object_reset.CONNECTIONS_CLOSED, object_reset.NOTHING_TO_UNDO),
        warnings=(
            *object_reset.list_unexpected_classes(named, classes),
            *(f"the state before the reset is unknown; {each}" for each in unknown),
            *(f"the reset of this object cannot be proved; {each}" for each in without_proof),
        ),
        next_step=ctx.suggest("rollback-worker", service=ctx.params.service),
        proved_claim=f"{restarted}, and the probes are healthy",
        healthy_before_message=(
            f"{restarted}. No probe failed before the reset, so check whether the stuck object works again"
        ),
        done_message=f"Reset the Durable Objects of {ctx.params.service}",
        probes=partial(_build_probes, ctx, service, tracked, without_proof, upload),
    )
