"""SQL that wrangler sends for a migration, character by character.

packages/wrangler/src/d1/migrations in github.com/cloudflare/workers-sdk, wrangler 4.164.
"""

import re
from dataclasses import dataclass

from ops.cloudflare.types.d1 import quote_identifier
from ops.database.local_copy import SqlRejectedError, split_statements

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
