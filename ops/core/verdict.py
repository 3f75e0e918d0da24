"""Results of probes, verdicts, and the decision from the verdicts before and after a run.

Missing data is inconclusive, and inconclusive never counts as healthy.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from ops.core.errors import Decision, Reason
from ops.core.names import join_names


@dataclass(frozen=True)
class PageContent:
    """Content of one URL. Equal digests mean equal content."""

    digest: str = ""
    """Digest of the answer's body; empty if it could not be read."""
    is_absent: bool = False
    """Whether the answer was 404."""
    error: str = ""
    """Why it could not be read, for people; else empty."""
    assets_digest: str = ""
    """Digest of the hashed assets that the page links to; empty if it links to none."""
    failure_status: int = 0
    """The HTTP status if it is 5xx, else 0."""

    def comparison_digest(self, *, by_assets: bool) -> str:
        """Return the digest to compare: of the assets if `by_assets` and there are any, else of the content."""
        return self.assets_digest if by_assets and self.assets_digest else self.digest


class KeyVerdict(Enum):
    """Whether a provider accepts a key."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class KeyAnswer:
    """A provider's verdict on one key.

    `text` never quotes the provider, whose answer may repeat the key.
    """

    verdict: KeyVerdict
    text: str


@dataclass(frozen=True)
class ObjectObservation:
    """State that a Durable Object reported."""

    proof: float | str
    """A number in memory that starts at 0 and grows, or a text that each start of the object generates."""
    stored_value: Any
    """The value in storage that a reset must keep; None if ops.yml names none."""


def parse_proof(value: Any) -> float | str | None:
    """Return the value if it can be a proof, else None."""
    return value if is_number(value) or (isinstance(value, str) and value) else None


def is_number(value: Any) -> bool:
    """Return whether the JSON value is a number; booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


class Verdict(StrEnum):
    """Verdict of a probe or of a set of probes."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    INCONCLUSIVE = "inconclusive"


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict: unhealthy, then inconclusive, then healthy. No verdict is inconclusive."""
    kinds = set(verdicts)
    if Verdict.UNHEALTHY in kinds:
        return Verdict.UNHEALTHY
    return Verdict.HEALTHY if kinds == {Verdict.HEALTHY} else Verdict.INCONCLUSIVE


SEEN = "seen at one location"
"""Limit of every proof that rests on answers of the edge, until a run knows the location."""


def add_place(claim: str, seen_from: str) -> str:
    """Return a claim with where it was seen: instead of SEEN, else at its end."""
    if SEEN in claim or not seen_from:
        return claim.replace(SEEN, seen_from or SEEN)
    return f"{claim}, {seen_from}"


REPORTED_WHEN_HEALTHY = frozenset(
    {"status", "exit", "version", "pages", "assets", "links", "cached", "browser", "first 429"}
)


@dataclass(frozen=True)
class MaintenanceCheck:
    """A URL that must answer with the maintenance page, or must not.

    `run` is the run that must have set the page; empty: any run.
    """

    url: str
    way: str = ""
    """How the request differs from a plain one, in words; empty for a plain one."""
    is_off: bool = True
    run: str = ""


@dataclass(frozen=True)
class WantedContent:
    """The deployment of a site that should be live. A cached answer counts only if no other one has its content."""

    name: str
    """Short ID of the deployment."""
    url: str
    """Own URL of the deployment."""
    others: tuple[str, ...] = ()
    """Own URLs of the deployments that it replaced."""
    site: str = ""
    paths: tuple[str, ...] = ()
    """Paths below `site` whose content shows which deployment is live, also where a probed page is equal in both."""


@dataclass(frozen=True)
class RateLimitCheck:
    """A rate limit to test with requests until it refuses. `mark` is unique per run: the key that it counts by."""

    name: str
    limit: int
    mark: str


@dataclass(frozen=True)
class Assertion:
    """One check of a probe, with the expected and the received value in `detail`."""

    name: str
    verdict: Verdict
    detail: str
    hint: str = ""
    """Instruction that lets the probe give a verdict; empty if there is none."""


@dataclass(frozen=True)
class ProbeResult:
    """Result of one probe in one round; `seconds` is the duration of its requests."""

    probe: str
    verdict: Verdict
    assertions: tuple[Assertion, ...] = ()
    seconds: float | None = None
    echoed_version: str | None = None
    proves_health: bool = True
    """False if it shows only that a request is in effect, such as a closed service, and not that the service works."""
    places: tuple[str, ...] = ()
    """Airport codes of the data centers that answered, sorted."""
    shows_former: bool = False
    """Whether the application shows another value than the one that was written, which its location may still hold."""

    @property
    def finding(self) -> str:
        """Return the verdict for people. Proof of a request is not called healthy."""
        if self.proves_health or self.verdict == Verdict.INCONCLUSIVE:
            return self.verdict.value
        return "as requested" if self.verdict == Verdict.HEALTHY else "not as requested"

    @property
    def detail(self) -> str:
        """Return the reason of the verdict in one line; for a healthy probe also its inconclusive checks."""
        reasons = [a for a in self.assertions if a.verdict == self.verdict != Verdict.HEALTHY]
        if not reasons:
            reasons = [a for a in self.assertions if a.name in REPORTED_WHEN_HEALTHY or a.verdict != Verdict.HEALTHY]
        return "; ".join(f"{a.name} {a.detail}" for a in reasons)


@dataclass(frozen=True)
class ProbeObservation:
    """Results of a set of probes: of one round, or of the last of several rounds."""

    verdict: Verdict
    results: tuple[ProbeResult, ...] = ()
    rounds: int = 0
    notes: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """Return the airport codes of the data centers that answered, sorted."""
        return tuple(sorted({place for result in self.results for place in result.places}))

    @property
    def seen_from(self) -> str:
        """Return where the answers come from, such as "seen from FRA"; empty if no probe is a request."""
        if places := self.places:
            return f"seen from {join_names(places)}"
        return SEEN if any(result.seconds is not None for result in self.results) else ""

    @property
    def former(self) -> str:
        """Return the former value that the application still shows, for people; empty if it shows none."""
        return next((result.detail for result in self.results if result.shows_former), "")

    @property
    def is_empty(self) -> bool:
        """Return whether there was no probe to run."""
        return not self.results and not self.notes

    @property
    def health(self) -> Verdict:
        """Return the verdict of the probes that show whether the service works; inconclusive without one."""
        return worst_verdict(result.verdict for result in self.results if result.proves_health)

    @property
    def hint(self) -> str:
        """Return the first hint of an assertion; empty if there is none."""
        return next((a.hint for result in self.results for a in result.assertions if a.hint), "")

    @property
    def failure(self) -> str:
        """Return the names of the unhealthy probes in one line, with the detail of the first."""
        failed = [result for result in self.results if result.verdict == Verdict.UNHEALTHY]
        if not failed:
            return f"the probes are {self.verdict}"
        others = f"; also failed: {', '.join(each.probe for each in failed[1:])}" if failed[1:] else ""
        return f"{failed[0].probe} is {failed[0].finding}: {failed[0].detail}{others}"

    @property
    def detail(self) -> str:
        """Return all results in one line."""
        details = [f"{result.probe} {result.finding}: {result.detail}" for result in self.results]
        return "; ".join(details or self.notes or ["no probe is configured"])


NO_PROBES = ProbeObservation(Verdict.INCONCLUSIVE)
"""Observation of a service without a probe."""
NO_OBSERVATION = ProbeObservation(Verdict.INCONCLUSIVE, notes=("no probe answered in time",))


def decide_by_verdicts(before: Verdict, *, wrote: bool, after: Verdict) -> tuple[Decision, Reason]:
    """Return the decision of a run without errors, from the verdicts before and after it."""
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


def probe_results_to_json(observation: ProbeObservation | None) -> dict[str, Any] | None:
    """Return the probes' results as the JSON result holds them; times are seconds."""
    if observation is None:
        return None
    return {
        "verdict": observation.verdict.value,
        "rounds": observation.rounds,
        "places": list(observation.places),
        "notes": list(observation.notes),
        "probes": [
            {
                "name": result.probe,
                "verdict": result.verdict.value,
                "seconds": None if result.seconds is None else round(result.seconds, 3),
                "version": result.echoed_version,
                "assertions": {a.name: {"verdict": a.verdict.value, "detail": a.detail} for a in result.assertions},
            }
            for result in observation.results
        ],
    }
