"""Judge whether trouble is a provider's or ours: status pages, API, probes, deployments.

A status page lags reality, so a calm one proves nothing by itself.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ops.core.verdict import Verdict

OPERATIONAL = "operational"


class PageState(StrEnum):
    """State of the used components on one status page."""

    TROUBLE = "trouble"
    CLEAR = "clear"
    UNKNOWN = "unknown"
    """The page is not readable, does not list a used component, or reports a fix that it still watches."""


@dataclass(frozen=True)
class StatusIncident:
    """An unresolved incident of a status page. Its name is untrusted text."""

    name: str
    status: str
    impact: str
    components: frozenset[str]


@dataclass(frozen=True)
class StatusReport:
    """State of one page, with a line for each sign."""

    page: str
    state: PageState
    evidence: tuple[str, ...] = ()


def judge_page(
    page: str,
    components: Mapping[str, str],
    incidents: Iterable[StatusIncident],
    *,
    used: Iterable[str],
) -> StatusReport:
    """Judge the used components. Other components, and the indicator of the whole page, do not count."""
    names = {_plain(name): name for name in used}
    states = {_plain(name): state for name, state in components.items()}
    trouble = [
        f"{names[name]}: {states[name].replace('_', ' ')}"
        for name in names
        if states.get(name, OPERATIONAL) != OPERATIONAL
    ]
    doubts = [f"{page} does not list {names[name]}" for name in names if name not in states]
    for incident in incidents:
        touched = sorted(names[name] for name in map(_plain, incident.components) if name in names)
        if not touched:
            continue
        line = f'incident "{incident.name}" ({incident.status}, {incident.impact}): {", ".join(touched)}'
        is_over = incident.status == "monitoring" or incident.impact == "none"
        (doubts if is_over else trouble).append(line)
    state = PageState.TROUBLE if trouble else PageState.UNKNOWN if doubts else PageState.CLEAR
    return StatusReport(page, state, (*trouble, *doubts))


def _plain(name: str) -> str:
    return name.strip().casefold()


class ApiState(StrEnum):
    """State of Cloudflare's API, by its own answers."""

    WORKS = "works"
    FAILS = "fails"
    SUSPENDED = "suspended"
    """It refuses the account as suspended."""
    UNKNOWN = "unknown"


class OutageVerdict(StrEnum):
    """Whose fault the trouble is."""

    THEIRS = "theirs"
    OURS = "ours"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class OutageEvidence:
    """All signs of one moment."""

    pages: tuple[StatusReport, ...]
    """Status pages of the providers that serve the application."""
    api: ApiState
    service: Verdict
    """Verdict of the service's probes."""
    recent_deployment: str | None
    """Description of a deployment shortly before the trouble; empty for none, None if it is unknown."""
    providers: Mapping[str, Verdict] | None = None
    """AI provider → verdict of its probe; None if the application uses none."""


@dataclass(frozen=True)
class OutageFinding:
    verdict: OutageVerdict
    theirs: tuple[str, ...]
    """Signs of a provider's outage."""
    ours: tuple[str, ...]
    """Signs of our own fault."""
    notes: tuple[str, ...]
    """Unknown or contradicting signs."""

    @property
    def pauses_automatic_steps(self) -> bool:
        return self.verdict == OutageVerdict.THEIRS


def judge_outage(evidence: OutageEvidence) -> OutageFinding:
    """Weigh both kinds of signs. Signs of both kinds, or of none, are unclear."""
    theirs, ours, notes = (tuple(signs(evidence)) for signs in (_their_signs, _our_signs, _notes))
    if evidence.api == ApiState.SUSPENDED:
        return OutageFinding(OutageVerdict.THEIRS, theirs, ours, notes)
    is_confirmed = any(report.state == PageState.TROUBLE for report in evidence.pages)
    may_be_ours = bool(ours) or (evidence.recent_deployment is None and not is_confirmed)
    if theirs and not may_be_ours:
        verdict = OutageVerdict.THEIRS
    elif ours and not theirs:
        verdict = OutageVerdict.OURS
    else:
        verdict = OutageVerdict.UNCLEAR
    return OutageFinding(verdict, theirs, ours, notes)


def _their_signs(evidence: OutageEvidence) -> Iterator[str]:
    if evidence.api == ApiState.SUSPENDED:
        yield "Cloudflare's API refuses the account as suspended"
    if evidence.api == ApiState.FAILS:
        yield "Cloudflare's API fails"
    for report in evidence.pages:
        if report.state == PageState.TROUBLE:
            yield from (f"{report.page}: {line}" for line in report.evidence)
    for name, verdict in (evidence.providers or {}).items():
        if verdict == Verdict.UNHEALTHY:
            yield f"the AI provider {name} does not answer"


def _our_signs(evidence: OutageEvidence) -> Iterator[str]:
    if evidence.service != Verdict.UNHEALTHY:
        return
    if evidence.recent_deployment:
        yield f"the service fails after {evidence.recent_deployment}"
        return
    may_be_provider = Verdict.UNHEALTHY in (evidence.providers or {}).values()
    pages_are_clear = bool(evidence.pages) and all(map(_is_clear, evidence.pages))
    if evidence.api == ApiState.WORKS and pages_are_clear and not may_be_provider:
        yield "the service fails, and its providers report and show no trouble"


def _is_clear(report: StatusReport) -> bool:
    return report.state == PageState.CLEAR


def _notes(evidence: OutageEvidence) -> Iterator[str]:
    for report in evidence.pages:
        if report.state == PageState.UNKNOWN:
            yield from (f"{report.page}: {line}" for line in report.evidence or ("cannot be read",))
    if evidence.api == ApiState.FAILS and any(_is_clear(report) for report in evidence.pages):
        yield "a status page reports no trouble, although the API fails: status pages are late"
    if evidence.service != Verdict.UNHEALTHY:
        yield f"the probes of the service are {evidence.service.value}"
    if evidence.recent_deployment is None:
        yield "it is unknown whether something was deployed shortly before"
