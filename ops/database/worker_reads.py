"""Read what a Worker does to a database, and which of its versions are newer than a target."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.workers import WorkerVersion
from ops.core.threads import run_parallel_mixed
from ops.database.plan_text import WorkerUse
from ops.database.time_travel import RestorePoint
from ops.engine.context import Context

if TYPE_CHECKING:
    from ops.config import Service


@dataclass(frozen=True)
class WorkerReads:
    uploads: tuple[WorkerVersion, ...]
    crons: tuple[str, ...]
    handlers: frozenset[str]
    """Handlers of the live version."""


def read_worker(ctx: Context[Any], service: "Service") -> WorkerReads:
    workers = ctx.cloudflare.workers

    def read_handlers() -> frozenset[str]:
        deployments = workers.find_deployments(service.worker)
        version = workers.read_version(service.worker, deployments[0].split[0][0]) if deployments else None
        return version.handlers if version else frozenset()

    uploads, crons, handlers = run_parallel_mixed(
        [
            lambda: workers.list_uploads(service.worker),
            lambda: workers.list_cron_triggers(service.worker),
            read_handlers,
        ]
    )
    return WorkerReads(uploads, crons, handlers)


def describe_use(service: str, reads: WorkerReads, point: RestorePoint) -> WorkerUse:
    at = point.moment
    newer = None if at is None else tuple(each.id for each in reads.uploads if each.created_on and each.created_on > at)
    return WorkerUse(service, newer, reads.crons, reads.handlers)
