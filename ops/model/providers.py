"""Which AI provider is asked first: what the application saw of each, and what follows of that. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from ops.model.runtime import Outcomes
from ops.model.rotation import KeyAnswer, Said

OFF = "off"


class Health(StrEnum):
    HEALTHY = "healthy"
    UNKNOWN = "unknown"
    DOWN = "down"


def health(seen: Outcomes | None, answer: KeyAnswer | None = None) -> Health:
    """By a probe, where one was sent and is clear; else by the outcomes that the application itself saw."""
    if answer is not None and answer.said != Said.REFUSED:
        return Health.HEALTHY if answer.said == Said.ACCEPTED else Health.DOWN
    # A key that is refused is ours, and may be an old one: of what the application gets, that says nothing.
    if seen is None or not (seen.ok or seen.failed):
        return Health.UNKNOWN
    return Health.HEALTHY if seen.ok else Health.DOWN


def choose(order: Iterable[str], found: Mapping[str, Health]) -> str:
    """The first healthy one by preference, else the first that is not known; where all are down, off."""
    names = list(order)
    for wanted in (Health.HEALTHY, Health.UNKNOWN):
        for name in names:
            if found[name] == wanted:
                return name
    return OFF


def lines(
    found: Mapping[str, Health], outcomes: Mapping[str, Outcomes], answers: Mapping[str, KeyAnswer]
) -> Iterator[str]:
    """For people, one for each provider."""
    for name, each in found.items():
        seen = outcomes.get(name)
        counted = f"{seen.ok} answered, {seen.failed} failed" if seen else "not asked"
        probe = f"; a probe with a key of ours: {answers[name].said}, {answers[name].text}" if name in answers else ""
        yield f"{name}: {each} ({counted}{probe})"
