"""Keep the holds of a database over a restore, which takes their table back too."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ops.core.names import quote_name
from ops.core.plan import PlanSection
from ops.core.run_record import RunRecord
from ops.core.timeline import EventKind
from ops.database import holds
from ops.database.holds import Hold
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState, Step

PREFIX = "hold to write back to "
"""Start of an event with a hold of a restored database, for a run that continues after an interruption."""
CONSEQUENCE = "held until its content changes, or a responder lifts the hold with lift-hold"


@dataclass
class RestoredHolds:
    """Holds of a database that a run restores."""

    name: str
    """Name of the database in ops.yml."""
    database_id: str
    found: tuple[Hold, ...]
    """Holds as read last before the restore."""
    new: tuple[Hold, ...]
    """Holds of the migrations that the restore takes back."""
    target: str = ""
    """Bookmark that is restored."""
    undo: str = ""
    """Bookmark whose restore undoes the run."""
    is_sent: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.new = tuple(filter(holds.is_hold, self.new))  # the guard applies no file of another name

    @property
    def steps(self) -> "tuple[WriteHolds, ...]":
        """Return the step that writes the holds, if there are holds."""
        if not (self.found or self.new):
            return ()
        target, names = (
            f"Holds of D1 database {self.name}",
            ", ".join(quote_name(each.migration) for each in self.desired),
        )
        return (WriteHolds(target, "as restored", names or "none", "the database shows them", None, holds=self),)

    @property
    def desired(self) -> tuple[Hold, ...]:
        """Return the holds that the database must have after the restore."""
        return holds.holds_after_restore(self.found, self.target, [replace(each, undo=self.undo) for each in self.new])

    @property
    def sections(self) -> tuple[PlanSection, ...]:
        """Return the section of the plan, if there are holds."""
        new, desired = {each.migration for each in self.new}, self.desired
        lines = [f"{quote_name(name)}: {CONSEQUENCE}" for name in sorted(new)]
        for each in self.found:
            ends = "kept" if each in desired else "removed, because this restore undoes its run"
            lines += [] if each.migration in new else [f"{each}: {ends}"]
        return (PlanSection("Holds", tuple(lines)),) if lines else ()

    def read_again(self, ctx: Context[Any]) -> None:
        """Read the holds right before the restore."""
        self.found = holds.read_holds(ctx.cloudflare.d1, self.database_id)

    def record(self, ctx: Context[Any]) -> None:
        """Record the holds before the restore, which takes the earlier ones away."""
        for each in self.desired:
            ctx.timeline.record(EventKind.PREPARED, f"{PREFIX}{self.name}: {each.migration}")

    def check(self, ctx: Context[Any]) -> ObservedState:
        """Compare the holds with those that the database must have. A read before the write may be a stale one."""
        live = holds.read_holds(ctx.cloudflare.d1, self.database_id)
        is_done = {*live} == {*self.desired} and (self.is_sent or not live)
        names = ", ".join(quote_name(each.migration) for each in live) or "no migration"
        return ObservedState(ChangeState.DONE if is_done else ChangeState.PLANNED, f"{self.name} holds {names}")

    def apply(self, ctx: Context[Any]) -> str:
        """Write the holds; repeating it does no harm. Raises NotApplied, CloudflareApiError and UnclearWrite."""
        self.is_sent = True
        ctx.cloudflare.d1.run_batch(self.database_id, [*holds.replace_holds(self.desired)])
        return f"{self.name} holds {', '.join(map(str, self.desired)) or 'no migration'}"


@dataclass(frozen=True, kw_only=True, eq=False)
class WriteHolds(Step):
    """Write the holds that the database must have after the restore."""

    holds: RestoredHolds

    def check(self, ctx: Context[Any]) -> ObservedState:
        return self.holds.check(ctx)

    def apply(self, ctx: Context[Any]) -> str:
        return self.holds.apply(ctx)


def find_lost_holds(records: Iterable[RunRecord], name: str) -> Iterator[str]:
    """Yield the migrations whose holds an interrupted restore may have taken away from a database, or not written."""
    for run in records:
        for row in run.rows:
            head, found, migration = row.text.partition(f"{PREFIX}{name}: ")
            if row.kind == EventKind.PREPARED and found and not head:
                yield migration
