"""Count the calls to Cloudflare that a plan of maintenance makes, and the waits they cost."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ops.cloudflare.call_budget import MOST_CALLS, OWN_CALLS, PERIOD, limit_calls
from ops.core.clock import format_duration
from ops.core.plan import PlanSection
from ops.engine.context import Context
from ops.maintenance.shared_reads import MAX_AGE
from ops.maintenance.writes import (
    AddRoute,
    CreateWorker,
    DeployState,
    MaintenanceWrite,
    RemoveRoute,
    RepointRoute,
    SetSubdomain,
    UploadState,
)

if TYPE_CHECKING:
    from ops.config import Service

SECONDS_PER_WRITE = 0.3
"""Assumed time of one write of a route."""
SWITCH_CALLS = 4
"""Calls that set and read back a switch in KV."""
SNAPSHOT_CALLS = 12
"""Calls that read the ways into one service before it reopens at the end of a run."""


def count_calls(writes: Sequence[MaintenanceWrite]) -> int:
    """Return about how many calls the steps of these writes make: each with its comparison and read back."""
    calls = 0
    for number, write in enumerate(writes):
        match write:
            case UploadState():
                calls += 6 if number else 4
            case DeployState() | SetSubdomain():
                calls += 3
            case CreateWorker() | RepointRoute() | AddRoute() | RemoveRoute():
                calls += 1
    zones, routes = _zones(writes), sum(isinstance(each, RepointRoute | AddRoute | RemoveRoute) for each in writes)
    shared = 4 * max(len(zones), any(isinstance(each, SetSubdomain) for each in writes))
    return calls + shared + 2 * int(routes * SECONDS_PER_WRITE / MAX_AGE)


def _zones(writes: Iterable[MaintenanceWrite]) -> set[str]:
    zones = set[str]()
    for write in writes:
        match write:
            case RepointRoute(route=route) | RemoveRoute(route=route):
                zones.add(route.zone)
            case AddRoute(zone=zone):
                zones.add(zone)
    return zones


def describe_calls(ctx: Context[Any], calls: int, *, reserved: int = 0) -> PlanSection:
    """Describe the calls of a plan that makes `calls` from now on, and `reserved` later, to reopen."""
    total = ctx.cloudflare.budget.made + calls + reserved
    limit = f"Cloudflare allows {MOST_CALLS:,} in {PERIOD / 60:.0f} minutes for all users of the token"
    lines = [f"about {total}; {limit}, and a run leaves {MOST_CALLS - OWN_CALLS} of them to others"]
    if reserved:
        lines.append(f"{reserved} of them are kept free to reopen it")
    return PlanSection("Calls to Cloudflare", tuple(lines))


def wait_warnings(
    ctx: Context[Any], calls: int, *, reserved: int = 0, closes: "Service | None" = None
) -> Iterator[str]:
    """Yield a warning if the run waits for the rate limit, and how to close the service with one write instead."""
    waits = _find_waits(ctx.cloudflare.budget.made + calls, reserved)
    if not waits:
        return
    yield (
        f"Cloudflare's rate limit makes this run wait about {format_duration(waits)} in all, for {calls + reserved} "
        "calls. Until then it has changed only a part of the routes"
    )
    runtime = ctx.environment.runtime
    if closes is not None and runtime is not None and runtime.service == closes.name:
        yield f"one write closes it at once: set `maintenance: switch` for {closes.name} in ops.yml"


def _find_waits(calls: int, reserved: int) -> float:
    """Return about how many seconds the run waits to make the calls while it reserves others."""
    most = limit_calls(reserved)
    over = max(0, calls - most) / most + max(0, reserved - OWN_CALLS) / OWN_CALLS
    return math.ceil(over * PERIOD / 60) * 60.0
