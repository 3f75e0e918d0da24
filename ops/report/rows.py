"""Timeline rows of an incident from all sources, and the time of each recovery stage."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ops.cloudflare.types.workers import describe_split
from ops.core.clock import format_duration
from ops.github.issues import IssueRecord
from ops.report.evidence import IncidentEvidence, ServiceHistory

MAX_SILENCE = timedelta(minutes=10)
"""Longest time without a record; longer gaps get a row of their own."""
MAX_VISIBLE_ROWS = 25
"""Most rows outside the fold."""
MINOR_EVENTS = {"planned", "read_back", "warning", "assigned", "renamed", "commented", "cross-referenced"}
EVENT_NAMES = {
    "requested": "requested",
    "planned": "plan",
    "awaiting_approval": "waits for a second person",
    "approved": "approval",
    "writing": "write sent",
    "written": "write answered",
    "read_back": "live",
    "verified": "probes",
    "ended": "run ended",
    "failed": "failed",
    "warning": "warning",
    "refused": "refused",
    "note": "note",
}
"""Names of the event kinds in the report; other kinds are only in the run's comment."""


@dataclass(frozen=True)
class TimelineRow:
    """One timeline row. `text` and `who` are untrusted text."""

    at: datetime
    event: str
    text: str = ""
    who: str = ""
    url: str = ""
    is_key: bool = True


def build_rows(evidence: IncidentEvidence) -> tuple[TimelineRow, ...]:
    """Build the rows, oldest first; rows of one second keep the order of their source."""
    found = [TimelineRow(evidence.opened_at, "incident opened", evidence.title, evidence.opened_by, evidence.url)]
    found += [
        TimelineRow(
            act.at,
            _mark_edited(act.kind, act.is_edited),
            act.text,
            act.who,
            act.url,
            is_key=act.kind not in MINOR_EVENTS,
        )
        for act in evidence.actions
    ]
    for recorded in evidence.records:
        found += _record_rows(recorded)
    for served in evidence.histories:
        found += _deployment_rows(served, found)
    ordered = sorted(found, key=lambda line: line.at)
    return tuple(_insert_gaps(ordered))


def _record_rows(recorded: IssueRecord) -> Iterator[TimelineRow]:
    block = recorded.record
    who = {"run": recorded.origin, "laptop": f"laptop, by {recorded.author}"}.get(block.source, recorded.author)
    answered = any(row.kind == "written" for row in block.rows)
    for row in block.rows:
        if row.kind not in EVENT_NAMES or (row.kind == "writing" and answered):
            continue
        what = _mark_edited(EVENT_NAMES[row.kind], recorded.is_edited)
        yield TimelineRow(row.at, what, row.text, who, recorded.url, is_key=row.kind not in MINOR_EVENTS)


def _deployment_rows(served: ServiceHistory, others: Iterable[TimelineRow]) -> Iterator[TimelineRow]:
    """Yield the deployment that was live at the first row, and later ones; our own deployments have rows already."""
    others = list(others)
    first, last = min(line.at for line in others), max(line.at for line in others)
    for number, deployment in enumerate(served.deployments):
        newer = served.deployments[number - 1].created_on if number else None
        if deployment.mark is None and deployment.created_on <= last:
            text = f"{served.service} in {served.environment}: {describe_split(deployment.split)}"
            yield TimelineRow(deployment.created_on, "deployed", text, deployment.author, served.url)
        if deployment.created_on < first and (newer is None or newer >= first):
            return


def _mark_edited(what: str, is_edited: bool) -> str:  # noqa: FBT001
    return f"{what}, edited later" if is_edited else what


def _insert_gaps(ordered: list[TimelineRow]) -> Iterator[TimelineRow]:
    before = None
    for line in ordered:
        if before is not None and line.at - before.at > MAX_SILENCE:
            silent = format_duration((line.at - before.at).total_seconds())
            yield TimelineRow(before.at, f"no record for {silent}", f"until {line.at:%H:%M:%S}", is_key=False)
        yield line
        before = line


def visible_rows(all_lines: tuple[TimelineRow, ...]) -> tuple[TimelineRow, ...]:
    """Return the rows outside the fold: all if they are few, else key rows from both ends."""
    if len(all_lines) <= MAX_VISIBLE_ROWS:
        return all_lines
    key = [line for line in all_lines if line.is_key]
    if len(key) <= MAX_VISIBLE_ROWS:
        return tuple(key)
    return tuple(key[: MAX_VISIBLE_ROWS // 2] + key[-(MAX_VISIBLE_ROWS - MAX_VISIBLE_ROWS // 2) :])


STAGE_NAMES = {"plan": "set-up and plan", "write": "write", "read back": "read back", "verified": "probes"}


@dataclass(frozen=True)
class RecoveryStage:
    """One stage of a recovery, in seconds since the request."""

    name: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass(frozen=True)
class RecoveryTiming:
    """Stages of one run. `requested_at` is the run's clock, in whole seconds."""

    run: str
    requested_at: datetime
    stages: tuple[RecoveryStage, ...]


def measure_recovery(evidence: IncidentEvidence) -> RecoveryTiming | None:
    """Measure the stages of the decisive run; None if it recorded no durations."""
    main = evidence.main_run
    ended, total = (main.first_event_at("ended"), main.record.durations.get("total")) if main else (None, None)
    if main is None or ended is None or total is None:
        return None
    requested_at = ended - timedelta(seconds=total)
    run = evidence.find_workflow_run(main)
    job = run.acting_job if run else None
    marks: list[tuple[str, float]] = []
    if job is not None and job.started_at is not None and job.started_at > requested_at:
        marks.append(("until GitHub started the job", (job.started_at - requested_at).total_seconds()))
    marks += [(STAGE_NAMES[name], at) for name in STAGE_NAMES if (at := main.record.durations.get(name)) is not None]
    stages, before = [], 0.0
    for name, at in marks:
        if at < before:  # GitHub's clock differs, and has whole seconds
            continue
        stages.append(RecoveryStage(name, before, at))
        before = at
    return RecoveryTiming(main.record.run, requested_at, tuple(stages)) if stages else None
