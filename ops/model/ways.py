"""Which label and which button starts which recovery, as ops.yml has it: for people who open an incident. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.model.config import Config


@dataclass(frozen=True)
class Way:
    """One recovery of one service, in one environment."""

    when: str
    """What is broken when somebody should take it."""
    runbook: str
    service: str
    environment: str
    labels: tuple[str, ...] = ()
    """Those that start it; some start by their button only."""


def ways(config: "Config", runbooks: Iterable[Mapping[str, str]]) -> Iterator[Way]:
    """Of each service in the environments that its labels name, else in all that have it; those with a label first.

    `runbooks`: of each one its `name`, its `kind` (worker or pages) and `when` it is for.
    """
    for name in dict.fromkeys(name for each in config.environments.values() for name in each.services):
        labels = {put: label for put, label in config.labels.items() if label.params.get("service") == name}
        named = dict.fromkeys(label.environment for label in labels.values())
        for environment in named or [e for e, each in config.environments.items() if name in each.services]:
            kind = config.environments[environment].services[name].kind
            found = []
            for runbook in (each for each in runbooks if each["kind"] == kind):
                starts = [p for p, o in labels.items() if (o.runbook, o.environment) == (runbook["name"], environment)]
                found.append(Way(runbook["when"], runbook["name"], name, environment, tuple(starts)))
            yield from sorted(found, key=lambda way: not way.labels)
