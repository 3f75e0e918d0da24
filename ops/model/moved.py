"""What a run says where somebody else changed the same thing: before its writes, between two of them, after one."""

from ops.model.errors import OpsError, ProviderError, Reason, Refused
from ops.model.plan import Change


def since_the_plan(text: str, made: tuple[Change, ...]) -> OpsError:
    """`made` are the changes of this run before the one that cannot be made any more."""
    message = f"the world moved since the plan: {text}"
    then = "Look at what came in, then start again for a new plan."
    if not made:
        return Refused(message, reason=Reason.WORLD_MOVED, hint=f"Nothing was changed. {then}")
    done = "; ".join(f"{change.target}: {change.after}" for change in made)
    return ProviderError(message, reason=Reason.WORLD_MOVED, hint=f"This was made, and no more: {done}. {then}")


def over_ours(text: str) -> OpsError:
    """After our write."""
    return ProviderError(
        f"somebody else's change is live, not ours: {text}",
        reason=Reason.WORLD_MOVED,
        hint="Ask its author before anything else is pressed; then start again for a new plan.",
    )
