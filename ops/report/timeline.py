"""Timeline of an incident: rows from all sources, moments with their sources, and spans.

A span is unknown if one of its ends is unknown, or if the second lies before the first.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby

from ops.cloudflare.types.workers import WorkerDeployment, describe_split
from ops.core.clock import Period, format_duration
from ops.core.end_message import MOVED
from ops.core.incident_state import IssueRecord, Moment
from ops.core.run_record import DONE, ENDED_KIND
from ops.core.service_fold import (
    find_acknowledgment_moment,
    find_detection_moment,
    find_noted_moment,
    find_request_moment,
)
from ops.report.evidence import IncidentEvidence, ReportedHistory
from ops.watch.state import MAX_PAUSE, parse_watch_state

MAX_SILENCE = timedelta(minutes=10)
"""Longest time without a record; longer gaps get a row of their own."""
CLOCK_TOLERANCE = timedelta(seconds=5)
"""Most difference between Cloudflare's clock and that of a run."""
ISSUE, CLOUDFLARE = "issue", "Cloudflare"
"""Sources of rows besides records."""
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
    "rehearsed": "rehearsal",
    "ended": "run ended",
    "failed": "failed",
    "warning": "warning",
    "refused": "refused",
    "note": "note",
    "lead": "lead",
}
"""Names of the event kinds in the report; other kinds are only in the run's comment."""
REHEARSAL_ENDS = ("result: ", "skipped: ", MOVED)
"""Start of the rehearsal's events that are in the report."""


class MomentName(StrEnum):
    DEPLOYED = "Change deployed"
    """Cloudflare: first traffic of the replaced version. A candidate, not a cause."""
    STARTED = "Started"
    """*When it began (UTC)* in the issue form, or a note `broken SERVICE: …`."""
    DETECTED = "Detected"
    """A note `detected: …` or `detected by …`."""
    ACKNOWLEDGED = "Acknowledged"
    """The first act of a team member on the issue."""
    REQUESTED = "Recovery requested"
    """GitHub's time of the label or button; the run's record of a command."""
    CALLED = "Provider call"
    """Cloudflare's time of the deployment of Backout, else the run's record."""
    MITIGATED = "Mitigated"
    """The probes became healthy and stayed so, in the run and in its watch."""
    CAUSE = "Root cause identified"
    """A note `root cause: …`."""
    RESOLVED = "Resolved"
    """GitHub: the incident was closed."""


@dataclass(frozen=True)
class IncidentMoment:
    """One moment. `source` is its origin, or if `at` is None, how to add it."""

    name: MomentName
    at: datetime | None
    source: str
    url: str = ""


@dataclass(frozen=True)
class IncidentSpan:
    name: str
    first: MomentName
    last: MomentName
    seconds: float | None


SPANS = (
    ("deployment to start", MomentName.DEPLOYED, MomentName.STARTED),
    ("start to detection", MomentName.STARTED, MomentName.DETECTED),
    ("detection to acknowledgment", MomentName.DETECTED, MomentName.ACKNOWLEDGED),
    ("acknowledgment to request", MomentName.ACKNOWLEDGED, MomentName.REQUESTED),
    ("request to mitigation (Backout)", MomentName.REQUESTED, MomentName.MITIGATED),
    ("start to mitigation (users affected)", MomentName.STARTED, MomentName.MITIGATED),
    ("start to resolution", MomentName.STARTED, MomentName.RESOLVED),
)


def find_moments(evidence: IncidentEvidence) -> tuple[IncidentMoment, ...]:
    main, closed_at = evidence.main_run, evidence.closed_at
    resolved = Moment(closed_at, "GitHub: issue closed" if closed_at else "the incident is still open", evidence.url)
    moments = {
        MomentName.DEPLOYED: find_deployment(evidence, main),
        MomentName.STARTED: evidence.start,
        MomentName.DETECTED: find_detection_moment(evidence),
        MomentName.ACKNOWLEDGED: find_acknowledgment_moment(evidence),
        MomentName.REQUESTED: _find_first_request(evidence),
        MomentName.CALLED: _find_provider_call(evidence, main),
        MomentName.MITIGATED: evidence.state.mitigated,
        MomentName.CAUSE: find_noted_moment(evidence, "root cause"),
        MomentName.RESOLVED: resolved,
    }
    return tuple(IncidentMoment(name, each.at, each.source, each.url) for name, each in moments.items())


def measure_spans(moments: tuple[IncidentMoment, ...]) -> tuple[IncidentSpan, ...]:
    at = {moment.name: moment.at for moment in moments}
    return tuple(IncidentSpan(name, first, last, _seconds_between(at[first], at[last])) for name, first, last in SPANS)


def _seconds_between(first: datetime | None, last: datetime | None) -> float | None:
    if first is None or last is None or last < first:
        return None
    return (last - first).total_seconds()


def find_deployment(evidence: IncidentEvidence, run: IssueRecord | None) -> Moment:
    """Return when the version that the run replaced first got traffic; it is only a candidate for the cause."""
    served = evidence.find_history(run) if run else None
    if run is None or served is None:
        return Moment(None, "Cloudflare's history was not read")
    version, _ = evidence.find_versions(run)
    first = served.first_deployment(version.id) if version else None
    if version is None or first is None:
        return Moment(None, "Cloudflare does not list the replaced version")
    text = f"Cloudflare: version {version.id[:8]}, live before the run; not proven to be the cause"
    return Moment(first.created_on, text, served.url)


def _find_first_request(evidence: IncidentEvidence) -> Moment:
    """Return when the first run was requested, by the clock of its trigger."""
    first = next(iter(evidence.counted_runs), None)
    if first is None:
        return Moment(None, "no runbook ran on this issue")
    requested, run = find_request_moment(first, evidence.actions), evidence.find_workflow_run(first)
    if run is not None and run.event == "workflow_dispatch":
        return Moment(requested.at, "GitHub: button pressed", run.url)
    return requested


def _find_provider_call(evidence: IncidentEvidence, main: IssueRecord | None) -> Moment:
    served = evidence.find_history(main) if main else None
    ours = [d for d in served.deployments if main and d.mark and d.mark.run == main.record.run] if served else []
    if served and ours:
        return Moment(ours[-1].created_on, f"Cloudflare: deployment {ours[-1].id[:8]}", served.url)
    at = main.first_event_at("written") if main else None
    if main is None or at is None:
        return Moment(None, "no run changed anything")
    return Moment(at, "run record: write answered", main.url)


@dataclass(frozen=True)
class TimelineRow:
    """One timeline row. `text` and `who` are untrusted text."""

    at: datetime
    event: str
    text: str = ""
    who: str = ""
    url: str = ""
    is_key: bool = True
    source: str = ""
    """The issue, one record, or Cloudflare: rows of one source are in its order."""
    is_unordered: bool = False
    """Whether another source has a row within the same second, so that their order is unknown."""


def build_rows(evidence: IncidentEvidence) -> tuple[TimelineRow, ...]:
    """Build the rows, oldest first. Clocks differ, so the order of two sources within one second is unknown."""
    opened = TimelineRow(evidence.opened_at, "incident opened", evidence.title, evidence.opened_by, evidence.url)
    rows = [replace(opened, source=ISSUE)]
    rows += [
        TimelineRow(
            act.at,
            _mark_edited(act.kind, act.is_edited),
            act.text,
            act.who,
            act.url,
            is_key=act.kind not in MINOR_EVENTS,
            source=ISSUE,
        )
        for act in evidence.actions
    ]
    for recorded in evidence.records:
        rows += _record_rows(recorded)
    for served in evidence.histories:
        rows += _deployment_rows(served, rows, evidence.records)
    for one, period in _watched_periods(evidence):
        if not one.record.decision and evidence.read_at - period.until > MAX_PAUSE:
            rows.append(TimelineRow(period.until, "watch stopped", "no later round", one.record.service, one.url))
    ordered = list(_mark_unordered(sorted(rows, key=lambda line: line.at.replace(microsecond=0))))
    return tuple(_insert_gaps(ordered, [period for _, period in _watched_periods(evidence)]))


def _mark_unordered(rows: Iterable[TimelineRow]) -> Iterator[TimelineRow]:
    for _, same in groupby(rows, key=lambda line: line.at.replace(microsecond=0)):
        second = list(same)
        is_unordered = len({line.source for line in second}) > 1
        yield from (replace(line, is_unordered=is_unordered) for line in second)


def _record_rows(recorded: IssueRecord) -> Iterator[TimelineRow]:
    block = recorded.record
    who = {"run": recorded.origin, "laptop": f"laptop, by {recorded.author}"}.get(block.source, recorded.author)
    answered = any(row.kind == "written" for row in block.rows)
    for row in block.rows:
        if row.kind not in EVENT_NAMES or (row.kind == "writing" and answered):
            continue
        if row.kind == "rehearsed" and not row.text.startswith(REHEARSAL_ENDS):
            continue
        what = _mark_edited(EVENT_NAMES[row.kind], recorded.is_edited)
        what += ", does not count" if recorded.doubt else ""
        text = DONE.lower() if (row.kind, block.state) == (ENDED_KIND, DONE) else row.text
        is_key = row.kind not in MINOR_EVENTS
        yield TimelineRow(row.at, what, text, who, recorded.url, is_key=is_key, source=block.run)


def _deployment_rows(
    served: ReportedHistory, others: Iterable[TimelineRow], records: Iterable[IssueRecord]
) -> Iterator[TimelineRow]:
    """Yield the deployment that was live at the first row, and later ones. Those of our runs have rows already."""
    others = list(others)
    first, last = min(line.at for line in others), max(line.at for line in others)
    for number, deployment in enumerate(served.deployments):
        newer = served.deployments[number - 1].created_on if number else None
        if not _is_recorded(deployment, records) and deployment.created_on <= last:
            text = f"{served.service} in {served.environment}: {describe_split(deployment.split)}"
            yield TimelineRow(deployment.created_on, "deployed", text, deployment.author, served.url, source=CLOUDFLARE)
        if deployment.created_on < first and (newer is None or newer >= first):
            return


def _is_recorded(deployment: WorkerDeployment, records: Iterable[IssueRecord]) -> bool:
    """Return whether the run of its mark wrote it.

    Everyone who may deploy can write a mark with that run, so the run must name the deployment. After a lost answer it
    knows no ID; then the deployment is from the time of the run.
    """
    mark = deployment.mark
    if mark is None or mark.rehearsed:
        return False
    rows = [row for each in records if each.record.run == mark.run for row in each.record.rows]
    written = [row.text for row in rows if row.kind == "written"]
    if any(deployment.id in text for text in written):
        return True
    is_unnamed = any(text.startswith("applied") for text in written)
    times = [row.at for row in rows]
    return is_unnamed and min(times) - CLOCK_TOLERANCE <= deployment.created_on <= max(times) + CLOCK_TOLERANCE


def _mark_edited(what: str, is_edited: bool) -> str:  # noqa: FBT001
    return f"{what}, edited later" if is_edited else what


def _watched_periods(evidence: IncidentEvidence) -> Iterator[tuple[IssueRecord, Period]]:
    """Yield each watch and its period, oldest first. Rows of its record name the rounds without a runner."""
    states = ((one, parse_watch_state(one.record.watch, None)) for one in evidence.records if one.record.watch)
    periods = [(one, Period(each.started_at, each.time_of(len(each.rounds)))) for one, each in states if each]
    yield from sorted(periods, key=lambda watch: watch[1].since)


def _insert_gaps(ordered: list[TimelineRow], watched: list[Period]) -> Iterator[TimelineRow]:
    before: TimelineRow | None = None
    for line in ordered:
        for silence in _find_silences(before.at if before else line.at, line.at, watched):
            length = format_duration((silence.until - silence.since).total_seconds())
            yield TimelineRow(silence.since, f"no record for {length}", f"until {silence.until:%H:%M:%S}", is_key=False)
        yield line
        before = line


def _find_silences(since: datetime, until: datetime, watched: list[Period]) -> Iterator[Period]:
    """Yield the periods between two rows that are longer than MAX_SILENCE and in which nobody watched."""
    for each in (*watched, Period(until, until)):
        if min(each.since, until) - since > MAX_SILENCE:
            yield Period(since, min(each.since, until))
        since = max(since, each.until)


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
