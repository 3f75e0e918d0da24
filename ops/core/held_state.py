"""A state that is not the normal one, with everybody who holds it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.core.clock import format_planned_end, format_rfc3339, format_utc
from ops.core.owners import StateOwner, describe_owners


@dataclass(frozen=True)
class HeldState:
    """A state that is not the normal one, with everybody who holds it."""

    kind: str
    """Key of the JSON result that has its details: maintenance, switches or limits."""
    what: str
    state: str
    owners: tuple[StateOwner, ...]
    """Those whose end has passed count only if there is no other."""
    since: datetime | None
    until: datetime | None
    """Time at which it ends by itself."""
    release: str
    """Command that ends it; empty if a step by hand comes first, and while a run is about to end it."""
    run: str = ""
    """Run that ends it, in words; empty if there is none."""
    planned_end: datetime | None = None
    """Reminder of people; nothing ends it then."""
    step: str = ""
    """Step by hand that ends it, or that makes its command work again, if ops.yml no longer has it."""

    def describe(self, now: datetime, where: str = "") -> str:
        """Describe it in one line: who holds it, since when, until when, and how to end it. `where` may be empty."""
        moments = [f"since {format_utc(self.since)}"] if self.since else []
        if self.until:
            moments.append(f"until {format_utc(self.until)}" if self.until > now else f"ended {format_utc(self.until)}")
        elif self.planned_end:
            moments.append(format_planned_end(self.planned_end, now))
        held = [f"held by {describe_owners(self.owners)}"] if self.owners else []
        way_out = f"`{self.release}`" if self.release else self.step
        ends = f"; to end it: {way_out}" if way_out else ""
        parts = [self.state, *held, *moments, *filter(None, [self.run, where])]
        return f"{self.what}: {', '.join(parts)}{ends}"

    def to_json(self) -> dict[str, Any]:
        moments = {name: getattr(self, name) for name in ("since", "until", "planned_end")}
        times = {name: moment and format_rfc3339(moment) for name, moment in moments.items()}
        held = {"held_by": [each.describe() for each in self.owners]}
        ends = {"release": self.release, "step": self.step}
        return {"kind": self.kind, "what": self.what, "state": self.state, **held, **times, **ends}
