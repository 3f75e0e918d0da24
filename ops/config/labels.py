"""The recoveries that ops.yml offers for an incident, with their labels and buttons."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ops.config import Config, Environment, RecoveryLabel


@dataclass(frozen=True)
class RecoveryOption:
    """One recovery of one service in one environment."""

    when: str
    """Symptom for which people use it."""
    runbook: str
    service: str
    environment: str
    labels: tuple[str, ...] = ()
    """Labels that start it with exactly these parameters; empty if only the button does."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the labels, with the service; without a label, those that the command needs."""


@dataclass(frozen=True)
class RunbookFacts:
    """Facts by which people choose a runbook."""

    name: str
    kinds: tuple[str, ...]
    """Kinds of its services: worker, pages or runtime."""
    when: str
    """Symptom for which people use it."""
    fits: "Callable[[Environment, str], Sequence[Mapping[str, Any]]]"
    """Returns the sets of parameters to offer for a service; empty if the runbook does not fit."""


def format_params(params: Mapping[str, Any]) -> str:
    """Format parameters in one line, such as `service=api state=on`."""
    return " ".join(f"{k}={','.join(v) if isinstance(v, tuple | list) else v}" for k, v in params.items())


def list_recovery_options(
    config: "Config", runbooks: Iterable[RunbookFacts], environment: str = "", service: str = ""
) -> Iterator[RecoveryOption]:
    """Yield the recoveries of each service, in the environments that its labels name, else in all that have it.

    `environment` and `service`: the only ones (default: all). Recoveries with a label come first, in the order of the
    labels.
    """
    for name in [service] if service else config.service_names:
        labels = {put: label for put, label in config.labels.items() if _label_service(config, label) == name}
        having = [each for each, place in config.environments.items() if name in place.services]
        named = dict.fromkeys(label.environment for label in labels.values()) or having
        for each in {environment}.intersection(having) if environment else named:
            yield from _recovery_options(config.environments[each], name, labels, runbooks)


def _recovery_options(
    environment: "Environment", service: str, labels: "Mapping[str, RecoveryLabel]", runbooks: Iterable[RunbookFacts]
) -> list[RecoveryOption]:
    """Return the recoveries of a service in an environment."""
    options, kinds = [], _service_kinds(environment, service)
    for runbook in (each for each in runbooks if kinds & {*each.kinds}):
        what = runbook.when, runbook.name, service, environment.name
        starts = {p: o for p, o in labels.items() if (o.runbook, o.environment) == (runbook.name, environment.name)}
        options += [RecoveryOption(*what, put, params) for put, params in _group_alike_labels(starts)] or [
            RecoveryOption(*what, (), params) for params in runbook.fits(environment, service)
        ]
    place = {put: number for number, put in enumerate(labels)}
    return sorted(options, key=lambda option: place[option.labels[0]] if option.labels else len(place))


def _group_alike_labels(labels: "Mapping[str, RecoveryLabel]") -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Group labels with equal parameters."""
    requested = [label.params for label in labels.values()]
    for number, params in enumerate(requested):
        if params not in requested[:number]:
            yield tuple(name for name, label in labels.items() if label.params == params), params


def _label_service(config: "Config", label: "RecoveryLabel") -> Any:
    """Return the label's service or the first one of its database, else the service that reads the switches."""
    environment = config.environments[label.environment]
    if database := environment.databases.get(str(label.params.get("database", ""))):
        return database.services[0]
    return label.params.get("service") or (environment.runtime and environment.runtime.service)


def _service_kinds(environment: "Environment", service: str) -> set[str]:
    runtime = environment.runtime
    return {environment.services[service].kind, *(["runtime"] if runtime and runtime.service == service else [])}
