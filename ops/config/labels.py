"""Which label and which button starts which recovery, as ops.yml has it: for people who open an incident. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ops.core.runtime_contract import AI, MAINTENANCE

if TYPE_CHECKING:
    from ops.config import Config, Environment, Label


@dataclass(frozen=True)
class Way:
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


def params_text(params: Mapping[str, Any]) -> str:
    """In one line: `service=api state=on`."""
    return " ".join(f"{k}={','.join(v) if isinstance(v, tuple | list) else v}" for k, v in params.items())


def ways(config: "Config", runbooks: Iterable[Mapping[str, str]]) -> Iterator[Way]:
    """Of each service in the environments that its labels name, else in all that have it.

    Those with a label first, in the order of the labels.

    `runbooks`: of each one its `name`, its `kind` (worker, pages or runtime) and `when` it is for.
    """
    for name in dict.fromkeys(name for each in config.environments.values() for name in each.services):
        labels = {put: label for put, label in config.labels.items() if _service(config, label) == name}
        named = dict.fromkeys(label.environment for label in labels.values())
        for environment in named or [e for e, each in config.environments.items() if name in each.services]:
            found, kinds = [], _kinds(config.environments[environment], name)
            for runbook in (each for each in runbooks if each["kind"] in kinds):
                what = runbook["when"], runbook["name"], name, environment
                starts = {
                    p: o for p, o in labels.items() if (o.runbook, o.environment) == (runbook["name"], environment)
                }
                fits = _fitting(config.environments[environment], name).get(runbook["name"], [{}])
                found += [Way(*what, put, params) for put, params in _alike(starts)] or [
                    Way(*what, (), params) for params in fits
                ]
            place = {put: number for number, put in enumerate(labels)}
            yield from sorted(found, key=lambda way: place[way.labels[0]] if way.labels else len(place))


def _fitting(environment: "Environment", service: str) -> dict[str, list[dict[str, Any]]]:
    """Runbook → the parameters with which it fits the service; an empty list: it does not. Others fit without any."""
    found, runtime = environment.services[service], environment.runtime
    switches = {} if runtime is None else {n: s for n, s in runtime.switches.items() if n not in {AI, MAINTENANCE}}
    rotates = any(rule.rotate != "never" and service in rule.consumers for rule in environment.secrets.values())
    limits = runtime is not None and runtime.limits is not None and bool(runtime.limits.raises)
    has = {
        "reset-durable-object": bool(found.durable_objects),
        "redeploy-pages": found.build is not None,
        "rotate-secrets": rotates,
        "propose-limits": limits,
        "all-clear": runtime is not None and bool(runtime.switches),
    }
    plain: dict[str, list[dict[str, Any]]] = {name: [{}] if fits else [] for name, fits in has.items()}
    return plain | {
        "maintenance": [{"state": state} for state in ("on", "off")],
        "feature": [{"name": name, "state": switch.states[1]} for name, switch in switches.items()],
        "ai-failover": [{"to": "auto"}] if runtime is not None and runtime.ai is not None else [],
    }


def _alike(labels: "Mapping[str, Label]") -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Labels that ask for the same, together."""
    asked = [label.params for label in labels.values()]
    for number, params in enumerate(asked):
        if params not in asked[:number]:
            yield tuple(name for name, label in labels.items() if label.params == params), params


def _service(config: "Config", label: "Label") -> Any:
    """The one that the label names; a switch is that of the service that reads it."""
    runtime = config.environments[label.environment].runtime
    return label.params.get("service") or (runtime and runtime.service)


def _kinds(environment: "Environment", service: str) -> set[str]:
    runtime = environment.runtime
    return {environment.services[service].kind, *(["runtime"] if runtime and runtime.service == service else [])}
