"""Find runbooks by file name, and import one on demand.

`rollback-worker` is the class RollbackWorker of `ops/runbooks/rollback_worker.py`. `limits apply` is the class
ApplyLimits of `ops/scheduled/apply_limits.py`, whose source has the name. Names and help lines are read as text, so
no command imports another product's package.
"""

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ops.core.approval import APPROVE_BUTTON
from ops.core.names import CHECK_OUTAGE, PUBLISH_UPDATE
from ops.core.run_record import RecordRules
from ops.engine.runbook import Rollback, Runbook, end_job_deadline, job_parameters, params_type
from ops.github import actions

if TYPE_CHECKING:
    from ops.config import Config, Environment
    from ops.config.label_checks import LabelRules
    from ops.config.labels import RunbookFacts

V = TypeVar("V")

RECOVER, PROPOSE = "recover", "propose"
CALLED_WORKFLOWS = (RECOVER, PROPOSE)
"""Names of the workflow files that others call. No run has their path, so no record may name them."""
DIRECT = "-direct"
"""Ends the name of a button that calls no other file, for a runbook that has a usual button too."""
ANSWER, DIRECT_RUNBOOK = "answer", "rollback-worker"
STAGING_DRILL = "staging-drill"
FIXED_WORKFLOWS = (
    ANSWER,
    APPROVE_BUTTON,
    CHECK_OUTAGE,
    "doctor",
    "evidence",
    "incident",
    "limits",
    "ops-check",
    "scheduled",
    "secret-leak",
    PUBLISH_UPDATE,
    STAGING_DRILL,
    *CALLED_WORKFLOWS,
    f"{DIRECT_RUNBOOK}{DIRECT}",
)
"""Names of the workflow files that `ops workflows sync` writes besides those of the buttons."""
OPS = Path(__file__).parent.parent
FOLDER = OPS / "runbooks"
_outside: dict[str, Path] = {}
"""Module name → file, of the runbooks that `add_runbook_file` added."""


@dataclass(frozen=True)
class RunbookFile:
    """Source file of a runbook. `package` is runbooks or scheduled; `module` is the file name without `.py`."""

    package: str
    module: str

    @property
    def help_line(self) -> str:
        """Return the first line of the class's docstring, read as text."""
        return next(iter(self._read_class_lines()), "").strip().strip('"')

    @property
    def name(self) -> str:
        """Return the `name` of the class, read as text; empty if the file has no runbook."""
        return self._read_class_attribute("name") or ""

    @property
    def section(self) -> str:
        """Return the section of its command in `ops --help`, read as text."""
        section = self._read_class_attribute("section")
        return Runbook.section if section is None else section

    def _read_class_attribute(self, name: str) -> str | None:
        """Return a text that the class assigns to a name; None if it assigns none."""
        start = f"    {name} = "
        lines = (line.removeprefix(start) for line in self._read_class_lines() if line.startswith(start))
        return next((line.strip().strip('"') for line in lines), None)

    def _read_class_lines(self) -> list[str]:
        """Return the lines below the class statement."""
        path = _outside.get(self.module) or OPS / self.package / f"{self.module}.py"
        lines = path.read_text(encoding="utf-8").splitlines()
        head = f"class {self.module.replace('_', '')}("
        numbers = (number for number, line in enumerate(lines, start=1) if line.lower().startswith(head))
        return lines[next(numbers, len(lines)) :]

    def load(self) -> Runbook[Any]:
        """Import the file and return its runbook."""
        module = importlib.import_module(f"ops.{self.package}.{self.module}")
        name = self.module.replace("_", "")
        (made,) = (
            value
            for value in vars(module).values()
            if isinstance(value, type) and value.__module__ == module.__name__ and value.__name__.lower() == name
        )
        assert issubclass(made, Runbook)
        return made()


class LazyMapping(Mapping[str, V]):
    """A mapping with fixed names; reading a value creates it."""

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
def runbook_names() -> tuple[str, ...]:
    """Return the names of the runbooks with a button, in alphabetical order."""
    files = (path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
    return tuple(sorted({stem.replace("_", "-") for stem in (*files, *_outside)}))


def called_workflow(runbook: Runbook[Any]) -> str:
    """Return which of CALLED_WORKFLOWS has the jobs of a runbook."""
    return RECOVER if runbook.github_environment else PROPOSE


def runbook_job_id(runbook: Runbook[Any], environment: str) -> str:
    """Return the id of the job that runs a runbook in an environment of ops.yml."""
    return actions.acting_job_id(runbook.github_environment, environment, builds_site=runbook.job.builds_site)


def find_button_runbook(file: str) -> str:
    """Return the runbook that a workflow file starts as a button, by its name without `.yml`; "" for other files."""
    name = file.removesuffix(DIRECT) if file in FIXED_WORKFLOWS else file
    return name if name in runbook_names() else ""


def record_rules(config: "Config | None") -> RecordRules:
    """Return whose records may act: the workflows that `ops workflows sync` writes, and the responders of ops.yml.

    Without ops.yml, for a command that only shows records: everyone with write access.
    """
    names = {*runbook_names(), *FIXED_WORKFLOWS}.difference(CALLED_WORKFLOWS)
    paths = frozenset(f".github/workflows/{name}.yml" for name in names)
    return RecordRules(paths, config.responders if config else ())


def add_runbook_file(path: Path) -> str:
    """Add the runbook of a file outside this package, for tests of a runbook that is not installed; return its name."""
    importlib.import_module("ops.runbooks").__path__.append(str(path.parent))
    _outside[path.stem] = path
    runbook_names.cache_clear()
    return path.stem.replace("_", "-")


def added_runbook_names() -> tuple[str, ...]:
    """Return the names of the runbooks that `add_runbook_file` added."""
    return tuple(stem.replace("_", "-") for stem in _outside)


@functools.cache
def scheduled_files() -> Mapping[str, RunbookFile]:
    """Return name → file of the runbooks without button and label, which a schedule, merge or person starts."""
    files = (RunbookFile("scheduled", path.stem) for path in (OPS / "scheduled").glob("*.py"))
    return dict(sorted((name, file) for file in files if (name := file.name)))


def find_runbook_file(name: str) -> RunbookFile:
    """Return the file of a runbook; an unknown name gets a path in `ops/runbooks`."""
    return RunbookFile("runbooks", name.replace("-", "_")) if name not in scheduled_files() else scheduled_files()[name]


@functools.cache
def load_runbook(name: str) -> Runbook[Any]:
    """Import and return a runbook, also a scheduled one."""
    return find_runbook_file(name).load()


def load_rollback(kind: str) -> Rollback[Any, Any]:
    """Import and return the runbook that rolls a service of this kind back."""
    runbook = load_runbook(f"rollback-{kind}")
    assert isinstance(runbook, Rollback)
    return runbook


def discover_runbooks() -> Mapping[str, Runbook[Any]]:
    """Return name → runbook for those with a button. Reading a value imports its file."""
    return LazyMapping(runbook_names(), load_runbook)


def parameter_types() -> Mapping[str, Mapping[str, tuple[type, bool]]]:
    """Return runbook → parameter → its type (str, bool or tuple of texts) and whether it is required.

    Parameters that only a laptop has are left out.
    """
    return LazyMapping(runbook_names(), _runbook_parameter_types)


def _runbook_parameter_types(name: str) -> Mapping[str, tuple[type, bool]]:
    return {
        field.name: (str, True) if field.default is MISSING else (type(field.default), False)
        for field in job_parameters(params_type(load_runbook(name)))
    }


def service_kinds() -> Mapping[str, str]:
    """Return runbook → kind of its services: worker, pages or runtime."""
    return LazyMapping(runbook_names(), lambda name: load_runbook(name).kinds[0])


def label_rules() -> "LabelRules":
    """Return the facts of the runbooks that labels must fit. A runbook is imported when a label names it."""
    from ops.config.label_checks import LabelRules

    names = runbook_names()
    return LabelRules(
        parameter_types(),
        LazyMapping(names, lambda name: load_runbook(name).kinds),
        LazyMapping(names, lambda name: load_runbook(name).label_use is not None),
        LazyMapping(names, lambda name: use.only if (use := load_runbook(name).label_use) else {}),
    )


def allows_closed_incident(name: str) -> bool:
    """Return whether people may request the runbook on a closed incident."""
    return discover_runbooks()[name].incident_use.may_be_closed


def latest_start(name: str, params: Mapping[str, Any], environment: "Environment", now: datetime) -> datetime | None:
    """Return the latest time at which the job may start that ends the state of such a run; None without such a job."""
    return end_job_deadline(load_runbook(name), params, environment, now)


def button_runbooks() -> dict[str, Runbook[Any]]:
    """Return name → runbook of those with a generated workflow: all with a button, except those of tests."""
    return {name: made for name, made in discover_runbooks().items() if name not in added_runbook_names()}


def list_runbook_facts() -> "list[RunbookFacts]":
    """Return the runbooks with a button, as people choose among them: in the order of the recovery menu."""
    from ops.config.labels import RunbookFacts

    ranked = sorted(button_runbooks().items(), key=lambda item: item[1].incident_use.menu_rank)
    return [RunbookFacts(name, made.kinds, made.when, made.fits) for name, made in ranked]
