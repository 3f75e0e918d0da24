"""Health of the AI providers, from the application and from a provider's answer to a key; and which one comes first."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ops.cloudflare.types.records import LoggedError
from ops.core.anonymization import anonymize_text
from ops.core.clock import format_duration, format_utc
from ops.core.names import NEW_PREFIX, OLD_PREFIX
from ops.core.observations import KeyAnswer, KeyVerdict
from ops.core.runtime_contract import ProviderOutcomes, SwitchValue
from ops.core.threads import in_parallel

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.runtime import AiConfig
    from ops.core.redaction import Secret
    from ops.engine.context import SecretValues, WebPort


OFF = "off"
MOST_LOGGED = 5
LONGEST_LOGGED, LONGEST_READ = 160, 4_000
"""Characters of an error's text: shown, and looked at for addresses of people."""


class Health(StrEnum):
    HEALTHY = "healthy"
    UNKNOWN = "unknown"
    DOWN = "down"


def health(seen: ProviderOutcomes | None, answer: KeyAnswer | None = None) -> Health:
    """By a probe, where one was sent and is clear; else by the outcomes that the application itself saw."""
    if answer is not None and answer.verdict != KeyVerdict.REFUSED:
        return Health.HEALTHY if answer.verdict == KeyVerdict.ACCEPTED else Health.DOWN
    # A key that is refused is ours, and may be an old one: of what the application gets, that says nothing.
    if seen is None or not (seen.ok or seen.failed):
        return Health.UNKNOWN
    return Health.DOWN if seen.failed > seen.ok else Health.HEALTHY


def choose(order: Iterable[str], found: Mapping[str, Health]) -> str:
    """The first healthy one by preference, else the first that is not known; where all are down, off."""
    names = list(order)
    for wanted in (Health.HEALTHY, Health.UNKNOWN):
        for name in names:
            if found[name] == wanted:
                return name
    return OFF


def lines(
    found: Mapping[str, Health], outcomes: Mapping[str, ProviderOutcomes], answers: Mapping[str, KeyAnswer]
) -> Iterator[str]:
    """For people, one for each provider."""
    for name, each in found.items():
        seen = outcomes.get(name)
        counted = f"{seen.ok} answered, {seen.failed} failed" if seen else "not asked"
        probe = (
            f"; a probe with a key of ours: {answers[name].verdict.value}, {answers[name].text}"
            if name in answers
            else ""
        )
        yield f"{name}: {each} ({counted}{probe})"


def logged(found: tuple[LoggedError, ...] | str) -> tuple[str, ...]:
    """What the application logged as errors, for people: the most frequent ones, without addresses of people."""
    if isinstance(found, str):
        return (f"not known: {found}",)
    rows = tuple(
        f"in {each.count} requests: {_one_line(anonymize_text(each.text[:LONGEST_READ]))}"
        for each in found[:MOST_LOGGED]
    )
    more = (f"and {len(found) - MOST_LOGGED} other texts",) if len(found) > MOST_LOGGED else ()
    return (*rows, *more) or ("no error; nothing is there either of a Worker whose observability is off",)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LOGGED else f"{line[:LONGEST_LOGGED]}…"


@dataclass(frozen=True)
class Judged:
    """Whether an override is taken back, or why it is left. `ask`: only a probe could tell."""

    restore: bool
    why: str
    ask: bool = False


def fail_back(
    name: str, override: SwitchValue, seen: ProviderOutcomes | None, *, least: float, now: datetime
) -> Judged:
    """By what the application saw of the preferred provider; the override is `least` seconds old at least.

    What the application shows goes back a few minutes and no further: that it was healthy all the time before is not
    known to anybody.
    """
    age = (now - override.since).total_seconds()
    if age < least:
        return Judged(
            restore=False,
            why=f"the override is {format_duration(age)} old, and stays for {format_duration(least)} at least",
        )
    if seen is None or not (seen.ok or seen.failed):
        return Judged(restore=False, why=f"the application did not ask {name} in its last minutes", ask=True)
    if seen.failed:
        return Judged(
            restore=False, why=f"{name} failed {seen.failed} of {seen.ok + seen.failed} times in the last minutes"
        )
    return Judged(restore=True, why=f"{name} answered all {seen.ok} requests of the last minutes")


def by_probe(judged: Judged, answer: KeyAnswer | None, until: datetime | None) -> Judged:
    """What one probe adds, where the application does not know; None: there is no key to ask with."""
    end = f"; it ends by itself at {format_utc(until)}" if until else ""
    if answer is None:
        return Judged(restore=False, why=f"{judged.why}, and no key of its is held here to ask it with{end}")
    if answer.verdict == KeyVerdict.ACCEPTED:
        return Judged(restore=True, why=f"{judged.why}; it answers a key of ours now")
    return Judged(
        restore=False, why=f"{judged.why}; asked with a key of ours: {answer.verdict.value}, {answer.text}{end}"
    )


class Asks(Protocol):
    """What is needed for it, as a Context has it."""

    @property
    def environment(self) -> "Environment": ...

    @property
    def web(self) -> "WebPort": ...

    @property
    def secret_values(self) -> "SecretValues": ...


@dataclass(frozen=True)
class Seen:
    """`lacks`: why the application's own outcomes are not known; nothing where they are."""

    found: Mapping[str, Health]
    outcomes: Mapping[str, ProviderOutcomes]
    lacks: str = ""
    answers: Mapping[str, KeyAnswer] = field(default_factory=dict)

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(lines(self.found, self.outcomes, self.answers))


def look(asks: Asks, ai: "AiConfig", *, probe: bool) -> Seen:
    """What the application saw in its last minutes; with `probe`, also what each provider says to a key, asked once."""
    runtime = asks.environment.needed_runtime()
    document = asks.web.shown(asks.environment.service(runtime.service).url)
    told = None if isinstance(document, str) else document.ai
    lacks = document if isinstance(document, str) else "" if told else "the application shows nothing of its providers"
    outcomes = told.outcomes if told else {}
    held = [name for name in ai.order if probe and key_of(asks, ai, name)]
    answers = dict(zip(held, in_parallel([partial(ask, asks, ai, name) for name in held]), strict=True))
    found = {name: health(outcomes.get(name), answers.get(name)) for name in ai.order}
    return Seen(found, outcomes, lacks, answers)


def key_of(asks: Asks, ai: "AiConfig", name: str) -> "Secret | None":
    """As a rotation holds it: the new value, which is in use since then; else the former."""
    secret = ai.keys.get(name)
    return (
        (asks.secret_values.value(NEW_PREFIX + secret) or asks.secret_values.value(OLD_PREFIX + secret))
        if secret
        else None
    )


def ask(asks: Asks, ai: "AiConfig", name: str) -> KeyAnswer:
    """One question, which may cost a token. Only where a key is held."""
    spec = asks.environment.secrets[ai.keys[name]].provider
    assert spec is not None
    return asks.web.ask_provider(spec, key_of(asks, ai, name))
