"""Finds the runbooks: every module of `ops.runbooks` holds one, and its name is the file's."""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ops.engine.runbook import Runbook

FOLDER = Path(__file__).parent.parent / "runbooks"


@functools.cache
def discover() -> Mapping[str, Runbook[Any]]:
    """Name → runbook, in alphabetical order. One command asks half a dozen times, and no file comes while it runs."""
    found: dict[str, Runbook[Any]] = {}
    for module_info in sorted(pkgutil.iter_modules([str(FOLDER)]), key=lambda info: info.name):
        module = importlib.import_module(f"ops.runbooks.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Runbook) and value.__module__ == module.__name__:
                found[value.name] = value()
    return MappingProxyType(found)


def parameters() -> dict[str, dict[str, tuple[type, bool]]]:
    """Name of a runbook → name of a parameter → str, bool or tuple (of texts), and whether nothing runs without it."""
    return {
        name: {
            field.name: (str, True) if field.default is MISSING else (type(field.default), False)
            for field in fields(runbook.params)
        }
        for name, runbook in discover().items()
    }


def flags(runbook: str) -> set[str]:
    """The parameters that are yes or no."""
    return {field.name for field in fields(discover()[runbook].params) if isinstance(field.default, bool)}


def kinds() -> dict[str, str]:
    """Name of a runbook → what its services are: worker or pages."""
    return {name: runbook.kind for name, runbook in discover().items()}


def github_environment(runbook: str) -> str:
    """The environment of GitHub whose secrets it needs."""
    return discover()[runbook].github_environment


def by_button_only() -> set[str]:
    """Names of the runbooks that no label starts."""
    return {name for name, runbook in discover().items() if not runbook.by_label}


def on_closed() -> frozenset[str]:
    """Names of the runbooks that may be asked for on an incident that is closed."""
    return frozenset(name for name, runbook in discover().items() if runbook.on_closed)


def recoveries() -> list[dict[str, str]]:
    """Of each runbook its name, what its services are, and when it is for."""
    return [{"name": name, "kind": runbook.kind, "when": runbook.when} for name, runbook in discover().items()]
