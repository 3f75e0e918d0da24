"""Read the open incidents with their state, for `ops incident list` and `ops status`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import read_config
from ops.app.registry import record_rules
from ops.core.clock import current_time, format_duration, format_rfc3339
from ops.core.errors import ConfigError
from ops.core.incident_fold import WATCH, fold_incident
from ops.core.names import LONGEST_QUOTE, cut_text
from ops.core.redaction import Redactor
from ops.core.responders import RequestScope, find_lists
from ops.core.run_record import RecordRules, RunRecord
from ops.core.threads import run_parallel
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.render import to_one_line
from ops.status.last_runs import start_github_read

if TYPE_CHECKING:
    from ops.github.issues import Issue
    from ops.github.stops import StopAnswer

UNKNOWN = "-"


@dataclass(frozen=True)
class OpenIncident:
    number: int
    title: str
    service: str
    """Answer on the issue form; "" if it is no name of a service."""
    severity: str
    opened_at: datetime
    state: str
    """open or mitigated."""
    summary: str
    """State in one sentence."""
    decision: str
    """Decision of the last run; "" without a run or while it continues."""
    last_run: str
    """Runbook of the last run, or ""."""
    last_result: str
    """Result of the last run in one sentence; "" without a run, while it continues, and for older records."""
    url: str
    watches: tuple[RunRecord, ...] = ()
    """Records of its watches without a result, as far as they count. The JSON result has none."""

    def to_json(self) -> dict[str, Any]:
        shown = {name: value for name, value in vars(self).items() if name != "watches"}
        return {**shown, "opened_at": format_rfc3339(self.opened_at)}


@dataclass(frozen=True)
class Overview:
    read_at: datetime
    incidents: Sequence[OpenIncident]
    stopped: "StopAnswer"
    closed: Sequence[OpenIncident] = ()
    """Incidents that were closed shortly before, whose watches may go on. The JSON result has none."""

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "read_at": format_rfc3339(self.read_at),
            "incidents": [each.to_json() for each in self.incidents],
            **stop_json(self.stopped),
        }


def stop_json(stopped: "StopAnswer") -> dict[str, Any]:
    """Return the stop of all recoveries; None without one, and if it is not known."""
    if stopped.stop is None:
        return {"stop": None, "stop_unread": stopped.problem}
    stop = stopped.stop
    shown = {"issue": stop.issue, "by": stop.login, "at": stop.at, "until": stop.ends_at}
    texts = {name: format_rfc3339(value) if isinstance(value, datetime) else value for name, value in shown.items()}
    return {"stop": texts, "stop_unread": ""}


def stop_lines(stopped: "StopAnswer | None") -> Iterator[str]:
    """Yield a line about the stop of all recoveries, or that it is not known; nothing without one."""
    if stopped is not None and stopped.stop is not None:
        yield to_one_line(f"! {stopped.stop}. To lift it: `ops stop --lift`")
    elif stopped is not None and stopped.problem:
        yield to_one_line(f"! unknown, whether recoveries are stopped: {stopped.problem}")


@dataclass(frozen=True)
class KnownIncidents:
    """The open incidents as far as GitHub told them in time."""

    incidents: Sequence[OpenIncident] = ()
    problem: str = ""
    """Why they were not read; empty if they were."""
    stopped: "StopAnswer | None" = None
    closed: Sequence[OpenIncident] = ()
    """Incidents that were closed shortly before, if they were asked for."""

    def lines(self) -> Iterator[str]:
        """Yield one line about a stop, and one per incident, with its state in one sentence."""
        yield from stop_lines(self.stopped)
        if self.problem:
            yield f"! unknown, issues on GitHub: {self.problem}"
        for each in self.incidents:
            yield to_one_line(f"#{each.number}: {each.summary}")
        if not (self.problem or self.incidents):
            yield "none"

    def to_json(self) -> dict[str, Any]:
        read = [{"number": each.number, "state": each.state, "summary": each.summary} for each in self.incidents]
        incidents = {"incidents": None if self.problem else read, "incidents_unread": self.problem}
        return incidents | (stop_json(self.stopped) if self.stopped else {"stop": None, "stop_unread": self.problem})


def start_reading_overview(
    config_path: Path, environ: Mapping[str, str], redactor: Redactor, *, closed_within: timedelta = timedelta()
) -> Callable[[], KnownIncidents]:
    """Begin to read the open incidents, and return what waits for them, at most GITHUB_SECONDS from now.

    `closed_within`: also those that were closed within this time.
    """
    read = partial(read_overview, config_path, environ, redactor, closed_within=closed_within)
    finish = start_github_read(read, environ)

    def find_known() -> KnownIncidents:
        overview, problem = finish()
        if overview is None:
            return KnownIncidents(problem=problem)
        return KnownIncidents(overview.incidents, stopped=overview.stopped, closed=overview.closed)

    return find_known


def read_overview(
    config_path: Path, environ: Mapping[str, str], redactor: Redactor, *, closed_within: timedelta = timedelta()
) -> Overview:
    """Return the open incidents, newest first, and the stop. Raises ConfigError and ProviderError.

    `closed_within`: also those that were closed within this time. Without a valid ops.yml, the records of everyone with
    write access count.
    """
    from ops.github.issues import list_open_incidents, list_recent_incidents
    from ops.github.stops import start_reading_stops

    now = current_time(environ)
    try:
        config = read_config(config_path)[0]
    except ConfigError:
        config = None
    rules, places = record_rules(config), config.places if config else ()
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        finish_stop = start_reading_stops(repository, find_lists(config, RequestScope()) if config else (), now)
        issues, since = list_open_incidents(repository), now - closed_within
        listed = {each.number for each in issues}  # one may be closed between the two requests
        changed = list_recent_incidents(repository, since) if closed_within else []
        others = (each for each in changed if each.number not in listed)
        closed = [each for each in others if each.state == "closed" and each.closed_at >= since]
        described = run_parallel(
            [partial(_read_open_incident, each, rules, places, now) for each in (*issues, *closed)]
        )
    incidents: tuple[OpenIncident, ...] = redactor.redact_value(tuple(described))
    return Overview(now, incidents[: len(issues)], finish_stop(), incidents[len(issues) :])


def _read_open_incident(
    issue: "Issue", rules: RecordRules, places: tuple[tuple[str, str], ...], now: datetime
) -> OpenIncident:
    from ops.github.journal import read_issue_journal

    journal = read_issue_journal(issue, rules, read_at=now)
    open_watches = (one for one in journal.records if one.record.source == WATCH and not one.record.decision)
    state, last = fold_incident(journal, places=places), next(reversed(journal.our_runs), None)
    return OpenIncident(
        number=issue.number,
        title=issue.title,
        service=journal.form.service,
        severity=state.severity,
        opened_at=issue.created_at.astimezone(UTC),
        state=state.state,
        summary=state.summary,
        decision=last.record.decision if last else "",
        last_run=last.record.runbook if last else "",
        last_result=last.record.headline if last else "",
        url=issue.html_url,
        watches=tuple(one.record for one in open_watches if not one.doubt),
    )


def overview_lines(overview: Overview) -> Iterator[str]:
    """Yield a line about a stop, and three lines per incident, with its state and its URL."""
    yield from stop_lines(overview.stopped)
    for each in overview.incidents:
        age = format_duration((overview.read_at - each.opened_at).total_seconds())
        ended = each.decision.replace("_", " ") or "has no result yet"
        run = each.last_result or (f"{each.last_run} {ended}" if each.last_run else "no run")
        service, severity = each.service or UNKNOWN, each.severity or UNKNOWN
        yield to_one_line(
            f"#{each.number}  {severity}  {service}  {age} old  {run}  {cut_text(each.title, LONGEST_QUOTE)}"
        )
        yield to_one_line(f"  {each.summary}")
        yield f"  {each.url}"
    if not overview.incidents:
        yield "No incident is open."
