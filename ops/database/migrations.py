"""Read the place of a database's migrations from a wrangler file.

Rules: resolveMigrationsConfig in github.com/cloudflare/workers-sdk, packages/wrangler, as in wrangler 4.164.
"""

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ops.cloudflare.response import UUID
from ops.cloudflare.types.site_config import read_settings
from ops.core.errors import Reason, Refused
from ops.core.migrations_folder import DEFAULT_PATTERN, DEFAULT_TABLE, MigrationsFolder, find_pattern_problem
from ops.core.suggestions import quote_name

DEFAULT_FOLDER = "migrations"


def parse_migrations_folder(file: str, raw: bytes, database_id: str) -> MigrationsFolder:
    """Return the folder of a database from a wrangler file, whose path starts at the root of the repository.

    Raises:
        Refused: the file cannot be read, has no such database, several places for it, or a pattern with unknown signs.
    """
    settings = _read(file, raw)
    found = list(dict.fromkeys(_parse_binding(file, each) for each in _bindings(settings, database_id)))
    if not found:
        raise _unusable(f"{file} has no D1 database with the id {database_id}")
    if len(found) > 1:
        raise _unusable(f"{file} has {len(found)} different migrations folders for the database {database_id}")
    _require_known_pattern(file, found[0])
    return found[0]


@dataclass(frozen=True)
class DatabaseBinding:
    """A D1 database of a wrangler file."""

    name: str
    """Name with which wrangler finds it."""
    id: str
    account_id: str
    """Empty if the file does not name it."""
    migrations: MigrationsFolder


def find_binding(file: str, raw: bytes, name: str, environment: str) -> DatabaseBinding:
    """Return a database of a wrangler file by its name or binding; without a name, its only one.

    `environment` is one of the file, or empty. As wrangler does it, an environment inherits no database.

    Raises:
        Refused: the file cannot be read, or it names no such database with an id.
    """
    settings = _read(file, raw)
    environments = settings.get("env") or {}
    table = environments.get(environment) if environment and isinstance(environments, dict) else settings
    if not isinstance(table, dict):
        raise _unusable(f"{file} has no environment {quote_name(environment)}")
    listed = table.get("d1_databases")
    rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    fitting = [row for row in rows if not name or name in (row.get("database_name"), row.get("binding"))]
    if len(fitting) != 1:
        known = ", ".join(quote_name(str(row.get("database_name") or row.get("binding"))) for row in rows) or "none"
        what = f"no D1 database {quote_name(name)}" if name else f"{len(rows)} D1 databases, and none is named"
        raise _unusable(f"{file} has {what}; it has: {known}")
    (found,) = fitting
    known_as, database_id = found.get("database_name") or found.get("binding"), found.get("database_id")
    account = table.get("account_id") or settings.get("account_id") or ""
    if not isinstance(known_as, str) or not isinstance(account, str):
        raise _unusable(f"{file} has a name or account_id that is not a text")
    if not isinstance(database_id, str) or not UUID.fullmatch(database_id):
        raise _unusable(f"{file} has no database_id of {quote_name(known_as)}")
    folder = _parse_binding(file, found)
    _require_known_pattern(file, folder)
    return DatabaseBinding(known_as, database_id, account, folder)


def _read(file: str, raw: bytes) -> dict[str, Any]:
    try:
        return read_settings(file, raw)
    except Refused as error:
        raise _unusable(error.message) from None


def _require_known_pattern(file: str, folder: MigrationsFolder) -> None:
    if problem := find_pattern_problem(folder.pattern):
        raise _unusable(f"migrations_pattern {quote_name(folder.pattern)} in {file} {problem}")


def _bindings(settings: Mapping[str, Any], database_id: str) -> Iterator[Mapping[str, Any]]:
    """Yield the bindings of a database, of all environments of the file."""
    environments = settings.get("env")
    tables = [settings, *(environments.values() if isinstance(environments, dict) else ())]
    for table in tables:
        rows = table.get("d1_databases") if isinstance(table, dict) else None
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and row.get("database_id") == database_id:
                yield row


def _parse_binding(file: str, binding: Mapping[str, Any]) -> MigrationsFolder:
    given = {name: binding.get(name) for name in ("migrations_dir", "migrations_table", "migrations_pattern")}
    if wrong := [name for name, value in given.items() if not isinstance(value, str | None)]:
        raise _unusable(f"{wrong[0]} in {file} is not a text")
    if given["migrations_pattern"] is not None and given["migrations_dir"] is None:
        raise _unusable(f"{file} has migrations_pattern without migrations_dir")
    folder = _normalize(given["migrations_dir"] or DEFAULT_FOLDER)
    pattern = _normalize(given["migrations_pattern"] or f"{folder}/{DEFAULT_PATTERN}")
    prefix = "" if folder == "." else f"{folder}/"
    if not pattern.startswith(prefix):
        raise _unusable(f"migrations_pattern in {file} does not start with {quote_name(prefix)}")
    place = posixpath.normpath(posixpath.join(posixpath.dirname(file), folder))
    if place.startswith(("/", "../")) or place == "..":
        raise _unusable(f"migrations_dir in {file} is outside of the repository")
    return MigrationsFolder(place, given["migrations_table"] or DEFAULT_TABLE, pattern.removeprefix(prefix))


def _normalize(path: str) -> str:
    return posixpath.normpath(path.replace("\\", "/"))


def _unusable(text: str) -> Refused:
    hint = "Mend the wrangler file on the default branch: the binding needs database_id and migrations_dir."
    return Refused(text, reason=Reason.CONFIG_INVALID, hint=hint)
