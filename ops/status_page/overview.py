"""Fold public updates into what the page shows: components, open and past incidents. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

from ops.core.public_update import (
    ComponentCondition,
    PublicState,
    PublicUpdate,
    UpdateKind,
    current_conditions,
    incident_conditions,
    standing_updates,
)

GRACE = timedelta(minutes=10)
"""Longest time for which GitHub Pages may serve a former file: its answers have `max-age=600`."""


class ShownCondition(StrEnum):
    """The condition of a component as the page shows it, in Statuspage's words, the best one first."""

    OPERATIONAL = "operational"
    UNKNOWN = "unknown"
    """No update says it, or nothing is built regularly, so that an old page could claim it."""
    UNDER_MAINTENANCE = "under_maintenance"
    DEGRADED = "degraded_performance"
    PARTIAL_OUTAGE = "partial_outage"
    MAJOR_OUTAGE = "major_outage"


SHOWN = {
    ComponentCondition.OPERATIONAL: ShownCondition.OPERATIONAL,
    ComponentCondition.MAINTENANCE: ShownCondition.UNDER_MAINTENANCE,
    ComponentCondition.DEGRADED: ShownCondition.DEGRADED,
    ComponentCondition.PARTIAL_OUTAGE: ShownCondition.PARTIAL_OUTAGE,
    ComponentCondition.MAJOR_OUTAGE: ShownCondition.MAJOR_OUTAGE,
}
_ORDER = tuple(ShownCondition)


def worst_of(conditions: Iterable[ShownCondition]) -> ShownCondition:
    """Return the worst condition; unknown if there is none."""
    return max(conditions, key=_ORDER.index, default=ShownCondition.UNKNOWN)


@dataclass(frozen=True)
class StatusPageSettings:
    """The page as ops.yml describes it."""

    title: str
    url: str
    """Without a slash at its end."""
    components: tuple[str, ...]
    interval: timedelta | None = None
    """Time between two regular builds; None without them. Then nothing is ever shown as operational."""

    @property
    def late_after(self) -> timedelta | None:
        """Age of a build that is too old: two builds and the cache of GitHub Pages may delay the next one."""
        return None if self.interval is None else 2 * self.interval + GRACE


@dataclass(frozen=True)
class ShownUpdate:
    """An update, with the one that corrects it and the one that it corrects."""

    update: PublicUpdate
    correction: PublicUpdate | None
    corrected: PublicUpdate | None


@dataclass(frozen=True)
class PublicIncident:
    """An incident or maintenance, from its updates."""

    id: str
    updates: tuple[PublicUpdate, ...]
    """Oldest first; never empty."""

    @property
    def newest(self) -> PublicUpdate:
        """The newest update, which no other one corrects."""
        return self.updates[-1]

    @property
    def state(self) -> PublicState:
        return self.newest.state

    @property
    def is_maintenance(self) -> bool:
        return self.newest.kind == UpdateKind.MAINTENANCE

    @property
    def is_open(self) -> bool:
        return not self.state.is_end

    @property
    def has_begun(self) -> bool:
        return self.state != PublicState.SCHEDULED

    @cached_property
    def standing(self) -> tuple[PublicUpdate, ...]:
        return standing_updates(self.updates)

    @cached_property
    def conditions(self) -> Mapping[str, ShownCondition]:
        """Component → its condition after the newest update."""
        return {name: SHOWN[each] for name, each in incident_conditions(self.updates).items()}

    @cached_property
    def worst(self) -> ShownCondition:
        """The worst condition that any update named."""
        return worst_of(SHOWN[each.condition] for one in self.standing for each in one.components if each.condition)

    @cached_property
    def title(self) -> str:
        names = ", ".join(dict.fromkeys(name for update in self.standing for name in update.names))
        if self.is_maintenance:
            return f"Maintenance of {names}" if names else "Maintenance"
        return f"Problems with {names}" if names else "Incident"

    @property
    def shown_updates(self) -> list[ShownUpdate]:
        """Return the updates, newest first."""
        by_id = {each.id: each for each in self.updates}
        corrections = {each.corrects: each for each in self.updates if each.corrects}
        return [ShownUpdate(each, corrections.get(each.id), by_id.get(each.corrects)) for each in self.updates[::-1]]

    def first(self, *states: PublicState) -> datetime | None:
        """Return when it first had one of the states; None if it never had."""
        return next((each.at for each in self.standing if each.state in states), None)


@dataclass(frozen=True)
class ShownComponent:
    name: str
    condition: ShownCondition
    updated_at: datetime | None
    """Time of the newest update that names it; None without one."""


@dataclass(frozen=True)
class PageOverview:
    """All that the page shows, at one moment."""

    settings: StatusPageSettings
    built_at: datetime
    components: tuple[ShownComponent, ...]
    running: tuple[PublicIncident, ...]
    """Open incidents and begun maintenance, newest update first."""
    planned: tuple[PublicIncident, ...]
    past: tuple[PublicIncident, ...]

    @property
    def incidents(self) -> tuple[PublicIncident, ...]:
        return (*self.running, *self.planned, *self.past)

    @cached_property
    def updates(self) -> Sequence[PublicUpdate]:
        """All updates, newest first."""
        return sorted((each for one in self.incidents for each in one.updates), key=_sort_key, reverse=True)

    @property
    def last_update(self) -> datetime | None:
        return self.updates[0].at if self.updates else None

    @cached_property
    def worst(self) -> ShownCondition:
        """The worst condition of all components, also of one that only an open incident names."""
        named = [each.condition for each in self.components]
        unlisted = (each for one in self.running for each in one.conditions.values())
        return worst_of([*named, *(each for each in unlisted if each != ShownCondition.OPERATIONAL)])

    @property
    def is_operational(self) -> bool:
        """Whether the page may say so: nothing runs, and each component is known to work."""
        return not self.running and self.worst == ShownCondition.OPERATIONAL


def fold_updates(settings: StatusPageSettings, updates: Iterable[PublicUpdate], built_at: datetime) -> PageOverview:
    """Return what the page shows at `built_at`. The order of the updates does not matter."""
    groups: dict[str, list[PublicUpdate]] = {}
    for update in sorted(updates, key=_sort_key):
        groups.setdefault(update.incident, []).append(update)
    incidents = [PublicIncident(name, tuple(group)) for name, group in groups.items()]
    incidents.sort(key=lambda each: _sort_key(each.newest), reverse=True)
    known = current_conditions(each for group in groups.values() for each in group)
    times = {name: each.at for one in reversed(incidents) for each in one.updates for name in each.names}
    components = []
    for name in settings.components:
        condition = SHOWN[known[name]] if name in known else ShownCondition.UNKNOWN
        if condition == ShownCondition.OPERATIONAL and settings.interval is None:
            condition = ShownCondition.UNKNOWN
        components.append(ShownComponent(name, condition, times.get(name)))
    going = [each for each in incidents if each.is_open]
    return PageOverview(
        settings,
        built_at,
        tuple(components),
        running=tuple(each for each in going if each.has_begun),
        planned=tuple(each for each in going if not each.has_begun),
        past=tuple(each for each in incidents if not each.is_open),
    )


def _sort_key(update: PublicUpdate) -> tuple[datetime, str, int]:
    return update.at, update.incident, update.number
