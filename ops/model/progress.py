"""How far a run with several changes came: said by name where it ends between them."""

from dataclasses import dataclass, field

from ops.model.errors import OpsError, ProviderError, Reason, Refused
from ops.model.plan import Change, Plan

NOT_MADE = {Reason.PROVIDER_REFUSED, Reason.NOT_APPLIED, Reason.RATE_LIMITED}
"""Of the change that was sent last."""


@dataclass
class Progress:
    made: list[str] = field(default_factory=list)
    begun: str = ""
    """Sent, and not read back yet."""

    def begin(self, change: Change) -> None:
        self.begun = change.target

    def finish(self, change: Change) -> None:
        self.made.append(change.target)
        self.begun = ""

    def text(self, plan: Plan | None, error: OpsError) -> str:
        """Nothing where there was one change only, or none was begun."""
        if isinstance(error, Refused) or error.reason in NOT_MADE:
            self.begun = ""
        targets = [change.target for change in (*plan.changes, *plan.finishing)] if plan else []
        if len(targets) < 2 or not (self.made or self.begun):
            return ""
        left = [target for target in targets if target not in self.made and target != self.begun]
        parts = (("changed", self.made), ("not known", [self.begun] if self.begun else []), ("not changed", left))
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)


def moved(text: str, progress: Progress) -> OpsError:
    """Before the write, the world is no longer the planned one."""
    if progress.made:
        return ProviderError(
            f"the world moved since the plan: {text}",
            reason=Reason.WORLD_MOVED,
            hint="Look at what came in, then start again for a new plan.",
        )
    return Refused(
        f"the world moved since the plan: {text}",
        reason=Reason.WORLD_MOVED,
        hint="Look at what came in, then start again for a new plan.",
    )


def overtaken(text: str) -> ProviderError:
    """After the write, something else is live."""
    return ProviderError(
        f"somebody else's change is live, not ours: {text}",
        reason=Reason.WORLD_MOVED,
        hint="Ask its author before anything else is pressed; then start again for a new plan.",
    )
