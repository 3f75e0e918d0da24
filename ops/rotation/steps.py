"""Write secrets of Workers and their copies on GitHub: the steps of a rotation.

A secret edit carries no mark, and Cloudflare never returns a value. So a write is confirmed by its answer and by one
newer live version of the same release; the probes decide which values it has. A second deployment of that version
carries the mark, which tells later runs that earlier versions have the leaked value.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ops.cloudflare.marks import DeploymentMark
from ops.cloudflare.types.workers import (
    Split,
    WorkerDeployment,
    WorkerVersion,
    describe_deployment,
    describe_split,
    short_id,
)
from ops.core.errors import ProviderError, Reason, Refused, UnclearWrite
from ops.core.next_step import SuggestedCommand
from ops.core.redaction import Secret
from ops.core.threads import run_in_batches
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState, ReadBackWords, Step, WriteAttempt
from ops.rotation.selection import (
    RotationSelection,
    copy_secret_command,
    find_edit_delay,
    find_edit_obstacle,
    is_secret_edit_of,
)
from ops.workers import reupload
from ops.workers.history import WorkerHistory
from ops.workers.reupload import Reupload
from ops.workers.steps import DeploySplit

if TYPE_CHECKING:
    from ops.config.sections import RotatedSecret

T = TypeVar("T")
SETS_AGAIN = ReadBackWords(repeat="it sets the values in every Worker again.")
MAX_SECRETS_PER_EDIT = 100
"""Cloudflare takes no more secrets in one call (100160)."""
MAX_PARALLEL = 16
"""Parallel calls."""
FALLBACK_HINT = (
    "Deploy the live release again, so that it is the latest upload. Then run this rotation again: "
    "Cloudflare can then edit its secrets."
)


@dataclass(frozen=True)
class WorkerState:
    """State of a Worker when the plan was made."""

    worker: str
    live: WorkerDeployment
    versions: dict[str, WorkerVersion]
    newest_upload: WorkerVersion
    """The latest upload."""
    secrets: frozenset[str]
    history: WorkerHistory
    """The newest deployments and uploads, whose marks tell which version has new values."""

    @property
    def edit_obstacle(self) -> str:
        """Return why a secret edit cannot be used; empty if it can."""
        return find_edit_obstacle(self.live, self.newest_upload.id, self.main_version)

    @property
    def edit_delay(self) -> str:
        """Return why an edit does not replace the values at once; empty if it does."""
        return find_edit_delay(self.main_version)

    @property
    def main_version(self) -> WorkerVersion:
        return self.versions[self.live.split[0][0]]


@dataclass
class GitHubSecretCopy:
    """The copy of a secret in a GitHub environment."""

    name: str
    repository: str
    environment: str
    updated_at: datetime | None
    read_failure: str = ""
    """Why the plan could not read it. It is written anyway, since the next deployment uses its value."""
    attempt: WriteAttempt = field(default_factory=WriteAttempt)


def secrets_by_worker(ctx: Context[Any], selected: RotationSelection) -> dict[str, tuple[str, ...]]:
    """Return Worker → the selected secrets that its services use (`consumers` in ops.yml).

    Raises Refused if one Worker uses more than Cloudflare changes at once.
    """
    workers: dict[str, tuple[str, ...]] = {}
    for service in selected.consumers:
        worker = ctx.environment.service(service).worker
        workers[worker] = tuple(dict.fromkeys((*workers.get(worker, ()), *selected.secrets_of(service))))
    for worker, names in workers.items():
        if len(names) > MAX_SECRETS_PER_EDIT:
            raise Refused(
                f"{worker} uses {len(names)} of these secrets, but Cloudflare changes at most "
                f"{MAX_SECRETS_PER_EDIT} at once",
                reason=Reason.VALUES_UNUSABLE,
                hint="Pass fewer names in `only` (or `restore`), and run it again for the others.",
            )
    return workers


def read_worker_states(ctx: Context[Any], workers: Iterable[str]) -> dict[str, WorkerState]:
    """Read all Workers in parallel, in two rounds; the second is the comparison. Raises Refused."""
    workers, api = list(workers), ctx.cloudflare.workers

    def read_each(read: Callable[[str], T]) -> list[T]:
        return run_in_batches([partial(read, worker) for worker in workers], MAX_PARALLEL)

    deployments, listed, names = (
        read_each(api.list_deployments),
        read_each(api.list_uploads),
        read_each(api.secrets.list_names),
    )
    for worker, found in zip(workers, deployments, strict=True):
        if not found:
            hint = "Deploy it first, or correct `consumers` in ops.yml."
            raise Refused(f"{worker} has no deployment", reason=Reason.NO_TARGET, hint=hint)
    serving_versions = [
        (w, version) for w, found in zip(workers, deployments, strict=True) for version, _ in found[0].split
    ]
    versions = run_in_batches([partial(api.read_version, w, v) for w, v in serving_versions], MAX_PARALLEL)
    again = read_each(api.list_deployments)
    known = {key: found or WorkerVersion(id=key[1]) for key, found in zip(serving_versions, versions, strict=True)}
    result = {}
    for worker, was, now, uploads, secrets in zip(workers, deployments, again, listed, names, strict=True):
        if not now or now[0] != was[0]:
            raise Refused(
                f"{worker} was deployed while the plan was made: "
                f"{describe_deployment(now[0]) if now else 'it has no deployment any more'}",
                reason=Reason.WORLD_MOVED,
                hint="Check what was deployed, then run the command again for a new plan.",
            )
        own = {version: known[worker, version] for version, _ in was[0].split}
        versions_by_id = {**{upload.id: upload for upload in uploads}, **own}
        history = WorkerHistory(was, versions_by_id, frozenset(), ctx.clock.now(), min_served=0)
        result[worker] = WorkerState(worker, was[0], own, uploads[0], secrets, history)
    return result


@dataclass(frozen=True, kw_only=True, eq=False)
class EditSecrets(Step):
    """Edit secrets of a Worker's latest upload, in bulk. Cloudflare makes and deploys a version with them."""

    worker_state: WorkerState
    names: tuple[str, ...]
    secrets: Mapping[str, Secret]
    """Name → value, at least of `names`."""
    attempt: WriteAttempt = field(default_factory=WriteAttempt)
    serving_versions: list[str] = field(default_factory=list)
    """The version that was found live after the edit."""
    words: ReadBackWords = SETS_AGAIN

    @classmethod
    def of(
        cls,
        state: WorkerState,
        names: tuple[str, ...],
        secrets: Mapping[str, Secret],
        *,
        is_restored: bool,
        undo: SuggestedCommand | None,
    ) -> "EditSecrets":
        """Return the edit. `is_restored`: whether the values are the previous ones."""
        return EditSecrets(
            target=f"Worker {state.worker}",
            before=short_id(state.main_version.id),
            after=f"the same release with {'previous' if is_restored else 'new'} values of {', '.join(names)}",
            done_when="Cloudflare accepts them, and one newer version of the release is live",
            undo=undo,
            worker_state=state,
            names=names,
            secrets=secrets,
        )

    @property
    def missing_secrets(self) -> tuple[str, ...]:
        """Return the secrets that the edit creates."""
        return tuple(name for name in self.names if name not in self.worker_state.secrets)

    def find_split(self) -> Split:
        return tuple((version, 100.0) for version in self.serving_versions)

    def prepare(self, ctx: Context[Any]) -> bool:  # noqa: ARG002
        """Return whether a reupload was tried in its place, which took long."""
        return bool(self.worker_state.edit_delay)

    def apply(self, ctx: Context[Any]) -> str:
        worker, edits = self.worker_state.worker, {name: self.secrets[name] for name in self.names}
        self.attempt.send(lambda: ctx.cloudflare.workers.secrets.edit(worker, edits))
        return f"Cloudflare accepted {', '.join(self.names)} for {worker}"

    def check(self, ctx: Context[Any]) -> ObservedState:
        """Return the state of an edit, by the live version. Its values cannot be read."""
        worker, planned, attempt = self.worker_state.worker, self.worker_state.main_version, self.attempt
        deployments = ctx.cloudflare.workers.list_deployments(worker)
        at = next((index for index, each in enumerate(deployments) if each.id == self.worker_state.live.id), None)
        if at is None:
            first = describe_deployment(deployments[0]) if deployments else "nothing"
            text = f"the planned deployment is no longer listed; live is {first}"
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, text)
        if at == 0:
            return ObservedState(ChangeState.PLANNED, f"{short_id(planned.id)} is live, as planned")
        newer = [each for each in deployments[:at] if not (each.mark and each.mark.run == ctx.run_id)]
        if len(newer) > attempt.sent or any(len(each.split) > 1 for each in newer):
            beside = self._observe_beside_another(ctx, newer) if attempt.sent else None
            return beside or ObservedState(ChangeState.CHANGED_ELSEWHERE, describe_deployment(newer[0]))
        versions = [ctx.cloudflare.workers.read_version(worker, each.split[0][0]) for each in newer]
        version = newer[0].split[0][0]
        if attempt.is_answered:
            self.serving_versions[:] = [version]
        if not all(versions):
            text = f"{short_id(version)} is live but not readable yet"
            return ObservedState(ChangeState.PLANNED, text, is_uncertain=True)
        if not all(each and is_secret_edit_of(planned, each) for each in versions):
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, describe_deployment(newer[0]))
        if attempt.is_answered:
            text = f"{short_id(version)} is live on {worker}, the same release with other secrets"
            return ObservedState(ChangeState.DONE, text)
        doubt = f"{short_id(version)} of the same release is live on {worker}, but its secret values cannot be read"
        return ObservedState(ChangeState.PLANNED, doubt, is_uncertain=attempt.sent > 0 and attempt.attempts > 1)

    def _observe_beside_another(self, ctx: Context[Any], newer: list[WorkerDeployment]) -> ObservedState | None:
        """Return the state of our edit beside another deployment since the plan; None if that replaced it.

        An edit keeps what it builds on, so over another release ours is live. Of two edits of one release, nobody can
        see which came last. Without an answer, nobody can see whether ours is one of them.
        """
        worker, planned, is_answered = (
            self.worker_state.worker,
            self.worker_state.main_version,
            self.attempt.is_answered,
        )
        if len(newer) < 2 or (is_answered and len(newer) > 2) or any(len(each.split) > 1 for each in newer):
            return None
        last, first = (ctx.cloudflare.workers.read_version(worker, each.split[0][0]) for each in newer[:2])
        if last is None or first is None or not is_secret_edit_of(first, last):
            return None
        if not is_answered:
            seen = "; ".join(map(describe_deployment, newer))
            text = (
                f"{worker} was also changed by somebody else, and nobody can see whose edit is live: {seen}. "
                "Rotate again"
            )
            return ObservedState(ChangeState.PLANNED, text, is_uncertain=True, is_provable=False)
        if not is_secret_edit_of(planned, first):
            self.serving_versions[:] = [last.id]
            text = f"{short_id(last.id)} is live on {worker}, our edit of {short_id(first.id)}"
            return ObservedState(ChangeState.DONE, text, (describe_deployment(newer[1]),))
        both = "; ".join(map(describe_deployment, newer))
        text = (
            f"secrets of {worker} were edited at the same time by somebody else: {both}. Both edits are live; if both "
            f"set {', '.join(self.names)}, the later value counts. Rotate again"
        )
        return ObservedState(ChangeState.PLANNED, text, is_uncertain=True, is_provable=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class MarkEdit(DeploySplit):
    """Deploy the version with the edited secrets again, only to mark it."""

    edit: EditSecrets
    words: ReadBackWords = SETS_AGAIN

    @classmethod
    def of(cls, edit: EditSecrets, mark: DeploymentMark) -> "MarkEdit":
        worker, kind = edit.worker_state.worker, "restored" if mark.restored else "rotated"
        return MarkEdit(
            target=f"mark of Worker {worker}",
            before="the version with the edited secrets",
            after=f"the same version, marked {kind}={','.join(edit.names)}",
            done_when="Cloudflare lists our deployment of the same version first",
            undo=None,
            worker=worker,
            live=edit.worker_state.live,
            find_split=edit.find_split,
            mark=mark,
            edit=edit,
        )

    def check(self, ctx: Context[Any]) -> ObservedState:
        """Return the state of the mark. Before its write, only the edited version may be live, with all traffic."""
        worker, split = self.worker, self.find_split()
        if not split:
            text = f"not marked: no version of {worker} surely has the new values"
            return ObservedState(ChangeState.NOT_WANTED, text)
        deployments = ctx.cloudflare.workers.list_deployments(worker)
        edited = next((d for d in deployments if d.split == split and not self._is_own(d)), None)
        if edited is None:
            first = describe_deployment(deployments[0]) if deployments else "nothing"
            text = f"the edited version of {worker} is not live; {first} is"
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, text)
        return self.observe(deployments, edited)

    def _is_own(self, deployment: WorkerDeployment) -> bool:
        return deployment.mark is not None and deployment.mark.run == self.mark.run


@dataclass(frozen=True, kw_only=True, eq=False)
class CopyToGitHub(Step):
    """Write the copy of a secret in a GitHub environment."""

    copy: GitHubSecretCopy
    secrets: Mapping[str, Secret]
    by_hand: str
    """Command for a person, if GitHub refuses."""
    words: ReadBackWords = SETS_AGAIN

    @classmethod
    def of(cls, copy: GitHubSecretCopy, secrets: Mapping[str, Secret], rule: "RotatedSecret") -> "CopyToGitHub":
        return CopyToGitHub(
            target=f"GitHub secret {copy.name} of {copy.environment} in {copy.repository}",
            before="unknown" if copy.read_failure else "the previous value" if copy.updated_at else "none",
            after="the current value",
            done_when="GitHub accepts it",
            undo=None,
            copy=copy,
            secrets=secrets,
            by_hand=copy_secret_command(copy.name, rule),
        )

    def apply(self, ctx: Context[Any]) -> str:
        copy, value = self.copy, self.secrets[self.copy.name]
        try:
            copy.attempt.send(lambda: ctx.github.secrets.put(copy.repository, copy.environment, copy.name, value))
        except UnclearWrite:
            raise
        except ProviderError as error:
            hint = (
                f"The new value is live, but the next deployment would restore the previous one. Run `{self.by_hand}`"
            )
            raise ProviderError(error.message, reason=error.reason, hint=hint) from None
        return f"GitHub accepted {copy.name}"

    def check(self, ctx: Context[Any]) -> ObservedState:
        copy = self.copy
        if copy.attempt.is_answered:
            return ObservedState(ChangeState.DONE, f"GitHub accepted {copy.name}")
        try:
            now = ctx.github.secrets.updated_at(copy.repository, copy.environment, copy.name)
        except ProviderError as error:
            text = f"GitHub's copy of {copy.name} cannot be read: {error.message}"
            return ObservedState(ChangeState.PLANNED, text, is_uncertain=True)
        if copy.read_failure and not copy.attempt.attempts:
            copy.updated_at, copy.read_failure = now, ""
        if copy.read_failure:
            text = (
                f"it is unknown whether GitHub's copy of {copy.name} was written, because it could not be read before"
            )
            return ObservedState(ChangeState.PLANNED, text, is_uncertain=copy.attempt.attempts > 1)
        if now == copy.updated_at:
            return ObservedState(ChangeState.PLANNED, f"GitHub's copy of {copy.name} is unchanged since the plan")
        text = f"GitHub's copy of {copy.name} was written since the plan"
        return ObservedState(ChangeState.DONE if copy.attempt.sent else ChangeState.CHANGED_ELSEWHERE, text)


def build_rotation_mark(ctx: Context[Any], names: tuple[str, ...]) -> DeploymentMark:
    """Return the mark of new values, or of the previous ones if the run restores them."""
    mark = DeploymentMark(ctx.request.incident, ctx.run_id, None, ctx.params.reason)
    return replace(mark, restored=names) if ctx.params.restore else replace(mark, rotated=names)


def plan_reuploads(
    ctx: Context[Any], states: Mapping[str, WorkerState], workers: Mapping[str, tuple[str, ...]]
) -> dict[str, Reupload]:
    """Return Worker → its reupload, for Workers that need one. `workers`: Worker → secrets with new values.

    A Worker whose edit is only slow is edited if its version cannot be uploaded again. The reads are the comparison
    before the write. Raises Refused if a version can be neither edited nor uploaded again.
    """
    found_by_worker = {
        worker: _plan_reupload_or_edit(ctx, states[worker], names)
        for worker, names in workers.items()
        if states[worker].edit_obstacle or states[worker].edit_delay
    }
    return {worker: planned for worker, planned in found_by_worker.items() if planned}


def _plan_reupload_or_edit(ctx: Context[Any], worker_state: WorkerState, names: tuple[str, ...]) -> Reupload | None:
    """Return the reupload, or None if only an edit is possible."""
    try:
        return _plan_reupload(ctx, worker_state, names)
    except Refused as refused:
        if refused.reason != Reason.NOT_REBUILDABLE:
            raise
        if not worker_state.edit_obstacle:
            return None
        message = f"{refused.message}; Cloudflare cannot edit its secrets either: {worker_state.edit_obstacle}"
        raise Refused(message, reason=refused.reason, hint=refused.hint) from None


def _plan_reupload(ctx: Context[Any], worker_state: WorkerState, names: tuple[str, ...]) -> Reupload:
    live, worker, params = worker_state.live, worker_state.worker, ctx.params
    service, entry = next((name, each) for name, each in ctx.environment.services.items() if each.worker == worker)
    version = reupload.majority_version(live.split)
    if version is None:
        raise Refused(
            f"{describe_split(live.split)} share the traffic of {worker}, but new values need a single version",
            reason=Reason.LATEST_NOT_DEPLOYED,
            hint="Roll the Worker back to one of these versions (replace VERSION), then run the rotation again.",
            suggested_command=ctx.suggest("rollback-worker", service=service, to="VERSION"),
        )

    def accept_secrets_command(wanted: tuple[str, ...]) -> SuggestedCommand:
        accepted = tuple(dict.fromkeys((*params.inherit_latest, *wanted)))
        given = {"only": params.only, "restore": params.restore, "inherit_latest": accepted}
        return ctx.suggest("rotate-secrets", service=params.service, **given)

    return reupload.plan_reupload(
        ctx,
        worker,
        version,
        build_rotation_mark(ctx, names),
        live=live,
        latest=worker_state.newest_upload,
        edits=names,
        accepted=params.inherit_latest,
        accept=accept_secrets_command,
        static_assets=entry.static_assets,
        fallback_hint=FALLBACK_HINT,
    )
