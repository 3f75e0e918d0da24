"""Rotate leaked secrets in every Worker that uses them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare.marks import DeploymentMark
from ops.config.probes import Probe, ProbeSet
from ops.core.errors import ConfigError
from ops.core.names import NEW_PREFIX, OLD_PREFIX
from ops.core.next_step import SuggestedCommand
from ops.core.threads import run_parallel_mixed
from ops.engine.context import Context
from ops.engine.runbook import JobNeeds, JobSecret, Runbook, TokenPermissions, param, require_service
from ops.engine.step import Step, StepPlan
from ops.rotation import confirmation, selection
from ops.rotation.confirmation import (
    RotationValues,
    ask_providers,
    check_values,
    plan_github_copies,
    refuse_rejected_keys,
)
from ops.rotation.selection import RotationSelection
from ops.rotation.steps import (
    SETS_AGAIN,
    CopyToGitHub,
    EditSecrets,
    GitHubSecretCopy,
    MarkEdit,
    WorkerState,
    build_rotation_mark,
    plan_reuploads,
    read_worker_states,
    secrets_by_worker,
)
from ops.workers import reupload
from ops.workers.reupload import Reupload
from ops.workers.steps import DeploySplit

if TYPE_CHECKING:
    from ops.config import Environment


SELECTING = ("only", "confirm_revoked", "restore")
"""Parameters that name secrets; at most one is given."""


class RotateSecrets(Runbook["RotateSecrets.Params"]):
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

    name = "rotate-secrets"
    when = "A key or another secret leaked"
    kinds = ("worker",)
    setting = "`secrets`"
    github_environment = "security"  # holds the new and the previous values
    example = Params(service="api", only=("GROQ_API_KEY",))
    writes = (
        ("PATCH", "/accounts/*/workers/scripts/*/secrets-bulk"),
        ("POST", "/accounts/*/workers/scripts/*/versions"),
        ("POST", "/accounts/*/workers/scripts/*/deployments"),
        ("PUT", "/repos/*/*/environments/*/secrets/*"),
    )
    permissions = TokenPermissions(cloudflare=("Workers Scripts Write",), github=("environments: write",))
    job = JobNeeds(secrets=(JobSecret.ROTATION,))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:
        rules = environment.secrets.values()
        return [{}] if any(rule.rotate != "never" and service in rule.consumers for rule in rules) else []

    def written_services(self, params: Mapping[str, Any], environment: "Environment") -> tuple[str, ...]:
        """Return all consumers of the secrets, also sites, whose value a person sets."""
        service = str(params.get("service", ""))
        given = next((params[name] for name in SELECTING if params.get(name)), ())
        only = [each.strip() for each in given.split(",")] if isinstance(given, str) else list(given)
        return (service, *selection.list_consumers(environment, service, only))

    def probes(self, ctx: Context[Params]) -> ProbeSet:
        return _build_probes(ctx, _select_secrets(ctx))

    def plan(self, ctx: Context[Params]) -> StepPlan:
        selected = _select_secrets(ctx)
        if ctx.params.confirm_revoked:
            return _plan_confirmation(ctx, selected)
        prefix = OLD_PREFIX if ctx.params.restore else NEW_PREFIX
        check_values(ctx, selected, prefix)
        states, answers_by_secret, on_github = run_parallel_mixed(
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
        uploads = plan_reuploads(ctx, states, secrets_by_worker(ctx, selected))
        return _build_plan(ctx, selected, states, uploads, on_github)


def _select_secrets(ctx: Context[RotateSecrets.Params]) -> RotationSelection:
    service = require_service(ctx, *RotateSecrets.kinds)
    given = {name: getattr(ctx.params, name) for name in SELECTING}
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
    return selection.select_secrets(ctx.environment, service.name, next((given[name] for name in named), ()))


def _build_probes(
    ctx: Context[RotateSecrets.Params],
    selected: RotationSelection,
    find_versions: Callable[[str], Iterable[str]] = lambda _: (),
    unproved: str = "",
) -> ProbeSet:
    """Return the probes of all consumers. `find_versions`: returns the versions of a Worker that have to answer."""
    sets = []
    for name in dict.fromkeys([ctx.params.service, *selected.consumers]):
        service = ctx.environment.service(name)
        proofs = tuple(
            Probe(name=f"{secret.lower()[:58]}{f'-{number}' if number > 1 else ''}", http=request)
            for secret in selected.secrets_of(name)
            for number, request in enumerate(selected.rules[secret].proofs.get(name, ()), start=1)
        )
        probes, proof_names = (*service.probes, *proofs), frozenset(proof.name for proof in proofs)
        versions = frozenset(find_versions(service.worker))
        sets.append(ProbeSet(service.url, probes, service.verify, versions, name=name, proofs=proof_names))
    first, *others = sets
    return replace(first, name=first.name if others else "", other_services=tuple(others), unproved=unproved)


def _build_plan(
    ctx: Context[RotateSecrets.Params],
    selected: RotationSelection,
    states: dict[str, WorkerState],
    uploads: dict[str, Reupload],
    on_github: dict[str, GitHubSecretCopy | str],
) -> StepPlan:
    secrets = RotationValues(ctx, selected)
    workers, kind = secrets_by_worker(ctx, selected), "previous" if ctx.params.restore else "new"
    steps = _build_steps(ctx, states, workers, uploads, secrets)
    edits = [each for each in steps if isinstance(each, EditSecrets)]
    delays = {e.worker_state.worker: e.worker_state.edit_delay for e in edits if e.worker_state.edit_delay}
    by_hand = {name: copy for name, copy in on_github.items() if isinstance(copy, str)}
    copying = [copy for copy in on_github.values() if isinstance(copy, GitHubSecretCopy)]
    read_failure = {copy.name: copy.read_failure for copy in copying if copy.read_failure}
    confirmation.check_generated_copies(secrets, {**by_hand, **read_failure})
    without_proof = ", ".join(selected.secrets_without_proof)
    unproved = f"ops.yml has no `proofs` for {without_proof}" if without_proof else ""
    return StepPlan(
        summary=f"{', '.join(selected.rules)}: {kind} values for {', '.join(workers)}",
        changes=steps,
        final_changes=tuple(CopyToGitHub.of(each, secrets, selected.rules[each.name]) for each in copying),
        sections=(*selection.rotation_sections(selected, workers), *map(reupload.reupload_section, uploads.values())),
        not_undone=selection.NOT_UNDONE,
        consequences=("each Worker gets a new version, and loses what it keeps in memory",),
        warnings=(
            *_list_write_warnings(states, uploads, delays),
            *selection.rotation_warnings(
                selected,
                with_old_value=frozenset(name for name in selected.rules if _has_old_value(ctx, name)),
                missing=tuple(f"{e.worker_state.worker} has no {n}" for e in edits for n in e.missing_secrets),
                read_failure=read_failure,
            ),
        ),
        remaining_message=selection.describe_unwritten_copies(selected, by_hand),
        proved_claim=f"the {kind} values of {', '.join(selected.rules)} are in use, and the probes are healthy",
        proof_limit="; ".join(_list_proof_limits(ctx, delays)),
        tasks=selection.rotation_tasks(selected, by_hand=by_hand, confirm=_suggest_confirmation(ctx, selected)),
        done_message=f"Set {kind} values of {', '.join(selected.rules)} for {', '.join(workers)}",
        probes=partial(_build_probes, ctx, selected, partial(_find_versions, steps), unproved),
    )


def _build_steps(
    ctx: Context[RotateSecrets.Params],
    states: dict[str, WorkerState],
    workers: Mapping[str, tuple[str, ...]],
    uploads: dict[str, Reupload],
    secrets: RotationValues,
) -> tuple[Step, ...]:
    """Return the steps of all Workers. The marks of edits come last."""
    steps: list[Step] = []
    marks: list[Step] = []
    for worker, names in workers.items():
        undo = _suggest_undo(ctx, names)
        if worker in uploads:
            steps += reupload.build_reupload_steps(uploads[worker], undo=undo, secrets=secrets, words=SETS_AGAIN)
            continue
        edit = EditSecrets.of(states[worker], names, secrets, is_restored=bool(ctx.params.restore), undo=undo)
        steps.append(edit)
        marks.append(MarkEdit.of(edit, build_rotation_mark(ctx, names)))
    return (*steps, *marks)


def _find_versions(steps: Sequence[Step], worker: str) -> Iterator[str]:
    """Yield the versions of a Worker that have the new values, as far as the steps were made."""
    for step in steps:
        if isinstance(step, DeploySplit) and step.worker == worker:
            yield from (version for version, _ in step.find_split())


def _list_write_warnings(
    states: dict[str, WorkerState], uploads: dict[str, Reupload], delays: Mapping[str, str]
) -> Iterator[str]:
    for worker, each in uploads.items():
        yield from selection.reupload_warnings(each, states[worker].edit_obstacle or states[worker].edit_delay)
    yield from selection.slow_edit_warnings(delays)


def _list_proof_limits(ctx: Context[RotateSecrets.Params], delays: Mapping[str, str]) -> Iterator[str]:
    yield from (f"{worker}: {delay}" for worker, delay in delays.items())
    if not ctx.params.restore:
        yield "the previous values are not proved revoked yet"


def _has_old_value(ctx: Context[RotateSecrets.Params], name: str) -> bool:
    return ctx.secret_values.value(OLD_PREFIX + name) is not None


def _suggest_undo(ctx: Context[RotateSecrets.Params], names: tuple[str, ...]) -> SuggestedCommand | None:
    """Return the undo; None without the previous values, since no command may lead back to a leaked one unseen."""
    if ctx.params.restore:
        return _suggest_rotation(ctx, only=ctx.params.restore)
    return _suggest_rotation(ctx, restore=names) if all(_has_old_value(ctx, name) for name in names) else None


def _plan_confirmation(ctx: Context[RotateSecrets.Params], selected: RotationSelection) -> StepPlan:
    """Mark the live versions so that no later run restores the revoked keys, after the probes prove the new values."""
    asked = confirmation.find_askable_secrets(ctx, selected)
    workers = secrets_by_worker(ctx, selected)
    states, answers = run_parallel_mixed(
        [lambda: read_worker_states(ctx, workers), lambda: ask_providers(ctx, asked, (NEW_PREFIX, OLD_PREFIX))]
    )
    refusals = [selection.check_old_key(name, *said) for name, said in answers.items()]
    refuse_rejected_keys(asked, [each for each in refusals if each])
    words = confirmation.state_words(
        ctx, selected, asked, confirmation.check_live_values(ctx, selected, states, workers)
    )
    steps = []
    for worker, names in workers.items():
        if confirmation.has_rotation_mark(states[worker], names):
            continue
        text = "; ".join(filter(None, [words.mark_text(worker, names), ctx.params.reason]))
        mark = DeploymentMark(ctx.request.incident, ctx.run_id, None, text, revoked=names)
        steps.append(confirmation.build_confirmation_step(states[worker], mark))
    proved = f"proved revoked: {', '.join(asked.rules)}" if asked.rules else ""
    claims = [proved, *words.claims, f"marked as revoked: {', '.join(selected.rules)}", "the probes are healthy"]
    return StepPlan(
        summary=f"the rotation of {', '.join(selected.rules)} {'ends' if steps else 'has ended'}",
        final_changes=tuple(steps),
        sections=selection.rotation_sections(selected, workers),
        warnings=tuple(words.claims),
        consequences=(confirmation.OBJECTS_RESTART,) if steps else (),
        proved_claim="; ".join(filter(None, claims)),
        proof_limit=selection.describe_unproved_sites(selected),
        if_unproved=confirmation.build_unproved_outcome(ctx, selected, states, workers),
        done_message=f"Ended the rotation of {', '.join(selected.rules)}",
        probes=lambda: _build_probes(
            ctx, selected, lambda worker: states[worker].live.serving_versions if worker in states else ()
        ),
    )


def _suggest_confirmation(ctx: Context[RotateSecrets.Params], selected: RotationSelection) -> SuggestedCommand:
    """Return the command that ends the rotation: on a person's word where no previous value can be tested."""
    stated = tuple(name for name, rule in selected.rules.items() if rule.provider and not _has_old_value(ctx, name))
    return _suggest_rotation(ctx, confirm_revoked=tuple(selected.rules), on_my_word=stated)


def _suggest_rotation(ctx: Context[RotateSecrets.Params], **names: tuple[str, ...]) -> SuggestedCommand:
    return ctx.suggest("rotate-secrets", service=ctx.params.service, **names)
