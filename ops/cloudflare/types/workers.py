"""What Cloudflare says of a Worker: its versions and its deployments, as values; and how two versions differ."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from ops.cloudflare import deployment_mark as mark

SECRET_BINDING_TYPES = frozenset({"secret_text", "secret_key"})
ASSETS_BINDING_TYPE = "assets"

BindingKey = tuple[str, str]


@dataclass(frozen=True)
class WorkerDeployment:
    """One row of the deployment history. `split` holds (version, percent), largest share first."""

    id: str
    created_on: datetime
    split: tuple[tuple[str, float], ...]
    author: str = ""
    source: str = ""
    message: str = ""
    problem: str = ""
    """Why the row could not be read. It then has no split, and nothing is concluded from it."""

    @property
    def serving_versions(self) -> tuple[str, ...]:
        """The versions with traffic: a member at 0 % is deployed and serves nobody."""
        return tuple(version for version, percent in self.split if percent > 0)

    @cached_property
    def mark(self) -> mark.DeploymentMark | None:
        return mark.parse_mark(self.message)

    def combined_share(self, versions: Iterable[str]) -> float:
        wanted = set(versions)
        return sum(percent for version, percent in self.split if version in wanted)


@dataclass(frozen=True)
class WorkerVersion:
    """A version as the list shows it; `detailed` once its own page was read (code, bindings, runtime)."""

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
    """(type, name) → the rest of the binding as canonical JSON. Plain-text values are in it: never print it."""
    runtime: Mapping[str, str] = field(default_factory=dict)
    """Setting → canonical JSON: compatibility date and flags, limits, placement, usage model."""
    handlers: frozenset[str] = frozenset()
    durable_object_classes: frozenset[str] = frozenset()
    """The classes that this version exports: their objects restart when another version takes over."""
    migration_tag: str | None = None

    @property
    def has_assets(self) -> bool:
        return any(kind == ASSETS_BINDING_TYPE for kind, _ in self.bindings)

    @property
    def secret_names(self) -> frozenset[str]:
        return frozenset(name for kind, name in self.bindings if kind in SECRET_BINDING_TYPES)

    @property
    def called_workers(self) -> frozenset[str]:
        """The Workers that it reaches by a service binding."""
        return frozenset(
            json.loads(rest).get("service", "") for (kind, _), rest in self.bindings.items() if kind == "service"
        )

    @property
    def variables(self) -> Mapping[str, Any]:
        """Plain-text ones and JSON ones, by name."""
        fields = {"plain_text": "text", "json": "json"}
        found = ((kind, name, rest) for (kind, name), rest in self.bindings.items() if kind in fields)
        return {name: json.loads(rest).get(fields[kind]) for kind, name, rest in found}

    @property
    def code_and_settings(self) -> tuple[object, ...] | None:
        """What makes two versions one release; None where the code is unknown, which equals nothing.

        Secrets are left out: a secret edit makes a version, not a release.
        """
        if self.etag is None:
            return None
        bindings = sorted((key, value) for key, value in self.bindings.items() if key[0] not in SECRET_BINDING_TYPES)
        return self.etag, tuple(bindings), tuple(sorted(self.runtime.items()))


Split = tuple[tuple[str, float], ...]


def format_split(split: Split) -> str:
    """The form that `--to` takes: a version, or A@90,B@10. Whole identifiers, so that it can be pasted."""
    if len(split) == 1:
        return split[0][0]
    return ",".join(f"{version}@{percent:g}" for version, percent in split)


def short_id(version: str) -> str:
    """The first eight characters, for prose; `--to` takes them too where they are unique."""
    return version[:8]


def describe_split(split: Split) -> str:
    if len(split) == 1:
        return short_id(split[0][0])
    return " and ".join(f"{short_id(version)} at {percent:g} %" for version, percent in split)


def is_same_split(one: Split, other: Split) -> bool:
    return sorted(one) == sorted(other)


def describe_version_changes(live: WorkerVersion, target: WorkerVersion) -> list[str]:
    """What changes when `target` takes over from `live`, by name; values are never shown."""
    lines = []
    if live.etag != target.etag:
        lines.append("code")
    for kind, name in sorted(live.bindings.keys() | target.bindings.keys()):
        before, after = live.bindings.get((kind, name)), target.bindings.get((kind, name))
        if after is None:
            lines.append(f"binding {name} ({kind}) goes away")
        elif before is None:
            lines.append(f"binding {name} ({kind}) comes back")
        elif before != after:
            lines.append(f"binding {name} ({kind}) gets its former value")
    for setting in sorted(live.runtime.keys() | target.runtime.keys()):
        before, after = live.runtime.get(setting, "unset"), target.runtime.get(setting, "unset")
        if before != after:
            lines.append(f"{setting} {before} → {after}")
    lines += [f"handler {name} goes away" for name in sorted(live.handlers - target.handlers)]
    lines += [f"handler {name} comes back" for name in sorted(target.handlers - live.handlers)]
    return lines


def is_commit_sha(tag: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{7,40}", tag) is not None
