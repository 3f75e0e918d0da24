"""A plan: what a run will change and how each change is told, undone and proved; a value, made by reading only."""

from dataclasses import dataclass

from ops.core.errors import Decision, Reason
from ops.core.next_step import Press


@dataclass(frozen=True)
class Change:
    """One write. `before` must still hold when it is made."""

    target: str
    before: str
    after: str
    done_when: str
    undo: Press | None
    """What restores `before`; None where that is not known, or where the change alone has no effect."""


@dataclass(frozen=True)
class Ending:
    """How a run ends where no probe has anything to prove: nothing to do, or handed on to people."""

    decision: Decision
    reason: Reason
    message: str
    press: Press | None = None
    """What people press next."""


@dataclass(frozen=True)
class Section:
    """A titled list for people; the renderers know no more of a runbook than this."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """`changes` is empty where there is nothing to do; then `reason` says why, and the run only verifies."""

    summary: str
    changes: tuple[Change, ...] = ()
    sections: tuple[Section, ...] = ()
    not_undone: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: Reason | None = None
    next_step: Press | None = None
    """What to press if this does not help."""
    done: str = ""
    """What the team is told once it is done, such as "Rolled back api to 1a2b3c4d"; without it, the summary."""
    healthy_before: str = ""
    """What it means if no probe failed before either; without it, that this may be the wrong service."""
    proves: str = ""
    """What the probes prove where that is not a service's health: the end of a run says it so."""
    tasks: tuple[str, ...] = ()
    """What is left for people once it is done, in this order."""
    left_open: str = ""
    """What this run does not change though it belongs to it: the last sentence of a run that changed something."""
    finishing: tuple[Change, ...] = ()
    """Made like the others, but only once the probes are healthy."""
    details: object = None
    """The runbook's own values, which it gets back in `check` and `apply`; never shown."""

    @property
    def undo(self) -> tuple[Press, ...]:
        """Latest change first; a command that undoes several stands there once."""
        return tuple(dict.fromkeys(change.undo for change in reversed(self.changes) if change.undo))
