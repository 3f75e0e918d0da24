"""The timing of an incident: nine moments, each with its source or unknown, and the spans between them.

A span is only as good as both its ends: where one is unknown, or the second lies before the first, it is unknown too.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ops.core.clock import MAX_CLOCK_SKEW, REQUEST_LIFETIME
from ops.core.errors import Decision
from ops.github.issues import IssueRecord
from ops.report.evidence import Evidence

RECENT = REQUEST_LIFETIME + MAX_CLOCK_SKEW
"""A label that is older than this started no run: the gate refuses it."""


class Name(StrEnum):
    DEPLOYED = "Change deployed"
    STARTED = "Started"
    DETECTED = "Detected"
    ACKNOWLEDGED = "Acknowledged"
    REQUESTED = "Recovery requested"
    CALLED = "Provider call"
    MITIGATED = "Mitigated"
    CAUSE = "Root cause identified"
    RESOLVED = "Resolved"


@dataclass(frozen=True)
class Moment:
    """`source` says where it comes from, or, where `at` is None, how it can be told."""

    name: Name
    at: datetime | None
    source: str
    url: str = ""


@dataclass(frozen=True)
class Span:
    name: str
    first: Name
    last: Name
    seconds: float | None


SPANS = (
    ("exposed before it was felt", Name.DEPLOYED, Name.STARTED),
    ("until it was noticed", Name.STARTED, Name.DETECTED),
    ("until somebody took it on", Name.DETECTED, Name.ACKNOWLEDGED),
    ("until a recovery was asked for", Name.ACKNOWLEDGED, Name.REQUESTED),
    ("recovery, this tool's part", Name.REQUESTED, Name.MITIGATED),
    ("felt by users, as far as known", Name.STARTED, Name.MITIGATED),
    ("until it was resolved", Name.STARTED, Name.RESOLVED),
)


def moments(evidence: Evidence) -> tuple[Moment, ...]:
    main = evidence.main_run
    return (
        _deployed(evidence, main),
        _started(evidence),
        _noted(evidence, Name.DETECTED, "detected", f"at the latest when the issue was opened, {_time(evidence)}"),
        _acknowledged(evidence),
        _requested(evidence),
        _called(evidence, main),
        _mitigated(main),
        _noted(evidence, Name.CAUSE, "root cause", ""),
        _resolved(evidence),
    )


def spans(found: tuple[Moment, ...]) -> tuple[Span, ...]:
    at = {moment.name: moment.at for moment in found}
    return tuple(Span(name, first, last, _between(at[first], at[last])) for name, first, last in SPANS)


def _between(first: datetime | None, last: datetime | None) -> float | None:
    if first is None or last is None or last < first:
        return None
    return (last - first).total_seconds()


def _deployed(evidence: Evidence, main: IssueRecord | None) -> Moment:
    """When the version that was taken away first got traffic. A candidate for the cause, and no more."""
    served = evidence.serving(main) if main else None
    if main is None or served is None:
        return Moment(Name.DEPLOYED, None, "Cloudflare's history was not read")
    version, _ = evidence.exchanged(main)
    first = served.first_served_at(version.id) if version else None
    if version is None or first is None:
        return Moment(Name.DEPLOYED, None, "the version that was taken away is not in Cloudflare's history")
    text = f"Cloudflare: version {version.id[:8]}, the last change before the recovery; not proved to be the cause"
    return Moment(Name.DEPLOYED, first.created_on, text, served.url)


def _started(evidence: Evidence) -> Moment:
    if evidence.began is None:
        return Moment(Name.STARTED, None, "the issue's form does not say it")
    return Moment(Name.STARTED, evidence.began, "as stated on the issue's form", evidence.url)


def _noted(evidence: Evidence, name: Name, words: str, otherwise: str) -> Moment:
    found = evidence.notes(words)
    if found:
        return Moment(name, found[0], "a person's note", found[1])
    how = f'tell it with `ops incident note {evidence.number} "13:05 {words} …"`'
    return Moment(name, None, f"{otherwise}; {how}" if otherwise else how)


def _time(evidence: Evidence) -> str:
    return f"{evidence.opened_at:%H:%M:%S}"


def _acknowledged(evidence: Evidence) -> Moment:
    """The first act of somebody of the team: a program's is none, and a stranger can only touch an issue of his own."""
    if evidence.opened_by_team:
        return Moment(Name.ACKNOWLEDGED, evidence.opened_at, "the issue was opened", evidence.url)
    first = next((act for act in evidence.acts if act.who != evidence.opened_by), None)
    if first is None:
        return Moment(Name.ACKNOWLEDGED, None, "no act of a person is on the issue")
    return Moment(Name.ACKNOWLEDGED, first.at, f"the first act of a person: {first.kind}", first.url)


def _requested(evidence: Evidence) -> Moment:
    """Of the first run that was let through; by GitHub's clock where GitHub has it."""
    first = next(iter(evidence.our_runs), None)
    if first is None:
        return Moment(Name.REQUESTED, None, "no run of a runbook is on the issue")
    began = first.record.rows[0].at
    labels = [
        act
        for act in evidence.acts
        if act.kind == "labeled" and act.text.startswith("recover:") and began - RECENT <= act.at <= began
    ]
    run = evidence.workflow_run(first)
    if run is not None and run.event == "issues" and labels:
        return Moment(Name.REQUESTED, labels[-1].at, "GitHub: the label was put on", labels[-1].url)
    if run is not None and run.event == "workflow_dispatch":
        return Moment(Name.REQUESTED, run.created_at, "GitHub: the button was pressed", run.url)
    return Moment(Name.REQUESTED, began, "the run's own record", first.url)


def _called(evidence: Evidence, main: IssueRecord | None) -> Moment:
    served = evidence.serving(main) if main else None
    ours = [d for d in served.deployments if main and d.mark and d.mark.run == main.record.run] if served else []
    if served and ours:
        return Moment(Name.CALLED, ours[-1].created_on, f"Cloudflare: deployment {ours[-1].id[:8]}", served.url)
    at = main.first_event_at("written") if main else None
    if main is None or at is None:
        return Moment(Name.CALLED, None, "no run changed anything")
    return Moment(Name.CALLED, at, "the run's own record: Cloudflare had answered", main.url)


def _mitigated(main: IssueRecord | None) -> Moment:
    """Only where the probes were not healthy before: else nobody knows that this run ended anything."""
    if main is None:
        return Moment(Name.MITIGATED, None, "no run of a runbook is on the issue")
    if main.record.decision != Decision.RECOVERED:
        return Moment(Name.MITIGATED, None, f"no run recovered it; the last one ended: {main.decision_text}")
    return Moment(
        Name.MITIGATED, main.first_event_at("verified"), "the run's probes were healthy, every round in a row", main.url
    )


def _resolved(evidence: Evidence) -> Moment:
    if evidence.closed_at is None:
        return Moment(Name.RESOLVED, None, "the incident is still open")
    return Moment(Name.RESOLVED, evidence.closed_at, "GitHub: the incident was closed", evidence.url)
