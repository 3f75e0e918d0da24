"""The newest runs, on this machine and on the open incidents; results of staging drills."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ops.app.configuration import read_config
from ops.app.registry import record_rules
from ops.app.run_files import (
    RUNS,
    belongs_on_github,
    import_command,
    is_marked_published,
    list_run_folders,
    may_be_imported,
    read_published_link,
    read_run_events,
)
from ops.core.clock import SystemClock, current_time, format_age, format_rfc3339, format_utc
from ops.core.drill_result import DrillTrend
from ops.core.errors import EXIT_CODES, ConfigError, Decision, OpsError
from ops.core.plan import LiveState
from ops.core.redaction import Redactor
from ops.core.run import Run
from ops.core.threads import run_parallel, start_timed_call
from ops.core.timeline import EventKind
from ops.github.client import CHECK_HINT, connect, is_configured, provider_errors

if TYPE_CHECKING:
    from ops.config import Config
    from ops.core.incident_state import IssueRecord
    from ops.github.issues import Issue, TrustedAuthors

MAX_INCIDENTS = 5
"""Newest open incidents that are read."""
GITHUB_SECONDS = 5.0
"""Time limit of all reads from GitHub: its retries take longer, and the records of this machine wait for them."""
NO_RESULT = "no result yet"
"""Shown as the decision of a run that is still running, or was killed."""


T = TypeVar("T")


def start_github_read(
    read: Callable[[], T], environ: Mapping[str, str], seconds: float = GITHUB_SECONDS
) -> Callable[[], tuple[T | None, str]]:
    """Begin to read from GitHub. The returned function waits for it, at most so long from now.

    It returns the result, or None and why there is none. It never raises.
    """
    if not is_configured(environ):
        return lambda: (None, "set GITHUB_TOKEN and GITHUB_REPOSITORY")
    wait = start_timed_call(read, seconds)

    def finish_run_read() -> tuple[T | None, str]:
        try:
            return wait(), ""
        except OpsError as error:
            return None, error.message
        except TimeoutError:
            return None, f"GitHub gave no answer within {seconds:g} s"

    return finish_run_read


@dataclass(frozen=True)
class LastRun:
    """A run with its decision, what it changed, and how to undo that."""

    run: str
    began: datetime
    decision: str
    """Empty while the run continues, or if it was killed."""
    state: str
    """The decision for people; empty like it."""
    headline: str
    runbook: str
    environment: str
    service: str
    by: str
    """Requester and place, for people."""
    incident: int | None
    live: str
    """What is live of the changes, as `LiveState` has it."""
    changes: tuple[tuple[str, str, str], ...]
    """Target, before and after; empty if it changed nothing."""
    undo: tuple[str, ...]
    """Commands; empty if it wrote nothing, or only the comment has them."""
    link: str
    """Comment on the incident, else the page of the workflow run; may be empty."""
    record: str
    """Folder of its record on this machine, or empty."""
    import_command: str = ""
    """Command that posts its record, if it belongs on an incident and is not there; empty otherwise."""
    sandbox: str = ""
    """URL of the sandbox of a drill; empty for Cloudflare."""

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[Decision(self.decision)] if self.decision in set(Decision) else 1

    def to_json(self) -> dict[str, Any]:
        changes = [{"target": target, "before": before, "after": after} for target, before, after in self.changes]
        return {**vars(self), "began": format_rfc3339(self.began), "changes": changes, "undo": list(self.undo)}


@dataclass(frozen=True)
class LastRuns:
    """The most recent runs, newest first. `notes` says what was not read."""

    read_at: datetime
    runs: tuple[LastRun, ...]
    notes: tuple[str, ...]
    has_read_local: bool = True
    """Whether the records of this machine were read; also if there are none."""

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "read_at": format_rfc3339(self.read_at),
            "runs": [each.to_json() for each in self.runs],
            "notes": list(self.notes),
        }


def read_last_runs(
    count: int, config_path: Path, environ: Mapping[str, str], redactor: Redactor, *, within: float = GITHUB_SECONDS
) -> LastRuns:
    """Read the records beside ops.yml, which may be invalid, and `within` seconds those on GitHub.

    An unreadable record is left out; a failure of GitHub is a note.
    """
    runs_here = list_run_folders(config_path.resolve().parent / RUNS)
    local_runs = (_read_local(path, redactor, environ) for path in runs_here)
    local = {run.run: run for run in islice(filter(None, local_runs), count)}
    notes, remote, now = list[str](), dict[str, LastRun](), SystemClock().now()
    if unreadable := _find_unreadable(config_path.resolve().parent / RUNS, local):
        notes.append(unreadable)
    read = start_github_read(lambda: (current_time(environ), _read_remote(environ, redactor)), environ, within)
    answer, problem = read()
    if answer is None:
        notes.append(f"open incidents were not read: {problem}")
    else:
        now, remote = answer[0], {run.run: run for run in answer[1]}
    both = {name: _join_run_with_comment(run, remote.get(name)) for name, run in local.items()}
    newest = sorted((remote | both).values(), key=lambda run: run.began, reverse=True)[:count]
    runs: tuple[LastRun, ...] = redactor.redact_value(tuple(newest))
    return LastRuns(now, runs, tuple(notes), has_read_local=not unreadable)


def _join_run_with_comment(local: LastRun, remote: LastRun | None) -> LastRun:
    """Return the run of this machine with its comment. One without the end does not hold the whole record."""
    if remote is None:
        return local
    return replace(local, link=remote.link, import_command="" if remote.decision else local.import_command)


def _find_unreadable(runs: Path, local: Mapping[str, LastRun]) -> str:
    """Return why the records of this machine were not read; "" if they were, or if there are none."""
    is_closed = os.path.exists(runs) and not os.access(runs, os.R_OK | os.X_OK)  # noqa: PTH110  a Path may raise
    return f"the records in {runs} cannot be read" if is_closed or (list_run_folders(runs) and not local) else ""


def _read_local(folder: Path, redactor: Redactor, environ: Mapping[str, str]) -> LastRun | None:
    """Return the run of a folder; None if no line of its timeline is readable, as in a run that begins now."""
    from ops.app.configuration import program_name

    events = tuple(read_run_events(folder, redactor))
    if not events:
        return None
    run = Run(folder.name, events)
    live = run.live or (LiveState.LIVE if run.has_written else LiveState.UNCHANGED)
    plan = None if live.is_unchanged else run.plan
    is_missing = (
        bool(run.decision)
        and not is_marked_published(folder)
        and may_be_imported(run.sandbox, environ)
        and belongs_on_github(run.decision, wrote=not live.is_unchanged, incident=run.requested_incident)
    )
    return LastRun(
        run=folder.name,
        began=events[0].at,
        decision=run.decision,
        state=run.state if run.decision else "",
        headline=run.headline,
        runbook=run.runbook,
        environment=run.environment,
        service=run.service,
        by=run.requester,
        incident=run.requested_incident,
        live=live.value,
        changes=tuple(each.values for each in plan.changes) if plan else (),
        undo=tuple(each.command for each in run.undo) if plan and run.has_written else (),
        link=read_published_link(folder) or run.log_url,
        record=str(folder),
        import_command=import_command(program_name(environ), folder, run.requested_incident) if is_missing else "",
        sandbox=run.sandbox,
    )


def _read_remote(environ: Mapping[str, str], redactor: Redactor) -> list[LastRun]:
    from ops.github.issues import TrustedAuthors, list_open_incidents

    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor, read_only=True)
        trusted = TrustedAuthors(repository)
        issues = list_open_incidents(repository)[:MAX_INCIDENTS]
        return [run for runs in run_parallel([partial(_runs_of, issue, trusted) for issue in issues]) for run in runs]


def _runs_of(issue: "Issue", trusted: "TrustedAuthors") -> list[LastRun]:
    from ops.github.issues import records_of

    return [
        _remote_run(issue.number, entry)
        for entry in records_of(issue, trusted)
        if entry.record.is_run and entry.record.rows
    ]


def _remote_run(incident: int, entry: "IssueRecord") -> LastRun:
    record = entry.record
    subject = f"{record.runbook} for {record.service}" if record.service else record.runbook
    has_written = entry.first_event_at(EventKind.WRITTEN) is not None
    has_sent = entry.first_event_at(EventKind.WRITING) is not None
    by_rows = LiveState.LIVE if has_written else LiveState.UNKNOWN if has_sent else LiveState.UNCHANGED
    live = LiveState(record.live) if record.live in [*LiveState] else by_rows
    return LastRun(
        run=record.run,
        began=record.rows[0].at,
        decision=record.decision,
        state=record.state or record.decision,
        headline=record.headline or f"{subject}: {entry.decision_text}",
        runbook=record.runbook,
        environment=record.environment,
        service=record.service,
        by=f"in {entry.origin}" if entry.actions_run else f"on {entry.origin}",
        incident=incident,
        live=live.value,
        changes=() if live.is_unchanged else record.versions,
        undo=(),
        link=entry.url,
        record="",
    )


def run_lines(run: LastRun, now: datetime) -> Iterator[str]:
    """Yield the lines below the headline of a run."""
    if run.sandbox:
        yield "  A drill: it ran in a sandbox, and changed nothing at Cloudflare"
    where = " in ".join(filter(None, [f"{run.runbook} {run.service}".strip(), run.environment]))
    issue = f", incident #{run.incident}" if run.incident else ""
    yield f"  {where} {run.by}{issue}, {format_age(now - run.began)} ({format_utc(run.began)})"
    live = LiveState(run.live)
    label = "Changed" if live == LiveState.LIVE else f"{live.words[:1].upper()}{live.words[1:]}"
    for target, before, after in run.changes:
        yield f"  {label}: {target}: {before} → {after}"
    if not run.changes:
        yield "  Changed: nothing"
    for command in run.undo:
        yield f"  Undo: {command}"
    if run.changes and not run.undo and run.link:
        yield "  Undo: see the comment"
    if run.link:
        yield f"  {run.link}"
    if run.import_command:
        yield f"  Its record is not on an incident. To post it: {run.import_command}"
    if not run.decision and run.record:
        yield f"  It is still running, or was killed. Record: {run.record}"


def start_reading_drills(
    config_path: Path, environ: Mapping[str, str], redactor: Redactor
) -> Callable[[], DrillTrend | None]:
    """Begin to read the results, and return what waits for them, at most GITHUB_SECONDS from now.

    It returns None if ops.yml has no `staging_drill`, or cannot be used, which other parts of a command name.
    """
    try:
        config, now = read_config(config_path)[0], current_time(environ)
    except ConfigError:
        return lambda: None
    if config.staging_drill is None:
        return lambda: None
    finish = start_github_read(partial(read_drills, config, environ, redactor), environ)

    def find_trend() -> DrillTrend:
        trend, problem = finish()
        return trend or DrillTrend(now, problem=problem)

    return find_trend


def read_drills(config: "Config", environ: Mapping[str, str], redactor: Redactor) -> DrillTrend:
    """Return the results on the tracking issue, redacted. Raises ConfigError and ProviderError."""
    from ops.github.drill_results import read_trend

    number = config.staging_drill.tracking_issue if config.staging_drill else None
    repository = connect(environ, redactor, read_only=True)
    trend = read_trend(repository, number, record_rules(config), current_time(environ))
    redacted: DrillTrend = redactor.redact_value(trend)
    return redacted
