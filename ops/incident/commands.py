"""Commands for incident issues: list, open, lead, notes, import of a run, timeline."""

import hashlib
import json
import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import load_config, program_name, published_prefix, read_config, register_secrets
from ops.app.menu import build_menu
from ops.app.run_files import RUNS, TIMELINE, mark_published, may_be_imported
from ops.core.clock import MAX_CLOCK_SKEW, current_time, find_clock, format_utc, parse_utc
from ops.core.errors import ConfigError, ProviderError, Reason, Refused
from ops.core.redaction import Redactor
from ops.core.responders import RequestScope, describe_permitted, find_lists
from ops.core.run import Run
from ops.core.run_record import (
    RUN_ID_PATTERN,
    STATE_SOURCE,
    make_note,
    parse_job_run,
    read_record,
)
from ops.core.timeline import RunEvent, event_from_json
from ops.gate import stop as gate
from ops.gate.lead import HandOverRecord, refuse_lead, save_lead
from ops.gate.refusals import fill_refusal_text
from ops.github.actions import job_number, repository_page
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.comments import own_login
from ops.github.issues import LONGEST_TITLE, get_incident
from ops.github.permissions import Requester, check_permission
from ops.render import to_one_line

if TYPE_CHECKING:
    from ops.core.incident_state import IncidentJournal
    from ops.core.responders import ResponderList
    from ops.github.client import Repository
    from ops.github.issues import Issue, OpenedIncident


MAX_RECORD_BYTES = 20_000_000
"""Largest record of a run, in bytes."""
YESTERDAY_WINDOW = timedelta(hours=12)
"""A time without a date that lies ahead means yesterday, if that is at most this long ago."""
LOG_LINE = "(?:[^\\t]*\\t[^\\t]*\\t)?\ufeff?[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}Z (.*)"
"""A line of a job log as GitHub serves it; `gh run view --log` adds the names of job and step before it."""
UNKNOWN = "-"


def import_record(source: str, number: int, config: Path, environ: Mapping[str, str], redactor: Redactor) -> str:
    """Post a run's events; a repeated import edits the same comment.

    Raises ConfigError for the record of a drill, for another incident, for less than is there, and with all malformed
    lines.
    """
    from ops.github import comments
    from ops.publish import comment

    path = _find_run_record(source, config)
    settings = load_config(config, environ, redactor)
    events = _read_events(path, redactor)
    run = _find_run_id(path, events)
    if not may_be_imported(Run(run, events).sandbox, environ):
        hint = "`ops last --count 10` lists the newest runs, and says which ones are drills."
        raise ConfigError(f"run {run} is a drill in a sandbox, so no incident on GitHub gets its record", hint=hint)
    job = parse_job_run(run)
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        issue = get_incident(repository, number)
        _refuse_other_incident(repository, number, Run(run, events), source)
        by = f"{comments.own_login(repository)}, imported at {format_utc(datetime.now(UTC))}"
        imported = f"run {job[0]} of GitHub Actions, by {by}" if job else f"laptop, by {by}"
        posted = comments.RunComments(repository, number, run, may_exist=True, completes=True)
        imported_run = Run(run, events, imported, source="run" if job else "laptop")
        program = settings.github.laptop_program
        bodies = comment.render_comments(imported_run, settings.contacts, repository_page(environ), program)
        _refuse_shorter_record(issue, run, bodies)
        for part, body in enumerate(bodies, start=1):
            posted.put(part, body)
        if path.parent.name == run:
            mark_published(path.parent, posted.url)
        return posted.url


def _refuse_other_incident(repository: "Repository", number: int, run: Run, source: str) -> None:
    """Raise ConfigError if the run names another incident. A mistyped number, which no issue has, names none."""
    named = run.requested_incident
    if named is None or named == number:
        return
    try:
        get_incident(repository, named)
    except ConfigError:
        return
    hint = f"Name that one: `ops incident import {shlex.quote(source)} --incident {named}`."
    raise ConfigError(f"run {run.id} was for incident #{named}, not #{number}", hint=hint)


def _refuse_shorter_record(issue: "Issue", run: str, bodies: Sequence[str]) -> None:
    """Raise ConfigError if the incident has more events of the run: a cut log must not replace a whole record."""
    from ops.github.comments import own_records

    there = sum(len(record.rows) for _, record in own_records(issue, of_bot=True) if record.run == run)
    given = sum(len(record.rows) for body in bodies if (record := read_record(body)))
    if given < there:
        hint = (
            "Nothing was changed. Import the whole record, such as the run's folder in .ops/runs or its whole job log."
        )
        raise ConfigError(f"#{issue.number} has {there} events of run {run}, and this record only {given}", hint=hint)


def mask_secrets(config: Path, environ: Mapping[str, str], redactor: Redactor) -> str:
    """Register the secrets that ops.yml names. Return the problem if it cannot be read: a note must not wait for it."""
    try:
        settings, _ = read_config(config)
    except ConfigError as error:
        return f"{error.message}, so only tokens of Cloudflare and GitHub are masked"
    register_secrets(environ, settings, redactor)
    return ""


def add_note(
    number: int, said: str, environ: Mapping[str, str], redactor: Redactor, *, now: datetime
) -> tuple[str, str]:
    """Add a note, and return it with its URL. A repeated note stays one comment.

    Raises ConfigError if the issue is no incident.
    """
    from ops.github.comments import save_record
    from ops.publish.comment import render_note

    at, text = parse_note(said, now)
    text = redactor.redact_text(to_one_line(text))
    run = "note-" + hashlib.sha256(f"{at.isoformat()} {text}".encode()).hexdigest()[:16]
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        get_incident(repository, number)
        note = make_note(run, at, text, job_number(environ))
        return f"{format_utc(at)}  {text}", save_record(repository, number, render_note(at, text), note)


def parse_note(said: str, now: datetime) -> tuple[datetime, str]:
    """Split a note into its time in UTC and its text. Without a time, it happened just now.

    `13:05 text` is 13:05 today, or yesterday if that is less than 12 hours ago. A date may precede the time.
    Raises ConfigError, also for a time in the future.
    """
    if said.strip() and not re.match(r"\s*(\d{4}-\d|\d\d?:\d)", said):
        return now, said.strip()
    match = re.fullmatch(r"\s*(?:(\d{4}-\d\d-\d\d)[ T])?(\d\d:\d\d(?::\d\d)?)Z?\s+(\S.*)", said, re.DOTALL)
    try:
        at = parse_utc(f"{match[1] or now.date().isoformat()}T{match[2]}") if match else None
    except ValueError:
        at = None
    if match is None or at is None:
        raise ConfigError(
            "the note has no text, or starts with a time that cannot be read",
            hint='Write "text", or start with a UTC time: "13:05 text" or "2026-11-24 13:05 text".',
        )
    if at <= now + MAX_CLOCK_SKEW:
        return at, match[3].strip()
    yesterday = at - timedelta(days=1)
    if not match[1] and now - yesterday <= YESTERDAY_WINDOW:
        return yesterday, match[3].strip()
    hint = "Use a time in UTC."
    if not match[1]:
        hint += f' For yesterday, add the date: "{yesterday:%Y-%m-%d %H:%M} text".'
    raise ConfigError(f"{at:%Y-%m-%d %H:%M} UTC is in the future; it is {now:%Y-%m-%d %H:%M} UTC", hint=hint)


def open_incident(
    service: str, severity: str, title: str, *, config: Path, environ: Mapping[str, str], redactor: Redactor
) -> "OpenedIncident":
    """Open an incident with its recovery menu. Raises ConfigError for an unknown service."""
    from ops.github.issues import open_incident_issue
    from ops.publish import comment

    settings = load_config(config, environ, redactor)
    if service not in settings.service_names:
        hint = f"Use one of: {', '.join(settings.service_names)}."
        raise ConfigError(f'no service "{service}" in {config}', reason=Reason.UNKNOWN_NAME, hint=hint)
    body = comment.render_incident_body(service=service, severity=severity)
    program, page = published_prefix(environ, config, settings), repository_page(environ)

    def incident_menu(number: str) -> str:
        return build_menu(settings, program, number, page).render([service])

    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        return open_incident_issue(repository, redactor.redact_text(title), lambda _: body, incident_menu, [severity])


def incident_timeline_lines(journal: "IncidentJournal") -> Iterator[str]:
    """Yield one line per event of all runs and notes, oldest first, in UTC; events of one second in run order."""
    first_of: dict[str, int] = {}
    lines = []
    for order, one in enumerate(one for one in journal.records if one.record.source != STATE_SOURCE):
        whose = one.record.run if one.record.source == "run" else f"{one.record.source}, by {one.author}"
        edited = ", edited" if one.is_edited else ""
        for nth, row in enumerate(one.record.rows):
            place = (row.at, first_of.setdefault(one.record.run, order), -one.record.part, nth)
            lines.append((place, f"{row.kind:<9}  {row.text} [{whose}{edited}]"))
    for (at, *_), line in sorted(lines):
        yield to_one_line(f"{at:%Y-%m-%d %H:%M:%S}Z  {line}")


def _find_run_record(source: str, config: Path) -> Path:
    """Return the record of `source`: a file, a run's folder, or a run's id."""
    path = Path(source)
    if not path.exists() and re.fullmatch(RUN_ID_PATTERN, source):
        path = config.resolve().parent / RUNS / source
    if path.is_dir():
        path /= TIMELINE
    if not path.is_file():
        hint = "Use a run in .ops/runs, its timeline.jsonl, or the log of its job on GitHub."
        raise ConfigError(f"no record of a run: {source}", reason=Reason.UNKNOWN_NAME, hint=hint)
    return path


def _find_run_id(path: Path, events: tuple[RunEvent, ...]) -> str:
    """Return the run's id from its first event; older records have it as the name of their folder."""
    for run in (events[0].data.get("run"), path.resolve().parent.name):
        if isinstance(run, str) and re.fullmatch(RUN_ID_PATTERN, run):
            return run
    hint = "Move it into a folder named like the run."
    raise ConfigError(f"{path.name} contains no run id", reason=Reason.UNKNOWN_NAME, hint=hint)


def _read_events(path: Path, redactor: Redactor) -> tuple[RunEvent, ...]:
    if path.stat().st_size > MAX_RECORD_BYTES:
        raise ConfigError(f"{path.name} is too large for a run's record", hint="Use the timeline.jsonl of a run.")
    events, problems = [], []
    for number, line in _job_log_event_lines(path.read_text(encoding="utf-8", errors="replace")):
        try:
            events.append(_parse_event(json.loads(line), redactor))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError, AttributeError) as error:
            problems.append(f"line {number}: not an event ({type(error).__name__})")
    if problems or not events:
        hint = "Correct or remove these lines. Nothing was posted."
        raise ConfigError(f"{path.name} is not a timeline", hint=hint, problems=tuple(problems))
    return tuple(events)


def _job_log_event_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a record; from a job log, only the lines with an event."""
    lines = list(enumerate(text.split("\n"), start=1))
    logged = [(number, match[1]) for number, line in lines if (match := re.fullmatch(LOG_LINE, line.rstrip("\r")))]
    if not logged:
        return ((number, line) for number, line in lines if line.strip())
    return ((number, line) for number, line in logged if line.startswith('{"schema"'))


def _parse_event(data: Any, redactor: Redactor) -> RunEvent:
    event = event_from_json(redactor.redact_json(data))
    if data["schema"] != 1 or not math.isfinite(event.seconds):
        raise ValueError
    return event


def hand_over_lead(
    number: int,
    login: str,
    *,
    config: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    warn: Callable[[str], object],
) -> str:
    """Record who leads the incident now, and return a line for people.

    Raises Refused if the incident is closed, or if one of both people may not start a recovery; ConfigError and
    ProviderError.
    """
    lists = find_lists(load_config(config, environ, redactor), RequestScope())
    now = current_time(environ)
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        is_closed = get_incident(repository, number).state == "closed"
        by = own_login(repository)
    if is_closed:
        hint = f"Reopen #{number} first, or write a note: `ops incident note {number} TEXT`."
        raise Refused(f"#{number} is closed, so nobody leads it", reason=Reason.INCIDENT_CLOSED, hint=hint)
    for person in dict.fromkeys((by, login)):
        if (refusal := refuse_lead(repository, number, person, lists)) is not None:
            message, hint = (fill_refusal_text(text, refusal.values) for text in (refusal.message, refusal.hint))
            raise Refused(message, reason=refusal.reason, hint=hint)
    run = f"lead-{hashlib.sha256(f'{now.isoformat()} {login}'.encode()).hexdigest()[:16]}"
    url = save_lead(repository, number, HandOverRecord(run, login, by, now), warn)
    return f"{login} leads #{number} since {format_utc(now)}: {url}"


TITLE = "Stop: "


@dataclass(frozen=True)
class StopCommand:
    """The command of a person, with their own token. Its methods raise Refused, ConfigError and ProviderError."""

    config: Path
    environ: Mapping[str, str]
    redactor: Redactor
    warn: Callable[[str], object]

    def stop(self, reason: str, number: int | None) -> str:
        """Stop all recoveries on the issue, else on a new one, and return a line for people."""
        repository, lists, change = self._begin_stop(self.redactor.redact_text(to_one_line(reason)))
        with provider_errors(CHECK_HINT):
            title = f"{TITLE}{change.reason}"[:LONGEST_TITLE]
            issue = repository.create_issue(title).number if number is None else number
        try:
            line = gate.stop_recoveries(repository, issue, change, lists, self.warn, clock=find_clock(self.environ))
        except ProviderError as error:
            hint = f"Try again on #{issue}: `{program_name(self.environ)} stop --reason TEXT --incident {issue}`."
            raise ProviderError(error.message, reason=error.reason, hint=hint) from None
        return f"{line}, on #{issue}"

    def lift(self) -> str:
        """Lift all stops, and return a line for people."""
        repository, _, change = self._begin_stop("")
        return gate.lift_stops(repository, (), change, self.warn)

    def _begin_stop(self, reason: str) -> "tuple[Repository, tuple[ResponderList, ...], gate.StopChange]":
        """Return the repository, the lists of responders, and the change by the owner of the token."""
        lists = find_lists(load_config(self.config, self.environ, self.redactor), RequestScope())
        now, program = current_time(self.environ), program_name(self.environ)
        with provider_errors(CHECK_HINT):
            repository = connect(self.environ, self.redactor)
            by = own_login(repository)
        answer = check_permission(repository, Requester(by), lists)
        if answer.reason is not None:
            values = {"requester": by, "responders": describe_permitted(lists)}
            message, hint = (fill_refusal_text(text, values) for text in (answer.message, answer.hint))
            raise Refused(message, reason=answer.reason, hint=hint)
        run = f"stop-{hashlib.sha256(f'{now.isoformat()} {by}'.encode()).hexdigest()[:16]}"
        return repository, lists, gate.StopChange(run, by, now, f"{program} stop --lift", reason)
