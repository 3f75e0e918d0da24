"""Find a D1 database and its migrations in a wrangler file, and the SQL that wrangler sends.

Rules: resolveMigrationsConfig in github.com/cloudflare/workers-sdk, packages/wrangler, and its src/d1/migrations, as in
wrangler 4.164. The SQL is equal character by character.
"""

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ops.cloudflare.response import UUID
from ops.cloudflare.types.d1 import quote_identifier
from ops.cloudflare.types.inventory import NamedResource
from ops.cloudflare.types.site_config import read_settings
from ops.core.errors import Reason, Refused
from ops.core.migrations_folder import DEFAULT_PATTERN, DEFAULT_TABLE, MigrationsFolder, find_pattern_problem
from ops.core.names import quote_name
from ops.database.local_copy import SqlRejectedError, split_statements

DEFAULT_FOLDER = "migrations"


@dataclass(frozen=True)
class DatabaseBinding:
    """A D1 database of a wrangler file."""

    name: str
    """Name with which wrangler finds it."""
    id: str
    """Empty if the file does not name it: then it is the account's database with that name."""
    account_id: str
    """Empty if the file does not name it."""
    migrations: MigrationsFolder


def find_binding(file: str, raw: bytes, name: str, environment: str) -> DatabaseBinding:
    """Return a database of a wrangler file by its name or binding; without a name, its only one.

    The path of the file starts at the folder that must contain the migrations. `environment` is one of the file, or
    empty. As in wrangler, an environment inherits no database.

    Raises:
        Refused: the file cannot be read, or it names no such database.
    """
    settings = _read_wrangler_file(file, raw)
    table = _find_environment(file, settings, environment)
    binding = _find_database(file, table, name, environment)
    known_as, database_id = binding.get("database_name") or binding.get("binding"), binding.get("database_id") or ""
    account = table.get("account_id") or settings.get("account_id") or ""
    if not isinstance(known_as, str) or not isinstance(account, str):
        raise _unusable_wrangler_file(f"{file} has a name or account_id that is not a text")
    if not database_id and not binding.get("database_name"):
        known_as = _provisioned_database_name(file, known_as, settings, table, environment)
    elif not isinstance(database_id, str) or (database_id and not UUID.fullmatch(database_id)):
        raise _unusable_wrangler_file(
            f"the database_id of {quote_name(known_as)} in {file} is no UUID", "Correct or remove it."
        )
    folder = _parse_folder(file, binding)
    if problem := find_pattern_problem(folder.pattern):
        raise _unusable_wrangler_file(f"migrations_pattern {quote_name(folder.pattern)} in {file} {problem}")
    return DatabaseBinding(known_as, database_id, account, folder)


def _provisioned_database_name(
    file: str, binding: str, settings: Mapping[str, Any], table: Mapping[str, Any], environment: str
) -> str:
    """Return the name that `wrangler deploy` gives to a database whose binding has neither a name nor an id.

    developers.cloudflare.com/workers/wrangler/configuration/#automatic-provisioning, as in wrangler 4.164.
    """
    worker = settings.get("name")
    if environment:
        worker = table.get("name") or (f"{worker}-{environment}" if worker else None)
    if not isinstance(worker, str) or not worker:
        text = f"the binding {quote_name(binding)} in {file} has no database_name, and the Worker there has no name"
        raise _unusable_wrangler_file(text, "Add database_name to the binding.")
    return f"{worker}-{binding.lower().replace('_', '-')}"


def find_database_id(name: str, databases: Iterable[NamedResource]) -> str:
    """Return the id of an account's database, whose name no other one has. Raises Refused if there is none."""
    database_id = next((each.id for each in databases if each.name == name), "")
    if not database_id:
        raise _unusable_wrangler_file(
            f"the account has no D1 database {quote_name(name)}, and the wrangler file names no database_id",
            "Check the account. `wrangler deploy` makes the database; if it has another name, add database_name or "
            "database_id to its binding.",
        )
    return database_id


def _find_environment(file: str, settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the settings of an environment; without a name, those of the file itself."""
    if not name:
        return settings
    environments = settings.get("env")
    known = environments if isinstance(environments, dict) else {}
    section = known.get(name)
    if not isinstance(section, dict):
        raise _unusable_wrangler_file(
            f"{file} has no environment {quote_name(name)}; it has: {_list_migration_names(known)}",
            "Correct --env, or CLOUDFLARE_ENV.",
        )
    return section


def _find_database(file: str, table: Mapping[str, Any], name: str, environment: str) -> Mapping[str, Any]:
    """Return the binding of the database with this name or binding; without a name, the only one."""
    place = f"environment {quote_name(environment)} of {file}" if environment else file
    listed = table.get("d1_databases")
    rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    fitting = [row for row in rows if not name or name in (row.get("database_name"), row.get("binding"))]
    if len(fitting) == 1:
        return fitting[0]
    known = _list_migration_names(str(row.get("database_name") or row.get("binding")) for row in rows)
    if not rows:
        hint = (
            "Add the database there: it inherits none." if environment else "Add it, or name an environment with --env."
        )
        raise _unusable_wrangler_file(f"{place} has no D1 database", hint)
    if not name:
        raise _unusable_wrangler_file(f"{place} has {len(rows)} D1 databases: {known}", "Name one with --database.")
    text = f"{place} has {len(fitting) or 'no'} D1 database{'s' if fitting else ''} {quote_name(name)}; it has: {known}"
    raise _unusable_wrangler_file(text, "Correct --database.")


def _list_migration_names(names: Iterable[str]) -> str:
    return ", ".join(map(quote_name, names)) or "none"


def _read_wrangler_file(file: str, raw: bytes) -> dict[str, Any]:
    try:
        return read_settings(file, raw)
    except Refused as error:
        raise _unusable_wrangler_file(error.message) from None


def _parse_folder(file: str, binding: Mapping[str, Any]) -> MigrationsFolder:
    given = {name: binding.get(name) for name in ("migrations_dir", "migrations_table", "migrations_pattern")}
    if wrong := [name for name, value in given.items() if not isinstance(value, str | None)]:
        raise _unusable_wrangler_file(f"{wrong[0]} in {file} is not a text")
    if given["migrations_pattern"] is not None and given["migrations_dir"] is None:
        raise _unusable_wrangler_file(f"{file} has migrations_pattern without migrations_dir")
    folder = _normalize_folder(given["migrations_dir"] or DEFAULT_FOLDER)
    pattern = _normalize_folder(given["migrations_pattern"] or f"{folder}/{DEFAULT_PATTERN}")
    prefix = "" if folder == "." else f"{folder}/"
    if not pattern.startswith(prefix):
        raise _unusable_wrangler_file(f"migrations_pattern in {file} does not start with {quote_name(prefix)}")
    place = posixpath.normpath(posixpath.join(posixpath.dirname(file), folder))
    if place.startswith(("/", "../")) or place == "..":
        hint = "Start in a folder that contains both, such as the root of the repository, with --wrangler."
        raise _unusable_wrangler_file(f"migrations_dir in {file} is outside of the folder of this command", hint)
    return MigrationsFolder(place, given["migrations_table"] or DEFAULT_TABLE, pattern.removeprefix(prefix))


def _normalize_folder(path: str) -> str:
    return posixpath.normpath(path.replace("\\", "/"))


def _unusable_wrangler_file(text: str, hint: str = "Correct the wrangler file.") -> Refused:
    return Refused(text, reason=Reason.CONFIG_INVALID, hint=hint)


_LINE_ENDS = re.compile(
    r"""'(?:[^']|'')*+'?|"(?:[^"]|"")*+"?|`(?:[^`]|``)*+`?|\[(?:[^\]]|\]\])*+\]?|--[^\n]*\n?|/\*.*?(?:\*/|\Z)|\r\n""",
    re.DOTALL,
)
"""Quoted texts, comments and line ends: wrangler changes no line end within quotes."""


@dataclass(frozen=True)
class MigrationFile:
    name: str
    """Path relative to the folder of migrations, as in the table."""
    text: str


def create_table_sql(table: str) -> str:
    """Return wrangler's statement for the table of migrations, character by character."""
    return (
        f"CREATE TABLE IF NOT EXISTS {quote_identifier(table)}(\n"
        "\t\tid         INTEGER PRIMARY KEY AUTOINCREMENT,\n"
        "\t\tname       TEXT UNIQUE,\n"
        "\t\tapplied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL\n"
        ");"
    )


def migration_sql(file: MigrationFile, table: str) -> str:
    """Return wrangler's SQL of a migration: its text and its row, which D1 runs as one transaction."""
    return _LINE_ENDS.sub(_normalize_line_end, f"{file.text}\n{row_sql(file.name, table)}")


def row_sql(name: str, table: str) -> str:
    quoted = name.replace("'", "''")
    return f"INSERT INTO {quote_identifier(table)} (name)\nvalues ('{quoted}');"


def _normalize_line_end(match: re.Match[str]) -> str:
    return match[0] if match[0][0] in "'\"`[" else match[0].replace("\r\n", "\n")


def split_migration(file: MigrationFile, table: str) -> list[str]:
    """Return the statements of a migration, and its row. Raises SqlRejectedError."""
    statements = list(split_statements(migration_sql(file, table)))
    if not statements[-1].endswith(row_sql(file.name, table)):
        raise SqlRejectedError("the text ends in an open comment, which hides the row of the migration")
    return statements
