"""Tell the deployments of rehearsals from those that people wanted.

A rehearsal deploys the live traffic again, with another version at 0 %, and then without it. A mark alone proves
nothing, because everyone who may deploy can write one. It counts only on traffic that was live before.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ops.cloudflare.types.workers import (
    Split,
    WorkerDeployment,
    describe_deployment,
    describe_split,
    is_same_split,
)
from ops.core.clock import format_utc

MAX_RACE = timedelta(minutes=5)
"""Longest time between a rehearsal's last comparison and its write, with its retries."""


@dataclass(frozen=True)
class Displacement:
    """A deployment that came in right before the write of a rehearsal, which replaced it by accident."""

    displaced: WorkerDeployment
    accidents: tuple[WorkerDeployment, ...]
    """Deployments of rehearsals that served in its place, oldest first."""
    ended_at: datetime | None = None
    """Time of the next deployment; None while an accident is live."""

    @property
    def traffic(self) -> Split:
        return traffic_of(self.accidents[-1])

    @property
    def since(self) -> datetime:
        return self.accidents[0].created_on


def traffic_of(deployment: WorkerDeployment) -> Split:
    return tuple(share for share in deployment.split if share[1] > 0)


def leave_out_rehearsals(deployments: Iterable[WorkerDeployment]) -> tuple[WorkerDeployment, ...]:
    """Return the deployments, newest first, without those that only started or ended a rehearsal.

    One that replaced a deployment by accident is left out too, unless it is live: nobody wanted it.
    """
    return _sort(deployments)[0]


def list_displacements(deployments: Iterable[WorkerDeployment]) -> tuple[Displacement, ...]:
    """Return the deployments that a rehearsal replaced by accident, oldest first."""
    return _sort(deployments)[1]


def list_traffic_changes(deployments: Iterable[WorkerDeployment]) -> tuple[WorkerDeployment, ...]:
    """Return the deployments, newest first, without rehearsals that changed no traffic."""
    kept: list[WorkerDeployment] = []
    for deployment in reversed(list(deployments)):
        if not (deployment.is_rehearsal and kept and is_same_split(traffic_of(deployment), traffic_of(kept[-1]))):
            kept.append(deployment)
    return tuple(reversed(kept))


def describe_accident(live: WorkerDeployment) -> str:
    """Return for people which deployment a rehearsal replaced, if `live` did that by accident; else empty."""
    if live.displaced is None:
        return ""
    served, since = describe_split(traffic_of(live)), format_utc(live.created_on)
    return f"a rehearsal put {served} live at {since} by accident, in place of {describe_deployment(live.displaced)}"


def _sort(
    deployments: Iterable[WorkerDeployment],
) -> tuple[tuple[WorkerDeployment, ...], tuple[Displacement, ...]]:
    wanted: list[WorkerDeployment] = []
    ended: list[Displacement] = []
    current: Displacement | None = None
    for deployment in reversed(list(deployments)):
        is_rehearsal = deployment.is_rehearsal and bool(wanted)
        is_unchanged = is_rehearsal and is_same_split(traffic_of(deployment), wanted[-1].split)
        if is_rehearsal and not is_unchanged and _redeploys(deployment, wanted):
            before = current.accidents if current else ()
            current = Displacement(wanted[-1], (*before, deployment))
            continue
        if current is not None:
            ended.append(replace(current, ended_at=deployment.created_on))
            wanted[-1] = _after(ended[-1], deployment.created_on, deployment if is_unchanged else None)
        if is_unchanged:
            added = next((version for version, percent in deployment.split if percent == 0), "")
            wanted[-1] = replace(wanted[-1], rehearsed=added)
        else:
            wanted.append(replace(deployment, replaced=current.traffic) if current else deployment)
        current = None
    if current is not None:
        wanted.append(replace(current.accidents[-1], displaced=current.displaced))
        ended.append(current)
    return tuple(reversed(wanted)), tuple(ended)


def _redeploys(deployment: WorkerDeployment, wanted: list[WorkerDeployment]) -> bool:
    """Return whether its traffic was live before, and only deployments of the last minutes came in between."""
    mark = deployment.mark
    if mark is None or mark.blames is not None:
        return False
    for each in reversed(wanted):
        if is_same_split(traffic_of(deployment), traffic_of(each)):
            return True
        if deployment.created_on - each.created_on > MAX_RACE:
            return False
    return False


def _after(over: Displacement, at: datetime, restoration: WorkerDeployment | None) -> WorkerDeployment:
    """Return the displaced deployment with the time that it did not serve, and the deployment that restored it."""
    seconds = over.displaced.seconds_displaced + (at - over.since).total_seconds()
    restored = replace(restoration, replaced=over.traffic) if restoration else over.displaced.restored
    return replace(over.displaced, seconds_displaced=seconds, restored=restored)
