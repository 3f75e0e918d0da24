"""Which label and which button starts which recovery, as ops.yml has it: for people who open an incident. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ops.config import Config, Environment, RecoveryLabel


@dataclass(frozen=True)
class RecoveryOption:
    """One recovery of one service, in one environment."""

    when: str
    """What is broken when somebody should take it."""
    runbook: str
    service: str
    environment: str
    labels: tuple[str, ...] = ()
    """Those that start it just so; some start by their button only."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """What these labels ask for, the service among it; without a label, what the command needs."""


@dataclass(frozen=True)
class RunbookFacts:
    """A runbook, as far as people choose among them."""

    name: str
    kind: str
    """What its services are: worker, pages or runtime."""
    when: str
    """What is broken when somebody should take it."""
    fits: "Callable[[Environment, str], Sequence[Mapping[str, Any]]]"
    """Of a service in an environment: the parameters with which the runbook fits it; none: it does not."""


def format_params(params: Mapping[str, Any]) -> str:
    """In one line: `service=api state=on`."""
    return " ".join(f"{k}={','.join(v) if isinstance(v, tuple | list) else v}" for k, v in params.items())


def list_recovery_options(config: "Config", runbooks: Iterable[RunbookFacts]) -> Iterator[RecoveryOption]:
    """Of each service in the environments that its labels name, else in all that have it.

    Those with a label first, in the order of the labels.
    """
    for name in dict.fromkeys(name for each in config.environments.values() for name in each.services):
        labels = {put: label for put, label in config.labels.items() if _service(config, label) == name}
        named = dict.fromkeys(label.environment for label in labels.values())
        for environment in named or [e for e, each in config.environments.items() if name in each.services]:
            found, kinds = [], _kinds(config.environments[environment], name)
            for runbook in (each for each in runbooks if each.kind in kinds):
                what = runbook.when, runbook.name, name, environment
                starts = {p: o for p, o in labels.items() if (o.runbook, o.environment) == (runbook.name, environment)}
                fits = runbook.fits(config.environments[environment], name)
                found += [RecoveryOption(*what, put, params) for put, params in _alike(starts)] or [
                    RecoveryOption(*what, (), params) for params in fits
                ]
            place = {put: number for number, put in enumerate(labels)}
            yield from sorted(found, key=lambda way: place[way.labels[0]] if way.labels else len(place))


def _alike(labels: "Mapping[str, RecoveryLabel]") -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Labels that ask for the same, together."""
    asked = [label.params for label in labels.values()]
    for number, params in enumerate(asked):
        if params not in asked[:number]:
            yield tuple(name for name, label in labels.items() if label.params == params), params


def _service(config: "Config", label: "RecoveryLabel") -> Any:
    """The one that the label names; a switch is that of the service that reads it."""
    runtime = config.environments[label.environment].runtime
    return label.params.get("service") or (runtime and runtime.service)


def _kinds(environment: "Environment", service: str) -> set[str]:
    runtime = environment.runtime
    return {environment.services[service].kind, *(["runtime"] if runtime and runtime.service == service else [])}
