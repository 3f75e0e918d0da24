"""Upload a version of a Worker again with other secrets, and deploy it.

Cloudflare edits only the secrets of the latest upload. If another version is live, Backout uploads that version again:
code, settings and bindings stay, some secrets get new values, and the others are inherited from the latest upload. No
other upload can be inherited from (10057). The upload carries the run's mark, so an unclear upload is found again and
not repeated.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ops.cloudflare.marks import DeploymentMark, parse_mark
from ops.cloudflare.types.workers import (
    SECRET_BINDING_TYPES,
    BindingKey,
    Split,
    WorkerCode,
    WorkerDeployment,
    WorkerVersion,
    describe_deployment,
    describe_split,
    short_id,
)
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.names import is_sha
from ops.core.next_step import SuggestedCommand
from ops.core.plan import PlanSection
from ops.core.redaction import Secret
from ops.core.threads import run_parallel_mixed
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState, ReadBackWords, Rehearsal, Step
from ops.workers.history import WorkerHistory
from ops.workers.steps import DeploySplit, no_deployments_error

MAX_UNFINISHED = 5
"""Most uploads of consecutive interrupted runs that are recognized."""
UPLOADS_AGAIN = ReadBackWords(repeat="it uploads the version again, unless that is live by then.")
STILL_LIVE = "The new version is not deployed, and the previous one is still live."
NO_SECRETS: Mapping[str, Secret] = {}
FALLBACK_HINT = "Revert the bad commit in git, and deploy through CI: that keeps the secrets of the latest upload."


@dataclass
class Reupload:
    """An upload of one Worker's version with other secrets. `code` is the version that is uploaded again."""

    worker: str
    code: WorkerCode
    live: WorkerDeployment
    """The live deployment when the plan was made."""
    latest: WorkerVersion
    """The latest upload, from which the other secrets are inherited."""
    mark: DeploymentMark
    """Mark of the upload and its deployment; it identifies our write after an unclear answer."""
    edits: tuple[str, ...] = ()
    """Secrets that get new values."""
    source: WorkerVersion | None = None
    """The same version from the older API, which alone names the Durable Object classes."""
    fallback_hint: str = FALLBACK_HINT
    """Next steps if the version cannot be uploaded again."""
    uploaded_version: str = ""
    """ID of the new version, once Cloudflare lists it."""
    unfinished: tuple[WorkerVersion, ...] = ()
    """Uploads that earlier runs for this incident made and did not deploy, newest first."""
    secrets_source: WorkerVersion | None = None
    """The upload before the unfinished ones; `latest` has its secrets."""

    @property
    def name(self) -> str:
        what = "with new secrets" if self.edits else "with the current secrets"
        return f"{short_id(self.code.version)} uploaded again {what}"

    def find_split(self) -> Split:
        """Return all traffic for the uploaded version."""
        return ((self.uploaded_version, 100.0),)

    def is_own(self, version: WorkerVersion) -> bool:
        mark = parse_mark(version.message)
        return mark is not None and mark.run == self.mark.run

    def read(self, ctx: Context[Any]) -> tuple[tuple[WorkerDeployment, ...], tuple[WorkerVersion, ...], bool]:
        """Read deployments and uploads, and store the ID of our upload, the later one of two.

        The third value is whether our upload is listed.
        """
        deployments, uploads = run_parallel_mixed(
            [
                lambda: ctx.cloudflare.workers.list_deployments(self.worker),
                lambda: ctx.cloudflare.workers.list_uploads(self.worker),
            ]
        )
        self.uploaded_version = next((each.id for each in uploads if self.is_own(each)), self.uploaded_version)
        return deployments, uploads, any(each.id == self.uploaded_version for each in uploads)

    def refuse_secrets(self, names: tuple[str, ...]) -> ProviderError:
        """Return the error for changed secrets. It is unknown which values a forced deployment would use."""
        return ProviderError(
            f"Cloudflare refused to deploy {short_id(self.uploaded_version)} because secrets changed: "
            f"{', '.join(names) or 'names unknown'}",
            reason=Reason.SECRETS_CHANGED,
            hint=f"{STILL_LIVE} {self.fallback_hint}",
        )


def majority_version(split: Split) -> str | None:
    """Return the version with more than half of the traffic; None if there is none.

    The reuploaded version gets all traffic, so the smaller share ends. It cannot stay in the split: it would keep the
    previous values, which are about to be revoked.
    """
    version, percent = split[0]
    return version if percent > 50 else None


def is_already_live(history: WorkerHistory, to: Split, latest: WorkerVersion | None) -> bool:
    """Return whether the latest upload is live and has that code, and thus the current secrets."""
    live = history.live.split
    return latest is not None and live == ((latest.id, 100.0),) and history.is_same_release(to[0][0], latest.id)


def assets_obstacle(*, reported: bool | None, configured: bool | None) -> str:
    """Return why static assets prevent an upload; empty if there are none.

    `reported`: Cloudflare's answer, None if unknown. `configured`: `static_assets` in ops.yml.
    """
    if reported:
        return "its static assets cannot be downloaded"
    if configured:
        return "it has static assets (`static_assets: true` in ops.yml), which cannot be downloaded"
    if reported is None and configured is None:
        return "it is unknown whether it has static assets; if it has none, set `static_assets: false` in ops.yml"
    return ""


def manual_deploy_steps(worker: str, version: WorkerVersion) -> str:
    """Return the manual deployment commands for a Worker with static assets, whose files Cloudflare does not return."""
    commit = version.tag if is_sha(version.tag) else "COMMIT"
    way = (
        f"Deploy manually from a checkout of the application: `git checkout {commit}`, build as CI does, then "
        f"`npx wrangler deploy --name {worker}`. This uploads the files again, keeps the current secrets and restarts "
        "Durable Objects."
    )
    if commit != version.tag:
        way += f" Find COMMIT with `npx wrangler versions view {version.id} --name {worker}`."
    return way


def list_obstacles(code: WorkerCode, version: WorkerVersion, edits: Collection[str], *, assets: str) -> Iterator[str]:
    """Yield the reasons why a version cannot be uploaded again.

    `version`: the same version from the older API, which alone has exports. `assets`: text of `assets_obstacle`.
    """
    yield from code.upload_obstacles
    if assets and not version.has_assets:
        yield assets
    if "exports" in version.runtime and "exports" not in code.unsupported_parts:
        yield "its exports cannot be uploaded with a version"
    yield from (f"it has no secret {name}" for name in sorted(set(edits) - code.secret_names))


def inherited_secrets(code: WorkerCode, edits: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(code.secret_names - set(edits)))


def missing_secrets(code: WorkerCode, edits: Collection[str], latest: WorkerVersion) -> tuple[str, ...]:
    """Return the secrets that the latest upload does not have; a variable of the same name would replace them."""
    secrets = [each for each in code.bindings if each["type"] in SECRET_BINDING_TYPES and each["name"] not in edits]
    return tuple(sorted(each["name"] for each in secrets if (each["type"], each["name"]) not in latest.bindings))


def secrets_to_accept(
    code: WorkerCode, edits: Collection[str], live: WorkerDeployment, secrets_source: WorkerVersion
) -> tuple[str, ...]:
    """Return the secrets that would come from an upload that is not live, so their values may be untested.

    `secrets_source`: the latest upload, or the one from which an unfinished upload inherited.
    """
    return () if live.split == ((secrets_source.id, 100.0),) else inherited_secrets(code, edits)


def is_unfinished_upload(
    upload: WorkerVersion, code: WorkerCode | None, source: WorkerCode, mark: DeploymentMark, edits: Collection[str]
) -> bool:
    """Return whether an earlier run for the same incident made `upload` from `source`, by mark and content.

    A mark alone proves nothing, because everyone who may upload can write one. This run must change every secret that
    the upload changed, because it inherits the others.
    """
    own = parse_mark(upload.message)
    if own is None or own.incident != mark.incident or code is None or code.version != upload.id:
        return False
    return set(own.rotated) <= set(edits) and not any(find_code_differences(source, code))


def find_code_differences(source: WorkerCode, uploaded_version: WorkerCode) -> Iterator[str]:
    """Yield the names of the parts in which an upload differs from its source. No value is shown."""
    if source.main_module != uploaded_version.main_module:
        yield "the main module"
    modules = [{module.name: module for module in code.modules} for code in (source, uploaded_version)]
    yield from (f"module {name}" for name in _differing_code_keys(*modules))
    yield from (f"setting {name}" for name in _differing_code_keys(source.settings, uploaded_version.settings))
    yield from (
        f"binding {name} ({kind})"
        for kind, name in _differing_code_keys(_code_bindings(source), _code_bindings(uploaded_version))
    )
    yield from sorted(set(source.unsupported_parts) ^ set(uploaded_version.unsupported_parts))


def _code_bindings(code: WorkerCode) -> dict[BindingKey, Mapping[str, Any]]:
    return {(each["type"], each["name"]): each for each in code.bindings}


def _differing_code_keys(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> list[Any]:
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def build_reupload_steps(
    upload: Reupload,
    *,
    undo: SuggestedCommand | None,
    secrets: Mapping[str, Secret] = NO_SECRETS,
    words: ReadBackWords = UPLOADS_AGAIN,
    rehearsal: Callable[[DeploySplit], Rehearsal] | str | None = None,
) -> "tuple[UploadVersion, DeployUpload]":
    """Return the upload, which has no effect on traffic, and the deployment, which `undo` reverts.

    `secrets`: name → value, at least of the edited ones, once the run writes. `rehearsal`: of the deployment.
    """
    return (
        UploadVersion(
            target=f"Worker {upload.worker}, latest upload",
            before=short_id(upload.latest.id),
            after=f"{upload.name}, not deployed",
            done_when="Cloudflare lists an upload with our mark",
            undo=None,
            words=words,
            upload=upload,
            secrets=secrets,
        ),
        DeployUpload(
            target=f"Worker {upload.worker}",
            before=describe_split(upload.live.split),
            after=upload.name,
            done_when="Cloudflare lists our deployment of that upload first",
            undo=undo,
            words=words,
            worker=upload.worker,
            live=upload.live,
            find_split=upload.find_split,
            mark=upload.mark,
            refuse_secrets=upload.refuse_secrets,
            rehearsal=rehearsal,
            upload=upload,
        ),
    )


def reupload_section(planned: Reupload) -> PlanSection:
    """Return the plan section with the source of each secret's value."""
    secrets_source = planned.secrets_source or planned.latest
    serves = not secrets_to_accept(planned.code, planned.edits, planned.live, secrets_source)
    of_latest = "is live" if serves else "is not live (accepted with --inherit-latest)"
    if serves and planned.unfinished:
        of_latest = (
            "an earlier run for this incident uploaded with the secrets of "
            f"{short_id(secrets_source.id)}, which is live"
        )
    lines = [f"{name}: new value" for name in sorted(planned.edits)]
    lines += [
        f"{name}: value of the latest upload, {short_id(planned.latest.id)}, which {of_latest}"
        for name in inherited_secrets(planned.code, planned.edits)
    ]
    return PlanSection(f"Secrets of {planned.worker}", tuple(lines) or ("none",))


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
    check_source: Callable[[str, tuple[str, ...]], None] = lambda _version, _names: None,
) -> Reupload:
    """Read `version` with its code, and read `live` and `latest` (the newest upload) again for comparison.

    `edits`: secrets that get new values. `accept`: makes the command that accepts secrets of an upload that is not
    live. `check_source`: refuses an upload whose values of these secrets must not be inherited.
    Raises Refused, with `fallback_hint`.
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
        raise no_deployments_error(worker)
    if deployments[0] != live or uploads[0].id != latest.id or newest is None:
        what = describe_deployment(deployments[0]) if deployments[0] != live else _describe_upload(uploads[0])
        raise Refused(
            f"{worker} was changed while the plan was made: {what}",
            reason=Reason.WORLD_MOVED,
            hint="Check what was deployed, then run the command again for a new plan.",
        )
    assets = assets_obstacle(reported=has_assets(), configured=static_assets)
    if known and (static_assets or known.has_assets or has_assets()):
        fallback_hint = f"{fallback_hint} {manual_deploy_steps(worker, known)}"
    _refuse_obstacles(version, code, known, edits, assets=assets, fallback_hint=fallback_hint)
    planned = Reupload(worker, code, live, newest, mark, edits, known, fallback_hint)
    planned.unfinished, planned.secrets_source = _unfinished_uploads(ctx, planned, uploads)
    check_source((planned.secrets_source or newest).id, inherited_secrets(code, edits))
    _refuse_secrets(planned, accepted, accept)
    return planned


def _unfinished_uploads(
    ctx: Context[Any], planned: Reupload, uploads: tuple[WorkerVersion, ...]
) -> tuple[tuple[WorkerVersion, ...], WorkerVersion | None]:
    """Return the unfinished uploads of earlier runs, newest first, and the upload before them.

    A run that is interrupted between upload and deployment leaves one. Its code is read only if it has our mark.
    """
    unfinished: list[WorkerVersion] = []
    for upload, before in itertools.pairwise(uploads[: MAX_UNFINISHED + 1]):
        own = parse_mark(upload.message)
        if own is None or own.incident != planned.mark.incident or upload.id in dict(planned.live.split):
            break
        if upload.number is None or before.number != upload.number - 1:
            break  # a deleted version lies between, and `upload` has its secrets
        code = ctx.cloudflare.workers.secrets.read_code(planned.worker, upload.id)
        if not is_unfinished_upload(upload, code, planned.code, planned.mark, planned.edits):
            break
        unfinished.append(upload)
    return tuple(unfinished), uploads[len(unfinished)] if unfinished else None


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
            f"Cloudflare no longer returns the code of {short_id(version)}",
            reason=Reason.NOT_REBUILDABLE,
            hint=fallback_hint,
        )
    if found := tuple(list_obstacles(code, known, edits, assets=assets)):
        raise Refused(
            f"cannot make a new version from {short_id(version)}: {'; '.join(found)}",
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
            hint=f"Secrets can be inherited only from the latest upload. {planned.fallback_hint} Until they are set "
            f"(`npx wrangler secret put NAME --name {planned.worker}`), the deployed version lacks {', '.join(names)}.",
        )
    wanted = secrets_to_accept(code, planned.edits, planned.live, planned.secrets_source or planned.latest)
    if left := [name for name in wanted if name not in accepted]:
        raise Refused(
            f"the values of {', '.join(left)} would come from the latest upload {latest}, which is not live",
            reason=Reason.INHERIT_NOT_ACCEPTED,
            hint=f"If you know that these values are good ({_describe_upload(planned.latest)}), accept them by name.",
            suggested_command=accept(wanted),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class UploadVersion(Step):
    """Upload a version again, without a deployment."""

    upload: Reupload
    secrets: Mapping[str, Secret]

    def prepare(self, ctx: Context[Any]) -> bool:  # noqa: ARG002
        """Return whether other Workers were read long before: a plan with new values has an upload for several."""
        return bool(self.upload.edits)

    def check(self, ctx: Context[Any]) -> ObservedState:
        """Return DONE once our upload is listed and its code is readable."""
        upload = self.upload
        deployments, uploads, is_listed = upload.read(ctx)
        if not is_listed:
            if not deployments:
                raise no_deployments_error(upload.worker)
            if deployments[0].id != upload.live.id:
                return ObservedState(ChangeState.CHANGED_ELSEWHERE, describe_deployment(deployments[0]))
            if uploads[0].id != upload.latest.id:
                return ObservedState(ChangeState.CHANGED_ELSEWHERE, _describe_upload(uploads[0]))
            return ObservedState(ChangeState.PLANNED, f"{short_id(upload.latest.id)} is the latest upload, as planned")
        if ctx.cloudflare.workers.secrets.read_code(upload.worker, upload.uploaded_version) is None:
            return ObservedState(
                ChangeState.PLANNED,
                f"our upload {short_id(upload.uploaded_version)} is listed but not readable yet",
                is_uncertain=True,
            )
        return ObservedState(ChangeState.DONE, f"{short_id(upload.uploaded_version)} is {upload.name}")

    def apply(self, ctx: Context[Any]) -> str:
        upload = self.upload
        edits = {name: self.secrets[name] for name in upload.edits}
        tag = upload.source.tag if upload.source else ""
        uploaded_version = ctx.cloudflare.workers.secrets.upload_version(
            upload.worker, upload.code, edits, mark=upload.mark, tag=tag
        )
        return f"version {uploaded_version}, not deployed"


@dataclass(frozen=True, kw_only=True, eq=False)
class DeployUpload(DeploySplit):
    """Deploy the version that the run uploaded."""

    upload: Reupload

    def check(self, ctx: Context[Any]) -> ObservedState:
        """Return the state of the deployment. Raises ProviderError if our upload is not the planned one."""
        upload = self.upload
        deployments, uploads, is_listed = upload.read(ctx)
        if not is_listed:
            raise ProviderError(
                f"Cloudflare does not list our upload to {upload.worker}",
                reason=Reason.MALFORMED_ANSWER,
                hint=f"{STILL_LIVE} Run the same command again.",
            )
        label = f"{short_id(upload.uploaded_version)}, {upload.name},"
        world = self.observe(deployments, upload.live, label=label)
        if world.state == ChangeState.PLANNED:
            _prove_upload(ctx, upload, uploads)
        return world

    def deploy(self, ctx: Context[Any], split: Split, mark: DeploymentMark) -> str:
        return f"{super().deploy(ctx, split, mark)} of version {self.upload.uploaded_version}"


def _prove_upload(ctx: Context[Any], upload: Reupload, uploads: tuple[WorkerVersion, ...]) -> None:
    """Verify that the upload inherited from the planned one and otherwise equals its source. Raises ProviderError."""
    order = [each.id for each in uploads]
    until = order.index(upload.latest.id) if upload.latest.id in order else len(order)
    between = [each for each in uploads[order.index(upload.uploaded_version) : until] if not upload.is_own(each)]
    if between:
        raise ProviderError(
            f"the secrets were inherited from an unplanned upload: {_describe_upload(between[0])}",
            reason=Reason.WORLD_MOVED,
            hint=f"{STILL_LIVE} Check that upload, then run the command again for a new plan.",
        )
    code = ctx.cloudflare.workers.secrets.read_code(upload.worker, upload.uploaded_version)
    differing = ["its code cannot be read"] if code is None else list(find_code_differences(upload.code, code))
    if differing:
        raise ProviderError(
            f"upload {short_id(upload.uploaded_version)} differs from "
            f"{short_id(upload.code.version)}: {', '.join(differing)}",
            reason=Reason.REBUILD_DIFFERS,
            hint=f"{STILL_LIVE} {upload.fallback_hint}",
        )


def _describe_upload(version: WorkerVersion) -> str:
    return f"{short_id(version.id)}, uploaded by {version.author or 'an unknown author'}"
