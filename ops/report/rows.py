"""The timeline of an incident from all its sources, and the time of each recovery stage."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ops.cloudflare.types.workers import describe_split
from ops.core.clock import format_duration
from ops.github.issues import IssueRecord
from ops.report.evidence import Evidence, Served

GAP = timedelta(minutes=10)
"""Longer without any record, and it is said."""
MOST = 25
"""Rows that are shown at once; the others are folded."""
MINOR = {"planned", "read_back", "warning", "assigned", "renamed", "commented", "cross-referenced"}
WORDS = {
    "requested": "asked for",
    "planned": "plan",
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
"""The kinds of rows that are told, in words of ours; the others are in the run's own comment."""


@dataclass(frozen=True)
class Line:
    """`text` and `who` are other people's words."""

    at: datetime
    what: str
    text: str = ""
    who: str = ""
    url: str = ""
    is_key: bool = True


def lines(evidence: Evidence) -> tuple[Line, ...]:
    """Oldest first. Rows of the same second stay in the order of their source."""
    found = [Line(evidence.opened_at, "incident opened", evidence.title, evidence.opened_by, evidence.url)]
    found += [
        Line(act.at, _edited(act.kind, act.is_edited), act.text, act.who, act.url, is_key=act.kind not in MINOR)
        for act in evidence.acts
    ]
    for recorded in evidence.recorded:
        found += _of_record(recorded)
    for served in evidence.served:
        found += _of_service(served, found)
    ordered = sorted(found, key=lambda line: line.at)
    return tuple(_with_gaps(ordered))


def _of_record(recorded: IssueRecord) -> Iterator[Line]:
    block = recorded.record
    who = {"run": recorded.origin, "laptop": f"laptop, by {recorded.author}"}.get(block.source, recorded.author)
    answered = any(row.kind == "written" for row in block.rows)
    for row in block.rows:
        if row.kind not in WORDS or (row.kind == "writing" and answered):
            continue
        what = _edited(WORDS[row.kind], recorded.is_edited)
        yield Line(row.at, what, row.text, who, recorded.url, is_key=row.kind not in MINOR)


def _of_service(served: Served, others: Iterable[Line]) -> Iterator[Line]:
    """What was live when the first thing happened, and whatever was deployed since then; ours are rows already."""
    others = list(others)
    first, last = min(line.at for line in others), max(line.at for line in others)
    for number, deployment in enumerate(served.deployments):
        newer = served.deployments[number - 1].created_on if number else None
        if deployment.mark is None and deployment.created_on <= last:
            text = f"{served.service} in {served.environment}: {describe_split(deployment.split)}"
            yield Line(deployment.created_on, "deployed", text, deployment.author, served.url)
        if deployment.created_on < first and (newer is None or newer >= first):
            return


def _edited(what: str, is_edited: bool) -> str:  # noqa: FBT001
    return f"{what}, edited since" if is_edited else what


def _with_gaps(ordered: list[Line]) -> Iterator[Line]:
    before = None
    for line in ordered:
        if before is not None and line.at - before.at > GAP:
            silent = format_duration((line.at - before.at).total_seconds())
            yield Line(before.at, f"no record for {silent}", f"until {line.at:%H:%M:%S}", is_key=False)
        yield line
        before = line


def at_once(all_lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """The ones to be shown unfolded: all where they are few, else what matters most, from both ends."""
    if len(all_lines) <= MOST:
        return all_lines
    key = [line for line in all_lines if line.is_key]
    if len(key) <= MOST:
        return tuple(key)
    return tuple(key[: MOST // 2] + key[-(MOST - MOST // 2) :])


NAMES = {"plan": "set-up and plan", "write": "write", "read back": "read back", "verified": "probes"}


@dataclass(frozen=True)
class Stage:
    """Seconds since the request."""

    name: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass(frozen=True)
class Recovery:
    """One run. `requested_at` is its clock's, to the second."""

    run: str
    requested_at: datetime
    stages: tuple[Stage, ...]


def recovery(evidence: Evidence) -> Recovery | None:
    """Of the run that counts; None where it recorded no durations."""
    main = evidence.main_run
    ended, total = (main.first_event_at("ended"), main.record.durations.get("total")) if main else (None, None)
    if main is None or ended is None or total is None:
        return None
    requested_at = ended - timedelta(seconds=total)
    run = evidence.workflow_run(main)
    job = run.acting if run else None
    marks: list[tuple[str, float]] = []
    if job is not None and job.started_at is not None and job.started_at > requested_at:
        marks.append(("until GitHub started the job", (job.started_at - requested_at).total_seconds()))
    marks += [(NAMES[name], at) for name in NAMES if (at := main.record.durations.get(name)) is not None]
    stages, before = [], 0.0
    for name, at in marks:
        if at < before:  # GitHub's clock is only good to the second, and another
            continue
        stages.append(Stage(name, before, at))
        before = at
    return Recovery(main.record.run, requested_at, tuple(stages)) if stages else None
