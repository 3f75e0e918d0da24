"""Run migrations on a local copy of the schema, and judge the rows that they lose."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ops.cloudflare.types.d1 import SqlValue
from ops.core.errors import Reason, Refused
from ops.core.names import join_sentences, quote_name
from ops.core.sql import fold_name
from ops.database import row_counts
from ops.database.guard_result import GuardedDatabase, GuardResult, GuardTools
from ops.database.local_copy import LocalCopy, SchemaObject, SqlRejectedError, find_unseen, is_virtual
from ops.database.losses import FileLosses, RowLoss, read_losses, refuse_losses
from ops.database.migrations import MigrationFile, create_table_sql, row_sql, split_migration
from ops.database.row_counts import count_losses
from ops.database.schema_tables import is_shadow

NO_EFFECT = (
    "PRAGMA foreign_keys has no effect in D1's transaction, so DROP TABLE still changes rows that refer to it. ALTER "
    "TABLE keeps them."
)

Schema = frozenset[SchemaObject] | frozenset[tuple[SqlValue, ...]]


@dataclass(frozen=True)
class TestedMigrations:
    losses: tuple[FileLosses, ...]
    sets_foreign_keys: bool
    schema: frozenset[SchemaObject]
    """Expected after the migrations."""
    warnings: tuple[str, ...]
    """Migrations that D1 may refuse."""


def run_locally(
    database: GuardedDatabase, pending: Sequence[MigrationFile], schema: Schema, applied: tuple[str, ...]
) -> TestedMigrations:
    """Run the migrations and the own checks on a local copy of the schema. Raises Refused if one fails."""
    losses, sets_foreign_keys = list[tuple[RowLoss, ...]](), False
    failure, hint = "the schema cannot be copied", "Use a runner whose Python has a newer SQLite."
    known = applied
    try:
        with LocalCopy(schema) as copy:
            copy.run([create_table_sql(database.table), *(row_sql(each, database.table) for each in known)])
            for each in pending:
                failure, known = f"{quote_name(each.name)} fails on a local copy of the schema", (*known, each.name)
                hint = "Correct the migration, and try it with `npx wrangler d1 migrations apply --local`."
                copy.run(split_migration(each, database.table))
                _require_names(copy, database.table, known)
                losses.append(copy.losses)
                sets_foreign_keys |= copy.sets_foreign_keys
            for check in database.queries:
                failure = f"{check.name} fails on a local copy of the schema"
                hint = "Correct the check, or the migration that removes its tables."
                copy.run([check.sql])
            after = copy.read_schema()
    except SqlRejectedError as error:
        text = f"{failure}: {error}. Nothing was changed"
        raise Refused(text, reason=Reason.MIGRATION_FAILS, hint=hint) from None
    files, warnings = _add_unseen(database, pending, schema, losses)
    return TestedMigrations(files, sets_foreign_keys, after, warnings)


def _add_unseen(
    database: GuardedDatabase,
    pending: Sequence[MigrationFile],
    schema: Schema,
    losses: Sequence[tuple[RowLoss, ...]],
) -> tuple[tuple[FileLosses, ...], tuple[str, ...]]:
    """Return the losses of each file, with those that only rows show, and warnings."""
    scripts = [split_migration(each, database.table) for each in pending]
    unseen = find_unseen(schema, [[create_table_sql(database.table)], *scripts])
    more = unseen.transactions[1:]
    padded = [*more, *[()] * (len(pending) - len(more))]
    files = tuple(
        read_losses(each.name, each.text, (*found, *others))
        for each, found, others in zip(pending, losses, padded, strict=True)
    )
    if not unseen.failure:
        return files, ()
    return files, (f"D1 refuses {quote_name(pending[len(more)].name)} if rows refer to others: {unseen.failure}",)


def judge_losses(tools: GuardTools, result: GuardResult, tested: TestedMigrations, schema: Schema) -> None:
    """Count the rows. Raises Refused if a migration loses rows of this database that it does not accept."""
    at_risk = [replace(each, losses=tuple(loss for loss in each.losses if loss.origin)) for each in tested.losses]
    losses = [loss for each in at_risk for loss in each.losses]
    tables = _table_names(schema, result.database)
    rows = row_counts.count_tables(tools.d1, result.database.id, tables, {loss.origin for loss in losses})
    with LocalCopy(schema) as copy:
        result.counts = count_losses(tools.d1, result.database.id, losses, copy, rows)
    try:
        refuse_losses(at_risk, result.counts, remedy=NO_EFFECT if tested.sets_foreign_keys else "")
    except Refused as error:
        error.message = join_sentences(error.message, "Nothing was changed")
        raise
    result.losses = tuple(each for each in at_risk if each.losses)
    for text in result.describe_rows():
        tools.say(text)
    result.warnings += [*tested.warnings, *([NO_EFFECT] if tested.sets_foreign_keys else [])]


def compare_rows(tools: GuardTools, result: GuardResult, tested: TestedMigrations) -> None:
    """Count the rows again. A difference is no failure: the application writes meanwhile."""
    tables, before = _table_names(tested.schema, result.database), result.counts.tables
    result.rows_after = row_counts.count_tables(tools.d1, result.database.id, tables, before)
    tools.say(f"rows after: {row_counts.describe_changes(before, result.rows_after)}")
    losses = [loss for each in result.losses for loss in each.losses]
    result.warnings += row_counts.describe_unexpected(result.counts, losses, result.rows_after)


def _table_names(schema: Schema, database: GuardedDatabase) -> list[str]:
    """Return the tables of the application, without the parts of virtual ones."""
    tables = {str(name): str(sql) for kind, name, sql in schema if kind == "table"}
    virtual = {fold_name(name) for name, sql in tables.items() if is_virtual(sql)}
    hidden = {fold_name(name) for name in tables if is_shadow(fold_name(name), virtual)} | {database.table.lower()}
    return [name for name in tables if fold_name(name) not in hidden]


def _require_names(copy: LocalCopy, table: str, names: tuple[str, ...]) -> None:
    """Raise SqlRejectedError unless the table lists exactly these migrations: each deployment goes by it."""
    if copy.read_names(table) != names:
        raise SqlRejectedError(f"it changes the rows of {table}, besides its own")
