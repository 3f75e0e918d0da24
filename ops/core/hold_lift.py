"""The label on an incident that lifts the holds of its commits."""

from dataclasses import dataclass
from datetime import datetime

LIFTED = "hold:lifted"


@dataclass(frozen=True)
class HoldLift:
    """The label LIFTED on an incident, and who added it last."""

    by: str
    """Login; empty if the account was deleted."""
    at: datetime
    is_by_bot: bool
    """Whether a workflow added it. Only this lifts: the gate has authorized a responder before."""

    def ends(self, since: datetime) -> bool:
        """Return whether it lifts the hold of a rollback at that time. A later rollback holds again."""
        return self.is_by_bot and self.at > since
