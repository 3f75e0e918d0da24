"""Scenario of the deployment after a rollback: the check of the application refuses it.

A bad release of an application in another repository is rolled back. Its job runs the check before each deployment:
the rolled back commit and its revert are refused, and a fix that names the incident is not. Where ops.yml says that the
service has the check, the responder lifts the hold by label or button, and the rolled back commit passes too.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.core.errors import Decision
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import command, github, release_answers, scenario_release
from ops.drills.command import DrillWorld, Say
from ops.drills.score import mark_unhealthy
from ops.drills.support import find_label

if TYPE_CHECKING:
    from ops.config import Service
    from sandbox import Sandbox

NAME = "held-deploy"
RUNBOOK, LIFT = "rollback-worker", "lift-commit-hold"
APPLICATION = "acme/application"
"""The repository of the application, which is not that of its incidents."""
READ_TOKEN, OPERATIONS_TOKEN = "sandbox-hold-check", "sandbox-application"
"""They open nothing but the sandbox."""
CHECK = "import sys; from ops.tools.hold_check.command import main; sys.exit(main())"
"""The program that the action hold-check runs."""
GO, REFUSED = "go", "refused"


@dataclass(frozen=True)
class _Application:
    """The repository of the application, and the check in its job."""

    world: DrillWorld
    service: "Service"
    say: Say

    @property
    def folder(self) -> Path:
        """Return the folder of the drill, in which the repository is."""
        return self.world.repositories[APPLICATION].parent

    def head(self) -> str:
        return scenario_release.run_git(self.folder, "rev-parse", "HEAD")

    def commit(self, message: str) -> str:
        """Commit to the main branch, and return the SHA."""
        scenario_release.run_git(self.folder, "commit", "-q", "--no-gpg-sign", "--allow-empty", "-m", message)
        return self.head()

    def check(self, commit: str, what: str) -> str:
        """Run the check as the job of the application does, and return its decision."""
        world, hub = self.world, self.world.sandbox.github
        arguments = ["--worker", self.service.worker, "--account-id", world.environment.account_id]
        arguments += ["--commit", commit, "--folder", str(self.folder / scenario_release.SOURCE)]
        arguments += ["--operations", hub.repository, "--json"]
        job = {**hub.environ(), "GITHUB_REPOSITORY": APPLICATION, "OPERATIONS_TOKEN": OPERATIONS_TOKEN}
        _, environ = command.command_line(world, [], {**job, "GITHUB_TOKEN": ""})
        environ |= {world.environment.token: "", "CLOUDFLARE_API_TOKEN": READ_TOKEN}
        argv = [sys.executable, "-c", CHECK, *arguments]
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
        answer = json.loads(done.stdout or "{}")
        decision = str(answer.get("decision", done.stderr.strip()))
        self.say(f"hold check of {what}: {decision.replace('_', ' ')}")
        return decision


def run(
    world: DrillWorld,
    service: "Service",
    probe: Callable[[], ProbeObservation],
    start_runbook: Any,
    say: Say,
) -> dict[str, Any]:
    """Roll back, and check four commits. Return the result of the rollback."""
    incident, application = start_runbook.incident, _Application(world, service, say)
    assert incident is not None, "the scenario needs an incident"
    world.sandbox.add_token(READ_TOKEN, ["Workers Scripts Read"])
    incident.github.add_token(OPERATIONS_TOKEN, world.responder, ["issues:read"])
    bad = application.head()
    problems = _compare(application, bad, "the release before any rollback", GO)
    result = start_runbook({})
    if result["decision"] != Decision.RECOVERED:
        return dict(result)
    problems += [] if probe().verdict == Verdict.HEALTHY else ["the service is not healthy"]
    problems += _compare(application, bad, "the release that was rolled back", REFUSED)
    problems += _compare(application, application.commit("Revert"), "its revert, which names no incident", REFUSED)
    fix = application.commit(f"Fix it\n\nFixes-Incident: {incident.number}")
    problems += _compare(application, fix, f"a fix with Fixes-Incident: {incident.number}", GO)
    end = "until a commit named the incident"
    if _lift(start_runbook, incident, say):
        problems += _compare(application, bad, "the rolled back release after the lift", GO)
        end += ", or a responder lifted the hold"
    if problems:
        return mark_unhealthy(result, "; ".join([result["message"], *problems]))
    return {**result, "message": f"{result['message']}; the check refused the next deployment {end}"}


def _compare(application: _Application, commit: str, what: str, expected: str) -> list[str]:
    decision = application.check(commit, what)
    return [] if decision == expected else [f"the check of {what} says {decision}, and not {expected}"]


def _lift(start_runbook: Any, incident: github.DrillIncident, say: Say) -> bool:
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


def _release(sandbox: "Sandbox", service: "Service", name: str, _edge: str, folder: Path) -> None:
    """Commit the release to the application's repository, and deploy it with its commit as tag."""
    if name == "good":
        scenario_release.run_git(folder, "init", "-q", "-b", "main")
    scenario_release.run_git(folder, "commit", "-q", "--no-gpg-sign", "--allow-empty", "-m", f"The {name} release")
    commit = scenario_release.run_git(folder, "rev-parse", "HEAD")
    behaviour = release_answers.build_behavior(service.probes) if name == "good" else {"status": 500}
    message = f"the {name} release"
    version = sandbox.upload(service.worker, code=name, behaviour=behaviour, tag=commit, message=message)
    sandbox.deploy(service.worker, version)


SCENARIO = replace(
    scenario_release.WORKER,
    release=_release,
    runbook=RUNBOOK,
    run=run,
    repository=APPLICATION,
    needs_incident=True,
    unsupported={"workerd": "the check reads no answer of the Worker, so its runtime does not matter"},
)
