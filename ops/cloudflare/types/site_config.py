"""Wrangler configuration of a Pages site: settings and bindings of a commit.

A build runs untrusted code, so its output must not choose these settings. Only documented Pages settings of the
committed file are accepted (developers.cloudflare.com/pages/functions/wrangler-configuration): none of them runs a
command or makes wrangler read a file.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.core.errors import Reason, Refused

CONFIGURATION_FILES = ("wrangler.json", "wrangler.jsonc", "wrangler.toml")
"""File names in the order in which wrangler looks for them."""
REDIRECT_FILE = ".wrangler/deploy/config.json"
"""File that redirects to another configuration (…/wrangler/configuration/#generated-wrangler-configuration)."""
MAX_BYTES = 200_000
"""Largest configuration, in bytes."""
MAX_LINES, MAX_NAME_LENGTH = 60, 120

_PLAIN = {"name", "pages_build_output_dir", "compatibility_date", "compatibility_flags", "limits", "placement"}
_LISTS = {
    "kv_namespaces": ("KV", "id"),
    "d1_databases": ("D1", "database_id"),
    "r2_buckets": ("R2", "bucket_name"),
    "vectorize": ("Vectorize", "index_name"),
    "hyperdrive": ("Hyperdrive", "id"),
    "services": ("service", "service"),
    "analytics_engine_datasets": ("Analytics Engine", "dataset"),
    "mtls_certificates": ("mTLS certificate", "certificate_id"),
}
"""Key → display name of the binding, and the field with its target."""
_SINGLE = {"ai": "AI", "browser": "browser", "version_metadata": "version metadata"}
_NESTED = {"durable_objects": ("bindings", "Durable Object", ""), "queues": ("producers", "queue", "queue")}
_TAKEN = {*_PLAIN, "vars", *_LISTS, *_SINGLE, *_NESTED}
_DROPPED = {"upload_source_maps", "no_bundle", "send_metrics", "dev", "$schema"}
"""Ignored settings without effect on the site. The first makes wrangler read the files that a source map names."""


@dataclass(frozen=True)
class SiteConfiguration:
    """Configuration of one commit. Without settings, the project's settings on Cloudflare apply."""

    file: str = ""
    """Path of the file; empty if the commit has no Pages configuration."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    dropped_settings: tuple[str, ...] = ()
    """Settings of the file that Backout ignores."""

    @property
    def bindings(self) -> tuple[str, ...]:
        """Return production bindings and variable names without values, for people."""
        production = nested_table(self.settings, "env", "production")
        return tuple(sorted(_describe_site_bindings(production or self.settings)))


NO_CONFIGURATION = SiteConfiguration()


def parse_configuration(name: str, raw: bytes) -> SiteConfiguration:
    """Parse a configuration file. Raises Refused for an unreadable file or a forbidden setting."""
    settings = read_settings(name, raw)
    if "pages_build_output_dir" not in settings:  # wrangler ignores such a file for Pages
        return NO_CONFIGURATION
    environments = settings.pop("env", {})
    kept, dropped = _filter_settings(name, settings)
    if not isinstance(environments, dict) or not all(isinstance(each, dict) for each in environments.values()):
        raise _unusable_site_config(f"`env` in {name} is not a table of environments")
    passed = {}
    for environment, own in environments.items():
        passed[environment], further = _filter_settings(name, own)
        dropped |= further
    whole = {**kept, **({"env": passed} if passed else {})}
    return SiteConfiguration(name, whole, tuple(sorted(dropped)))


def _filter_settings(name: str, settings: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    if stray := sorted(settings.keys() - _TAKEN - _DROPPED):
        named = ", ".join(key[:40] for key in stray[:5])
        raise _unusable_site_config(
            f"{name} of the commit has {named}, which could run a command or read files beside the token"
        )
    kept = {key: value for key, value in settings.items() if key in _TAKEN}
    return kept, settings.keys() & _DROPPED


def read_settings(name: str, raw: bytes) -> dict[str, Any]:
    """Return the settings of a wrangler file. Raises Refused if it is too large or no table."""
    if len(raw) > MAX_BYTES:
        raise _unusable_site_config(f"{name} has {len(raw)} bytes, but the limit is {MAX_BYTES}")
    try:
        text = raw.decode("utf-8-sig")
        settings = tomllib.loads(text) if name.endswith(".toml") else json.loads(_without_comments(text))
        json.dumps(settings, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise _unusable_site_config(f"{name} cannot be read: {str(error)[:100]}") from None
    if not isinstance(settings, dict):
        raise _unusable_site_config(f"{name} is not a table of settings")
    return settings


_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"?|//[^\n]*|/\*(?:[^*]|\*(?!/))*+(?:\*/)?|[^"/,]+|.', re.DOTALL)
"""Tokens of JSONC. An unterminated token extends to the end, so each character is read once."""


def _without_comments(text: str) -> str:
    """Return JSONC as JSON, without comments and trailing commas."""
    parts = [part for part in _TOKENS.findall(text) if part.strip() and not part.startswith(("//", "/*"))]
    closes = [following.lstrip()[:1] in {"}", "]"} for following in [*parts[1:], ""]]
    return "".join(part for part, closed in zip(parts, closes, strict=False) if not (part == "," and closed))


def _describe_site_bindings(settings: Mapping[str, Any]) -> Iterator[str]:
    for key, (kind, target) in _LISTS.items():
        yield from _describe_binding_rows(settings.get(key), kind, target)
    for key, (inner, kind, target) in _NESTED.items():
        yield from _describe_binding_rows(nested_table(settings, key).get(inner), kind, target)
    for key, kind in _SINGLE.items():
        if binding := nested_table(settings, key).get("binding"):
            yield describe_binding(kind, binding)
    for name in nested_table(settings, "vars"):
        yield describe_binding("variable", name)


def _describe_binding_rows(rows: Any, kind: str, target: str) -> Iterator[str]:
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict):
            yield describe_binding(kind, row.get("binding") or row.get("name"), row.get(target))


def describe_binding(kind: str, name: Any, target: Any = None) -> str:
    """Return a binding for people, without a target that is not text."""
    parts = [f"{kind} {str(name)[:MAX_NAME_LENGTH]}"]
    parts += [f"→ {target[:MAX_NAME_LENGTH]}"] if isinstance(target, str) and target else []
    return " ".join(parts)


def compare_bindings(new: tuple[str, ...] | None, live: tuple[str, ...]) -> tuple[str, ...]:
    """Compare the new bindings with the live ones. `new` is None if the project's settings stay in use."""
    if new is None:
        return _cut_binding_lines([f"= {each}" for each in live]) or ("none",)
    both = [f"= {each}" for each in new if each in live]
    added, gone = [f"+ {each}" for each in new if each not in live], [f"- {each}" for each in live if each not in new]
    return _cut_binding_lines([*added, *gone, *both]) or ("none",)


def _cut_binding_lines(rows: list[str]) -> tuple[str, ...]:
    more = [f"and {len(rows) - MAX_LINES} more"] if len(rows) > MAX_LINES else []
    return (*rows[:MAX_LINES], *more)


def nested_table(settings: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return the table below these keys; empty for another value, which must not stop a recovery."""
    table: Any = settings
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else {}


def _unusable_site_config(text: str) -> Refused:
    hint = "Nothing was sent to Cloudflare. Remove the setting from the file, or pass another commit."
    return Refused(text, reason=Reason.BUILD_UNUSABLE, hint=hint)
