"""Sample the edge after a change.

A sample shows which answer comes when, from which data center, and whether old and new answers mix.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from ops.platform.account import RunResources, VerificationAccount
from ops.platform.measurements import Measurements
from ops.probes.http import OVERRIDE_HEADER, Observation, observe_edge

SAMPLE_SECONDS = 120.0
"""Longest time to sample after a change: the default deadline of probes."""
FIRST_SECONDS, FIRST_STEP, FIRST_REQUESTS = 1.0, 0.25, 10
"""Length of the dense start of a sample, its step, and the requests of each step."""
STEP, REQUESTS = 1.0, 3
"""Step after that, and the requests of each step."""
EARLY_SECONDS, LATE_STEP, LATE_REQUESTS = 12.0, 6.0, 2
"""Time from which steps are longer, their length, and their requests."""
AWAIT_STEP, CONFIRMING = 15.0, 6
"""Later step of a wait for the end of a change, and the requests that confirm it."""
WAIT_STEP = 15.0
"""Longest step of a wait, each of whose steps is as long as the wait so far."""
NO_ANSWER = "the edge gave no answer: a network or DNS may block it"


@dataclass
class EdgeSample:
    """Answers after a change. Times are seconds since Cloudflare answered the change."""

    new_since: float | None = None
    """Time of the first new answer after the last old one."""
    has_seen_new: bool = False
    is_mixed: bool = False
    """Whether an old answer came after a new one."""
    is_quiet: bool = False
    """Whether the old answers ended."""
    places: set[str] = field(default_factory=set)
    """Data centers that answered; "" for an answer that names none. Empty if no answer came."""
    waited: float = 0.0

    @property
    def settled(self) -> float | None:
        """Time at which the old answers had ended; None if they did not."""
        return self.new_since if self.is_quiet else None

    def add(self, at: float, observation: Observation, *, is_new: bool) -> None:
        self.places.add(observation.place)
        if is_new:
            self.new_since = at if self.new_since is None else self.new_since
            self.has_seen_new = True
        else:
            self.is_mixed = self.is_mixed or self.has_seen_new
            self.new_since = None


def sample_edge(
    account: VerificationAccount,
    url: str,
    is_new: Callable[[Observation], bool],
    *,
    quiet: float,
    is_dense: bool = False,
) -> EdgeSample:
    """Sample a URL until no old answer came for `quiet` seconds, at most SAMPLE_SECONDS.

    `is_dense`: whether the start has more requests, to see how answers mix.
    """
    sample, began = EdgeSample(), account.clock.monotonic()
    account.clock.sleep(FIRST_STEP)
    while True:
        at = account.clock.monotonic() - began
        is_first, is_late = is_dense and at < FIRST_SECONDS, at >= EARLY_SECONDS
        for _ in range(FIRST_REQUESTS if is_first else LATE_REQUESTS if is_late else REQUESTS):
            if (seen := look_at_edge(account, url)) is not None:
                sample.add(at, seen, is_new=is_new(seen))
        sample.waited = at
        sample.is_quiet = sample.new_since is not None and at - sample.new_since >= quiet
        if sample.is_quiet or at >= SAMPLE_SECONDS:
            return sample
        account.clock.sleep(FIRST_STEP if is_first else _sampling_pause(at))


def await_edge(
    account: VerificationAccount, url: str, is_new: Callable[[Observation], bool], *, quiet: float
) -> EdgeSample:
    """Send a request per step until every answer was new for `quiet` seconds, or SAMPLE_SECONDS have passed.

    CONFIRMING requests at once confirm the end: with few requests, the machines that are new answer them all by chance.
    """
    sample, began = EdgeSample(), account.clock.monotonic()

    def add_answer() -> bool:
        if (seen := look_at_edge(account, url)) is not None:
            sample.add(sample.waited, seen, is_new=is_new(seen))
        else:
            sample.new_since = None
        return sample.new_since is not None

    while True:
        sample.waited = account.clock.monotonic() - began
        is_long = add_answer() and sample.new_since is not None and sample.waited - sample.new_since >= quiet
        sample.is_quiet = is_long and all(add_answer() for _ in range(CONFIRMING))
        if sample.is_quiet or (sample.new_since is None and sample.waited >= SAMPLE_SECONDS):
            return sample
        account.clock.sleep(STEP if sample.waited < EARLY_SECONDS else AWAIT_STEP)


def record_settling(results: Measurements, name: str, sample: EdgeSample) -> None:
    """Record the time after which a sample had only new answers. Without an answer it shows nothing."""
    if sample.places:
        results.compare_time(name, sample.settled, sample.waited)
    else:
        results.skip(name, NO_ANSWER)


def _sampling_pause(waited: float) -> float:
    return STEP if waited < EARLY_SECONDS else LATE_STEP


def look_at_edge(account: VerificationAccount, url: str, override: str = "") -> Observation | None:
    """Send one request; None if no answer came."""
    account.edge_requests += 1
    return observe_edge(account.web, url, {OVERRIDE_HEADER: override} if override else {})


def wait_for_edge(
    account: VerificationAccount,
    url: str,
    is_new: Callable[[Observation], bool],
    *,
    at_most: float = SAMPLE_SECONDS,
    override: str = "",
) -> float | None:
    """Return the seconds until the first new answer; None if none came."""
    began = account.clock.monotonic()
    while True:
        waited = account.clock.monotonic() - began
        if (seen := look_at_edge(account, url, override)) is not None and is_new(seen):
            return waited
        if waited >= at_most:
            return None
        account.clock.sleep(min(max(STEP, waited), WAIT_STEP))


def worker_url(resources: RunResources, key: str = "") -> str:
    return f"https://{resources.host}/{f'?key={key}' if key else ''}"


def shown_edge_value(observation: Observation, name: str) -> str:
    """Return a value that the test Worker shows; empty if another program answered."""
    try:
        value = json.loads(observation.body).get(name)
    except (ValueError, AttributeError):
        return ""
    return value if isinstance(value, str) else ""
