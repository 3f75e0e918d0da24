"""Code, bindings and settings of a Worker version, without secret values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.cloudflare.types.workers import ASSETS_BINDING_TYPE, SECRET_BINDING_TYPES

UPLOADABLE_BINDING_TYPES = SECRET_BINDING_TYPES | {
    *("ai", "analytics_engine", "browser", "d1", "dispatch_namespace", "durable_object_namespace", "hyperdrive"),
    *("images", "json", "kv_namespace", "mtls_certificate", "pipelines", "plain_text", "queue", "r2_bucket"),
    *("ratelimit", "secrets_store_secret", "send_email", "service", "vectorize", "version_metadata", "workflow"),
}
"""Binding types that can be uploaded as Cloudflare returns them; secrets are inherited.

developers.cloudflare.com/workers/configuration/multipart-upload-metadata/#bindings. Other types may have
parts that Cloudflare does not return, such as the file of a `wasm_module`.
"""


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
        return tuple(self._obstacles())

    def _obstacles(self) -> Iterator[str]:
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
