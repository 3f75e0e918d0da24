"""The plan of a run and the progress of its changes.

A plan is made by reading only. It says what each change replaces, what proves it and what undoes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from ops.core.errors import Decision, OpsError, ProviderError, Reason, Refused
from ops.core.next_step import SuggestedCommand

D = TypeVar("D")
D_co = TypeVar("D_co", covariant=True)


@dataclass(frozen=True)
class Change:
    """One write. `before` must still hold when it is made."""

    target: str
    before: str
    after: str
    done_when: str
    undo: SuggestedCommand | None
    """What restores `before`; None where that is not known, or where the change alone has no effect."""


@dataclass(frozen=True)
class RunOutcome:
    """How a run ends where no probe has anything to prove: nothing to do, or handed on to people."""

    decision: Decision
    reason: Reason
    message: str
    suggested_command: SuggestedCommand | None = None
    """What people press next."""


@dataclass(frozen=True)
class PlanSection:
    """A titled list for people; the renderers know no more of a runbook than this."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Plan(Generic[D_co]):
    """`changes` is empty where there is nothing to do; then `reason` says why, and the run only verifies."""

    summary: str
    changes: tuple[Change, ...] = ()
    sections: tuple[PlanSection, ...] = ()
    not_undone: tuple[str, ...] = ()
    consequences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: Reason | None = None
    next_step: SuggestedCommand | None = None
    """What to press if this does not help."""
    done_message: str = ""
    """What the team is told once it is done, such as "Rolled back api to 1a2b3c4d"; without it, the summary."""
    healthy_before_message: str = ""
    """What it means if no probe failed before either; without it, that this may be the wrong service."""
    proved_claim: str = ""
    """What the probes prove where that is not a service's health: the end of a run says it so."""
    tasks: tuple[str, ...] = ()
    """What is left for people once it is done, in this order."""
    remaining_message: str = ""
    """What this run does not change though it belongs to it: the last sentence of a run that changed something."""
    final_changes: tuple[Change, ...] = ()
    """Made like the others, but only once the probes are healthy."""
    ends_at: datetime | None = None
    """When a later run ends what this one begins, in UTC; None: only a person does."""
    details: D_co = None  # type: ignore[assignment]
    """The runbook's own values, which it gets back in `check` and `apply`; never shown. A plan without changes may have
    none."""

    @property
    def undo(self) -> tuple[SuggestedCommand, ...]:
        """Latest change first; a command that undoes several stands there once."""
        return tuple(dict.fromkeys(change.undo for change in reversed(self.changes) if change.undo))


NEW_PLAN_HINT = "Look at what came in, then start again for a new plan."
OUTCOME_WORDS: Mapping[str, str] = {
    "changed": "changed",
    "done_by_others": "done already by another run or person",
    "replaced": "changed, and then replaced by somebody else",
    "unknown": "not known",
    "not_changed": "not changed",
}
"""The keys of `outcome` in the JSON result, and how a message says them."""


@dataclass
class Progress:
    """Collected by the engine while it makes the changes of a plan; `outcome` is complete at any moment."""

    changed: list[str] = field(default_factory=list)
    done_by_others: list[str] = field(default_factory=list)
    """Found as wanted, and not made by this run."""
    replaced: list[str] = field(default_factory=list)
    """Made by this run, and not live any more."""
    unconfirmed: list[str] = field(default_factory=list)
    """Sent without a clear answer, to an API that may lag: the probes decide."""
    pending_target: str = ""
    """Sent, and it is not known whether it was made."""
    may_have_written: bool = False
    """A write of this run changed something, or nothing was read since that shows the opposite."""

    def begin_change(self, change: Change) -> None:
        """Right before the write is sent."""
        self.pending_target, self.may_have_written = change.target, True

    def settle_change(self, change: Change, group: list[str]) -> None:
        """`fate` is one of the lists above."""
        self.pending_target = ""
        for former in (self.changed, self.unconfirmed):
            if change.target in former:
                former.remove(change.target)
        group.append(change.target)
        self.may_have_written = bool(self.changed or self.replaced or self.unconfirmed)

    def drop_change(self, *, verified: bool) -> None:
        """`seen`: the state was read afterwards, or the provider named what it refused."""
        self.pending_target = ""
        self.may_have_written = bool(self.changed or self.replaced or self.unconfirmed) or not verified

    def outcome(self, plan: Plan[Any] | None) -> dict[str, list[str]]:
        """Target of each change, by what became of it."""
        known = {
            "changed": self.changed,
            "done_by_others": self.done_by_others,
            "replaced": self.replaced,
            "unknown": [*self.unconfirmed, *([self.pending_target] if self.pending_target else [])],
        }
        told = {target for targets in known.values() for target in targets}
        planned = [change.target for change in (*plan.changes, *plan.final_changes)] if plan else []
        return {**known, "not_changed": [target for target in planned if target not in told]}

    def describe(self, plan: Plan[Any] | None) -> str:
        """Nothing where there was one change only, or none was begun."""
        outcome = self.outcome(plan)
        if sum(map(len, outcome.values())) < 2 or not any(
            outcome[name] for name in OUTCOME_WORDS if name != "not_changed"
        ):
            return ""
        return "; ".join(f"{OUTCOME_WORDS[name]}: {', '.join(targets)}" for name, targets in outcome.items() if targets)


def changed_elsewhere_error(text: str, progress: Progress) -> OpsError:
    """Before the write, the world is no longer the planned one."""
    kind = ProviderError if progress.may_have_written else Refused
    return kind(f"the world moved since the plan: {text}", reason=Reason.WORLD_MOVED, hint=NEW_PLAN_HINT)


def replaced_error(text: str, *, made: bool) -> ProviderError:
    """After the write, something else is live; `made`: ours was, for a while."""
    first = "our change was made and then replaced; " if made else ""
    return ProviderError(
        f"{first}somebody else's change is live, not ours: {text}",
        reason=Reason.WORLD_MOVED,
        hint="Ask its author before anything else is pressed; then start again for a new plan.",
    )
