"""What `ops.yml` says of probes beside what it says elsewhere: a service's, and those of its objects and switches."""

from collections.abc import Iterator, Mapping
from typing import Any

from ops.config.raw import Finding, at, items, mapping, services
from ops.config.strict_yaml import Path
from ops.core.runtime_contract import MAINTENANCE


def errors(data: Any, *, secrets: set[str]) -> Iterator[Finding]:
    """`secrets`: names of variables that no program and no page ever gets."""
    for path, service in services(data):
        yield from _browsers_alone(path, service)
        names: set[str] = set()
        yield from _probes(path, service, secrets=secrets, names=names)
        for name, each in mapping(service.get("durable_objects")).items():
            yield from _probes((*path, "durable_objects", name), each, secrets=secrets, names=names)
    for environment, holder in mapping(at(data, "environments")).items():
        yield from _of_switches(("environments", environment, "runtime", "switches"), holder, secrets=secrets)


def _of_switches(path: Path, environment: Any, *, secrets: set[str]) -> Iterator[Finding]:
    """Only one switch is set at a time, so two of them may have probes of the same name."""
    service = at(environment, "services", at(environment, "runtime", "service"))
    beside = {name for probe in items(at(service, "probes")) if isinstance(name := at(probe, "name"), str)}
    for name, switch in mapping(at(environment, "runtime", "switches")).items():
        if name == MAINTENANCE and items(at(switch, "probes")):
            yield (*path, name, "probes"), "never asked, for what is closed is not well; leave them out"
        yield from _probes((*path, name), switch, secrets=secrets, names=set(beside))


def _browsers_alone(path: Path, service: Mapping[str, Any]) -> Iterator[Finding]:
    if (all_of_them := items(service.get("probes"))) and all("browser" in mapping(each) for each in all_of_them):
        text = "a browser is started when all other probes are healthy, and there is none; write an http or page probe"
        yield (*path, "probes"), text


def _probes(path: Path, holder: Any, *, secrets: set[str], names: set[str]) -> Iterator[Finding]:
    """`names`: of the probes that are asked beside these, which are added."""
    for index, probe in enumerate(items(at(holder, "probes"))):
        name = at(probe, "name")
        if isinstance(name, str) and name in names:
            yield (*path, "probes", index, "name"), "another probe of this service has this name; write a different one"
        names |= {name} if isinstance(name, str) else set()
        for position, variable in enumerate(items(at(probe, "command", "environment"))):
            if isinstance(variable, str) and variable in secrets:
                where = (*path, "probes", index, "command", "environment", position)
                yield where, "a secret of the run; a probe's command never gets one: leave it out"
        for kind in ("http", "page"):
            for header, variable in mapping(at(probe, kind, "request_headers")).items():
                if isinstance(variable, str) and variable in secrets:
                    where = (*path, "probes", index, kind, "request_headers", header)
                    yield where, "a secret of the run; no probe ever sends one: name a variable for this header alone"
        for position, step in enumerate(items(at(probe, "browser", "steps"))):
            variable = at(step, "fill", "variable")
            if isinstance(variable, str) and variable in secrets:
                where = (*path, "probes", index, "browser", "steps", position, "fill", "variable")
                yield where, "a secret of the run; no page ever gets one: name the variable of a login for tests"
