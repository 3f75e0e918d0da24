"""Create the tables that ops.yml names in a D1 database, and break them by a bad migration."""

import re
from typing import TYPE_CHECKING

from ops.core.errors import ConfigError
from ops.database.checks import judge_rows

if TYPE_CHECKING:
    from ops.config.sections import Database
    from sandbox import Sandbox

GOOD, BAD = "0001_drill.sql", "0002_drill.sql"
NOTE, RENAMED = "drill_note", "drill_text"
"""Column that the Worker reads, and its name after the bad migration."""
OWN_TABLE = "drill_rows"
"""Table of a database of which ops.yml names none."""
ROWS = 10
_NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
_MISSING = re.compile(r'no such (table|column): (?:\w+\.)?"?(\w+)')
_MOST_MISSING = 100
"""Names that the queries of ops.yml may need."""


def tables_for_drill(database: "Database") -> tuple[str, ...]:
    """Return the tables that ops.yml names, or the drill's own."""
    return tuple(dict.fromkeys([*database.created, *database.rows])) or (OWN_TABLE,)


class _Tables:
    """Tables and columns that the drill creates."""

    def __init__(self, sandbox: "Sandbox", database: "Database") -> None:
        self._sandbox, self._database = sandbox, database
        self.columns: dict[str, set[str]] = {}
        """Table → its columns in lower case."""

    def run(self, sql: str) -> list[dict[str, object]]:
        return self._sandbox.d1.query(self._database.id, sql)

    def add_table(self, name: str) -> None:
        self.run(f'CREATE TABLE "{name}" (id INTEGER PRIMARY KEY, {NOTE} TEXT)')
        self.columns[name] = {"id", NOTE}

    def add_column(self, table: str, name: str) -> None:
        if name.lower() not in self.columns[table]:
            self.run(f'ALTER TABLE "{table}" ADD COLUMN "{name}" TEXT')
            self.columns[table].add(name.lower())

    def add_missing(self, error: Exception) -> None:
        """Add the table or column that an error names. Raises ConfigError if it names none."""
        if not (missing := _MISSING.search(str(error))):
            raise ConfigError(f"a query of ops.yml cannot run in this drill: {error}", hint=_HINT) from None
        kind, name = missing.groups()
        if kind == "table":
            self.add_table(name)
        for table in self.columns if kind == "column" else ():
            self.add_column(table, name)


def create_tables(sandbox: "Sandbox", database: "Database") -> None:
    """Create each table that ops.yml and its queries name, and add rows by a migration. Raises ConfigError."""
    from sandbox.cloudflare.d1.sqlite import SqlError

    tables = _Tables(sandbox, database)
    for table in tables_for_drill(database):
        tables.add_table(table)
    for table, column in database.created.items():
        tables.add_column(table, column)
    for _ in range(_MOST_MISSING):
        try:
            for query in database.queries:
                tables.run(query.sql)
            break
        except SqlError as error:
            tables.add_missing(error)
    tables.run(
        f'CREATE TABLE "{database.migrations_table}" (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, '
        "applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)"
    )
    apply(sandbox, database, GOOD, *(insert_rows(database, table) for table in tables.columns))
    for query in database.queries:
        if text := judge_rows(query, tables.run(query.sql)):
            raise ConfigError(f"the drill's rows do not pass the query {query.name} of ops.yml: {text}", hint=_HINT)


_HINT = "Drill with a copy of ops.yml without this query."


def insert_rows(database: "Database", table: str) -> str:
    """Return a statement that adds as many rows to a new table as ops.yml expects."""
    bounds = database.rows.get(table)
    number = ROWS if bounds is None else max(bounds.at_least, min(ROWS, bounds.at_most or ROWS))
    column = database.created.get(table)
    names, values = (f', "{column}"', f", {_NOW}") if column else ("", "")
    counted = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {number})"  # noqa: S608
    return f'{counted} INSERT INTO "{table}" ({NOTE}{names}) SELECT i{values} FROM n'  # noqa: S608


def insert_row(database: "Database") -> str:
    """Return the statement by which the Worker adds a row, before and after the bad migration."""
    table = tables_for_drill(database)[0]
    column = database.created.get(table)
    values = f'("{column}") VALUES ({_NOW})' if column else "DEFAULT VALUES"
    return f'INSERT INTO "{table}" {values}'


def select_rows(database: "Database") -> str:
    """Return the statement by which the Worker reads; it fails after the bad migration."""
    return f'SELECT {NOTE} FROM "{tables_for_drill(database)[0]}" LIMIT 1'  # noqa: S608


def break_tables(sandbox: "Sandbox", database: "Database") -> None:
    """Apply the bad migration."""
    apply(sandbox, database, BAD, *_rename_columns(database, NOTE, RENAMED))


def source_files(database: "Database") -> dict[str, str]:
    """Return the bad migration and its down file, by their paths in the repository. Raises Refused."""
    folder = database.require_migrations("")
    up, down = (";\n".join(_rename_columns(database, *names)) + ";\n" for names in ((NOTE, RENAMED), (RENAMED, NOTE)))
    return {folder.find_path(BAD): up, folder.find_down_path(BAD): down}


def _rename_columns(database: "Database", old: str, new: str) -> list[str]:
    return [f'ALTER TABLE "{name}" RENAME COLUMN {old} TO {new}' for name in tables_for_drill(database)]


def apply(sandbox: "Sandbox", database: "Database", name: str, *statements: str) -> None:
    """Apply a migration as wrangler does: its statements and its row together."""
    row = f'INSERT INTO "{database.migrations_table}" (name) VALUES (?)'  # noqa: S608
    sandbox.d1.store(database.id).run([*((sql, ()) for sql in statements), (row, (name,))])
