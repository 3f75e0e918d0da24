"""A version of a Worker as it can be uploaded again: code, bindings, settings. No secret's value is in it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.model.worker import ASSETS_BINDING, SECRET_BINDINGS

WITH_A_FILE = frozenset({"wasm_module", "text_blob", "data_blob"})
"""Bindings of the service-worker format: each names a part of the upload that cannot be read back."""


@dataclass(frozen=True)
class Module:
    name: str
    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Code:
    version: str
    main_module: str
    """Empty for a Worker in the service-worker format, which has none."""
    modules: tuple[Module, ...]
    bindings: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """As Cloudflare answers them, variables in clear: never print them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Those of a version that an upload takes: compatibility date and flags, limits, placement."""
    migration_tag: str | None = None

    @property
    def secret_names(self) -> frozenset[str]:
        return frozenset(each["name"] for each in self.bindings if each["type"] in SECRET_BINDINGS)

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Why it cannot be uploaded again as it is; empty where it can."""
        return tuple(self._obstacles())

    def _obstacles(self) -> Iterator[str]:
        if not self.main_module:
            yield "it is in the service-worker format"
        elif self.main_module not in {module.name for module in self.modules}:
            yield f"its main module {self.main_module} cannot be read"
        for binding in self.bindings:
            if binding["type"] == ASSETS_BINDING:
                yield f"its static assets (binding {binding['name']}) cannot be read"
            elif binding["type"] in WITH_A_FILE:
                yield f"the file of its binding {binding['name']} ({binding['type']}) cannot be read"
