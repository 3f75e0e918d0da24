"""What `ops.yml` says of the secrets of Workers beside what it says elsewhere, checked on the plain data."""

from collections.abc import Iterator, Mapping
from typing import Any

from ops.config.raw import Finding, at, items, mapping
from ops.config.strict_yaml import Path
from ops.core.suggestions import shown, suggestion

VALUES = "NEW_", "OLD_"
"""Before a secret's name: the variables that hold what is to be set, and what it replaces."""
_ONLY = {"generate": ("length", "alphabet"), "provided": ("min_length",)}


def errors(data: Any, *, secrets: set[str]) -> Iterator[Finding]:
    """`secrets` are those of the run itself."""
    for name, environment in mapping(at(data, "environments")).items():
        services = mapping(at(environment, "services"))
        for secret, rule in mapping(at(environment, "secrets")).items():
            path: Path = ("environments", name, "secrets", secret)
            if secret in secrets or any(before + secret in secrets for before in VALUES):
                yield path, "a secret of the run, which no Worker may have; give the Worker's secret another name"
            yield from _consumers(path, rule, services)
            yield from _proofs(path, rule)
            yield from _useless(path, rule)


def _consumers(path: Path, rule: Any, services: Mapping[str, Any]) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, consumer in enumerate(items(at(rule, "consumers"))):
        if not isinstance(consumer, str):
            continue
        where = (*path, "consumers", index)
        if consumer not in services:
            yield where, f'no service "{shown(consumer)}" in {path[1]}{suggestion(consumer, services)}'
        elif "pages" in mapping(services[consumer]):
            yield where, f"{shown(consumer)} has no worker, and only a Worker's secrets are rotated; leave it out"
        elif consumer in seen:
            yield where, f"{shown(consumer)} stands here twice; keep one"
        seen.add(consumer)


def _proofs(path: Path, rule: Any) -> Iterator[Finding]:
    consumers = [each for each in items(at(rule, "consumers")) if isinstance(each, str)]
    for consumer, requests in mapping(at(rule, "proofs")).items():
        where = (*path, "proofs", consumer)
        if consumer not in consumers:
            yield where, f'no consumer "{shown(consumer)}" of this secret{suggestion(consumer, consumers)}'
        for index, request in enumerate(items(requests)):
            if isinstance(request, dict) and "version" not in request:
                yield (*where, index), "a proof without version; write where the answer echoes the Worker's version"


def _useless(path: Path, rule: Any) -> Iterator[Finding]:
    for kind, keys in _ONLY.items():
        for key in keys:
            if key in mapping(rule) and at(rule, "rotate") != kind:
                yield (*path, key), f"only a secret with rotate: {kind} has it; leave it out"
