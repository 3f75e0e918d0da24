"""Timing of an incident: nine moments with their sources, and the spans between them.

A span is unknown if one of its ends is unknown, or if the second lies before the first.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ops.core.clock import MAX_CLOCK_SKEW, REQUEST_LIFETIME
from ops.core.errors import Decision
from ops.github.issues import IssueRecord
from ops.report.evidence import IncidentEvidence

MAX_LABEL_AGE = REQUEST_LIFETIME + MAX_CLOCK_SKEW
"""Oldest label that can have started a run; the gate refuses older ones."""


class MomentName(StrEnum):
    DEPLOYED = "Change deployed"
    """Cloudflare: first traffic of the replaced version. A candidate, not a cause."""
    STARTED = "Started"
    """*When it began (UTC)* in the issue form."""
    DETECTED = "Detected"
    """A note that begins with `detected`."""
    ACKNOWLEDGED = "Acknowledged"
    """The first act of a team member on the issue."""
    REQUESTED = "Recovery requested"
    """GitHub's time of the label or button; the run's record of a command."""
    CALLED = "Provider call"
    """Cloudflare's time of the deployment of Backout, else the run's record."""
    MITIGATED = "Mitigated"
    """The probes became healthy and stayed so, in the run and in its watch."""
    CAUSE = "Root cause identified"
    """A note that begins with `root cause`."""
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
    main = evidence.main_run
    return (
        _find_deployment(evidence, main),
        _find_start(evidence),
        _find_note(
            evidence,
            MomentName.DETECTED,
            "detected",
            f"no later than the opening of the issue, {_format_opened(evidence)}",
        ),
        _find_acknowledgment(evidence),
        _find_request(evidence),
        _find_provider_call(evidence, main),
        _find_mitigation(main, evidence.find_watch(main) if main else None),
        _find_note(evidence, MomentName.CAUSE, "root cause", ""),
        _find_resolution(evidence),
    )


def measure_spans(found: tuple[IncidentMoment, ...]) -> tuple[IncidentSpan, ...]:
    at = {moment.name: moment.at for moment in found}
    return tuple(IncidentSpan(name, first, last, _seconds_between(at[first], at[last])) for name, first, last in SPANS)


def _seconds_between(first: datetime | None, last: datetime | None) -> float | None:
    if first is None or last is None or last < first:
        return None
    return (last - first).total_seconds()


def _find_deployment(evidence: IncidentEvidence, main: IssueRecord | None) -> IncidentMoment:
    """Return when the replaced version first got traffic; it is only a candidate for the cause."""
    served = evidence.find_history(main) if main else None
    if main is None or served is None:
        return IncidentMoment(MomentName.DEPLOYED, None, "Cloudflare's history was not read")
    version, _ = evidence.find_versions(main)
    first = served.first_deployment(version.id) if version else None
    if version is None or first is None:
        return IncidentMoment(MomentName.DEPLOYED, None, "Cloudflare does not list the replaced version")
    text = f"Cloudflare: version {version.id[:8]}, the last change before the recovery; not proven to be the cause"
    return IncidentMoment(MomentName.DEPLOYED, first.created_on, text, served.url)


def _find_start(evidence: IncidentEvidence) -> IncidentMoment:
    if evidence.began is None:
        return IncidentMoment(MomentName.STARTED, None, "not given in the issue form")
    return IncidentMoment(MomentName.STARTED, evidence.began, "from the issue form", evidence.url)


def _find_note(evidence: IncidentEvidence, name: MomentName, words: str, otherwise: str) -> IncidentMoment:
    found = evidence.find_note(words)
    if found:
        return IncidentMoment(name, found[0], "note", found[1])
    how = f'add it with `ops incident note {evidence.number} "13:05 {words} …"`'
    return IncidentMoment(name, None, f"{otherwise}; {how}" if otherwise else how)


def _format_opened(evidence: IncidentEvidence) -> str:
    return f"{evidence.opened_at:%H:%M:%S}"


def _find_acknowledgment(evidence: IncidentEvidence) -> IncidentMoment:
    """Return the first action of a team member; bots and outsiders do not count."""
    if evidence.opened_by_team:
        return IncidentMoment(MomentName.ACKNOWLEDGED, evidence.opened_at, "issue opened", evidence.url)
    first = next((act for act in evidence.actions if act.who != evidence.opened_by), None)
    if first is None:
        return IncidentMoment(MomentName.ACKNOWLEDGED, None, "no action of a person on the issue")
    return IncidentMoment(MomentName.ACKNOWLEDGED, first.at, f"first action of a person: {first.kind}", first.url)


def _find_request(evidence: IncidentEvidence) -> IncidentMoment:
    """Return when the first approved run was requested, by GitHub's clock if available."""
    first = next(iter(evidence.our_runs), None)
    if first is None:
        return IncidentMoment(MomentName.REQUESTED, None, "no runbook ran on this issue")
    began = first.record.rows[0].at
    labels = [
        act
        for act in evidence.actions
        if act.kind == "labeled" and act.text.startswith("recover:") and began - MAX_LABEL_AGE <= act.at <= began
    ]
    run = evidence.find_workflow_run(first)
    if run is not None and run.event == "issues" and labels:
        return IncidentMoment(MomentName.REQUESTED, labels[-1].at, "GitHub: label added", labels[-1].url)
    if run is not None and run.event == "workflow_dispatch":
        return IncidentMoment(MomentName.REQUESTED, run.created_at, "GitHub: button pressed", run.url)
    return IncidentMoment(MomentName.REQUESTED, began, "run record", first.url)


def _find_provider_call(evidence: IncidentEvidence, main: IssueRecord | None) -> IncidentMoment:
    served = evidence.find_history(main) if main else None
    ours = [d for d in served.deployments if main and d.mark and d.mark.run == main.record.run] if served else []
    if served and ours:
        return IncidentMoment(
            MomentName.CALLED, ours[-1].created_on, f"Cloudflare: deployment {ours[-1].id[:8]}", served.url
        )
    at = main.first_event_at("written") if main else None
    if main is None or at is None:
        return IncidentMoment(MomentName.CALLED, None, "no run changed anything")
    return IncidentMoment(MomentName.CALLED, at, "run record: answer of Cloudflare", main.url)


def _find_mitigation(main: IssueRecord | None, watch: IssueRecord | None) -> IncidentMoment:
    """Return the mitigation by the run, known only if the probes were unhealthy before it, or by the watch after it."""
    if main is None:
        return IncidentMoment(MomentName.MITIGATED, None, "no runbook ran on this issue")
    ended, green = (watch.first_event_at(kind) for kind in ("ended", "verified")) if watch else (None, None)
    if watch and ended and watch.record.decision == Decision.RELAPSED:
        return IncidentMoment(MomentName.MITIGATED, None, f"the watch found a relapse at {ended:%H:%M:%S}", watch.url)
    is_recovered = main.record.decision == Decision.RECOVERED and main.is_recovery
    if watch and ended and green and not (is_recovered and green == watch.record.rows[0].at):
        text = f"probes healthy from then to the end of the watch, {ended:%H:%M:%S}"
        return IncidentMoment(MomentName.MITIGATED, green, text, watch.url)
    if not is_recovered:
        return IncidentMoment(MomentName.MITIGATED, None, f"no run recovered it; last result: {main.result_text}")
    text = "probes of the run healthy in all required rounds"
    if watch and ended and green:
        text += f", and in the watch until {ended:%H:%M:%S}"
    return IncidentMoment(MomentName.MITIGATED, main.first_event_at("verified"), text, main.url)


def _find_resolution(evidence: IncidentEvidence) -> IncidentMoment:
    if evidence.closed_at is None:
        return IncidentMoment(MomentName.RESOLVED, None, "the incident is still open")
    return IncidentMoment(MomentName.RESOLVED, evidence.closed_at, "GitHub: issue closed", evidence.url)
