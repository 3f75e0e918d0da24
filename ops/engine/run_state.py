"""The state of a run while the engine executes it."""

from dataclasses import dataclass, field, replace

from ops.core.errors import Interrupted, OpsError
from ops.core.next_step import SuggestedCommand
from ops.core.plan import LiveState, Progress
from ops.core.timeline import EventKind
from ops.core.verdict import NO_OBSERVATION, ProbeObservation
from ops.engine.change_writer import SentChange
from ops.engine.step import ChangeState, StepPlan


@dataclass
class RunState:
    """State of a run, from which its end can be reported at any moment."""

    plan: StepPlan | None = None
    before: ProbeObservation = NO_OBSERVATION
    after: ProbeObservation | None = None
    wrote: bool = False
    progress: Progress = field(default_factory=Progress)
    unproved: str = ""
    """Why an answered write is not proved to be live; empty if it is."""
    lagging: list[SentChange] = field(default_factory=list)
    """Sent changes that the API does not show yet: the probes decide."""
    unread: list[SentChange] = field(default_factory=list)
    """Changes of one batch that were sent, and are read back after its last one."""
    patience: float = 0.0
    """Seconds to read back a change that is not visible yet; one value for a batch."""
    suggested_command: SuggestedCommand | None = None
    """Command that people run next, if the run ends with one."""

    @property
    def live(self) -> LiveState:
        """What is live of the changes now."""
        return self.progress.live_state(self.plan, is_seen=not (self.lagging or self.unread or self.unproved))

    @property
    def undo(self) -> tuple[SuggestedCommand, ...]:
        """Undo commands of what may have been written; empty without a write.

        A change that was not begun has none: its undo may lose data, as that of a restore does.
        """
        if not (self.plan and self.progress.may_have_written):
            return ()
        untouched = self.progress.outcome(self.plan)["not_changed"]
        begun = tuple(each for each in self.plan.changes if each.target not in untouched)
        if not begun or self.progress.moved_traffic:
            return self.plan.undo
        return replace(self.plan, changes=begun).undo

    def look_at_unread(self) -> None:
        """Look once at each unread change of a batch that ends early, so that the end names what is live."""
        pending = self.progress.pending_target
        try:
            while self.unread:
                self._look_at(self.unread.pop(0))
        finally:
            self.progress.pending_target = pending

    def _look_at(self, sent: SentChange) -> None:
        progress = self.progress
        try:
            world = sent.check()
        except Interrupted:
            raise
        except OpsError as error:
            sent.record(EventKind.WARNING, f"not read back: {error.message}")
            self.unread.clear()
            return
        is_live = world.state == ChangeState.DONE and not world.is_uncertain
        sent.record(EventKind.READ_BACK if is_live else EventKind.COMPARED, world.text)
        if world.state == ChangeState.CHANGED_ELSEWHERE:
            progress.settle_change(sent.step, progress.replaced)
        elif is_live:
            progress.settle_change(sent.step, progress.changed)
