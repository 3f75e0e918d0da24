"""Limits and raises before, by the history of limits.yml on the default branch."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache

from ops.core.errors import OpsError
from ops.github.pulls import FileState
from ops.limits.file import RESTORABLE, EarlierLimits, Limits, Temporary, check_steps, read_limits
from ops.limits.raises import RAISE_BRANCH


def earlier_limits(read: Callable[[], Sequence[FileState]], now: datetime) -> EarlierLimits:
    """Return a function that reads the limits in effect within RESTORABLE, once. Unreadable history has none."""

    @cache
    def find() -> tuple[Limits, ...]:
        try:
            return accepted_limits(read(), now)
        except OpsError:
            return ()

    return find


def accepted_limits(states: Sequence[FileState], now: datetime) -> tuple[Limits, ...]:
    """Return the limits of those states that applied within RESTORABLE, oldest first like `states`.

    A state with too large a step from the one before was refused, and counts as never applied.
    """
    applied: list[Limits] = []
    recent: list[Limits] = []
    for state, after in zip(states, [*states[1:], None], strict=True):
        limits = read_limits(state.text)
        before = applied[-1] if applied else {}
        steps = (check_steps(name, limit, before.get(name), lambda: applied) for name, limit in limits.items())
        if any(is_wrong for step in steps for _, _, is_wrong in step):
            continue
        applied.append(limits)
        if after is None or after.at >= now - RESTORABLE:
            recent.append(limits)
    return tuple(recent)


def is_own_raise(name: str, entry: Temporary, states: Sequence[FileState]) -> bool:
    """Return whether a merge of propose-limits added the entry. The states are oldest first; the last one has it."""
    branch = ""
    for state in reversed(states):
        limit = read_limits(state.text).get(name)
        if limit is None or limit.temporary != entry:
            break
        branch = state.branch
    return branch.startswith(RAISE_BRANCH)
