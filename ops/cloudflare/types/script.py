"""A version of a Worker as it can be uploaded again: code, bindings, settings. No secret's value is in it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.cloudflare.types.workers import ASSETS_BINDING_TYPE, SECRET_BINDING_TYPES

UPLOADABLE_BINDING_TYPES = SECRET_BINDING_TYPES | {
    *("ai", "analytics_engine", "browser", "d1", "dispatch_namespace", "durable_object_namespace", "hyperdrive"),
    *("images", "json", "kv_namespace", "mtls_certificate", "pipelines", "plain_text", "queue", "r2_bucket"),
    *("ratelimit", "secrets_store_secret", "send_email", "service", "vectorize", "version_metadata", "workflow"),
}
"""Kinds of bindings whose answer is all that an upload needs; secrets are inherited.

developers.cloudflare.com/workers/configuration/multipart-upload-metadata/#bindings. A kind that is not here may stand
for more than its answer holds, such as the file of a `wasm_module`.
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
    """Empty for a Worker in the service-worker format, which has none."""
    modules: tuple[WorkerModule, ...]
    bindings: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """As Cloudflare answers them, variables in clear: never print them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Those of a version that an upload takes: compatibility date and flags, limits, placement, usage model."""
    unsupported_parts: tuple[str, ...] = ()
    """Other parts that it has, by their name at Cloudflare, such as `containers`."""
    migration_tag: str | None = None

    @property
    def secret_names(self) -> frozenset[str]:
        return frozenset(each["name"] for each in self.bindings if each["type"] in SECRET_BINDING_TYPES)

    @property
    def upload_obstacles(self) -> tuple[str, ...]:
        """Why it cannot be uploaded again as it is; empty where it can."""
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
                yield f"its static assets (binding {binding['name']}) cannot be read"
            elif binding["type"] not in UPLOADABLE_BINDING_TYPES:
                yield f"its binding {binding['name']} is of a kind that is not known here ({binding['type']})"
