"""Break a local Cloudflare, recover it with the public command, and score the result.

The command runs in its own process, with the ops.yml of the reference application or of `--config`, unchanged. Of our
variables it gets only the sandbox's, so that it reaches no real token and no real address. With a trigger there is an
incident too; a label or button runs the real workflow files.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app import registry
from ops.app.run import read_config
from ops.core.clock import format_duration
from ops.core.errors import EXIT_CODES, ConfigError, Decision, Reason
from ops.core.redaction import Redactor
from ops.core.suggestions import did_you_mean, quote_name
from ops.core.system_clock import SystemClock
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import (
    command,
    github,
    scenario_durable_object,
    scenario_leak,
    scenario_limits,
    scenario_maintenance,
    scenario_release,
    scenario_switch,
    score,
    status_check,
)
from ops.drills.command import UNREACHED, OnEvent, Say
from ops.drills.support import DrillSupport, Edge, Trigger
from ops.probes.http import ProbeClient
from ops.probes.runner import ProbeRunner, ProbeSet
from ops.tools import node, process

if TYPE_CHECKING:
    from ops.config import Config, Environment, Service
    from sandbox import Sandbox
    from sandbox.switches import Switches

GOOD_AGO = timedelta(hours=2)
REFERENCE = scenario_release.EXAMPLES / "ops.yml"
"""Configuration of the application that drills deploy. It stays when a team replaces the repository's own."""


@dataclass(frozen=True)
class Drill:
    """The settings of a drill."""

    edge: Edge
    config: Path
    environment: str
    service: str
    """"" for the first service of the drill's kind."""
    switches: tuple[str, ...] = ()
    """Switches of the sandbox, as `name=value`."""
    trigger: Trigger | None = None
    """None for the plain command, without GitHub."""
    github_fails: str | None = None


DRILLS: Mapping[str, scenario_release.Scenario] = {
    "rollback-worker": scenario_release.WORKER,
    "rollback-pages": scenario_release.SITE,
    "redeploy-pages": scenario_release.COMMITS,
    "rotate-secrets": scenario_leak.LEAK,
    "rotate-secrets-after-rollback": scenario_leak.AFTER_A_ROLLBACK,
    "maintenance": scenario_maintenance.KIND,
    "feature": scenario_switch.FEATURE,
    "ai-failover": scenario_switch.FAILOVER,
    "ai-off": scenario_switch.ALL_DOWN,
    "reset-durable-object": scenario_durable_object.KIND,
}
"""Name of the drill → its scenario: a good release, then a failure to recover from. The name is the runbook's unless
the scenario says otherwise.
"""


def names() -> tuple[str, ...]:
    """Return the names of all drills."""
    return (*DRILLS, scenario_limits.NAME)


def run(name: str, drill: Drill, say: Say, on_event: OnEvent) -> dict[str, Any]:
    """Run the drill. Return the run's result with the score; its exit code is that of the drill. Raises ConfigError."""
    if name not in names():
        raise ConfigError(f'no drill "{quote_name(name)}"{did_you_mean(name, names())}', reason=Reason.UNKNOWN_NAME)
    if drill.github_fails and drill.trigger is None:
        raise ConfigError("--github-fails needs a GitHub", hint="Add --trigger label, button or command.")
    config, _ = read_config(drill.config)
    support(name, drill, config).check(config, drill.edge, drill.trigger)
    if name == scenario_limits.NAME:
        return _limits(drill, config, say, on_event)
    return _run(name, drill, config, say, on_event)


def support(name: str, drill: Drill, config: "Config") -> DrillSupport:
    """Return the edges and triggers that the drill supports. Raises ConfigError if ops.yml has no such service."""
    if name == scenario_limits.NAME:
        return DrillSupport(name, {}, scenario_limits.RUNBOOK, drill.environment, ({},))
    kind = _kind(name, drill.edge)
    service = _service(config.environment(drill.environment), drill.service, kind.name)
    named = {"service": service.name} if kind.names_service else {}
    runs = tuple({**named, **params} for params in (kind.params, *kind.params_later))
    return DrillSupport(name, kind.lacks, kind.runbook or name, drill.environment, runs)


def unsupported(name: str) -> Mapping[str, str]:
    """Return edge or trigger that the drill does not support → the reason."""
    return DRILLS[name].lacks if name in DRILLS else {}


def _run(name: str, drill: Drill, config: "Config", say: Say, on_event: OnEvent) -> dict[str, Any]:
    from sandbox import Sandbox
    from sandbox.edge.front_door import SKIPS_CHALLENGE

    kind = _kind(name, drill.edge)
    runbook = kind.runbook or name
    environment = config.environment(drill.environment)
    service = _service(environment, drill.service, kind.name)
    switches = prepare(drill.edge, drill.switches)
    with (
        tempfile.TemporaryDirectory() as scratch,
        Sandbox(account_id=environment.account_id, edge=drill.edge, switches=switches) as sandbox,
    ):
        own = Path(scratch)
        account = f"{drill.environment} in {_display_path(drill.config)}"
        say(f"a local Cloudflare is up ({drill.edge} edge); its account is that of {account}")
        with _back_in_time(sandbox, GOOD_AGO):
            kind.prepare(sandbox, environment, service)
        live = {}
        for which, ago, step in zip(("good", "bad"), (GOOD_AGO, kind.broken_ago), kind.steps, strict=True):
            with _back_in_time(sandbox, ago):
                could = kind.release(sandbox, service, which, drill.edge, own)
            live[which] = could or kind.live(sandbox, service)
            say(f"{step} {f'{format_duration(ago.total_seconds())} ago' if ago else 'just now'}")
        probes = ProbeSet(service.url, kind.probes(environment, service), service.verify)
        passes = dict.fromkeys(config.header_variables, SKIPS_CHALLENGE)
        look = partial(_probe, sandbox, probes, drill.config.resolve().parent, passes)
        seen = look()
        say(f"the probes say: {seen.detail}")
        if seen.verdict != Verdict.UNHEALTHY:
            return _score(name, drill, config, _not_broken(seen))
        token = sandbox.add_token("sandbox-drill", kind.permissions) if kind.permissions else ""
        given = {**passes, **kind.environ(own)}
        person = next(iter(config.responders), command.DrillWorld.responder)
        place = command.DrillWorld(
            sandbox, drill.config, runbook, service.name, environment, given, token, kind.names_service, person
        )
        incident = _incident(place, drill, say)
        pull = _Trigger(place, drill, config, kind, incident, say, on_event)
        result = pull(kind.params) if kind.run is None else kind.run(place, service, look, pull, say)
        if kind.run is None and incident is not None:
            serves = next((which for which, what in live.items() if kind.live(sandbox, service) == what), "no known")
            is_well = look().verdict == Verdict.HEALTHY
            result = github.compare_with_sandbox(result, serves=serves, is_well=is_well)
        if wrong := status_check.contradictions(sandbox, environment, drill.config):
            result = github.mark_unhealthy(result, f"ops status says {'; '.join(wrong)}")
        return _score(
            name, drill, config, result if incident is None else _add_report(place, drill, result, incident, say)
        )


def _display_path(path: Path) -> str:
    """Return the path as a person would type it in this folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _kind(name: str, edge: Edge) -> scenario_release.Scenario:
    kind = DRILLS[name]
    return kind.in_workerd if edge == "workerd" and kind.in_workerd else kind


def _limits(drill: Drill, config: "Config", say: Say, on_event: OnEvent) -> dict[str, Any]:
    from sandbox import Sandbox

    environment = config.environment(drill.environment)
    switches = prepare(drill.edge, drill.switches)
    with Sandbox(account_id=environment.account_id, edge=drill.edge, switches=switches) as sandbox:
        result = scenario_limits.run(
            sandbox,
            config,
            environment,
            config_path=drill.config,
            edge=drill.edge,
            trigger=drill.trigger,
            say=say,
            on_event=on_event,
        )
    target = config.recovery_targets.get(scenario_limits.RUNBOOK)
    return score.add_score(result, target, runbook=scenario_limits.NAME, edge=drill.edge, with_incident=True)


def _service(environment: "Environment", name: str, kind: str) -> "Service":
    """Return the service to break. Raises ConfigError if it has another kind or ops.yml has none."""
    names = [each for each, service in environment.services.items() if service.kind == kind]
    service = environment.service(name or next(iter(names), kind))
    if service.kind != kind:
        hint = f"Name one of: {', '.join(names) or 'none'}."
        raise ConfigError(f"{name} has no {kind}, which this drill breaks", reason=Reason.UNKNOWN_NAME, hint=hint)
    return service


def prepare(edge: Edge, switches: Iterable[str]) -> "Switches":
    """Return the sandbox's switches, and install its npm packages if needed. Raises ConfigError."""
    from sandbox.switches import parse

    try:
        if edge == "workerd":
            node.install_packages()
        return parse(switches)
    except (node.MissingTool, ValueError) as error:
        raise ConfigError(str(error)) from None


@contextmanager
def _back_in_time(sandbox: "Sandbox", ago: timedelta) -> Iterator[None]:
    sandbox.clock.advance(-ago.total_seconds())
    try:
        yield
    finally:
        sandbox.clock.advance(ago.total_seconds())


def _probe(sandbox: "Sandbox", probes: ProbeSet, folder: Path, passes: Mapping[str, str]) -> ProbeObservation:
    """Run one round of the runbook's probes. `passes`: values of their secret headers."""
    web = ProbeClient(sandbox.edge_url)
    try:
        environ = {**process.clean_environment(os.environ), **passes}
        prober = ProbeRunner(
            web=lambda: web,
            environ=lambda _: environ,
            redactor=Redactor(),
            clock=SystemClock(),
            folder=folder,
            pictures=folder,
        )
        return prober.run_round(probes)
    finally:
        web.close()


def _incident(place: command.DrillWorld, drill: Drill, say: Say) -> github.DrillIncident | None:
    """Open the incident of the drill; None without a trigger. Raises ConfigError."""
    if drill.trigger is None:
        return None
    incident = github.open_incident(place)
    say(f"{place.responder} opened the incident #{incident.number}")
    if drill.trigger != "command":
        github.prepare_repository(place, registry.github_environment(place.runbook))
    return incident


@dataclass(frozen=True)
class _Trigger:
    place: command.DrillWorld
    drill: Drill
    config: "Config"
    kind: scenario_release.Scenario
    incident: github.DrillIncident | None
    say: Say
    on_event: OnEvent

    def __call__(self, params: command.Params) -> dict[str, Any]:
        """Start the runbook and return its result. Import its record if the incident misses it."""
        incident = self.incident
        if incident is None:
            return command.run(self.place, say=self.say, on_event=self.on_event, params=params)
        before = incident.journal
        with github.github_failures(incident, self.drill.trigger, self.drill.github_fails):
            result = self._on(incident, params)
        result |= {"journal": incident.has_whole_journal(before), "imported": False}
        if result["decision"] == Decision.RECOVERED and not result["journal"]:
            source = result["workflow_run"]["log"] if "workflow_run" in result else result["run"]
            command.import_run(self.place, source, incident.number, self.say, environ=incident.environ())
            result["imported"] = incident.has_whole_journal(before)
        return result

    def _on(self, incident: github.DrillIncident, params: command.Params) -> dict[str, Any]:
        if self.drill.trigger != "command":
            pressed = incident, self.config, self.drill.trigger, params
            return github.by_workflow(*pressed, self.say, changed_at=self.kind.changed_at)
        return command.run(
            self.place,
            say=self.say,
            on_event=self.on_event,
            params=params,
            incident=incident.number,
            environ=incident.environ(),
        )


def _add_report(
    place: command.DrillWorld, drill: Drill, result: dict[str, Any], incident: github.DrillIncident, say: Say
) -> dict[str, Any]:
    """Return the result with the incident and its report."""
    if result["decision"] == Decision.RECOVERED and incident.report is None:
        command.ops(place, ["incident", "report", str(incident.number)], say, environ=incident.environ())
    return {**result, "trigger": drill.trigger, **incident.describe()}


def _not_broken(seen: ProbeObservation) -> dict[str, Any]:
    return {
        **UNREACHED,
        "schema": 1,
        "decision": Decision.NO_EVIDENCE.value,
        "reason": Reason.NO_EVIDENCE.value,
        "exit_code": EXIT_CODES[Decision.NO_EVIDENCE],
        "message": f"the bad release is {seen.verdict.value}, so there was nothing to recover from",
        "hint": seen.hint,
    }


def _score(name: str, drill: Drill, config: "Config", result: dict[str, Any]) -> dict[str, Any]:
    target = config.recovery_targets.get(DRILLS[name].runbook or name)
    return score.add_score(result, target, runbook=name, edge=drill.edge, with_incident=drill.trigger is not None)
