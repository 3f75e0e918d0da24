"""Lines on the incident about its raised limits: applied, not confirmed, replaced, ended."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ops.core.clock import format_utc

if TYPE_CHECKING:
    from ops.limits.file import Limit, Limits, Temporary


@dataclass(frozen=True)
class RaiseNote:
    """A line for the timeline of an incident."""

    incident: int
    limit: str
    text: str
    at: datetime | None = None
    """Time of the event in UTC; None: that of the run."""
    needs_result: bool = False
    """Whether it is true only if the run succeeded."""


def raise_notes(
    limits: "Limits", before: "Limits", stored: "Limits", kept: Mapping[str, str], now: datetime
) -> Iterator[RaiseNote]:
    """Yield the lines of a run.

    `limits` are those of limits.yml, `before` those of its former commit, `stored` those in KV before the run.
    """
    for name in dict.fromkeys([*limits, *before, *stored]):
        was, held = _temporary(before, name), _temporary(stored, name)
        entry = _temporary(limits, name)
        owner = next((each for each in (entry, was) if each and each.is_same(held)), None)
        if held is not None and owner is not None and owner.incident is not None:
            yield from _end_notes(name, held, owner.incident, limits.get(name), now)
        if entry is not None and entry.incident is not None:
            yield from _begin_notes(name, entry, entry.incident, kept.get(name, ""), now, is_new=entry != was)


def _begin_notes(
    name: str, entry: "Temporary", incident: int, kept: str, now: datetime, *, is_new: bool
) -> Iterator[RaiseNote]:
    until = format_utc(entry.until)
    if entry.is_over(now):
        if is_new:
            yield RaiseNote(incident, name, f"{name} was not raised to {entry.limit}: the entry ended at {until}")
    elif kept:
        yield RaiseNote(incident, name, kept)
    else:
        yield RaiseNote(incident, name, f"{name} raised to {entry.limit} until {until}", needs_result=True)


def _end_notes(
    name: str, held: "Temporary", incident: int, limit: "Limit | None", now: datetime
) -> Iterator[RaiseNote]:
    entry, until = limit.temporary if limit is not None else None, format_utc(held.until)
    base = f"{limit.limit} in {limit.period} s" if limit is not None else "the value in the code"
    if held.is_over(now):
        yield RaiseNote(incident, name, f"{name}: the raise to {held.limit} ended; {base} applies", at=held.until)
    elif entry is None or entry.is_over(now):
        text = f"{name}: the raise to {held.limit} until {until} is removed from limits.yml; {base} applies"
        yield RaiseNote(incident, name, text, needs_result=True)
    elif not entry.is_same(held):
        whose = f" for incident #{entry.incident}" if entry.incident not in {None, incident} else ""
        new = f"{entry.limit} until {format_utc(entry.until)}{whose}"
        yield RaiseNote(incident, name, f"{name}: the raise to {held.limit} is replaced by {new}", needs_result=True)


def _temporary(limits: "Limits", name: str) -> "Temporary | None":
    limit = limits.get(name)
    return None if limit is None else limit.temporary
