"""What became of each change of a plan: made, made and replaced, done by others, not known, or not made."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ops.core.errors import OpsError, ProviderError, Reason, Refused
from ops.core.plan import Change, Plan

START_AGAIN = "Look at what came in, then start again for a new plan."
WORDS: Mapping[str, str] = {
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

    made: list[str] = field(default_factory=list)
    by_others: list[str] = field(default_factory=list)
    """Found as wanted, and not made by this run."""
    replaced: list[str] = field(default_factory=list)
    """Made by this run, and not live any more."""
    unseen: list[str] = field(default_factory=list)
    """Sent without a clear answer, to an API that may lag: the probes decide."""
    open: str = ""
    """Sent, and it is not known whether it was made."""
    sent: bool = False
    """A write of this run changed something, or nothing was read since that shows the opposite."""

    def begin(self, change: Change) -> None:
        """Right before the write is sent."""
        self.open, self.sent = change.target, True

    def settle(self, change: Change, fate: list[str]) -> None:
        """`fate` is one of the lists above."""
        self.open = ""
        for former in (self.made, self.unseen):
            if change.target in former:
                former.remove(change.target)
        fate.append(change.target)
        self.sent = bool(self.made or self.replaced or self.unseen)

    def not_made(self, *, seen: bool) -> None:
        """`seen`: the state was read afterwards, or the provider named what it refused."""
        self.open = ""
        self.sent = bool(self.made or self.replaced or self.unseen) or not seen

    def outcome(self, plan: Plan | None) -> dict[str, list[str]]:
        """Target of each change, by what became of it."""
        known = {
            "changed": self.made,
            "done_by_others": self.by_others,
            "replaced": self.replaced,
            "unknown": [*self.unseen, *([self.open] if self.open else [])],
        }
        told = {target for targets in known.values() for target in targets}
        planned = [change.target for change in (*plan.changes, *plan.finishing)] if plan else []
        return {**known, "not_changed": [target for target in planned if target not in told]}

    def text(self, plan: Plan | None) -> str:
        """Nothing where there was one change only, or none was begun."""
        outcome = self.outcome(plan)
        if sum(map(len, outcome.values())) < 2 or not any(outcome[name] for name in WORDS if name != "not_changed"):
            return ""
        return "; ".join(f"{WORDS[name]}: {', '.join(targets)}" for name, targets in outcome.items() if targets)


def moved(text: str, progress: Progress) -> OpsError:
    """Before the write, the world is no longer the planned one."""
    kind = ProviderError if progress.sent else Refused
    return kind(f"the world moved since the plan: {text}", reason=Reason.WORLD_MOVED, hint=START_AGAIN)


def overtaken(text: str, *, made: bool) -> ProviderError:
    """After the write, something else is live; `made`: ours was, for a while."""
    first = "our change was made and then replaced; " if made else ""
    return ProviderError(
        f"{first}somebody else's change is live, not ours: {text}",
        reason=Reason.WORLD_MOVED,
        hint="Ask its author before anything else is pressed; then start again for a new plan.",
    )
