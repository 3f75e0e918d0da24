"""Scenario of `maintenance`: take a service offline, repair it behind the routes, reopen it.

Meanwhile a deployment opens a route of the closed service. The watch finds that, and the service is closed again.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.core.errors import EXIT_CODES, Decision
from ops.core.run_record import read_record
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import command, github, scenario_release
from ops.drills.command import DrillWorld, Params, Say
from ops.drills.score import mark_drill_unhealthy

if TYPE_CHECKING:
    from ops.config import Service
    from sandbox import Sandbox
    from sandbox.cloudflare.zones.state import FakeZone


MAINTENANCE_WORKER = "ops-maintenance"
ON: Params = {"state": "on"}
OFF: Params = {"state": "off"}
PERMISSIONS = ("Workers Scripts Write", "Workers Routes Write", "Zone Read")
LONGEST_SLEEP = 1.0
"""Longest real seconds that the watch sleeps; a longer sleep moves the clock."""


def run(
    world: DrillWorld,
    service: "Service",
    probe: Callable[[], ProbeObservation],
    start_runbook: github.DrillTrigger,
    say: Say,
) -> dict[str, Any]:
    """Close and reopen the service. Return the result, marked unhealthy if the drill observes something else.

    `probe` runs the probes once. `start_runbook` starts the runbook.
    """
    sandbox = world.sandbox
    before = _ingress_paths(sandbox, service)
    prepare_worker(world, say)
    result = start_runbook(ON)
    if result["decision"] != Decision.RECOVERED:
        return result
    observed = probe()
    say(f"it is off, and its probes say: {observed.detail}")
    if observed.verdict != Verdict.INCONCLUSIVE:
        return mark_drill_unhealthy(
            result, f"it was taken offline, but its probes are {observed.verdict}: {observed.detail}"
        )
    _open_by_deployment(sandbox, service, say)
    if problem := _find_opening(world, service, start_runbook, say):
        return mark_drill_unhealthy(result, problem)
    if (again := start_runbook(ON))["decision"] != Decision.RECOVERED or probe().verdict != Verdict.INCONCLUSIVE:
        return mark_drill_unhealthy(result, f"a deployment opened it, and it was not closed again: {again['message']}")
    good = next(iter(sandbox.deployments(service.worker)[-1].percentages))
    sandbox.deploy(service.worker, good)
    say("the good release is deployed again, behind the routes")
    opened = start_runbook(OFF)
    if opened["decision"] != Decision.RECOVERED:
        return mark_drill_unhealthy(result, f"it could not be opened again: {opened['message']}")
    if (after := _ingress_paths(sandbox, service)) != before:
        return mark_drill_unhealthy(
            result, f"it was opened again, but what led to it is not as it was: {before} → {after}"
        )
    observed = probe()
    if observed.verdict != Verdict.HEALTHY:
        return mark_drill_unhealthy(
            result, f"it was opened again, but its probes are {observed.verdict}: {observed.detail}"
        )
    return {**result, "message": f"{result['message']}; it was opened again, and the probes are healthy"}


def _open_by_deployment(sandbox: "Sandbox", service: "Service", say: Say) -> None:
    """Set one route of the closed service, as a deployment of CI does."""
    host = service.host
    zone = sandbox.zones.find(host)
    assert zone is not None
    closed = next(each for each in zone.routes.values() if each.pattern == f"{host}/*")
    zone.routes[closed.id] = replace(closed, script=service.worker)
    say(f"a deployment of CI sets the route {closed.pattern}, so the closed service is open there")


def _find_opening(world: DrillWorld, service: "Service", start_runbook: github.DrillTrigger, say: Say) -> str:
    """Watch the closed service, and return what went wrong: the watch must find the opening, and say so."""
    incident = None if start_runbook.drill.github_fails else start_runbook.incident
    arguments = ["watch", "--closed", "--service", service.name, "--environment", world.environment.name]
    arguments += ["--for", "2m", *(["--incident", str(incident.number)] if incident else [])]
    clock = world.sandbox.clock
    longest, clock.longest_sleep = clock.longest_sleep, LONGEST_SLEEP
    code = command.run_ops(world, arguments, say, environ=incident.environ() if incident else {})
    clock.longest_sleep = longest
    if code != EXIT_CODES[Decision.RELAPSED]:
        return f"a deployment opened it, and the watch ended with exit code {code}"
    bodies = [each.body for each in incident.github.issue(incident.number).comments] if incident else []
    records = [found for each in bodies if (found := read_record(each)) and found.source == "opening"]
    is_answered = incident is None or len(records) == 1
    return "" if is_answered else f"the incident has {len(records)} reports of the opening"


def _ingress_paths(sandbox: "Sandbox", service: "Service") -> Any:
    routes = [(r.pattern, r.script) for zone in sandbox.zones.all.values() for r in zone.routes.values()]
    return sorted(routes), sandbox.subdomain(service.worker)


def _release_on_all_addresses(sandbox: "Sandbox", service: "Service", name: str, edge: str, folder: Path) -> None:
    """Deploy the Worker with a route for its host, a custom domain, and its workers.dev address."""
    scenario_release.WORKER.release(sandbox, service, name, edge, folder)
    if name == "good":
        host = service.host
        zone = add_route(sandbox, service)
        sandbox.zones.add_domain(zone, f"also-{host}", service.worker)
        sandbox.set_subdomain(service.worker, enabled=True, previews_enabled=True)


def add_route(sandbox: "Sandbox", service: "Service") -> "FakeZone":
    """Add a route from the service's host to its Worker, with a zone if none has the host, and return the zone."""
    host = service.host
    zone = sandbox.zones.find(host)
    if zone is None:
        zone = sandbox.zones.all[sandbox.zones.add(".".join(host.split(".")[-2:]))]
    sandbox.zones.add_route(zone, f"{host}/*", service.worker)
    return zone


def prepare_worker(world: DrillWorld, say: Say) -> None:
    """Create the Worker ops-maintenance by its command."""
    arguments = ["maintenance", "prepare", "--environment", world.environment.name, "--yes"]
    command.run_ops(world, arguments, say, environ={})


SCENARIO = replace(
    scenario_release.WORKER,
    release=_release_on_all_addresses,
    run=run,
    params=ON,
    later_params=(OFF,),
    permissions=PERMISSIONS,
    changed_at=lambda sandbox, _: sandbox.deployments(MAINTENANCE_WORKER)[0].made_at,
)
