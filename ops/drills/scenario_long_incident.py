"""Scenario of a reopened incident with two recoveries, and a count of failed requests.

A bad release breaks a Worker, and the responder recovers it. The incident is closed. Then the bad release is deployed
again. A colleague reopens the incident, and recovers the Worker on a laptop. The responder presses once more, and
nothing is left to do. What Backout says of it must be true: state and report.
"""

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.core.errors import Decision
from ops.core.run_record import STATE_SOURCE, read_record
from ops.core.verdict import ProbeObservation
from ops.drills import command, github, scenario_maintenance, scenario_release
from ops.drills.command import DrillWorld, Say
from ops.drills.score import mark_drill_unhealthy
from ops.probes.http import ProbeClient

if TYPE_CHECKING:
    from ops.config import Config, Service
    from sandbox import Sandbox

NAME = "long-incident"
RUNBOOK = "rollback-worker"
COLLEAGUE = "colleague"
"""Recovers the second time, if ops.yml names no second responder."""
COLLEAGUE_TOKEN = "sandbox-colleague"  # noqa: S105  opens nothing but the sandbox
USERS = 40
"""Requests of users before and after each change: few enough that the analytics count each one."""
USER_AGENT = "drill-user"
FORM = "### Service\n\n{service}\n\n### When it began (UTC)\n\n{began:%Y-%m-%d %H:%M}\n"
COMPLETE = timedelta(minutes=10)
"""Time after which Backout takes the analytics for complete, besides their delay."""
OPEN, AGAIN = timedelta(minutes=10), timedelta(minutes=40)
"""Time from the first recovery to the closing of the incident, and from there to the second failure."""


@dataclass
class _Users:
    """Users of the Worker, who count the requests that fail for them."""

    world: DrillWorld
    url: str
    failed: int = 0

    def request(self) -> int:
        """Send the requests of one moment, and return how many failed."""
        with closing(ProbeClient(self.world.sandbox.edge_url)) as web:
            answers = [web.send("GET", self.url, headers={"user-agent": USER_AGENT})[0] for _ in range(USERS)]
        failed = sum(answer.status_code >= 500 for answer in answers)
        self.failed += failed
        return failed


def run(
    world: DrillWorld,
    service: "Service",
    _probe: Callable[[], ProbeObservation],
    start_runbook: github.DrillTrigger,
    say: Say,
) -> dict[str, Any]:
    """Play the incident. Return the result of the first recovery, marked unhealthy if what Backout says is not true."""
    incident = start_runbook.incident
    assert incident is not None, "the scenario needs an incident"
    sandbox, users = world.sandbox, _Users(world, f"{service.url}/")
    bad = next(iter(sandbox.live(service.worker)))
    _state_start(world, incident)
    say(f"{users.request()} of {USERS} requests of users fail")
    result = start_runbook({})
    if result["decision"] != Decision.RECOVERED:
        return result
    say(f"{users.request()} of {USERS} requests of users fail")
    sandbox.clock.advance(OPEN.total_seconds())
    incident.github.close(incident.number, world.responder)
    say(f"{world.responder} closed the incident")
    sandbox.clock.advance(AGAIN.total_seconds())
    sandbox.deploy(service.worker, bad)
    sandbox.clock.advance(sandbox.switches.propagation_seconds + 60)
    say(f"CI deployed the bad release again: {users.request()} of {USERS} requests of users fail")
    colleague, second = _recover_on_laptop(world, start_runbook.config, incident, say)
    say(f"{users.request()} of {USERS} requests of users fail")
    again = _press_again(start_runbook, say)
    sandbox.clock.advance(sandbox.switches.analytics_delay_seconds + COMPLETE.total_seconds())
    problems = [] if second["decision"] == Decision.RECOVERED else [f"the second recovery: {second['message']}"]
    problems += [] if again == Decision.NOTHING_TO_DO else [f"the third press ended {again}"]
    problems += _find_untruths(world, incident, (result["run"], second["run"]), colleague, say)
    problems += _check_report(world, incident, users.failed, say)
    problems += _check_state_comment(incident, by_job="workflow_run" in result)
    if problems:
        return mark_drill_unhealthy(result, "; ".join([result["message"], *problems]))
    counted = f"the report counts the {users.failed} failed requests of users"
    return {**result, "message": f"{result['message']}; the state of the incident is true, and {counted}"}


def _state_start(world: DrillWorld, incident: github.DrillIncident) -> None:
    """Name the service and the start in the issue form, as its writer does: the first minute after the deployment."""
    deployed = world.sandbox.deployments(world.environment.service(world.service).worker)[0].made_at
    began = (deployed + timedelta(minutes=1)).replace(second=0, microsecond=0)
    incident.github.edit_issue(incident.number, FORM.format(service=world.service, began=began), world.responder)


def _recover_on_laptop(
    world: DrillWorld, config: "Config", incident: github.DrillIncident, say: Say
) -> tuple[str, dict[str, Any]]:
    """Let a colleague reopen the incident and type the command. Return the login and the result."""
    others = [each for each in config.responders if each != world.responder]
    colleague = next(iter(others), world.responder if config.responders else COLLEAGUE)
    incident.github.add_user(colleague)
    incident.github.add_token(COLLEAGUE_TOKEN, colleague, ["issues:write", "actions:write"])
    incident.github.reopen(incident.number, colleague)
    say(f"{colleague} reopened the incident")
    environ = {**incident.environ(), "GITHUB_TOKEN": COLLEAGUE_TOKEN}
    given: dict[str, Any] = {"params": {}, "incident": incident.number, "environ": environ}
    return colleague, command.run_drilled_command(world, say=say, on_event=lambda _: None, **given)


def _press_again(start_runbook: Any, say: Say) -> str:
    """Press the button after a label, else the same again. Return the decision."""
    pressed = "button" if start_runbook.drill.trigger == "label" else start_runbook.drill.trigger
    say(f"{start_runbook.world.responder} requests it once more")
    other = replace(start_runbook, drill=replace(start_runbook.drill, trigger=pressed))
    return str(other({})["decision"])


def _find_untruths(
    world: DrillWorld, incident: github.DrillIncident, runs: tuple[str, str], colleague: str, say: Say
) -> list[str]:
    """Return what `ops incident show` says that is not as it was."""
    state = _read_state(world, incident, say)
    if not state:
        return ["`ops incident show --json` printed nothing"]
    services = [(each["service"], each["state"], each["recovered"]["run"]) for each in state["services"]]
    periods = [each["closed_at"] is None for each in state["periods"]]
    who = [each["who"] for each in state["actions"] if each["run"] in runs]
    told = {"services": services, "open periods": periods, "second recovery by": who[-1:]}
    true = {
        "services": [(world.service, "recovered", runs[1])],
        "open periods": [False, True],
        "second recovery by": [f"{colleague}, from a laptop"],
    }
    return [f"{name}: {told[name]} instead of {true[name]}" for name in true if told[name] != true[name]]


def _read_state(world: DrillWorld, incident: github.DrillIncident, say: Say) -> Mapping[str, Any]:
    """Return the result of `ops incident show`; empty if it failed."""
    arguments = ["incident", "show", str(incident.number), "--json"]
    say(f"$ ops {' '.join(arguments)}")
    argv, environ = command.command_line(world, [*arguments, "--config", str(world.config)], incident.environ())
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    say(done.stderr.strip())
    return dict(json.loads(done.stdout or "{}"))


def _check_report(world: DrillWorld, incident: github.DrillIncident, failed: int, say: Say) -> list[str]:
    """Write the report, and return what its impact says that is not as it was."""
    code = command.run_ops(world, ["incident", "report", str(incident.number)], say, environ=incident.environ())
    report = incident.report
    if code or report is None:
        return [f"the report was not written, exit code {code}"]
    counted = re.search(r"^\| 5xx \| (.+) \|$", incident.github.issue(report["number"]).body or "", re.MULTILINE)
    shown = counted[1] if counted else "no number"
    return [] if shown == str(failed) else [f"the report shows {shown} of the {failed} failed requests of users"]


def _check_state_comment(incident: github.DrillIncident, *, by_job: bool) -> list[str]:
    """Return what is wrong with the comment that shows the state. Only jobs make it."""
    bodies = (comment.body for comment in incident.github.issue(incident.number).comments)
    shown = [body for body in bodies if (record := read_record(body)) and record.source == STATE_SOURCE]
    if len(shown) != by_job:
        return [f"the incident has {len(shown)} comments with its state"]
    return [f"the comment with the state is wrong: {body[:200]}" for body in shown if "**recovered**" not in body]


def _release_behind_route(sandbox: "Sandbox", service: "Service", name: str, edge: str, folder: Path) -> None:
    """Deploy the Worker behind a route, so that the analytics of its zone count the answers."""
    scenario_release.WORKER.release(sandbox, service, name, edge, folder)
    if name == "good":
        scenario_maintenance.add_route(sandbox, service)


SCENARIO = replace(
    scenario_release.WORKER,
    release=_release_behind_route,
    runbook=RUNBOOK,
    run=run,
    needs_incident=True,
    permissions=("Workers Scripts Write", "Account Analytics Read", "Analytics Read", "Zone Read"),
    unsupported={"workerd": "it counts answers, so the runtime of the Workers does not matter"},
)
