"""Read a Worker's history until a rollback target can be chosen."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ops.cloudflare.types.inventory import ListedWorker, WorkerTriggers
from ops.cloudflare.types.records import WorkerTraffic
from ops.cloudflare.types.workers import (
    Split,
    WorkerDeployment,
    WorkerVersion,
    describe_deployment,
    describe_split,
    traffic_of,
)
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.run_record import PreviousRuns, RunRecord
from ops.core.threads import result_so_far, run_parallel_mixed, start_call
from ops.engine.context import Context
from ops.engine.runbook import RollbackReach
from ops.workers import plan_text, rollback_target, steps
from ops.workers.history import WorkerHistory
from ops.workers.schema_age import AppliedMigrations

if TYPE_CHECKING:
    from ops.config import Service

T = TypeVar("T")

MAX_PARALLEL = 16
"""Versions that are read in parallel. A further batch is read only if all of the batch were rejected."""
MAX_DEPLOYMENTS = 100
MAX_INCIDENTS = 3
"""Incidents that marks name whose records are read, the newest first."""
NAMES_WAIT = 0.1
"""Seconds that a plan waits for names, after at least two rounds of other reads: they must not delay a write."""
MAX_PAGES = 10
"""Pages of deployments. Older pages are read only if no version can be chosen from the newer ones."""


@dataclass(frozen=True)
class WorkerListing:
    """Result of the first round of reads, and functions with the results of reads that it started."""

    deployments: tuple[WorkerDeployment, ...]
    """At least one, newest first."""
    versions: tuple[WorkerVersion, ...]
    """The deployable versions."""
    has_assets: Callable[[], bool | None]
    previous_runs: Callable[[], PreviousRuns]
    traffic: Callable[[], WorkerTraffic | None]
    """Never waits: the requests and errors only improve the choice, and must not delay a write."""
    triggers: Callable[[], WorkerTriggers]
    """Waits at most NAMES_WAIT: they only name what stays. Unknown if no plan is shown."""


@dataclass(frozen=True)
class WorkerSituation:
    """State of a Worker before a rollback."""

    service: "Service"
    history: WorkerHistory
    requested: Split | None
    """Split that a person named; None: the rules choose."""
    read_schemas: Callable[[], tuple[AppliedMigrations, ...]]
    latest: WorkerVersion | None
    """Newest upload, whose secrets the target gets; None keeps its own ones."""

    @property
    def reach(self) -> RollbackReach:
        history = self.history
        count, oldest = history.deployable_releases
        return RollbackReach(describe_split(traffic_of(history.live)), history.live.created_on, count, oldest)


def read_listing(ctx: Context[Any], service: "Service", *further: Callable[[], T]) -> tuple[WorkerListing, list[T]]:
    """Read deployments and versions, and in parallel `further`. Raises Refused without a deployment."""
    reads: list[Callable[[], Any]] = [
        lambda: ctx.cloudflare.workers.list_deployments(service.worker),
        lambda: ctx.cloudflare.workers.list_deployable_versions(service.worker),
        *further,
    ]
    pending = [start_call(each) for each in reads]  # first: the plan waits for them alone
    traffic = ctx.cloudflare.worker_traffic(service.worker)
    row, earlier = ctx.cloudflare.workers.begin_row_read(service.worker), ctx.previous_runs()
    triggers = _begin_triggers_read(ctx, service.worker, row) if ctx.names_what_stays else WorkerTriggers
    deployments, versions, *others = (each.result() for each in pending)
    if not deployments:
        raise Refused(
            f"{service.worker} has no deployment",
            reason=Reason.NO_TARGET,
            hint="Deploy the Worker first.",
        )
    return WorkerListing(
        deployments, versions, partial(ctx.cloudflare.workers.await_assets, row), earlier, traffic, triggers
    ), others


def _begin_triggers_read(
    ctx: Context[Any], worker: str, row: Future[ListedWorker | None]
) -> Callable[[], WorkerTriggers]:
    """Start to read what no version holds. The returned function waits at most NAMES_WAIT. `row`: of the list."""
    crons = start_call(lambda: ctx.cloudflare.workers.list_cron_triggers(worker))
    domains = start_call(lambda: ctx.cloudflare.routes.list_domains())  # noqa: PLW0108  the thread imports the module
    reads: tuple[Future[Any], ...] = (row, crons, domains)

    def answer_triggers() -> WorkerTriggers:
        wait(reads, timeout=NAMES_WAIT)
        listed, hosts = result_so_far(row), result_so_far(domains)
        return WorkerTriggers(
            crons=result_so_far(crons),
            routes=listed.routes if listed else None,
            domains=None if hosts is None else tuple(each.hostname for each in hosts if each.worker == worker),
        )

    return answer_triggers


def read_history(
    ctx: Context[Any], service: "Service", listing: WorkerListing, *, requested: Split = (), only_older: bool = False
) -> WorkerHistory:
    """Read version details in batches, then older deployments, until a version can be chosen.

    `only_older`: only a version older than the live one can be chosen.
    Each round also reads the newest deployments again. The last of these reads is the comparison before the write.
    """
    versions = {version.id: version for version in listing.versions}
    history = WorkerHistory(
        listing.deployments, versions, frozenset(versions), ctx.clock.now(), service.min_served, is_read_to_end=False
    )
    page = 1
    while True:
        batch = _unread_versions(history, requested)[:MAX_PARALLEL]
        pages = [] if batch else [2] if page == 1 else list(range(page + 1, MAX_PAGES + 1))
        again, *read = run_parallel_mixed(
            [
                lambda: ctx.cloudflare.workers.list_deployments(service.worker),
                *(_version_read(ctx, service.worker, version) for version in batch),
                *(_page_read(ctx, service.worker, page) for page in pages),
            ]
        )
        _check_unchanged(again, listing.deployments[0], service.worker)
        if batch:
            detailed = {v: known or WorkerVersion(id=v, is_detailed=True) for v, known in zip(batch, read, strict=True)}
            assets = plan_text.combine_asset_answers(reported=listing.has_assets(), configured=service.static_assets)
            runs = listing.previous_runs()
            history = replace(
                history,
                versions={**history.versions, **detailed},
                static_assets=assets,
                our_uploads=runs.uploaded_versions,
                our_deployments=runs.deployments,
                confirmed=PreviousRuns(runs.confirmed),
                reported=runs.reported,
                has_rotated_in_incident=any(run.runbook == "rotate-secrets" for run in runs.runs),
                incident_opened_at=runs.opened_at,
                incident_began=ctx.request.incident_began,
                is_incident_unread=ctx.request.incident is not None and runs.opened_at is None,
            )
        else:
            page, history = pages[-1], history.with_older_deployments(read, most=MAX_DEPLOYMENTS)
            if page == MAX_PAGES and not history.is_read_to_end:
                history = replace(history, is_read_to_end=True, unread_note="older deployments were not read")
        history = replace(history, now=ctx.clock.now(), traffic=listing.traffic(), triggers=listing.triggers())
        is_read = history.is_read_to_end and not _unread_versions(history, ())
        if requested or is_read or _is_settled(ctx, history, only_older=only_older):
            return history


def find_records(ctx: Context[Any], history: WorkerHistory, *, stays: bool) -> Iterator[list[RunRecord]]:
    """Yield the records that may confirm a mark besides those of the incident, each time more: the dearest ones last.

    They are on this machine, and on the incidents that the marks name. `stays`: with the marks the run changes nothing;
    only then the record of a responder's laptop counts, since it may make a run stricter and never chooses.
    """
    found = list[RunRecord]()
    yield found
    found += [*ctx.local_runs(), *(history.own_reports(history.reported) if stays else ())]
    yield found
    named = dict.fromkeys(mark.incident for mark in history.unconfirmed_marks)
    others = [number for number in named if number is not None and number != ctx.request.incident]
    for runs in ctx.runs_of_incidents(others[:MAX_INCIDENTS]) if others else ():
        found += [*runs.confirmed, *(history.own_reports(runs.reported) if stays else ())]
    yield found


def _unread_versions(history: WorkerHistory, requested: Split) -> list[str]:
    """Return the versions without details: live and requested ones first, then the most recently deployed."""
    named = [v for v, _ in (*history.live.split, *requested, *(s for d in history.deployments for s in d.split))]
    return [v for v in dict.fromkeys(named) if not history.version(v).is_detailed]


def _is_settled(ctx: Context[Any], history: WorkerHistory, *, only_older: bool) -> bool:
    """Return whether no unread version can change the choice.

    With a traffic split, the suspect depends on the age of both releases, so all listed versions are read. An older
    page tells whether an old upload had served before.
    """
    if len(history.live.serving_versions) > 1 and _unread_versions(history, ()):
        return False
    if history.assumes_service and not history.is_read_to_end:
        return False
    choice = rollback_target.choose_target(history, incident=ctx.request.incident, only_older=only_older)
    return bool(choice.candidates) and all(over.why != rollback_target.NOT_READ for over in choice.rejected)


def _check_unchanged(again: tuple[WorkerDeployment, ...], planned: WorkerDeployment, worker: str) -> None:
    if not again:
        raise steps.no_deployments_error(worker)
    if again[0] != planned:
        raise Refused(
            f"{worker} was deployed while the plan was made: {describe_deployment(again[0])}",
            reason=Reason.WORLD_MOVED,
            hint="Check what was deployed, then run the command again for a new plan.",
        )


def _page_read(ctx: Context[Any], worker: str, page: int) -> Callable[[], tuple[WorkerDeployment, ...] | None]:
    """Return a read of an older page. It returns None on failure, since older pages only improve the choice."""

    def read_rehearsal_history() -> tuple[WorkerDeployment, ...] | None:
        try:
            return ctx.cloudflare.workers.list_deployments(worker, page=page)
        except ProviderError:
            return None

    return read_rehearsal_history


def _version_read(ctx: Context[Any], worker: str, version: str) -> Callable[[], Any]:
    return lambda: ctx.cloudflare.workers.read_version(worker, version)
