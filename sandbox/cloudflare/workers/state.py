"""What Cloudflare keeps of a Worker: versions, which never change, and deployments, each a row of its history."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox.cloudflare.pages.state import Asset

SOURCE_MAP = "application/source-map"


@dataclass(frozen=True, kw_only=True)
class Module:
    name: str
    content_type: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class WorkerUpload:
    """What makes a version: code, bindings, secrets and runtime settings."""

    modules: tuple[Module, ...]
    main_module: str
    bindings: tuple[Mapping[str, Any], ...] = ()
    """All but the secrets."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    compatibility_date: str | None = None
    compatibility_flags: tuple[str, ...] = ()
    limits: Mapping[str, Any] | None = None
    placement: Mapping[str, Any] | None = None
    usage_model: str = "standard"
    cache_options: Mapping[str, Any] | None = None
    exports: Mapping[str, Any] | None = None
    """Durable Objects declared as exports: no version can be uploaded with them."""
    containers: tuple[Mapping[str, Any], ...] = ()
    has_assets: bool = False
    """Whether static files belong to it. They are in no digest that the API shows."""
    assets: Mapping[str, Asset] = field(default_factory=dict)
    """Path → static file."""
    assets_config: Mapping[str, Any] = field(default_factory=dict)
    migration_tag: str | None = None
    handlers: tuple[str, ...] = ("fetch",)
    durable_objects: tuple[str, ...] = ()
    """The classes that the code exports."""

    @property
    def etag(self) -> str:
        """Of the code alone: variables, secrets and dates do not count."""
        digest = hashlib.sha256()
        for module in sorted(self.modules, key=lambda module: module.name):
            if module.content_type != SOURCE_MAP:
                digest.update(f"{module.name}\0{module.content_type}\0{len(module.content)}\0".encode())
                digest.update(module.content)
        return digest.hexdigest()

    def plain_text(self, name: str) -> str | None:
        """The value of a variable."""
        binding = self.bound("plain_text", name)
        return None if binding is None else binding["text"]

    def bound(self, kind: str, name: str | None = None) -> Mapping[str, Any] | None:
        """The binding of that type, and of that name where one is given. Of secrets there is none."""
        found = (each for each in self.bindings if each["type"] == kind and name in {None, each["name"]})
        return next(found, None)


@dataclass(frozen=True, kw_only=True)
class AuthoredRecord:
    """Who did it, when, with what, and what they wrote beside it."""

    id: str
    created_on: datetime
    author_email: str
    source: str
    annotations: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class FakeWorkerVersion(AuthoredRecord):
    number: int
    upload: WorkerUpload


@dataclass(frozen=True, kw_only=True)
class FakeWorkerDeployment(AuthoredRecord):
    made_at: datetime
    """By the clock; `created_on` runs ahead of it where the clock stands still or went back."""
    percentages: Mapping[str, float]
    """Version id → share of the traffic."""
    secrets: Mapping[str, Mapping[str, str]]
    """Version id → the values it runs with, which after a forced rollback need not be its own."""
    code_update_strategy: Mapping[str, Any] | None = None


@dataclass(kw_only=True)
class FakeWorker:
    name: str
    tag: str
    versions: dict[str, FakeWorkerVersion] = field(default_factory=dict)
    """Oldest first."""
    history: list[FakeWorkerDeployment] = field(default_factory=list)
    """Oldest first."""
    last_number: int = 0
    migration_tag: str | None = None
    script_settings: dict[str, Any] = field(default_factory=dict)
    schedules: list[dict[str, str]] = field(default_factory=list)
    subdomain: dict[str, bool] = field(default_factory=lambda: {"enabled": False, "previews_enabled": False})
    reads_to_hide: dict[str, int] = field(default_factory=dict)
    """Id of a version or deployment → how many reads do not see it yet."""

    @property
    def latest(self) -> FakeWorkerVersion | None:
        """The version uploaded last, whether deployed or not."""
        return next(reversed(self.versions.values()), None)

    @property
    def live(self) -> Mapping[str, float]:
        return self.history[-1].percentages if self.history else {}

    @property
    def secrets_in_effect(self) -> Mapping[str, str]:
        """Those of the newest version that serves; before the first deployment, of the latest version."""
        if self.history:
            return self.history[-1].secrets[max(self.live, key=self.number)]
        return self.latest.upload.secrets if self.latest else {}

    def number(self, version_id: str) -> int:
        return self.versions[version_id].number

    def was_deployed(self, version_id: str) -> bool:
        return any(version_id in deployment.percentages for deployment in self.history)

    def changed_secrets(self, version: FakeWorkerVersion) -> list[str]:
        """Names of the secrets that are not in effect as `version` has them.

        A version that serves has changed nothing. Nor has a new one, never deployed and uploaded after all that
        serve: its secrets are meant.
        """
        is_new = not self.was_deployed(version.id) and version.number > max(map(self.number, self.live), default=0)
        if is_new or version.id in self.live:
            return []
        own, now = version.upload.secrets, self.secrets_in_effect
        return sorted(name for name in own.keys() | now.keys() if own.get(name) != now.get(name))

    def hides(self, version_or_deployment: str) -> bool:
        """Whether this read does not see it yet; each call is a read."""
        left = self.reads_to_hide.get(version_or_deployment, 0)
        self.reads_to_hide[version_or_deployment] = max(0, left - 1)
        return left > 0


def annotations(*, message: str | None = None, tag: str | None = None, triggered_by: str) -> dict[str, str]:
    """As the API answers them, cut to the API's limits: 1,000 bytes of message and 100 of tag.

    developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/deployments/methods/create
    """
    texts = {
        "workers/message": _cut(message, 1000),
        "workers/tag": _cut(tag, 100),
        "workers/triggered_by": triggered_by,
    }
    return {name: text for name, text in texts.items() if text is not None}


def _cut(text: str | None, size: int) -> str | None:
    return None if text is None else text.encode()[:size].decode(errors="ignore")


MAIN = "index.js"


def module(code: str) -> Module:
    return Module(name=MAIN, content_type="application/javascript+module", content=code.encode())


def bindings(vars: Mapping[str, str], *, version_metadata: bool) -> Iterator[Mapping[str, str]]:  # noqa: A002
    for name, text in vars.items():
        yield {"type": "plain_text", "name": name, "text": text}
    if version_metadata:
        yield {"type": "version_metadata", "name": "CF_VERSION_METADATA"}
