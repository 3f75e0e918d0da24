"""Roll a Worker back to an earlier version; `workers/rollback_target.py` chooses it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from ops.cloudflare.marks import AUTOMATIC_STEP, DeploymentMark
from ops.cloudflare.types.workers import (
    Split,
    WorkerDeployment,
    WorkerVersion,
    describe_split,
    format_split,
    is_same_split,
    traffic_of,
)
from ops.config.probes import ProbeSet
from ops.core.errors import Reason, Refused
from ops.core.next_step import SuggestedCommand
from ops.core.timeline import EventKind
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, JobNeeds, Rollback, TokenPermissions, param, require_service
from ops.engine.step import Rehearsal, StepPlan
from ops.workers import plan_text, refusals, reupload, rollback_target, schema_age, secret_values, steps
from ops.workers.history import PastRollback, WorkerHistory
from ops.workers.history_reads import WorkerSituation, find_records, read_history, read_listing
from ops.workers.rollback_target import TargetChoice, parse_wanted_split
from ops.workers.schema_age import AppliedMigrations
from ops.workers.steps import DeploySplit

if TYPE_CHECKING:
    from ops.config import Service


def _choose_next_step(params: "RollbackWorker.Params", deployment: str) -> "RollbackWorker.Params | None":
    """Return the parameters without what a person accepted for one version; None after a named target."""
    kept = RollbackWorker.Params(params.service, current_secrets=params.current_secrets)
    return None if params.to or params.to_commit else replace(kept, relapsed=deployment, reason=AUTOMATIC_STEP)


class RollbackWorker(Rollback["RollbackWorker.Params", WorkerSituation]):
    """Roll a Worker back to an earlier version."""

    @dataclass(frozen=True)
    class Params:
        service: str = param("Service in ops.yml to roll back")
        to: str = param(
            "Version ID, or a split such as A@90,B@10 (default: last known good version)",
            default="",
            names_version=True,
        )
        to_commit: str = param("Commit (7 or more digits) or tag of the version to deploy", default="")
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
        deployment: str = param("Deployment ID that must be live, else refuse", default="", laptop_only=True)
        no_rehearsal: bool = param("Skip the rehearsal that ops.yml asks for", default=False)

    name = "rollback-worker"
    when = "A new version of a Worker causes errors, is slow, or breaks the API"
    incident_use = IncidentUse(menu_rank=1)
    kinds = ("worker",)
    job = JobNeeds(after_relapse=_choose_next_step)
    example = Params(service="api")
    writes = (
        ("POST", "/accounts/*/workers/scripts/*/deployments"),
        ("POST", "/accounts/*/workers/scripts/*/versions"),  # with current_secrets
    )
    permissions = TokenPermissions(cloudflare=("Workers Scripts Write",))

    def probes(self, ctx: Context[Params]) -> ProbeSet:
        return _build_probes(require_service(ctx, *self.kinds))

    def read(self, ctx: Context[Params]) -> WorkerSituation:
        service = require_service(ctx, *self.kinds)
        rebuilt = ctx.params.current_secrets
        further = [lambda: ctx.cloudflare.workers.list_uploads(service.worker)] if rebuilt else []
        schemas = schema_age.start_reading_schemas(ctx.cloudflare, ctx.environment.databases_of(service.name))
        listing, uploads = read_listing(ctx, service, *further)
        to = parse_wanted_split(ctx.params.to, ctx.params.to_commit, listing.versions)
        refusals.check_rollback_options(to, ctx.params)
        history = read_history(ctx, service, listing, requested=to or (), only_older=bool(ctx.params.relapsed))
        return WorkerSituation(service, history, to, schemas, uploads[0][0] if rebuilt else None)

    def choose(self, ctx: Context[Params], situation: WorkerSituation) -> StepPlan:
        try:
            return self._plan_for_situation(ctx, situation)
        except Refused:
            for text in _warn_of_leftover_rehearsal(ctx, situation.history):
                ctx.timeline.record(EventKind.WARNING, text)
            raise

    def _plan_for_situation(self, ctx: Context[Params], situation: WorkerSituation) -> StepPlan:
        service, history, to = situation.service, situation.history, situation.requested
        schemas, latest = situation.read_schemas, situation.latest
        if to is None and history.live.displaced is not None and not ctx.params.deployment:
            return _plan_repair(ctx, service, history, history.live.displaced)
        choice, active = _decide_target(ctx, history, to)
        if to is None and active is not None:
            summary = f"already rolled back: {plan_text.describe_rollback(active)}"
            reason = Reason.ALREADY_STEPPED_BACK
            return _plan_nothing(ctx, service, history, choice, schemas, summary=summary, reason=reason)
        is_live = to and is_same_split(to, history.live.split) and not history.live.rehearsed
        if to and (reupload.is_already_live(history, to, latest) if latest else is_live):
            summary = f"{describe_split(to)} is already live{' with the current secrets' if latest else ''}"
            return _plan_nothing(ctx, service, history, choice, schemas, summary=summary, reason=Reason.ALREADY_LIVE)
        refusals.check_not_superseded(history.live, ctx.request.requested_at, ctx.params.deployment)
        if to is None and not choice.candidates:
            ways = rollback_target.list_fallbacks(history, choice)
            raise refusals.no_target_refusal(
                history,
                choice,
                ways,
                press=_suggest_rollback(ctx, _next_version_to_try(history, choice)),
                listing=ctx.versions_command(service.name),
            )
        split = to or ((choice.candidates[0], 100.0),)
        refusals.check_no_migration(history, choice.suspect, split)
        ages = schema_age.list_split_ages(history, split, schemas())
        schema_age.check_breaking(
            ages,
            ctx.params.accept_breaking_migrations,
            lambda names: _suggest_again(ctx, split, accept_breaking_migrations=names),
        )
        if not ctx.params.current_secrets:
            _check_rotated_secrets(ctx, history, choice, split)
        return _build_plan(ctx, service, history, choice, split, ages=ages, by_rule=to is None, latest=latest)


def _decide_target(
    ctx: Context[RollbackWorker.Params], history: WorkerHistory, to: Split | None
) -> tuple[TargetChoice, PastRollback | None]:
    """Return the choice, and the rollback that leaves nothing to do.

    Marks of runs without a confirmed record may stop the run, and never choose: Refused if the choice rests on them.
    """
    relapsed, incident = ctx.params.relapsed, ctx.request.incident
    choice, active = rollback_target.decide_rollback_target(history, relapsed, incident=incident)
    if to is not None or not history.unconfirmed_marks:
        return choice, active
    believed = other = _expected_split(history, choice, active)
    for records in find_records(ctx, history, stays=active is not None):
        sure = history.with_confirmed_marks_only(records)
        try:
            other = _expected_split(history, *rollback_target.decide_rollback_target(sure, relapsed, incident=incident))
        except Refused:  # without its mark, the relapsed deployment is that of somebody else
            other = () if active else history.live.split
        if believed == other:
            return choice, active
    raise _unconfirmed_marks(ctx, history, believed, other)


def _expected_split(history: WorkerHistory, choice: TargetChoice, active: PastRollback | None) -> Split:
    """Return what serves after the run; empty if it has no target."""
    return history.live.split if active else tuple((version, 100.0) for version in choice.candidates[:1])


def _unconfirmed_marks(
    ctx: Context[RollbackWorker.Params], history: WorkerHistory, believed: Split, other: Split
) -> Refused:
    commands = (_suggest_rollback(ctx, format_split(believed)), _suggest_rollback(ctx, format_split(other)))
    listing = ctx.versions_command(ctx.params.service)
    return refusals.unconfirmed_marks_refusal(history, believed, other, commands=commands, listing=listing)


def _build_probes(service: "Service", find_split: Callable[[], Split] = tuple) -> ProbeSet:
    serving = frozenset(version for version, percent in find_split() if percent > 0)
    return ProbeSet(service.url, service.probes, service.verify, serving)


def _build_step(
    ctx: Context[RollbackWorker.Params],
    service: "Service",
    history: WorkerHistory,
    split: Split,
    *,
    mark: DeploymentMark,
    undo: Split,
    warnings: tuple[str, ...] = (),
    rehearsal: Callable[[DeploySplit], Rehearsal] | str | None = None,
) -> DeploySplit:
    """Return the deployment of the split. `warnings`: those of the plan."""
    accepted, live = ctx.params.accept_changed_secrets, history.live
    return DeploySplit(
        target=f"Worker {service.worker}",
        before=describe_split(live.split),
        after=describe_split(split),
        done_when=f"Cloudflare lists our deployment of {describe_split(split)} first",
        undo=_suggest_undo(ctx, history, undo),
        worker=service.worker,
        live=live,
        find_split=lambda: split,
        mark=mark,
        accepted_secrets=frozenset(accepted).difference(secret_values.find_revoked_among(accepted, history, split)),
        refuse_secrets=partial(_changed_secrets_refusal, ctx, history, split, warnings),
        rehearsal=rehearsal,
    )


def _build_mark(ctx: Context[RollbackWorker.Params], blames: str | None) -> DeploymentMark:
    return DeploymentMark(incident=ctx.request.incident, run=ctx.run_id, blames=blames, text=ctx.params.reason)


def _check_latest_secrets(
    ctx: Context[RollbackWorker.Params], history: WorkerHistory, latest: str, inherited: tuple[str, ...]
) -> None:
    """Refuse to inherit a value that may have leaked, unless a person accepted each secret by name."""
    doubtful = {n: v for n, v in secret_values.find_doubtful_values(history, latest).items() if n in inherited}
    if left := {name: value for name, value in doubtful.items() if name not in ctx.params.inherit_latest}:
        raise refusals.latest_secrets_refusal(
            latest, left, rotate=ctx.suggest("rotate-secrets", service=ctx.params.service, only=tuple(left))
        )


def _check_rotated_secrets(
    ctx: Context[RollbackWorker.Params], history: WorkerHistory, choice: TargetChoice, split: Split
) -> None:
    """Refuse a target that may bring a leaked value back, unless a person accepted each secret by name."""
    doubtful = secret_values.find_doubtful_in_split(history, split, accepted=ctx.params.accept_changed_secrets)
    if not doubtful:
        return
    names = tuple(dict.fromkeys(name for values in doubtful.values() for name in values))
    stale = secret_values.find_doubtful_values(history, history.latest_upload)
    others = secret_values.without_old_values(history, choice.candidates)
    raise refusals.rotated_secrets_refusal(
        doubtful,
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
    ages: schema_age.SchemaAges,
    by_rule: bool,
    latest: WorkerVersion | None,
) -> StepPlan:
    """Return the plan. `latest`: the newest upload, whose secrets the target gets; None keeps its own ones."""
    mark = _build_mark(ctx, rollback_target.version_to_blame(history, choice.suspect, split, by_rule=by_rule))
    live, rebuilt, began = history.live.split, latest is not None, ctx.request.incident_began
    warnings = (
        *schema_age.schema_age_warnings(ages),
        *plan_text.rollback_warnings(history, choice, split, began=began, by_rule=by_rule, rebuilt=rebuilt),
        *plan_text.list_version_proof_warnings(service),
    )
    next_step, repair = _next_step(ctx, history, choice, split, by_rule=by_rule), _secret_repair(ctx, history, split)
    obstacle = _rehearsal_obstacle(ctx, service, history, split)
    refuse = partial(_failed_rehearsal_refusal, ctx, split, next_step)
    step = _build_step(
        ctx,
        service,
        history,
        split,
        mark=mark,
        undo=live,
        warnings=warnings,
        rehearsal=partial(steps.plan_rehearsal, service, refuse) if obstacle == "" else obstacle,
    )
    plan = StepPlan(
        summary=f"Worker {service.worker}: {describe_split(live)} → {describe_split(split)}",
        changes=(step,),
        sections=(
            *plan_text.build_drill_section(ctx.config.staging_drill, ctx.environment.name, service.name, history.live),
            *plan_text.rollback_sections(history, choice, split, repository=service.repository, by_rule=by_rule),
            *schema_age.schema_age_sections(ages, ctx.suggest),
            *steps.rehearsal_sections(service, live, split, obstacle),
        ),
        not_undone=plan_text.rollback_not_undone(history, split),
        consequences=plan_text.rollback_consequences(service, history, split, mark, rebuilt=rebuilt, repair=repair),
        warnings=warnings,
        next_step=next_step,
        remaining_message="" if rebuilt else plan_text.describe_accepted_values(history, split),
        done_message=f"Rolled back {ctx.params.service} to {describe_split(split)}",
        probes=partial(_build_probes, service, step.find_split),
    )
    return _with_current_secrets(ctx, service, history, plan, step, latest=latest) if latest else plan


def _next_step(
    ctx: Context[RollbackWorker.Params], history: WorkerHistory, choice: TargetChoice, split: Split, *, by_rule: bool
) -> SuggestedCommand | None:
    """Return the rollback to try if the split does not help."""
    others = [version for version in choice.candidates if version not in dict(split)]
    others = others if ctx.params.current_secrets else secret_values.without_old_values(history, others)
    following = [version for version in others if by_rule or history.served_before(version, split[0][0])]
    return _suggest_next_step(ctx, following[0]) if following else None


def _suggest_undo(ctx: Context[RollbackWorker.Params], history: WorkerHistory, live: Split) -> SuggestedCommand | None:
    """Return the rollback to what is live; None if that may have a leaked value."""
    serving = [version for version, percent in live if percent > 0]
    is_way = secret_values.without_old_values(history, serving) == serving
    return _suggest_rollback(ctx, format_split(live)) if is_way else None


def _secret_repair(ctx: Context[RollbackWorker.Params], history: WorkerHistory, split: Split) -> str:
    """Return the command after which secrets can be edited again; empty if the latest upload's values are doubtful."""
    target, latest = history.version(split[0][0]), history.latest_upload
    is_whole = history.static_assets is False and not target.has_assets and target.declared_objects is None
    is_known = latest in history.live.serving_versions and not secret_values.find_doubtful_values(history, latest)
    if not is_whole or not is_known or len(split) > 1:
        return ""
    return _suggest_current_secrets(ctx, target.id, inherit_latest=tuple(sorted(target.secret_names))).command


def _plan_repair(
    ctx: Context[RollbackWorker.Params], service: "Service", history: WorkerHistory, displaced: WorkerDeployment
) -> StepPlan:
    """Return the plan that deploys again what a rehearsal replaced by accident, before its run could repair it.

    Its mark is that of a rehearsal, so both deployments count for nothing afterwards.
    """
    choice = rollback_target.choose_target(history, incident=ctx.request.incident)
    split, rehearsed = displaced.split, history.live.mark
    records = find_records(ctx, history, stays=False)
    if not any(history.with_confirmed_marks_only(each).has_confirmed_run(history.live) for each in records):
        raise _unconfirmed_marks(ctx, history, split, traffic_of(history.live))
    _check_rotated_secrets(ctx, history, choice, split)
    mark = replace(_build_mark(ctx, None), rehearsed=rehearsed.rehearsed if rehearsed else "")
    step = _build_step(ctx, service, history, split, mark=mark, undo=traffic_of(history.live))
    others = [version for version in choice.candidates if version not in {*dict(history.live.split), *dict(split)}]
    others = secret_values.without_old_values(history, others)
    return StepPlan(
        summary=f"Worker {service.worker}: {step.before} → {step.after}, which a rehearsal replaced by accident",
        changes=(step,),
        sections=plan_text.rollback_sections(history, choice, split, repository=service.repository, by_rule=False),
        not_undone=plan_text.rollback_not_undone(history, split),
        consequences=plan_text.rollback_consequences(service, history, split, mark, rebuilt=False),
        warnings=(
            *plan_text.leftover_split_warnings(history.live, end=""),
            *plan_text.list_secret_warnings(history, split),
        ),
        next_step=_suggest_rollback(ctx, others[0]) if others else None,
        remaining_message=plan_text.describe_accepted_values(history, split),
        done_message=f"Deployed {describe_split(split)} to {ctx.params.service} again",
        probes=partial(_build_probes, service, step.find_split),
    )


def _with_current_secrets(
    ctx: Context[RollbackWorker.Params],
    service: "Service",
    history: WorkerHistory,
    plan: StepPlan,
    step: DeploySplit,
    *,
    latest: WorkerVersion,
) -> StepPlan:
    """Return the plan with an upload of the same code instead of the plain deployment, `step`.

    The reads of the upload come last, so they are the comparison before the write.
    """
    version = step.find_split()[0][0]
    upload = reupload.plan_reupload(
        ctx,
        service.worker,
        version,
        step.mark,
        live=step.live,
        latest=latest,
        edits=(),
        accepted=ctx.params.inherit_latest,
        accept=lambda names: _suggest_current_secrets(ctx, version, inherit_latest=names),
        static_assets=service.static_assets,
        check_source=partial(_check_latest_secrets, ctx, history),
    )
    return replace(
        plan,
        summary=f"Worker {service.worker}: {step.before} → {upload.name}",
        changes=reupload.build_reupload_steps(upload, undo=step.undo, rehearsal=step.rehearsal),
        sections=(*plan.sections, reupload.reupload_section(upload)),
        done_message=f"Rolled back {ctx.params.service} to {upload.name}",
        probes=partial(_build_probes, service, upload.find_split),
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
) -> StepPlan:
    """Return a plan without changes: the run probes what is live and suggests a next step."""
    ages = schema_age.list_split_ages(history, live := history.live.split, schemas())
    return StepPlan(
        summary=summary,
        sections=(
            *plan_text.rollback_sections(history, choice, live, repository=service.repository, by_rule=True),
            *schema_age.schema_age_sections(ages, ctx.suggest),
        ),
        warnings=_warn_of_leftover_rehearsal(ctx, history),
        reason=reason,
        next_step=_suggest_next_step(ctx, _next_version_to_try(history, choice)),
        probes=partial(_build_probes, service, lambda: history.live.split),
    )


def _warn_of_leftover_rehearsal(ctx: Context[RollbackWorker.Params], history: WorkerHistory) -> tuple[str, ...]:
    """Return the warning about an unfinished rehearsal that this run does not remove."""
    command = _suggest_rollback(ctx, format_split(history.live.split)).command
    return plan_text.leftover_split_warnings(history.live, end=f"To remove it: `{command}`")


def _rehearsal_obstacle(
    ctx: Context[RollbackWorker.Params], service: "Service", history: WorkerHistory, split: Split
) -> str | None:
    if not service.rehearse or not steps.find_new_version(history.live.split, split):
        return None
    if ctx.params.no_rehearsal:
        return "--no-rehearsal was passed"
    is_checked = not ctx.params.current_secrets and not ctx.params.accept_changed_secrets
    return steps.find_obstacle(service, history, split, is_checked=is_checked)


def _failed_rehearsal_refusal(
    ctx: Context[RollbackWorker.Params], split: Split, next_step: SuggestedCommand | None, version: str, result: str
) -> Refused:
    again = _suggest_again(ctx, split, no_rehearsal=True)
    return refusals.failed_rehearsal_refusal(
        version, result, press=next_step or again, listing=ctx.versions_command(ctx.params.service)
    )


def _next_version_to_try(history: WorkerHistory, choice: TargetChoice) -> str:
    """Return the version to try next; the placeholder VERSION if none is left, or several are equally good."""
    if choice.is_undecided:
        return "VERSION"
    fitting = secret_values.without_old_values(history, choice.candidates)
    versions = [*fitting, *(way.version for way in rollback_target.list_fallbacks(history, choice))]
    repair = history.live.restored
    return next((version for version in versions if repair is None or version not in dict(repair.replaced)), "VERSION")


def _changed_secrets_refusal(
    ctx: Context[RollbackWorker.Params],
    history: WorkerHistory,
    split: Split,
    warnings: tuple[str, ...],
    names: tuple[str, ...],
) -> Refused:
    is_kept = len(split) == 1 and not secret_values.find_doubtful_values(history, history.latest_upload)
    keep = _suggest_current_secrets(ctx, split[0][0]) if is_kept else None
    if revoked := secret_values.find_revoked_among(names, history, split):
        return refusals.secrets_revoked_refusal(revoked, keep=keep)
    why = next((w for w in warnings if w.startswith(plan_text.ONLY_SECRETS_DIFFER)), "")
    may_accept = not secret_values.has_unmarked_rotation(history)
    accept = _suggest_rollback(ctx, format_split(split), accept_changed_secrets=names) if may_accept else None
    accepted = ctx.params.accept_changed_secrets
    return refusals.secrets_changed_refusal(split, names, accepted, why=why, accept=accept, keep=keep)


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
