"""Concurrency groups of runs and jobs: current holder, queue and cancellations.

docs.github.com/actions/how-tos/write-workflows/choose-when-workflows-run/control-workflow-concurrency
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from sandbox.actions.plan import GroupClaim

MAX_PENDING = 100
"""Maximum number of waiting members in a group with `queue: max`."""

T = TypeVar("T", bound=Hashable)


class ConcurrencyGroups(Generic[T]):
    """The groups of one repository. The first member, a run or a job, holds the group; the others wait in order."""

    def __init__(self) -> None:
        self._queues: dict[str, list[T]] = {}

    def join(self, claim: GroupClaim, member: T) -> list[T]:
        """Queue the member and return the members to cancel; the member itself if the queue is full.

        Group names ignore case.
        """
        queue = self._queues.setdefault(claim.group.lower(), [])
        if claim.queues_all and len(queue) > MAX_PENDING:
            return [member]
        displaced = [] if claim.queues_all else queue[1:]
        if claim.cancels_running:
            displaced += queue[:1]
        queue.append(member)
        return displaced

    def holds(self, claim: GroupClaim | None, member: T) -> bool:
        """Return whether the member holds its group; always true without a claim."""
        return claim is None or self._queues.get(claim.group.lower(), [member])[0] is member

    def leave(self, claim: GroupClaim | None, member: T) -> None:
        if claim is None:
            return
        queue = self._queues.get(claim.group.lower(), [])
        if member in queue:
            queue.remove(member)
        if not queue:
            self._queues.pop(claim.group.lower(), None)
