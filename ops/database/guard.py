"""Apply the migrations of a deployment, after tests on a local copy and with a way back.

It does what `wrangler d1 migrations apply` does (packages/wrangler/src/d1/migrations in workers-sdk, wrangler 4.164),
with the same SQL in the same order. An acceptance test compares both databases.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from ops.cloudflare.types.d1 import Migration, SqlValue
from ops.core.clock import parse_utc
from ops.core.errors import (
    NoEvidence,
    NotApplied,
    OpsError,
    ProviderError,
    Reason,
    Refused,
    StillUnhealthy,
    UnclearWrite,
    UnknownOutcome,
)
from ops.core.migrations_folder import DOWN, hash_migration, migration_order
from ops.core.names import count_of, join_sentences, quote_name
from ops.core.sql import fold_name
from ops.core.threads import run_parallel_mixed
from ops.core.verdict import Verdict
from ops.database import row_counts
from ops.database.applies import TABLE as APPLIES
from ops.database.applies import RecordedApply, make_apply, read_applies, record_apply
from ops.database.checks import DatabaseCheckResult, DatabaseChecks, run_checks
from ops.database.guard_result import GuardedDatabase, GuardTools, MigrationGuardResult
from ops.database.local_copy import LocalCopy, SchemaObject, SqlRejectedError, find_unseen, is_virtual
from ops.database.losses import FileLosses, RowLoss, read_losses, refuse_losses
from ops.database.migration_holds import TABLE as HOLDS
from ops.database.migration_holds import MigrationHold, find_migration_hold, read_migration_holds
from ops.database.migrations import MigrationFile, create_table_sql, migration_sql, row_sql, split_migration
from ops.database.row_counts import count_losses
from ops.database.schema_tables import is_shadow
from ops.database.state import has_table, read_applied_names, read_objects, without_applies

if TYPE_CHECKING:
    from ops.cloudflare.d1 import D1Api

SETTLE_SECONDS = 40.0
"""Seconds after which a migration without an answer, and without its row, was not applied: D1 ends it after 30."""
READ_BACK_SECONDS = 10.0
"""Seconds until the row of an answered migration must be visible."""
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between reads; the last one repeats."""
TRIES = 3
"""Times that a migration is sent if D1 says that it did not run it."""
MAX_WAIT = 20.0
"""Seconds to wait for the next try at most."""
CONTINUED = timedelta(hours=1)
"""Age until which a later attempt of a job continues an apply: its bookmark loses the writes since."""
DEPLOY_AFTERWARDS = "Deploy this commit only after its migrations are applied."


@dataclass(frozen=True)
class _State:
    schema: "frozenset[tuple[SqlValue, ...]]"
    migrations: tuple[Migration, ...]
    holds: tuple[MigrationHold, ...]
    applies: Mapping[str, RecordedApply]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.migrations)


def guard_migrations(tools: GuardTools, result: MigrationGuardResult, *, dry_run: bool) -> None:
    """Apply the pending migrations, and keep `result` up to date.

    Raises:
        Refused: nothing was changed: a migration is held, fails locally or loses rows that it does not accept, or the
            database changed meanwhile.
        ProviderError: D1 rejected a migration, and the message names those before it; or one is gone at the end.
        UnknownOutcome: it is unknown whether a migration was applied.
        StillUnhealthy, NoEvidence: all are applied, and a check failed or gave no verdict.
    """
    database = result.database
    before = _read_guarded_state(tools.d1, database)
    pending = _find_pending(database, before.names, result.warnings)
    result.pending, result.last = tuple(each.name for each in pending), (before.names or ("",))[-1]
    if not pending:
        tools.say(f"{database.name}: no migration to apply")
        return
    tools.say(
        f"{database.name}: {count_of(len(pending), 'migration')} to apply: {_join_migration_names(result.pending)}"
    )
    _refuse_held(database, pending, before.holds)
    tested = run_locally(database, pending, before.schema, before.names)
    tools.say("passed on a local copy: schema only, data not tested")
    judge_losses(tools, result, tested, before.schema)
    checked = run_checks(tools.d1, database, tools.clock)
    tools.say(f"checks before: {checked}")
    if dry_run:
        return
    _require_unchanged(_read_guarded_state(tools.d1, database), before)
    _apply_all(tools, result, pending, _begin_apply(tools, result, before.applies))
    result.warnings = [each for each in result.warnings if each not in tested.warnings]  # D1 refused none
    compare_rows(tools, result, tested)
    _judge_checks(tools, result, checked)
    _require_applied(tools, result, before.names)


def _read_guarded_state(d1: "D1Api", database: GuardedDatabase) -> _State:
    objects, holds = run_parallel_mixed(
        [lambda: read_objects(d1, database.id), lambda: read_migration_holds(d1, database.id)]
    )
    migrations, applies = run_parallel_mixed(
        [
            lambda: d1.list_migrations(database.id, database.table) if has_table(objects, database.table) else (),
            lambda: read_applies(d1, database.id) if has_table(objects, APPLIES) else {},
        ]
    )
    return _State(without_applies(objects), migrations, holds, applies)


def _find_pending(database: GuardedDatabase, applied: Sequence[str], warnings: list[str]) -> list[MigrationFile]:
    """Return the files that wrangler applies, in its order. Raises Refused for a down file among the migrations."""
    for each in database.files:
        if DOWN in each.name.split("/")[:-1] or re.search(r"[._]down\.sql\Z", each.name, re.IGNORECASE):
            raise Refused(
                f"migrations_pattern matches the down file {quote_name(each.name)}, which wrangler would apply",
                reason=Reason.CONFIG_INVALID,
                hint=f"Move down files to the folder `{DOWN}` beside the migrations, or narrow migrations_pattern.",
            )
    pending = sorted(
        (each for each in database.files if each.name not in applied), key=lambda each: migration_order(each.name)
    )
    newest = max(applied, key=migration_order, default=None)
    if newest and (late := [each.name for each in pending if migration_order(each.name) < migration_order(newest)]):
        warnings.append(f"{_join_migration_names(late)} comes before {quote_name(newest)}, which is applied already")
    known = {each.name for each in database.files}
    if missing := [name for name in applied if name not in known]:
        warnings.append(f"applied, and not in this commit: {_join_migration_names(missing)}")
    return pending


def _refuse_held(database: GuardedDatabase, pending: Sequence[MigrationFile], holds: Sequence[MigrationHold]) -> None:
    """Raise Refused for a held migration, also under another name."""
    for each in pending:
        content = hash_migration(each.text)
        held = find_migration_hold(holds, each.name, content) or next(
            (hold for hold in holds if hold.hash == content), None
        )
        if held:
            shown = str(held) if held.migration == each.name else f"{quote_name(each.name)} has the content of {held}"
            name = held.migration.replace("'", "''")
            lift = f"DELETE FROM {HOLDS} WHERE migration = '{name}'"  # noqa: S608  shown to people
            lift_hold = ["ops", "lift-hold", "--database", database.known_as or database.name, "--name", held.migration]
            words = ["npx", "wrangler", "d1", "execute", database.name, "--remote", "--command", lift]
            raise Refused(
                f"a held migration must not be applied: {shown}. Nothing was changed",
                reason=Reason.MIGRATION_HELD,
                hint="Revert the migration in Git, or correct its content. To apply it as it is, lift the hold: "
                f"`{shlex.join(lift_hold)}`. Without ops.yml: `{shlex.join([*words, *database.wrangler_options])}`.",
            )


def _require_unchanged(now: _State, before: _State) -> None:
    if now == before:
        return
    new = [each.name for each in now.migrations if each not in before.migrations]
    what = f"another run applied {_join_migration_names(new)}" if new else "the schema or the holds changed"
    raise Refused(
        f"{what} while the migrations were tested. This run changed nothing",
        reason=Reason.WORLD_MOVED,
        hint="Run the job again: it starts from the present state.",
    )


def _begin_apply(
    tools: GuardTools, result: MigrationGuardResult, applies: Mapping[str, RecordedApply]
) -> RecordedApply:
    """Return the apply that an earlier attempt of this run began just before, else a new one. Keep its bookmark."""
    since = tools.clock.now() - CONTINUED
    earlier = (each for each in applies.values() if tools.run and each.run == tools.run and parse_utc(each.at) > since)
    apply = next(earlier, None)
    if apply is None:
        apply = make_apply(tools.d1.read_bookmark(result.database.id), tools.run, tools.clock.now())
    result.bookmark = apply.bookmark
    result.way_back = result.database.way_back(apply.bookmark, parse_utc(apply.at))
    tools.keep()
    tools.say(f"bookmark before the first write: {result.bookmark}")
    return apply


def _apply_all(
    tools: GuardTools, result: MigrationGuardResult, pending: Sequence[MigrationFile], apply: RecordedApply
) -> None:
    database = result.database
    try:
        _record_apply(tools, result, apply)
        _send_script(tools, database, create_table_sql(database.table), is_repeatable=True)
        for each in pending:
            with tools.delay():
                _apply_migration(tools, database, each)
                result.applied.append(each.name)
                result.last = each.name
            tools.say(f"applied {quote_name(each.name)}")
        name = pending[-1].name
        if not _wait_for(tools, database, name, READ_BACK_SECONDS):
            raise UnknownOutcome(
                f"D1 answered that {quote_name(name)} was applied, and its row is not in {database.table}",
                reason=Reason.UNCLEAR,
            )
    except OpsError as error:
        done = (
            f"applied before: {_join_migration_names(result.applied)}"
            if result.applied
            else "nothing was applied before"
        )
        error.message = f"{error.message}; {done}"
        way_back = result.way_back if result.applied or isinstance(error, UnknownOutcome) else ""
        error.hint = " ".join(filter(None, (error.hint, DEPLOY_AFTERWARDS, way_back)))
        raise


def _record_apply(tools: GuardTools, result: MigrationGuardResult, apply: RecordedApply) -> None:
    """Record the apply for a later restore. A deployment does not fail for it."""
    batch = list(record_apply(result.pending, apply))
    try:
        _repeat_write(tools, lambda: tools.d1.run_batch(result.database.id, batch), is_repeatable=True)
    except ProviderError as error:
        result.warnings.append(f"the apply was not recorded, so `before-last-migration` goes by time: {error.message}")


def _apply_migration(tools: GuardTools, database: GuardedDatabase, file: MigrationFile) -> None:
    """Apply one migration as one transaction; a second copy of it fails, since its row exists."""
    name = quote_name(file.name)
    try:
        _send_script(tools, database, migration_sql(file, database.table))
    except UnclearWrite as error:
        if not _wait_for(tools, database, file.name, SETTLE_SECONDS):
            raise ProviderError(
                f"{error.message}. {name} was not applied",
                reason=Reason.NOT_APPLIED,
                hint="Run the job again. A migration that takes over 30 seconds must be split.",
            ) from None
        tools.say(f"no answer for {name}; its row shows that it was applied")
    except ProviderError as error:
        if _wait_for(tools, database, file.name, 0):
            raise ProviderError(
                f"another run applied {name} at the same time",
                reason=Reason.WORLD_MOVED,
                hint="Run the job again: it starts from the present state.",
            ) from None
        error.message = f"D1 rejected {name}: {error.message}"
        raise


def _send_script(tools: GuardTools, database: GuardedDatabase, sql: str, *, is_repeatable: bool = False) -> None:
    _repeat_write(tools, lambda: tools.d1.run_script(database.id, sql), is_repeatable=is_repeatable)


def _repeat_write(tools: GuardTools, write: Callable[[], object], *, is_repeatable: bool) -> None:
    """Make a write, again if D1 says that it did not run it, or if a second time does no harm. Raises its errors."""
    for attempt in range(1, TRIES + 1):
        try:
            with tools.writing():
                write()
        except (NotApplied, UnclearWrite) as error:
            wait = error.retry_after if isinstance(error, NotApplied) else 0.0
            may_repeat = is_repeatable or isinstance(error, NotApplied)
            if attempt == TRIES or wait > MAX_WAIT or not may_repeat:
                raise
            tools.clock.sleep(wait or PAUSES[attempt])
        else:
            return


def _wait_for(tools: GuardTools, database: GuardedDatabase, name: str, seconds: float) -> bool:
    """Read the table until it has the migration, or until that many seconds passed. Return whether it has.

    Raises:
        UnknownOutcome: the last read failed.
    """
    end, reads = tools.clock.monotonic() + seconds, 0
    while True:
        is_last = tools.clock.monotonic() >= end
        try:
            if name in read_applied_names(tools.d1, database.id, database.table):
                return True
        except ProviderError as error:
            if is_last:
                raise UnknownOutcome(
                    f"unknown whether {quote_name(name)} was applied: {error.message}",
                    reason=Reason.UNCLEAR,
                    hint=f"Read {database.table} when D1 answers again, and run the job again.",
                ) from None
        if is_last:
            return False
        tools.clock.sleep(PAUSES[min(reads, len(PAUSES) - 1)])
        reads += 1


def _judge_checks(tools: GuardTools, result: MigrationGuardResult, before: DatabaseChecks) -> None:
    """Check the data. A check that ended the same way before is a warning."""
    results = run_checks(tools.d1, result.database, tools.clock)
    tools.say(f"checks after: {results}")
    earlier = {each.name: each.verdict for each in before.results}
    wrong = [each for each in results.results if each.verdict != Verdict.HEALTHY]
    result.warnings += [f"not new: {each}" for each in wrong if each.verdict == earlier[each.name]]
    new = [each for each in wrong if each.verdict != earlier[each.name]]
    if any(each.verdict == Verdict.UNHEALTHY for each in new):
        raise StillUnhealthy(
            f"after {_join_migration_names(result.applied)}: {_join_check_results(new)}", hint=result.way_back
        )
    if new:
        raise NoEvidence(
            f"after {_join_migration_names(result.applied)}: {_join_check_results(new)}", hint=result.way_back
        )


def _require_applied(tools: GuardTools, result: MigrationGuardResult, before: Sequence[str]) -> None:
    """Raise ProviderError if a migration is gone, because of a restore or a revert, and NoEvidence without a read."""
    database, done = result.database, _join_migration_names(result.applied)
    try:
        applied = read_applied_names(tools.d1, database.id, database.table)
    except ProviderError as error:
        raise NoEvidence(f"after {done}: {database.table} cannot be read: {error.message}", hint=error.hint) from None
    if gone := [name for name in (*before, *result.applied) if name not in applied]:
        raise ProviderError(
            f"applied {done}, but {_join_migration_names(gone)} of {database.name} was taken back at the same time",
            reason=Reason.WORLD_MOVED,
            hint="Run the job again: it starts from the present state.",
        )


def _join_check_results(results: Sequence[DatabaseCheckResult]) -> str:
    return "; ".join(map(str, results))


def _join_migration_names(names: Sequence[str]) -> str:
    return ", ".join(map(quote_name, names))


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


def judge_losses(tools: GuardTools, result: MigrationGuardResult, tested: TestedMigrations, schema: Schema) -> None:
    """Count the rows. Raises Refused if a migration loses rows of this database that it does not accept."""
    at_risk = [replace(each, losses=tuple(loss for loss in each.losses if loss.origin)) for each in tested.losses]
    losses = [loss for each in at_risk for loss in each.losses]
    tables = _schema_table_names(schema, result.database)
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


def compare_rows(tools: GuardTools, result: MigrationGuardResult, tested: TestedMigrations) -> None:
    """Count the rows again. A difference is no failure: the application writes meanwhile."""
    tables, before = _schema_table_names(tested.schema, result.database), result.counts.tables
    result.rows_after = row_counts.count_tables(tools.d1, result.database.id, tables, before)
    tools.say(f"rows after: {row_counts.describe_changes(before, result.rows_after)}")
    losses = [loss for each in result.losses for loss in each.losses]
    result.warnings += row_counts.describe_unexpected(result.counts, losses, result.rows_after)


def _schema_table_names(schema: Schema, database: GuardedDatabase) -> list[str]:
    """Return the tables of the application, without the parts of virtual ones."""
    tables = {str(name): str(sql) for kind, name, sql in schema if kind == "table"}
    virtual = {fold_name(name) for name, sql in tables.items() if is_virtual(sql)}
    hidden = {fold_name(name) for name in tables if is_shadow(fold_name(name), virtual)} | {database.table.lower()}
    return [name for name in tables if fold_name(name) not in hidden]


def _require_names(copy: LocalCopy, table: str, names: tuple[str, ...]) -> None:
    """Raise SqlRejectedError unless the table lists exactly these migrations: each deployment goes by it."""
    if copy.read_names(table) != names:
        raise SqlRejectedError(f"it changes the rows of {table}, besides its own")
