"""Scenario of a bad deployment in another repository, whose job runs `ops guard`.

By command, the guard rolls it back by itself: its probes and the requests of others both fail. By label or button, the
guard only opens the incident, and the responder rolls back from its menu.
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ops.core.errors import ConfigError, Decision
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import command, github, scenario_release
from ops.drills.command import DrillWorld, Say
from ops.drills.score import mark_unhealthy
from ops.drills.support import Trigger

if TYPE_CHECKING:
    from ops.config import Service

NAME = "bad-deploy-guarded"
RUNBOOK = "rollback-worker"
BAD = 6
"""Exit code of a guard of a bad deployment, also of one that it rolled back."""
OTHERS = 60
"""Requests of other clients in each pause of the guard. They fail while the bad release is live."""
LONGEST_SLEEP = 5.0
"""Longest real seconds that a command of the drill sleeps; a longer sleep moves the clock."""


@dataclass(frozen=True)
class _Users:
    """Other clients of the service, who send requests while the guard waits."""

    world: DrillWorld
    service: "Service"
    bad: str

    def send_requests(self) -> None:
        from sandbox.cloudflare.analytics.state import SUCCESS, THREW

        sandbox, account = self.world.sandbox, self.world.environment.account_id
        for version in sandbox.live(self.service.worker):
            outcome = THREW if version == self.bad else SUCCESS
            for _ in range(OTHERS):
                at = sandbox.clock.now()
                sandbox.analytics.record_invocation(
                    account, self.service.worker, version, outcome, at=at, seconds=0.01, size=9
                )


def find_incident(world: DrillWorld, service: "Service", trigger: Trigger, say: Say) -> int:
    """Run the guard in the application's job, and return the incident that it opened. Raises ConfigError."""
    sandbox = world.sandbox
    (bad,) = sandbox.live(service.worker)
    sandbox.clock.longest_sleep, sandbox.clock.on_sleep = LONGEST_SLEEP, _Users(world, service, bad).send_requests
    arguments = ["guard", "--service", service.name, "--environment", world.environment.name]
    arguments += ["--on-bad", "rollback" if trigger == "command" else "report"]
    say(f"a job of acme/application: $ ops {' '.join(arguments)}")
    argv, variables = command.command_line(
        world, [*arguments, "--config", str(world.config)], command.application_job(world)
    )
    with command.started(argv, variables, stderr=subprocess.STDOUT) as guard:
        assert guard.stdout is not None
        for line in guard.stdout:
            say(line.rstrip())
    sandbox.clock.on_sleep = lambda: None
    issues = [each for each in sandbox.github.issues if each.find_label("incident")]
    if guard.returncode != BAD or len(issues) != 1:
        opened = f"{len(issues)} incidents"
        raise ConfigError(
            f"the guard ended with exit code {guard.returncode} and {opened}", hint="Read the output of `ops guard`."
        )
    say(f"the job failed, and incident #{issues[0].number} is open")
    return int(issues[0].number)


def run(
    world: DrillWorld,
    service: "Service",
    probe: Callable[[], ProbeObservation],
    start_runbook: github.RunbookTrigger,
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
        return mark_unhealthy(result, f"{result['message']}; there are {len(issues)} incidents")
    return result


SCENARIO = replace(
    scenario_release.WORKER,
    runbook=RUNBOOK,
    run=run,
    find_incident=find_incident,
    needs_incident=True,
    broken_ago=timedelta(minutes=2),
    steps=("deployed the good release", "deployed the bad release in a job of acme/application"),
    permissions=("Workers Scripts Write", "Account Analytics Read"),
    unsupported={"workerd": "a guard sees only answers, so the runtime of the Workers does not matter"},
)
