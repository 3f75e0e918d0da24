"""Health of the AI providers, and the choice between them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ops.core.clock import format_duration, format_utc
from ops.core.names import NEW_PREFIX, OLD_PREFIX
from ops.core.runtime_contract import ProviderOutcomes, SwitchValue
from ops.core.threads import run_parallel
from ops.core.verdict import KeyAnswer, KeyVerdict

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.sections import AiConfig
    from ops.core.redaction import Secret
    from ops.engine.context import SecretValues, WebClients


OFF = "off"


class ProviderHealth(StrEnum):
    HEALTHY = "healthy"
    UNKNOWN = "unknown"
    DOWN = "down"


def judge_health(observed: ProviderOutcomes | None, answer: KeyAnswer | None = None) -> ProviderHealth:
    """Judge by a clear probe answer, else by the outcomes that the application counted."""
    if answer is not None and answer.verdict != KeyVerdict.REFUSED:
        return ProviderHealth.HEALTHY if answer.verdict == KeyVerdict.ACCEPTED else ProviderHealth.DOWN
    # A refused key is ours and may be an old one, so it says nothing about the application's requests.
    if observed is None or not (observed.ok or observed.failed):
        return ProviderHealth.UNKNOWN
    return ProviderHealth.DOWN if observed.failed > observed.ok else ProviderHealth.HEALTHY


def choose_provider(order: Iterable[str], health: Mapping[str, ProviderHealth]) -> str:
    """Return the first healthy provider in `order`, else the first unknown one, else `off`."""
    names = list(order)
    for level in (ProviderHealth.HEALTHY, ProviderHealth.UNKNOWN):
        for name in names:
            if health[name] == level:
                return name
    return OFF


def describe_providers(
    health: Mapping[str, ProviderHealth], outcomes: Mapping[str, ProviderOutcomes], answers: Mapping[str, KeyAnswer]
) -> Iterator[str]:
    """Yield one line per provider."""
    for name, each in health.items():
        observed = outcomes.get(name)
        counted = f"{observed.ok} answered, {observed.failed} failed" if observed else "no requests"
        probe = f"; probe with our key: {answers[name].verdict.value}, {answers[name].text}" if name in answers else ""
        yield f"{name}: {each} ({counted}{probe})"


@dataclass(frozen=True)
class FailbackDecision:
    """Whether to remove an override, with the reason. `needs_probe`: only a probe can decide."""

    should_restore: bool
    reason: str
    needs_probe: bool = False


def decide_failback(
    name: str, override: SwitchValue, observed: ProviderOutcomes | None, *, least: float, now: datetime
) -> FailbackDecision:
    """Decide by the outcomes of the preferred provider; keep an override that is younger than `least` seconds.

    The application shows only its last few minutes; whether the provider was healthy before is unknown.
    """
    age = (now - max(each.since for each in override.active_owners(now))).total_seconds()
    if age < least:
        return FailbackDecision(
            should_restore=False,
            reason=f"the override is {format_duration(age)} old, and stays for at least {format_duration(least)}",
        )
    if observed is None or not (observed.ok or observed.failed):
        return FailbackDecision(
            should_restore=False,
            reason=f"the application sent no requests to {name} in its last minutes",
            needs_probe=True,
        )
    if observed.failed:
        return FailbackDecision(
            should_restore=False,
            reason=f"{name} failed {observed.failed} of {observed.ok + observed.failed} times in the last minutes",
        )
    return FailbackDecision(
        should_restore=True, reason=f"{name} answered all {observed.ok} requests of the last minutes"
    )


def decide_by_probe(judged: FailbackDecision, answer: KeyAnswer | None, until: datetime | None) -> FailbackDecision:
    """Decide by one probe answer; None if there is no key to probe with."""
    end = f"; it ends automatically at {format_utc(until)}" if until else ""
    if answer is None:
        return FailbackDecision(
            should_restore=False, reason=f"{judged.reason}, and no key is available to probe it{end}"
        )
    if answer.verdict == KeyVerdict.ACCEPTED:
        return FailbackDecision(should_restore=True, reason=f"{judged.reason}; it accepts our key now")
    return FailbackDecision(
        should_restore=False,
        reason=f"{judged.reason}; probe with our key: {answer.verdict.value}, {answer.text}{end}",
    )


def provider_tasks(message: str, *, before: str, after: str) -> tuple[str, ...]:
    """Return the texts that people post after this change of the switch; `message` is the banner's."""
    if after == OFF:
        return (
            f'Check that the application shows the banner "{message}"',
            (
                f'Post on the status page: "{message}. Everything else works as usual. We will post here when it works '
                'again."'
            ),
        )
    if before == OFF:
        return (
            f'Check that the application no longer shows the banner "{message}"',
            f'Post on the status page: "Resolved: {message}. It works again."',
        )
    return ()


class ProviderPorts(Protocol):
    """Ports that a probe of the providers needs; a Context has them."""

    @property
    def environment(self) -> "Environment": ...

    @property
    def web(self) -> "WebClients": ...

    @property
    def secret_values(self) -> "SecretValues": ...


@dataclass(frozen=True)
class ProviderObservation:
    """Health of each provider. `missing` says why the application's outcomes are unknown, and is empty if known."""

    health: Mapping[str, ProviderHealth]
    outcomes: Mapping[str, ProviderOutcomes]
    missing: str = ""
    answers: Mapping[str, KeyAnswer] = field(default_factory=dict)

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(describe_providers(self.health, self.outcomes, self.answers))


def observe_providers(ports: ProviderPorts, ai: "AiConfig", *, probe: bool) -> ProviderObservation:
    """Read the application's recent outcomes; with `probe`, also send each provider one request with our key."""
    runtime = ports.environment.require_runtime()
    document = ports.web.fetch_runtime_state(ports.environment.service(runtime.service).url)
    reported = None if isinstance(document, str) else document.ai
    lacks = document if isinstance(document, str) else "" if reported else "the application shows no AI outcomes"
    outcomes = reported.outcomes if reported else {}
    names = [name for name in ai.order if probe and find_key(ports, ai, name)]
    answers = dict(zip(names, run_parallel([partial(probe_provider, ports, ai, name) for name in names]), strict=True))
    health = {name: judge_health(outcomes.get(name), answers.get(name)) for name in ai.order}
    return ProviderObservation(health, outcomes, lacks, answers)


def find_key(ports: ProviderPorts, ai: "AiConfig", name: str) -> "Secret | None":
    """Return the key as a rotation provides it: the new value, else the previous one."""
    secret = ai.keys.get(name)
    return (
        (ports.secret_values.value(NEW_PREFIX + secret) or ports.secret_values.value(OLD_PREFIX + secret))
        if secret
        else None
    )


def probe_provider(ports: ProviderPorts, ai: "AiConfig", name: str) -> KeyAnswer:
    """Send one request, which may cost a token. Needs a key."""
    spec = ports.environment.secrets[ai.keys[name]].provider
    assert spec is not None
    return ports.web.check_provider_key(spec, find_key(ports, ai, name))
