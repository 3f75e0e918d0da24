"""Build `recover`, which runs a runbook with the gate's pass, and `label`, for a laptop."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.app.scope import Place
from ops.cli.help import ExampleCommand
from ops.cli.options import INCIDENT, UtcTime, common_options, complete_label, override_option
from ops.cli.output import echo, echo_json
from ops.cli.runbook_command import error_json, start, write_failure_outputs
from ops.core.approval import parse_approval
from ops.core.errors import ConfigError, Decision, OpsError, Reason
from ops.core.names import did_you_mean, quote_name
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.engine.runbook import Runbook, job_parameters, params_type
from ops.github import actions

if TYPE_CHECKING:
    from ops.config import Config, RecoveryLabel
    from ops.core.run import EndedRun
    from ops.gate.attempts import GatePass
    from ops.watch.automatic_step import AutomaticStep

WITHOUT_STEP = (Decision.REFUSED, Decision.FAILED, Decision.INTERRUPTED)
"""Ends of a run that made no step, if it wrote nothing."""


def plan_step(
    runbook: Runbook[Any],
    params: Any,
    deployment: str,
    redactor: Redactor,
    *,
    config: "Config",
    options: Mapping[str, Any],
) -> "tuple[Any, StepRequest]":
    """Return the parameters of the step after the relapse of a deployment, and its request.

    `options`: those of the run.
    """
    environment = config.environment(options["environment"])
    place = Place(environment.name, runbook.service(params, environment))
    step = runbook.job.after_relapse(params, deployment) if runbook.job.after_relapse else None
    who, path, incident = options["requested_by"], options["config"], options["incident"]
    request = StepRequest(runbook.name, place, incident, deployment, who, step is not None, path, os.environ, redactor)
    return step or params, request


@dataclass
class StepRequest:
    """A job's request for the step after the relapse of `deployment`."""

    runbook: str
    place: Place
    incident: int | None
    deployment: str
    """ID of the deployment that relapsed; anything else is refused."""
    requested_by: str
    is_by_rule: bool
    """Whether the request left the choice of the version to Backout."""
    config: Path
    environ: Mapping[str, str]
    redactor: Redactor
    has_claimed: bool = False
    """Whether this job recorded the step. One that an earlier job recorded may have been made."""

    def permit(self) -> None:
        """Check everything that can forbid the step, and record it on the incident.

        Raises:
            Refused: the step is forbidden.
            ProviderError: GitHub or the Worker's deployments cannot be read, or GitHub cannot be written.
        """
        from ops.app.configuration import read_config
        from ops.core.clock import find_clock
        from ops.core.responders import RequestScope
        from ops.core.verdict import Verdict
        from ops.gate.attempts import refuse_requester
        from ops.gate.stop import find_stop
        from ops.status.outage import describe_trouble, read_outage
        from ops.watch.automatic_step import claim_step, count_deployed_steps
        from ops.watch.record import find_watched_incident

        config = read_config(self.config)[0]
        watch = config.watch
        step = self._build_automatic_step(watch.max_steps if watch and watch.on_relapse == "next" else 0)
        if not step.most:
            raise step.refuse("`watch` in ops.yml has no `on_relapse: next`")
        if not self.is_by_rule:
            raise step.refuse("the request named the version itself")
        if self.incident is None:
            raise step.refuse("the request has no incident, on which steps are counted")
        scope = RequestScope(self.place.environment, (self.place.service,), self.runbook)
        by_hand = f"Somebody else can run: `{step.by_hand}`"
        refuse_requester(self.environ, self.redactor, self.requested_by, by_hand, scope)
        if stop := find_stop(config, self.environ, self.redactor, partial(echo, err=True)):
            raise step.refuse(str(stop))
        outage = read_outage(self.place, self.config, self.environ, self.redactor)
        if trouble := describe_trouble(outage):
            raise step.refuse(trouble)
        deployed = count_deployed_steps(
            self.place, self.config, self.environ, self.redactor, incident=self.incident, relapsed=self.deployment
        )
        is_healthy = all(each.verdict == Verdict.HEALTHY for each in outage.evidence.services)
        issue, clock = find_watched_incident(self.environ, self.redactor, self.incident), find_clock(self.environ)
        self.has_claimed = claim_step(replace(step, is_healthy=is_healthy, deployed=deployed), issue, clock)

    def settle(self, result: "EndedRun") -> None:
        """Record on the incident that the step does not count, if it surely changed nothing. Never raises."""
        from ops.core.clock import find_clock
        from ops.watch.automatic_step import give_back_claim
        from ops.watch.record import find_watched_incident

        may_have_written = result.wrote or bool(result.outcome.get("unknown"))
        if self.incident is None or not self.has_claimed or result.decision not in WITHOUT_STEP or may_have_written:
            return
        try:
            issue = find_watched_incident(self.environ, self.redactor, self.incident)
            give_back_claim(self._build_automatic_step(0), issue, find_clock(self.environ), result.decision)
        except OpsError as error:
            echo(f"warning: the incident may still say that a job makes the step ({error.message})", err=True)

    def _build_automatic_step(self, most: int) -> "AutomaticStep":
        from ops.app.configuration import program_name, read_config
        from ops.app.registry import record_rules
        from ops.watch.automatic_step import AutomaticStep, command_by_hand

        program = program_name(self.environ)
        where = {"service": self.place.service, "environment": self.place.environment, "incident": self.incident}
        by_hand = command_by_hand(program, self.runbook, where, self.deployment)
        link = actions.run_links(self.environ, None).get("run", "")
        text = (
            f"**Automatic step:** {f'[a job]({link})' if link else 'a job'} starts to roll {self.place.service} in "
            f"{self.place.environment} back to the next older version, and comments how it ends. "
            f"No other automatic step follows. Then watch it: `{build_command(program, 'watch', where)}`"
        )
        return AutomaticStep(
            self.place.environment,
            self.place.service,
            self.deployment,
            most,
            deployed=0,
            is_healthy=False,
            text=text,
            by_hand=by_hand,
            rules=record_rules(read_config(self.config)[0]),
            job=actions.job_number(self.environ),
        )


def recover_command(runbooks: Mapping[str, Runbook[Any]]) -> click.Command:
    """Return the command `recover`, by which a job runs a runbook with the gate's pass."""

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
        from ops.gate.approval import require_review
        from ops.gate.attempts import refuse_without_pass

        gate_pass = _take_pass(given)
        try:
            file, where = _find_runbook(runbooks, runbook), given["environment"]
            of_job = {"environment": where, "github_environment": file.github_environment, "runbook": runbook}
            refuse_without_pass(gate_pass, os.environ, **of_job)
            config = read_config(given["config"])[0]
            place, chosen = config.environment(where), _parse_runbook_params(file, params, param)
            given["approval"] = parse_approval(approval)
            waiting = {"requester": given["requested_by"], "is_next": relapsed is not None}
            review = require_review(place, file, vars(chosen), os.environ, redactor, **waiting)
        except OpsError as error:
            write_failure_outputs(error, redactor)
            raise
        given |= {"comment": _parse_comment_id(comment), "review": review, "requesters": _parse_ids(requesters)}
        if relapsed is None:
            return start(file, chosen, redactor, given)
        return _start_step(*plan_step(file, chosen, relapsed, redactor, config=config, options=given), file, given)

    return ExampleCommand(
        "recover",
        params=[*_recover_options(), *common_options(needs_environment=True)],
        callback=command,
        help="Run a runbook with the gate's pass",
        epilog='ops recover --runbook rollback-worker --params \'{"service": "api"}\' --environment production --yes',
    )


def label_command(runbooks: Mapping[str, Runbook[Any]]) -> click.Command:
    """Return the command `label`, by which a person starts on a laptop the recovery that a label starts."""

    @click.pass_obj
    def command(redactor: Redactor, /, *, label: str, **given: Any) -> int:
        try:
            requested = _find_label(label, given["config"])
            runbook = _find_runbook(runbooks, requested.runbook)
            params = _parse_runbook_params(runbook, json.dumps(dict(requested.params)))
        except OpsError as error:
            if given["as_json"]:
                echo_json(error_json(error))
            raise
        return start(runbook, params, redactor, {**given, "environment": requested.environment})

    options = [each for each in common_options() if each.name not in {"environment", "incident"}]
    incident = click.Option(["--incident"], type=INCIDENT, required=True, help="Incident issue: 42, #42 or its address")
    return ExampleCommand(
        "label",
        params=[click.Argument(["label"], shell_complete=complete_label), incident, *options, override_option()],
        callback=command,
        help="Run the recovery of a label in ops.yml",
        epilog="ops label recover:rollback-api --incident 42",
    )


def _find_label(label: str, path: Path) -> "RecoveryLabel":
    """Return the recovery of a label; GitHub ignores case. Raises ConfigError."""
    from ops.app.configuration import read_config
    from ops.gate import refusals

    labels = read_config(path, labels=(label,))[0].labels
    name = next((name for name in labels if name.casefold() == label.casefold()), "")
    if name:
        return labels[name]
    refusal = refusals.unknown_label(label, labels)
    raise ConfigError(
        refusals.fill_refusal_text(refusal.message, refusal.values),
        reason=refusal.reason,
        hint=f"Choose one of: {', '.join(sorted(labels))}." if labels else "Run the command of a runbook.",
    )


def _take_pass(given: dict[str, Any]) -> "GatePass":
    """Return the gate's pass, and remove its options from the given ones."""
    from ops.gate.attempts import GatePass

    return GatePass(
        attempt=given.pop("attempt"),
        runbook=given.pop("approved_runbook"),
        environment=given.pop("approved_environment"),
        github_environment=given.pop("approved_for"),
    )


def _start_step(params: Any, step: StepRequest, runbook: Runbook[Any], given: Mapping[str, Any]) -> int:
    """Run an automatic step; a dry run needs no permit."""
    if given["dry_run"]:
        return start(runbook, params, step.redactor, given)
    return start(runbook, params, step.redactor, {**given, "permit": step.permit, "at_end": step.settle})


def _recover_options() -> list[click.Parameter]:
    return [
        click.Option(["--runbook"], required=True, help="Name of the runbook"),
        click.Option(
            ["--params"], default="{}", metavar="JSON", help="Parameters of the runbook, as the gate passes them"
        ),
        click.Option(["--param"], multiple=True, metavar="NAME=TEXT", help="Parameter that an earlier job determined"),
        click.Option(["--attempt"], metavar="N", help="Attempt of the workflow run that the gate's pass is for"),
        click.Option(["--approved-runbook"], metavar="NAME", help="Runbook that the gate's pass is for"),
        click.Option(["--approved-environment"], metavar="NAME", help="Environment that the gate's pass is for"),
        click.Option(["--approved-for"], metavar="NAME", help="GitHub environment of this job, or none"),
        click.Option(["--ends-by"], type=UtcTime(), help="Time until which a later job may end this change"),
        click.Option(["--requested-by"], default="", metavar="LOGIN", help="Login of the requester, from the gate"),
        click.Option(["--requesters"], default="", metavar="IDS", help="Numeric ids of the requesters, from the gate"),
        click.Option(["--approval"], default="", metavar="JSON", help="Approval by a second person, from the gate"),
        click.Option(["--stop"], default="", metavar="TEXT", help="`not read`: the gate could not check for a stop"),
        click.Option(["--relapsed"], metavar="ID", help="Deployment that relapsed: make the automatic step after it"),
        click.Option(["--comment"], default="", metavar="ID", help="Id of the comment that the run continues in"),
    ]


def _parse_comment_id(comment: str) -> int | None:
    """Return the id of a comment; None if it is malformed: the run then gets a comment of its own."""
    return int(comment) if re.fullmatch("[1-9][0-9]{0,19}", comment) else None


def _parse_ids(requesters: str) -> tuple[int, ...]:
    return tuple(int(each) for each in requesters.split() if each.isdecimal())


def _find_runbook(runbooks: Mapping[str, Runbook[Any]], name: str) -> Runbook[Any]:
    if name not in runbooks:
        text = f'no runbook "{quote_name(name)}"{did_you_mean(name, runbooks)}'
        raise ConfigError(text, reason=Reason.UNKNOWN_NAME)
    return runbooks[name]


def _parse_runbook_params(runbook: Runbook[Any], text: str, assignments: Sequence[str] = ()) -> Any:
    """Return the runbook's Params from a JSON object. Raises ConfigError, because the JSON may be typed by hand."""
    known = {field.name: field for field in job_parameters(params_type(runbook))}
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
    return params_type(runbook)(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    )


def _has_right_type(field: "dataclasses.Field[Any] | None", value: Any) -> bool:
    if field is None:
        return False
    if isinstance(field.default, tuple):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, bool if isinstance(field.default, bool) else str)
