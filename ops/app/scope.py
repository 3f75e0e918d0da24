"""Scope of a command: its ops.yml, environment and service, chosen or offered by a button.

A command without them gets the nearest ops.yml, and the only environment and service that fit.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.core.errors import ConfigError, Reason
from ops.core.names import did_you_mean, first_of, quote_name
from ops.core.responders import RequestScope
from ops.engine.runbook import JobSecret, Runbook, job_parameters, parameter_choices, params_type

if TYPE_CHECKING:
    from ops.config import Config, Environment


DEFAULT_CONFIG = Path("ops.yml")
AnyRunbook = Runbook[Any]
RUNTIME = "runtime"
"""Kind of the runbooks that set switches or limits."""
SERVICE, ENVIRONMENT = "service", "environment"
NEEDS = {
    "worker": "a service with `worker`",
    "pages": "a service with `pages`",
    "runtime": "an environment with `runtime`",
}
"""Kind of a runbook → the part of ops.yml that it needs."""
CONFIG_PAGE = "docs/reference/ops-yml.md"
LISTED = 12
"""Commands that a refusal lists at most."""


def find_config(user: int | None = None) -> Path:
    """Return the nearest `ops.yml`, relative to this folder: here, or above it up to the root of the Git checkout.

    If there is none, or outside of a checkout, it is the one of this folder. Above, a file of another user does not
    count, such as /tmp/ops.yml beside /tmp/.git: it names programs to run, and hosts that get secrets of probes.

    `user`: numeric ID (default: that of this process).
    """
    user = os.getuid() if user is None else user
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the folder was deleted
        return DEFAULT_CONFIG
    folders = [here, *here.parents]
    root = next((number for number, folder in enumerate(folders) if (folder / ".git").exists()), 0)
    paths = [folder / DEFAULT_CONFIG for folder in folders[: root + 1]]
    numbers = (
        number for number, path in enumerate(paths) if path.is_file() and (not number or path.lstat().st_uid == user)
    )
    return Path(*[".."] * next(numbers, 0)) / DEFAULT_CONFIG


@dataclass(frozen=True)
class ButtonInput:
    """One input field of a button."""

    name: str
    description: str
    type: str = "string"
    options: tuple[str, ...] = ()
    default: str | bool | None = None
    required: bool = False


def fitting_environments(config: "Config", runbook: AnyRunbook) -> "list[Environment]":
    """Return the environments of `ops.yml` with a service that fits the runbook."""
    return [each for each in config.environments.values() if fitting_services(each, runbook)]


def fitting_services(environment: "Environment", runbook: AnyRunbook) -> tuple[str, ...]:
    """Return the names of the services that fit the runbook, in the order of `ops.yml`."""
    runtime = environment.runtime
    if RUNTIME in runbook.kinds:
        return (runtime.service,) if runtime and runbook.fits(environment, runtime.service) else ()
    of_kind = (name for name, service in environment.services.items() if service.kind in runbook.kinds)
    return tuple(name for name in of_kind if runbook.fits(environment, name))


def button_inputs(config: "Config", runbook: AnyRunbook) -> list[ButtonInput]:
    """Return the input fields of the runbook's button, in display order."""
    fitting = fitting_environments(config, runbook)
    options = {"service": tuple(dict.fromkeys(name for each in fitting for name in fitting_services(each, runbook)))}
    for environment in fitting:
        for name, values in parameter_choices(params_type(runbook), environment).items():
            options[name] = tuple(dict.fromkeys((*options.get(name, ()), *values)))
    params = [_button_input(field, options.get(field.name, ())) for field in job_parameters(params_type(runbook))]
    environment_names = tuple(each.name for each in fitting)
    needs_incident = runbook.incident_use.is_required or runbook.incident_use.needs_approval
    required_params = [each for each in params if each.required]
    return [
        *required_params,
        _choice_input("environment", "Environment in ops.yml", environment_names),
        ButtonInput("incident", "Incident issue: 42, #42 or its address", required=needs_incident),
        *(each for each in params if each.name == "reason"),
        *(each for each in params if not each.required and each.name != "reason"),
        ButtonInput("dry_run", "Show the plan; change nothing", "boolean", default=False),
    ]


def _button_input(field: "dataclasses.Field[Any]", options: tuple[str, ...]) -> ButtonInput:
    required = field.default is dataclasses.MISSING
    text = str(field.metadata["help"])
    if isinstance(field.default, bool):
        return ButtonInput(field.name, text, "boolean", default=field.default)
    if options and required:
        return _choice_input(field.name, text, options)
    default = field.default if isinstance(field.default, str) and field.default else None
    return ButtonInput(field.name, text, default=default, required=required)


def _choice_input(name: str, description: str, options: tuple[str, ...]) -> ButtonInput:
    """Return a required choice.

    A single option is the default: GitHub's app for phones preselects nothing else, and its button stays gray
    (github.com/aliasunder/vault-cortex/pull/4).
    """
    default = options[0] if len(options) == 1 else None
    return ButtonInput(name, description, "choice", options, default, required=True)


def laptop_variables(runbook: AnyRunbook, environment: "Environment", service: str) -> str:
    """Return the variables that its command on a laptop needs, each with the place of its value."""
    if not runbook.github_environment:
        return ""
    return environment.laptop_variables(service if JobSecret.ADMIN_TOKENS in runbook.job.secrets else "")


@dataclass(frozen=True)
class Place:
    """Environment and service of a run. An empty text is not chosen yet, or not needed."""

    environment: str = ""
    service: str = ""

    def __str__(self) -> str:
        return f"{self.service} in {self.environment}" if self.service else self.environment

    def matches(self, other: "Place") -> bool:
        """Return whether the other place has every name that this one gives."""
        return self.environment in ("", other.environment) and self.service in ("", other.service)


def runbook_places(config: "Config", runbook: AnyRunbook, *, with_service: bool) -> list[Place]:
    """Return the places that fit a runbook, in the order of `ops.yml`."""
    if not with_service:
        return [Place(each.name) for each in fitting_environments(config, runbook)]
    return [
        Place(each.name, service)
        for each in fitting_environments(config, runbook)
        for service in fitting_services(each, runbook)
    ]


def choose_place(
    name: str, given: Place, places: Sequence[Place], command: Callable[[Place], str], *, needs: str = ""
) -> Place:
    """Return the only place that fits the given names.

    `name` is that of the command, and `needs` the part of ops.yml that it needs, both for people. `command` returns
    the full command for a place.

    Raises:
        ConfigError: none fits, or several do.
    """
    fitting = [place for place in places if given.matches(place)]
    if len(fitting) == 1:
        return fitting[0]
    if not places:
        raise ConfigError(
            f"nothing in ops.yml fits {name}",
            reason=Reason.UNKNOWN_NAME,
            hint=f"It needs {needs} in ops.yml: see {CONFIG_PAGE}.",
        )
    if not fitting:
        typed, known = (given.service, SERVICE) if given.service else (given.environment, ENVIRONMENT)
        near = did_you_mean(typed, dict.fromkeys(getattr(place, known) for place in places))
        raise ConfigError(
            f'no {known} "{quote_name(typed)}" that fits {name}{near}',
            reason=Reason.UNKNOWN_NAME,
            hint=f"These fit: {_list_service_places(places)}.",
        )
    missing = [
        f"no {option}"
        for option in (SERVICE, ENVIRONMENT)
        if not getattr(given, option) and len({getattr(place, option) for place in fitting}) > 1
    ]
    raise ConfigError(
        f"{' and '.join(missing)} given, and ops.yml has {len(fitting)} choices: {_list_service_places(fitting)}",
        reason=Reason.UNKNOWN_NAME,
        problems=tuple(command(place) for place in fitting[:LISTED]),
        hint="Run one of these commands.",
    )


def _list_service_places(places: Sequence[Place]) -> str:
    return ", ".join(first_of([*map(str, places)], LISTED))


def scope_of(environment: "Environment", runbook: str, params: Mapping[str, Any]) -> RequestScope:
    """Return the part of ops.yml that a request concerns: also other services that it writes to."""
    from ops.app.registry import load_runbook

    named = dict.fromkeys(load_runbook(runbook).written_services(params, environment))
    return RequestScope(environment.name, tuple(name for name in named if name in environment.services), runbook)


def source_repository(environment: "Environment", runbook: AnyRunbook, params: Mapping[str, Any], own: str) -> str:
    """Return the repository whose files a job hands to the run; "" if the run needs none.

    `params` are those of the request, which nothing has checked yet. `own`: the repository of ops.yml, which counts if
    ops.yml names no other.
    """
    if runbook.job.reads_source:
        database = environment.databases.get(str(params.get("database", "")))
        return (database.repository or own) if database and database.migrations else ""
    if runbook.job.builds_site:
        service = environment.services.get(str(params.get("service", "")))
        return (service.repository or own) if service else ""
    return ""
