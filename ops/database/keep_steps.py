"""Keep the rows that a restore loses: store them before it, and compare them after it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ops.config.probes import ProbeSet
from ops.core.clock import format_utc
from ops.core.errors import ConfigError, Interrupted, OpsError, Reason, Refused, UnclearWrite
from ops.core.names import count_of, did_you_mean, quote_name
from ops.core.plan import PlanSection, Progress
from ops.core.run_record import RunRecord
from ops.core.timeline import EventKind
from ops.database import row_reads, terms
from ops.database.kept_rows import KeptFile, Row, TableShape, render_kept_rows
from ops.database.restore import DatabaseRestore
from ops.database.row_reads import KeptTable, NotKeptError, describe_size
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState, Step

KEPT_SECTION = "Rows kept"

LIFETIME = timedelta(days=30)
"""Time until a file must be deleted: as long as the undo works at most."""

STORED = "rows read before the restore are in "
"""Start of the event after the rows are stored. A later run that only checks the restore shows it again."""


@dataclass
class RowKeeping:
    """Rows that a run keeps, and what is known of them."""

    restore: DatabaseRestore
    tables: tuple[KeptTable, ...]
    accepted: tuple[str, ...]
    """Tables of which a person accepts that rows are not kept."""
    place: str
    head: KeptFile
    read: dict[TableShape, list[Row]] = field(default_factory=dict)
    is_compared: bool = False

    @property
    def kept(self) -> tuple[KeptTable, ...]:
        return tuple(each for each in self.tables if not each.problem)

    @property
    def section(self) -> PlanSection:
        return PlanSection(KEPT_SECTION, tuple(map(self._describe_kept_table, self.tables)))

    def _describe_kept_table(self, table: KeptTable) -> str:
        name = quote_name(table.name)
        if table.problem:
            return f"{name}: not kept, accepted by name: {table.problem}"
        lost = f"; not kept, accepted by name: {table.loss}" if table.loss else ""
        read = "added since the target, or without a readable time" if table.rule else "all its rows"
        return f"{name}: {count_of(table.rows - table.large, 'row')}, {describe_size(table.size)} ({read}){lost}"

    @property
    def advice(self) -> str:
        """Return the sentence about the file for the end of the run; empty if nothing is kept."""
        if not self.kept:
            return ""
        until = format_utc(self.head.delete_by)
        return f"any rows that the restore lost are in {self.place}: put them back as it says, or delete it by {until}"


def plan_keeping(ctx: Context[Any], restore: DatabaseRestore, accepted_names: str) -> RowKeeping | None:
    """Return what the run keeps; None if `ops.yml` keeps no table of the database.

    Raises:
        Refused, ConfigError: there is no private place, or a table is not kept and nobody accepts that by name.
    """
    wanted, accepted = restore.database.kept_tables, list(filter(None, map(str.strip, accepted_names.split(","))))
    for name in accepted:
        if name not in wanted:
            hint = "ops.yml keeps " + (", ".join(map(quote_name, wanted)) or "no table of this database") + "."
            text = f"--accept-not-kept names {quote_name(name)}, which is not kept{did_you_mean(name, wanted)}"
            raise ConfigError(text, reason=Reason.UNKNOWN_NAME, hint=hint)
    if not wanted:
        return None
    place, tables = _find_kept_rows_place(ctx, restore, wanted, accepted)
    if lost := {each.name: each.loss for each in tables if each.loss and each.name not in accepted}:
        raise _not_kept(ctx, restore, lost, accepted, "Correct `rows` in ops.yml, or copy the rows yourself.")
    now = ctx.clock.now()
    head = KeptFile(restore.name, restore.database.id, ctx.run_id, str(restore.point), now, now + LIFETIME)
    return RowKeeping(restore, tables, tuple(accepted), place, head)


def _find_kept_rows_place(
    ctx: Context[Any], restore: DatabaseRestore, wanted: Sequence[str], accepted: Sequence[str]
) -> tuple[str, tuple[KeptTable, ...]]:
    """Return the place, and the measured tables. Without a place nothing is kept, if a person accepts each table."""
    try:
        place = ctx.kept_rows.require_place(restore.name)
    except Interrupted:
        raise
    except OpsError as error:
        if set(wanted) <= set(accepted):
            return "", tuple(KeptTable(each, problem=error.message) for each in wanted)
        error.hint += f" Or accept by name that nothing is kept: `--accept-not-kept {','.join(wanted)}`."
        raise
    at = restore.point.moment
    return place, row_reads.measure_tables(ctx.cloudflare.d1, restore.database, wanted, at, ctx.clock)


def _not_kept(
    ctx: Context[Any], restore: DatabaseRestore, lost: Mapping[str, str], accepted: Sequence[str], remedy: str
) -> Refused:
    """Return the refusal, with the command that accepts the loss; `remedy` is the other way."""
    listed = "; ".join(f"{quote_name(name)}: {why}" for name, why in lost.items())
    names = ",".join(dict.fromkeys((*accepted, *lost)))
    return Refused(
        f"rows of {restore.name} cannot be kept before the restore: {listed}",
        reason=Reason.ROWS_NOT_KEPT,
        hint=f"{remedy} Or accept by name that they are not kept: `--accept-not-kept {names}`.",
        suggested_command=terms.suggest_restore(ctx, restore.name, restore.bookmark, accept_not_kept=names),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _CopyStep(Step):
    """A step that writes the file of rows, and changes no database."""

    keeping: RowKeeping

    @property
    def is_aside(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True, eq=False)
class KeepRows(_CopyStep):
    """Read the rows, and store them in a private place before the restore."""

    find_probes: Callable[[Context[Any]], ProbeSet | None]
    """Returns the probes of maintenance: a row that is added after the read would be lost."""

    @classmethod
    def of(cls, keeping: RowKeeping, find_probes: Callable[[Context[Any]], ProbeSet | None]) -> "KeepRows":
        names = ", ".join(quote_name(each.name) for each in keeping.kept)
        target, after = f"copy of rows of D1 database {keeping.restore.name}", f"rows of {names} in {keeping.place}"
        done = "the stored file is the written one"
        return cls(target, "not stored", after, done, None, keeping=keeping, find_probes=find_probes)

    def find_awaited_probes(self, ctx: Context[Any]) -> ProbeSet | None:
        return self.find_probes(ctx)

    def check(self, ctx: Context[Any]) -> ObservedState:
        if ctx.kept_rows.is_stored():
            return ObservedState(ChangeState.DONE, f"{self.keeping.place} holds the rows")
        return ObservedState(ChangeState.PLANNED, f"{self.keeping.place} does not exist yet")

    def apply(self, ctx: Context[Any]) -> str:
        keeping = self.keeping
        try:
            keeping.read = row_reads.read_rows(ctx.cloudflare.d1, keeping.restore.database.id, keeping.kept, ctx.clock)
        except NotKeptError as error:
            lost = {error.table: error.why}
            raise _not_kept(ctx, keeping.restore, lost, keeping.accepted, "Restore again in a minute.") from None
        ctx.timeline.record(EventKind.PREPARED, f"rows read: {_describe_kept_counts(keeping.read)}")
        ctx.kept_rows.store(render_kept_rows(keeping.head, keeping.read))
        return f"{STORED}{keeping.place}: {_describe_kept_counts(keeping.read)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class DropUnlostRows(_CopyStep):
    """Leave only the rows in the file that the restore lost. A failure is a warning: the file then has all of them."""

    @classmethod
    def of(cls, keeping: RowKeeping) -> "DropUnlostRows":
        target = f"copy of lost rows of D1 database {keeping.restore.name}"
        before, after, done = "all rows that were read", "rows that the restore lost", "the present rows were compared"
        return cls(target, before, after, done, None, keeping=keeping)

    def check(self, ctx: Context[Any]) -> ObservedState:  # noqa: ARG002  it compares when it is applied
        state = ChangeState.DONE if self.keeping.is_compared else ChangeState.PLANNED
        return ObservedState(
            state, f"{self.keeping.place} has {self.after if self.keeping.is_compared else self.before}"
        )

    def apply(self, ctx: Context[Any]) -> str:
        keeping = self.keeping
        keeping.is_compared = True
        try:
            lost, now = _find_lost(ctx, keeping)
            ctx.kept_rows.store(render_kept_rows(keeping.head, lost, now))
            for text in _find_gaps(keeping, lost):
                ctx.timeline.record(EventKind.WARNING, text)
        except Interrupted:
            raise
        except (NotKeptError, OpsError) as error:
            text = str(error) if isinstance(error, NotKeptError) else error.message
            place, has = keeping.place, "may have" if isinstance(error, UnclearWrite) else "has"
            ctx.timeline.record(EventKind.WARNING, f"{place} {has} all rows that were read, lost or not: {text}")
            return f"not compared: {keeping.advice}"
        if not any(lost.values()):
            return f"lost by the restore: none of the rows that were read; {keeping.place} holds no rows: delete it"
        return f"lost by the restore: {_describe_kept_counts(lost)}; {keeping.advice}"


def describe_left_rows(keeping: RowKeeping | None, progress: Progress) -> str:
    """Describe the file of a run that ends without a restore; empty if it has none, or may have restored."""
    if keeping is None or keeping.restore.sent or progress.asides.isdisjoint(progress.changed):
        return ""
    return f"{keeping.place} has rows that were read before, and nothing was restored: delete it"


def describe_earlier(records: Iterable[RunRecord]) -> Iterator[str]:
    """Yield a text for each run that stored rows before its restore."""
    for record in records:
        stored = [row.text for row in record.rows if row.text.startswith(STORED)]
        yield from (f"run {quote_name(record.run)}: {text}" for text in stored[-1:])


def _find_gaps(keeping: RowKeeping, lost: Mapping[TableShape, Sequence[Row]]) -> Iterator[str]:
    """Yield a text for each table that has fewer rows than before, by more than the file has."""
    before, after = keeping.restore.before.counts, keeping.restore.after
    for shape, rows in lost.items():
        if after is None or shape.name not in before or shape.name not in after.counts:
            continue
        gone = before[shape.name] - after.counts[shape.name]
        if gone > len(rows):
            text = f"lacks {gone - len(rows)} of {count_of(gone, 'row')} that {quote_name(shape.name)} lost"
            yield f"{keeping.place} {text}: they were not read"


def wrap_steps(
    keeping: RowKeeping | None, find_probes: Callable[[Context[Any]], ProbeSet | None]
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return the steps before the restore and those at the end of the run."""
    if keeping is None or not keeping.kept:
        return (), ()
    return (KeepRows.of(keeping, find_probes),), (DropUnlostRows.of(keeping),)


def _find_lost(
    ctx: Context[Any], keeping: RowKeeping
) -> tuple[Mapping[TableShape, Sequence[Row]], Mapping[str, Sequence[str]]]:
    """Return the stored rows that are gone or have other values now, and the present columns of the tables.

    A table with other columns than before keeps all of its rows.
    """
    d1, database = ctx.cloudflare.d1, keeping.restore.database
    shapes = row_reads.read_shapes(d1, database.id, [each.name for each in keeping.kept])
    same = [each for each in keeping.kept if each.shape and _shape_columns(shapes[each.name]) == each.shape.columns]
    present = row_reads.read_rows(d1, database.id, same, ctx.clock, restored_by=ctx.run_id)
    left = {shape: set(rows) for shape, rows in present.items()}
    lost = {shape: [row for row in rows if row not in left.get(shape, ())] for shape, rows in keeping.read.items()}
    return lost, {name: _shape_columns(each) for name, each in shapes.items() if not isinstance(each, str)}


def _shape_columns(shape: TableShape | str) -> Sequence[str]:
    return () if isinstance(shape, str) else shape.columns


def _describe_kept_counts(rows: Mapping[TableShape, Sequence[Row]]) -> str:
    return ", ".join(f"{quote_name(shape.name)} {count_of(len(each), 'row')}" for shape, each in rows.items())
