"""Run the drill of limits: raise a limit by a merged pull request until it expires.

It always has the local GitHub, because it needs a pull request. The drill does not trust a command's output: users send
requests to the edge before and after.
"""

import json
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.config.strict_yaml import read_yaml
from ops.core.errors import EXIT_CODES, ConfigError, Decision
from ops.core.names import LIMITS_FILE
from ops.drills import command, faults, github, scenario_release
from ops.drills.command import NO_RESULT, DrillWorld, OnEvent, Say
from ops.drills.score import mark_drill_unhealthy
from ops.drills.support import Trigger
from ops.probes.http import ProbeClient

if TYPE_CHECKING:
    from ops.config import Config, Environment, Service
    from ops.config.sections import RuntimeConfig
    from sandbox import Sandbox
    from sandbox.github.actions.state import FakeRun

NAME, RUNBOOK = "limits", "propose-limits"
LIMIT = "calc"
"""The limit for the path that users request."""
PATH = "/api/charts/calculate?date=1990-05-17&time=08:30"
FILES = ("ops.yml", LIMITS_FILE)
PERMISSIONS = ("Workers KV Storage Write",)
REVIEW = 61.0
"""Seconds that a person takes for the review, which no figure counts. KV then shows what was applied before."""


@dataclass
class _LimitsDrill:
    world: DrillWorld
    service: "Service"
    incident: github.DrillIncident
    folder: Path
    """A checkout of main with ops.yml and limits.yml."""
    say: Say
    on_event: OnEvent
    trigger: Trigger | None
    sha: str = ""
    runs: list["FakeRun"] = field(default_factory=list)

    @property
    def in_jobs(self) -> bool:
        """Whether the commands run in GitHub Actions jobs."""
        return self.trigger in {"label", "button"}

    @property
    def sandbox(self) -> "Sandbox":
        return self.world.sandbox

    def send_requests(self, times: int) -> list[int]:
        """Send up to `times` requests from one address. Return the statuses up to the first 429."""
        statuses: list[int] = []
        with closing(ProbeClient(self.sandbox.edge_url)) as web:
            while len(statuses) < times and 429 not in statuses:
                statuses.append(web.send("GET", f"{self.service.url}{PATH}")[0].status_code)
        return statuses

    def check_out(self) -> None:
        """Write the files of main to the folder."""
        hub = self.sandbox.github
        self.sha = hub.resolve("main") or ""
        for name in FILES:
            (self.folder / name).write_bytes(hub.files()[name])

    def run_ops(self, *arguments: str) -> dict[str, Any]:
        """Run a command as a job on main does. Return its result."""
        job = {**self.sandbox.github.environ(), "GITHUB_ACTIONS": "true", "GITHUB_SHA": self.sha}
        command_arguments = [*arguments, "--environment", self.world.environment.name, "--yes", "--json"]
        self.say(f"$ ops {' '.join(command_arguments)}")
        argv, environ = command.command_line(
            self.world, [*command_arguments, "--config", str(self.folder / "ops.yml")], job
        )
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
        for line in done.stderr.splitlines():
            if line.startswith("{"):
                self.on_event(json.loads(line))
        result = {**NO_RESULT, **json.loads(done.stdout or "{}")}
        self.say(f"{result['decision']}: {result['message']}")
        return result

    def run_workflows(self, trigger_run: Callable[[], object]) -> None:
        """Start the real workflow files by `trigger_run`, and let the local runner finish them."""
        self.runs += github.finish_workflows(self.world, trigger_run, self.say)


def run_limits_drill(
    sandbox: "Sandbox",
    config: "Config",
    environment: "Environment",
    *,
    config_path: Path,
    edge: str,
    trigger: Trigger | None,
    rules: tuple[faults.Rule, ...],
    say: Say,
    on_event: OnEvent,
) -> dict[str, Any]:
    """Run the drill and return its result. Raises ConfigError if ops.yml or this machine lacks a part."""
    runtime, lasts = require_limits(environment, config_path)
    service = environment.service(runtime.service)
    sandbox.kv.add(runtime.namespace)
    token = sandbox.add_token("sandbox-limits", PERMISSIONS)
    _deploy_limited_worker(sandbox, service, runtime.namespace, edge)
    world = DrillWorld(
        sandbox,
        config_path,
        RUNBOOK,
        service.name,
        environment,
        token=token,
        names_service=False,
        responder=next(iter(config.responders), DrillWorld.responder),
        actions=config.github.actions or "",
    )
    incident = github.open_drill_incident(world)
    say(f"{world.responder} opened the incident #{incident.number}")
    with tempfile.TemporaryDirectory() as folder:
        drill = _LimitsDrill(world, service, incident, Path(folder), say, on_event, trigger)
        _commit_repository(drill, config_path)
        with faults.active_faults(sandbox, rules):
            result = _recover_limits(drill, config, lasts)
    journal = incident.has_complete_record(None)
    return {**result, "trigger": trigger or "command", "journal": journal, **incident.describe()}


def require_limits(environment: "Environment", config_path: Path) -> "tuple[RuntimeConfig, float]":
    """Return the runtime, and how long its raise of the limit lasts. Raises ConfigError if ops.yml lacks a part."""
    runtime = environment.require_runtime()
    if runtime.limits is None or LIMIT not in runtime.limits.raises:
        raise ConfigError(f"ops.yml raises no limit {LIMIT}", hint="Write it under runtime.limits.raises.")
    if not _limits_path(config_path).is_file():
        raise ConfigError(f"no {LIMITS_FILE} beside {config_path}", hint="Write it, or leave --config out.")
    return runtime, runtime.limits.raises[LIMIT].lasts


def _limits_path(config: Path) -> Path:
    return config.resolve().parent / LIMITS_FILE


def _deploy_limited_worker(sandbox: "Sandbox", service: "Service", namespace: str, edge: str) -> None:
    if edge == "workerd":
        scenario_release.WORKER.release(sandbox, service, "good", edge, Path())
        return
    declared = {"calc": {"limit": 30, "period": 60, "key": "ip", "probe": True}}
    bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": namespace}]
    version = sandbox.upload(service.worker, bindings=bound, behaviour={"runtime": {"limits": declared}}, tag="good")
    sandbox.deploy(service.worker, version)


def _commit_repository(drill: _LimitsDrill, config_path: Path) -> None:
    """Commit the repository. A drill by label or button also needs program and workflows."""
    hub = drill.sandbox.github
    hub.switches.actions_may_create_pull_requests = True
    if drill.in_jobs:
        github.prepare_repository(drill.world, "limits")
        # A merge is a push, which would also start the repository's own checks.
        checks = dict.fromkeys((".github/workflows/ci.yml", ".github/workflows/ops-check.yml"))
        hub.add_commit("Without CI", drill.world.responder, files=checks)
    else:
        files = {"ops.yml": config_path.read_bytes(), LIMITS_FILE: _limits_path(config_path).read_bytes()}
        hub.add_commit("The operations repository", drill.world.responder, files=files)
    drill.check_out()


def _recover_limits(drill: _LimitsDrill, config: "Config", lasts: float) -> dict[str, Any]:
    first = drill.run_ops("limits", "apply")
    if first["exit_code"]:
        return first
    limit = _applied_limit(drill)
    refused = drill.send_requests(2 * limit + 1)
    drill.say(f"users are answered {refused[-1]} after {len(refused)} requests")
    if refused[-1] != 429:
        return mark_drill_unhealthy(first, "no user was refused, so there was nothing to recover from")
    began = drill.sandbox.clock.now()
    number = _propose_limits(drill, config)
    if number is None:
        return mark_drill_unhealthy(first, "no pull request was opened")
    result = _merge_limits(drill, number)
    if result["decision"] != Decision.RECOVERED:
        return result
    verified = drill.sandbox.clock.now()
    if (statuses := drill.send_requests(limit // 2)) and 429 in statuses:
        return mark_drill_unhealthy(result, "the limit was raised, and users are still refused")
    drill.say("users are let through")
    drill.sandbox.clock.advance(lasts + 60)
    drill.say("the temporary limit is over by the clock of the Worker, and nobody has done anything")
    statuses_later = drill.send_requests(2 * limit)
    if 429 not in statuses_later:
        return mark_drill_unhealthy(
            result, f"the former limit does not hold again: {len(statuses_later)} requests were let through"
        )
    drill.say(f"users are refused again after {len(statuses_later)} requests: it is back at {limit}")
    if drill.incident.report is None:
        report = ["incident", "report", str(drill.incident.number)]
        command.run_ops(drill.world, report, drill.say, environ=drill.incident.environ())
    seconds = (verified - began).total_seconds() - REVIEW
    message = f"{result['message']}; users were let through, and after {lasts / 3600:g} h the former limit held again"
    durations = {"trigger_to_write": seconds, "trigger_to_verified": seconds, "total": seconds}
    return {**result, "message": message, "runbook": RUNBOOK, "durations": durations}


def _applied_limit(drill: _LimitsDrill) -> int:
    return int(read_yaml((drill.folder / LIMITS_FILE).read_text(encoding="utf-8")).data[LIMIT]["limit"])


def _propose_limits(drill: _LimitsDrill, config: "Config") -> int | None:
    """Start the runbook and return the number of its pull request."""
    hub, incident = drill.sandbox.github, drill.incident.number
    if drill.in_jobs:
        text, trigger_run = github.requester_action(drill.incident, config, drill.trigger, {})
        drill.say(f"{drill.world.responder} {text}")
        drill.run_workflows(lambda: trigger_run(hub))
    else:
        drill.run_ops(RUNBOOK, "--incident", str(incident), "--reason", "drill")
    return next(iter(hub.open_pulls()), None)


def _merge_limits(drill: _LimitsDrill, number: int) -> dict[str, Any]:
    """Merge the pull request as a person, and return the result of `limits apply`."""
    hub = drill.sandbox.github
    drill.say(f"{drill.world.responder} reviews pull request #{number} for a minute and merges it")
    drill.sandbox.clock.advance(REVIEW)
    if not drill.in_jobs:
        hub.merge(number, drill.world.responder)
        drill.check_out()
        return drill.run_ops("limits", "apply")
    drill.run_workflows(lambda: hub.merge(number, drill.world.responder))
    comments = "\n".join(comment.body for comment in hub.issue(number).comments)
    decision = Decision.RECOVERED if "**After the merge:** recovered" in comments else Decision.FAILED
    code, message = EXIT_CODES[decision], f"pull request #{number} says {decision.value}"
    return {**NO_RESULT, "schema": 1, "decision": decision.value, "reason": "", "exit_code": code, "message": message}
