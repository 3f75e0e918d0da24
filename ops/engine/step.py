"""The step of a run: one write, and everything that belongs to it. Also the plan of steps.

The engine knows steps, and nothing about runbooks or products. It asks a step what is live, makes it, and asks again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from ops.core.errors import OpsError, Refused, UnclearWrite
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan, Progress, RunOutcome
from ops.engine.context import Context

if TYPE_CHECKING:
    from ops.config.probes import ProbeSet

T = TypeVar("T")

MAX_AGE = 1.0
"""Oldest state, in seconds, that a change is compared with before its write; an older one is read again.

A change by somebody else within this time is overwritten unseen: no write of Cloudflare depends on the state before it.
"""


class ChangeState(Enum):
    """State of the live system relative to one change."""

    PLANNED = "planned"
    """Unchanged since the plan: the change may be made."""
    DONE = "done"
    """Our change is live."""
    CHANGED_ELSEWHERE = "moved"
    """Neither of them: somebody else changed it."""
    NOT_WANTED = "not_wanted"
    """Somebody else still needs the state before: the run goes on without the change."""


@dataclass(frozen=True)
class ObservedState:
    """Live state that was read for one change; `text` describes it for people."""

    state: ChangeState
    text: str
    concurrent_changes: tuple[str, ...] = ()
    """Changes by others between the plan and our write."""
    notes: tuple[str, ...] = ()
    """Warnings for the timeline."""
    is_uncertain: bool = False
    """Whether the answers fit another state too.

    Before a write `state` counts. After it the engine reads again, and finally reports no evidence.
    """
    made_by_run: bool | None = None
    """Whether the provider's history holds this run's write; None if the history does not tell."""
    may_lag: bool = False
    """Whether the API or the site may still answer the state before our write, even if the write was not answered.

    Then the deciding probe counts after a write, and the API is read again only if that probe did not see the change.
    Without a deciding probe the engine reads until the deadline of the probes.
    """
    is_provable: bool = True
    """Whether a later read can show the change. False: the engine does not wait for it."""


@dataclass
class WriteAttempt:
    """Progress of a write, the only trace that an unclear one leaves where no read shows it."""

    attempts: int = 0
    sent: int = 0
    """Attempts that may have been applied."""
    is_answered: bool = False

    def send(self, write: Callable[[], T]) -> T:
        """Write, and return the answer. Raises OpsError."""
        self.attempts += 1
        self.sent += 1
        try:
            answer = write()
        except UnclearWrite:
            raise
        except OpsError:
            self.sent -= 1
            raise
        self.is_answered = True
        return answer


@dataclass(frozen=True)
class ReadBackWords:
    """Words for a write that is not visible yet."""

    answered: str = "the write was answered"
    place: str = "the API"
    """Where the change must become visible."""
    repeat: str = "it reads the state and repeats nothing."
    """What the same command does if it is started again."""


DEFAULT_WORDS = ReadBackWords()


@dataclass(frozen=True, kw_only=True, eq=False)
class Step(Change, ABC):
    """One planned write. A product defines each kind of step once, with the values that it was planned from."""

    wait_after: float = 0.0
    """Seconds after its write until it is in effect everywhere; the next change waits for it."""
    accepted_before: str = ""
    """The earlier run whose write of this change was accepted, for people; the run then only reads back."""
    words: ReadBackWords = DEFAULT_WORDS
    is_compared_at_end: bool = False
    """Whether `check` runs once more after the last probe round, because no probe names the live version."""

    @property
    def batch(self) -> object | None:
        """Steps next to each other with the same batch are read back together, after the last write; None: alone."""
        return None

    def find_pause(self, ctx: Context[Any]) -> float:  # noqa: ARG002  most plans make few calls
        """Return the seconds to wait before the change, so that the rate limit of the API has room for others."""
        return 0.0

    @abstractmethod
    def check(self, ctx: Context[Any]) -> ObservedState:
        """Read the live state for the change, before or after its write."""

    @abstractmethod
    def apply(self, ctx: Context[Any]) -> str:
        """Make exactly this change with one write, and describe the provider's answer.

        Raises:
            NotApplied, UnclearWrite: the engine settles them with `check`.
            Refused, ProviderError: they end the run.
        """

    def prepare(self, ctx: Context[Any]) -> bool:  # noqa: ARG002  most have nothing to make ready
        """Prepare files on this machine after the confirmation; return whether that took a while.

        It writes nothing at the provider.

        Raises:
            Refused: the preparation failed.
        """
        return False

    def find_awaited_probes(self, ctx: Context[Any]) -> "ProbeSet | None":  # noqa: ARG002
        """Return probes that must be healthy before the change is made; None if there are none."""
        return None

    def plan_rehearsal(self, ctx: Context[Any]) -> "Rehearsal | str | None":  # noqa: ARG002
        """Return the rehearsal right before the change, or why there is none; None if nobody wants one."""
        return None

    def settled(self, ctx: Context[Any]) -> "Step":  # noqa: ARG002  most undo commands are known before
        """Return the step for the result after its write, with its undo if only the provider's answer names it."""
        return self


@dataclass(frozen=True)
class Rehearsal:
    """A test of a change's target without traffic."""

    start: Step
    """A write that is meant to change no traffic."""
    restore: Step
    """Undoes `start`. The run makes it in every case, also if it is interrupted."""
    probes: "ProbeSet"
    """They decide by `successes` equal rounds in a row, or are inconclusive at the deadline."""
    refusal: Callable[[str], Refused]
    """Makes the refusal of an unhealthy target; the argument is the result of the probes."""
    describe_moved_traffic: Callable[[], str]
    """Returns what the rehearsal did to the traffic by accident, as last read; empty if nothing."""


@dataclass(frozen=True)
class StepPlan(Plan):
    """A plan that can be carried out: its changes are steps."""

    changes: tuple[Step, ...] = ()
    final_changes: tuple[Step, ...] = ()
    undo_changes: tuple[Step, ...] = ()
    """Changes that are made only after the probes are unhealthy: they take back what did not work."""
    if_undone: RunOutcome | None = None
    """Outcome after `undo_changes`."""
    if_unproved: RunOutcome | None = None
    """Outcome if a proof (`ProbeSet.proofs`) is unhealthy, for a plan that writes nothing before the probes.

    Its message follows what the probes saw.
    """
    probes: "Callable[[], ProbeSet] | None" = None
    """Returns the probes that prove success; None: those that showed the failure. Sends nothing."""
    decide: Callable[[], RunOutcome | None] | None = None
    """Returns the outcome after the changes if no probe decides it, else None. It may read."""
    describe_remains: Callable[[Progress], str] | None = None
    """Describes what the run leaves behind if it ends now without its other changes; empty if nothing.

    It sends nothing: the run may have been interrupted.
    """
    repeat: SuggestedCommand | None = None
    """Command to start again after this plan; None if the typed one still means the same.

    A target that counts from now, or from the present state, is another one then.
    """

    @property
    def is_resumed(self) -> bool:
        """Return whether an earlier run sent a change, and this one only reads it back."""
        return any(change.accepted_before for change in self.changes)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return the steps that the run makes if its probes are healthy."""
        return (*self.changes, *self.final_changes)

    def settled(self, ctx: Context[Any], made: Step) -> "StepPlan":
        """Return the plan for the result after a change of it."""
        settled = made.settled(ctx)
        if settled is made:
            return self
        return replace(self, changes=tuple(settled if step is made else step for step in self.changes))
