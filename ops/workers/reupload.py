"""A version uploaded anew and deployed, as two changes of a plan: what is read for them, compared before, and written.

The rules are in `model/rebuild.py`. Nothing is remembered between steps but what reading shows: the upload carries the
run's mark, so that after a lost answer it is found, and not made twice.
"""

import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ops.cloudflare.deployment_mark import Mark, parse
from ops.cloudflare.types.script import Code
from ops.cloudflare.types.workers import Deployment, Version, short
from ops.core.errors import ProviderError, Reason, Refused, SecretsChanged
from ops.core.next_step import Press
from ops.core.plan import Change
from ops.core.redaction import Secret
from ops.engine.runbook import Context, State, World
from ops.workers import deploy
from ops.workers import reupload_rules as rules
from ops.workers.plan_text import deployed
from ops.workers.reupload_rules import Rebuild

MOST_UNFINISHED = 5
"""Uploads of runs that were killed one after the other."""
NOT_DEPLOYED = "The new version is not deployed, and what was live still is."


def plan(
    ctx: Context[Any],
    worker: str,
    version: str,
    mark: Mark,
    *,
    live: Deployment,
    latest: Version,
    edits: tuple[str, ...],
    accepted: Collection[str],
    accept: Callable[[tuple[str, ...]], Press],
    static_assets: bool | None,
    way_on: str = rules.WAY_ON,
) -> Rebuild:
    """Read `version` whole, and `live` and `latest` (the newest upload) once more: the comparison before the upload.

    `edits` are the secrets that get new values; `accept` makes what accepts others by name, of an upload
    that does not serve. Raises Refused, with `way_on`.
    """
    reads = ctx.workers
    has_assets = reads.begin_has_assets(worker)
    deployments, uploads, code, known, newest = ctx.in_parallel(
        [
            lambda: reads.deployments(worker),
            lambda: reads.uploads(worker),
            lambda: reads.secrets.code(worker, version),
            lambda: reads.version(worker, version),
            lambda: reads.version(worker, latest.id),
        ]
    )
    if not deployments:
        raise deploy.none_listed(worker)
    if deployments[0] != live or uploads[0].id != latest.id or newest is None:
        what = deployed(deployments[0]) if deployments[0] != live else _uploaded(uploads[0])
        raise Refused(
            f"{worker} was changed while the plan was made: {what}",
            reason=Reason.WORLD_MOVED,
            hint="Look at what came in, then start again for a new plan.",
        )
    assets = rules.assets_text(says=has_assets(), configured=static_assets)
    if known and (static_assets or known.has_assets or has_assets()):
        way_on = f"{way_on} {rules.assets_way(worker, known, edits)}"
    _refuse_obstacles(version, code, known, edits, assets=assets, way_on=way_on)
    planned = Rebuild(worker, code, live, newest, mark, edits, known, way_on)
    planned.unfinished, planned.origin = _unfinished(ctx, planned, uploads)
    _refuse_secrets(planned, accepted, accept)
    return planned


def _unfinished(
    ctx: Context[Any], planned: Rebuild, uploads: tuple[Version, ...]
) -> tuple[tuple[Version, ...], Version | None]:
    """The newest uploads that earlier runs made like this one and did not deploy, and the upload before them.

    A run that is killed between its upload and its deployment leaves one. Its code is read only if it has our mark.
    """
    found: list[Version] = []
    for upload, before in itertools.pairwise(uploads[: MOST_UNFINISHED + 1]):
        own = parse(upload.message)
        if own is None or own.incident != planned.mark.incident or upload.id in dict(planned.live.split):
            break
        if upload.number is None or before.number != upload.number - 1:
            break  # a version between them was deleted, and its secrets are in `upload`
        code = ctx.workers.secrets.code(planned.worker, upload.id)
        if not rules.is_unfinished_of(upload, code, planned.code, planned.mark, planned.edits):
            break
        found.append(upload)
    return tuple(found), uploads[len(found)] if found else None


def _refuse_obstacles(
    version: str, code: Code | None, known: Version | None, edits: Collection[str], *, assets: str, way_on: str
) -> None:
    if code is None or known is None:
        raise Refused(
            f"Cloudflare no longer has the code of {short(version)}", reason=Reason.NOT_REBUILDABLE, hint=way_on
        )
    if found := tuple(rules.obstacles(code, known, edits, assets=assets)):
        raise Refused(
            f"{short(version)} cannot be uploaded anew as it is: {'; '.join(found)}",
            reason=Reason.NOT_REBUILDABLE,
            hint=way_on,
        )


def _refuse_secrets(planned: Rebuild, accepted: Collection[str], accept: Callable[[tuple[str, ...]], Press]) -> None:
    code, latest = planned.code, short(planned.latest.id)
    if names := rules.lacking(code, planned.edits, planned.latest):
        raise Refused(
            f"{short(code.version)} needs secrets that the latest upload, {latest}, does not have: {', '.join(names)}",
            reason=Reason.SECRET_MISSING,
            hint=f"Cloudflare can inherit from the latest upload only. {planned.way_on}",
        )
    wanted = rules.to_accept(code, planned.edits, planned.live, planned.origin or planned.latest)
    if left := [name for name in wanted if name not in accepted]:
        raise Refused(
            f"the values of {', '.join(left)} would be those of the latest upload, {latest}, which does not serve",
            reason=Reason.INHERIT_NOT_ACCEPTED,
            hint=f"If these values are good ({_uploaded(planned.latest)}), accept them by name.",
            press=accept(wanted),
        )


def check(ctx: Context[Any], rebuild: Rebuild, change: Change) -> World:
    """Of either change. Raises ProviderError."""
    return (_check_upload if rules.is_upload(rebuild, change) else _check_deployment)(ctx, rebuild)


def apply(ctx: Context[Any], rebuild: Rebuild, change: Change, values: Mapping[str, Secret]) -> str:
    """Either change; `values` by name, at least of the edits."""
    if not rules.is_upload(rebuild, change):
        return _deploy(ctx, rebuild)
    edits = {name: values[name] for name in rebuild.edits}
    tag = rebuild.source.tag if rebuild.source else ""
    made = ctx.workers.secrets.upload(rebuild.worker, rebuild.code, edits, mark=rebuild.mark, tag=tag)
    return f"version {made}, not deployed"


def _check_upload(ctx: Context[Any], rebuild: Rebuild) -> World:
    """DONE once our upload is listed and its code can be read."""
    deployments, uploads = _read(ctx, rebuild)
    if not _find(rebuild, uploads):
        if not deployments:
            raise deploy.none_listed(rebuild.worker)
        if deployments[0].id != rebuild.live.id:
            return World(State.MOVED, deployed(deployments[0]))
        if uploads[0].id != rebuild.latest.id:
            return World(State.MOVED, _uploaded(uploads[0]))
        return World(State.PLANNED, f"{short(rebuild.latest.id)} is the latest upload, as planned")
    if ctx.workers.secrets.code(rebuild.worker, rebuild.made) is None:
        return World(
            State.PLANNED, f"our upload {short(rebuild.made)} is listed and cannot be read yet", uncertain=True
        )
    return World(State.DONE, f"{short(rebuild.made)} is {rebuild.name}")


def _check_deployment(ctx: Context[Any], rebuild: Rebuild) -> World:
    """PLANNED only where our upload is proved to be what was planned. Raises ProviderError where it is not."""
    deployments, uploads = _read(ctx, rebuild)
    if not _find(rebuild, uploads):
        raise ProviderError(
            f"Cloudflare does not list our upload to {rebuild.worker}",
            reason=Reason.MALFORMED_ANSWER,
            hint=f"{NOT_DEPLOYED} Start the same command again.",
        )
    split = ((rebuild.made, 100.0),)
    world = deploy.standing(
        deployments,
        rebuild.live,
        split,
        rebuild.mark,
        worker=rebuild.worker,
        after=f"{short(rebuild.made)}, {rebuild.name},",
    )
    if world.state == State.PLANNED:
        _prove(ctx, rebuild, uploads)
    return world


def _deploy(ctx: Context[Any], rebuild: Rebuild) -> str:
    try:
        made = ctx.workers.deploy(rebuild.worker, ((rebuild.made, 100.0),), mark=rebuild.mark)
    except SecretsChanged as changed:
        # Whether a forced deployment brings this version's values is not known, so there is nothing to insist on.
        raise ProviderError(
            f"Cloudflare does not deploy {short(rebuild.made)} since secrets have changed: "
            f"{', '.join(changed.names) or 'it names none'}",
            reason=Reason.SECRETS_CHANGED,
            hint=f"{NOT_DEPLOYED} {rebuild.way_on}",
        ) from None
    return f"deployment {made} of version {rebuild.made}"


def _read(ctx: Context[Any], rebuild: Rebuild) -> tuple[tuple[Deployment, ...], tuple[Version, ...]]:
    deployments, uploads = ctx.in_parallel(
        [lambda: ctx.workers.deployments(rebuild.worker), lambda: ctx.workers.uploads(rebuild.worker)]
    )
    return deployments, uploads


def _is_ours(rebuild: Rebuild, version: Version) -> bool:
    mark = parse(version.message)
    return mark is not None and mark.run == rebuild.mark.run


def _find(rebuild: Rebuild, uploads: tuple[Version, ...]) -> bool:
    """Our upload, remembered; of two, after a list that lagged behind a lost answer, the later one."""
    rebuild.made = next((upload.id for upload in uploads if _is_ours(rebuild, upload)), rebuild.made)
    return any(upload.id == rebuild.made for upload in uploads)


def _prove(ctx: Context[Any], rebuild: Rebuild, uploads: tuple[Version, ...]) -> None:
    """That it inherited from the upload that was planned, and is in all else the version that it was made of."""
    order = [upload.id for upload in uploads]
    until = order.index(rebuild.latest.id) if rebuild.latest.id in order else len(order)
    between = [each for each in uploads[order.index(rebuild.made) : until] if not _is_ours(rebuild, each)]
    if between:
        raise ProviderError(
            f"the secrets were inherited from another upload than was planned: {_uploaded(between[0])}",
            reason=Reason.WORLD_MOVED,
            hint=f"{NOT_DEPLOYED} Look at what came in, then start again for a new plan.",
        )
    made = ctx.workers.secrets.code(rebuild.worker, rebuild.made)
    differing = ["all, for it cannot be read"] if made is None else list(rules.differences(rebuild.code, made))
    if differing:
        raise ProviderError(
            f"our upload {short(rebuild.made)} is not what {short(rebuild.code.version)} is: {', '.join(differing)}",
            reason=Reason.REBUILD_DIFFERS,
            hint=f"{NOT_DEPLOYED} {rebuild.way_on}",
        )


def _uploaded(version: Version) -> str:
    return f"{short(version.id)}, uploaded by {version.author or 'an unknown author'}"
