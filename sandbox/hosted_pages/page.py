"""State of a status page at a provider, and the checks that both providers share."""

import secrets
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sandbox.clock import FakeClock
from sandbox.records import RequestRecord
from sandbox.server import HttpRequest
from sandbox.switches import Switches

OPERATIONAL = "operational"


class PageRefusal(Exception):
    """The provider refuses the request."""

    def __init__(self, status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, list(headers)


@dataclass(kw_only=True)
class PageUpdate:
    """One entry of an incident's timeline."""

    id: str
    status: str
    text: str
    at: datetime
    notify: bool
    components: Mapping[str, str]
    """ID of a component → its new status."""


@dataclass(kw_only=True)
class PageIncident:
    """An incident or maintenance on the page."""

    id: str
    name: str
    status: str
    created: datetime
    began: datetime
    components: list[str]
    """IDs of the components that it names."""
    starts: datetime | None = None
    ends: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    updates: list[PageUpdate] = field(default_factory=list)
    """Oldest first."""

    @property
    def is_maintenance(self) -> bool:
        return self.starts is not None


@dataclass(kw_only=True)
class HostedPage:
    """One page of one customer, with its API keys."""

    id: str
    name: str
    keys: set[str]
    names: dict[str, str]
    """ID of a component → its name."""
    states: dict[str, str] = field(default_factory=dict)
    """ID of a component → its status, in the words of the provider."""
    incidents: list[PageIncident] = field(default_factory=list)
    """Oldest first."""
    requests: list[RequestRecord] = field(default_factory=list)

    def find_incident(self, incident: str, *, is_maintenance: bool | None = None) -> PageIncident:
        """Return an incident. Raises PageRefusal."""
        for each in self.incidents:
            if each.id == incident and is_maintenance in {None, each.is_maintenance}:
                return each
        raise PageRefusal(404, "The requested resource could not be found.")

    def check_components(self, given: Iterable[str], *, status: int) -> None:
        """Refuse components that the page does not have. Raises PageRefusal."""
        if unknown := [each for each in given if each not in self.names]:
            raise PageRefusal(status, f"unknown component {unknown[0]}")

    def add_update(
        self, incident: PageIncident, status: str, text: str, states: Mapping[str, str], *, at: datetime, notify: bool
    ) -> PageUpdate:
        """Change the states of components, and add an update to the incident."""
        added = PageUpdate(id=make_id(), status=status, text=text, at=at, notify=notify, components=dict(states))
        incident.updates.append(added)
        incident.status = status
        incident.components = list(dict.fromkeys((*incident.components, *states)))
        self.states |= states
        return added

    @property
    def shown(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """What a visitor sees: each incident's status, with status and text of its updates, oldest first."""
        return [(each.status, [(one.status, one.text) for one in each.updates]) for each in self.incidents]


class HostedPages:
    """All pages of one provider that the sandbox has. `operational`: its word for a component that works."""

    def __init__(self, clock: FakeClock, switches: Switches, operational: str) -> None:
        self._clock, self._switches, self._operational = clock, switches, operational
        self._pages: dict[str, HostedPage] = {}

    def add_page(self, page: str, key: str, components: Mapping[str, str]) -> HostedPage:
        """Add a page with component ID → name, all operational."""
        states = dict.fromkeys(components, self._operational)
        self._pages[page] = HostedPage(id=page, name="Status", keys={key}, names=dict(components), states=states)
        return self._pages[page]


class RequestLimit:
    """Counts the requests of each key by the sandbox's clock, in a rolling period."""

    def __init__(self, clock: FakeClock, most: int, period: timedelta) -> None:
        self._clock, self._most, self._period = clock, most, period
        self._calls: dict[str, deque[datetime]] = {}

    def seconds_to_wait(self, key: str) -> int:
        """Count a request, and return 0, or the seconds until the key may send one again."""
        now, calls = self._clock.now(), self._calls.setdefault(key, deque())
        while calls and calls[0] <= now - self._period:
            calls.popleft()
        if len(calls) >= self._most:
            return int((calls[0] + self._period - now).total_seconds()) + 1
        calls.append(now)
        return 0


def make_id() -> str:
    return secrets.token_hex(6)


def read_number(request: HttpRequest, name: str, usual: int, most: int) -> int:
    """Return a number of the query; too large a one counts as `most`. Raises PageRefusal."""
    text = request.query.get(name, str(usual))
    if not text.isdigit() or int(text) < 1:
        raise PageRefusal(400, f"{name} must be a positive number")
    return min(int(text), most)


def read_fields(given: Any, types: Mapping[str, type], required: Iterable[str], *, status: int) -> dict[str, Any]:
    """Return the fields of a JSON object, each of its type. Raises PageRefusal for every other object.

    The providers do not say what they do with a field that they do not know; the stricter answer is the harder one.
    """
    if not isinstance(given, dict):
        raise PageRefusal(400, "the body is no object")
    for name, value in given.items():
        if name not in types:
            raise PageRefusal(status, f"{name} is unknown")
        if not isinstance(value, types[name]) or (types[name] is not bool and isinstance(value, bool)):
            raise PageRefusal(status, f"{name} has a wrong type")
    if missing := [name for name in required if name not in given]:
        raise PageRefusal(status, f"{missing[0]} is required")
    return dict(given)


def read_time(text: str, name: str, *, status: int) -> datetime:
    """Return a time with its zone. Raises PageRefusal."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise PageRefusal(status, f"{name} is no date-time") from None
    if moment.tzinfo is None:
        raise PageRefusal(status, f"{name} has no time zone")
    return moment
