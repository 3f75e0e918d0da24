"""Break the sandbox, recover with the public command, score.

The command runs in its own process, with the ops.yml of the reference application or of `--config`, unchanged. Of our
variables it gets only the sandbox's, so that it reaches no real token and no real address. With a trigger there is an
incident too; a label or button runs the real workflow files.

Subjects: scenarios, faults, what a drill cannot run with, a text that satisfies a probe.

Examples: deploy_example, find_status_differences, add_score.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops.app import registry
from ops.app.configuration import read_config
from ops.config.probes import ProbeSet
from ops.core.clock import format_age
from ops.core.errors import ConfigError, Decision, Reason
from ops.core.names import CHECK_OUTAGE, did_you_mean, quote_name
from ops.core.verdict import Verdict
from ops.drills import (
    command,
    faults,
    github,
    repository,
    scenario_bad_night,
    scenario_database,
    scenario_durable_object,
    scenario_guard,
    scenario_held_deploy,
    scenario_leak,
    scenario_limits,
    scenario_long_incident,
    scenario_maintenance,
    scenario_outage,
    scenario_relapse,
    scenario_release,
    scenario_stop,
    scenario_switch,
    scenario_tell,
    score,
    status_check,
)
from ops.drills.application import REPOSITORY as APPLICATION
from ops.drills.command import OnEvent, Say
from ops.drills.github import READ_ONLY_ENVIRONMENT
from ops.drills.measured_platform import PlayedSwitches, run_each
from ops.drills.observation import back_in_time, first_answer, run_probes
from ops.drills.settings import DrillSettings, describe_place, make_sandbox, require_sandbox
from ops.drills.support import DrillSupport, Edge, Trigger

if TYPE_CHECKING:
    from ops.config import Config, Environment, Service
    from sandbox import Sandbox

GOOD_RELEASE_AGE = timedelta(hours=2)
RELEASES = ("good", "bad")
DEFAULT_ENVIRONMENT = "production"
REFERENCE = scenario_release.EXAMPLES / "ops.yml"
"""Configuration of the application that drills deploy. It stays when a team replaces the repository's own."""


DRILLS: Mapping[str, scenario_release.Scenario] = {
    "rollback-worker": scenario_release.WORKER,
    "rollback-pages": scenario_release.SITE,
    "redeploy-pages": scenario_release.COMMITS,
    "rotate-secrets": scenario_leak.LEAK,
    "rotate-secrets-after-rollback": scenario_leak.AFTER_A_ROLLBACK,
    "maintenance": scenario_maintenance.SCENARIO,
    "feature": scenario_switch.FEATURE,
    "ai-failover": scenario_switch.FAILOVER,
    "ai-off": scenario_switch.ALL_DOWN,
    "reset-durable-object": scenario_durable_object.SCENARIO,
    "restore-database": scenario_database.RESTORE,
    "revert-migration": scenario_database.REVERT,
    scenario_relapse.NAME: scenario_relapse.SCENARIO,
    scenario_relapse.NOISY: scenario_relapse.NOISY_SCENARIO,
    scenario_long_incident.NAME: scenario_long_incident.SCENARIO,
    scenario_stop.NAME: scenario_stop.SCENARIO,
    scenario_held_deploy.NAME: scenario_held_deploy.SCENARIO,
    scenario_guard.NAME: scenario_guard.SCENARIO,
    **scenario_tell.SCENARIOS,
    **scenario_bad_night.SCENARIOS,
}
"""Name of the drill → its scenario: a good release, then a failure to recover from. The name is the runbook's unless
the scenario says otherwise.
"""


def names() -> tuple[str, ...]:
    """Return the names of all drills."""
    return (*DRILLS, scenario_limits.NAME, *scenario_outage.OUTAGES)


def default_drill_environment(path: Path) -> str:
    """Return production if ops.yml has that environment, else its first one. Raises ConfigError."""
    names = [*read_config(path)[0].environments]
    return DEFAULT_ENVIRONMENT if DEFAULT_ENVIRONMENT in names else names[0]


def run(name: str, drill: DrillSettings, say: Say, on_event: OnEvent) -> dict[str, Any]:
    """Run the drill. Return the run's result with the score; its exit code is that of the drill. Raises ConfigError."""
    require_sandbox()
    if name not in names():
        raise ConfigError(
            f'no drill "{quote_name(name)}"{did_you_mean(name, names())}',
            reason=Reason.UNKNOWN_NAME,
            hint="Run `ops drill all` for every drill.",
        )
    if drill.github_fails and drill.trigger is None:
        raise ConfigError("--github-fails needs a GitHub", hint="Add --trigger label, button or command.")
    config, _ = read_config(drill.config)
    support(name, drill, config).check(config, drill.edge, drill.trigger)
    drill = _with_trigger(name, drill)
    if drill.platform is None:
        return _run_once(name, drill, config, say, on_event)

    def play_drill(played: PlayedSwitches) -> dict[str, Any]:
        switches = (*drill.switches, *played.cloudflare)
        settings = replace(drill, switches=switches, github_switches=played.github)
        return _run_once(name, settings, config, say, on_event)

    has_github = drill.trigger or name == scenario_limits.NAME
    return run_each(drill.platform if has_github else drill.platform.without_github(), play_drill, say)


def _run_once(name: str, drill: DrillSettings, config: "Config", say: Say, on_event: OnEvent) -> dict[str, Any]:
    if name == scenario_limits.NAME:
        return _run_limits_drill(drill, config, say, on_event)
    if name in scenario_outage.OUTAGES:
        return _run_outage_drill(name, drill, config, say)
    if (edit := DRILLS[name].edit_config) is None:
        return _run_drill(name, drill, config, say, on_event)
    with tempfile.TemporaryDirectory() as folder:
        text = edit(drill.config.read_text(encoding="utf-8"), config.environment(drill.environment))
        copy = repository.write_config_copy(drill.config, text, Path(folder))
        config, _ = read_config(copy)
        return _run_drill(name, replace(drill, config=copy), config, say, on_event)


def _with_trigger(name: str, drill: DrillSettings) -> DrillSettings:
    """Return the settings with a trigger, if the drill needs an incident."""
    if drill.trigger or name not in DRILLS or not DRILLS[name].needs_incident:
        return drill
    return replace(drill, trigger=next(each for each in ("command", "label") if each not in unsupported(name)))


def support(name: str, drill: DrillSettings, config: "Config") -> DrillSupport:
    """Return the edges and triggers that the drill supports. Raises ConfigError if ops.yml has no such service."""
    if name == scenario_limits.NAME:
        scenario_limits.require_limits(config.environment(drill.environment), drill.config)
        return DrillSupport(name, {}, scenario_limits.RUNBOOK, drill.environment, ({},))
    if name in scenario_outage.OUTAGES:
        _reached_service(config.environment(drill.environment), drill.service)
        return DrillSupport(name, scenario_outage.UNSUPPORTED, CHECK_OUTAGE, drill.environment, ())
    scenario, service = choose_scenario(name, drill.edge, config.environment(drill.environment), drill.service)
    service_param = {"service": service.name} if scenario.names_service else {}
    runs = tuple({**service_param, **params} for params in (scenario.params, *scenario.later_params))
    return DrillSupport(name, scenario.unsupported, scenario.runbook or name, drill.environment, runs)


def unsupported(name: str) -> Mapping[str, str]:
    """Return edge or trigger that the drill does not support → the reason."""
    if name in scenario_outage.OUTAGES:
        return scenario_outage.UNSUPPORTED
    return DRILLS[name].unsupported if name in DRILLS else {}


def _run_drill(name: str, drill: DrillSettings, config: "Config", say: Say, on_event: OnEvent) -> dict[str, Any]:
    from sandbox.edge.front_door import SKIPS_CHALLENGE

    environment = config.environment(drill.environment)
    scenario, service = choose_scenario(name, drill.edge, environment, drill.service)
    with tempfile.TemporaryDirectory() as scratch, make_sandbox(drill, config) as sandbox:
        folder = Path(scratch)
        say(f"a local Cloudflare is up ({drill.edge} edge); its account is that of {describe_place(drill)}")
        content = partial(scenario_release.find_live_content, sandbox, service)
        probes = ProbeSet(service.url, scenario.probes(environment, service), service.verify, find_content=content)
        secret_headers = dict.fromkeys(config.header_variables, SKIPS_CHALLENGE)
        probe = partial(run_probes, sandbox, probes, drill.config.resolve().parent, secret_headers)
        with back_in_time(sandbox, GOOD_RELEASE_AGE):
            scenario.prepare(sandbox, environment, service)
        deploy = partial(deploy_release, sandbox, scenario, service, edge=drill.edge, folder=folder, say=say)
        live = {"good": deploy("good")}
        if scenario.is_good_served and (observed := first_answer(probe)).verdict == Verdict.UNHEALTHY:
            return _score_release_drill(name, drill, config, score.describe_unanswered(observed, drill.edge))
        if scenario.deploy_bad is None:
            live["bad"] = deploy("bad")
            observed = probe()
            say(f"the probes say: {observed.detail}")
            if observed.verdict != Verdict.UNHEALTHY:
                return _score_release_drill(name, drill, config, score.describe_unbroken(observed))
        runbook, environ = scenario.runbook or name, {**secret_headers, **scenario.environ(folder)}
        world = _build_world(
            drill, config, scenario, runbook=runbook, sandbox=sandbox, service=service, environ=environ, folder=folder
        )
        incident = _open_incident(world, drill, say, deploy_bad=scenario.deploy_bad)
        start_runbook = _Trigger(world, drill, config, scenario, incident, say, on_event)
        with faults.active_faults(sandbox, drill.rules):
            result = (
                start_runbook(scenario.params)
                if scenario.run is None
                else scenario.run(world, service, probe, start_runbook, say)
            )
        if scenario.run is None and incident is not None:
            now, is_healthy = scenario.live(sandbox, service), probe().verdict == Verdict.HEALTHY
            result = github.compare_with_sandbox(result, live_release=_name_release(live, now), is_healthy=is_healthy)
        if differences := status_check.find_status_differences(sandbox, environment, drill.config):
            message = f"{result['message']}; ops status says {'; '.join(differences)}"
            result = score.mark_drill_unhealthy(result, message)
        if incident is not None:
            needs_report = result["decision"] in {Decision.RECOVERED, scenario.expected}
            result = _add_report(world, result, incident, say, needs_report=needs_report)
            result["trigger"] = drill.trigger
        return _score_release_drill(name, drill, config, result)


def _build_world(
    drill: DrillSettings,
    config: "Config",
    scenario: scenario_release.Scenario,
    *,
    runbook: str,
    sandbox: "Sandbox",
    service: "Service",
    environ: Mapping[str, str],
    folder: Path,
) -> command.DrillWorld:
    return command.DrillWorld(
        sandbox,
        drill.config,
        runbook,
        service.name,
        config.environment(drill.environment),
        environ,
        sandbox.add_token("sandbox-drill", scenario.permissions) if scenario.permissions else "",
        scenario.names_service,
        next(iter(config.responders), command.DrillWorld.responder),
        scenario.laptop_flags,
        {scenario.repository: folder / scenario_release.SOURCE} if scenario.repository else {},
        sandbox.github.add_repository(APPLICATION) if scenario.deploy_bad else None,
        config.github.actions or "",
        scenario.is_watched,
    )


def _name_release(live: Mapping[str, Any], now: Any) -> str:
    return next((release for release, state in live.items() if state == now), "no known")


def deploy_release(
    sandbox: "Sandbox",
    scenario: scenario_release.Scenario,
    service: "Service",
    release: str,
    *,
    edge: Edge,
    folder: Path,
    say: Say,
) -> Any:
    """Deploy the good or the bad release. Return its live state."""
    index = RELEASES.index(release)
    ago = (GOOD_RELEASE_AGE, scenario.broken_ago)[index]
    with back_in_time(sandbox, ago):
        later_live = scenario.release(sandbox, service, release, edge, folder)
    scenario_release.open_workers_dev(sandbox, service)
    sandbox.edge.site.forget_files()
    say(f"{scenario.steps[index]} {format_age(ago)}")
    return later_live or scenario.live(sandbox, service)


def choose_scenario(
    name: str, edge: Edge, environment: "Environment", service_name: str
) -> "tuple[scenario_release.Scenario, Service]":
    """Return the scenario, and the service that it breaks. Raises ConfigError if ops.yml has none."""
    scenario = DRILLS[name]
    scenario = scenario.in_workerd if edge == "workerd" and scenario.in_workerd else scenario
    service = _service_to_break(environment, service_name, scenario)
    scenario.require(environment, service)
    return scenario.configure(environment, service) if scenario.configure else scenario, service


def _run_limits_drill(drill: DrillSettings, config: "Config", say: Say, on_event: OnEvent) -> dict[str, Any]:
    with make_sandbox(drill, config) as sandbox:
        result = scenario_limits.run_limits_drill(
            sandbox,
            config,
            config.environment(drill.environment),
            config_path=drill.config,
            edge=drill.edge,
            trigger=drill.trigger,
            rules=drill.rules,
            say=say,
            on_event=on_event,
        )
    target = config.recovery_targets.get(scenario_limits.RUNBOOK)
    return score.add_score(result, target, runbook=scenario_limits.NAME, edge=drill.edge, with_incident=True)


def _run_outage_drill(name: str, drill: DrillSettings, config: "Config", say: Say) -> dict[str, Any]:
    from sandbox.edge.front_door import SKIPS_CHALLENGE

    environment = config.environment(drill.environment)
    service = _reached_service(environment, drill.service)
    secret_headers = dict.fromkeys(config.header_variables, SKIPS_CHALLENGE)
    with tempfile.TemporaryDirectory() as scratch, make_sandbox(drill, config) as sandbox:
        folder = Path(scratch)
        say(f"a local Cloudflare is up ({drill.edge} edge); its account is that of {describe_place(drill)}")
        for each in environment.services.values():
            of_kind = scenario_release.WORKER if each.worker else scenario_release.SITE
            deploy_release(sandbox, of_kind, each, "good", edge=drill.edge, folder=folder, say=say)
            if each.worker and each.url:
                sandbox.route(urlsplit(each.url).hostname or "", each.worker)
        scenario = scenario_release.WORKER if service.worker else scenario_release.SITE
        content = partial(scenario_release.find_live_content, sandbox, service)
        probes = ProbeSet(service.url, service.probes, service.verify, find_content=content)
        world = _build_world(
            drill,
            config,
            scenario,
            runbook=CHECK_OUTAGE,
            sandbox=sandbox,
            service=service,
            environ=secret_headers,
            folder=folder,
        )
        outage = scenario_outage.OutageDrill(
            name,
            world,
            drill.trigger,
            _open_incident(world, drill, say, READ_ONLY_ENVIRONMENT),
            partial(scenario.live, sandbox, service),
            partial(run_probes, sandbox, probes, drill.config.resolve().parent, secret_headers),
            say,
            drill.rules,
        )
        result = outage.run()
    return score.add_score(
        result,
        config.recovery_targets.get(CHECK_OUTAGE),
        runbook=name,
        edge=drill.edge,
        with_incident=False,
        expected=scenario_outage.EXPECTED,
    )


def _reached_service(environment: "Environment", name: str) -> "Service":
    """Return the service at whose url an outage shows. Raises ConfigError."""
    reached = [name for name, each in environment.services.items() if each.url]
    service = environment.service(name or next(iter(reached), next(iter(environment.services))))
    if not service.url:
        hint = f"Name one of: {', '.join(reached) or 'none'}."
        raise ConfigError(f"{service.name} has no url, at which an outage shows", reason=Reason.UNKNOWN_NAME, hint=hint)
    return service


def _service_to_break(environment: "Environment", name: str, scenario: scenario_release.Scenario) -> "Service":
    """Return the service to break. Raises ConfigError if it has another kind or ops.yml has none."""
    kind = scenario.service_kind
    names = [each for each, service in environment.services.items() if service.kind == kind and service.url]
    suitable = [each for each in names if scenario.suits(environment, each)]
    service = environment.service(name or next(iter([*suitable, *names]), kind))
    if service.name not in names:
        hint = f"Name one of: {', '.join(names) or 'none'}."
        lack = "url, at which this drill sees it fail" if service.kind == kind else f"{kind}, which this drill breaks"
        raise ConfigError(f"{service.name} has no {lack}", reason=Reason.UNKNOWN_NAME, hint=hint)
    return service


def _open_incident(
    world: command.DrillWorld,
    drill: DrillSettings,
    say: Say,
    github_environment: str = "",
    deploy_bad: "Callable[[command.DrillWorld, Service, Trigger, Say], int] | None" = None,
) -> github.DrillIncident | None:
    """Open the incident of the drill, or let a job deploy the bad release before; None without a trigger.

    Raises ConfigError.
    """
    if drill.trigger is None:
        return None
    place = github_environment or registry.load_runbook(world.runbook).github_environment
    if deploy_bad:
        github.add_responder(world)
        github.prepare_repository(world, place)
        service = world.environment.service(world.service)
        return github.make_incident(world, deploy_bad(world, service, drill.trigger, say))
    incident = github.open_drill_incident(world)
    say(f"{world.responder} opened the incident #{incident.number}")
    if drill.trigger != "command":
        github.prepare_repository(world, place)
    return incident


@dataclass(frozen=True)
class _Trigger:
    world: command.DrillWorld
    drill: DrillSettings
    config: "Config"
    scenario: scenario_release.Scenario
    incident: github.DrillIncident | None
    say: Say
    on_event: OnEvent

    def __call__(self, params: command.Params) -> dict[str, Any]:
        """Start the runbook and return its result. Import its record if the incident misses it."""
        incident = self.incident
        if incident is None:
            params = {**params, **self.scenario.params_without_incident}
            return command.run_drilled_command(self.world, say=self.say, on_event=self.on_event, params=params)
        before = incident.last_record
        failing = self.drill.github_fails or self.scenario.github_fails or None
        with github.github_failures(incident, self.drill.trigger, failing):
            result = self._start_drilled_run(incident, params)
        result |= {"journal": incident.has_complete_record(before), "imported": False}
        if result["decision"] == Decision.RECOVERED and not result["journal"]:
            source = result["workflow_run"]["log"] if "workflow_run" in result else result["run"]
            command.import_run(self.world, source, incident.number, self.say, environ=incident.environ())
            result["imported"] = incident.has_complete_record(before)
        return result

    def _start_drilled_run(self, incident: github.DrillIncident, params: command.Params) -> dict[str, Any]:
        if self.drill.trigger != "command":
            pressed = incident, self.config, self.drill.trigger, params
            return github.run_workflow(*pressed, self.say, changed_at=self.scenario.changed_at)
        return command.run_drilled_command(
            self.world,
            say=self.say,
            on_event=self.on_event,
            params=params,
            incident=incident.number,
            environ=incident.environ(),
        )


def _add_report(
    world: command.DrillWorld,
    result: dict[str, Any],
    incident: github.DrillIncident,
    say: Say,
    *,
    needs_report: bool,
) -> dict[str, Any]:
    """Return the result with the incident and its report."""
    if needs_report and incident.report is None:
        command.run_ops(world, ["incident", "report", str(incident.number)], say, environ=incident.environ())
    return {**result, **incident.describe()}


def _score_release_drill(name: str, drill: DrillSettings, config: "Config", result: dict[str, Any]) -> dict[str, Any]:
    target, expected = config.recovery_targets.get(DRILLS[name].runbook or name), DRILLS[name].expected
    with_incident = drill.trigger is not None
    return score.add_score(
        result, target, runbook=name, edge=drill.edge, with_incident=with_incident, expected=expected
    )
