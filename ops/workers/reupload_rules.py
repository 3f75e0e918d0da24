"""A version uploaded anew, with other secrets: what stands in its way, what somebody must agree to, what became of it.

Cloudflare edits the secrets of the latest upload alone. Where another version serves, or is to serve, it is uploaded
once more: its code, settings and bindings as they are, some secrets with new values, the others inherited from the
latest upload, the only one from which a binding can be inherited (10057). Pure.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ops.cloudflare.deployment_mark import Mark, parse
from ops.cloudflare.types.script import Code
from ops.cloudflare.types.workers import (
    SECRET_BINDINGS,
    Deployment,
    Split,
    Version,
    is_commit,
    short,
    split_prose,
    type_and_name,
)
from ops.core.next_step import Press
from ops.core.plan import Change, Section
from ops.workers.history import History

WAY_ON = (
    "Deploy the reverted commit by CI: it keeps the secrets of the latest upload, and they can be rotated after it."
)


@dataclass
class Rebuild:
    """One Worker's: `code` is the version that is uploaded anew."""

    worker: str
    code: Code
    live: Deployment
    """What served when this was planned."""
    latest: Version
    """The upload from which the other secrets are inherited."""
    mark: Mark
    """Of the upload and of its deployment: how ours is found after a lost answer."""
    edits: tuple[str, ...] = ()
    """Secrets that get new values."""
    source: Version | None = None
    """`code` as the older API shows it, which alone names the Durable Objects."""
    way_on: str = WAY_ON
    """What to do where this cannot be done."""
    made: str = ""
    """The new version, once it was seen."""
    unfinished: tuple[Version, ...] = ()
    """The latest uploads, newest first, where an earlier run for this incident made them and did not deploy them."""
    origin: Version | None = None
    """The upload before these: its secrets are those that `latest` has."""

    @property
    def name(self) -> str:
        what = "with new secrets" if self.edits else "with the current secrets"
        return f"{short(self.code.version)} rebuilt {what}"


def majority(split: Split) -> str | None:
    """The version to rebuild where a split serves: the one with more than half of the traffic; None at half and half.

    A rebuilt version gets all of it, so the smaller share, a canary, ends; it is never promoted. It cannot be left in
    the split either: it would go on with the former values, which are about to be revoked.
    """
    version, percent = split[0]
    return version if percent > 50 else None


def is_done(history: History, to: Split, latest: Version | None) -> bool:
    """Whether that code serves already, by the latest upload: so with its secrets."""
    live = history.live.split
    return latest is not None and live == ((latest.id, 100.0),) and history.same_release(to[0][0], latest.id)


def assets_text(*, says: bool | None, configured: bool | None) -> str:
    """Why static assets forbid an upload; nothing if there are none. `says` is Cloudflare's answer, None if unknown."""
    if says:
        return "its static assets cannot be read"
    if configured:
        return "ops.yml says that it has static assets, which cannot be read"
    if says is None and configured is None:
        return "it is not known whether it has static assets: if it has none, write static_assets: false in ops.yml"
    return ""


def assets_way(worker: str, version: Version, edits: Collection[str]) -> str:
    """Commands for a person whose Worker has static assets: Cloudflare gives out no files of them."""
    commit = version.tag if is_commit(version.tag) else "COMMIT"
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


def obstacles(code: Code, version: Version, edits: Collection[str], *, assets: str) -> Iterator[str]:
    """`version` is the same one in the older API, which alone shows exports; `assets` is `assets_text`."""
    yield from code.obstacles
    if assets and not version.has_assets:
        yield assets
    if "exports" in version.runtime and "exports" not in code.not_uploaded:
        yield "its exports cannot be uploaded with a version"
    yield from (f"it has no secret {name}" for name in sorted(set(edits) - code.secret_names))


def inherited(code: Code, edits: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(code.secret_names - set(edits)))


def lacking(code: Code, edits: Collection[str], latest: Version) -> tuple[str, ...]:
    """What the latest upload does not have as the same kind of secret: a variable of that name would come instead."""
    secrets = [each for each in code.bindings if each["type"] in SECRET_BINDINGS and each["name"] not in edits]
    return tuple(sorted(each["name"] for each in secrets if (each["type"], each["name"]) not in latest.bindings))


def to_accept(code: Code, edits: Collection[str], live: Deployment, origin: Version) -> tuple[str, ...]:
    """What is inherited from an upload that does not serve: nobody may have seen these values work.

    `origin` is the latest upload, or the one from which an unfinished rebuild inherited.
    """
    return () if live.split == ((origin.id, 100.0),) else inherited(code, edits)


def is_unfinished_of(upload: Version, code: Code | None, source: Code, mark: Mark, edits: Collection[str]) -> bool:
    """Whether `upload` is what an earlier run for the same incident uploaded of `source`, by its mark and its content.

    A mark alone proves nothing, since anybody who may upload can write one. Secrets that it changed must be among
    those that this run changes too, since the others are inherited.
    """
    own = parse(upload.message)
    if own is None or own.incident != mark.incident or code is None or code.version != upload.id:
        return False
    return set(own.rotated) <= set(edits) and not any(differences(source, code))


def differences(source: Code, made: Code) -> Iterator[str]:
    """By name: what the new version has otherwise than the one that it was made of. No value is shown."""
    if source.main_module != made.main_module:
        yield "the main module"
    modules = [{module.name: module for module in code.modules} for code in (source, made)]
    yield from (f"module {name}" for name in _differing(*modules))
    yield from (f"setting {name}" for name in _differing(source.settings, made.settings))
    yield from (f"binding {name} ({kind})" for kind, name in _differing(_bindings(source), _bindings(made)))
    yield from sorted(set(source.not_uploaded) ^ set(made.not_uploaded))


def _bindings(code: Code) -> dict[type_and_name, Mapping[str, Any]]:
    return {(each["type"], each["name"]): each for each in code.bindings}


def _differing(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> list[Any]:
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def is_upload(rebuild: Rebuild, change: Change) -> bool:
    """Or else its deployment."""
    return change.target == _upload_of(rebuild.worker)


def _upload_of(worker: str) -> str:
    return f"Worker {worker}, latest upload"


def changes(rebuild: Rebuild, *, undo: Press | None) -> tuple[Change, Change]:
    """The upload, which changes nothing that serves, and the deployment; `undo` takes that one back."""
    return (
        Change(
            target=_upload_of(rebuild.worker),
            before=short(rebuild.latest.id),
            after=f"{rebuild.name}, not deployed",
            done_when="Cloudflare lists an upload with our mark",
            undo=None,
        ),
        Change(
            target=f"Worker {rebuild.worker}",
            before=split_prose(rebuild.live.split),
            after=rebuild.name,
            done_when="Cloudflare lists our deployment of that upload first",
            undo=undo,
        ),
    )


def section(rebuild: Rebuild) -> Section:
    """Each secret by name, and where its value comes from."""
    origin = rebuild.origin or rebuild.latest
    serves = not to_accept(rebuild.code, rebuild.edits, rebuild.live, origin)
    of_latest = "serves" if serves else "does not serve: accepted by --inherit-latest"
    if serves and rebuild.unfinished:
        of_latest = f"an earlier run for this incident uploaded with the secrets of {short(origin.id)}, which serves"
    lines = [f"{name}: a new value" for name in sorted(rebuild.edits)]
    lines += [
        f"{name}: the value of the latest upload, {short(rebuild.latest.id)}, which {of_latest}"
        for name in inherited(rebuild.code, rebuild.edits)
    ]
    return Section(f"Secrets of {rebuild.worker}", tuple(lines) or ("the version has none",))
