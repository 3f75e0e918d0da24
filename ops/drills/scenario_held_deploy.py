"""Scenario of the deployment after a rollback: the check of the application refuses it.

A bad release of an application in another repository is rolled back. Its job runs the check before each deployment:
the rolled back commit and its revert are refused, and a fix that names the incident is deployed. Where ops.yml says
that the service has the check, the responder lifts the hold by label or button, and the revert is deployed too.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.core.errors import Decision
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import application, github, scenario_release
from ops.drills.application import GO, Application
from ops.drills.command import DrillWorld, Say
from ops.drills.score import mark_drill_unhealthy
from ops.drills.support import find_label

if TYPE_CHECKING:
    from ops.config import Service

NAME = "held-deploy"
RUNBOOK, LIFT = "rollback-worker", "lift-commit-hold"
REFUSED = "refused"


def run(
    world: DrillWorld,
    service: "Service",
    probe: Callable[[], ProbeObservation],
    start_runbook: Any,
    say: Say,
) -> dict[str, Any]:
    """Roll back, and deploy three commits. Return the result of the rollback."""
    incident, shop = start_runbook.incident, Application(world, service, say)
    assert incident is not None, "the scenario needs an incident"
    bad = shop.hub.resolve("main") or ""
    result = start_runbook({})
    if result["decision"] != Decision.RECOVERED:
        return dict(result)
    problems = [] if probe().verdict == Verdict.HEALTHY else ["the service is not healthy"]
    problems += _deploy_and_compare(shop, bad, "the release that was rolled back", REFUSED)
    revert = shop.commit("Revert")
    problems += _deploy_and_compare(shop, revert, "its revert, which names no incident", REFUSED)
    fix = shop.commit(f"Fix it\n\nFixes-Incident: {incident.number}")
    problems += _deploy_and_compare(shop, fix, f"a fix with Fixes-Incident: {incident.number}", GO)
    end = "until a commit named the incident"
    if _lift_commit_hold(start_runbook, incident, say):
        problems += _deploy_and_compare(shop, revert, "the revert after the lift", GO)
        end += ", or a responder lifted the hold"
    problems += [] if probe().verdict == Verdict.HEALTHY else ["a commit that may be deployed is not healthy"]
    if problems:
        return mark_drill_unhealthy(result, "; ".join([result["message"], *problems]))
    return {**result, "message": f"{result['message']}; the check refused the next deployment {end}"}


def _deploy_and_compare(shop: Application, commit: str, what: str, expected: str) -> list[str]:
    """Let the job deploy the commit. Return what is wrong: the decision, or what the job changed."""
    sandbox, worker = shop.world.sandbox, shop.service.worker
    before = sandbox.live(worker)
    decision, _ = shop.deploy(commit, what)
    if decision != expected:
        return [f"the check of {what} says {decision or 'nothing'}, and not {expected}"]
    is_deployed = sandbox.live(worker) != before
    return [] if is_deployed == (expected == GO) else [f"the job deployed {'' if is_deployed else 'not '}{what}"]


def _lift_commit_hold(start_runbook: Any, incident: github.DrillIncident, say: Say) -> bool:
    """Lift the hold by label or button. Return False without both: only a workflow can lift."""
    world, trigger = incident.world, start_runbook.drill.trigger
    if not world.environment.service(world.service).hold_check or trigger == "command":
        return False
    hub, label = incident.github, find_label(start_runbook.config, LIFT, world.environment.name, {})
    inputs = {"environment": world.environment.name, "incident": str(incident.number)}
    act: Callable[[], object] = partial(hub.dispatch, f"{LIFT}.yml", inputs, world.responder)
    text = f"pressed the button of {LIFT}.yml"
    if trigger == "label" and label:
        act, text = partial(hub.label, incident.number, label, world.responder), f'put the label "{label}" on it'
    say(f"{world.responder} {text}")
    github.finish_workflows(world, act, say)
    return True


SCENARIO = replace(
    scenario_release.WORKER,
    runbook=RUNBOOK,
    run=run,
    deploy_bad=application.deploy_bad_release,
    needs_incident=True,
    unsupported={"workerd": "the check reads no answer of the Worker, so its runtime does not matter"},
)
