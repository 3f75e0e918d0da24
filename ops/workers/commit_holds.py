"""Find the commits that a rollback holds: `ops hold check` refuses to deploy them again.

The check is a program of its own (`ops/tools/hold_check`) with the same rules; a test compares both.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion, short_id
from ops.core.clock import format_utc
from ops.core.errors import ProviderError
from ops.core.names import quote_name
from ops.workers.rollback_target import named_commit

if TYPE_CHECKING:
    from ops.cloudflare.workers import WorkersApi
    from ops.config import Service

PAGES, PAGE_SIZE = 4, 100
"""Most pages of deployments that are read, and their asked size, as those of the check."""


@dataclass(frozen=True)
class CommitHold:
    """A commit of a service that must not be deployed again, because a marked rollback blames it."""

    service: str
    incident: int | None
    run: str
    """Run of the mark. Everyone who may deploy can write one."""
    version: str
    """The blamed version."""
    commit: str
    """Empty if no version names it."""
    since: datetime

    @property
    def code(self) -> str:
        """Return what is held, for people."""
        what = f"commit {self.commit[:12]}" if self.commit else "a version without a commit"
        return f"{what} of {self.service}"

    def __str__(self) -> str:
        cause = f"incident {self.incident}" if self.incident else f"run {quote_name(self.run)}"
        return f"{self.code} ({short_id(self.version)}, {cause}, since {format_utc(self.since)})"


class CommitFinder:
    """Finds the commit of a version, as its deployer named it."""

    def __init__(self, versions: Mapping[str, WorkerVersion]) -> None:
        self._versions = versions
        self._by_number = {each.number: each for each in versions.values() if each.number is not None}

    def find(self, version: str) -> str:
        """Return the commit; empty if none is named. A secret edit has the code of the version before it."""
        one = self._versions.get(version)
        while one:
            if commit := named_commit(one):
                return commit
            is_edit = one.triggered_by == "secret" and one.number is not None
            one = self._by_number.get((one.number or 0) - 1) if is_edit else None
        return ""


def read_commit_holds(workers: "WorkersApi", service: "Service") -> tuple[tuple[CommitHold, ...], str]:
    """Return the holds of a Worker, newest first, and how far they were read; empty if all. Raises ProviderError.

    It reads versions only if a mark blames one.
    """
    worker, deployments, size, limit = service.worker, dict[str, WorkerDeployment](), PAGE_SIZE, ""
    for page in range(1, PAGES + 1):
        try:
            listed = workers.list_deployments(worker, page=page, size=size)
        except ProviderError:
            if page > 1:
                raise
            size = 0
            listed = workers.list_deployments(worker)
        older = {each.id: each for each in listed if each.id not in deployments}
        if not older:
            break
        deployments |= older
    else:
        limit = f"only its newest {len(deployments)} deployments were read"
    blamed = [each.mark.blames for each in deployments.values() if each.mark and each.mark.blames]
    versions = _read_blamed_versions(workers, worker, blamed) if blamed else {}
    return tuple(_find_holds(service.name, deployments.values(), versions)), limit


def _read_blamed_versions(workers: "WorkersApi", worker: str, blamed: Iterable[str]) -> Mapping[str, WorkerVersion]:
    versions = {each.id: each for each in workers.list_deployable_versions(worker)}
    missing = (workers.read_version(worker, each) for each in dict.fromkeys(blamed) if each not in versions)
    return versions | {each.id: each for each in missing if each}


def _find_holds(
    service: str, deployments: Iterable[WorkerDeployment], versions: Mapping[str, WorkerVersion]
) -> Iterator[CommitHold]:
    """Yield the holds. A rollback within one commit, such as of a secret edit, blames no code."""
    commits = CommitFinder(versions)
    for each in deployments:
        mark = each.mark
        if mark is None or mark.blames is None:
            continue
        commit = commits.find(mark.blames)
        if not commit or commit.isdigit() or {*map(commits.find, each.serving_versions)} != {commit}:  # a shared date
            yield CommitHold(service, mark.incident, mark.run, mark.blames, commit, each.created_on)
