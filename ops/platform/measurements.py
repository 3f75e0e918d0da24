"""Measurements of a run: one for each assumption of `assumptions.toml`, with its time."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from ops.cloudflare.response import CloudflareApiError, ErrorKind, MalformedCloudflareResponse
from ops.core.clock import Clock
from ops.core.errors import ProviderError, Reason, UnclearWrite
from ops.github.client import GitHubApiError


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """What Backout assumes about a provider. It has either an expected answer, a longest time, or a reason."""

    id: str
    text: str
    source: str
    """Page or thread; "unsure" if nobody documents it."""
    reads: tuple[str, ...] = ()
    """Declared reads, such as `GET /accounts`, whose answers must have the declared types."""
    switches: tuple[str, ...] = ()
    """Fields of `sandbox/switches.py` that play other answers."""
    plays: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Measured answer → values of switches by which a drill plays it, such as `name=true`. `#` is a number: with
    `name>=#`, it never makes the value less than the default. Empty: the default is harder, and stays."""
    expected: str = ""
    """Answer in the words of its check."""
    at_most: float | None = None
    """Longest time in seconds that runbooks wait."""
    check: str = ""
    """Step of a run that checks it; empty if none can."""
    reason: str = ""
    """Why no run can check it, with its source."""
    runbooks: tuple[str, ...] = ()
    """Runbooks that end wrong or fail if it differs. None: they work under both answers."""


@cache
def read_assumptions() -> tuple[Assumption, ...]:
    table = tomllib.loads(Path(__file__).with_name("assumptions.toml").read_text(encoding="utf-8"))
    return tuple(_parse_assumption(row) for row in table["assumption"])


def _parse_assumption(row: dict[str, Any]) -> Assumption:
    lists = {name: tuple(row.get(name, ())) for name in ("reads", "switches", "runbooks")}
    expected = "the declared shape" if row.get("reads") and row.get("check") else row.get("expected", "")
    plays = {answer: tuple(values) for answer, values in row.get("plays", {}).items()}
    return Assumption(**{**row, **lists, "expected": expected, "plays": plays})


class MeasurementKind(StrEnum):
    CONFIRMED = "confirmed"
    DIFFERS = "differs"
    NOT_PROVABLE = "not_provable"


@dataclass(frozen=True)
class Measurement:
    assumption: Assumption
    kind: MeasurementKind
    measured: str = ""
    """Answer or time in the words of the check; never a name, host, ID or text of the account."""
    seconds: float | None = None
    """Measured time; None for an answer without one."""
    after: float | None = None
    """Seconds from the start of the run to the answer; None without one."""
    reason: str = ""
    """Why it was not provable."""

    @property
    def text(self) -> str:
        if self.kind is MeasurementKind.CONFIRMED:
            return "confirmed" if self.seconds is None else f"confirmed {self.seconds:.1f} s"
        if self.kind is MeasurementKind.DIFFERS:
            return f"differs: expected {describe_expected(self.assumption)}, got {self.measured}"
        return f"not provable here: {self.reason}"


def describe_expected(assumption: Assumption) -> str:
    return assumption.expected if assumption.at_most is None else f"at most {assumption.at_most:g} s"


NOT_REACHED = "no answer in its step"
NOT_SEEN = "it did not occur in this sample, and may occur in another one"


class NotShown(ProviderError):
    """A creation of the run that does not appear, or does not end. Its text is Backout's own."""


class Measurements:
    """Collects results. The first one of an assumption stays."""

    def __init__(self, assumptions: Sequence[Assumption], clock: Clock) -> None:
        self._clock, self._began = clock, clock.monotonic()
        self._assumptions = {each.id: each for each in assumptions}
        self._found: dict[str, Measurement] = {}

    def compare(self, name: str, measured: str, seconds: float | None = None) -> None:
        """Record an answer: it is confirmed if it equals the expected one."""
        kind = MeasurementKind.CONFIRMED if measured == self._assumptions[name].expected else MeasurementKind.DIFFERS
        self._add_measurement(name, kind, measured=measured, seconds=seconds)

    def record_sight(self, name: str, *, is_seen: bool) -> None:
        """Record whether the sample shows something that does not occur each time."""
        if is_seen:
            self.compare(name, self._assumptions[name].expected)
        else:
            self.skip(name, NOT_SEEN)

    def compare_time(self, name: str, seconds: float | None, waited: float) -> None:
        """Record a time; None: it had not ended after `waited` seconds."""
        longest = self._assumptions[name].at_most
        assert longest is not None, name
        if seconds is None or seconds > longest:
            measured = f"more than {waited:.0f} s" if seconds is None else f"{seconds:.1f} s"
            self._add_measurement(name, MeasurementKind.DIFFERS, measured=measured, seconds=seconds)
        else:
            self._add_measurement(name, MeasurementKind.CONFIRMED, measured=f"{seconds:.1f} s", seconds=seconds)

    def record_error(self, name: str, error: ProviderError) -> None:
        """Record the error of a read. Only an answer of Cloudflare to a token that may read shows a difference."""
        if is_missing_permission(error):
            self.skip(name, f"the token may not read it ({describe_measuring_error(error)})")
        elif is_outage(error):
            self.skip(name, describe_measuring_error(error))
        elif isinstance(error, MalformedCloudflareResponse):
            self._add_measurement(name, MeasurementKind.DIFFERS, measured="another shape")
        else:
            self._add_measurement(name, MeasurementKind.DIFFERS, measured=describe_measuring_error(error))

    def skip(self, name: str, reason: str) -> None:
        self._add_measurement(name, MeasurementKind.NOT_PROVABLE, reason=reason)

    def _add_measurement(self, name: str, kind: MeasurementKind, **texts: object) -> None:
        if name not in self._found:
            after = self._clock.monotonic() - self._began
            self._found[name] = Measurement(self._assumptions[name], kind, after=after, **texts)  # type: ignore[arg-type]

    def complete(self, failures: Mapping[str, str]) -> tuple[Measurement, ...]:
        """Return a measurement for each assumption, in the order of the table.

        `failures`: step that failed → why.
        """
        return tuple(self._found.get(each.id) or _not_found(each, failures) for each in self._assumptions.values())


def _not_found(assumption: Assumption, failures: Mapping[str, str]) -> Measurement:
    why = assumption.reason or failures.get(assumption.check, NOT_REACHED)
    return Measurement(assumption, MeasurementKind.NOT_PROVABLE, reason=why)


def describe_measuring_error(error: Exception) -> str:
    """Return an error without its message, which may name the account, a resource or a token."""
    if isinstance(error, NotShown):
        return error.message
    if isinstance(error, UnclearWrite):
        return "a change got no clear answer"
    status, code = getattr(error, "status", None), getattr(error, "code", None)
    if not status:
        return f"the request failed ({getattr(error, 'reason', None) or 'unclear'})"
    provider = "GitHub" if isinstance(error, GitHubApiError) else "Cloudflare"
    return f"{provider} answered HTTP {status}{f', code {code}' if code is not None else ''}"


def is_missing_permission(error: ProviderError) -> bool:
    """Return whether the token may not do it. GitHub hides what a token may not read."""
    if isinstance(error, GitHubApiError):
        return error.status in {401, 403, 404} and not error.is_limit
    return isinstance(error, CloudflareApiError) and error.kind == ErrorKind.AUTH


def is_outage(error: ProviderError) -> bool:
    """Return whether the network, a proxy, an outage or a rate limit kept the answer."""
    is_of_proxy = isinstance(error, MalformedCloudflareResponse) and error.status >= 500
    is_of_github = isinstance(error, GitHubApiError) and (error.status >= 500 or error.is_limit)
    return is_of_proxy or is_of_github or error.reason in {Reason.PROVIDER_UNAVAILABLE, Reason.RATE_LIMITED}
