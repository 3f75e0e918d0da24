"""Owners of a state that several incidents may need: a switch, or a closed service.

Each owner has its own end. The state lasts until the latest of them, and opens only when nobody holds it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ops.core.clock import format_rfc3339, format_utc, parse_utc
from ops.core.errors import NeedsAcceptance, Reason
from ops.core.names import quote_name

UNTIL_RUN_ENDS = ", until its run ends"
"""End of the name of a person whose run ends the state itself, as a restore does with its maintenance."""


@dataclass(frozen=True)
class StateOwner:
    """An incident that needs a state, or a person without one."""

    incident: int | None
    by: str
    """Person who requested it last."""
    since: datetime
    until: datetime | None = None
    """Time at which it no longer needs the state; None until it is released."""
    review_at: datetime | None = None
    message: str = ""
    paths: tuple[str, ...] = ()
    """Closed paths; none closes everything."""

    @property
    def name(self) -> str:
        """Name by which a person accepts that its state is replaced."""
        return str(self.incident) if self.incident else self.by

    @property
    def ends_with_run(self) -> bool:
        """Whether the run that set it ends it, unless another one takes it over."""
        return self.by.endswith(UNTIL_RUN_ENDS)

    def is_over(self, now: datetime) -> bool:
        return self.until is not None and self.until <= now

    def describe(self) -> str:
        """Describe it in a few words, such as "#7 (alice, until 2026-11-25 05:00:00 UTC)"."""
        person = quote_name(self.by)
        ends = f"until {format_utc(self.until)}" if self.until else ""
        if self.incident is None:
            return " ".join(filter(None, [f"{person} without an incident", ends]))
        return f"#{self.incident} ({', '.join(filter(None, [person, ends]))})"

    def to_json(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults."""
        moments = {name: getattr(self, name) for name in ("until", "review_at")}
        texts = {"message": self.message, "paths": list(self.paths)}
        given = {name: moment and format_rfc3339(moment) for name, moment in moments.items()} | texts
        first = {"incident": self.incident, "by": self.by, "since": format_rfc3339(self.since)}
        return first | {name: value for name, value in given.items() if value}


def parse_owner(value: Mapping[str, Any]) -> StateOwner:
    """Parse the JSON of an owner.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: it is malformed.
    """
    incident, texts = value["incident"], [value["by"], value.get("message", ""), *value.get("paths", ())]
    if not all(isinstance(text, str) for text in texts) or not (incident is None or type(incident) is int):
        raise TypeError(value)
    until, review_at = (parse_utc(value[name]) if value.get(name) else None for name in ("until", "review_at"))
    return StateOwner(incident, texts[0], parse_utc(value["since"]), until, review_at, texts[1], tuple(texts[2:]))


def find_owner(owners: Iterable[StateOwner], incident: int | None) -> StateOwner | None:
    return next((each for each in owners if each.incident == incident), None)


def add_owner(owners: Iterable[StateOwner], owner: StateOwner) -> tuple[StateOwner, ...]:
    """Return the owners with `owner` as the newest; it keeps the start of its incident."""
    former = find_owner(owners, owner.incident)
    others = tuple(each for each in owners if each.incident != owner.incident)
    return (*others, replace(owner, since=former.since if former else owner.since))


def latest_end(owners: Iterable[StateOwner]) -> datetime | None:
    """Return the end of the state; None if an owner has no end."""
    ends = [each.until for each in owners]
    known = [end for end in ends if end is not None]
    return max(known, default=None) if len(known) == len(ends) else None


def describe_owners(owners: Sequence[StateOwner]) -> str:
    return " and ".join(each.describe() for each in owners)


def held_by_others(
    standing: str,
    others: Sequence[StateOwner],
    *,
    incident: int | None,
    effect: str,
    accepted: Sequence[str] = (),
) -> NeedsAcceptance:
    """Return the refusal of a run of `incident`, because `others` need the standing state.

    `effect` says what the acceptance does, such as "opens it" or "sets it to off".
    """
    persons = " and ".join(
        dict.fromkeys(f"#{each.incident}" if each.incident else quote_name(each.by) for each in others)
    )
    mine = next((each.incident for each in others if each.incident), None) if incident is None else None
    own = f", or add `--incident {mine}` if it is yours" if mine else ""
    return NeedsAcceptance(
        f"{standing}, held by {describe_owners(others)}",
        reason=Reason.HELD_BY_OTHERS,
        hint=f"Ask {persons} first{own}. The command with `--accept-owners` {effect} anyway.",
        accept={"accept_owners": tuple(dict.fromkeys((*accepted, *(each.name for each in others))))},
    )
