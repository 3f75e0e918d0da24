"""Checks of the labels in `ops.yml`: environment, service, database, runbook and parameters."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.config import strict_yaml
from ops.config.strict_yaml import KeyPath, as_mapping, get_nested
from ops.core.names import did_you_mean, quote_name

_WRITE = {str: "text, in quotes where it looks like something else", bool: "true or false", tuple: "a list, as [A, B]"}
"""Type of a runbook's parameter → value to write in a label."""


@dataclass(frozen=True)
class LabelRules:
    """Facts of the runbooks that labels must fit, each by the runbook's name."""

    parameters: Mapping[str, Mapping[str, tuple[type, bool]]] | None = None
    """Parameter → its type, and whether it is required. None: runbooks and parameters are not compared."""
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Kinds of its services."""
    by_label: Mapping[str, bool] = field(default_factory=dict)
    """Whether a label may start it."""
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Parameter → the only value that a label may have."""
    fitting: Callable[[Any, str], Collection[str]] | None = None
    """Returns the services of an environment that a runbook fits. None: they are not compared."""


ANY_LABEL = LabelRules()
"""Compares no label with its runbook."""


def find_label_errors(data: Any, labels: Mapping[str, Any], rules: LabelRules) -> Iterator[tuple[KeyPath, str]]:
    """Yield the errors of labels. `labels` are those to compare with their runbooks."""
    yield from _check_label_places(data)
    yield from _kinds_of_labels(data, labels, rules.kinds)
    yield from _labels_of_buttons(labels, rules.by_label)
    if rules.parameters is not None:
        yield from _check_label_runbooks(labels, rules.parameters)
        for name in as_mapping(get_nested(data, "runbooks")).keys() - rules.parameters.keys():
            yield ("runbooks", name), f'no runbook "{quote_name(name)}"{did_you_mean(name, rules.parameters)}'
    yield from _values_of_labels(labels, rules.values)


def _check_label_places(data: Any) -> Iterator[tuple[KeyPath, str]]:
    environments = as_mapping(get_nested(data, "environments"))
    for name, label in as_mapping(get_nested(data, "labels")).items():
        environment = get_nested(label, "environment")
        service, database = (get_nested(label, "params", parameter) for parameter in ("service", "database"))
        databases = as_mapping(get_nested(environments, environment, "databases"))
        services = as_mapping(get_nested(environments, environment, "services"))
        if not isinstance(environment, str):
            continue
        if environment not in environments:
            text = f'no environment "{quote_name(environment)}"{did_you_mean(environment, environments)}'
            yield ("labels", name, "environment"), text
        elif isinstance(service, str) and service not in services:
            text = f'no service "{quote_name(service)}" in {quote_name(environment)}{did_you_mean(service, services)}'
            yield ("labels", name, "params", "service"), text
        elif isinstance(database, str) and database not in databases:
            text = f'no database "{quote_name(database)}" in {environment}{did_you_mean(database, databases)}'
            yield ("labels", name, "params", "database"), text


def _kinds_of_labels(
    data: Any, labels: Mapping[str, Any], kinds: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[KeyPath, str]]:
    for name, label in labels.items():
        runbook, environment, called = (
            get_nested(label, *keys) for keys in (("runbook",), ("environment",), ("params", "service"))
        )
        service = as_mapping(get_nested(data, "environments", environment, "services", called))
        needed = kinds.get(runbook, ()) if isinstance(runbook, str) else ()
        if not service or not needed or service.keys() & {*needed}:
            continue
        if service.keys() & {kind for each in kinds.values() for kind in each}:  # imports every runbook
            text = f"{quote_name(called)} has no {' or '.join(needed)}, and {runbook} needs one"
            yield ("labels", name, "params", "service"), text


def _labels_of_buttons(labels: Mapping[str, Any], by_label: Mapping[str, bool]) -> Iterator[tuple[KeyPath, str]]:
    for name, label in labels.items():
        runbook = get_nested(label, "runbook")
        if isinstance(runbook, str) and not by_label.get(runbook, True):
            yield ("labels", name, "runbook"), f"no label may start {runbook}; use its button or command"


def _values_of_labels(
    labels: Mapping[str, Any], label_values: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[KeyPath, str]]:
    for name, label in labels.items():
        runbook = get_nested(label, "runbook")
        for parameter, only in (label_values.get(runbook, {}) if isinstance(runbook, str) else {}).items():
            value = get_nested(label, "params", parameter)
            if isinstance(value, str) and value != only:
                text = f"a label of {runbook} may have only {only}; use the button for another value"
                yield ("labels", name, "params", parameter), text


def _check_label_runbooks(
    labels: Mapping[str, Any], runbooks: Mapping[str, Mapping[str, tuple[type, bool]]]
) -> Iterator[tuple[KeyPath, str]]:
    for name, label in labels.items():
        runbook, params = get_nested(label, "runbook"), as_mapping(get_nested(label, "params"))
        if not isinstance(runbook, str):
            continue
        if runbook not in runbooks:
            yield ("labels", name, "runbook"), f'no runbook "{quote_name(runbook)}"{did_you_mean(runbook, runbooks)}'
            continue
        known = runbooks[runbook]
        for parameter, value in params.items():
            if parameter not in known:
                text = f'no parameter "{quote_name(parameter)}" of {runbook}{did_you_mean(parameter, known)}'
                yield ("labels", name, "params", parameter), text
            elif not isinstance(value, known[parameter][0]):
                yield (
                    ("labels", name, "params", parameter),
                    f"{strict_yaml.describe_type(value)}; write {_WRITE[known[parameter][0]]}",
                )
        for parameter, (_, is_needed) in known.items():
            if is_needed and parameter not in params:
                yield ("labels", name, "params"), f"{parameter} is missing; {runbook} cannot run without it"
