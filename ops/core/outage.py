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
MINOR_IMPACTS = {"none", "minor", "maintenance"}
"""Impacts of an incident that stays within its components. All others, also unknown ones, may be wider."""
MILD_STATES = {OPERATIONAL, "degraded_performance", "under_maintenance"}
"""States of a component that every service shares in which most of its users notice nothing."""
UNREADABLE = "cannot be read"
"""Evidence of a page that gave no document."""


MAX_SIGNS, MAX_NAME = 12, 200
"""Signs of one page, and characters of an incident's name, so that a page cannot fill a comment."""


class PageState(StrEnum):
    """State of the used components on one status page."""

    TROUBLE = "trouble"
    CLEAR = "clear"
    UNKNOWN = "unknown"
    """The page is not readable, does not list a used component, or reports trouble that may be wider than it says."""


@dataclass(frozen=True)
class StatusIncident:
    """An unresolved incident of a status page. Its name is untrusted text."""

    name: str
    status: str
    impact: str
    components: frozenset[str]
    started_at: datetime | None = None
    """None if it is unknown."""
    link: str = ""
    """Its page; empty if it is unknown."""


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
    possible: tuple[str, ...] = ()
    """The lines of trouble that may be wider than the page says. They forbid "ours" and an automatic step."""


@dataclass(frozen=True)
class StatusDocument:
    """Components and unresolved incidents of one page."""

    page: str
    components: Mapping[str, str]
    """Component → its status, such as `partial_outage`."""
    incidents: tuple[StatusIncident, ...] = ()
    group: str = ""
    """Name of the group of these components; empty if the page has none."""
    group_state: str = OPERATIONAL
    """State of the group, which Statuspage takes from its worst component."""


def judge_page(document: StatusDocument, *, used: Iterable[str], shared: Iterable[str] = ()) -> StatusReport:
    """Judge the used components. Other components, and the indicator of the whole page, do not count.

    Any unresolved major incident counts: pages often name its components late, or never. Components in
    `shared` serve every service, and have regional trouble most of the time: in mild trouble they explain nothing.
    """
    names, edge = {_plain_component(name): name for name in used}, set(map(_plain_component, shared))
    states = {_plain_component(name): state for name, state in document.components.items()}
    bad = {name for name in names if states.get(name, OPERATIONAL) != OPERATIONAL}
    mild = {name for name in bad & edge if states[name] in MILD_STATES}
    troubled = bad - mild
    shown_states = {name: f"{names[name]}: {_describe_page_state(states[name])}" for name in names if name in bad}
    trouble = [shown_states[name] for name in names if name in troubled]
    possible = [shown_states[name] for name in names if name in mild]
    possible += _group_signs(document, {states[name] for name in bad})
    doubts = [f"{document.page} does not list {names[name]}" for name in names if name not in states]
    starts: dict[str, datetime] = {}
    newest: datetime | None = None
    for incident in document.incidents:
        if incident.status in ENDED:  # a stale document may still list it
            continue
        touched = sorted(name for name in map(_plain_component, incident.components) if name in names)
        is_wide = incident.impact not in MINOR_IMPACTS
        line = _describe_provider_incident(incident, [names[name] for name in touched])
        if not touched or incident.status == "monitoring" or incident.impact == "none":
            if is_wide or touched:
                (possible if is_wide else doubts).append(line)
        elif not is_wide and edge.issuperset(touched):
            possible.append(line)
        else:
            trouble.append(line)
            troubled.update(touched)
            if (began := incident.started_at) is not None:
                starts |= {name: min(began, starts.get(name, began)) for name in touched}
                newest = max(began, newest or began)
    signs = (*trouble, *possible, *doubts)
    state = PageState.TROUBLE if trouble else PageState.UNKNOWN if signs else PageState.CLEAR
    shown_names = tuple(names[name] for name in names if name in troubled)
    more = (f"{len(signs) - MAX_SIGNS} more signs",) if len(signs) > MAX_SIGNS else ()
    since = {starts.get(name) for name in troubled}
    shared_start = since.pop() if len(since) == 1 else None
    evidence = (*signs[:MAX_SIGNS], *more)
    return StatusReport(
        document.page, state, evidence, shown_names, shared_start, newest, possible=tuple(possible[:MAX_SIGNS])
    )


def _describe_provider_incident(incident: StatusIncident, used: list[str]) -> str:
    """Return name, state, products and link. `used`: the used products that it names."""
    products = ", ".join(used or sorted(incident.components)) or "names no product"
    link = f"; see {incident.link}" if incident.link else ""
    return f'incident "{incident.name[:MAX_NAME]}" ({incident.status}, {incident.impact}): {products[:MAX_NAME]}{link}'


def _group_signs(document: StatusDocument, used: set[str]) -> list[str]:
    """Return the state of the group, unless a component explains it. `used`: the bad states of used components.

    Some other product is in mild trouble on most days.
    """
    is_mild = document.group_state in MILD_STATES
    others = any(state != OPERATIONAL for state in document.components.values())
    is_explained = document.group_state in {OPERATIONAL, *used} or (is_mild and others)
    return [] if is_explained else [f"{document.group}: {_describe_page_state(document.group_state)}"]


def _describe_page_state(state: str) -> str:
    return state.replace("_", " ")


def _plain_component(name: str) -> str:
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

    @property
    def is_likely(self) -> bool:
        """Return whether it may be the cause: it fails, or was deployed shortly before."""
        return self.is_failing or bool(self.recent_deployment)


@dataclass(frozen=True)
class LiveSigns:
    """Signs of several services at one moment, as far as they could be read in time."""

    read_at: datetime
    services: Mapping[tuple[str, str], ServiceSigns]
    """Environment and service → its signs."""
    unseen: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    """Each sign that is unknown with its reason, and where."""


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
    def is_healthy(self) -> bool:
        """Whether the probes of every service are healthy, and no sign shows an outage."""
        healthy = [each.verdict == Verdict.HEALTHY for each in self.services]
        return bool(healthy) and all(healthy) and not self.is_cloudflare and not self.silent_providers

    @property
    def possible(self) -> tuple[str, ...]:
        """Signs of a status page that its trouble is wider than it says."""
        return tuple(line for report in self.pages for line in _prefix_with_page(report, report.possible))

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
    possible: tuple[str, ...] = ()
    """Signs of a provider's outage that may concern other products only; they are in `notes` or `theirs` too."""

    @property
    def pauses_automatic_steps(self) -> bool:
        return self.verdict == OutageVerdict.THEIRS


def judge_outage(evidence: OutageEvidence) -> OutageFinding:
    """Weigh both kinds of signs. Signs of both kinds, or of none, are unclear."""
    theirs, ours, notes, github = (
        tuple(signs(evidence)) for signs in (_their_signs, _our_signs, _evidence_notes, _github_signs)
    )
    is_confirmed = evidence.api == ApiState.FAILS and any(each.state == PageState.TROUBLE for each in evidence.pages)
    is_unknown = any(each.recent_deployment is None for each in evidence.services)
    may_be_ours = bool(ours) or (is_unknown and not is_confirmed)
    if evidence.api == ApiState.SUSPENDED or (theirs and not may_be_ours):
        verdict = OutageVerdict.THEIRS
    elif ours and not theirs and not evidence.possible:
        verdict = OutageVerdict.OURS
    else:
        verdict = OutageVerdict.UNCLEAR
    return OutageFinding(verdict, theirs, ours, notes, github, evidence.possible)


def _their_signs(evidence: OutageEvidence) -> Iterator[str]:
    if evidence.api == ApiState.SUSPENDED:
        yield "Cloudflare's API refuses the account as suspended"
    if evidence.api == ApiState.FAILS and not evidence.is_offline:
        yield "Cloudflare's API fails"
    for report in evidence.pages:
        if report.state == PageState.TROUBLE:
            yield from _evidence_lines(report)
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


def _evidence_lines(report: StatusReport) -> Iterator[str]:
    return _prefix_with_page(report, report.evidence)


def _prefix_with_page(report: StatusReport, lines: Iterable[str]) -> Iterator[str]:
    """Yield each line with the page before it."""
    for line in lines:
        yield line if line.startswith(report.page) else f"{report.page}: {line}"


def _evidence_notes(evidence: OutageEvidence) -> Iterator[str]:
    if evidence.is_offline:
        yield "neither Cloudflare's API nor a status page answers: the network of this machine may be the cause"
    for report in evidence.pages:
        if report.state == PageState.UNKNOWN:
            yield from _evidence_lines(report)
    if evidence.github and evidence.github.state == PageState.UNKNOWN:
        yield from _evidence_lines(evidence.github)
    if evidence.api == ApiState.FAILS and any(_is_clear(report) for report in evidence.pages):
        yield "a status page reports no trouble, although the API fails: status pages are late"
    for each in evidence.services:
        if not each.is_failing:
            yield f"the probes of {each.name} are {each.verdict.value}"
        if each.recent_deployment is None:
            yield f"{each.name}: it is unknown whether something was deployed shortly before"


def _github_signs(evidence: OutageEvidence) -> Iterator[str]:
    if evidence.github and evidence.github.state == PageState.TROUBLE:
        yield from _evidence_lines(evidence.github)
