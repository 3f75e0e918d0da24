"""The duty to reopen what a run closed: who has it, and which run may take it over.

A run that closes a service for its own time stores in the maintenance itself that it reopens it: `reopened_by` of a
window, `UNTIL_RUN_ENDS` of a switch. A person who turns maintenance on ends that duty.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from ops.core.clock import format_utc, parse_utc
from ops.core.names import quote_name
from ops.core.owners import StateOwner, describe_owners
from ops.core.runtime_contract import SwitchValue, make_revision
from ops.engine.context import Context
from ops.maintenance.state import MaintenanceWindow

DUTY_LIFETIME = timedelta(hours=1)
"""Time after the closing during which the same command finishes it.

No run lasts so long, and within it `--to -15m` counts as a repeat too. Later, people may rely on the closed service.
"""
UNRECORDED_WAIT = timedelta(minutes=15)
"""Time after the closing during which a run without a record may be alive: it closes, waits, restores and probes."""


@dataclass(frozen=True)
class SameIntent:
    """Runs that wanted the same as this one, so that it may finish what they began."""

    find_runs: Callable[[], Collection[str]]
    """Read their IDs from records; called only if something is closed."""
    now: datetime
    incident: int | None
    own_services: Collection[str]
    """Services that only such runs close: for the same incident, no record is needed."""

    @classmethod
    def of(cls, ctx: Context[Any], find_runs: Callable[[], Collection[str]], own_services: Collection[str]) -> Self:
        return cls(find_runs, ctx.clock.now(), ctx.request.incident, own_services)

    def find_run(self, window: MaintenanceWindow) -> str:
        """Return the run whose window this one may reopen, in words; empty if there is none."""
        run = window.reopened_by
        if not run or window.owners or is_over(parse_utc(window.since), self.now):
            return ""
        is_known = self._is_own(window.service, window.incident, parse_utc(window.since)) or run in self.find_runs()
        return f"run {quote_name(run)}" if is_known else ""

    def find_run_of_switch(self, service: str, value: SwitchValue, key: str) -> str:
        """Return the run whose switch this one may turn off, in words; empty if there is none.

        Each write has its own revision. A value of several owners is never one of a run alone.
        """
        owners = value.active_owners(self.now)
        alone = name_only_run(owners)
        if not alone or is_over(value.since, self.now):
            return ""
        run = next((each for each in self.find_runs() if value.revision.startswith(make_revision(each, key))), "")
        if run:
            return f"run {quote_name(run)}"
        return alone if self._is_own(service, owners[0].incident, value.since) else ""

    def _is_own(self, service: str, incident: int | None, since: datetime) -> bool:
        """Return whether the incident alone shows it. Without a record, a run that closed it just now may be alive."""
        is_same = incident is not None and incident == self.incident and service in self.own_services
        return is_same and self.now - since >= UNRECORDED_WAIT


def is_over(since: datetime, now: datetime) -> bool:
    """Return whether a run that closed a service then has ended; also if the time was edited into the future."""
    return abs(now - since) >= DUTY_LIFETIME


def name_only_run(owners: Sequence[StateOwner]) -> str:
    """Return the run that alone holds a switch, such as "a run of dana"; empty if it is not held by one run alone."""
    is_alone = len(owners) == 1 and owners[0].ends_with_run
    return f"a run of {quote_name(owners[0].person)}" if is_alone else ""


def describe_holder(window: MaintenanceWindow, now: datetime) -> str:
    """Describe who keeps a window closed: a run, the incidents, or a person; empty if each has ended."""
    owners = window.active_owners(now)
    if window.reopened_by:
        incident = f" for incident {window.named_incidents}" if window.incidents else ""
        return _describe_run(f"run {quote_name(window.reopened_by)}{incident}", parse_utc(window.since), now)
    return f"held by {describe_owners(owners)}" if owners else ""


def describe_holder_of_switch(value: SwitchValue, now: datetime) -> str:
    """Describe who keeps a service closed by its switch, which names the person of a run and not the run."""
    owners = value.active_owners(now)
    if run := name_only_run(owners):
        incident = f" for incident #{owners[0].incident}" if owners[0].incident else ""
        return _describe_run(f"{run}{incident}", value.since, now)
    return f"held by {describe_owners(owners)}" if owners else ""


def _describe_run(run: str, since: datetime, now: datetime) -> str:
    closed = f"closed by {run} at {format_utc(since)}, which"
    return (
        f"{closed} never reopened it" if is_over(since, now) else f"{closed} reopens it at its end unless it was killed"
    )
