"""Build the command `recover`, by which a job runs the runbook that the gate approved."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ops.cli.automatic_step import plan_step
from ops.cli.help import ExampleCommand
from ops.cli.runbook_command import UtcTime, common_options, start, write_failure_outputs
from ops.core.approval_request import parse_people
from ops.core.errors import ConfigError, OpsError, Reason
from ops.core.redaction import Redactor
from ops.core.suggestions import did_you_mean, quote_name
from ops.engine.runbook import Runbook, job_parameters


def recover_command(runbooks: Mapping[str, Runbook[Any, Any]]) -> click.Command:
    """Return the command `recover`, by which a job runs the runbook that the gate approved."""

    @click.pass_obj
    def command(
        redactor: Redactor,
        /,
        *,
        runbook: str,
        params: str,
        param: tuple[str, ...],
        comment: str,
        requesters: str,
        approval: str,
        relapsed: str | None,
        **given: Any,
    ) -> int:
        from ops.app.configuration import read_config
        from ops.gate.approval import find_approval
        from ops.gate.gate_pass import GatePass, refuse_without_pass

        gate_pass = GatePass(
            attempt=given.pop("attempt"),
            runbook=given.pop("approved_runbook"),
            environment=given.pop("approved_environment"),
            github_environment=given.pop("approved_for"),
        )
        try:
            found = _find_runbook(runbooks, runbook)
            where, needed = given["environment"], found.github_environment
            refuse_without_pass(gate_pass, os.environ, environment=where, github_environment=needed, runbook=runbook)
            config, _ = read_config(given["config"])
            waiting = {"requester": given["requested_by"], "is_next": relapsed is not None}
            review = find_approval(config.environment(where), needed, os.environ, redactor, **waiting)
            chosen, people = _parse_params(found, params, param), parse_people(requesters, approval)
        except OpsError as error:
            write_failure_outputs(error, redactor)
            raise
        if relapsed is not None:
            chosen, given["permit"] = plan_step(found, chosen, relapsed, redactor, config=config, options=given)
        given |= {"comment": _parse_id(comment), "review": review, "people": people}
        return start(found, chosen, redactor, given)

    return ExampleCommand(
        "recover",
        params=[*_recover_options(), *common_options(needs_environment=True)],
        callback=command,
        help="Run a runbook that the gate approved",
        epilog='ops recover --runbook rollback-worker --params \'{"service": "api"}\' --environment production --yes',
    )


def _recover_options() -> list[click.Parameter]:
    return [
        click.Option(["--runbook"], required=True, help="Name of the runbook"),
        click.Option(
            ["--params"], default="{}", metavar="JSON", help="Parameters of the runbook, as the gate passes them"
        ),
        click.Option(["--param"], multiple=True, metavar="NAME=TEXT", help="Parameter that an earlier job determined"),
        click.Option(["--attempt"], metavar="N", help="Attempt of the workflow run that the gate approved"),
        click.Option(["--approved-runbook"], metavar="NAME", help="Runbook that the gate approved"),
        click.Option(["--approved-environment"], metavar="NAME", help="Environment that the gate approved"),
        click.Option(["--approved-for"], metavar="NAME", help="GitHub environment of this job, or none"),
        click.Option(["--ends-by"], type=UtcTime(), help="Time until which a later job may end this change"),
        click.Option(["--requested-by"], default="", metavar="LOGIN", help="Login of the requester, from the gate"),
        click.Option(["--requesters"], default="", metavar="IDS", help="Numeric ids of the requesters, from the gate"),
        click.Option(["--approval"], default="", metavar="JSON", help="Approval by a second person, from the gate"),
        click.Option(["--relapsed"], metavar="ID", help="Deployment that relapsed: make the automatic step after it"),
        click.Option(["--comment"], default="", metavar="ID", help="Id of the comment that the run continues in"),
    ]


def _parse_id(comment: str) -> int | None:
    """Return the id of a comment; None if it is malformed: the run then gets a comment of its own."""
    return int(comment) if re.fullmatch("[1-9][0-9]{0,19}", comment) else None


def _find_runbook(runbooks: Mapping[str, Runbook[Any, Any]], name: str) -> Runbook[Any, Any]:
    if name not in runbooks:
        text = f'no runbook "{quote_name(name)}"{did_you_mean(name, runbooks)}'
        raise ConfigError(text, reason=Reason.UNKNOWN_NAME)
    return runbooks[name]


def _parse_params(runbook: Runbook[Any, Any], text: str, assignments: Sequence[str] = ()) -> Any:
    """Return the runbook's Params from a JSON object. Raises ConfigError, because the JSON may be typed by hand."""
    known = {field.name: field for field in job_parameters(runbook.params)}
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if isinstance(given, dict):
        given |= dict(each.partition("=")[::2] for each in assignments)
    if not isinstance(given, dict) or not all(_has_right_type(known.get(name), value) for name, value in given.items()):
        hint = f"Give values of the right kind for some of: {', '.join(known)}."
        raise ConfigError(f"--params is not a JSON object with parameters of {runbook.name}", hint=hint)
    missing = [name for name, field in known.items() if field.default is dataclasses.MISSING and name not in given]
    if missing:
        raise ConfigError(f"--params lacks {', '.join(missing)}", hint=f"Add them: {runbook.name} requires them.")
    return runbook.params(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def _has_right_type(field: "dataclasses.Field[Any] | None", value: Any) -> bool:
    if field is None:
        return False
    if isinstance(field.default, tuple):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, bool if isinstance(field.default, bool) else str)
