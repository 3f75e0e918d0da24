"""Scenario of a bad deployment in another repository, whose job runs `ops guard`.

By command, the guard rolls it back by itself: its probes and the requests of others both fail. By label or button, the
guard only opens the incident, and the responder rolls back from its menu.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.core.errors import ConfigError, Decision
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import command, github, scenario_release
from ops.drills.application import BAD, GO, Application
from ops.drills.command import DrillWorld, Say
from ops.drills.score import mark_drill_unhealthy
from ops.drills.support import Trigger

if TYPE_CHECKING:
    from ops.config import Service

NAME = "bad-deploy-guarded"
RUNBOOK = "rollback-worker"
OTHERS = 60
"""Requests of other clients in each pause of the guard. They fail while the bad release is live."""
LONGEST_SLEEP = 5.0
"""Longest real seconds that a command of the drill sleeps; a longer sleep moves the clock."""


def deploy_bad(world: DrillWorld, service: "Service", trigger: Trigger, say: Say) -> int:
    """Let the application's job deploy and guard the bad release. Return the incident of the guard.

    Raises ConfigError.
    """
    sandbox, shop = world.sandbox, Application(world, service, say)
    shop.prepare(on_bad="rollback" if trigger == "command" else "report")
    (good,) = sandbox.live(service.worker)
    sandbox.clock.longest_sleep = LONGEST_SLEEP
    sandbox.clock.on_sleep = partial(_send_requests, world, service, good)
    decision, run = shop.deploy(shop.commit("New tax rule", BAD), "the bad release")
    sandbox.clock.on_sleep = lambda: None
    issues = [each for each in sandbox.github.issues if each.find_label("incident")]
    if (decision, run.conclusion, len(issues)) != (GO, "failure", 1):
        raise ConfigError(
            f"the job of the bad release ended as {run.conclusion}, and {len(issues)} incidents are open",
            hint="Read the output of `ops guard`.",
        )
    say(f"the job failed, and incident #{issues[0].number} is open")
    return int(issues[0].number)


def _send_requests(world: DrillWorld, service: "Service", good: str) -> None:
    """Send the requests of other clients, while the guard waits. Only the good version answers them."""
    from sandbox.cloudflare.analytics.state import SUCCESS, THREW

    sandbox, account = world.sandbox, world.environment.account_id
    for version in sandbox.live(service.worker):
        outcome = SUCCESS if version == good else THREW
        for _ in range(OTHERS):
            at = sandbox.clock.now()
            sandbox.analytics.record_invocation(account, service.worker, version, outcome, at=at, seconds=0.01, size=9)


def run(
    world: DrillWorld,
    service: "Service",
    probe: Callable[[], ProbeObservation],
    start_runbook: github.DrillTrigger,
    say: Say,
) -> dict[str, Any]:
    """Recover from the incident of the guard, and return the result."""
    incident = start_runbook.incident
    assert incident is not None
    if start_runbook.drill.trigger == "command":
        say("the guard rolled it back")
        record = incident.last_record
        result = github.result_from_record(record) if record and record.decision else dict(command.NO_RESULT)
        place = {"runbook": world.runbook, "environment": world.environment.name, "service": world.service}
        result = {"schema": 1, **result, **place, "journal": record is not None, "imported": False}
    else:
        result = start_runbook({})
    first = dict(world.sandbox.deployments(service.worker)[-1].percentages)
    live = "good" if world.sandbox.live(service.worker) == first else "bad"
    result = github.compare_with_sandbox(result, live_release=live, is_healthy=probe().verdict == Verdict.HEALTHY)
    issues = [each for each in world.sandbox.github.issues if each.find_label("incident")]
    if result["decision"] == Decision.RECOVERED and len(issues) != 1:
        return mark_drill_unhealthy(result, f"{result['message']}; there are {len(issues)} incidents")
    return result


SCENARIO = replace(
    scenario_release.WORKER,
    runbook=RUNBOOK,
    run=run,
    deploy_bad=deploy_bad,
    needs_incident=True,
    permissions=("Workers Scripts Write", "Account Analytics Read"),
    unsupported={"workerd": "a guard sees only answers, so the runtime of the Workers does not matter"},
)
