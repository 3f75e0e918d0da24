"""Offer the next label for users: after a run, and by what is known of an incident. Pure.

It is only an offer. A person publishes, because the records may know less than the team.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ops.core.errors import PROVED, Decision
from ops.core.incident_state import IncidentState, IssueRecord, ServiceHealth
from ops.core.public_update import UPDATE_SOURCE, PublicState, PublicUpdate, UpdateKind, parse_update, standing_updates

_FAILING = {ServiceHealth.BROKEN, ServiceHealth.RELAPSED}
_SILENT = {Decision.PLANNED, Decision.NOTHING_TO_DO, Decision.REFUSED}
"""Decisions that users need not hear of."""
_MAINTENANCE = "maintenance"
"""Kind of a held item of a closed service."""


@dataclass(frozen=True)
class UpdateOffer:
    """A state to publish next."""

    state: PublicState
    why: str = ""
    """Why what is public differs from what the records know; empty if it is only the next state of the course."""
    now: PublicState | None = None
    """State that is public."""


def offer_after_run(decision: str, *, proves_health: bool) -> PublicState | None:
    """Return the state that fits after a run; None without one. `decision` is empty while it goes on."""
    if not decision or decision in _SILENT:
        return None
    if decision in PROVED:
        return PublicState.MONITORING if proves_health else PublicState.IDENTIFIED
    return PublicState.INVESTIGATING


def list_recorded_updates(records: Iterable[IssueRecord]) -> tuple[PublicUpdate, ...]:
    """Return the standing updates among records of an incident that count."""
    counted = (one.record.update for one in records if one.record.source == UPDATE_SOURCE and not one.doubt)
    return standing_updates(filter(None, map(parse_update, counted)))


def offer_update(state: IncidentState, updates: Iterable[PublicUpdate]) -> UpdateOffer | None:
    """Return the state to publish next; None if the incident is closed or its course is at its end."""
    last = next(iter([*updates][-1:]), None)
    now = last.state if last else None
    if state.state == "closed":
        return None
    if last is not None and last.kind == UpdateKind.MAINTENANCE:
        return _follow_course(last.state)
    health = {each.state for each in state.services}
    if health & _FAILING:
        return _offer_while_failing(state, now)
    if health == {ServiceHealth.MITIGATED}:
        why = "a watch ended well, or a person said that all works" if now else ""
        return None if now == PublicState.RESOLVED else UpdateOffer(PublicState.RESOLVED, why, now)
    if health and health <= {ServiceHealth.RECOVERED, ServiceHealth.MITIGATED}:
        if now in {PublicState.MONITORING, PublicState.RESOLVED}:
            return None if now == PublicState.RESOLVED else UpdateOffer(PublicState.RESOLVED, now=now)
        return UpdateOffer(PublicState.MONITORING, "a run proved that the services work" if now else "", now)
    return UpdateOffer(PublicState.INVESTIGATING) if now is None else _follow_course(now)


def _offer_while_failing(state: IncidentState, now: PublicState | None) -> UpdateOffer | None:
    """Return the offer while a service fails, or is closed for maintenance."""
    if now in {PublicState.MONITORING, PublicState.RESOLVED}:
        is_relapse = any(each.state == ServiceHealth.RELAPSED for each in state.services)
        why = "a watch saw a service fail again" if is_relapse else "a service fails"
        return UpdateOffer(PublicState.INVESTIGATING, why, now)
    if now == PublicState.INVESTIGATING and any(each.kind == _MAINTENANCE for each in state.held):
        return UpdateOffer(PublicState.IDENTIFIED, "a service is closed for maintenance", now)
    return UpdateOffer(PublicState.INVESTIGATING) if now is None else _follow_course(now)


def _follow_course(now: PublicState) -> UpdateOffer | None:
    course = [each for each in PublicState if each.kind == now.kind]
    after = course[course.index(now) + 1 :]
    return UpdateOffer(after[0], now=now) if after else None
