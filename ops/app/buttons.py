"""The form of a runbook's button: its fields, and the values that they offer."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.engine.runbook import JobSecret, Runbook, job_parameters

if TYPE_CHECKING:
    from ops.config import Config, Environment

AnyRunbook = Runbook[Any, Any]
RUNTIME = "runtime"
"""Kind of the runbooks that set switches or limits."""


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
    if runbook.kind == RUNTIME:
        return (runtime.service,) if runtime and runbook.fits(environment, runtime.service) else ()
    of_kind = (name for name, service in environment.services.items() if service.kind in runbook.kinds)
    return tuple(name for name in of_kind if runbook.fits(environment, name))


def button_inputs(config: "Config", runbook: AnyRunbook) -> list[ButtonInput]:
    """Return the input fields of the runbook's button, in display order."""
    fitting = fitting_environments(config, runbook)
    options = {"service": tuple(dict.fromkeys(name for each in fitting for name in fitting_services(each, runbook)))}
    for environment in fitting:
        for name, values in runbook.parameter_choices(environment).items():
            options[name] = tuple(dict.fromkeys((*options.get(name, ()), *values)))
    params = [_input(field, options.get(field.name, ())) for field in job_parameters(runbook.params)]
    environment_names = tuple(each.name for each in fitting)
    needs_incident = runbook.incident_use.is_required or runbook.needs_approval
    required_params = [each for each in params if each.required]
    return [
        *required_params,
        _choice("environment", "Environment in ops.yml", environment_names),
        ButtonInput("incident", "Incident issue: 42, #42 or its address", required=needs_incident),
        *(each for each in params if each.name == "reason"),
        *(each for each in params if not each.required and each.name != "reason"),
        ButtonInput("dry_run", "Show the plan; change nothing", "boolean", default=False),
    ]


def _input(field: "dataclasses.Field[Any]", options: tuple[str, ...]) -> ButtonInput:
    required = field.default is dataclasses.MISSING
    text = str(field.metadata["help"])
    if isinstance(field.default, bool):
        return ButtonInput(field.name, text, "boolean", default=field.default)
    if options and required:
        return _choice(field.name, text, options)
    default = field.default if isinstance(field.default, str) and field.default else None
    return ButtonInput(field.name, text, default=default, required=required)


def _choice(name: str, description: str, options: tuple[str, ...]) -> ButtonInput:
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
