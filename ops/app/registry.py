"""Find runbooks by file name, and import one when it is asked for.

`rollback-worker` is the class RollbackWorker of `ops/runbooks/rollback_worker.py`. Listing names and help lines imports
no runbook, so that no command loads another product's package.
"""

import functools
import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ops.engine.runbook import Runbook

if TYPE_CHECKING:
    from ops.config.labels import Recovery

V = TypeVar("V")

OPS = Path(__file__).parent.parent
FOLDER = OPS / "runbooks"
_outside: dict[str, Path] = {}
"""Module of a runbook → its file, of those that `add` added."""


@dataclass(frozen=True)
class RunbookFile:
    """The file of one runbook: `package` is runbooks or scheduled, `module` its name without `.py`."""

    package: str
    module: str

    @property
    def help_line(self) -> str:
        """The first line of the class's docstring, read as text."""
        path = _outside.get(self.module) or OPS / self.package / f"{self.module}.py"
        source = path.read_text(encoding="utf-8")
        head = f"class {self.module.replace('_', '')}("
        lines = itertools.pairwise(source.splitlines())
        return next((line.strip().strip('"') for before, line in lines if before.lower().startswith(head)), "")

    def load(self) -> Runbook[Any, Any]:
        """Import the file and make its runbook."""
        module = importlib.import_module(f"ops.{self.package}.{self.module}")
        name = self.module.replace("_", "")
        (made,) = (
            value
            for value in vars(module).values()
            if isinstance(value, type) and value.__module__ == module.__name__ and value.__name__.lower() == name
        )
        assert issubclass(made, Runbook)
        return made()


class Lazy(Mapping[str, V]):
    """A mapping with known names, whose values are made when they are read."""

    def __init__(self, names: tuple[str, ...], make: Callable[[str], V]) -> None:
        self._names, self._make = names, make

    def __getitem__(self, name: str) -> V:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@functools.cache
def names() -> tuple[str, ...]:
    """Names of the runbooks, in alphabetical order."""
    files = (path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
    return tuple(sorted({stem.replace("_", "-") for stem in (*files, *_outside)}))


def add(path: Path) -> str:
    """Add the runbook of a file outside this package, for tests of a runbook that is not installed; return its name."""
    importlib.import_module("ops.runbooks").__path__.append(str(path.parent))
    _outside[path.stem] = path
    names.cache_clear()
    return path.stem.replace("_", "-")


def outside() -> tuple[str, ...]:
    """Names of the runbooks that `add` added."""
    return tuple(stem.replace("_", "-") for stem in _outside)


def file_of(name: str) -> RunbookFile:
    return RunbookFile("runbooks", name.replace("-", "_"))


@functools.cache
def _runbook(name: str) -> Runbook[Any, Any]:
    return file_of(name).load()


def discover() -> Mapping[str, Runbook[Any, Any]]:
    """Return name → runbook, in alphabetical order. Reading a value imports that runbook."""
    return Lazy(names(), _runbook)


def parameters() -> Mapping[str, Mapping[str, tuple[type, bool]]]:
    """Name of a runbook → name of a parameter → str, bool or tuple (of texts), and whether nothing runs without it."""
    return Lazy(names(), _parameters)


def _parameters(name: str) -> Mapping[str, tuple[type, bool]]:
    return {
        field.name: (str, True) if field.default is MISSING else (type(field.default), False)
        for field in fields(_runbook(name).params)
    }


def flags(runbook: str) -> set[str]:
    """The parameters that are yes or no."""
    return {field.name for field in fields(discover()[runbook].params) if isinstance(field.default, bool)}


def kinds() -> Mapping[str, str]:
    """Name of a runbook → what its services are: worker or pages."""
    return Lazy(names(), lambda name: _runbook(name).kind)


def github_environment(runbook: str) -> str:
    """The environment of GitHub whose secrets it needs."""
    return discover()[runbook].github_environment


def by_label() -> Mapping[str, bool]:
    """Name of a runbook → whether a label may start it."""
    return Lazy(names(), lambda name: _runbook(name).by_label)


def on_closed(runbook: str) -> bool:
    """Whether people may request it on an incident that is closed."""
    return discover()[runbook].on_closed


def recoveries() -> "list[Recovery]":
    """Return the runbooks that have a button."""
    from ops.config.labels import Recovery

    found = [(name, runbook) for name, runbook in discover().items() if name not in outside()]
    return [Recovery(name, runbook.kind, runbook.when, runbook.fits) for name, runbook in found]
