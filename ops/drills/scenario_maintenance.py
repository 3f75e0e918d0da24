"""Scenario of `maintenance`: take a service offline, repair it behind the routes, reopen it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.core.errors import Decision
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import command, scenario_release
from ops.drills.command import DrillWorld, Params, Say
from ops.drills.score import mark_unhealthy

if TYPE_CHECKING:
    from ops.config import Service
    from sandbox import Sandbox
    from sandbox.cloudflare.zones.state import FakeZone


MAINTENANCE_WORKER = "ops-maintenance"
ON: Params = {"state": "on"}
OFF: Params = {"state": "off"}
PERMISSIONS = ("Workers Scripts Write", "Workers Routes Write", "Zone Read")


def run(
    world: DrillWorld,
    service: "Service",
    probe: Callable[[], ProbeObservation],
    start_runbook: Callable[[Params], dict[str, Any]],
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
        return mark_unhealthy(result, f"it was taken offline, but its probes are {observed.verdict}: {observed.detail}")
    good = next(iter(sandbox.deployments(service.worker)[-1].percentages))
    sandbox.deploy(service.worker, good)
    say("the good release is deployed again, behind the routes")
    opened = start_runbook(OFF)
    if opened["decision"] != Decision.RECOVERED:
        return mark_unhealthy(result, f"it could not be opened again: {opened['message']}")
    if (after := _ingress_paths(sandbox, service)) != before:
        return mark_unhealthy(result, f"it was opened again, but what led to it is not as it was: {before} → {after}")
    observed = probe()
    if observed.verdict != Verdict.HEALTHY:
        return mark_unhealthy(result, f"it was opened again, but its probes are {observed.verdict}: {observed.detail}")
    return {**result, "message": f"{result['message']}; it was opened again, and the probes are healthy"}


def _ingress_paths(sandbox: "Sandbox", service: "Service") -> Any:
    routes = [(r.pattern, r.script) for zone in sandbox.zones.all.values() for r in zone.routes.values()]
    return sorted(routes), sandbox.subdomain(service.worker)


def _release(sandbox: "Sandbox", service: "Service", name: str, edge: str, folder: Path) -> None:
    """Deploy the Worker with a route for its host, a custom domain, and its workers.dev address."""
    scenario_release.WORKER.release(sandbox, service, name, edge, folder)
    if name == "good":
        host = service.url.removeprefix("https://")
        zone = add_route(sandbox, service)
        sandbox.zones.add_domain(zone, f"also-{host}", service.worker)
        sandbox.set_subdomain(service.worker, enabled=True, previews_enabled=True)


def add_route(sandbox: "Sandbox", service: "Service") -> "FakeZone":
    """Add a route from the service's host to its Worker, with a zone if none has the host, and return the zone."""
    host = service.url.removeprefix("https://")
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
    release=_release,
    run=run,
    params=ON,
    later_params=(OFF,),
    permissions=PERMISSIONS,
    changed_at=lambda sandbox, _: sandbox.deployments(MAINTENANCE_WORKER)[0].made_at,
)
