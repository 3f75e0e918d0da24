"""What was read of an incident issue, and the state that follows from it.

The journal holds its actions and records; the state its services, what is held, who acted, and what is unknown.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from ops.core.clock import MAX_CLOCK_SKEW, format_optional, format_utc
from ops.core.errors import PROVED, Decision
from ops.core.run_record import DONE, RunRecord, parse_job_run
from ops.core.standing_rollback import StandingRollback


class ServiceHealth(StrEnum):
    BROKEN = "broken"
    """Known to be affected, and no recovery counts."""
    RECOVERED = "recovered"
    """A run ended with proof that the service is healthy."""
    RELAPSED = "relapsed"
    """A watch found it unhealthy after that."""
    MITIGATED = "mitigated"
    """The watch after a recovery ended well, or a responder's note or the end of a provider's outage says so."""
    UNKNOWN = "unknown"
    """The records do not tell."""


HELD = "what is held"
"""Name of the unknown facts about held states."""
WORKING = {ServiceHealth.RECOVERED, ServiceHealth.MITIGATED}
"""States in which the service works, as far as is known."""


@dataclass(frozen=True)
class Moment:
    """A time with its source. If `at` is None, the source says why it is unknown, and how to add it."""

    at: datetime | None
    source: str
    url: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"at": format_optional(self.at), "source": self.source}


@dataclass(frozen=True)
class ServiceState:
    environment: str
    """Empty if no record and no configuration names it."""
    service: str
    state: ServiceHealth
    why: str
    """What makes it so, in words."""
    broken_since: Moment
    detected: Moment
    acknowledged: Moment
    requested: Moment
    written: Moment
    recovered: Moment
    recovered_by: str
    """Run that recovered it; empty if no run did."""
    relapsed: Moment
    mitigated: Moment

    @property
    def name(self) -> str:
        return f"{self.service} in {self.environment}" if self.environment else self.service

    @property
    def healthy_since(self) -> datetime | None:
        """Return since when it works; None if it does not, or if that is unknown."""
        return (self.mitigated.at or self.recovered.at) if self.state in WORKING else None

    def to_json(self) -> dict[str, Any]:
        names = ("broken_since", "detected", "acknowledged", "requested", "written", "relapsed", "mitigated")
        moments = {name: getattr(self, name).to_json() for name in names}
        where = {"environment": self.environment, "service": self.service, "state": self.state.value, "why": self.why}
        return {**where, **moments, "recovered": {**self.recovered.to_json(), "run": self.recovered_by}}


@dataclass(frozen=True)
class HeldItem:
    """A state that the incident holds."""

    kind: str
    """maintenance, switches, limits, hold or kept_rows."""
    environment: str
    name: str
    """Name of the switch, service, limit, migration or table."""
    what: str
    by: tuple[str, ...]
    until: datetime | None
    source: str
    line: str = ""
    """All of it in one line, with the way to end it; empty if only a record tells of it."""

    def to_json(self) -> dict[str, Any]:
        names = ("kind", "environment", "what", "source")
        return {
            **{name: getattr(self, name) for name in names},
            "by": list(self.by),
            "until": format_optional(self.until),
        }

    def describe(self) -> str:
        """Describe it for a phone: what, where, and until when."""
        until = f", until {format_utc(self.until)}" if self.until else ""
        by = f", held by {' and '.join(self.by)}" if self.by else ""
        return f"{self.what} in {self.environment}{by}{until}"


@dataclass(frozen=True)
class LiveHeld:
    """What the incident holds now at Cloudflare, as far as it was read."""

    items: tuple[HeldItem, ...] = ()
    others: tuple[HeldItem, ...] = ()
    """What only other incidents or people hold."""
    warnings: tuple[str, ...] = ()
    """What differs from what is stored, such as a closed service that is open."""
    unread: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    """Environments that were read or tried. Without one, nothing is proved."""
    unread_kinds: frozenset[tuple[str, str]] = frozenset()
    """Environments and kinds of which something was not read."""
    reset_commands: tuple[str, ...] = ()
    """Label or command for each environment that resets what is held."""
    rollbacks: tuple[tuple[str, StandingRollback], ...] = ()
    """Environment and rollback of each service that is rolled back now, by any means."""
    unread_rollbacks: tuple[tuple[str, str, str], ...] = ()
    """Environment and name of each service of which that is unknown, and why."""


@dataclass(frozen=True)
class IncidentAction:
    """Something that a person did for the incident."""

    at: datetime
    who: str
    what: str
    run: str = ""
    url: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "at": format_optional(self.at)}


@dataclass(frozen=True)
class UnknownFact:
    what: str
    why: str


@dataclass(frozen=True)
class IncidentPeriod:
    """A time in which the incident was open. Reopening it adds one."""

    opened_at: datetime
    by: str
    """Login of the person or bot that opened it."""
    closed_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "opened_at": format_optional(self.opened_at),
            "closed_at": format_optional(self.closed_at),
            "by": self.by,
        }


@dataclass(frozen=True)
class IncidentLead:
    """Person who leads the work on the incident."""

    login: str
    """Empty if nobody is recorded."""
    since: datetime | None
    source: str

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "since": format_optional(self.since)}


@dataclass(frozen=True)
class IncidentState:
    """All that is said of one incident. Texts in it are untrusted."""

    number: int
    title: str
    url: str
    severity: str
    read_at: datetime
    periods: tuple[IncidentPeriod, ...]
    lead: IncidentLead
    services: tuple[ServiceState, ...]
    held: tuple[HeldItem, ...]
    actions: tuple[IncidentAction, ...]
    unknown: tuple[UnknownFact, ...]
    rollbacks: tuple[tuple[str, StandingRollback], ...] = ()
    """Environment and rollback of each service of the incident that is rolled back now."""

    @property
    def state(self) -> str:
        """Return closed, mitigated or open."""
        if self.periods[-1].closed_at is not None:
            return "closed"
        return "mitigated" if self.mitigated.at is not None else "open"

    @property
    def mitigated(self) -> Moment:
        """Return when the last affected service recovered; unknown while one has not."""
        if not self.services:
            return Moment(None, "no service is known to be affected")
        failing = [each for each in self.services if each.healthy_since is None]
        if len(self.services) == len(failing) == 1:
            return Moment(None, failing[0].why)
        if failing:
            return Moment(None, "; ".join(f"{each.name} {describe_health(each)}" for each in failing))
        last = max(self.services, key=lambda each: each.healthy_since or self.periods[0].opened_at)
        return last.mitigated if last.mitigated.at else last.recovered

    def find_service(self, environment: str, service: str) -> ServiceState | None:
        found = (each for each in self.services if (each.environment, each.service) == (environment, service))
        return next(found, None)

    def name_apart(self, service: ServiceState) -> str:
        """Return the name of a service, with its environment if others of the incident are in another one."""
        is_one = len({each.environment for each in self.services}) == 1
        return service.service if is_one else service.name

    @property
    def leftovers(self) -> tuple[str, ...]:
        """Return what the incident holds, each in one line, and what is unknown of it."""
        held = (each.line or f"{each.describe()}; {each.source}, not read live" for each in self.held)
        return (*held, *(fact.why for fact in self.unknown if fact.what == HELD))

    @property
    def rollback_lines(self) -> list[str]:
        """Return each rollback that stands, with its environment, and what the next merge does about it."""
        return [line for name, each in self.rollbacks for line in (f"{name}: {each}", *each.next_merge)]

    @property
    def headline(self) -> str:
        """Return number and state in one sentence."""
        return f"#{self.number} is {self.summary[:1].lower()}{self.summary[1:]}"

    @property
    def summary(self) -> str:
        """Return the state in one sentence, such as "Open: api broken again; web recovered"."""
        word = self.state.capitalize()
        if not self.services:
            return f"{word}: no service is known to be affected"
        groups = [(health, [each for each in self.services if each.state == health]) for health in _VERBS]
        words = "; ".join(
            f"{', '.join(map(self.name_apart, group))} {_VERBS[health]}" for health, group in groups if group
        )
        return f"{word}: {words}"

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON of schema 1 (docs/reference/incident-state.md)."""
        facts = {name: getattr(self, name) for name in ("number", "title", "url", "severity", "state")}
        rows = {name: [each.to_json() for each in getattr(self, name)] for name in ("services", "held", "actions")}
        return {
            "schema": 1,
            **facts,
            "read_at": format_optional(self.read_at),
            "periods": [each.to_json() for each in self.periods],
            "lead": self.lead.to_json(),
            "mitigated": self.mitigated.to_json(),
            **rows,
            "rolled_back": [{"environment": name, **each.to_json()} for name, each in self.rollbacks],
            "unknown": [vars(each) for each in self.unknown],
        }


_VERBS = {  # what is broken comes first
    ServiceHealth.BROKEN: "broken",
    ServiceHealth.RELAPSED: "broken again",
    ServiceHealth.UNKNOWN: "unknown",
    ServiceHealth.RECOVERED: "recovered",
    ServiceHealth.MITIGATED: "recovered and watched",
}


def describe_health(service: ServiceState) -> str:
    """Return the state of one service as the end of a sentence, such as "is broken again: …"."""
    word = {ServiceHealth.RELAPSED: "is broken again", ServiceHealth.UNKNOWN: "is in an unknown state"}
    return f"{word.get(service.state, f'is {service.state.value}')}: {service.why}"


_AFTER_WORDS = re.compile(r" ?(?::|$|by\b)", re.IGNORECASE)
BOT_NAME = "[bot]"
"""End of the login of each bot."""


@dataclass(frozen=True)
class IncidentForm:
    """Answers on the incident form: untrusted text."""

    began: datetime | None = None
    severity: str = ""
    """One of the form's severities, or ""."""
    impact: str = ""
    service: str = ""
    """A name in the form of `ops.yml`, or ""."""
    unread_start: str = ""
    """A stated start that is no past time."""


@dataclass(frozen=True)
class IssueAction:
    """Action of a person in the issue's timeline. `at` is GitHub's clock, in whole seconds."""

    at: datetime
    kind: str
    """GitHub's event: labeled, assigned, renamed, closed, reopened, commented, cross-referenced."""
    who: str
    text: str
    url: str
    is_edited: bool = False


@dataclass(frozen=True)
class IssueRecord:
    """A record of ours in a comment of a trusted author."""

    record: RunRecord
    author: str
    is_edited: bool
    url: str
    doubt: str = ""
    """Why it does not count; empty if it does, or if nobody asked."""

    def first_event_at(self, kind: str) -> datetime | None:
        """Return the time of the first row of that kind."""
        return next((row.at for row in self.record.rows if row.kind == kind), None)

    @property
    def decision_text(self) -> str:
        """The result as words for people."""
        decision = self.record.decision
        if self.record.state:
            return self.record.state.lower()
        return decision.replace("_", " ") if decision in set(Decision) else "without an end"

    @property
    def result_text(self) -> str:
        """The result in one sentence; for older records the decision."""
        return self.record.headline or self.decision_text

    @property
    def is_recovery(self) -> bool:
        """Whether the run ended with a service that was proved healthy."""
        return self.record.decision in PROVED and self.record.state != DONE

    @property
    def origin(self) -> str:
        return "GitHub Actions" if self.actions_run else "a laptop"

    @property
    def actions_run(self) -> tuple[int, int] | None:
        """The workflow run and its attempt; None for a laptop."""
        return parse_job_run(self.record.run)


def find_severity(labels: Iterable[str], form: IncidentForm) -> str:
    """Return the severity label, else the form's answer; empty if both are missing."""
    return next((label for label in labels if re.fullmatch("sev[0-9]", label, re.ASCII)), form.severity)


@dataclass(frozen=True, kw_only=True)
class IncidentJournal:
    """One incident issue as it was read. Titles and texts in it are untrusted."""

    number: int
    title: str
    url: str
    opened_at: datetime
    opened_by: str
    opened_by_team: bool
    closed_at: datetime | None
    labels: tuple[str, ...]
    form: IncidentForm
    actions: tuple[IssueAction, ...]
    records: tuple[IssueRecord, ...]
    """Records of people with write access and of the bot, also those that do not count."""
    skipped: int
    """Number of irrelevant timeline entries, and of comments by people outside the team."""
    read_at: datetime
    unverified: tuple[str, ...] = ()
    """Why it is unknown who wrote or edited some of the records. They count, but for nothing that acts."""
    skipped_records: int = 0
    """Number of records in comments of people without write access."""

    @property
    def began(self) -> datetime | None:
        return self.form.began

    @property
    def severity(self) -> str:
        """Return the severity label, else the form's answer."""
        return find_severity(self.labels, self.form)

    def find_doubt(self, one: IssueRecord) -> str:
        """Return why a record of the incident does not count; empty if it does."""
        is_future = any(row.at > self.read_at + MAX_CLOCK_SKEW for row in one.record.rows)
        return one.doubt or ("its time is in the future" if is_future else "")

    @property
    def our_runs(self) -> tuple[IssueRecord, ...]:
        """Return the records of our runs that count, oldest first."""
        runs = [one for one in self.records if one.record.is_run and one.record.rows and not self.find_doubt(one)]
        return tuple(sorted(runs, key=lambda one: one.record.rows[0].at))

    def find_notes(self, words: str) -> Iterator[tuple[datetime, str, str]]:
        """Yield time, text and URL of each note that counts and starts with these words.

        A colon, `by` or nothing follows them: other words may deny them, as in `root cause is unknown`.
        """
        for one in self.records:
            if one.record.source == "note" and not self.find_doubt(one):
                for row in one.record.rows:
                    if row.text.lower().startswith(words) and _AFTER_WORDS.match(row.text, len(words)):
                        yield row.at, row.text, one.url
