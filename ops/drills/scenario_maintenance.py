"""Scenario of `maintenance`: take a service offline, repair it behind the routes, reopen it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.core.errors import EXIT_CODES, Decision, Reason
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import command, scenario_release
from ops.drills.command import DrillWorld, Params, Say

if TYPE_CHECKING:
    from ops.config import Service
    from sandbox import Sandbox


OFFICE = "ops-maintenance"
ON: Params = {"state": "on"}
OFF: Params = {"state": "off"}


def run(
    place: DrillWorld,
    service: "Service",
    look: Callable[[], ProbeObservation],
    pull: Callable[[Params], dict[str, Any]],
    say: Say,
) -> dict[str, Any]:
    """Close and reopen the service. Return the result, marked unhealthy if the drill observes something else.

    `look` runs the probes once. `pull` starts the runbook.
    """
    sandbox = place.sandbox
    before = _ways_in(sandbox, service)
    command.ops(place, ["maintenance", "prepare", "--environment", place.environment.name, "--yes"], say, environ={})
    result = pull(ON)
    if result["decision"] != Decision.RECOVERED:
        return result
    seen = look()
    say(f"it is off, and its probes say: {seen.detail}")
    if seen.verdict != Verdict.INCONCLUSIVE:
        return _contradicted(result, f"it was taken offline, but its probes are {seen.verdict}: {seen.detail}")
    good = next(iter(sandbox.deployments(service.worker)[-1].percentages))
    sandbox.deploy(service.worker, good)
    say("the good release is deployed again, behind the routes")
    opened = pull(OFF)
    if opened["decision"] != Decision.RECOVERED:
        return _contradicted(result, f"it could not be opened again: {opened['message']}")
    if (after := _ways_in(sandbox, service)) != before:
        return _contradicted(result, f"it was opened again, but what led to it is not as it was: {before} → {after}")
    seen = look()
    if seen.verdict != Verdict.HEALTHY:
        return _contradicted(result, f"it was opened again, but its probes are {seen.verdict}: {seen.detail}")
    return {**result, "message": f"{result['message']}; it was opened again, and the probes are healthy"}


def _contradicted(result: dict[str, Any], message: str) -> dict[str, Any]:
    decision = Decision.STILL_UNHEALTHY
    said = {"decision": decision.value, "reason": Reason.STILL_UNHEALTHY.value, "exit_code": EXIT_CODES[decision]}
    return {**result, **said, "message": message}


def _ways_in(sandbox: "Sandbox", service: "Service") -> Any:
    routes = [(r.pattern, r.script) for zone in sandbox.zones.all.values() for r in zone.routes.values()]
    return sorted(routes), sandbox.subdomain(service.worker)


def _release(sandbox: "Sandbox", service: "Service", name: str, edge: str, folder: Path) -> None:
    """Deploy the Worker with a route for its host, a custom domain, and its workers.dev address."""
    scenario_release.WORKER.release(sandbox, service, name, edge, folder)
    if name == "good":
        host = service.url.removeprefix("https://")
        zone = sandbox.zones.all[sandbox.zones.add(host.partition(".")[2])]
        sandbox.zones.add_route(zone, f"{host}/*", service.worker)
        sandbox.zones.add_domain(zone, f"also-{host}", service.worker)
        sandbox.set_subdomain(service.worker, enabled=True, previews_enabled=True)


KIND = replace(
    scenario_release.WORKER,
    release=_release,
    run=run,
    params=ON,
    params_later=(OFF,),
    permissions=("Workers Scripts Write", "Workers Routes Write", "Zone Read"),
    changed_at=lambda sandbox, _: sandbox.deployments(OFFICE)[0].made_at,
)
