"""What `ops.yml` says under `runtime` beside what it says elsewhere, checked on the plain data."""

from collections.abc import Iterator, Mapping
from typing import Any

from ops.config.raw import Finding, at, items, mapping
from ops.config.strict_yaml import Path
from ops.core.runtime_contract import AI, MAINTENANCE
from ops.core.suggestions import shown, suggestion


def errors(data: Any) -> Iterator[Finding]:
    for name, environment in mapping(at(data, "environments")).items():
        path: Path = ("environments", name, "runtime")
        runtime = mapping(at(environment, "runtime"))
        yield from _by_switch(path, runtime, mapping(at(environment, "services")))
        if runtime:
            yield from _service(path, runtime, mapping(at(environment, "services")))
            yield from _names(path, runtime)
            yield from _providers(path, runtime, mapping(at(environment, "secrets")))


def _service(path: Path, runtime: Mapping[str, Any], services: Mapping[str, Any]) -> Iterator[Finding]:
    called = at(runtime, "service")
    if isinstance(called, str) and called not in services:
        yield (*path, "service"), f'no service "{shown(called)}" in {path[1]}{suggestion(called, services)}'
    elif isinstance(called, str) and "pages" in mapping(services[called]):
        yield (*path, "service"), f"{shown(called)} has no worker, and only a Worker reads KV"


def _by_switch(path: Path, runtime: Mapping[str, Any], services: Mapping[str, Any]) -> Iterator[Finding]:
    """Only the service that reads the switches can be taken offline by one."""
    for name, service in services.items():
        if at(service, "maintenance") == "switch" and (
            at(runtime, "service") != name or not at(runtime, "switches", MAINTENANCE)
        ):
            text = (
                f"needs a runtime whose service is {shown(name)}, with a switch {MAINTENANCE}; write it, or edge here"
            )
            yield (path[0], path[1], "services", name, "maintenance"), text


def _names(path: Path, runtime: Mapping[str, Any]) -> Iterator[Finding]:
    names = [each for each in items(at(runtime, "limits", "names")) if isinstance(each, str)]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield (*path, "limits", "names", index), f"{shown(name)} stands here twice; keep one"
    for name in mapping(at(runtime, "limits", "raises")):
        if name not in names:
            yield (*path, "limits", "raises", name), f'no limit "{shown(name)}" among names{suggestion(name, names)}'


def _providers(path: Path, runtime: Mapping[str, Any], secrets: Mapping[str, Any]) -> Iterator[Finding]:
    """The states of the two switches that the contract fixes, and who is behind a provider's name."""
    order = [each for each in items(at(runtime, "ai", "order")) if isinstance(each, str)]
    wanted = {MAINTENANCE: ["off", "on"], **({AI: ["auto", *order, "off"]} if order else {})}
    for name, states in wanted.items():
        switch = at(runtime, "switches", name)
        if isinstance(switch, dict) and list(items(at(switch, "states"))) != states:
            yield (*path, "switches", name, "states"), f"not those of {name}; write [{', '.join(states)}], with quotes"
    if order and AI not in mapping(at(runtime, "switches")):
        yield (
            (*path, "ai"),
            f"a switch named {AI} is missing under switches, with the states auto, {', '.join(order)}, off",
        )
    for provider, secret in mapping(at(runtime, "ai", "keys")).items():
        where = (*path, "ai", "keys", provider)
        if provider not in order:
            yield where, f'no provider "{shown(provider)}" in order{suggestion(provider, order)}'
        elif isinstance(secret, str) and not at(secrets, secret, "provider"):
            yield where, f"{shown(secret)} stands under secrets without a provider, or not at all; name one that has it"
