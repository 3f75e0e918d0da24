"""Fold what the records of an incident say about each service into its state."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

from ops.core.clock import format_utc
from ops.core.errors import Decision
from ops.core.incident_state import (
    BOT_NAME,
    WORKING,
    IncidentJournal,
    IssueAction,
    IssueRecord,
    Moment,
    ServiceHealth,
    ServiceState,
    UnknownFact,
)
from ops.core.names import ALL_CLEAR, quote_name
from ops.core.outage import OutageVerdict
from ops.core.run_record import DONE, ENDED_KIND, HEALTHY
from ops.core.timeline import EventKind
from ops.core.verdict import Verdict

LONGEST_RUN = 35 * 24 * 3600.0
"""Seconds from a request to the end of its run, at most: GitHub ends a workflow run after 35 days."""
LABEL = "recover:"
"""Start of each label that requests a recovery."""
HEALTH_NOTE = re.compile(
    r"(recovered|broken)\s+([a-z][a-z0-9_-]*)(?:\s+in\s+([a-z][a-z0-9_-]*))?\s*(?::|$)", re.IGNORECASE
)
"""A responder's note about the health of a service. A colon or its end follows: other words may deny it."""
_CONFIRMATIONS = {Decision.HEALTHY_AS_BEFORE, Decision.NOTHING_TO_DO, Decision.PLANNED, Decision.REFUSED}
"""Decisions that say nothing new about the health of the service."""


@dataclass(frozen=True)
class _ServiceHistory:
    """What is known of one service so far. A None is unknown."""

    environment: str
    service: str
    is_affected: bool = False
    state: ServiceHealth = ServiceHealth.BROKEN
    why: str = "no recovery is recorded"
    broken: Moment | None = None
    first_run: IssueRecord | None = None
    last_write: IssueRecord | None = None
    is_planned: bool = False
    """Whether a run prepared a change for people to merge."""
    merged: Moment | None = None
    """When a merged change of limits was applied."""
    recovery: IssueRecord | None = None
    recovered: Moment | None = None
    relapsed: Moment | None = None
    mitigated: Moment | None = None
    outage_since: datetime | None = None
    """Since when a check saw a provider's outage, until one sees its end."""

    def broken_again(self, why: str, at: datetime, url: str = "") -> "_ServiceHistory":
        """Return the facts after the service failed again, or still. A recovery before it stays a fact."""
        state = ServiceHealth.RELAPSED if self.recovered else ServiceHealth.BROKEN
        is_first = state == ServiceHealth.RELAPSED != self.state
        relapsed = Moment(at, why, url) if is_first else self.relapsed
        return replace(self, is_affected=True, state=state, why=why, relapsed=relapsed, mitigated=None)


class ServiceFold:
    """Applies events in their order. `places`: environment and service of each service in ops.yml."""

    def __init__(self, journal: IncidentJournal, places: Collection[tuple[str, str]]) -> None:
        self._journal, self._places = journal, places
        self._facts = dict[tuple[str, str], _ServiceHistory]()
        self._recorded = set(self._list_recorded())
        self.unknown: list[UnknownFact] = []
        stated = self._find_places(journal.form.service)
        is_recorded = bool({*stated} & self._recorded)
        for place in stated if is_recorded or len(stated) == 1 else {("", service) for _, service in stated}:
            self._facts[place] = _ServiceHistory(*place, is_affected=True)

    def _list_recorded(self) -> Iterator[tuple[str, str]]:
        """Yield the places that records name. One without a service names the environment of the form's service."""
        for one in self._journal.records:
            record, stated = one.record, (one.record.environment, self._journal.form.service)
            if record.environment and record.service:
                yield record.environment, record.service
            elif stated in self._places:
                yield stated
            elif record.source == "note":
                noted = (HEALTH_NOTE.match(row.text) for row in record.rows)
                places = [((each[3] or "").lower(), each[2].lower()) for each in noted if each]
                yield from (each for each in places if each in self._places)

    def _find_places(self, service: str, environment: str = "") -> list[tuple[str, str]]:
        """Return the places of a service: those of the records, else those of ops.yml, else one without environment."""
        if not service:
            return []
        for places in (self._recorded, {*self._facts}, self._places):
            fitting = [each for each in sorted(places) if each[1] == service and environment in {"", each[0]}]
            if fitting:
                return fitting
        return [(environment, service)] if not self._places else []

    def _find_noted_places(self, service: str, environment: str) -> list[tuple[str, str]]:
        """Return the places of a service in a note. Words such as "in full" count only if it has one place."""
        known = {each for each in (*self._recorded, *self._places) if each[1] == service}
        exact = self._find_places(service, environment)
        return exact or (self._find_places(service) if len(known) == 1 else [])

    def apply_run(self, one: IssueRecord, at: datetime) -> None:
        record = one.record
        place = (record.environment, record.service)
        facts = self._facts.get(place, _ServiceHistory(*place))
        has_sent, has_written = one.first_event_at(EventKind.WRITING), one.first_event_at(EventKind.WRITTEN)
        is_planned = record.decision == Decision.PLANNED
        last_write = one if has_written and not is_planned else facts.last_write
        facts = replace(
            facts, first_run=facts.first_run or one, last_write=last_write, is_planned=facts.is_planned or is_planned
        )
        if facts.state not in WORKING:
            facts = replace(facts, why=f"no run recovered it; last result: {one.result_text}")
        self._facts[place] = facts
        if record.runbook == ALL_CLEAR or record.state == DONE or record.decision in _CONFIRMATIONS:
            return
        if record.decision == Decision.RECOVERED and record.health_before == Verdict.HEALTHY:
            return  # its proof is another one than health, such as a switch that is off
        if record.decision == Decision.RECOVERED:
            verified = one.first_event_at(EventKind.VERIFIED) or at
            source = "probes of the run healthy in all required rounds"
            self._facts[place] = _fold_recovery(facts, Moment(verified, source, one.url), one)
        elif record.decision == Decision.STILL_UNHEALTHY:
            why = f"{record.runbook} ended unhealthy at {_clock_time(at)}" if facts.recovered else facts.why
            self._facts[place] = facts.broken_again(why, at, one.url)
        elif record.decision == Decision.FAILED or not has_sent:
            self._facts[place] = replace(facts, is_affected=facts.is_affected or bool(record.decision))
        else:
            result = one.result_text if record.decision else f"{record.runbook} of {_clock_time(at)} has no result"
            why = f"no run recovered it; last result: {result}"
            self._facts[place] = replace(facts, is_affected=True, state=ServiceHealth.UNKNOWN, why=why)

    def apply_watch(self, one: IssueRecord, at: datetime) -> None:
        """Apply the end of a watch, unless a run that began after the watch changed the service."""
        record = one.record
        place = (record.environment, record.service)
        facts = self._facts.get(place, _ServiceHistory(*place))
        began = record.rows[0].at
        if facts.recovery and facts.recovery.record.rows[0].at > began:
            return
        if record.decision in {Decision.RELAPSED, Decision.STILL_UNHEALTHY}:
            word = "a relapse" if record.decision == Decision.RELAPSED else "the service still unhealthy"
            self._facts[place] = facts.broken_again(f"the watch found {word} at {_clock_time(at)}", at, one.url)
        elif record.decision == Decision.MITIGATED and (green := one.first_event_at(EventKind.VERIFIED)):
            until = f"to the end of the watch, {_clock_time(at)}"
            if facts.recovered and facts.state in WORKING and green == began:
                source = f"{facts.recovered.source}, and in the watch until {_clock_time(at)}"
                moment = Moment(facts.recovered.at, source, facts.recovered.url)
            else:
                moment = Moment(green, f"probes healthy from then {until}", one.url)
            recovered = facts if facts.state in WORKING else _fold_recovery(facts, moment, None)
            why = f"the watch ended well at {_clock_time(at)}"
            self._facts[place] = replace(recovered, state=ServiceHealth.MITIGATED, mitigated=moment, why=why)

    def apply_note(self, one: IssueRecord, at: datetime, match: re.Match[str]) -> None:
        """Apply a note about the health of a service."""
        words, name, environment = match[1].lower(), match[2].lower(), (match[3] or "").lower()
        places = self._find_noted_places(name, environment)
        if not places:
            where = f" in {quote_name(environment)}" if environment else ""
            why = f"ops.yml and the runs know no service {quote_name(name)}{where}"
            self.unknown.append(UnknownFact(f"the note of {format_utc(at)}, {words} {quote_name(name)}", why))
        for place in places:
            facts = self._facts.get(place, _ServiceHistory(*place))
            source = f"note by {one.author}"
            if words == "broken":
                is_start = facts.broken is None and facts.recovered is None
                again = facts.broken_again(f"{source} at {_clock_time(at)}", at, one.url)
                self._facts[place] = replace(again, broken=Moment(at, source, one.url) if is_start else facts.broken)
            else:
                self._facts[place] = _fold_mitigation(facts, Moment(at, source, one.url))

    def apply_raise(self, one: IssueRecord, at: datetime, environment: str) -> None:
        """Apply the bot's note that limits were raised: the write that a run had prepared as a pull request."""
        for place, facts in self._facts.items():
            if place[0] == environment and facts.is_planned:
                self._facts[place] = replace(facts, merged=Moment(at, "note: limits applied", one.url))

    def apply_outage(self, one: IssueRecord) -> None:
        """Apply an outage check. After one that saw an outage, a healthy one without a sign of it shows its end."""
        record, at = one.record, one.record.rows[-1].at
        for place, facts in self._facts.items():
            if place[0] != record.environment or record.service not in {"", place[1]}:
                continue
            if record.decision == OutageVerdict.THEIRS:
                self._facts[place] = replace(facts, outage_since=facts.outage_since or record.rows[0].at)
            elif record.state == HEALTHY and facts.outage_since and facts.state not in WORKING:
                since = _clock_time(facts.outage_since)
                source = f"check-outage: probes healthy, and no sign of the outage since {since}"
                self._facts[place] = replace(_fold_mitigation(facts, Moment(at, source, one.url)), outage_since=None)

    def apply_reopening(self, act: IssueAction) -> None:
        """Apply a reopening by a person: what recovered before may be broken again. A bot names what is broken."""
        if act.who.endswith(BOT_NAME):
            return
        why = f"{act.who} reopened the incident at {_clock_time(act.at)}, and no later record tells"
        for place, facts in self._facts.items():
            if facts.state in WORKING:
                self._facts[place] = replace(facts, state=ServiceHealth.UNKNOWN, why=why, mitigated=None)

    def build(self) -> tuple[ServiceState, ...]:
        """Return the affected services, by name."""
        affected = (each for each in self._facts.values() if each.is_affected)
        return tuple(
            _build_service(self._journal, each) for each in sorted(affected, key=lambda e: (e.environment, e.service))
        )


def _fold_recovery(facts: _ServiceHistory, moment: Moment, recovery: IssueRecord | None) -> _ServiceHistory:
    why = f"{recovery.record.runbook} recovered it" if recovery else moment.source
    return replace(
        facts,
        is_affected=True,
        state=ServiceHealth.RECOVERED,
        why=why,
        recovery=recovery,
        recovered=moment,
        mitigated=None,
    )


def _fold_mitigation(facts: _ServiceHistory, moment: Moment) -> _ServiceHistory:
    """Return the facts of a service that works by the word of a person, or because an outage ended."""
    return replace(_fold_recovery(facts, moment, None), state=ServiceHealth.MITIGATED, mitigated=moment)


def _build_service(journal: IncidentJournal, facts: _ServiceHistory) -> ServiceState:
    return ServiceState(
        environment=facts.environment,
        service=facts.service,
        state=facts.state,
        why=facts.why,
        broken_since=facts.broken or find_start_moment(journal, facts.service),
        detected=find_detection_moment(journal),
        acknowledged=find_acknowledgment_moment(journal),
        requested=find_request_moment(facts.first_run, journal.actions)
        if facts.first_run
        else Moment(None, "no runbook ran on it"),
        written=_find_recovery_write(facts),
        recovered=facts.recovered or Moment(None, facts.why),
        recovered_by=facts.recovery.record.run if facts.recovery else "",
        relapsed=facts.relapsed or Moment(None, "no relapse is recorded"),
        mitigated=facts.mitigated or Moment(None, _why_not_mitigated(facts)),
    )


def _find_recovery_write(facts: _ServiceHistory) -> Moment:
    """Return the write of the recovery, else the last one."""
    main = facts.recovery or facts.last_write
    at = main.first_event_at(EventKind.WRITTEN) if main else None
    if main and at:
        return Moment(at, "run record", main.url)
    return facts.merged or Moment(None, "no run changed anything")


def _why_not_mitigated(facts: _ServiceHistory) -> str:
    return "no watch has ended well since the recovery" if facts.state == ServiceHealth.RECOVERED else facts.why


def find_start_moment(journal: IncidentJournal, service: str = "") -> Moment:
    """Return when the incident began, as the issue form says: for its service, or for all if it names none."""
    if service and journal.form.service not in {"", service}:
        how = f'add it with `ops incident note {journal.number} "13:05 broken {service}: …"`'
        return Moment(None, f"the issue form gives the start of {journal.form.service} only; {how}")
    if journal.began is None:
        unread = journal.form.unread_start
        return Moment(
            None, f'"{unread}" in the issue form is no past time' if unread else "not given in the issue form"
        )
    return Moment(journal.began, "from the issue form", journal.url)


def find_noted_moment(journal: IncidentJournal, words: str, otherwise: str = "") -> Moment:
    """Return the time of the first note that starts with these words, or how to add one."""
    first = min(journal.find_notes(words), default=None, key=lambda each: each[0])
    if first:
        return Moment(first[0], "note", first[2])
    how = f'add it with `ops incident note {journal.number} "13:05 {words}: …"`'
    return Moment(None, f"{otherwise}; {how}" if otherwise else how)


def find_detection_moment(journal: IncidentJournal) -> Moment:
    return find_noted_moment(
        journal, "detected", f"no later than the opening of the issue, {_clock_time(journal.opened_at)}"
    )


def find_acknowledgment_moment(journal: IncidentJournal) -> Moment:
    """Return the first action of a team member; bots and outsiders do not count."""
    if journal.opened_by_team:
        return Moment(journal.opened_at, "issue opened", journal.url)
    people = (act for act in journal.actions if act.who != journal.opened_by and not act.who.endswith(BOT_NAME))
    first = next(people, None)
    if first is None:
        return Moment(None, "no action of a person on the issue")
    return Moment(first.at, f"first action of a person: {first.kind}", first.url)


def find_request_moment(one: IssueRecord, actions: Iterable[IssueAction]) -> Moment:
    """Return when the run was requested: by the clock of its trigger, to which its whole duration leads back."""
    began, ended, total = one.record.rows[0].at, one.first_event_at(ENDED_KIND), one.record.durations.get("total")
    if ended is None or total is None or not 0 <= total <= LONGEST_RUN:
        return Moment(began, "run record", one.url)
    # Times of GitHub and of a record have whole seconds; the duration has more digits.
    at = min(began, ended + timedelta(seconds=ceil(round(-total, 2))))
    labels = (act for act in actions if act.kind == "labeled" and act.text.startswith(LABEL) and act.at == at)
    label = next(labels, None)
    if label and one.actions_run:
        return Moment(at, "GitHub: label added", label.url)
    return Moment(at, "run record", one.url)


def _clock_time(at: datetime) -> str:
    return f"{at:%H:%M:%S} UTC"
