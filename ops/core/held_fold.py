"""Fold what runs recorded as held, and compare it with what is held live."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ops.core.clock import format_utc, parse_utc
from ops.core.errors import PROVED, Decision
from ops.core.incident_journal import BOT_NAME, IncidentJournal, IssueRecord
from ops.core.incident_state import HELD, HeldItem, LiveHeld, UnknownFact
from ops.core.names import CLOSING_RUNBOOK
from ops.core.run_record import DONE, ENDED_KIND
from ops.core.timeline import EventKind

HOLDING = {*PROVED, Decision.STILL_UNHEALTHY, Decision.NO_EVIDENCE}
"""Decisions of a run whose change is live."""
ONLY_RECORDED = {"hold", "kept_rows"}
"""Kinds that nobody reads live."""
_SWITCH = re.compile(r"Switch (\S+)")
_REVERTED = re.compile(r"Migration (\S+) of D1 database (\S+)")
_LIFTED = re.compile(r"Hold of (\S+) in D1 database (\S+)")
_KEPT = re.compile(r"copy of rows of D1 database (\S+)")
_RAISED, _NOT_CONFIRMED, _RAISE_END = " raised to ", ": not confirmed", ": the raise to "
"""Parts of the bot's notes about limits that were raised for an incident; `ops.limits.publication` writes them."""
_UNTIL = re.compile(r"until (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC")
_LAST_UNTIL = re.compile(r", until (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC$")
_OWNER_UNTIL = re.compile(r"#(\d+) \([^()]*, until (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC\)")
_HELD_BY = ", held by "
"""Before the owners of a switch, if it has several."""
HeldKey = tuple[str, str, str]
"""Kind, environment and name."""


def merge_held(journal: IncidentJournal, live: LiveHeld | None) -> tuple[tuple[HeldItem, ...], tuple[UnknownFact, ...]]:
    """Return what the incident holds, and what is unknown of it or differs.

    A record tells only of what nobody read live, or of what cannot be read so.
    """
    recorded, read = {**_list_recorded(journal), **_list_raises(journal)}, live or LiveHeld()
    held, unknown = list(read.items), list[UnknownFact]()
    known = {(each.kind, each.environment, each.name) for each in read.items}
    others = {(each.kind, each.environment, each.name): each for each in read.others}
    for key, item in recorded.items():
        kind, environment, _ = key
        if key in known:
            continue
        if kind in ONLY_RECORDED or environment not in read.environments or (environment, kind) in read.unread_kinds:
            held.append(item)
        elif key in others:
            unknown.append(UnknownFact(HELD, f"{others[key].describe()}: no longer by this incident"))
        else:
            why = f"{item.what} in {environment}: the {item.source} says so, and live it is not held any more"
            unknown.append(UnknownFact(HELD, why))
    if live is None:
        unknown.append(UnknownFact(HELD, "nobody read it live: `ops status` shows it"))
    unknown += [UnknownFact(HELD, each) for each in (*read.warnings, *read.unread)]
    return tuple(held), tuple(unknown)


def _list_recorded(journal: IncidentJournal) -> dict[HeldKey, HeldItem]:
    """Return what the runs of the incident hold, as their records tell: the last run of each decides."""
    held, normal = dict[HeldKey, HeldItem](), dict[HeldKey, str]()
    runs = [one for one in journal.our_runs if one.record.decision in HOLDING]
    for one in sorted(runs, key=lambda one: one.first_event_at(ENDED_KIND) or one.record.rows[-1].at):
        for change in _list_changes(one):
            is_normal = change.after == normal.setdefault(change.key, change.before)
            until = _find_end(change.text, journal.number)
            if is_normal or (until is not None and until <= journal.read_at):
                held.pop(change.key, None)
            else:
                source = f"run record of {format_utc(one.record.rows[0].at)}"
                held[change.key] = HeldItem(*change.key, change.text, (f"#{journal.number}",), until, source)
    return held


@dataclass(frozen=True)
class _HeldChange:
    """Change of a state that may be held. The state before the first change is the normal one."""

    key: HeldKey
    before: str
    after: str
    text: str


def _list_changes(one: IssueRecord) -> Iterator[_HeldChange]:
    record = one.record
    where, changes = record.environment, record.versions if one.first_event_at(EventKind.WRITTEN) else ()
    by_switch = any(_SWITCH.fullmatch(target) for target, *_ in changes)
    if record.runbook == CLOSING_RUNBOOK and record.service and changes and not by_switch:
        after = "offline" if record.state == DONE else "open"
        yield _HeldChange(("maintenance", where, record.service), "open", after, f"{record.service}: {after}")
        return
    for target, before, after in changes:
        if match := _SWITCH.fullmatch(target):
            states = _first_word(before), _first_word(after)
            yield _HeldChange(("switches", where, match[1]), *states, f"{match[1]}: {after}")
        elif match := _REVERTED.fullmatch(target):
            name = f"migration {match[1]} of {match[2]}"
            yield _HeldChange(("hold", where, match[1]), "applied", "held", f"{name}: reverted and held")
        elif match := _LIFTED.fullmatch(target):
            yield _HeldChange(("hold", where, match[1]), "applied", "applied", "")
        elif match := _KEPT.fullmatch(target):
            yield _HeldChange(("kept_rows", where, match[1]), before, after, f"database {match[1]}: {after}")


def _list_raises(journal: IncidentJournal) -> dict[HeldKey, HeldItem]:
    """Return the limits that the bot's notes say were raised for this incident, and that have not ended."""
    held = dict[HeldKey, HeldItem]()
    notes = [(row.at, row.text) for one in journal.records if is_bot_note(one) for row in one.record.rows]
    for at, text in sorted(notes):
        applied, until = parse_raise(text), _parse_end(_UNTIL.findall(text)[:1])
        if applied and until and until > journal.read_at:
            environment, limit, value = applied
            key, source = ("limits", environment, limit), f"note of {format_utc(at)}"
            held[key] = HeldItem(*key, f"{limit}: {value}", (f"#{journal.number}",), until, source)
        elif ended := _parse_raise_end(text):
            held.pop(("limits", *ended), None)
    return held


def parse_raise(text: str) -> tuple[str, str, str] | None:
    """Return environment, limit and value of a note that says that a raise is in effect."""
    name, is_raised, rest = text.partition(_RAISED)
    parts = _split_name(name) if is_raised and _NOT_CONFIRMED not in rest else None
    return (*parts, rest.partition(" ")[0]) if parts else None


def _parse_raise_end(text: str) -> tuple[str, str] | None:
    """Return environment and limit of a note that says that a raise is over."""
    name, is_end, rest = text.partition(_RAISE_END)
    return _split_name(name) if is_end and _NOT_CONFIRMED not in rest else None


def _split_name(text: str) -> tuple[str, str] | None:
    """Return environment and limit of the start of a note."""
    environment, _, limit = text.partition(": ")
    return (environment, limit) if limit and " " not in limit else None


def is_bot_note(one: IssueRecord) -> bool:
    return one.record.source == "note" and one.author.endswith(BOT_NAME)


def _first_word(state: str) -> str:
    return re.split("[,:]", state, maxsplit=1)[0]


def _find_end(change: str, incident: int) -> datetime | None:
    """Return until when the incident holds a changed state; None without an end. Other owners have their own ends."""
    if _HELD_BY in change:
        return _parse_end([until for owner, until in _OWNER_UNTIL.findall(change) if owner == str(incident)])
    return _parse_end(_LAST_UNTIL.findall(change))


def _parse_end(moments: list[str]) -> datetime | None:
    try:
        return parse_utc(f"{moments[0].replace(' ', 'T')}Z") if moments else None
    except ValueError:
        return None
