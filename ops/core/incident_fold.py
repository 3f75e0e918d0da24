"""Fold the records and actions of an incident into its state, without I/O.

Also what runs recorded as held, compared with what is held live.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import takewhile

from ops.core.clock import format_utc, parse_utc
from ops.core.errors import PROVED, Decision
from ops.core.incident_state import (
    BOT_NAME,
    HELD,
    HeldItem,
    IncidentAction,
    IncidentJournal,
    IncidentLead,
    IncidentPeriod,
    IncidentState,
    IssueRecord,
    LiveHeld,
    ServiceState,
    UnknownFact,
)
from ops.core.names import CLOSING_RUNBOOK, quote_name
from ops.core.run_record import DONE, ENDED_KIND, is_closed_watch
from ops.core.service_fold import HEALTH_NOTE, ServiceFold
from ops.core.standing_rollback import StandingRollback
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
            until = _find_holding_end(change.text, journal.number)
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
        applied, until = parse_raise_note(text), _parse_holding_end(_UNTIL.findall(text)[:1])
        if applied and until and until > journal.read_at:
            environment, limit, value = applied
            key, source = ("limits", environment, limit), f"note of {format_utc(at)}"
            held[key] = HeldItem(*key, f"{limit}: {value}", (f"#{journal.number}",), until, source)
        elif ended := _parse_raise_end_note(text):
            held.pop(("limits", *ended), None)
    return held


def parse_raise_note(text: str) -> tuple[str, str, str] | None:
    """Return environment, limit and value of a note that says that a raise is in effect."""
    name, is_raised, rest = text.partition(_RAISED)
    parts = _split_raise_note(name) if is_raised and _NOT_CONFIRMED not in rest else None
    return (*parts, rest.partition(" ")[0]) if parts else None


def _parse_raise_end_note(text: str) -> tuple[str, str] | None:
    """Return environment and limit of a note that says that a raise is over."""
    name, is_end, rest = text.partition(_RAISE_END)
    return _split_raise_note(name) if is_end and _NOT_CONFIRMED not in rest else None


def _split_raise_note(text: str) -> tuple[str, str] | None:
    """Return environment and limit of the start of a note."""
    environment, _, limit = text.partition(": ")
    return (environment, limit) if limit and " " not in limit else None


def is_bot_note(one: IssueRecord) -> bool:
    return one.record.source == "note" and one.author.endswith(BOT_NAME)


def _first_word(state: str) -> str:
    return re.split("[,:]", state, maxsplit=1)[0]


def _find_holding_end(change: str, incident: int) -> datetime | None:
    """Return until when the incident holds a changed state; None without an end. Other owners have their own ends."""
    if _HELD_BY in change:
        return _parse_holding_end([until for owner, until in _OWNER_UNTIL.findall(change) if owner == str(incident)])
    return _parse_holding_end(_LAST_UNTIL.findall(change))


def _parse_holding_end(moments: list[str]) -> datetime | None:
    try:
        return parse_utc(f"{moments[0].replace(' ', 'T')}Z") if moments else None
    except ValueError:
        return None


LEAD, NOTE, OUTAGE, WATCH = "lead", "note", "outage", "watch"
"""Sources of records."""
COUNTING = {"run", "laptop", LEAD, NOTE, OUTAGE, WATCH}
"""Sources of the records that the state comes from; a menu or an answer of the gate says nothing of it."""
LAPTOP = "from a laptop"
LIVE_VERSION = "which version is live"
"""Name of the unknown facts about rollbacks."""
_REQUESTER = re.compile(r"\(([^()]*)\)$")
IncidentEvent = tuple[tuple[datetime, int], Callable[[], None]]
"""Time and order of an event, and what applies it."""


def fold_incident(
    journal: IncidentJournal, live: LiveHeld | None = None, places: Collection[tuple[str, str]] = ()
) -> IncidentState:
    """Return the state of the incident.

    `live` is None if nobody read what is held. `places`: environment and service of each service in ops.yml.
    """
    counted, doubts = _split_records(journal)
    journal = replace(journal, records=counted)
    services = ServiceFold(journal, places)
    for _, apply in sorted(_list_events(journal, services), key=lambda each: each[0]):
        apply()
    held, differences = merge_held(journal, live)
    affected, actions = services.build(), tuple(sorted(_list_actions(journal), key=lambda each: each.at))
    unread = _list_unread_rollbacks(live, affected)
    unknown = (*doubts, *services.unknown, *_find_open_runs(journal), *differences, *unread)
    return IncidentState(
        number=journal.number,
        title=journal.title,
        url=journal.url,
        severity=journal.severity,
        read_at=journal.read_at,
        periods=_list_periods(journal),
        lead=_find_lead(journal),
        services=affected,
        held=held,
        actions=actions,
        unknown=tuple(dict.fromkeys(unknown)),
        rollbacks=tuple(_own_rollbacks(journal.number, live, affected, actions)),
    )


def _list_unread_rollbacks(live: LiveHeld | None, affected: Iterable[ServiceState]) -> list[UnknownFact]:
    """Return the services of the incident of which nobody could read whether they are rolled back."""
    names = {(each.environment, each.service) for each in affected}
    unread = live.unread_rollbacks if live else ()
    return [
        UnknownFact(LIVE_VERSION, f"{name} in {where}: {why}") for where, name, why in unread if (where, name) in names
    ]


def _own_rollbacks(
    number: int, live: LiveHeld | None, affected: Iterable[ServiceState], actions: Iterable[IncidentAction]
) -> Iterator[tuple[str, StandingRollback]]:
    """Yield the rollbacks of the incident, and those by other means of its services, with their requesters."""
    names, who = {(each.environment, each.service) for each in affected}, {each.run: each.who for each in actions}
    for environment, rollback in live.rollbacks if live else ():
        is_other = rollback.incident is None and (environment, rollback.service) in names
        if rollback.incident == number or is_other:
            by = who.get(rollback.run, rollback.by) if rollback.run else rollback.by
            yield environment, replace(rollback, by=by.removeprefix("laptop, by "))


def _split_records(journal: IncidentJournal) -> tuple[tuple[IssueRecord, ...], list[UnknownFact]]:
    """Return the records that count, each run once, and why others do not."""
    counted, doubts = dict[tuple[str, int], IssueRecord](), list[UnknownFact]()
    for one in journal.records:
        if one.record.source not in COUNTING:
            continue
        key, name = (one.record.run, one.record.part), f"record {quote_name(one.record.run)}"
        if doubt := journal.find_doubt(one):
            doubts.append(UnknownFact(name, f"it does not count: {doubt}"))
        elif key not in counted:
            counted[key] = one
        else:
            counted[key] = max(counted[key], one, key=_weigh_copy)
            doubts.append(UnknownFact(name, "it is on the incident twice, and counts once"))
    doubts += [UnknownFact("who wrote some records", f"{why}; they count here") for why in journal.unverified]
    if journal.skipped_records:
        why = f"{journal.skipped_records} of them do not count"
        doubts.append(UnknownFact("records of people without write access", why))
    return tuple(counted.values()), doubts


def _weigh_copy(one: IssueRecord) -> tuple[bool, bool]:
    """Return the weight of one copy of a record: that of the bot counts more, and a whole one."""
    return one.author.endswith(BOT_NAME), bool(one.record.decision)


def _list_periods(journal: IncidentJournal) -> tuple[IncidentPeriod, ...]:
    periods = [IncidentPeriod(journal.opened_at, journal.opened_by)]
    for act in journal.actions:
        if act.kind == "closed":
            periods[-1] = replace(periods[-1], closed_at=act.at)
        elif act.kind == "reopened" and periods[-1].closed_at is not None:
            periods.append(IncidentPeriod(act.at, act.who))
    # GitHub's state of the issue is newer than its list of events.
    return (*periods[:-1], replace(periods[-1], closed_at=journal.closed_at))


def _find_lead(journal: IncidentJournal) -> IncidentLead:
    rows = [(row.at, row.text, one) for one in journal.records if one.record.source == LEAD for row in one.record.rows]
    if not rows:
        return IncidentLead("", None, "nobody is recorded as the lead")
    ordered = sorted(rows, key=lambda each: each[0])  # of one second, the later one on the issue counts
    login = ordered[-1][1]
    *_, (at, _, one) = takewhile(lambda each: each[1] == login, reversed(ordered))  # the first one in a row
    by = "" if one.author.endswith(BOT_NAME) else f", by {one.author}, {LAPTOP}"
    return IncidentLead(login, at, f"record of the hand-over{by}")


def _list_actions(journal: IncidentJournal) -> Iterator[IncidentAction]:
    for act in journal.actions:
        if act.kind != "commented" and not act.who.endswith(BOT_NAME):
            yield IncidentAction(act.at, act.who, f"{act.kind} {act.text}".strip(), url=act.url)
    for one in journal.our_runs:
        what = f"{one.record.runbook} for {one.record.service or one.record.environment}: {one.result_text}"
        yield IncidentAction(one.record.rows[0].at, find_requester(one), what, one.record.run, one.url)
    for one in journal.records:
        if one.record.source == NOTE and not one.author.endswith(BOT_NAME):
            for row in one.record.rows:
                yield IncidentAction(row.at, one.author, f"noted: {row.text}", url=one.url)


def find_requester(one: IssueRecord) -> str:
    """Return who requested a run: "LOGIN" or "LOGIN, from a laptop"."""
    if one.actions_run is None:
        return f"{one.author}, {LAPTOP}"
    match = _REQUESTER.search(one.record.rows[0].text)
    who = match[1] if match else "unknown"
    return who if one.author.endswith(BOT_NAME) else f"{who}; recorded by {one.author}, {LAPTOP}"


def _find_open_runs(journal: IncidentJournal) -> Iterator[UnknownFact]:
    for one in journal.our_runs:
        if not one.record.decision:
            began = format_utc(one.record.rows[0].at)
            name = f"{one.record.runbook} for {one.record.service} of {began}"
            yield UnknownFact(name, "it has no result: it runs, or was killed")


def _list_events(journal: IncidentJournal, services: ServiceFold) -> Iterator[IncidentEvent]:
    """Yield what changes the state of a service; events of one second keep the order of the issue."""
    for order, one in enumerate(journal.records):
        record, rows = one.record, one.record.rows
        if not rows:
            continue
        ended = one.first_event_at(ENDED_KIND) or rows[-1].at
        if one.record.is_run and record.service:
            yield (ended, order), partial(services.apply_run, one, ended)
        elif record.source == WATCH and record.decision and not is_closed_watch(record.watch):
            yield (ended, order), partial(services.apply_watch, one, ended)
        elif record.source == OUTAGE:
            yield (rows[-1].at, order), partial(services.apply_outage, one)
        elif record.source == NOTE:
            for row in rows:
                if is_bot_note(one) and (applied := parse_raise_note(row.text)):
                    yield (row.at, order), partial(services.apply_raise, one, row.at, applied[0])
                elif match := HEALTH_NOTE.match(row.text):
                    yield (row.at, order), partial(services.apply_note, one, row.at, match)
    for act in journal.actions:
        if act.kind == "reopened":
            yield (act.at, len(journal.records)), partial(services.apply_reopening, act)
