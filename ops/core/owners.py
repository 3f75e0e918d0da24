"""Owners of a state that several may need, as a switch or closure; refusal to end it alone.

An owner is an incident, or a person without one. Each has its own end. The state lasts until the latest of them, and
opens only when nobody holds it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ops.core.clock import format_optional, format_rfc3339, format_utc, parse_utc
from ops.core.errors import NeedsAcceptance, Reason
from ops.core.names import quote_name

UNTIL_RUN_ENDS = ", until its run ends"
"""End of the name of a person whose run ends the state itself, as a restore does with its maintenance."""
UNNAMED_RUN = "run "
"""Start of the name of an owner that stands for a run: release 0.1.1 stored no person of maintenance at the edge."""


@dataclass(frozen=True)
class StateRequester:
    """Incident of a run, or the person who started it without one: the same one as the owner that it adds."""

    incident: int | None
    person: str = ""

    @property
    def key(self) -> int | str:
        """Identity. GitHub does not distinguish the case of a login."""
        return self.incident or self.person.removesuffix(UNTIL_RUN_ENDS).casefold()


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
    def key(self) -> int | str:
        return StateRequester(self.incident, self.by).key

    @property
    def name(self) -> str:
        """Name by which a person accepts that its state is replaced, as one word: an option separates several."""
        return str(self.incident) if self.incident else re.sub(r"[,;\s]+", "-", self.person)

    @property
    def person(self) -> str:
        return self.by.removesuffix(UNTIL_RUN_ENDS)

    @property
    def ends_with_run(self) -> bool:
        """Whether the run that set it ends it, unless another one takes it over."""
        return self.by.endswith(UNTIL_RUN_ENDS)

    @property
    def is_run(self) -> bool:
        """Whether it stands for a run of no incident, which no person was promised to hold the state."""
        return self.incident is None and (self.ends_with_run or self.by.startswith(UNNAMED_RUN))

    def is_over(self, now: datetime) -> bool:
        return self.until is not None and self.until <= now

    def describe(self) -> str:
        """Describe it in a few words, such as "#7 (alice, until 2026-11-25 05:00:00 UTC)"."""
        person = quote_name(self.person)
        ends = f", until {format_utc(self.until)}" if self.until else ""
        ends = f"{UNTIL_RUN_ENDS if self.ends_with_run else ''}{ends}"
        if self.incident is None:
            return f"{person} without an incident{ends}"
        return f"#{self.incident} ({person}{ends})"

    def to_json(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults."""
        moments = {name: getattr(self, name) for name in ("until", "review_at")}
        texts = {"message": self.message, "paths": list(self.paths)}
        given = {name: format_optional(moment) for name, moment in moments.items()} | texts
        first = {"incident": self.incident, "by": self.by, "since": format_rfc3339(self.since)}
        return first | {name: value for name, value in given.items() if value}


def parse_owner(value: Mapping[str, Any]) -> StateOwner:
    """Parse the JSON of an owner.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: it is malformed, or names neither incident nor person.
    """
    incident, texts = value["incident"], [value["by"], value.get("message", ""), *value.get("paths", ())]
    is_named = bool(value["by"]) if incident is None else type(incident) is int and incident > 0
    if not is_named or not all(isinstance(text, str) for text in texts):
        raise TypeError(value)
    until, review_at = (parse_utc(value[name]) if value.get(name) else None for name in ("until", "review_at"))
    return StateOwner(incident, texts[0], parse_utc(value["since"]), until, review_at, texts[1], tuple(texts[2:]))


def find_owner(owners: Iterable[StateOwner], requester: StateRequester) -> StateOwner | None:
    return next((each for each in owners if each.key == requester.key), None)


def find_others(
    owners: Iterable[StateOwner], requester: StateRequester, accepted: Sequence[str] = ()
) -> tuple[StateOwner, ...]:
    """Return who else holds the state: it opens for the requester only when there is nobody."""
    return tuple(each for each in owners if each.key != requester.key and each.name not in accepted and not each.is_run)


def add_owner(owners: Iterable[StateOwner], owner: StateOwner) -> tuple[StateOwner, ...]:
    """Return the owners with `owner` as the newest; it keeps the start of the same owner."""
    former = find_owner(owners, StateRequester(owner.incident, owner.by))
    others = tuple(each for each in owners if each.key != owner.key)
    return (*others, replace(owner, since=former.since if former else owner.since))


def latest_end(owners: Iterable[StateOwner]) -> datetime | None:
    """Return the end of the state; None if an owner has no end."""
    ends = [each.until for each in owners]
    known = [end for end in ends if end is not None]
    return max(known, default=None) if len(known) == len(ends) else None


def describe_owners(owners: Sequence[StateOwner]) -> str:
    """Describe each owner once, also one of several paths."""
    return " and ".join(dict.fromkeys(each.describe() for each in owners))


def name_owners(owners: Sequence[StateOwner]) -> str:
    """Return whom to ask, such as "#7 and dana"."""
    names = (f"#{each.incident}" if each.incident else quote_name(each.person) for each in owners)
    return " and ".join(dict.fromkeys(names))


def advise_asking_owners(others: Sequence[StateOwner]) -> tuple[str, ...]:
    """Return the manual step of a run that released its own hold while others keep the state."""
    return (f"Ask {name_owners(others)} before you end it with `--accept-owners`",) if others else ()


def refuse_held_state(
    standing: str,
    others: Sequence[StateOwner],
    *,
    requester: StateRequester,
    effect: str,
    accepted: Sequence[str] = (),
) -> NeedsAcceptance:
    """Return the refusal of a run, because `others` need the standing state.

    `effect` says what the acceptance does, such as "opens it" or "sets it to off".
    """
    names, own = name_owners(others), _own_way(others, requester)
    return NeedsAcceptance(
        f"{standing}, held by {describe_owners(others)}",
        reason=Reason.HELD_BY_OTHERS,
        hint=f"Ask {names} first{own}. The command with `--accept-owners` {effect} anyway.",
        accept={"accept_owners": tuple(dict.fromkeys((*accepted, *(each.name for each in others))))},
    )


def _own_way(others: Iterable[StateOwner], requester: StateRequester) -> str:
    """Return how the requester says that one of the others is its own: by its incident, or without one."""
    if requester.incident is None:
        mine = next((each.incident for each in others if each.incident), None)
        return f", or add `--incident {mine}` if it is yours" if mine else ""
    same = StateRequester(None, requester.person)
    return ", or omit `--incident` if it is yours" if find_owner(others, same) else ""
