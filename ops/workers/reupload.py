"""Upload a version of a Worker again with other secrets, and deploy it, as two changes of a plan.

Cloudflare edits the secrets of the latest upload only. If another version serves, it is uploaded again: its code,
settings and bindings stay, some secrets get new values, and the others are inherited from the latest upload, the only
one from which a binding can be inherited (10057). Nothing is remembered between steps: the upload carries the run's
mark, so that it is found after a lost answer and not made twice.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ops.cloudflare.deployment_mark import DeploymentMark, parse_mark
from ops.cloudflare.types.script import WorkerCode
from ops.cloudflare.types.workers import (
    SECRET_BINDING_TYPES,
    BindingKey,
    Split,
    WorkerDeployment,
    WorkerVersion,
    describe_split,
    is_commit_sha,
    short_id,
)
from ops.core.errors import ProviderError, Reason, Refused, SecretsChanged
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, PlanSection
from ops.core.redaction import Secret
from ops.core.threads import run_parallel_mixed
from ops.engine.context import Context
from ops.engine.runbook import ChangeState, ObservedState
from ops.workers import deploy
from ops.workers.history import WorkerHistory
from ops.workers.plan_text import describe_deployment

FALLBACK_HINT = (
    "Deploy the reverted commit by CI: it keeps the secrets of the latest upload, and they can be rotated after it."
)


@dataclass
class Reupload:
    """One Worker's: `code` is the version that is uploaded anew."""

    worker: str
    code: WorkerCode
    live: WorkerDeployment
    """What served when this was planned."""
    latest: WorkerVersion
    """The upload from which the other secrets are inherited."""
    mark: DeploymentMark
    """Of the upload and of its deployment: how ours is found after a lost answer."""
    edits: tuple[str, ...] = ()
    """Secrets that get new values."""
    source: WorkerVersion | None = None
    """`code` as the older API shows it, which alone names the Durable Objects."""
    fallback_hint: str = FALLBACK_HINT
    """What to do where this cannot be done."""
    uploaded_version: str = ""
    """The new version, once it was seen."""
    unfinished: tuple[WorkerVersion, ...] = ()
    """The latest uploads, newest first, where an earlier run for this incident made them and did not deploy them."""
    secrets_source: WorkerVersion | None = None
    """The upload before these: its secrets are those that `latest` has."""

    @property
    def name(self) -> str:
        what = "with new secrets" if self.edits else "with the current secrets"
        return f"{short_id(self.code.version)} rebuilt {what}"


def majority_version(split: Split) -> str | None:
    """The version to rebuild where a split serves: the one with more than half of the traffic; None at half and half.

    A rebuilt version gets all of it, so the smaller share, a canary, ends; it is never promoted. It cannot be left in
    the split either: it would go on with the former values, which are about to be revoked.
    """
    version, percent = split[0]
    return version if percent > 50 else None


def is_already_live(history: WorkerHistory, to: Split, latest: WorkerVersion | None) -> bool:
    """Whether that code serves already, by the latest upload: so with its secrets."""
    live = history.live.split
    return latest is not None and live == ((latest.id, 100.0),) and history.is_same_release(to[0][0], latest.id)


def assets_obstacle(*, reported: bool | None, configured: bool | None) -> str:
    """Why static assets forbid an upload; nothing if there are none. `says` is Cloudflare's answer, None if unknown."""
    if reported:
        return "its static assets cannot be read"
    if configured:
        return "ops.yml says that it has static assets, which cannot be read"
    if reported is None and configured is None:
        return "it is not known whether it has static assets: if it has none, write static_assets: false in ops.yml"
    return ""


def manual_deploy_steps(worker: str, version: WorkerVersion, edits: Collection[str]) -> str:
    """Commands for a person whose Worker has static assets: Cloudflare gives out no files of them."""
    commit = version.tag if is_commit_sha(version.tag) else "COMMIT"
    way = (
        f"By hand, in a checkout of the application: `git checkout {commit}`, build it as CI does, then "
        f"`npx wrangler deploy --name {worker}`. This uploads the files again, keeps the current secrets, and restarts "
        "Durable Objects."
    )
    if commit != version.tag:
        way += f" COMMIT is the one of `npx wrangler versions view {version.id} --name {worker}`."
    if edits:
        values = " ".join(f"`npx wrangler secret put {name} --name {worker}`." for name in sorted(edits))
        way += f" Then start this rotation again. If it refuses once more, set the values yourself: {values}"
    return way


def list_obstacles(code: WorkerCode, version: WorkerVersion, edits: Collection[str], *, assets: str) -> Iterator[str]:
    """`version` is the same one in the older API, which alone shows exports; `assets` is `assets_text`."""
    yield from code.upload_obstacles
    if assets and not version.has_assets:
        yield assets
    if "exports" in version.runtime and "exports" not in code.unsupported_parts:
        yield "its exports cannot be uploaded with a version"
    yield from (f"it has no secret {name}" for name in sorted(set(edits) - code.secret_names))


def inherited_secrets(code: WorkerCode, edits: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(code.secret_names - set(edits)))


def missing_secrets(code: WorkerCode, edits: Collection[str], latest: WorkerVersion) -> tuple[str, ...]:
    """What the latest upload does not have as the same kind of secret: a variable of that name would come instead."""
    secrets = [each for each in code.bindings if each["type"] in SECRET_BINDING_TYPES and each["name"] not in edits]
    return tuple(sorted(each["name"] for each in secrets if (each["type"], each["name"]) not in latest.bindings))


def secrets_to_accept(
    code: WorkerCode, edits: Collection[str], live: WorkerDeployment, secrets_source: WorkerVersion
) -> tuple[str, ...]:
    """What is inherited from an upload that does not serve: nobody may have seen these values work.

    `origin` is the latest upload, or the one from which an unfinished rebuild inherited.
    """
    return () if live.split == ((secrets_source.id, 100.0),) else inherited_secrets(code, edits)


def is_unfinished_upload(
    upload: WorkerVersion, code: WorkerCode | None, source: WorkerCode, mark: DeploymentMark, edits: Collection[str]
) -> bool:
    """Whether `upload` is what an earlier run for the same incident uploaded of `source`, by its mark and its content.

    A mark alone proves nothing, since anybody who may upload can write one. Secrets that it changed must be among
    those that this run changes too, since the others are inherited.
    """
    own = parse_mark(upload.message)
    if own is None or own.incident != mark.incident or code is None or code.version != upload.id:
        return False
    return set(own.rotated) <= set(edits) and not any(find_code_differences(source, code))


def find_code_differences(source: WorkerCode, uploaded_version: WorkerCode) -> Iterator[str]:
    """By name: what the new version has otherwise than the one that it was made of. No value is shown."""
    if source.main_module != uploaded_version.main_module:
        yield "the main module"
    modules = [{module.name: module for module in code.modules} for code in (source, uploaded_version)]
    yield from (f"module {name}" for name in _differing_keys(*modules))
    yield from (f"setting {name}" for name in _differing_keys(source.settings, uploaded_version.settings))
    yield from (
        f"binding {name} ({kind})" for kind, name in _differing_keys(_bindings(source), _bindings(uploaded_version))
    )
    yield from sorted(set(source.unsupported_parts) ^ set(uploaded_version.unsupported_parts))


def _bindings(code: WorkerCode) -> dict[BindingKey, Mapping[str, Any]]:
    return {(each["type"], each["name"]): each for each in code.bindings}


def _differing_keys(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> list[Any]:
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def is_upload_change(planned: Reupload, change: Change) -> bool:
    """Or else its deployment."""
    return change.target == _upload_of(planned.worker)


def _upload_of(worker: str) -> str:
    return f"Worker {worker}, latest upload"


def build_changes(planned: Reupload, *, undo: SuggestedCommand | None) -> tuple[Change, Change]:
    """The upload, which changes nothing that serves, and the deployment; `undo` takes that one back."""
    return (
        Change(
            target=_upload_of(planned.worker),
            before=short_id(planned.latest.id),
            after=f"{planned.name}, not deployed",
            done_when="Cloudflare lists an upload with our mark",
            undo=None,
        ),
        Change(
            target=f"Worker {planned.worker}",
            before=describe_split(planned.live.split),
            after=planned.name,
            done_when="Cloudflare lists our deployment of that upload first",
            undo=undo,
        ),
    )


def build_section(planned: Reupload) -> PlanSection:
    """Each secret by name, and where its value comes from."""
    secrets_source = planned.secrets_source or planned.latest
    serves = not secrets_to_accept(planned.code, planned.edits, planned.live, secrets_source)
    of_latest = "serves" if serves else "does not serve: accepted by --inherit-latest"
    if serves and planned.unfinished:
        of_latest = (
            f"an earlier run for this incident uploaded with the secrets of {short_id(secrets_source.id)}, which serves"
        )
    lines = [f"{name}: a new value" for name in sorted(planned.edits)]
    lines += [
        f"{name}: the value of the latest upload, {short_id(planned.latest.id)}, which {of_latest}"
        for name in inherited_secrets(planned.code, planned.edits)
    ]
    return PlanSection(f"Secrets of {planned.worker}", tuple(lines) or ("the version has none",))


MAX_UNFINISHED = 5
"""Uploads of runs that were killed one after the other."""
STILL_LIVE = "The new version is not deployed, and what was live still is."


def plan_reupload(
    ctx: Context[Any],
    worker: str,
    version: str,
    mark: DeploymentMark,
    *,
    live: WorkerDeployment,
    latest: WorkerVersion,
    edits: tuple[str, ...],
    accepted: Collection[str],
    accept: Callable[[tuple[str, ...]], SuggestedCommand],
    static_assets: bool | None,
    fallback_hint: str = FALLBACK_HINT,
) -> Reupload:
    """Read `version` whole, and `live` and `latest` (the newest upload) once more: the comparison before the upload.

    `edits` are the secrets that get new values; `accept` makes what accepts others by name, of an upload
    that does not serve. Raises Refused, with `way_on`.
    """
    reads = ctx.cloudflare.workers
    has_assets = reads.begin_assets_check(worker)
    deployments, uploads, code, known, newest = run_parallel_mixed(
        [
            lambda: reads.list_deployments(worker),
            lambda: reads.list_uploads(worker),
            lambda: reads.secrets.read_code(worker, version),
            lambda: reads.read_version(worker, version),
            lambda: reads.read_version(worker, latest.id),
        ]
    )
    if not deployments:
        raise deploy.no_deployments_error(worker)
    if deployments[0] != live or uploads[0].id != latest.id or newest is None:
        what = describe_deployment(deployments[0]) if deployments[0] != live else _uploaded(uploads[0])
        raise Refused(
            f"{worker} was changed while the plan was made: {what}",
            reason=Reason.WORLD_MOVED,
            hint="Look at what came in, then start again for a new plan.",
        )
    assets = assets_obstacle(reported=has_assets(), configured=static_assets)
    if known and (static_assets or known.has_assets or has_assets()):
        fallback_hint = f"{fallback_hint} {manual_deploy_steps(worker, known, edits)}"
    _refuse_obstacles(version, code, known, edits, assets=assets, fallback_hint=fallback_hint)
    planned = Reupload(worker, code, live, newest, mark, edits, known, fallback_hint)
    planned.unfinished, planned.secrets_source = _unfinished(ctx, planned, uploads)
    _refuse_secrets(planned, accepted, accept)
    return planned


def _unfinished(
    ctx: Context[Any], planned: Reupload, uploads: tuple[WorkerVersion, ...]
) -> tuple[tuple[WorkerVersion, ...], WorkerVersion | None]:
    """The newest uploads that earlier runs made like this one and did not deploy, and the upload before them.

    A run that is killed between its upload and its deployment leaves one. Its code is read only if it has our mark.
    """
    found: list[WorkerVersion] = []
    for upload, before in itertools.pairwise(uploads[: MAX_UNFINISHED + 1]):
        own = parse_mark(upload.message)
        if own is None or own.incident != planned.mark.incident or upload.id in dict(planned.live.split):
            break
        if upload.number is None or before.number != upload.number - 1:
            break  # a version between them was deleted, and its secrets are in `upload`
        code = ctx.cloudflare.workers.secrets.read_code(planned.worker, upload.id)
        if not is_unfinished_upload(upload, code, planned.code, planned.mark, planned.edits):
            break
        found.append(upload)
    return tuple(found), uploads[len(found)] if found else None


def _refuse_obstacles(
    version: str,
    code: WorkerCode | None,
    known: WorkerVersion | None,
    edits: Collection[str],
    *,
    assets: str,
    fallback_hint: str,
) -> None:
    if code is None or known is None:
        raise Refused(
            f"Cloudflare no longer has the code of {short_id(version)}",
            reason=Reason.NOT_REBUILDABLE,
            hint=fallback_hint,
        )
    if found := tuple(list_obstacles(code, known, edits, assets=assets)):
        raise Refused(
            f"{short_id(version)} cannot be uploaded anew as it is: {'; '.join(found)}",
            reason=Reason.NOT_REBUILDABLE,
            hint=fallback_hint,
        )


def _refuse_secrets(
    planned: Reupload, accepted: Collection[str], accept: Callable[[tuple[str, ...]], SuggestedCommand]
) -> None:
    code, latest = planned.code, short_id(planned.latest.id)
    if names := missing_secrets(code, planned.edits, planned.latest):
        raise Refused(
            f"{short_id(code.version)} needs secrets that the latest upload {latest} lacks: {', '.join(names)}",
            reason=Reason.SECRET_MISSING,
            hint=f"Cloudflare can inherit from the latest upload only. {planned.fallback_hint}",
        )
    wanted = secrets_to_accept(code, planned.edits, planned.live, planned.secrets_source or planned.latest)
    if left := [name for name in wanted if name not in accepted]:
        raise Refused(
            f"the values of {', '.join(left)} would be those of the latest upload, {latest}, which does not serve",
            reason=Reason.INHERIT_NOT_ACCEPTED,
            hint=f"If these values are good ({_uploaded(planned.latest)}), accept them by name.",
            suggested_command=accept(wanted),
        )


def check_change(ctx: Context[Any], planned: Reupload, change: Change) -> ObservedState:
    """Of either change. Raises ProviderError."""
    return (_check_upload if is_upload_change(planned, change) else _check_deployment)(ctx, planned)


def apply_change(ctx: Context[Any], planned: Reupload, change: Change, values: Mapping[str, Secret]) -> str:
    """Either change; `values` by name, at least of the edits."""
    if not is_upload_change(planned, change):
        return _deploy(ctx, planned)
    edits = {name: values[name] for name in planned.edits}
    tag = planned.source.tag if planned.source else ""
    uploaded_version = ctx.cloudflare.workers.secrets.upload_version(
        planned.worker, planned.code, edits, mark=planned.mark, tag=tag
    )
    return f"version {uploaded_version}, not deployed"


def _check_upload(ctx: Context[Any], planned: Reupload) -> ObservedState:
    """DONE once our upload is listed and its code can be read."""
    deployments, uploads = _read(ctx, planned)
    if not _find(planned, uploads):
        if not deployments:
            raise deploy.no_deployments_error(planned.worker)
        if deployments[0].id != planned.live.id:
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, describe_deployment(deployments[0]))
        if uploads[0].id != planned.latest.id:
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, _uploaded(uploads[0]))
        return ObservedState(ChangeState.PLANNED, f"{short_id(planned.latest.id)} is the latest upload, as planned")
    if ctx.cloudflare.workers.secrets.read_code(planned.worker, planned.uploaded_version) is None:
        return ObservedState(
            ChangeState.PLANNED,
            f"our upload {short_id(planned.uploaded_version)} is listed and cannot be read yet",
            is_uncertain=True,
        )
    return ObservedState(ChangeState.DONE, f"{short_id(planned.uploaded_version)} is {planned.name}")


def _check_deployment(ctx: Context[Any], planned: Reupload) -> ObservedState:
    """PLANNED only where our upload is proved to be what was planned. Raises ProviderError where it is not."""
    deployments, uploads = _read(ctx, planned)
    if not _find(planned, uploads):
        raise ProviderError(
            f"Cloudflare does not list our upload to {planned.worker}",
            reason=Reason.MALFORMED_ANSWER,
            hint=f"{STILL_LIVE} Start the same command again.",
        )
    split = ((planned.uploaded_version, 100.0),)
    world = deploy.observe_deployment(
        deployments,
        planned.live,
        split,
        planned.mark,
        worker=planned.worker,
        label=f"{short_id(planned.uploaded_version)}, {planned.name},",
    )
    if world.state == ChangeState.PLANNED:
        _prove(ctx, planned, uploads)
    return world


def _deploy(ctx: Context[Any], planned: Reupload) -> str:
    try:
        uploaded_version = ctx.cloudflare.workers.deploy(
            planned.worker, ((planned.uploaded_version, 100.0),), mark=planned.mark
        )
    except SecretsChanged as changed:
        # Whether a forced deployment brings this version's values is not known, so there is nothing to insist on.
        raise ProviderError(
            f"Cloudflare does not deploy {short_id(planned.uploaded_version)} since secrets have changed: "
            f"{', '.join(changed.names) or 'it names none'}",
            reason=Reason.SECRETS_CHANGED,
            hint=f"{STILL_LIVE} {planned.fallback_hint}",
        ) from None
    return f"deployment {uploaded_version} of version {planned.uploaded_version}"


def _read(ctx: Context[Any], planned: Reupload) -> tuple[tuple[WorkerDeployment, ...], tuple[WorkerVersion, ...]]:
    deployments, uploads = run_parallel_mixed(
        [
            lambda: ctx.cloudflare.workers.list_deployments(planned.worker),
            lambda: ctx.cloudflare.workers.list_uploads(planned.worker),
        ]
    )
    return deployments, uploads


def _is_ours(planned: Reupload, version: WorkerVersion) -> bool:
    mark = parse_mark(version.message)
    return mark is not None and mark.run == planned.mark.run


def _find(planned: Reupload, uploads: tuple[WorkerVersion, ...]) -> bool:
    """Our upload, remembered; of two, after a list that lagged behind a lost answer, the later one."""
    planned.uploaded_version = next(
        (upload.id for upload in uploads if _is_ours(planned, upload)), planned.uploaded_version
    )
    return any(upload.id == planned.uploaded_version for upload in uploads)


def _prove(ctx: Context[Any], planned: Reupload, uploads: tuple[WorkerVersion, ...]) -> None:
    """That it inherited from the upload that was planned, and is in all else the version that it was made of."""
    order = [upload.id for upload in uploads]
    until = order.index(planned.latest.id) if planned.latest.id in order else len(order)
    between = [each for each in uploads[order.index(planned.uploaded_version) : until] if not _is_ours(planned, each)]
    if between:
        raise ProviderError(
            f"the secrets were inherited from another upload than was planned: {_uploaded(between[0])}",
            reason=Reason.WORLD_MOVED,
            hint=f"{STILL_LIVE} Look at what came in, then start again for a new plan.",
        )
    uploaded_version = ctx.cloudflare.workers.secrets.read_code(planned.worker, planned.uploaded_version)
    differing = (
        ["all, for it cannot be read"]
        if uploaded_version is None
        else list(find_code_differences(planned.code, uploaded_version))
    )
    if differing:
        raise ProviderError(
            f"upload {short_id(planned.uploaded_version)} differs from "
            f"{short_id(planned.code.version)}: {', '.join(differing)}",
            reason=Reason.REBUILD_DIFFERS,
            hint=f"{STILL_LIVE} {planned.fallback_hint}",
        )


def _uploaded(version: WorkerVersion) -> str:
    return f"{short_id(version.id)}, uploaded by {version.author or 'an unknown author'}"
