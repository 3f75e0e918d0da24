"""Judge whether trouble is a provider's or ours: status pages, API, probes, deployments.

A status page lags reality, so a calm one proves nothing by itself. GitHub serves no users of the application: its
trouble delays recoveries, and explains no failure of a service.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ops.core.verdict import Verdict

OPERATIONAL = "operational"
ENDED = {"resolved", "postmortem"}
"""States of an incident that is over."""
UNREADABLE = "cannot be read"
"""Evidence of a page that gave no document."""


MAX_SIGNS, MAX_NAME = 12, 200
"""Signs of one page, and characters of an incident's name, so that a page cannot fill a comment."""


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
    started_at: datetime | None = None
    """None if it is unknown."""


@dataclass(frozen=True)
class StatusReport:
    """State of one page, with a line for each sign."""

    page: str
    state: PageState
    evidence: tuple[str, ...] = ()
    troubled: tuple[str, ...] = ()
    """The used components with trouble."""
    since: datetime | None = None
    """Start of the trouble with all of them; None if it is unknown, or not the same."""
    newest: datetime | None = None
    """Start of the newest incident with one of them; None if it is unknown."""


@dataclass(frozen=True)
class StatusDocument:
    """Components and unresolved incidents of one page."""

    page: str
    components: Mapping[str, str]
    """Component → its status, such as `partial_outage`."""
    incidents: tuple[StatusIncident, ...] = ()


def judge_page(document: StatusDocument, *, used: Iterable[str]) -> StatusReport:
    """Judge the used components. Other components, and the indicator of the whole page, do not count."""
    names = {_plain(name): name for name in used}
    states = {_plain(name): state for name, state in document.components.items()}
    troubled = {name for name in names if states.get(name, OPERATIONAL) != OPERATIONAL}
    trouble = [f"{names[name]}: {states[name].replace('_', ' ')}" for name in names if name in troubled]
    doubts = [f"{document.page} does not list {names[name]}" for name in names if name not in states]
    starts: dict[str, datetime] = {}
    newest: datetime | None = None
    for incident in document.incidents:
        touched = sorted(name for name in map(_plain, incident.components) if name in names)
        if not touched or incident.status in ENDED:  # a stale document may still list it
            continue
        shown = ", ".join(names[name] for name in touched)
        line = f'incident "{incident.name[:MAX_NAME]}" ({incident.status}, {incident.impact}): {shown}'
        if incident.status == "monitoring" or incident.impact == "none":
            doubts.append(line)
            continue
        trouble.append(line)
        troubled.update(touched)
        if (began := incident.started_at) is not None:
            starts |= {name: min(began, starts.get(name, began)) for name in touched}
            newest = max(began, newest or began)
    state = PageState.TROUBLE if trouble else PageState.UNKNOWN if doubts else PageState.CLEAR
    shown_names = tuple(names[name] for name in names if name in troubled)
    signs = (*trouble, *doubts)
    more = (f"{len(signs) - MAX_SIGNS} more signs",) if len(signs) > MAX_SIGNS else ()
    since = {starts.get(name) for name in troubled}
    shared = since.pop() if len(since) == 1 else None
    return StatusReport(document.page, state, (*signs[:MAX_SIGNS], *more), shown_names, shared, newest)


def _plain(name: str) -> str:
    return name.strip().casefold()


class ApiState(StrEnum):
    """State of Cloudflare's API, by its own answers. The last one that an answer shows counts."""

    UNKNOWN = "unknown"
    WORKS = "works"
    FAILS = "fails"
    SUSPENDED = "suspended"
    """It refuses the account as suspended."""


class OutageVerdict(StrEnum):
    """Whose fault the trouble is."""

    THEIRS = "theirs"
    OURS = "ours"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class ServiceSigns:
    """Signs of one service of ours."""

    name: str
    verdict: Verdict
    """Verdict of its probes."""
    recent_deployment: str | None
    """Description of a deployment shortly before the trouble; empty for none, None if it is unknown."""

    @property
    def is_failing(self) -> bool:
        return self.verdict == Verdict.UNHEALTHY


@dataclass(frozen=True)
class OutageEvidence:
    """All signs of one moment."""

    pages: tuple[StatusReport, ...]
    """Status pages of the providers that serve the application."""
    api: ApiState
    services: tuple[ServiceSigns, ...]
    providers: Mapping[str, Verdict] = field(default_factory=dict)
    """AI provider → verdict of its probe."""
    github: StatusReport | None = None
    """Status page of GitHub; None without one."""

    @property
    def failing(self) -> tuple[ServiceSigns, ...]:
        return tuple(each for each in self.services if each.is_failing)

    @property
    def is_cloudflare(self) -> bool:
        """Whether Cloudflare's API or status page shows the trouble."""
        is_reported = any(report.state == PageState.TROUBLE for report in self.pages)
        return is_reported or self.api in {ApiState.FAILS, ApiState.SUSPENDED}

    @property
    def is_offline(self) -> bool:
        """Whether nothing answered, so that the network of this machine may be the cause."""
        pages = (*self.pages, *([self.github] if self.github else []))
        is_silent = all(UNREADABLE in page.evidence for page in pages)
        unseen = (each.recent_deployment is None and each.verdict == Verdict.INCONCLUSIVE for each in self.services)
        return self.api == ApiState.FAILS and is_silent and all(unseen)

    @property
    def silent_providers(self) -> tuple[str, ...]:
        """The AI providers that do not answer."""
        return tuple(name for name, verdict in self.providers.items() if verdict == Verdict.UNHEALTHY)


@dataclass(frozen=True)
class OutageFinding:
    verdict: OutageVerdict
    theirs: tuple[str, ...]
    """Signs of a provider's outage."""
    ours: tuple[str, ...]
    """Signs of our own fault."""
    notes: tuple[str, ...]
    """Unknown or contradicting signs."""
    github: tuple[str, ...] = ()
    """Trouble of GitHub, which delays recoveries by label and button."""

    @property
    def pauses_automatic_steps(self) -> bool:
        return self.verdict == OutageVerdict.THEIRS


def judge_outage(evidence: OutageEvidence) -> OutageFinding:
    """Weigh both kinds of signs. Signs of both kinds, or of none, are unclear."""
    theirs, ours, notes, github = (
        tuple(signs(evidence)) for signs in (_their_signs, _our_signs, _notes, _github_signs)
    )
    is_confirmed = evidence.api == ApiState.FAILS and any(each.state == PageState.TROUBLE for each in evidence.pages)
    is_unknown = any(each.recent_deployment is None for each in evidence.services)
    may_be_ours = bool(ours) or (is_unknown and not is_confirmed)
    if evidence.api == ApiState.SUSPENDED or (theirs and not may_be_ours):
        verdict = OutageVerdict.THEIRS
    elif ours and not theirs:
        verdict = OutageVerdict.OURS
    else:
        verdict = OutageVerdict.UNCLEAR
    return OutageFinding(verdict, theirs, ours, notes, github)


def _their_signs(evidence: OutageEvidence) -> Iterator[str]:
    if evidence.api == ApiState.SUSPENDED:
        yield "Cloudflare's API refuses the account as suspended"
    if evidence.api == ApiState.FAILS and not evidence.is_offline:
        yield "Cloudflare's API fails"
    for report in evidence.pages:
        if report.state == PageState.TROUBLE:
            yield from _lines(report)
    yield from (f"the AI provider {name} does not answer" for name in evidence.silent_providers)


def _our_signs(evidence: OutageEvidence) -> Iterator[str]:
    is_clear = bool(evidence.pages) and all(map(_is_clear, evidence.pages)) and evidence.api == ApiState.WORKS
    for each in evidence.failing:
        if each.recent_deployment:
            yield f"{each.name} fails after {each.recent_deployment}"
        elif is_clear and not evidence.silent_providers:
            yield f"{each.name} fails, and its providers report and show no trouble"


def _is_clear(report: StatusReport) -> bool:
    return report.state == PageState.CLEAR


def _lines(report: StatusReport) -> Iterator[str]:
    """Yield each sign with the page before it."""
    for line in report.evidence:
        yield line if line.startswith(report.page) else f"{report.page}: {line}"


def _notes(evidence: OutageEvidence) -> Iterator[str]:
    if evidence.is_offline:
        yield "neither Cloudflare's API nor a status page answers: the network of this machine may be the cause"
    for report in evidence.pages:
        if report.state == PageState.UNKNOWN:
            yield from _lines(report)
    if evidence.github and evidence.github.state == PageState.UNKNOWN:
        yield from _lines(evidence.github)
    if evidence.api == ApiState.FAILS and any(_is_clear(report) for report in evidence.pages):
        yield "a status page reports no trouble, although the API fails: status pages are late"
    for each in evidence.services:
        if not each.is_failing:
            yield f"the probes of {each.name} are {each.verdict.value}"
        if each.recent_deployment is None:
            yield f"{each.name}: it is unknown whether something was deployed shortly before"


def _github_signs(evidence: OutageEvidence) -> Iterator[str]:
    if evidence.github and evidence.github.state == PageState.TROUBLE:
        yield from _lines(evidence.github)
