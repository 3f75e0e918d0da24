"""Take back one migration with its down file, and find out whether it is done."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.d1 import Migration, SqlStatement, quote_identifier
from ops.cloudflare.types.workers import WorkerVersion
from ops.core.errors import NotApplied, ProviderError, Reason, Refused, UnclearWrite
from ops.core.names import did_you_mean, first_of, quote_name
from ops.core.threads import run_parallel_mixed
from ops.core.timeline import EventKind
from ops.database import migration_holds
from ops.database.local_copy import LocalCopy, SchemaObject, SqlRejectedError, find_unseen, split_statements
from ops.database.losses import FileLosses, LossCounts, RowLoss, read_losses, refuse_losses
from ops.database.migration_holds import MigrationHold
from ops.database.row_counts import count_again, count_losses, describe_row_count, describe_unexpected
from ops.database.runbook_base import hash_of, read_migration_sources
from ops.database.state import DatabaseState, TableRows, read_state
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState
from ops.tools.source_files import SourceFiles

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api
    from ops.config.sections import Database

LAST = "last"
SHOWN = 10
"""Migrations that a message names at most."""
READS_AFTER_UNCLEAR = 4
"""Reads that must show the migration, until a batch without an answer counts as not applied."""
UNDO_PREFIX = "state before the revert of "
"""Start of the event right before a batch is sent."""


class RevertRejectedError(ProviderError):
    """D1 rejected the batch of a revert; the message says what a read shows afterwards."""


@dataclass(frozen=True)
class DownFile:
    """Down file of a migration, tested on a local copy."""

    path: str
    """From the root of the repository."""
    source: str
    """Commit and branch, for people."""
    page: str
    """Address of the file at that commit; empty if it is unknown."""
    statements: tuple[str, ...]
    schema: frozenset[SchemaObject]
    """Expected after it."""
    losses: FileLosses
    """Losses of tables that remain, which the file accepts."""
    all_losses: tuple[RowLoss, ...]
    """Losses of removed tables and columns, too."""
    counts: LossCounts
    """Rows before it, and those that it loses, as they were counted last."""
    failure: str
    """Why D1 refuses it if rows refer to others; empty if it does not."""

    @property
    def objects(self) -> frozenset[tuple[object, ...]]:
        """Return type and name of the objects after it."""
        return frozenset(each[:2] for each in self.schema)


@dataclass
class MigrationRevert:
    """The revert of a plan, and its progress."""

    name: str
    """Name of the database in ops.yml."""
    database: "Database"
    migration: Migration
    down: DownFile
    hold: MigrationHold
    before: DatabaseState
    bookmark: str
    """State right before the revert, as it was read last."""
    uploads: Mapping[str, Sequence[WorkerVersion]] = field(default_factory=dict)
    """Service → versions of its Worker that were uploaded after the migration, and may need it."""
    sent: bool = False
    is_unclear: bool = False
    """Whether an attempt got no answer."""
    reads: int = 0
    """Reads since the last attempt."""

    @property
    def newer_uploads(self) -> tuple[str, ...]:
        return tuple(each.id for versions in self.uploads.values() for each in versions)

    @property
    def batch(self) -> tuple[SqlStatement, ...]:
        """Return the transaction. Its start fails unless the migration is the last one applied."""
        table = self.database.migrations_table
        hold = replace(self.hold, undo=self.bookmark)
        row = SqlStatement(f'DELETE FROM "{table}" WHERE name = ?', (self.migration.name,))  # noqa: S608
        return (*migration_holds.hold_last_migration(hold, table), *map(SqlStatement, self.down.statements), row)


@dataclass(frozen=True)
class RevertSources:
    """State and files that a plan starts from."""

    at: datetime
    state: DatabaseState
    bookmark: str
    """Current one."""
    holds: tuple[MigrationHold, ...]
    files: SourceFiles
    uploads: Mapping[str, Sequence[WorkerVersion]]
    """Service → versions of its Worker."""


def read_sources(ctx: Context[Any], name: str, database: "Database") -> RevertSources:
    """Read the database, and the files of the default branch. Raises ProviderError, ConfigError and Refused."""
    d1, now = ctx.cloudflare.d1, ctx.clock.now()
    services = [each for each in map(ctx.environment.service, dict.fromkeys(database.services)) if each.worker]
    state, bookmark, held, files, *uploads = run_parallel_mixed(
        [
            lambda: read_state(d1, database),
            lambda: d1.read_bookmark(database.id),
            lambda: migration_holds.read_migration_holds(d1, database.id),
            lambda: read_migration_sources(ctx, name, database),
            *(partial(ctx.cloudflare.workers.list_uploads, each.worker) for each in services),
        ]
    )
    names = [each.name for each in services]
    return RevertSources(now, state, bookmark, held, files, dict(zip(names, uploads, strict=True)))


def plan_revert(
    ctx: Context[Any], name: str, database: "Database", sources: RevertSources, migration: Migration
) -> MigrationRevert:
    """Return the revert of a migration. Raises Refused if it is not the last one, or its down file cannot be run."""
    state = sources.state
    refuse_later_migrations(migration, state.migrations)
    down = read_down_file(ctx.cloudflare.d1, sources, database, name, migration)
    content = hash_of(sources.files, database.require_migrations(name), migration.name)
    hold = migration_holds.make_migration_hold(
        migration.name, content, incident=ctx.request.incident, run=ctx.run_id, now=sources.at
    )
    newer = {
        service: [each for each in found if each.created_on and each.created_on > migration.applied_at]
        for service, found in sources.uploads.items()
    }
    return MigrationRevert(name, database, migration, down, hold, state, sources.bookmark, newer)


def find_migration(name: str, migrations: Sequence[Migration], held: Sequence[MigrationHold]) -> Migration | None:
    """Return the migration to take back; None if it was taken back already. `migrations` are those applied.

    Raises:
        Refused: it is not known.
    """
    place = next((place for place, each in enumerate(migrations) if each.name == name), None)
    if place is None and any(each.migration == name for each in held):
        return None
    if not migrations:
        raise Refused("no migration is applied", reason=Reason.NO_TARGET, hint="There is nothing to revert.")
    last = migrations[-1]
    if name == LAST:
        return last
    if place is None:
        raise Refused(
            f"no migration {quote_name(name)} is applied{did_you_mean(name, [each.name for each in migrations])}",
            reason=Reason.UNKNOWN_NAME,
            hint=f"The latest applied migration is {quote_name(last.name)}.",
        )
    return migrations[place]


def refuse_later_migrations(migration: Migration, migrations: Sequence[Migration]) -> None:
    """Refuse a migration that is not the last one applied."""
    later = [each.name for each in migrations[migrations.index(migration) + 1 :]]
    if later:
        names = ", ".join(first_of([quote_name(each) for each in later[::-1]], SHOWN))
        raise Refused(
            f"{names} {'was' if len(later) == 1 else 'were'} applied after {quote_name(migration.name)}",
            reason=Reason.NO_TARGET,
            hint=f"Revert the last one first: --name {shlex.quote(quote_name(later[-1]))}. "
            "Or take all of them back with the command below.",
        )


def read_down_file(
    d1: "D1Api", sources: RevertSources, database: "Database", name: str, migration: Migration
) -> DownFile:
    """Return the down file after a test on a local copy of the schema.

    Raises:
        Refused: there is none, D1 cannot run it as one transaction, or it loses rows that it does not accept.
    """
    source_files, state = sources.files, sources.state
    path = database.require_migrations(name).find_down_path(migration.name)
    content = source_files.files.get(path)
    if content is None:
        raise _unusable_down_file(f"{migration.name} has no down file: {path} is not in {source_files}", "Merge one")
    try:
        text = content.decode("utf-8-sig")
        statements = tuple(split_statements(text))
        if not statements:
            raise _unusable_down_file(f"{path} of {source_files} has no statement", "Merge its statements")
        with LocalCopy(state.schema) as copy:
            copy.run(statements)
            losses, sets_foreign_keys, schema = copy.losses, copy.sets_foreign_keys, copy.read_schema()
            writes_migrations = copy.writes_to(database.migrations_table)
            is_same = _table_of_migrations(state.schema, database) == _table_of_migrations(schema, database)
            if is_same and not writes_migrations:
                losses += _losses_with_row(copy, database.migrations_table)
    except UnicodeDecodeError:
        raise _unusable_down_file(f"{path} of {source_files} is not UTF-8", "Merge it as UTF-8") from None
    except SqlRejectedError as error:
        raise _unusable_down_file(
            f"{path} of {source_files} fails on a local copy of the schema: {error}", "Merge a corrected one"
        ) from None
    if sets_foreign_keys:
        effect = "PRAGMA foreign_keys has no effect in D1's transaction"
        raise _unusable_down_file(
            f"{path} of {source_files}: {effect}", "Merge one with PRAGMA defer_foreign_keys = on"
        ) from None
    if not is_same:
        raise _unusable_down_file(
            f"{path} of {source_files} changes the table {database.migrations_table}", "Merge one that does not"
        )
    if writes_migrations:
        effect = f"writes to the table {database.migrations_table}, whose row goes in the same transaction"
        raise _unusable_down_file(f"{path} of {source_files} {effect}", "Merge one that does not")
    unseen = find_unseen(state.schema, [statements])
    losses += next(iter(unseen.transactions), ())
    with LocalCopy(state.schema) as copy:
        counts = count_losses(d1, database.id, losses, copy, state.counts)
    accepted = _require_acceptance(path, text, losses, counts)
    page = source_files.find_page(path)
    return DownFile(path, str(source_files), page, statements, schema, accepted, losses, counts, unseen.failure)


def _losses_with_row(copy: LocalCopy, table: str) -> tuple[RowLoss, ...]:
    """Return the losses by triggers of the migration's row, which goes in the same transaction."""
    copy.run([f"DELETE FROM {quote_identifier(table)}"])  # noqa: S608
    return tuple(each for each in copy.losses if each.table.lower() != table.lower())


def _require_acceptance(path: str, text: str, losses: Sequence[RowLoss], counts: LossCounts) -> FileLosses:
    """Return the losses of tables that remain. Raises Refused unless the file accepts each of these tables.

    A removed table or column is what a down file is for.
    """
    remaining = [each for each in losses if each.is_kept and not each.column]
    text_losses = read_losses(path, text, remaining)
    remedy = "Merge it to the default branch, or take the migration back with the command below."
    refuse_losses([text_losses], counts, remedy=remedy)
    return text_losses


def describe_schema(before: DatabaseState, schema: frozenset[SchemaObject]) -> Iterator[str]:
    """Yield a line for each object that the down file removes, changes or adds."""
    old, new = ({(str(kind), str(name)): sql for kind, name, sql in each} for each in (before.schema, schema))
    for kind, name in sorted(old.keys() | new.keys()):
        key, shown = (kind, name), f"{kind} {quote_name(name)}"
        if key not in new:
            rows = before.rows.get(name, TableRows()).count if kind == "table" else 0
            yield f"removed: {shown}" + (f", {describe_row_count(rows)}" if rows != 0 else "")
        elif key not in old:
            yield f"added: {shown}"
        elif old[key] != new[key]:
            yield f"changed: {shown}"


def check_revert(ctx: Context[Any], revert: MigrationRevert) -> ObservedState:
    """Compare before the batch, and read the bookmark; afterwards find out whether it is done."""
    d1, name = ctx.cloudflare.d1, revert.migration.name
    now, held = read_state(d1, revert.database), migration_holds.read_migration_holds(d1, revert.database.id)
    runs = {each.run for each in held if each.migration == name}
    is_applied = any(each.name == name for each in now.migrations)
    if revert.sent:
        revert.reads += 1
        return _settle_revert(revert, now, is_applied=is_applied, is_ours=ctx.run_id in runs)
    if runs and not is_applied:
        return ObservedState(ChangeState.DONE, f"another run took {name} back")
    if now.structure != revert.before.structure:
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, f"the schema or the migrations of {revert.name} changed")
    counts = count_again(d1, revert.database.id, revert.down.counts, now.counts)
    revert.down = replace(revert.down, counts=counts)
    revert.before, revert.bookmark = now, d1.read_bookmark(revert.database.id)
    text = f"{revert.name} has the planned schema and migrations; bookmark {revert.bookmark}"
    return ObservedState(ChangeState.PLANNED, text)


def send_revert(ctx: Context[Any], revert: MigrationRevert) -> str:
    """Record the bookmark, and send the batch.

    Raises:
        NotApplied, CloudflareApiError: nothing was changed.
        RevertRejectedError: D1 rejected the batch.
        UnclearWrite: it is unknown whether D1 applied the batch.
    """
    ctx.timeline.record(EventKind.PREPARED, f"{UNDO_PREFIX}{revert.migration.name}: bookmark {revert.bookmark}")
    revert.sent, revert.reads = True, 0
    try:
        ctx.cloudflare.d1.run_batch(revert.database.id, revert.batch)
    except UnclearWrite:
        revert.is_unclear = True
        raise
    except NotApplied:
        revert.sent = revert.is_unclear
        raise
    except ProviderError as error:
        revert.sent = revert.is_unclear
        if revert.is_unclear:
            raise
        raise _rejected_revert(ctx, revert, error) from None
    return f"D1 ran the down file of {revert.migration.name}, removed its row and recorded the hold, as one transaction"


def _settle_revert(revert: MigrationRevert, now: DatabaseState, *, is_applied: bool, is_ours: bool) -> ObservedState:
    name, migration = revert.name, revert.migration.name
    if not is_applied and is_ours:
        differs = [*describe_schema(replace(now, rows={}), revert.down.schema)]
        notes = [f"the schema differs from that of the local copy: {'; '.join(differs)}"] if differs else []
        notes += describe_unexpected(revert.down.counts, revert.down.all_losses, now.counts)
        return ObservedState(ChangeState.DONE, f"{name} is without {migration}, which is held", notes=tuple(notes))
    if not is_applied:
        text = f"another run or person took {migration} back"
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, text, made_by_run=False)
    if now.structure == revert.before.structure:
        waits = revert.is_unclear and revert.reads < READS_AFTER_UNCLEAR
        text = f"{name} has {migration} and its schema, as before"
        return ObservedState(ChangeState.PLANNED, text, is_uncertain=waits)
    text = f"{name} has {migration}, and another schema or other migrations than before"
    return ObservedState(ChangeState.PLANNED, text, is_uncertain=True)


def _rejected_revert(ctx: Context[Any], revert: MigrationRevert, error: ProviderError) -> RevertRejectedError:
    """Return the error for a batch that D1 rejected, after reading the database."""
    try:
        is_same = read_state(ctx.cloudflare.d1, revert.database).structure == revert.before.structure
        read = "are unchanged" if is_same else "were changed by another run or person"
    except ProviderError as failed:
        read = f"could not be read: {failed.message}"
    why = "it is not the last migration any more" if migration_holds.NOT_LAST in error.message else error.message
    return RevertRejectedError(
        f"D1 rejected the revert of {revert.migration.name}: {why}; its schema and migrations {read}",
        reason=error.reason,
        hint=f"Correct {revert.down.path} and merge it, or take the migration back with the command below.",
    )


def _table_of_migrations(schema: frozenset[SchemaObject], database: "Database") -> list[SchemaObject]:
    return [each for each in schema if each[:2] == ("table", database.migrations_table)]


def _unusable_down_file(text: str, what: str) -> Refused:
    hint = f"{what} to the default branch, or take the migration back with the command below."
    return Refused(text, reason=Reason.NO_TARGET, hint=hint)
