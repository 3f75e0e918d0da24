"""Read which permission each call of Cloudflare's and GitHub's API needs.

`ops/core/permissions.toml` holds the facts, each with its page of documentation. Backout names a missing permission by
the same file; what a runbook declares is its own, and the routes here judge it.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

_FILE = Path(__file__).parents[1] / "ops" / "core" / "permissions.toml"
Provider = Literal["cloudflare", "github"]


@dataclass(frozen=True, kw_only=True)
class CallPermission:
    """Access rule of a call."""

    needs: str
    """Permission of the token, such as `D1 Write` or `issues:write`; empty: any valid token."""
    page: str = ""
    """Page of documentation, below the start of its provider's pages; `wrangler` if only that program shows it."""
    perhaps: str = ""
    """Permission that is enough if `switch` of the sandbox is on, because no measurement shows which one is."""
    switch: str = ""
    role: str = ""
    """Role of a person on GitHub; empty: read to read, write to write."""


@cache
def read_permissions() -> Mapping[str, Any]:
    table: dict[str, Any] = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return table


@cache
def call_permissions(provider: Provider) -> Mapping[str, CallPermission]:
    """Return method and template → access rule."""
    return dict(_parse_rows(read_permissions()[provider]))


def _parse_rows(groups: list[dict[str, Any]]) -> Iterator[tuple[str, CallPermission]]:
    for group in groups:
        rule = {name: value for name, value in group.items() if name != "calls"}
        for call, page in group["calls"].items():
            yield call, CallPermission(page=page, **rule)


@cache
def permission_groups() -> tuple[str, ...]:
    """Return all permission groups of Cloudflare that a call needs."""
    rules = call_permissions("cloudflare").values()
    named = {name for rule in rules for name in (rule.needs, rule.perhaps)}
    return tuple(sorted({*named, *read_permissions()["graphql"].values()} - {""}))
