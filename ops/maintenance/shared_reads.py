"""Reads that the steps of one plan share, so that not each route needs reads of its own.

A route that somebody else changes within MAX_AGE is overwritten unseen: a write answers only with its new target
(developers.cloudflare.com/api/resources/workers/subresources/routes/methods/update), and a later list shows only that.
One read per route would double the calls and the time of a run; this costs two calls a second.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from ops.cloudflare.types.workers import WorkerDeployment
from ops.cloudflare.types.zones import WorkerRoute
from ops.core.names import MAINTENANCE_WORKER
from ops.core.threads import run_parallel_mixed
from ops.engine.context import Context
from ops.engine.step import MAX_AGE

T = TypeVar("T")


@dataclass
class _Read(Generic[T]):
    """A value, and the steps that it cannot answer any more: it has, or they wrote since."""

    value: T
    at: float
    answered: set[str] = field(default_factory=set)


@dataclass
class SharedReads:
    """The routes of each zone and the deployments of ops-maintenance, as last read.

    A read answers each step once, and no step that wrote since: a comparison is at most MAX_AGE old, and what is read
    back is newer than the write.
    """

    _routes: dict[str, _Read[tuple[WorkerRoute, ...]]] = field(default_factory=dict)
    _deployments: _Read[tuple[WorkerDeployment, ...]] | None = None

    def note_written(self, target: str) -> None:
        """Let no former read answer the step with this target."""
        for routes in self._routes.values():
            routes.answered.add(target)
        if self._deployments:
            self._deployments.answered.add(target)

    def read(
        self, ctx: Context[Any], target: str, zone: str = "", *, with_deployments: bool
    ) -> tuple[tuple[WorkerRoute, ...], tuple[WorkerDeployment, ...]]:
        """Return the routes of the zone, if there is one, and the deployments. A missing part is read with the other.

        Raises ProviderError.
        """
        wanted: list[_Read[Any] | None] = [self._routes.get(zone)] if zone else []
        wanted += [self._deployments] if with_deployments else []
        now = ctx.clock.monotonic()
        if any(read is None or target in read.answered or now - read.at > MAX_AGE for read in wanted):
            self._read_again(ctx, zone, now, with_deployments=with_deployments)
        routes, deployments = self._routes[zone] if zone else None, self._deployments if with_deployments else None
        if routes:
            routes.answered.add(target)
        if deployments:
            deployments.answered.add(target)
        return routes.value if routes else (), deployments.value if deployments else ()

    def _read_again(self, ctx: Context[Any], zone: str, now: float, *, with_deployments: bool) -> None:
        answers = run_parallel_mixed(
            [
                *([partial(ctx.cloudflare.routes.list_routes, zone)] if zone else []),
                *([partial(ctx.cloudflare.workers.find_deployments, MAINTENANCE_WORKER)] if with_deployments else []),
            ]
        )
        if with_deployments:
            self._deployments = _Read(answers.pop() or (), now)
        if zone:
            self._routes[zone] = _Read(answers.pop(), now)
