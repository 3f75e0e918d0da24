"""Public updates of an incident or maintenance: value, JSON, limits, and the next one.

The JSON is persisted in hidden records on the incident. People can edit those, so it is parsed as data. Nothing in an
update comes from the issue: states and names of components are those of `ops.yml`, and ids are random. The next state
is only an offer. A person publishes, because the records may know less than the team.
"""

import json
import re
import secrets
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from ops.core.clock import format_rfc3339, parse_utc
from ops.core.errors import PROVED, Decision
from ops.core.incident_state import IncidentState, IssueRecord, ServiceHealth
from ops.core.json_fields import list_in, text_in
from ops.core.names import STATUS_LABEL
from ops.core.run_record import escape_hidden

UPDATE_SOURCE = "update"
"""Source of the record of a public update."""
LONGEST_TEXT = 1000
"""Characters of a text."""
MAX_BYTES = 2800
"""Size of an update as JSON: its record must fit into a comment. A letter outside of ASCII takes six bytes."""
LONGEST_NAME = 60
"""Characters of the name of a component."""
_ID = re.compile("[0-9a-f]{12}")
_JOINERS = "\u200c\u200d"
"""Invisible characters of Persian, of Indian scripts and of emoji, which move or hide no other character."""
_PRIVATE = (
    (re.compile(r"(?<![\w&])#[0-9]{1,10}\b"), "the number of an issue"),
    (re.compile(r"(?<![\w.])@[A-Za-z0-9]"), "a login"),
    (re.compile(r"(?<![0-9a-zA-Z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-zA-Z])"), "an id"),
    (re.compile(r"(?<![0-9a-zA-Z])(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{32,64}(?![0-9a-zA-Z])"), "an id"),
)
"""Patterns of what belongs to no public text, and their names."""


class UpdateKind(StrEnum):
    INCIDENT = "incident"
    MAINTENANCE = "maintenance"


class PublicState(StrEnum):
    """The state of an incident or of a maintenance, in the order of its course."""

    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MONITORING = "monitoring"
    RESOLVED = "resolved"
    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"

    @property
    def kind(self) -> UpdateKind:
        return UpdateKind.MAINTENANCE if self in _MAINTENANCE else UpdateKind.INCIDENT

    @property
    def is_end(self) -> bool:
        """Whether the incident or maintenance is over for users."""
        return self in {PublicState.RESOLVED, PublicState.COMPLETED}

    @property
    def words(self) -> str:
        return self.value.replace("_", " ")

    @property
    def label(self) -> str:
        """Return the label that publishes the standard text of this state."""
        return f"{STATUS_LABEL}{self.value.replace('_', '-')}"


_MAINTENANCE = (PublicState.SCHEDULED, PublicState.IN_PROGRESS, PublicState.COMPLETED)


class ComponentCondition(StrEnum):
    """Condition of a component, the best one first."""

    OPERATIONAL = "operational"
    MAINTENANCE = "under_maintenance"
    DEGRADED = "degraded"
    PARTIAL_OUTAGE = "partial_outage"
    MAJOR_OUTAGE = "major_outage"

    @property
    def words(self) -> str:
        return self.value.replace("_", " ")


CONDITIONS = tuple(ComponentCondition)


@dataclass(frozen=True)
class AffectedComponent:
    name: str
    condition: ComponentCondition | None = None
    """None: the update says nothing about it, as for a maintenance that is only scheduled."""


@dataclass(frozen=True)
class PublicUpdate:
    """One update. A later one never changes it: a correction is an update of its own."""

    id: str
    """Random."""
    incident: str
    """Public id of its incident, also random: the address of its page."""
    state: PublicState
    components: tuple[AffectedComponent, ...]
    """Affected components, each once; empty if they are unknown."""
    text: str
    """Plain text on one line, for users. Every reader escapes it."""
    at: datetime
    """UTC, in whole seconds."""
    number: int
    """Order within the incident, from 1."""
    corrects: str = ""
    """Id of the former update that this one replaces; empty if it is none."""
    starts: datetime | None = None
    """Planned start of a maintenance, UTC; None if it is unknown, and for an incident."""
    ends: datetime | None = None
    """Planned end of a maintenance, UTC."""

    @property
    def kind(self) -> UpdateKind:
        return self.state.kind

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of its components."""
        return tuple(each.name for each in self.components)

    def says_same(self, other: "PublicUpdate") -> bool:
        """Return whether users read the same in both."""
        mine, theirs = ((each.state, each.components, each.text, each.starts, each.ends) for each in (self, other))
        return mine == theirs

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "incident": self.incident,
            "state": self.state.value,
            "components": [[each.name, each.condition.value if each.condition else ""] for each in self.components],
            "text": self.text,
            "at": format_rfc3339(self.at),
            "number": self.number,
            "corrects": self.corrects,
            "starts": format_rfc3339(self.starts) if self.starts else "",
            "ends": format_rfc3339(self.ends) if self.ends else "",
        }


def parse_update(data: Mapping[str, Any]) -> PublicUpdate | None:
    """Return the update in this JSON; None if a field is missing, malformed or too long."""
    id_, incident, text, corrects = (text_in(data, name) for name in ("id", "incident", "text", "corrects"))
    number = data.get("number")
    try:
        state, at = PublicState(text_in(data, "state")), parse_utc(text_in(data, "at")).replace(microsecond=0)
        components = tuple(map(_parse_component, list_in(data, "components")))
        starts, ends = (parse_utc(each) if (each := text_in(data, name)) else None for name in ("starts", "ends"))
    except (ValueError, TypeError, OverflowError):
        return None
    are_ids = _ID.fullmatch(id_) and _ID.fullmatch(incident) and (not corrects or _ID.fullmatch(corrects))
    is_number = isinstance(number, int) and not isinstance(number, bool) and number > 0
    names = [each.name for each in components]
    if not are_ids or not is_number or len({*names}) < len(names) or find_public_text_problem(text):
        return None
    return PublicUpdate(id_, incident, state, components, text, at, int(number or 0), corrects, starts, ends)


def _parse_component(value: Any) -> AffectedComponent:
    """Return the component. Raises ValueError and TypeError."""
    name, condition = value
    if not isinstance(name, str) or find_name_problem(name):
        raise ValueError("no name")
    return AffectedComponent(name, ComponentCondition(condition) if condition else None)


def new_public_id() -> str:
    """Return a random id, which says nothing about the incident."""
    return secrets.token_hex(6)


def clean_text(text: str) -> str:
    """Return a typed text on one line. Nothing else in it changes."""
    return " ".join(text.split())


def find_public_text_problem(text: str) -> str:
    """Return why a text cannot become public, with advice, as the end of a sentence about it; "" if it can.

    HTML and Markdown are allowed: every reader shows them as plain text.
    """
    if not text.strip():
        return "is empty; write what users should know"
    if len(text) > LONGEST_TEXT:
        return f"has {len(text):,} characters; write at most {LONGEST_TEXT:,}"
    if problem := _find_hidden_character(text):
        return f"has {problem}; type the text again, without copying it"
    for pattern, name in _PRIVATE:
        if found := pattern.search(text):
            return f"has {name} at character {found.start() + 1}; leave it out, because everybody can read it"
    return ""


def find_name_problem(name: str) -> str:
    """Return why a component cannot have this public name, with advice; "" if it can."""
    if name != clean_text(name) or not 0 < len(name) <= LONGEST_NAME:
        return f"not a public name; write 1 to {LONGEST_NAME} characters on one line, without spaces around them"
    if problem := _find_hidden_character(name):
        return f"has {problem}; type the name again, without copying it"
    return next((f"has {kind}; leave it out" for pattern, kind in _PRIVATE if pattern.search(name)), "")


def _find_hidden_character(text: str) -> str:
    """Return the first character that is invisible or moves others, with its place; "" without one."""
    for place, character in enumerate(text, start=1):
        if not character.isprintable() and character not in _JOINERS:
            name = unicodedata.name(character, "a control character").lower()
            return f"the hidden character U+{ord(character):04X} ({name}) at character {place}"
    return ""


def find_size_problem(update: PublicUpdate) -> str:
    """Return why an update does not fit into its record, with advice; "" if it does."""
    size = len(escape_hidden(json.dumps(update.to_json(), separators=(",", ":"))))
    if size <= MAX_BYTES:
        return ""
    return f"the update takes {size:,} bytes, and {MAX_BYTES:,} fit; write a shorter text, or name fewer components"


def standing_updates(updates: Iterable[PublicUpdate]) -> tuple[PublicUpdate, ...]:
    """Return the updates in order, without those that a later one of the same incident corrects."""
    ordered = sorted(updates, key=lambda each: (each.at, each.incident, each.number))
    numbers = {(each.incident, each.id): each.number for each in ordered}
    corrected = {
        (each.incident, each.corrects)
        for each in ordered
        if each.number > numbers.get((each.incident, each.corrects), each.number)
    }
    return tuple(each for each in ordered if (each.incident, each.id) not in corrected)


def current_conditions(updates: Iterable[PublicUpdate]) -> dict[str, ComponentCondition]:
    """Return component → its condition, which comes only from updates. One without any is missing: it is unknown.

    Of several incidents that go on, the worst condition counts.
    """
    incidents = dict[str, list[PublicUpdate]]()
    for update in standing_updates(updates):
        incidents.setdefault(update.incident, []).append(update)
    found = dict[str, list[ComponentCondition]]()
    for each in incidents.values():
        for name, condition in incident_conditions(each).items():
            found.setdefault(name, []).append(condition)
    return {name: max(conditions, key=CONDITIONS.index) for name, conditions in found.items()}


def incident_conditions(updates: Sequence[PublicUpdate]) -> dict[str, ComponentCondition]:
    """Return component → the condition that the standing updates of one incident leave, in their order.

    Its end leaves every component of the incident operational.
    """
    conditions = dict[str, ComponentCondition]()
    for update in standing_updates(updates):
        if update.state.is_end:
            conditions = dict.fromkeys(conditions, ComponentCondition.OPERATIONAL)
        conditions |= {each.name: each.condition for each in update.components if each.condition}
    return conditions


_FAILING = {ServiceHealth.BROKEN, ServiceHealth.RELAPSED}
_SILENT = {Decision.PLANNED, Decision.NOTHING_TO_DO, Decision.REFUSED}
"""Decisions that users need not hear of."""
_CLOSED = "maintenance"
"""Kind of a held item of a closed service."""


@dataclass(frozen=True)
class UpdateOffer:
    """A state to publish next."""

    state: PublicState
    why: str = ""
    """Why what is public differs from what the records know; empty if it is only the next state of the course."""
    now: PublicState | None = None
    """State that is public."""


def offer_after_run(decision: str, *, proves_health: bool) -> PublicState | None:
    """Return the state that fits after a run; None without one. `decision` is empty while it goes on."""
    if not decision or decision in _SILENT:
        return None
    if decision in PROVED:
        return PublicState.MONITORING if proves_health else PublicState.IDENTIFIED
    return PublicState.INVESTIGATING


def list_recorded_updates(records: Iterable[IssueRecord]) -> tuple[PublicUpdate, ...]:
    """Return the standing updates among records of an incident that count."""
    counted = (one.record.update for one in records if one.record.source == UPDATE_SOURCE and not one.doubt)
    return standing_updates(filter(None, map(parse_update, counted)))


def offer_update(state: IncidentState, updates: Iterable[PublicUpdate]) -> UpdateOffer | None:
    """Return the state to publish next; None if the incident is closed or its course is at its end."""
    last = next(iter([*updates][-1:]), None)
    now = last.state if last else None
    if state.state == "closed":
        return None
    if last is not None and last.kind == UpdateKind.MAINTENANCE:
        return _follow_course(last.state)
    health = {each.state for each in state.services}
    if health & _FAILING:
        return _offer_while_failing(state, now)
    if health == {ServiceHealth.MITIGATED}:
        why = "a watch ended well, or a person said that all works" if now else ""
        return None if now == PublicState.RESOLVED else UpdateOffer(PublicState.RESOLVED, why, now)
    if health and health <= {ServiceHealth.RECOVERED, ServiceHealth.MITIGATED}:
        if now in {PublicState.MONITORING, PublicState.RESOLVED}:
            return None if now == PublicState.RESOLVED else UpdateOffer(PublicState.RESOLVED, now=now)
        return UpdateOffer(PublicState.MONITORING, "a run proved that the services work" if now else "", now)
    return UpdateOffer(PublicState.INVESTIGATING) if now is None else _follow_course(now)


def _offer_while_failing(state: IncidentState, now: PublicState | None) -> UpdateOffer | None:
    """Return the offer while a service fails, or is closed for maintenance."""
    if now in {PublicState.MONITORING, PublicState.RESOLVED}:
        is_relapse = any(each.state == ServiceHealth.RELAPSED for each in state.services)
        why = "a watch saw a service fail again" if is_relapse else "a service fails"
        return UpdateOffer(PublicState.INVESTIGATING, why, now)
    if now == PublicState.INVESTIGATING and any(each.kind == _CLOSED for each in state.held):
        return UpdateOffer(PublicState.IDENTIFIED, "a service is closed for maintenance", now)
    return UpdateOffer(PublicState.INVESTIGATING) if now is None else _follow_course(now)


def _follow_course(now: PublicState) -> UpdateOffer | None:
    course = [each for each in PublicState if each.kind == now.kind]
    after = course[course.index(now) + 1 :]
    return UpdateOffer(after[0], now=now) if after else None
