"""Rotate leaked secrets in every Worker that uses them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ops.cloudflare.deployment_mark import DeploymentMark
from ops.config.probes import ProbeSet
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.names import NEW_PREFIX, OLD_PREFIX
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan
from ops.core.redaction import Secret
from ops.core.threads import run_parallel_mixed
from ops.engine.context import Context
from ops.engine.runbook import JobSecret, Runbook, TokenPermissions, param, require_service
from ops.engine.step import ObservedState, ReadBackWords
from ops.rotation import confirmation, selection
from ops.rotation.selection import RotationSelection
from ops.rotation.values import (
    ask_providers,
    check_values,
    plan_github_copies,
    read_given_values,
    refuse_rejected_keys,
)
from ops.rotation.writes import (
    EditMark,
    GitHubSecretCopy,
    SecretEdit,
    WorkerState,
    apply_edit,
    apply_mark,
    build_copy_change,
    build_edit_change,
    build_mark,
    build_mark_change,
    check_copy,
    check_edit,
    check_mark,
    copy,
    plan_reuploads,
    read_worker_states,
    secrets_by_worker,
)
from ops.workers import deploy, reupload
from ops.workers.reupload import Reupload

if TYPE_CHECKING:
    from ops.config import Environment, Service


class RotateSecrets(Runbook["RotateSecrets.Params", "RotateSecrets.Details"]):
    """Rotate leaked secrets in every Worker that uses them."""

    @dataclass(frozen=True)
    class Params:
        service: str = param("Service in ops.yml that uses the secret; all its other consumers are updated too")
        only: tuple[str, ...] = param("Secrets to rotate, comma-separated (default: all of the service)", default=())
        confirm_revoked: tuple[str, ...] = param(
            "Revoked secrets: prove that the previous keys fail, and end the rotation", default=()
        )
        restore: tuple[str, ...] = param("Secrets to set back to their previous values, given in OLD_NAME", default=())
        inherit_latest: tuple[str, ...] = param(
            "Other secrets to inherit from a latest upload that is not live, comma-separated", default=()
        )
        reason: str = param("Reason, shown in the deployment message and the timeline", default="")
        on_my_word: tuple[str, ...] = param(
            "Revoked secrets or live versions with new values, on your word, without a proof", default=()
        )

    @dataclass(frozen=True)
    class Details:
        """Values of the plan that the later steps use, by the target of a change."""

        selected: RotationSelection
        edits: dict[str, SecretEdit] = field(default_factory=dict)
        reuploads: dict[str, Reupload] = field(default_factory=dict)
        """Each reupload has two targets: its upload and its deployment."""
        marks: dict[str, tuple[WorkerState, DeploymentMark]] = field(default_factory=dict)
        confirmed: tuple[WorkerState, ...] = ()
        """The Workers whose live versions must prove the new values before the end of the rotation."""
        edit_marks: dict[str, EditMark] = field(default_factory=dict)
        copies: dict[str, GitHubSecretCopy] = field(default_factory=dict)
        values: dict[str, Secret] = field(default_factory=dict)
        """Secret → value to set. Generated values are added after the confirmation."""

    name = "rotate-secrets"
    when = "A key or another secret leaked"
    kind = "worker"
    github_environment = "security"  # holds the new and the previous values
    params = Params
    example = Params(service="api", only=("GROQ_API_KEY",))
    writes = (
        ("PATCH", "/accounts/*/workers/scripts/*/secrets-bulk"),
        ("POST", "/accounts/*/workers/scripts/*/versions"),
        ("POST", "/accounts/*/workers/scripts/*/deployments"),
        ("PUT", "/repos/*/*/environments/*/secrets/*"),
    )
    permissions = TokenPermissions(cloudflare=("Workers Scripts Write",), github=("environments: write",))
    job_secrets = (JobSecret.ROTATION,)

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:
        rules = environment.secrets.values()
        return [{}] if any(rule.rotate != "never" and service in rule.consumers for rule in rules) else []

    def probes(self, ctx: Context[Params], plan: Plan[Details] | None) -> ProbeSet:
        service = _require_service(ctx)
        selected = plan.details.selected if plan else _select_secrets(ctx)
        first, *others = dict.fromkeys([service.name, *selected.consumers])
        whole = _build_probe_set(ctx, selected, first, plan)
        if others:
            more = tuple(replace(_build_probe_set(ctx, selected, name, plan), name=name) for name in others)
            whole = replace(whole, name=first, other_services=more)
        is_open = plan is not None and selected.secrets_without_proof and not ctx.params.confirm_revoked
        return replace(
            whole,
            unproved=f"ops.yml has no `proofs` for {', '.join(selected.secrets_without_proof)}" if is_open else "",
        )

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        selected = _select_secrets(ctx)
        if ctx.params.confirm_revoked:
            return _plan_confirmation(ctx, selected)
        prefix = OLD_PREFIX if ctx.params.restore else NEW_PREFIX
        check_values(ctx, selected, prefix)
        found, answers_by_secret, on_github = run_parallel_mixed(
            [
                lambda: read_worker_states(ctx, secrets_by_worker(ctx, selected)),
                lambda: ask_providers(ctx, selected, (prefix,)),
                lambda: plan_github_copies(ctx, selected),
            ]
        )
        refusals = [
            selection.check_new_key(name, *answers, prefix=prefix) for name, answers in answers_by_secret.items()
        ]
        refuse_rejected_keys(selected, [each for each in refusals if each])
        reupload_by_worker = plan_reuploads(ctx, found, secrets_by_worker(ctx, selected))
        return _build_plan(ctx, selected, found, reupload_by_worker, on_github, prefix=prefix)

    def prepare(self, ctx: Context[Params], plan: Plan[Details]) -> bool:
        details = plan.details
        for name, rule in details.selected.rules.items():
            if (details.edits or details.reuploads) and name not in details.values:
                details.values[name] = ctx.secret_values.generate(rule.length, rule.alphabet)
        tried = any(edit.worker_state.edit_delay for edit in details.edits.values())
        return bool(details.reuploads) or tried  # planning them took long: compare the other Workers again

    def read_back_words(self, ctx: Context[Params]) -> ReadBackWords:
        if ctx.params.confirm_revoked:
            return super().read_back_words(ctx)
        return ReadBackWords(repeat="it sets the values in every Worker again.")

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:
        details = plan.details
        if change.target in details.edits:
            return check_edit(ctx, details.edits[change.target])
        if reupload_state := details.reuploads.get(change.target):
            return reupload.check_change(ctx, reupload_state, change)
        if change.target in details.edit_marks:
            return check_mark(ctx, details.edit_marks[change.target])
        if change.target in details.copies:
            return check_copy(ctx, details.copies[change.target])
        worker_state, mark = details.marks[change.target]
        deployments, live = ctx.cloudflare.workers.list_deployments(worker_state.worker), worker_state.live
        return deploy.observe_deployment(deployments, live, live.split, mark, worker=worker_state.worker)

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:
        details = plan.details
        if change.target in details.edits:
            return apply_edit(ctx, details.edits[change.target], details.values)
        if reupload_state := details.reuploads.get(change.target):
            return reupload.apply_change(ctx, reupload_state, change, details.values)
        if edit_mark := details.edit_marks.get(change.target):
            return apply_mark(ctx, edit_mark)
        if what := details.copies.get(change.target):
            by_hand = selection.copy_command(what.name, details.selected.rules[what.name])
            return copy(ctx, what, details.values[what.name], by_hand)
        worker_state, mark = details.marks[change.target]
        return f"deployment {ctx.cloudflare.workers.deploy(worker_state.worker, worker_state.live.split, mark=mark)}"


def _require_service(ctx: Context[RotateSecrets.Params]) -> "Service":
    return require_service(ctx, RotateSecrets.kind)


def _select_secrets(ctx: Context[RotateSecrets.Params]) -> RotationSelection:
    given = {name: getattr(ctx.params, name) for name in ("only", "confirm_revoked", "restore")}
    named = [name for name, value in given.items() if value]
    if len(named) > 1:
        raise ConfigError(
            f"{' and '.join(named)} cannot be combined",
            hint=(
                "Pass one of them: `only` sets new values, `restore` previous ones, `confirm_revoked` ends a rotation."
            ),
        )
    if ctx.params.on_my_word and not ctx.params.confirm_revoked:
        hint = "Add `confirm_revoked` with the names of the secrets."
        raise ConfigError("`on_my_word` states the end of a rotation, and `confirm_revoked` is missing", hint=hint)
    if ctx.params.confirm_revoked and ctx.params.inherit_latest:
        raise ConfigError(
            "`inherit_latest` applies only when values are set, and `confirm_revoked` sets none",
            hint="Omit `inherit_latest`.",
        )
    return selection.select_secrets(
        ctx.environment, _require_service(ctx).name, next((given[name] for name in named), ())
    )


def _build_probe_set(
    ctx: Context[RotateSecrets.Params], selected: RotationSelection, name: str, plan: Plan[RotateSecrets.Details] | None
) -> ProbeSet:
    from ops.config.probes import Probe

    service = ctx.environment.service(name)
    proofs = tuple(
        Probe(name=f"{secret.lower()[:58]}{f'-{number}' if number > 1 else ''}", http=request)
        for secret in selected.secrets_of(name)
        for number, request in enumerate(selected.rules[secret].proofs.get(name, ()), start=1)
    )
    versions: frozenset[str] = frozenset()
    if plan is not None:
        details = plan.details
        edits = [each for each in details.edits.values() if each.worker_state.worker == service.worker]
        lives = [worker_state for worker_state in details.confirmed if worker_state.worker == service.worker]
        made = [each.uploaded_version for each in details.reuploads.values() if each.worker == service.worker]
        versions = frozenset(
            [
                *(v for each in edits for v in each.serving_versions),
                *(v for s in lives for v in s.live.serving_versions),
                *made,
            ]
        )
    return ProbeSet(
        service.url,
        (*service.probes, *proofs),
        service.verify,
        versions,
        proofs=frozenset(probe.name for probe in proofs),
    )


def _build_plan(
    ctx: Context[RotateSecrets.Params],
    selected: RotationSelection,
    found: dict[str, WorkerState],
    reupload_by_worker: dict[str, Reupload],
    on_github: dict[str, GitHubSecretCopy | str],
    *,
    prefix: str,
) -> Plan[RotateSecrets.Details]:
    workers = secrets_by_worker(ctx, selected)
    details = RotateSecrets.Details(
        selected, values={v.removeprefix(prefix): s for v, s in read_given_values(ctx, selected, prefix).items()}
    )
    with_old_value = frozenset(name for name in selected.rules if ctx.secret_values.value(OLD_PREFIX + name))
    kind = "previous" if prefix == OLD_PREFIX else "new"
    changes = _build_changes(ctx, details, found, reupload_by_worker, kind=kind, with_old_value=with_old_value)
    by_hand = {name: copy for name, copy in on_github.items() if isinstance(copy, str)}
    copying = [copy for copy in on_github.values() if isinstance(copy, GitHubSecretCopy)]
    read_failure = {copy.name: copy.read_failure for copy in copying if copy.read_failure}
    _check_generated_copies(details, {**by_hand, **read_failure})
    finishing = tuple(build_copy_change(each) for each in copying)
    details.copies.update({change.target: each for change, each in zip(finishing, copying, strict=True)})
    return Plan(
        summary=f"{', '.join(selected.rules)}: {kind} values for {', '.join(workers)}",
        changes=tuple(changes),
        final_changes=finishing,
        sections=(
            *selection.build_sections(selected, workers),
            *map(reupload.build_section, reupload_by_worker.values()),
        ),
        not_undone=selection.NOT_UNDONE,
        consequences=("each Worker gets a new version, and loses what it keeps in memory",),
        warnings=_list_warnings(details, found, reupload_by_worker, with_old_value, read_failure),
        remaining_message=selection.describe_unwritten_copies(selected, by_hand),
        proved_claim=f"the {kind} values of {', '.join(selected.rules)} are in use, and the probes are healthy",
        proof_limit="; ".join(_list_proof_limits(ctx, details)),
        tasks=selection.list_tasks(
            selected, by_hand=by_hand, confirm=_suggest_confirmation(ctx, selected, with_old_value)
        ),
        done_message=f"Set {kind} values of {', '.join(selected.rules)} for {', '.join(workers)}",
        details=details,
    )


def _build_changes(
    ctx: Context[RotateSecrets.Params],
    details: RotateSecrets.Details,
    found: dict[str, WorkerState],
    reupload_by_worker: dict[str, Reupload],
    *,
    kind: str,
    with_old_value: frozenset[str],
) -> list[Change]:
    """Return the changes of all Workers, and enter into `details` what each of them writes."""
    changes: list[Change] = []
    marks: list[Change] = []
    for worker, names in secrets_by_worker(ctx, details.selected).items():
        undo = _suggest_undo(ctx, names, with_old_value)
        if worker in reupload_by_worker:
            both = reupload.build_changes(reupload_by_worker[worker], undo=undo)
            details.reuploads.update({change.target: reupload_by_worker[worker] for change in both})
            changes += both
            continue
        edit = SecretEdit(found[worker], names)
        edit_mark = EditMark(edit, build_mark(ctx, names))
        changes.append(build_edit_change(edit, kind, undo))
        marks.append(build_mark_change(edit_mark))
        details.edits[changes[-1].target], details.edit_marks[marks[-1].target] = edit, edit_mark
    return [*changes, *marks]


def _list_warnings(
    details: RotateSecrets.Details,
    found: dict[str, WorkerState],
    reupload_by_worker: dict[str, Reupload],
    with_old_value: frozenset[str],
    read_failure: Mapping[str, str],
) -> tuple[str, ...]:
    reuploads = [
        line
        for worker, each in reupload_by_worker.items()
        for line in selection.reupload_warnings(each, found[worker].edit_obstacle or found[worker].edit_delay)
    ]
    slow = selection.slow_edit_warnings(_find_edit_delays(details))
    missing = tuple(f"{e.worker_state.worker} has no {n}" for e in details.edits.values() for n in e.missing_secrets)
    values = selection.list_warnings(
        details.selected, with_old_value=with_old_value, missing=missing, read_failure=read_failure
    )
    return (*reuploads, *slow, *values)


def _find_edit_delays(details: RotateSecrets.Details) -> dict[str, str]:
    """Return Worker → why its edit does not replace the values at once."""
    states = [edit.worker_state for edit in details.edits.values()]
    return {state.worker: state.edit_delay for state in states if state.edit_delay}


def _list_proof_limits(ctx: Context[RotateSecrets.Params], details: RotateSecrets.Details) -> Iterator[str]:
    yield from (f"{worker}: {delay}" for worker, delay in _find_edit_delays(details).items())
    if not ctx.params.restore:
        yield "the previous values are not proved revoked yet"


def _check_generated_copies(details: RotateSecrets.Details, unwritten: Mapping[str, str]) -> None:
    """Refuse if a generated value could not be copied to GitHub: it would be lost with this run.

    `unwritten`: name → why its copy on GitHub may not be written.
    """
    if lost := [name for name in unwritten if name not in details.values]:
        raise Refused(
            f"{', '.join(lost)} is generated, so only this run can copy it to GitHub, but {unwritten[lost[0]]}",
            reason=Reason.VALUES_UNUSABLE,
            hint="Correct GH_SECRETS_TOKEN (or GH_SECRETS_APP_ID and GH_SECRETS_APP_KEY), or `github` in ops.yml.",
        )


def _suggest_undo(
    ctx: Context[RotateSecrets.Params],
    names: tuple[str, ...],
    with_old_value: frozenset[str],
) -> SuggestedCommand | None:
    """Return the undo; None without the previous values, since no command may lead back to a leaked one unseen."""
    if ctx.params.restore:
        return _suggest_rotation(ctx, only=ctx.params.restore)
    return _suggest_rotation(ctx, restore=names) if with_old_value.issuperset(names) else None


def _plan_confirmation(ctx: Context[RotateSecrets.Params], selected: RotationSelection) -> Plan[RotateSecrets.Details]:
    """Mark the live versions so that no later run restores the revoked keys, after the probes prove the new values."""
    asked = confirmation.find_askable(ctx, selected)
    workers = secrets_by_worker(ctx, selected)
    found, answers = run_parallel_mixed(
        [lambda: read_worker_states(ctx, workers), lambda: ask_providers(ctx, asked, (NEW_PREFIX, OLD_PREFIX))]
    )
    refusals = [selection.check_old_key(name, *said) for name, said in answers.items()]
    refuse_rejected_keys(asked, [each for each in refusals if each])
    words = confirmation.state_words(
        ctx, selected, asked, confirmation.check_live_values(ctx, selected, found, workers)
    )
    details, changes = RotateSecrets.Details(selected, confirmed=tuple(found.values())), []
    for worker, names in workers.items():
        if confirmation.is_marked(found[worker], names):
            continue
        text = "; ".join(filter(None, [words.mark_text(worker, names), ctx.params.reason]))
        mark = DeploymentMark(ctx.request.incident, ctx.run_id, None, text, revoked=names)
        changes.append(confirmation.build_change(found[worker], mark))
        details.marks[changes[-1].target] = (found[worker], mark)
    proved = f"proved revoked: {', '.join(asked.rules)}" if asked.rules else ""
    claims = [proved, *words.claims, f"marked as revoked: {', '.join(selected.rules)}", "the probes are healthy"]
    return Plan(
        summary=f"the rotation of {', '.join(selected.rules)} {'ends' if changes else 'has ended'}",
        final_changes=tuple(changes),
        sections=selection.build_sections(selected, workers),
        warnings=tuple(words.claims),
        consequences=(confirmation.OBJECTS_RESTART,) if changes else (),
        proved_claim="; ".join(filter(None, claims)),
        proof_limit=selection.describe_unproved_sites(selected),
        if_unproved=confirmation.build_unproved_outcome(ctx, selected, found, workers),
        done_message=f"Ended the rotation of {', '.join(selected.rules)}",
        details=details,
    )


def _suggest_confirmation(
    ctx: Context[RotateSecrets.Params], selected: RotationSelection, with_old_value: frozenset[str]
) -> SuggestedCommand:
    """Return the command that ends the rotation: on a person's word where no previous value can be tested."""
    stated = tuple(name for name, rule in selected.rules.items() if rule.provider and name not in with_old_value)
    return _suggest_rotation(ctx, confirm_revoked=tuple(selected.rules), on_my_word=stated)


def _suggest_rotation(ctx: Context[RotateSecrets.Params], **names: tuple[str, ...]) -> SuggestedCommand:
    return ctx.suggest("rotate-secrets", service=ctx.params.service, **names)
