"""Read Workers and Pages projects from wrangler files.

developers.cloudflare.com/workers/wrangler/configuration and …/pages/functions/wrangler-configuration
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ops.cloudflare.response import text_or_empty
from ops.cloudflare.types.site_config import CONFIGURATION_FILES, MAX_BYTES, nested_table, read_settings
from ops.config.types import ACCOUNT
from ops.core.errors import ConfigError, Refused
from ops.core.suggestions import quote_name
from ops.setup.init.resources import Address, Resource, is_usable, route_address, usable_addresses

PRODUCTION = "production"
STORES = {
    "d1_databases": ("D1", "database_name"),
    "kv_namespaces": ("KV", "binding"),
    "r2_buckets": ("R2", "bucket_name"),
}
"""Key → name of the store for people, and the field with its name."""


def read_files(paths: Iterable[Path]) -> tuple[Resource, ...]:
    """Return the Workers and Pages projects of the files. Raises ConfigError if a file cannot be used."""
    return tuple(resource for path in paths for resource in _read_file(_find_file(path)))


def _find_file(path: Path) -> Path:
    """Return the file, or the first wrangler file of a folder."""
    if not path.is_dir():
        return path
    found = next((path / name for name in CONFIGURATION_FILES if (path / name).is_file()), None)
    if found is None:
        names = ", ".join(CONFIGURATION_FILES)
        raise ConfigError(f"{path} has no wrangler file", hint=f"Pass the folder or path of one of: {names}.")
    return found


def _read_file(path: Path) -> Iterator[Resource]:
    try:
        with path.open("rb") as file:
            settings = read_settings(path.name, file.read(MAX_BYTES + 1))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint="Pass the path of a wrangler file to --wrangler."
        ) from None
    except Refused as error:
        raise ConfigError(error.message, hint=f"Correct {path}, or leave it out.") from None
    found = list(_resources(settings))
    if not found:
        raise ConfigError(
            f"{path} names no Worker and no Pages project", hint="Add `name` to the file, or leave it out."
        )
    yield from found


def _resources(settings: Mapping[str, Any]) -> Iterator[Resource]:
    """Yield the resource of production: `env.production` where it exists, else the top level."""
    name, environment = text_or_empty(settings.get("name")), nested_table(settings, "env", PRODUCTION)
    if "pages_build_output_dir" in settings:
        if is_usable("pages", name):
            yield Resource("pages", name, _account(settings))
        return
    own = {**settings, **environment}
    if environment:
        name = text_or_empty(environment.get("name")) or f"{name}-{PRODUCTION}"
    if is_usable("worker", name):
        yield Resource(
            "worker",
            name,
            _account(own),
            usable_addresses(_addresses(own)),
            has_assets=bool(nested_table(own, "assets")),
            objects=tuple(sorted(set(_objects(own)))),
            stores=tuple(sorted(set(_stores(own)))),
        )


def _account(settings: Mapping[str, Any]) -> str:
    account = text_or_empty(settings.get("account_id"))
    return account if re.fullmatch(ACCOUNT, account) else ""


def _addresses(settings: Mapping[str, Any]) -> Iterator[Address]:
    """Yield custom domains and routes, in the order of the file."""
    listed = settings.get("routes")
    for route in [settings.get("route"), *(listed if isinstance(listed, list) else [])]:
        pattern = text_or_empty(route.get("pattern") if isinstance(route, dict) else route)
        host, slash, path = pattern.removeprefix("https://").removeprefix("http://").partition("/")
        yield from route_address(host, slash + path)


def _objects(settings: Mapping[str, Any]) -> Iterator[str]:
    rows = nested_table(settings, "durable_objects").get("bindings")
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and not row.get("script_name") and text_or_empty(row.get("class_name")):
            yield row["class_name"]


def _stores(settings: Mapping[str, Any]) -> Iterator[str]:
    for key, (kind, named) in STORES.items():
        rows = settings.get(key)
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and text_or_empty(row.get(named)):
                yield f"{kind} {quote_name(row[named])}"
