"""A Worker as Cloudflare stores it: immutable versions, and the history of deployments."""

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
    """Content of a version: code, bindings, secrets and runtime settings."""

    modules: tuple[Module, ...]
    main_module: str
    bindings: tuple[Mapping[str, Any], ...] = ()
    """All bindings except the secrets."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    compatibility_date: str | None = None
    compatibility_flags: tuple[str, ...] = ()
    limits: Mapping[str, Any] | None = None
    placement: Mapping[str, Any] | None = None
    usage_model: str = "standard"
    cache_options: Mapping[str, Any] | None = None
    exports: Mapping[str, Any] | None = None
    """Durable Objects declared as exports; the upload API does not accept them."""
    containers: tuple[Mapping[str, Any], ...] = ()
    has_assets: bool = False
    """Whether it has static files. No digest in the API covers them."""
    assets: Mapping[str, Asset] = field(default_factory=dict)
    """Path → static file."""
    assets_config: Mapping[str, Any] = field(default_factory=dict)
    migration_tag: str | None = None
    handlers: tuple[str, ...] = ("fetch",)
    durable_objects: tuple[str, ...] = ()
    """Durable Object classes that the code exports."""

    @property
    def etag(self) -> str:
        """Digest of the code alone, without variables, secrets and dates."""
        digest = hashlib.sha256()
        for module in sorted(self.modules, key=lambda module: module.name):
            if module.content_type != SOURCE_MAP:
                digest.update(f"{module.name}\0{module.content_type}\0{len(module.content)}\0".encode())
                digest.update(module.content)
        return digest.hexdigest()

    def plain_text(self, name: str) -> str | None:
        """Return the value of a variable; None if it is missing."""
        binding = self.find_binding("plain_text", name)
        return None if binding is None else binding["text"]

    def find_binding(self, kind: str, name: str | None = None) -> Mapping[str, Any] | None:
        """Return a binding of that type and, if given, that name. Secrets are not included."""
        found = (each for each in self.bindings if each["type"] == kind and name in {None, each["name"]})
        return next(found, None)


@dataclass(frozen=True, kw_only=True)
class AuthoredRecord:
    """A record with author, time, client and annotations."""

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
    """Time of the clock; `created_on` is later if the clock stands still or moved back."""
    percentages: Mapping[str, float]
    """Version ID → share of the traffic in percent."""
    secrets: Mapping[str, Mapping[str, str]]
    """Version ID → secret values that it runs with; after a forced rollback they may differ from its own."""
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
    hidden_reads: dict[str, int] = field(default_factory=dict)
    """ID of a version or deployment → number of reads that do not show it yet."""

    @property
    def latest(self) -> FakeWorkerVersion | None:
        """The version uploaded last, deployed or not."""
        return next(reversed(self.versions.values()), None)

    @property
    def live(self) -> Mapping[str, float]:
        return self.history[-1].percentages if self.history else {}

    @property
    def secrets_in_effect(self) -> Mapping[str, str]:
        """Secrets of the newest live version; before the first deployment, of the latest version."""
        if self.history:
            return self.history[-1].secrets[max(self.live, key=self.number)]
        return self.latest.upload.secrets if self.latest else {}

    def number(self, version_id: str) -> int:
        return self.versions[version_id].number

    def was_deployed(self, version_id: str) -> bool:
        return any(version_id in deployment.percentages for deployment in self.history)

    def changed_secrets(self, version: FakeWorkerVersion) -> list[str]:
        """Return the names of secrets whose current values differ from those of `version`.

        Empty for a live version. Also empty for a new version, which was never deployed and is newer than all live
        ones: its secrets are intended.
        """
        is_new = not self.was_deployed(version.id) and version.number > max(map(self.number, self.live), default=0)
        if is_new or version.id in self.live:
            return []
        own, now = version.upload.secrets, self.secrets_in_effect
        return sorted(name for name in own.keys() | now.keys() if own.get(name) != now.get(name))

    def is_hidden(self, version_or_deployment: str) -> bool:
        """Return whether this read does not show it yet; each call counts as a read."""
        left = self.hidden_reads.get(version_or_deployment, 0)
        self.hidden_reads[version_or_deployment] = max(0, left - 1)
        return left > 0


def make_annotations(*, message: str | None = None, tag: str | None = None, triggered_by: str) -> dict[str, str]:
    """Return the annotations, truncated to the API's limits: 1,000 bytes of message and 100 of tag.

    developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/deployments/methods/create
    """
    texts = {
        "workers/message": _truncate(message, 1000),
        "workers/tag": _truncate(tag, 100),
        "workers/triggered_by": triggered_by,
    }
    return {name: text for name, text in texts.items() if text is not None}


def _truncate(text: str | None, size: int) -> str | None:
    return None if text is None else text.encode()[:size].decode(errors="ignore")


MAIN = "index.js"


def make_module(code: str) -> Module:
    return Module(name=MAIN, content_type="application/javascript+module", content=code.encode())


def make_bindings(vars: Mapping[str, str], *, version_metadata: bool) -> Iterator[Mapping[str, str]]:  # noqa: A002
    for name, text in vars.items():
        yield {"type": "plain_text", "name": name, "text": text}
    if version_metadata:
        yield {"type": "version_metadata", "name": "CF_VERSION_METADATA"}
