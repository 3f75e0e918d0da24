"""Versions and deployments of a Worker, code of a version, and how two versions differ.

A rehearsal deploys the live traffic again, with another version at 0 %, and then without it. A mark alone proves
nothing, because everyone who may deploy can write one. It counts only on traffic that was live before.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from ops.cloudflare import marks
from ops.core.clock import format_utc

SECRET_BINDING_TYPES = frozenset({"secret_text", "secret_key"})
ASSETS_BINDING_TYPE = "assets"
UPLOADABLE_BINDING_TYPES = SECRET_BINDING_TYPES | {
    *("ai", "analytics_engine", "browser", "d1", "dispatch_namespace", "durable_object_namespace", "hyperdrive"),
    *("images", "json", "kv_namespace", "mtls_certificate", "pipelines", "plain_text", "queue", "r2_bucket"),
    *("ratelimit", "secrets_store_secret", "send_email", "service", "vectorize", "version_metadata", "workflow"),
}
"""Binding types that can be uploaded as Cloudflare returns them; secrets are inherited.

developers.cloudflare.com/workers/configuration/multipart-upload-metadata/#bindings. Other types may have
parts that Cloudflare does not return, such as the file of a `wasm_module`.
"""

BindingKey = tuple[str, str]
MAX_RACE = timedelta(minutes=5)
"""Longest time between a rehearsal's last comparison and its write, with its retries."""


@dataclass(frozen=True)
class WorkerDeployment:
    """A deployment of a Worker. `split`: (version, percent), largest share first."""

    id: str
    created_on: datetime
    split: tuple[tuple[str, float], ...]
    author: str = ""
    source: str = ""
    message: str = ""
    problem: str = ""
    """Why the row is unreadable. It then has no split and is ignored."""
    rehearsed: str = field(default="", compare=False)
    """Version that an unfinished rehearsal added to this deployment at 0 %; empty if there is none."""
    displaced: "WorkerDeployment | None" = field(default=None, compare=False)
    """Deployment in whose place this one of a rehearsal is live by accident; None for all others."""
    restored: "WorkerDeployment | None" = field(default=None, compare=False)
    """The deployment of a rehearsal that put this one back, after an accident of a rehearsal."""
    replaced: tuple[tuple[str, float], ...] = field(default=(), compare=False)
    """Traffic that it replaced, if that was an accident of a rehearsal; else empty."""
    seconds_displaced: float = field(default=0.0, compare=False)
    """Seconds for which an accident of a rehearsal served in its place."""

    @property
    def serving_versions(self) -> tuple[str, ...]:
        """Return the versions with traffic; a version at 0 % serves none."""
        return tuple(version for version, percent in self.split if percent > 0)

    @cached_property
    def mark(self) -> marks.DeploymentMark | None:
        return marks.parse_mark(self.message)

    @property
    def is_rehearsal(self) -> bool:
        """Return whether its mark says that it only started or ended a rehearsal. Alone, that proves nothing."""
        return self.mark is not None and self.mark.rehearsed != ""

    @property
    def is_drill(self) -> bool:
        """Return whether its mark says that it is the bad version of a staging drill. Alone, that proves nothing."""
        return self.mark is not None and not self.mark.blames and self.mark.text == marks.DRILL_BREAK

    def combined_share(self, versions: Iterable[str]) -> float:
        wanted = set(versions)
        return sum(percent for version, percent in self.split if version in wanted)


@dataclass(frozen=True)
class WorkerVersion:
    """A version of a Worker. `is_detailed`: its bindings and runtime were read."""

    id: str
    number: int | None = None
    created_on: datetime | None = None
    author: str = ""
    message: str = ""
    tag: str = ""
    triggered_by: str = ""
    is_detailed: bool = False
    etag: str | None = None
    bindings: Mapping[BindingKey, str] = field(default_factory=dict)
    """(type, name) → rest of the binding as canonical JSON. It holds plain-text values: never print it."""
    runtime: Mapping[str, str] = field(default_factory=dict)
    """Setting → canonical JSON: compatibility date and flags, limits, placement, usage model."""
    handlers: frozenset[str] = frozenset()
    durable_object_classes: frozenset[str] = frozenset()
    """Exported Durable Object classes; their objects restart when another version is deployed."""
    migration_tag: str | None = None

    @property
    def has_assets(self) -> bool:
        return any(kind == ASSETS_BINDING_TYPE for kind, _ in self.bindings)

    @property
    def caches_answers(self) -> bool:
        """Return whether an entrypoint turns Workers Caching on. A version shows no setting of the whole Worker.

        developers.cloudflare.com/workers/cache/configuration
        """
        exports = json.loads(self.runtime.get("exports", "{}"))
        settings = exports.values() if isinstance(exports, dict) else ()
        caches = (each.get("cache") for each in settings if isinstance(each, dict))
        return any(isinstance(each, dict) and each.get("enabled") is True for each in caches)

    @property
    def declared_objects(self) -> frozenset[str] | None:
        """Return the live Durable Object classes that `exports` declares; None if it declares none.

        An entry without `state` is live; deleted, renamed and transferred ones are tombstones.
        developers.cloudflare.com/durable-objects/reference/durable-objects-migrations
        """
        exports = json.loads(self.runtime.get("exports", "{}"))
        entries = exports.items() if isinstance(exports, dict) else ()
        kinds = {"durable-object", "durable_object"}
        objects = {name: each for name, each in entries if isinstance(each, dict) and each.get("type") in kinds}
        gone = {"deleted", "renamed", "transferred"}
        live = frozenset(name for name, each in objects.items() if each.get("state") not in gone)
        return live if objects else None

    @property
    def secret_names(self) -> frozenset[str]:
        return frozenset(name for kind, name in self.bindings if kind in SECRET_BINDING_TYPES)

    @property
    def called_workers(self) -> frozenset[str]:
        """Return the Workers that this version calls through service bindings."""
        return frozenset(
            json.loads(rest).get("service", "") for (kind, _), rest in self.bindings.items() if kind == "service"
        )

    @property
    def variables(self) -> Mapping[str, Any]:
        """Return plain-text and JSON variables by name."""
        fields = {"plain_text": "text", "json": "json"}
        bindings = ((kind, name, rest) for (kind, name), rest in self.bindings.items() if kind in fields)
        return {name: json.loads(rest).get(fields[kind]) for kind, name, rest in bindings}

    @property
    def code_and_settings(self) -> tuple[object, ...] | None:
        """Return the value that is equal for versions of one release; None if the code is unknown.

        It has no secrets: a secret edit makes a new version, not a new release.
        """
        if self.etag is None:
            return None
        bindings = sorted((key, value) for key, value in self.bindings.items() if key[0] not in SECRET_BINDING_TYPES)
        return self.etag, tuple(bindings), tuple(sorted(self.runtime.items()))


Split = tuple[tuple[str, float], ...]


def format_split(split: Split) -> str:
    """Return a split in the form of `--to`: a version, or A@90,B@10, with full IDs."""
    if len(split) == 1:
        return split[0][0]
    return ",".join(f"{version}@{percent:g}" for version, percent in split)


def short_id(version: str) -> str:
    """Return the first eight characters; `--to` accepts them if they are unique."""
    return version[:8]


def describe_split(split: Split) -> str:
    if len(split) == 1:
        return short_id(split[0][0])
    return " and ".join(f"{short_id(version)} at {percent:g} %" for version, percent in split)


def describe_deployment(deployment: WorkerDeployment) -> str:
    """Return a deployment with its versions, time and author, for people."""
    by = deployment.author or "an unknown author"
    via = f" ({deployment.source})" if deployment.source else ""
    return f"{describe_split(deployment.split)}, deployed {format_utc(deployment.created_on)} by {by}{via}"


def is_same_split(one: Split, other: Split) -> bool:
    return sorted(one) == sorted(other)


def describe_version_changes(live: WorkerVersion, target: WorkerVersion) -> list[str]:
    """Return the changes from `live` to `target` by name, without values."""
    lines = []
    if live.etag != target.etag:
        lines.append("code")
    for kind, name in sorted(live.bindings.keys() | target.bindings.keys()):
        before, after = live.bindings.get((kind, name)), target.bindings.get((kind, name))
        if after is None:
            lines.append(f"binding {name} ({kind}) is removed")
        elif before is None:
            lines.append(f"binding {name} ({kind}) is added")
        elif before != after:
            lines.append(f"binding {name} ({kind}) gets its previous value")
    for setting in sorted(live.runtime.keys() | target.runtime.keys()):
        before, after = live.runtime.get(setting, "unset"), target.runtime.get(setting, "unset")
        if before != after:
            lines.append(f"{setting} {before} → {after}")
    lines += [f"handler {name} is removed" for name in sorted(live.handlers - target.handlers)]
    lines += [f"handler {name} is added" for name in sorted(target.handlers - live.handlers)]
    return lines


@dataclass(frozen=True)
class WorkerModule:
    name: str
    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class WorkerCode:
    version: str
    main_module: str
    """Empty for a Worker in service-worker format."""
    modules: tuple[WorkerModule, ...]
    bindings: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """Bindings as Cloudflare returns them. They hold plain-text variables: never print them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that an upload accepts: compatibility date and flags, limits, placement, usage model."""
    unsupported_parts: tuple[str, ...] = ()
    """Cloudflare's names of parts that an upload does not accept, such as `containers`."""
    migration_tag: str | None = None

    @property
    def secret_names(self) -> frozenset[str]:
        return frozenset(each["name"] for each in self.bindings if each["type"] in SECRET_BINDING_TYPES)

    @property
    def upload_obstacles(self) -> tuple[str, ...]:
        """Return why the version cannot be uploaded again; empty if it can."""
        return tuple(self._find_upload_obstacles())

    def _find_upload_obstacles(self) -> Iterator[str]:
        if not self.main_module:
            yield "it is in the service-worker format"
        elif self.main_module not in {module.name for module in self.modules}:
            yield f"its main module {self.main_module} cannot be read"
        for part in self.unsupported_parts:
            yield f"its {part} cannot be uploaded with a version"
        for binding in self.bindings:
            if binding["type"] == ASSETS_BINDING_TYPE:
                yield f"its static assets (binding {binding['name']}) cannot be downloaded"
            elif binding["type"] not in UPLOADABLE_BINDING_TYPES:
                yield f"its binding {binding['name']} has an unsupported type ({binding['type']})"


@dataclass(frozen=True)
class Displacement:
    """A deployment that came in right before the write of a rehearsal, which replaced it by accident."""

    displaced: WorkerDeployment
    accidents: tuple[WorkerDeployment, ...]
    """Deployments of rehearsals that served in its place, oldest first."""
    ended_at: datetime | None = None
    """Time of the next deployment; None while an accident is live."""

    @property
    def traffic(self) -> Split:
        return traffic_of(self.accidents[-1])

    @property
    def since(self) -> datetime:
        return self.accidents[0].created_on


def traffic_of(deployment: WorkerDeployment) -> Split:
    return tuple(share for share in deployment.split if share[1] > 0)


def leave_out_rehearsals(deployments: Iterable[WorkerDeployment]) -> tuple[WorkerDeployment, ...]:
    """Return the deployments, newest first, without those that only started or ended a rehearsal.

    One that replaced a deployment by accident is left out too, unless it is live: nobody wanted it.
    """
    return _sort_displacements(deployments)[0]


def list_displacements(deployments: Iterable[WorkerDeployment]) -> tuple[Displacement, ...]:
    """Return the deployments that a rehearsal replaced by accident, oldest first."""
    return _sort_displacements(deployments)[1]


def list_traffic_changes(deployments: Iterable[WorkerDeployment]) -> tuple[WorkerDeployment, ...]:
    """Return the deployments, newest first, without rehearsals that changed no traffic."""
    kept: list[WorkerDeployment] = []
    for deployment in reversed(list(deployments)):
        if not (deployment.is_rehearsal and kept and is_same_split(traffic_of(deployment), traffic_of(kept[-1]))):
            kept.append(deployment)
    return tuple(reversed(kept))


def describe_accident(live: WorkerDeployment) -> str:
    """Return for people which deployment a rehearsal replaced, if `live` did that by accident; else empty."""
    if live.displaced is None:
        return ""
    served, since = describe_split(traffic_of(live)), format_utc(live.created_on)
    return f"a rehearsal put {served} live at {since} by accident, in place of {describe_deployment(live.displaced)}"


def _sort_displacements(
    deployments: Iterable[WorkerDeployment],
) -> tuple[tuple[WorkerDeployment, ...], tuple[Displacement, ...]]:
    wanted: list[WorkerDeployment] = []
    ended: list[Displacement] = []
    current: Displacement | None = None
    for deployment in reversed(list(deployments)):
        is_rehearsal = deployment.is_rehearsal and bool(wanted)
        is_unchanged = is_rehearsal and is_same_split(traffic_of(deployment), wanted[-1].split)
        if is_rehearsal and not is_unchanged and _redeploys_recent_version(deployment, wanted):
            before = current.accidents if current else ()
            current = Displacement(wanted[-1], (*before, deployment))
            continue
        if current is not None:
            ended.append(replace(current, ended_at=deployment.created_on))
            wanted[-1] = _deployment_after_displacement(
                ended[-1], deployment.created_on, deployment if is_unchanged else None
            )
        if is_unchanged:
            added = next((version for version, percent in deployment.split if percent == 0), "")
            wanted[-1] = replace(wanted[-1], rehearsed=added)
        else:
            wanted.append(replace(deployment, replaced=current.traffic) if current else deployment)
        current = None
    if current is not None:
        wanted.append(replace(current.accidents[-1], displaced=current.displaced))
        ended.append(current)
    return tuple(reversed(wanted)), tuple(ended)


def _redeploys_recent_version(deployment: WorkerDeployment, wanted: list[WorkerDeployment]) -> bool:
    """Return whether its traffic was live before, and only deployments of the last minutes came in between."""
    mark = deployment.mark
    if mark is None or mark.blames is not None:
        return False
    for each in reversed(wanted):
        if is_same_split(traffic_of(deployment), traffic_of(each)):
            return True
        if deployment.created_on - each.created_on > MAX_RACE:
            return False
    return False


def _deployment_after_displacement(
    over: Displacement, at: datetime, restoration: WorkerDeployment | None
) -> WorkerDeployment:
    """Return the displaced deployment with the time that it did not serve, and the deployment that restored it."""
    seconds = over.displaced.seconds_displaced + (at - over.since).total_seconds()
    restored = replace(restoration, replaced=over.traffic) if restoration else over.displaced.restored
    return replace(over.displaced, seconds_displaced=seconds, restored=restored)
