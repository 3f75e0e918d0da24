"""Work on the incident issue beside a run: a record posted later, a person's row, a new incident, the timeline."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ops.app.registry import list_runbook_facts, parameter_types
from ops.app.run import RUNS, command_prefix, program_name, read_config
from ops.config.labels import RecoveryOption, format_params, list_recovery_options
from ops.core.clock import MAX_CLOCK_SKEW, format_utc, parse_utc
from ops.core.errors import ConfigError, Reason
from ops.core.next_step import SuggestedCommand, build_command, describe_button
from ops.core.redaction import Redactor
from ops.core.run_record import RUN_ID_PATTERN, RecordRow, RunRecord, parse_job_run
from ops.core.run_summary import RunSummary
from ops.core.timeline import RunEvent, event_from_json
from ops.github.actions import repository_page
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.render.terminal import to_one_line

LONGEST_RECORD = 20_000_000
"""In bytes."""
OVER_MIDNIGHT = timedelta(hours=12)
"""A time without a date that is still to come today means yesterday's if that is no longer ago."""
LONGEST_DESCRIPTION = 100
"""Of a label, in characters: docs.github.com/rest/issues/labels."""
LOGGED = "(?:[^\\t]*\\t[^\\t]*\\t)?\ufeff?[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}Z (.*)"
"""A line of a job's log, as GitHub serves it; `gh run view --log` puts the job's name and the step's before it."""


def import_record(source: str, number: int, config: Path, environ: Mapping[str, str], redactor: Redactor) -> str:
    """Post a run's events; again, and the same comment is renewed. Raises ConfigError for each line that is none."""
    from ops.github import comments
    from ops.publish import comment

    path = _record(source, config)
    events = _events(path, redactor)
    run = _run(path, events)
    contacts = read_config(config)[0].contacts
    job = parse_job_run(run)
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        by = f"{comments.login(repository)}, imported at {format_utc(datetime.now(UTC))}"
        imported = f"run {job[0]} of GitHub Actions, told by {by}" if job else f"laptop, by {by}"
        posted = comments.RunComments(repository, number, run, look=True, completes=True)
        page = RunSummary(run, events, imported, source="run" if job else "laptop")
        for part, body in enumerate(comment.render_comments(page, contacts, repository_page(environ)), start=1):
            posted.put(part, body)
        return posted.url


def note(number: int, said: str, environ: Mapping[str, str], redactor: Redactor, *, now: datetime) -> tuple[str, str]:
    """Add a person's row, and return it as stored with its address. The same one twice is one comment."""
    from ops.github.comments import RunComments
    from ops.publish import comment

    at, text = moment(said, now)
    text = redactor.text(to_one_line(text))
    run = "note-" + hashlib.sha256(f"{at.isoformat()} {text}".encode()).hexdigest()[:16]
    body = comment.render_note(at, text, RunRecord(run, source="note", rows=(RecordRow(at, "note", text),)))
    with provider_errors(CHECK_HINT):
        comments = RunComments(connect(environ, redactor), number, run, look=True)
        comments.put(1, body)
        return f"{format_utc(at)}  {text}", comments.url


def moment(said: str, now: datetime) -> tuple[datetime, str]:
    """Split a note into its time in UTC and its text.

    `13:05 text` is today's 13:05, or yesterday's if that is less than 12 hours ago; a date may stand before it.
    Raises ConfigError, also for a time that is still to come.
    """
    found = re.fullmatch(r"\s*(?:(\d{4}-\d\d-\d\d)[ T])?(\d\d:\d\d(?::\d\d)?)Z?\s+(\S.*)", said, re.DOTALL)
    try:
        at = parse_utc(f"{found[1] or now.date().isoformat()}T{found[2]}") if found else None
    except ValueError:
        at = None
    if found is None or at is None:
        raise ConfigError(
            "the note does not begin with a time", hint='Write it in UTC: "13:05 text" or "2026-11-24 13:05 text".'
        )
    if at <= now + MAX_CLOCK_SKEW:
        return at, found[3].strip()
    yesterday = at - timedelta(days=1)
    if not found[1] and now - yesterday <= OVER_MIDNIGHT:
        return yesterday, found[3].strip()
    hint = "Times are in UTC."
    if not found[1]:
        hint += f' For yesterday, write the date: "{yesterday:%Y-%m-%d %H:%M} text".'
    raise ConfigError(f"{at:%Y-%m-%d %H:%M} UTC is still to come; now it is {now:%Y-%m-%d %H:%M} UTC", hint=hint)


def opened(
    service: str, severity: str, title: str, *, config: Path, environ: Mapping[str, str], redactor: Redactor
) -> tuple[int, str]:
    """A new incident: its number and address. Its body says what to press: labels, buttons, commands."""
    from ops.github.issues import open_incident
    from ops.publish import comment

    settings, _ = read_config(config)
    names = {name for environment in settings.environments.values() for name in environment.services}
    if service not in names:
        hint = f"Services: {', '.join(sorted(names))}."
        raise ConfigError(f'no service "{service}" in {config}', reason=Reason.UNKNOWN_NAME, hint=hint)
    found = [way for way in list_recovery_options(settings, list_runbook_facts()) if way.service == service]
    at = datetime.now(UTC)

    def body(number: str) -> str:
        return comment.render_incident(
            service=service,
            environment="",
            severity=severity,
            symptom="",
            at=at,
            recoveries=tuple(_shown(way, command_prefix(environ, config), number) for way in found),
            number=number,
            program=program_name(environ),
            repository=repository_page(environ),
        )

    with provider_errors(CHECK_HINT):
        return open_incident(connect(environ, redactor), redactor.text(title), body, [severity])


def _shown(way: RecoveryOption, reached: tuple[str, ...], number: str) -> tuple[str, tuple[str, ...], SuggestedCommand]:
    service = {"service": way.service} if "service" in parameter_types()[way.runbook] else {}
    options = {**service, **way.params, "environment": way.environment, "incident": number}
    program, *extra = reached
    shown = SuggestedCommand(
        build_command(program, way.runbook, options, *extra), describe_button(way.runbook, options)
    )
    return f"{way.when} ({way.environment})", way.labels, shown


def rows(number: int, environ: Mapping[str, str], redactor: Redactor) -> Iterator[str]:
    """One line per event of all runs and notes, oldest first, in UTC; those of one second in the order of their run."""
    from ops.github.issues import trusted_records

    with provider_errors(CHECK_HINT):
        found = trusted_records(connect(environ, redactor), number)
    first_of: dict[str, int] = {}
    lines = []
    for order, one in enumerate(found):
        whose = one.record.run if one.record.source == "run" else f"{one.record.source}, by {one.author}"
        edited = ", edited" if one.is_edited else ""
        for nth, row in enumerate(one.record.rows):
            place = (row.at, first_of.setdefault(one.record.run, order), -one.record.part, nth)
            lines.append((place, f"{row.kind:<9}  {row.text} [{whose}{edited}]"))
    for (at, *_), line in sorted(lines):
        yield to_one_line(f"{at:%Y-%m-%d %H:%M:%S}Z  {line}")


def sync_labels(config: Path, environ: Mapping[str, str], redactor: Redactor, say: Callable[[str], None]) -> None:
    """The labels of ops.yml and the fixed ones, as they should be; what changed is said."""
    from ops.github.issues import LABELS, LabelStyle
    from ops.github.issues import sync_labels as sync

    settings, _ = read_config(config, labels=None)
    wanted = dict(LABELS)
    for name, label in settings.labels.items():
        text = f"Runs {label.runbook} in {label.environment}: {format_params(label.params)}"
        wanted[name] = LabelStyle("1d76db", text[:LONGEST_DESCRIPTION])
    with provider_errors(CHECK_HINT):
        sync(connect(environ, redactor), wanted, say)


def _record(source: str, config: Path) -> Path:
    """A file, a run's folder, or a run's id, which is the folder's name."""
    path = Path(source)
    if not path.exists() and re.fullmatch(RUN_ID_PATTERN, source):
        path = config.resolve().parent / RUNS / source
    if path.is_dir():
        path /= "timeline.jsonl"
    if not path.is_file():
        hint = "Name a run of .ops/runs, its timeline.jsonl, or the log of its job on GitHub."
        raise ConfigError(f"no record of a run: {source}", reason=Reason.UNKNOWN_NAME, hint=hint)
    return path


def _run(path: Path, events: tuple[RunEvent, ...]) -> str:
    """As its first event says; a record of a version that did not say so stands in a folder of that name."""
    for run in (events[0].data.get("run"), path.resolve().parent.name):
        if isinstance(run, str) and re.fullmatch(RUN_ID_PATTERN, run):
            return run
    hint = "Put it into a folder with the run's name."
    raise ConfigError(f"{path.name} does not say of which run it is", reason=Reason.UNKNOWN_NAME, hint=hint)


def _events(path: Path, redactor: Redactor) -> tuple[RunEvent, ...]:
    if path.stat().st_size > LONGEST_RECORD:
        raise ConfigError(f"{path.name} is too large for a run's record", hint="Name a run's timeline.jsonl.")
    events, problems = [], []
    for number, line in _lines(path.read_text(encoding="utf-8", errors="replace")):
        try:
            events.append(_event(json.loads(line), redactor))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError, AttributeError) as error:
            problems.append(f"line {number}: no event ({type(error).__name__})")
    if problems or not events:
        hint = "Nothing was posted. Correct or remove these lines."
        raise ConfigError(f"{path.name} is no timeline", hint=hint, problems=tuple(problems))
    return tuple(events)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a record with their numbers. Of a job's log, where each has its time, those that are an event's."""
    lines = list(enumerate(text.split("\n"), start=1))
    logged = [(number, found[1]) for number, line in lines if (found := re.fullmatch(LOGGED, line.rstrip("\r")))]
    if not logged:
        return ((number, line) for number, line in lines if line.strip())
    return ((number, line) for number, line in logged if line.startswith('{"schema"'))


def _event(data: Any, redactor: Redactor) -> RunEvent:
    event = event_from_json(redactor.data(data))
    if data["schema"] != 1 or not math.isfinite(event.seconds):
        raise ValueError
    return event
