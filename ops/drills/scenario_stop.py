"""Scenario of a stop: a request is refused, and passes after the lift or an override.

A job of another repository deploys a bad release while a person repairs something by hand. The responder stops all
recoveries. A request by label or button is refused until the responder lifts the stop. A command on a laptop is refused
until it overrides.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ops.core.errors import Decision, Reason
from ops.core.names import RESUME_LABEL, STOP_LABEL, STOPPED_LABEL
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import application, command, github, scenario_release
from ops.drills.command import DrillWorld, Say
from ops.drills.score import mark_drill_unhealthy

if TYPE_CHECKING:
    from ops.config import Service

NAME = "stopped"
RUNBOOK = "rollback-worker"
OVERRIDE = "--override-stop"


def run(
    world: DrillWorld,
    service: "Service",
    probe: Callable[[], ProbeObservation],
    start_runbook: Any,
    say: Say,
) -> dict[str, Any]:
    """Stop, request, lift or override, and request again. Return the result of the last request."""
    incident = start_runbook.incident
    assert incident is not None, "the scenario needs an incident"
    live, by_command = world.sandbox.live(service.worker), start_runbook.drill.trigger == "command"
    _change_stop(world, incident, STOP_LABEL, say, by_command=by_command)
    problems = [] if _is_stopped(incident) else ["the incident did not get the label of the stop"]
    refused = start_runbook({})
    if (refused["decision"], refused["reason"]) != (Decision.REFUSED, Reason.STOPPED):
        return mark_drill_unhealthy(refused, f"the stop did not refuse the request: {refused['message']}")
    problems += [] if world.sandbox.live(service.worker) == live else ["the refused request changed what is live"]
    if by_command:
        start_runbook = replace(start_runbook, world=replace(world, laptop_flags=(*world.laptop_flags, OVERRIDE)))
    else:
        _change_stop(world, incident, RESUME_LABEL, say, by_command=False)
        problems += ["the stop was not lifted"] if _is_stopped(incident) else []
    result = start_runbook({})
    if result["decision"] != Decision.RECOVERED:
        return dict(result)
    problems += [] if probe().verdict == Verdict.HEALTHY else ["the service is not healthy"]
    if problems:
        return mark_drill_unhealthy(result, "; ".join([result["message"], *problems]))
    end = "the override" if by_command else "the lift"
    return {**result, "message": f"{result['message']}; the stop refused a request, and it passed after {end}"}


def _is_stopped(incident: github.DrillIncident) -> bool:
    return incident.github.issue(incident.number).find_label(STOPPED_LABEL) is not None


def _change_stop(world: DrillWorld, incident: github.DrillIncident, label: str, say: Say, *, by_command: bool) -> None:
    """Stop or lift: by the label and the workflow that reads it, or by the command on a laptop."""
    if by_command:
        arguments = ["stop", "--reason", "drill", "--incident", str(incident.number)]
        command.run_ops(world, arguments, say, environ=incident.environ())
        return
    say(f'{world.responder} put the label "{label}" on it')
    github.finish_workflows(world, lambda: incident.github.label(incident.number, label, world.responder), say)


SCENARIO = replace(
    scenario_release.WORKER,
    runbook=RUNBOOK,
    run=run,
    deploy_bad=application.deploy_bad_release,
    needs_incident=True,
    unsupported={"workerd": "the gate decides, so the runtime of the Workers does not matter"},
)
