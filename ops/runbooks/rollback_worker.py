"""Roll a Worker back to an earlier version; `workers/rollback_target.py` chooses it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from ops.cloudflare.deployment_mark import AUTOMATIC_STEP, DeploymentMark
from ops.cloudflare.types.rehearsals import traffic_of
from ops.cloudflare.types.workers import (
    Split,
    WorkerDeployment,
    WorkerVersion,
    describe_split,
    format_split,
    is_same_split,
    short_id,
)
from ops.config.probes import ProbeSet
from ops.core.errors import Reason, Refused, SecretsChanged
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan
from ops.core.timeline import EventKind
from ops.engine.context import Context
from ops.engine.runbook import Runbook, TokenPermissions, param, require_service
from ops.engine.step import ObservedState, Rehearsal
from ops.workers import deploy, plan_text, rehearsal, reupload, rollback_target, schema_age, secret_values
from ops.workers.history import WorkerHistory
from ops.workers.history_reads import read_history, read_listing
from ops.workers.reupload import Reupload
from ops.workers.rollback_target import TargetChoice
from ops.workers.schema_age import AppliedMigrations, SchemaAge

if TYPE_CHECKING:
    from ops.config import Service


class RollbackWorker(Runbook["RollbackWorker.Params", "RollbackWorker.Details"]):
    """Roll a Worker back to an earlier version."""

    @dataclass(frozen=True)
    class Params:
        service: str = param("Service in ops.yml to roll back")
        to: str = param("Version ID, or a split such as A@90,B@10 (default: last known good version)", default="")
        reason: str = param("Reason, shown in the deployment message and the timeline", default="")
        accept_changed_secrets: tuple[str, ...] = param(
            "Secrets that may return to their previous values, comma-separated", default=()
        )
        current_secrets: bool = param("Upload the target's code again with the current secrets", default=False)
        inherit_latest: tuple[str, ...] = param(
            "Secrets to inherit from a latest upload that is not live, comma-separated", default=()
        )
        accept_breaking_migrations: tuple[str, ...] = param(
            "Breaking migrations that the target's code works with, comma-separated", default=()
        )
        relapsed: str = param(
            "Deployment ID of a rollback that failed again: choose the next older version",
            default="",
            laptop_only=True,
        )
        no_rehearsal: bool = param("Skip the rehearsal that ops.yml asks for", default=False)

    @dataclass(frozen=True)
    class Details:
        """Values of the plan that `check` and `apply` use."""

        worker: str
        live: WorkerDeployment
        split: Split
        mark: DeploymentMark
        revoked: Mapping[str, WorkerDeployment] = field(default_factory=dict)
        """Secret → the deployment since which its value in `split` is revoked."""
        stale_in_latest: frozenset[str] = frozenset()
        """Secrets for which the latest upload is not known to have the new value, so nobody suggests to keep it."""
        has_unmarked_rotation: bool = False
        """Whether the incident rotated secrets, and the history does not tell which: then no old value is offered."""
        reupload_state: Reupload | None = None
        rehearsal_obstacle: str | None = None
        """Why the target is not rehearsed; empty if it is, None if nobody asks for it."""
        is_repair: bool = False
        """Whether the plan deploys again what a rehearsal replaced by accident."""

    name = "rollback-worker"
    when = "A new version of a Worker causes errors, is slow, or breaks the API"
    menu_rank = 1
    kind = "worker"
    params = Params
    example = Params(service="api")
    writes = (
        ("POST", "/accounts/*/workers/scripts/*/deployments"),
        ("POST", "/accounts/*/workers/scripts/*/versions"),  # with current_secrets
    )
    permissions = TokenPermissions(cloudflare=("Workers Scripts Write",))

    def probes(self, ctx: Context[Params], plan: Plan[Details] | None) -> ProbeSet:
        service = require_service(ctx, self.kind)
        serving: frozenset[str] = frozenset()
        if plan is not None and isinstance(plan.details, RollbackWorker.Details):
            details = plan.details
            split = (
                details.split if details.reupload_state is None else ((details.reupload_state.uploaded_version, 100.0),)
            )
            serving = frozenset(version for version, percent in split if percent > 0)
        return ProbeSet(service.url, service.probes, service.verify, serving)

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        service = require_service(ctx, self.kind)
        rebuilt = ctx.params.current_secrets
        further = [lambda: ctx.cloudflare.workers.list_uploads(service.worker)] if rebuilt else []
        schemas = schema_age.start_reading(ctx.cloudflare, ctx.environment.databases_of(service.name))
        listing, uploads = read_listing(ctx, service, *further)
        to = rollback_target.parse_target(ctx.params.to, listing.versions) if ctx.params.to else None
        plan_text.check_options(to, ctx.params)
        history = read_history(ctx, service, listing, requested=to or (), only_older=bool(ctx.params.relapsed))
        try:
            return self._plan(ctx, service, history, to, schemas, latest=uploads[0][0] if rebuilt else None)
        except Refused:
            for text in _leftovers(ctx, history):
                ctx.timeline.record(EventKind.WARNING, text)
            raise

    def _plan(
        self,
        ctx: Context[Params],
        service: "Service",
        history: WorkerHistory,
        to: Split | None,
        schemas: Callable[[], tuple[AppliedMigrations, ...]],
        *,
        latest: WorkerVersion | None,
    ) -> Plan[Details]:
        if to is None and history.live.displaced is not None:
            return _plan_repair(ctx, service, history, history.live.displaced)
        incident, relapsed = ctx.request.incident, ctx.params.relapsed
        choice = rollback_target.choose_target(history, incident=incident, only_older=bool(relapsed))
        active = choice.active_rollback
        if relapsed:
            active = rollback_target.find_next_rollback(history, relapsed, incident=incident)
        if to is None and active is not None:
            summary = f"already rolled back: {plan_text.describe_rollback(active)}"
            reason = Reason.ALREADY_STEPPED_BACK
            return _plan_nothing(ctx, service, history, choice, schemas, summary=summary, reason=reason)
        is_live = to and is_same_split(to, history.live.split) and not history.live.rehearsed
        if to and (reupload.is_already_live(history, to, latest) if latest else is_live):
            summary = f"{describe_split(to)} is already live{' with the current secrets' if latest else ''}"
            return _plan_nothing(ctx, service, history, choice, schemas, summary=summary, reason=Reason.ALREADY_LIVE)
        plan_text.check_not_superseded(history.live, ctx.request.requested_at)
        if to is None and not choice.candidates:
            ways = rollback_target.list_fallbacks(history, choice)
            raise plan_text.no_target_refusal(
                history,
                choice,
                ways,
                press=_suggest_rollback(ctx, _next_version_to_try(history, choice)),
                listing=ctx.versions_command(service.name),
            )
        split = to or ((choice.candidates[0], 100.0),)
        plan_text.check_no_migration(history, choice.suspect, split)
        ages = _schema_ages(history, split, schemas())
        schema_age.check_breaking(
            ages,
            ctx.params.accept_breaking_migrations,
            lambda names: _suggest_again(ctx, split, accept_breaking_migrations=names),
        )
        if not ctx.params.current_secrets:
            _check_rotated_secrets(ctx, history, choice, split)
        plan = _build_plan(ctx, service, history, choice, split, ages=ages, by_rule=to is None)
        return _with_current_secrets(ctx, service, history, plan, latest) if latest else plan

    def after_relapse(self, params: Params, deployment: str) -> Params | None:
        """Return the parameters without what a person accepted for one version; None after `to`."""
        kept = RollbackWorker.Params(params.service, current_secrets=params.current_secrets)
        return None if params.to else replace(kept, relapsed=deployment, reason=AUTOMATIC_STEP)

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:
        details = plan.details
        if details.reupload_state is not None:
            return reupload.check_change(ctx, details.reupload_state, change)
        # The deployment of a repair belongs to the rehearsal.
        deployments = ctx.cloudflare.workers.list_deployments(details.worker, rehearsals=details.is_repair)
        return deploy.observe_deployment(deployments, details.live, details.split, details.mark, worker=details.worker)

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:
        details = plan.details
        if details.reupload_state is not None:
            return reupload.apply_change(ctx, details.reupload_state, change, {})
        return _deploy(ctx, plan, details.split, details.mark)

    def plan_rehearsal(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> Rehearsal | str | None:
        details, uploaded = plan.details, plan.details.reupload_state
        if uploaded and reupload.is_upload_change(uploaded, change):
            return None
        if details.rehearsal_obstacle != "":
            return details.rehearsal_obstacle
        new = rehearsal.find_new_version(details.live.split, details.split)
        version, service = uploaded.uploaded_version if uploaded else new, require_service(ctx, self.kind)
        planned = rehearsal.WorkerRehearsal(service, ctx.cloudflare.workers, details.live, version, details.mark)
        start = partial(reupload.deploy_upload, ctx, uploaded) if uploaded else partial(_deploy, ctx, plan)
        return planned.plan(start, partial(_failed_rehearsal_refusal, ctx, plan, version))


def _deploy(
    ctx: Context[RollbackWorker.Params], plan: Plan[RollbackWorker.Details], split: Split, mark: DeploymentMark
) -> str:
    """Deploy with one write, and once more with force if a person accepted the changed secrets. Raises Refused."""
    worker, accepted = plan.details.worker, set(ctx.params.accept_changed_secrets)
    try:
        deployment = ctx.cloudflare.workers.deploy(worker, split, mark=mark)
    except SecretsChanged as changed:
        if not changed.names or not set(changed.names) <= accepted or _revoked_secrets(plan, changed.names):
            raise _changed_secrets_refusal(ctx, changed.names, accepted, plan) from None
        deployment = ctx.cloudflare.workers.deploy(worker, split, mark=mark, force=True)
        return f"deployment {deployment}; accepted the previous values of {', '.join(changed.names)}"
    return f"deployment {deployment}"


SchemaAges = Mapping[str, Sequence[SchemaAge]]
"""First digits of a version → how far each database is ahead of its code."""


def _schema_ages(history: WorkerHistory, split: Split, databases: Sequence[AppliedMigrations]) -> SchemaAges:
    return {
        short_id(version): schema_age.list_schema_ages(history, version, databases)
        for version, percent in split
        if percent > 0
    }


def _build_details(
    ctx: Context[RollbackWorker.Params], service: "Service", history: WorkerHistory, split: Split, *, blames: str | None
) -> RollbackWorker.Details:
    mark = DeploymentMark(incident=ctx.request.incident, run=ctx.run_id, blames=blames, text=ctx.params.reason)
    revoked = {n: by for version, _ in split for n, by in secret_values.find_revoked_values(history, version).items()}
    stale = frozenset(secret_values.find_doubtful_values(history, history.latest_upload))
    unmarked = secret_values.has_unmarked_rotation(history)
    return RollbackWorker.Details(service.worker, history.live, split, mark, revoked, stale, unmarked)


def _check_latest_secrets(
    ctx: Context[RollbackWorker.Params], history: WorkerHistory, latest: str, inherited: tuple[str, ...]
) -> None:
    """Refuse to inherit a value that may have leaked, unless a person accepted each secret by name."""
    found = {n: v for n, v in secret_values.find_doubtful_values(history, latest).items() if n in inherited}
    if left := {name: value for name, value in found.items() if name not in ctx.params.inherit_latest}:
        raise plan_text.latest_secrets_refusal(
            latest, left, rotate=ctx.suggest("rotate-secrets", service=ctx.params.service, only=tuple(left))
        )


def _check_rotated_secrets(
    ctx: Context[RollbackWorker.Params], history: WorkerHistory, choice: TargetChoice, split: Split
) -> None:
    """Refuse a target that may bring a leaked value back, unless a person accepted each secret by name."""
    found = secret_values.find_doubtful_in_split(history, split, accepted=ctx.params.accept_changed_secrets)
    if not found:
        return
    names = tuple(dict.fromkeys(name for values in found.values() for name in values))
    stale = secret_values.find_doubtful_values(history, history.latest_upload)
    others = secret_values.without_old_values(history, choice.candidates)
    raise plan_text.rotated_secrets_refusal(
        found,
        keep=_suggest_current_secrets(ctx, split[0][0]) if len(split) == 1 and not stale else None,
        others=tuple(others),
        other=_suggest_rollback(ctx, others[0]) if others else None,
        rotate=ctx.suggest("rotate-secrets", service=ctx.params.service, only=names),
    )


def _build_plan(
    ctx: Context[RollbackWorker.Params],
    service: "Service",
    history: WorkerHistory,
    choice: TargetChoice,
    split: Split,
    *,
    ages: SchemaAges,
    by_rule: bool,
) -> Plan[RollbackWorker.Details]:
    blames = rollback_target.version_to_blame(history, choice.suspect, split, by_rule=by_rule)
    live, rebuilt = history.live.split, ctx.params.current_secrets
    details = _build_details(ctx, service, history, split, blames=blames)
    warnings = (
        *schema_age.list_warnings(ages),
        *plan_text.list_warnings(
            history, choice, split, began=ctx.request.incident_began, by_rule=by_rule, rebuilt=rebuilt
        ),
        *(() if rebuilt else plan_text.list_secret_warnings(history, split, details.revoked)),
    )
    details = replace(details, rehearsal_obstacle=_rehearsal_obstacle(ctx, service, history, split))
    change = Change(
        target=f"Worker {service.worker}",
        before=describe_split(live),
        after=describe_split(split),
        done_when=f"Cloudflare lists our deployment of {describe_split(split)} first",
        undo=_suggest_undo(ctx, history, live),
    )
    others = [version for version in choice.candidates if version not in dict(split)]
    others = others if rebuilt else secret_values.without_old_values(history, others)
    following = [version for version in others if by_rule or history.served_before(version, split[0][0])]
    return Plan(
        summary=f"Worker {service.worker}: {describe_split(live)} → {describe_split(split)}",
        changes=(change,),
        sections=(
            *plan_text.build_sections(history, choice, split, repository=service.repository, by_rule=by_rule),
            *schema_age.build_sections(ages, ctx.suggest),
            *rehearsal.build_sections(service, live, split, details.rehearsal_obstacle),
        ),
        not_undone=plan_text.NOT_UNDONE,
        consequences=plan_text.list_consequences(history, split, rebuilt=rebuilt),
        warnings=warnings,
        next_step=_suggest_next_step(ctx, following[0]) if following else None,
        remaining_message="" if rebuilt else plan_text.describe_accepted_values(history, split),
        done_message=f"Rolled back {ctx.params.service} to {describe_split(split)}",
        details=details,
    )


def _suggest_undo(ctx: Context[RollbackWorker.Params], history: WorkerHistory, live: Split) -> SuggestedCommand | None:
    """Return the rollback to what is live; None if that may have a leaked value."""
    serving = [version for version, percent in live if percent > 0]
    is_way = secret_values.without_old_values(history, serving) == serving
    return _suggest_rollback(ctx, format_split(live)) if is_way else None


def _plan_repair(
    ctx: Context[RollbackWorker.Params], service: "Service", history: WorkerHistory, displaced: WorkerDeployment
) -> Plan[RollbackWorker.Details]:
    """Return the plan that deploys again what a rehearsal replaced by accident, before its run could repair it.

    Its mark is that of a rehearsal, so both deployments count for nothing afterwards.
    """
    choice = rollback_target.choose_target(history, incident=ctx.request.incident)
    before, split, rehearsed = history.live.split, displaced.split, history.live.mark
    _check_rotated_secrets(ctx, history, choice, split)
    details = _build_details(ctx, service, history, split, blames=None)
    mark = replace(details.mark, rehearsed=rehearsed.rehearsed if rehearsed else "")
    change = Change(
        target=f"Worker {service.worker}",
        before=describe_split(before),
        after=describe_split(split),
        done_when=f"Cloudflare lists our deployment of {describe_split(split)} first",
        undo=_suggest_undo(ctx, history, traffic_of(history.live)),
    )
    others = [version for version in choice.candidates if version not in {*dict(before), *dict(split)}]
    others = secret_values.without_old_values(history, others)
    return Plan(
        summary=f"Worker {service.worker}: {change.before} → {change.after}, which a rehearsal replaced by accident",
        changes=(change,),
        sections=plan_text.build_sections(history, choice, split, repository=service.repository, by_rule=False),
        not_undone=plan_text.NOT_UNDONE,
        consequences=plan_text.list_consequences(history, split, rebuilt=False),
        warnings=(
            *plan_text.list_leftovers(history.live, end=""),
            *plan_text.list_secret_warnings(history, split, details.revoked),
        ),
        next_step=_suggest_rollback(ctx, others[0]) if others else None,
        remaining_message=plan_text.describe_accepted_values(history, split),
        done_message=f"Deployed {describe_split(split)} to {ctx.params.service} again",
        details=replace(details, mark=mark, is_repair=True),
    )


def _with_current_secrets(
    ctx: Context[RollbackWorker.Params],
    service: "Service",
    history: WorkerHistory,
    plan: Plan[RollbackWorker.Details],
    latest: WorkerVersion,
) -> Plan[RollbackWorker.Details]:
    """Return the plan with an upload of the same code instead of a plain deployment.

    The reads of the upload come last, so they are the comparison before the write.
    """
    details = plan.details
    version = details.split[0][0]
    reupload_state = reupload.plan_reupload(
        ctx,
        service.worker,
        version,
        details.mark,
        live=details.live,
        latest=latest,
        edits=(),
        accepted=ctx.params.inherit_latest,
        accept=lambda names: _suggest_current_secrets(ctx, version, inherit_latest=names),
        static_assets=service.static_assets,
        check_source=partial(_check_latest_secrets, ctx, history),
    )
    return replace(
        plan,
        summary=f"Worker {service.worker}: {describe_split(details.live.split)} → {reupload_state.name}",
        changes=reupload.build_changes(reupload_state, undo=plan.changes[0].undo),
        sections=(*plan.sections, reupload.build_section(reupload_state)),
        done_message=f"Rolled back {ctx.params.service} to {reupload_state.name}",
        details=replace(details, reupload_state=reupload_state),
    )


def _plan_nothing(
    ctx: Context[RollbackWorker.Params],
    service: "Service",
    history: WorkerHistory,
    choice: TargetChoice,
    schemas: Callable[[], tuple[AppliedMigrations, ...]],
    *,
    summary: str,
    reason: Reason,
) -> Plan[RollbackWorker.Details]:
    """Return a plan without changes: the run probes what is live and suggests a next step."""
    ages = _schema_ages(history, history.live.split, schemas())
    return Plan(
        summary=summary,
        sections=(
            *plan_text.build_sections(history, choice, history.live.split, repository=service.repository, by_rule=True),
            *schema_age.build_sections(ages, ctx.suggest),
        ),
        warnings=_leftovers(ctx, history),
        reason=reason,
        next_step=_suggest_next_step(ctx, _next_version_to_try(history, choice)),
        details=_build_details(ctx, service, history, history.live.split, blames=None),
    )


def _leftovers(ctx: Context[RollbackWorker.Params], history: WorkerHistory) -> tuple[str, ...]:
    """Return the warning about an unfinished rehearsal that this run does not remove."""
    command = _suggest_rollback(ctx, format_split(history.live.split)).command
    return plan_text.list_leftovers(history.live, end=f"To remove it: `{command}`")


def _rehearsal_obstacle(
    ctx: Context[RollbackWorker.Params], service: "Service", history: WorkerHistory, split: Split
) -> str | None:
    given = ctx.params
    if not service.rehearse or not rehearsal.find_new_version(history.live.split, split):
        return None
    if given.no_rehearsal:
        return "--no-rehearsal was passed"
    is_checked = not given.current_secrets and not given.accept_changed_secrets
    return rehearsal.find_obstacle(service, history, split, is_checked=is_checked)


def _failed_rehearsal_refusal(
    ctx: Context[RollbackWorker.Params], plan: Plan[RollbackWorker.Details], version: str, result: str
) -> Refused:
    again = _suggest_again(ctx, plan.details.split, no_rehearsal=True)
    return plan_text.failed_rehearsal_refusal(
        version, result, press=plan.next_step or again, listing=ctx.versions_command(ctx.params.service)
    )


def _next_version_to_try(history: WorkerHistory, choice: TargetChoice) -> str:
    """Return the version to try next; the placeholder VERSION if none is left."""
    fitting = secret_values.without_old_values(history, choice.candidates)
    found = [*fitting, *(way.version for way in rollback_target.list_fallbacks(history, choice))]
    repair = history.live.restored
    return next((version for version in found if repair is None or version not in dict(repair.replaced)), "VERSION")


def _revoked_secrets(plan: Plan[RollbackWorker.Details], names: tuple[str, ...]) -> dict[str, WorkerDeployment]:
    return plan_text.revoked_among(names, plan.details.revoked)


def _changed_secrets_refusal(
    ctx: Context[RollbackWorker.Params], names: tuple[str, ...], accepted: set[str], plan: Plan[RollbackWorker.Details]
) -> Refused:
    split = plan.details.split
    is_kept = len(split) == 1 and not plan.details.stale_in_latest
    keep = _suggest_current_secrets(ctx, split[0][0]) if is_kept else None
    if found := _revoked_secrets(plan, names):
        return plan_text.secrets_revoked_refusal(found, keep=keep)
    why = next((w for w in plan.warnings if w.startswith(plan_text.ONLY_SECRETS_DIFFER)), "")
    may_accept = not plan.details.has_unmarked_rotation
    accept = _suggest_rollback(ctx, format_split(split), accept_changed_secrets=names) if may_accept else None
    return plan_text.secrets_changed_refusal(split, names, accepted, why=why, accept=accept, keep=keep)


def _suggest_rollback(ctx: Context[RollbackWorker.Params], to: str, **more: bool | tuple[str, ...]) -> SuggestedCommand:
    return ctx.suggest("rollback-worker", service=ctx.params.service, to=to, **more)


def _suggest_again(
    ctx: Context[RollbackWorker.Params], split: Split, **changed: bool | tuple[str, ...]
) -> SuggestedCommand:
    """Return the same request for this split, with other options."""
    given = {
        name: getattr(ctx.params, name)
        for name in ("accept_changed_secrets", "current_secrets", "inherit_latest", "accept_breaking_migrations")
    }
    return _suggest_rollback(ctx, format_split(split), **{**given, **changed})


def _suggest_current_secrets(
    ctx: Context[RollbackWorker.Params], version: str, **more: tuple[str, ...]
) -> SuggestedCommand:
    """Return the command that deploys a version's code with the current secrets."""
    return _suggest_rollback(ctx, version, current_secrets=True, **more)


def _suggest_next_step(ctx: Context[RollbackWorker.Params], version: str) -> SuggestedCommand:
    return _suggest_current_secrets(ctx, version) if ctx.params.current_secrets else _suggest_rollback(ctx, version)
