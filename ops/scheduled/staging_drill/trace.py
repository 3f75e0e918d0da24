"""Find in the deployments of a Worker what a staging drill did, also without GitHub.

The marks only tell what to put back in the drill's own environment: what was live right before the bad version.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ops.cloudflare.marks import DRILL_UNDO
from ops.cloudflare.types.workers import Split, WorkerDeployment, is_same_split


@dataclass(frozen=True)
class DrillTrace:
    """The newest drill in a Worker's deployments."""

    bad: WorkerDeployment
    """Deployment of the bad version."""
    before: WorkerDeployment
    """Live before it."""
    live: WorkerDeployment

    @property
    def run(self) -> str:
        """Run that deployed the bad version; the incident of the drill names it."""
        return self.bad.mark.run if self.bad.mark else ""

    @property
    def bad_version(self) -> str:
        return self.bad.split[0][0]

    @property
    def is_bad_live(self) -> bool:
        return self.bad_version in self.live.serving_versions

    @property
    def is_rolled_back(self) -> bool:
        """Return whether a rollback of ours replaced the bad version, and is live."""
        mark = self.live.mark
        return mark is not None and mark.blames == self.bad_version and not self.is_bad_live

    @property
    def is_undone(self) -> bool:
        """Return whether the undo replaced the bad version, and is live."""
        mark = self.live.mark
        return mark is not None and mark.text == DRILL_UNDO and not self.is_bad_live

    @property
    def is_recovered(self) -> bool:
        return self.is_rolled_back or self.is_undone

    @property
    def needs_undo(self) -> bool:
        """Return whether the drill still shows. A later deployment by others without the bad version stays."""
        return self.is_bad_live or (self.is_recovered and not is_same_split(self.live.split, self.before.split))

    @property
    def target(self) -> Split:
        return self.before.split


def find_trace(deployments: Sequence[WorkerDeployment], run: str = "") -> DrillTrace | None:
    """Return the newest drill, or that of a run; None without one.

    `deployments`: newest first. A bad version without an older deployment in the list has no known state before it.
    Of two drills at once, neither puts the bad version of the other one back.
    """
    for index, bad in enumerate(deployments):
        if not (bad.is_drill and bad.split) or (run and bad.mark and bad.mark.run != run):
            continue
        older = (each for each in deployments[index + 1 :] if each.split and not each.is_drill)
        if (before := next(older, None)) is not None:
            return DrillTrace(bad, before, deployments[0])
    return None
