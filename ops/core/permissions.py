"""Look up which permission each call of Cloudflare's and GitHub's API needs.

`permissions.toml` beside this file holds a row for each call, with its page of documentation. `perhaps` is a permission
that may be enough, but that nobody has measured; the sandbox has a `switch` for it. `role` is the lowest role of a
person on GitHub who may send the call.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

Provider = Literal["cloudflare", "github"]
ANY_TOKEN = "any active token"  # noqa: S105  a text for people


@dataclass(frozen=True, kw_only=True)
class CallPermission:
    """Permission that a call needs."""

    method: str
    template: str
    needs: str
    """Permission group of Cloudflare, or a permission of GitHub such as `issues:write`; empty: any valid token."""
    page: str
    """Page of documentation, below the start of its provider's pages; `wrangler` if only that program shows it."""
    perhaps: str = ""
    """Permission that may be enough: no measurement shows which of the two is."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Pattern of its paths: `{name}` is a segment, `{name*}` one or more."""
        return re.compile(re.sub(r"\{\w+(\*?)\}", lambda part: ".+" if part[1] else "[^/]+", self.template))


@cache
def _read_permissions_file() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_name("permissions.toml").read_text(encoding="utf-8"))


@cache
def list_permissions(provider: Provider) -> tuple[CallPermission, ...]:
    return tuple(_parse_permission_rows(_read_permissions_file()[provider]))


def _parse_permission_rows(groups: list[dict[str, Any]]) -> Iterator[CallPermission]:
    for group in groups:
        for call, page in group["calls"].items():
            method, _, template = call.partition(" ")
            perhaps = group.get("perhaps", "")
            yield CallPermission(method=method, template=template, needs=group["needs"], page=page, perhaps=perhaps)


def find_permission(provider: Provider, method: str, path: str) -> CallPermission | None:
    """Return the permission of a request; None for a call without a row."""
    rows = (row for row in list_permissions(provider) if row.method == method and row.pattern.fullmatch(path))
    return next(rows, None)


def find_graphql_permission(query: str) -> str:
    """Return the permission group that a GraphQL query of Cloudflare needs."""
    return next((group for field, group in graphql_permissions().items() if f" {field}(" in query), ANY_TOKEN)


def graphql_permissions() -> Mapping[str, str]:
    """Return the field of a GraphQL query → permission group to read it."""
    groups: Mapping[str, str] = _read_permissions_file()["graphql"]
    return groups


def needed_permission(call: str) -> str:
    """Return the permission group that a call of Cloudflare needs, such as `GET /zones`. Raises KeyError."""
    return {f"{row.method} {row.template}": row.needs for row in list_permissions("cloudflare")}[call]


def template_key(area: str) -> str:
    """Return the key of a permission area in a link to Cloudflare's form for a token; empty if it has none."""
    keys: Mapping[str, str] = _read_permissions_file()["areas"]
    return keys.get(area, "")
