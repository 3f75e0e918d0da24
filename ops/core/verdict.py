"""Verdicts: healthy, unhealthy, inconclusive; and what the verdicts before and after a run say together.

No data is inconclusive, and inconclusive is never taken for healthy.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ops.core.errors import Decision, Reason


class Verdict(StrEnum):
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    INCONCLUSIVE = "inconclusive"


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """Unhealthy outweighs inconclusive, which outweighs healthy. Nothing at all is inconclusive."""
    found = set(verdicts)
    if Verdict.UNHEALTHY in found:
        return Verdict.UNHEALTHY
    return Verdict.HEALTHY if found == {Verdict.HEALTHY} else Verdict.INCONCLUSIVE


REPORTED_WHEN_HEALTHY = frozenset({"status", "exit", "version", "pages", "assets", "links", "browser", "first 429"})


@dataclass(frozen=True)
class MaintenanceCheck:
    """Where ops-maintenance has to answer as `run` left it (nothing: as any run did), or must not answer at all."""

    url: str
    way: str = ""
    """What is special in how it is asked, in words."""
    is_off: bool = True
    run: str = ""


@dataclass(frozen=True)
class RateLimitCheck:
    """A limit that is asked for until it refuses; `mark` is new with each run, and chooses where it counts."""

    name: str
    limit: int
    mark: str


@dataclass(frozen=True)
class Assertion:
    """One thing that a probe looked at: what was wanted, and what came."""

    name: str
    verdict: Verdict
    detail: str
    hint: str = ""
    """What to do so that the probe can tell, for people."""


@dataclass(frozen=True)
class ProbeResult:
    """One answer to one probe."""

    probe: str
    verdict: Verdict
    assertions: tuple[Assertion, ...] = ()
    seconds: float | None = None
    echoed_version: str | None = None

    @property
    def detail(self) -> str:
        """What explains the verdict, in one line; for a healthy probe what it proved and what stayed open."""
        telling = [a for a in self.assertions if a.verdict == self.verdict != Verdict.HEALTHY]
        if not telling:
            telling = [a for a in self.assertions if a.name in REPORTED_WHEN_HEALTHY or a.verdict != Verdict.HEALTHY]
        return "; ".join(f"{a.name} {a.detail}" for a in telling)


@dataclass(frozen=True)
class ProbeObservation:
    """What a set of probes said at one time, or until N rounds in a row agreed."""

    verdict: Verdict
    results: tuple[ProbeResult, ...] = ()
    rounds: int = 0
    notes: tuple[str, ...] = ()

    @property
    def hint(self) -> str:
        """What to do so that the probes can tell; nothing if no assertion has a hint."""
        return next((a.hint for result in self.results for a in result.assertions if a.hint), "")

    @property
    def detail(self) -> str:
        said = [f"{result.probe} {result.verdict}: {result.detail}" for result in self.results]
        return "; ".join(said or self.notes or ["no probe is configured"])


NO_OBSERVATION = ProbeObservation(Verdict.INCONCLUSIVE, notes=("no probe answered in time",))


def decide_by_verdicts(before: Verdict, *, wrote: bool, after: Verdict) -> tuple[Decision, Reason]:
    """The whole truth table of a run that ended without an error."""
    if after == Verdict.UNHEALTHY:
        return Decision.STILL_UNHEALTHY, Reason.STILL_UNHEALTHY
    if after == Verdict.INCONCLUSIVE:
        return Decision.NO_EVIDENCE, Reason.NO_EVIDENCE
    if not wrote:
        return Decision.NOTHING_TO_DO, Reason.VERIFIED
    if before == Verdict.HEALTHY:
        return Decision.HEALTHY_AS_BEFORE, Reason.VERIFIED
    if before == Verdict.INCONCLUSIVE:
        return Decision.RECOVERED, Reason.NOT_SEEN_FAILING
    return Decision.RECOVERED, Reason.VERIFIED
