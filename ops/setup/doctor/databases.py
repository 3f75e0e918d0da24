"""Checks of each D1 database in ops.yml: id, token, tables, and the Workers that use it."""

from collections.abc import Iterator

from ops.cloudflare import d1
from ops.cloudflare.codes import ErrorKind
from ops.cloudflare.response import CloudflareApiError
from ops.cloudflare.types.d1 import SqlResult, SqlStatement
from ops.core.errors import ProviderError
from ops.core.suggestions import did_you_mean
from ops.setup.doctor.check import Findings, check
from ops.setup.doctor.facts import DatabaseFacts, databases
from ops.setup.doctor.finding import Answer, Finding
from ops.setup.secret_commands import TOKEN_PAGE

TIMEOUT = 5.0
"""Real seconds to wait for a query."""


@check("database", databases, needs=("account",), why="A restore fails at its first read.")
def database(found: DatabaseFacts) -> Findings:
    """Does the D1 database exist, and can the token read it?"""
    token = found.environment.config.token
    try:
        listed = found.environment.databases
        if found.config.id not in {each.id for each in listed}:
            names = ", ".join(f"{each.id} ({each.name})" for each in listed) or "none"
            yield Finding(f"the account has no D1 database {found.config.id}; it has {names}", "Correct it in ops.yml.")
            return
        _query(found, "SELECT 1")
    except CloudflareApiError as error:
        if error.kind is not ErrorKind.AUTH:
            raise
        is_job = found.environment.facts.is_job
        text = f"{token} may not query D1 databases, so it cannot restore one"
        fix = f"Add {d1.WRITE_PERMISSION} at {TOKEN_PAGE}, only to the token of the GitHub environment `database`."
        yield Finding(text, fix, Answer.WRONG if is_job else Answer.NOT_PROVABLE)


@check("database-tables", databases, needs=("database",), why="A restore counts no rows, or its checks say nothing.")
def tables(found: DatabaseFacts) -> Findings:
    """Do the tables, columns and queries of the database in ops.yml exist?"""
    config = found.config
    listed = {str(row["name"]) for row in _query(found, "SELECT name FROM sqlite_master WHERE type = 'table'").rows}
    for table in dict.fromkeys((config.migrations_table, *config.created, *config.rows)):
        if table.lower() not in {each.lower() for each in listed}:
            is_optional = table == config.migrations_table and config.migrations is None
            text = f"the database has no table {table}{did_you_mean(table, listed)}"
            yield Finding(text, "Correct it in ops.yml.", Answer.NOT_PROVABLE if is_optional else Answer.WRONG)
    for table, column in config.created.items():
        columns = {str(row["name"]) for row in _query(found, f'PRAGMA table_info("{table}")').rows}
        if columns and column.lower() not in {each.lower() for each in columns}:
            text = f"{table} has no column {column}{did_you_mean(column, columns)}"
            yield Finding(text, "Correct `created` in ops.yml.")
    yield from _bad_queries(found)


def _bad_queries(found: DatabaseFacts) -> Iterator[Finding]:
    """Let D1 compile each query of ops.yml, without running it."""
    for each in found.config.queries:
        if each.sql.strip()[:7].upper() in {"EXPLAIN", "PRAGMA "}:
            continue
        try:
            _query(found, f"EXPLAIN {each.sql}")
        except CloudflareApiError as error:
            if error.kind is not ErrorKind.REFUSED:
                raise
            yield Finding(f"query {each.name}: {error.message}", "Correct `queries` in ops.yml.")


@check(
    "database-workers",
    databases,
    needs=("database",),
    why="Maintenance leaves a Worker open that writes during a restore.",
)
def bindings(found: DatabaseFacts) -> Findings:
    """Does the database name exactly the services whose Workers bind it?"""
    for service in found.environment.config.services.values():
        if not service.worker:
            continue
        try:
            bound = found.session.workers.list_bindings(service.worker)
        except ProviderError as error:
            text = f"the bindings of {service.worker} are unknown: {error.message}"
            yield Finding(text, error.hint, Answer.NOT_PROVABLE)
            continue
        binds = found.config.id in {each.target for each in bound if each.kind == "d1"}
        if binds and service.name not in found.config.services:
            yield Finding(f"{service.worker} binds the database", f"Add {service.name} to its `services` in ops.yml.")
        elif not binds and service.name in found.config.services:
            text = f"{service.worker} does not bind the database"
            yield Finding(text, f"Remove {service.name} from its `services` in ops.yml, or deploy the binding.")


def _query(found: DatabaseFacts, sql: str) -> SqlResult:
    (result,) = found.session.d1.query(found.config.id, [SqlStatement(sql)], timeout=TIMEOUT)
    return result


CHECKS = (database, tables, bindings)
