"""Find out whether a Worker is rolled back: an older version is live, not the newest.

Cloudflare's history decides, so a rollback in the dashboard counts too. A secret edit, a rotation, a rehearsal and the
same version again are no release.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion, short_id
from ops.core.names import quote_name
from ops.core.standing_rollback import HoldSetup, StandingRollback
from ops.workers.commit_holds import CommitFinder
from ops.workers.history import WorkerHistory

if TYPE_CHECKING:
    from ops.cloudflare.workers import WorkersApi
    from ops.config import Service


def read_worker_rollback(
    workers: "WorkersApi",
    service: "Service",
    deployments: Sequence[WorkerDeployment],
    now: datetime,
) -> StandingRollback | None:
    """Return the rollback of a Worker. It reads versions only if a listed deployment may be one. Raises ProviderError.

    `deployments`: newest first.
    """
    if not deployments:
        return None
    is_possible = _build_history(deployments, {}, now).rollbacks or any(each.mark for each in deployments)
    if not is_possible:
        return None
    versions = {each.id: each for each in workers.list_deployable_versions(service.worker)}
    return find_worker_rollback(service.name, service.hold_setup, deployments, versions, now)


def find_worker_rollback(
    service: str,
    setup: HoldSetup,
    deployments: Sequence[WorkerDeployment],
    versions: Mapping[str, WorkerVersion],
    now: datetime,
) -> StandingRollback | None:
    """Return the rollback that the newest deployments show; None if the newest release is live.

    The bad version of a staging drill is no release: nothing deploys it again.
    """
    deployments = [each for each in deployments if each is deployments[0] or not each.is_drill]
    history, index = _build_history(deployments, versions, now), 0
    found: WorkerDeployment | None = None
    removed = ""
    while index + 1 < len(history.deployments):
        deployment = history.deployments[index]
        if not _keeps_release(history, index):
            gone = _removed_version(history, index)
            if not gone:
                break
            found, removed = found or deployment, gone
        index += 1
    if found is None:
        return None
    mark = found.mark if found.mark and found.mark.blames else None
    commits = CommitFinder(versions)
    live = " and ".join(name_version_commit(each, commits.find(each)) for each in history.live.serving_versions)
    author = quote_name(found.author) if found.author else "an unknown author"
    return StandingRollback(
        service,
        live,
        name_version_commit(removed, commits.find(removed)),
        found.created_on,
        f"run {quote_name(mark.run)}" if mark else author,
        setup,
        commits.find(removed),
        mark.incident if mark else None,
        mark.run if mark else "",
        str(mark.incident or mark.run) if mark else "",
    )


def _build_history(
    deployments: Sequence[WorkerDeployment], versions: Mapping[str, WorkerVersion], now: datetime
) -> WorkerHistory:
    return WorkerHistory(tuple(deployments), versions, frozenset(versions), now, min_served=0.0, static_assets=None)


def _keeps_release(history: WorkerHistory, index: int) -> bool:
    """Return whether a deployment is no release of its own."""
    newer, older = history.deployments[index], history.deployments[index + 1]
    if newer.problem or older.problem or (newer.mark and newer.mark.keeps_release):
        return True
    return {history.releases[each] for each in newer.serving_versions} == {
        history.releases[each] for each in older.serving_versions
    }


def _removed_version(history: WorkerHistory, index: int) -> str:
    """Return the newer version that a deployment took out of service; empty if it is no rollback."""
    newer, older = history.deployments[index], history.deployments[index + 1]
    blamed = newer.mark.blames if newer.mark else None
    if blamed and blamed in older.serving_versions and blamed not in newer.serving_versions:
        return blamed
    steps = (step for step in history.rollbacks if step.deployment is newer and not step.is_within_release)
    return next((step.removed_version for step in steps), "")


def name_version_commit(version: str, commit: str) -> str:
    """Return the short ID of a version or deployment, with its commit if that is known."""
    return f"{short_id(version)} (commit {commit[:12]})" if commit else short_id(version)
