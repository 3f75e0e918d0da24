"""Maintenance windows as stored in ops-maintenance, and the request of a change, parsed.

Cloudflare's limits: 5 KB for a variable, 64 variables for a Worker, 128 on Workers Paid
(developers.cloudflare.com/workers/platform/limits).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Self

from ops.cloudflare.types.zones import WorkersDevSubdomain
from ops.core.clock import parse_deadline, parse_utc
from ops.core.errors import ConfigError
from ops.core.names import quote_name
from ops.core.owners import UNNAMED_RUN, StateOwner, StateRequester, find_owner, latest_end, parse_owner

RUN_VARIABLE, BASE_VARIABLE, WINDOW_PREFIX, REOPENED_PREFIX = "RUN", "BASE", "BLOCK_", "OPENED_"
"""Variables: the run that wrote the version, the version it was built on, one per window, and one per window that was
reopened before it was closed completely, because another run may still have been closing it."""
ROUTES_PREFIX = "ROUTES_"
"""Variables with routes of a window that is too large for its own: its `closed` then has their names.

Release 0.1.1 refuses such a window as malformed, so it never reopens only a part of it.
"""
MAX_VARIABLE_BYTES = 5000
"""Largest variable, in bytes of JSON."""
MAX_VARIABLES = 60
"""Most variables with windows and routes; two more are needed, and a few stay free."""
MAX_MESSAGE_LENGTH = 300
UNKNOWN_START = "1970-01-01T00:00:00Z"
"""Start of a window whose start cannot be read."""
HOLDER_FIELDS = ("owners", "incident", "reopened_by", "reopen_at_end", "until", "message", "since", "run")
"""Stored fields that opening a window does not need."""


@dataclass(frozen=True)
class ClosedRoute:
    """A route that leads to ops-maintenance. Without an id it was added; else it led to `previous_worker`."""

    zone: str
    pattern: str
    id: str = ""
    previous_worker: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Zone and pattern; a pattern is unique within its zone."""
        return self.zone, self.pattern


@dataclass(frozen=True)
class MaintenanceWindow:
    """A service, or a path prefix of it, that is off, with every value to restore."""

    service: str
    worker: str
    path: str
    """Path prefix; empty for the whole service."""
    message: str
    until: str
    """Planned end in ISO 8601, or empty. A reminder only, unless `reopen_at_end` is set."""
    since: str
    run: str
    incident: int | None
    closed: tuple[ClosedRoute, ...]
    subdomain: WorkersDevSubdomain | None = None
    """Previous workers.dev setting; None if this window did not change it."""
    reopen_at_end: bool = False
    """Whether a job or a schedule may reopen it after `until`."""
    reopened_by: str = ""
    """Run that reopens it at its end, such as a restore; empty if only a person or `until` does."""
    owners: tuple[StateOwner, ...] = ()
    """Incidents and persons that need it closed, in the order of their requests.

    Empty for a run that reopens it itself, and in a window of release 0.1.1: the other fields describe the only one.
    """
    edited: str = ""
    """HOLDER_FIELDS as they are stored, in JSON, if they were edited and who holds the window cannot be read.

    They are stored again unchanged as long as the window stays. Never stored itself.
    """

    def is_due(self, now: datetime) -> bool:
        """Return whether a schedule should reopen it at `now` (UTC)."""
        return self.reopen_at_end and bool(self.until) and parse_utc(self.until) < now

    @property
    def scope(self) -> str:
        return f"{self.service} {self.path}" if self.path else f"the whole of {self.service}"

    @property
    def all_owners(self) -> tuple[StateOwner, ...]:
        """Return the owners, also one whose end has passed."""
        return self.owners or (self._only_owner,)

    @property
    def _only_owner(self) -> StateOwner:
        end = parse_utc(self.until) if self.until else None
        until, review_at = (end, None) if self.reopen_at_end else (None, end)
        run, since = f"{UNNAMED_RUN}{self.run}", parse_utc(self.since)
        return StateOwner(self.incident, run, since, until, review_at, self.message)

    @property
    def incidents(self) -> frozenset[int]:
        """Return the incidents that need it closed."""
        known = [each.incident for each in self.owners] or [self.incident]
        return frozenset(incident for incident in known if incident)

    @property
    def named_incidents(self) -> str:
        """Return the incidents for people, such as "#7 and #9"."""
        return " and ".join(f"#{number}" for number in sorted(self.incidents))

    def active_owners(self, now: datetime) -> tuple[StateOwner, ...]:
        """Return the incidents, and persons without one, that need it closed at `now` (UTC)."""
        return tuple(each for each in self.all_owners if not each.is_over(now))

    def belongs_to(self, incident: int, now: datetime) -> bool:
        """Return whether the incident needs it closed; after its planned end too, until it is reopened for all."""
        return find_owner(self.active_owners(now) or self.all_owners, StateRequester(incident)) is not None

    def with_owners(self, owners: Sequence[StateOwner]) -> Self:
        """Return the window for these owners: the latest end and the newest message count."""
        until, reviews = latest_end(owners), [end for each in owners if (end := each.review_at or each.until)]
        end = until or max(reviews, default=None)
        message = next((each.message for each in reversed(owners) if each.message), self.message)
        incident = next((each.incident for each in owners if each.incident), None)
        window = replace(
            self,
            message=message,
            incident=incident,
            until=f"{end:{TIME_FORMAT}}" if end else "",
            reopen_at_end=until is not None,
            owners=(),
        )
        return window if tuple(owners) == window.all_owners else replace(window, owners=tuple(owners))

    def to_json(self) -> dict[str, Any]:
        routes = [[each.zone, each.pattern, each.id, each.previous_worker] for each in self.closed]
        subdomain = self.subdomain and [self.subdomain.enabled, self.subdomain.previews_enabled]
        value = {**vars(self), "closed": routes, "subdomain": subdomain}
        del value["owners"], value["edited"]
        if self.edited:
            known = {name: each for name, each in value.items() if name not in HOLDER_FIELDS}
            return {**known, **json.loads(self.edited)}
        return {**value, **({"owners": [each.to_json() for each in self.owners]} if self.owners else {})}


@dataclass(frozen=True)
class MaintenanceState:
    """Windows as a version of ops-maintenance stores them."""

    windows: tuple[MaintenanceWindow, ...]
    run: str
    reopened: tuple[MaintenanceWindow, ...] = ()
    """Windows that were reopened before they were closed completely."""
    unreadable: tuple[str, ...] = ()
    """Variables that cannot be read at all, for people."""

    def windows_of(self, service: str) -> tuple[MaintenanceWindow, ...]:
        return tuple(window for window in self.windows if window.service == service)

    def find_window(self, service: str, path: str) -> MaintenanceWindow | None:
        return next((window for window in self.windows_of(service) if window.path == path), None)

    @cached_property
    def closed_routes(self) -> Mapping[tuple[str, str], ClosedRoute]:
        return {each.key: each for window in self.windows for each in window.closed}


def parse_maintenance_state(variables: Mapping[str, Any]) -> MaintenanceState | None:
    """Parse the variables of a version. Returns None if they are not ours.

    Raises:
        ValueError: they are ours, and malformed.
    """
    if RUN_VARIABLE not in variables:
        return None
    try:
        windows, opened = (
            tuple(
                _parse_window(value, variables) for name, value in sorted(variables.items()) if name.startswith(prefix)
            )
            for prefix in (WINDOW_PREFIX, REOPENED_PREFIX)
        )
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError("not a maintenance window") from error
    return MaintenanceState(windows, str(variables[RUN_VARIABLE]), opened)


def parse_readable_state(variables: Mapping[str, Any]) -> MaintenanceState | None:
    """Parse what can be read of malformed variables: a window without its owners, if its routes are known."""
    if RUN_VARIABLE not in variables:
        return None
    windows, opened, unreadable = list[MaintenanceWindow](), list[MaintenanceWindow](), list[str]()
    for name, value in sorted(variables.items()):
        if not name.startswith((WINDOW_PREFIX, REOPENED_PREFIX)):
            continue
        window = _parse_readable_window(value, variables)
        if window is None:
            service = value.get("service") if isinstance(value, Mapping) else None
            of = f" of {quote_name(service)}" if isinstance(service, str) else ""
            unreadable.append(f"variable {name}{of}, which cannot be read, because it was edited, and is dropped")
        else:
            (windows if name.startswith(WINDOW_PREFIX) else opened).append(window)
    return MaintenanceState(tuple(windows), str(variables[RUN_VARIABLE]), tuple(opened), tuple(unreadable))


def _parse_readable_window(value: Any, variables: Mapping[str, Any]) -> MaintenanceWindow | None:
    try:
        return _parse_window(value, variables)
    except (KeyError, TypeError, AttributeError, OverflowError, ValueError):
        return _parse_without_owners(value, variables)


def _parse_without_owners(value: Any, variables: Mapping[str, Any]) -> MaintenanceWindow | None:
    """Return the window with what can be read; None if not even its service, path and routes can be."""
    owners = {"owners": (), "incident": None, "reopened_by": "", "reopen_at_end": False, "until": ""}
    for unknown in (owners, {**owners, "message": "", "since": UNKNOWN_START, "run": ""}):
        try:
            window = _parse_window({**value, **unknown}, variables)
            return replace(window, edited=json.dumps({name: value[name] for name in HOLDER_FIELDS if name in value}))
        except (KeyError, TypeError, AttributeError, OverflowError, ValueError):
            continue
    return None


def _parse_window(value: Mapping[str, Any], variables: Mapping[str, Any]) -> MaintenanceWindow:
    # Earlier versions stored none of these.
    optional = {"reopen_at_end": False, "reopened_by": "", "owners": ()}
    names = [name for name in MaintenanceWindow.__dataclass_fields__ if name != "edited"]
    known = {**optional, **{name: value[name] for name in names if name in value or name not in optional}}
    texts = [known[name] for name in ("service", "worker", "path", "message", "until", "since", "run", "reopened_by")]
    listed = [variables[each] if isinstance(each, str) else [each] for each in known["closed"]]
    routes = [ClosedRoute(*each) for part in listed for each in part]
    if not all(isinstance(text, str) for text in [*texts, *(part for each in routes for part in vars(each).values())]):
        raise TypeError(value)
    incident, reopens = known["incident"], known["reopen_at_end"]
    if type(reopens) is not bool or not (incident is None or (type(incident) is int and incident > 0)):
        raise TypeError(value)
    for moment in (known["since"], *filter(None, [known["until"]])):
        parse_utc(moment)
    subdomain = WorkersDevSubdomain(*map(bool, known["subdomain"])) if known["subdomain"] else None
    owners = tuple(parse_owner(each) for each in known["owners"])
    return MaintenanceWindow(**{**known, "closed": tuple(routes), "subdomain": subdomain, "owners": owners})


def build_variables(
    windows: Sequence[MaintenanceWindow], *, run: str, base: str, reopened: Sequence[MaintenanceWindow] = ()
) -> dict[str, Any]:
    """Return the Worker variables that store the windows: texts as plain text, other values as JSON.

    Reopened windows are left out if there is no room for them.
    """
    stored = _store_windows(windows, WINDOW_PREFIX, {})
    larger = (_store_windows(reopened[:count], REOPENED_PREFIX, stored) for count in range(len(reopened), 0, -1))
    fitting = next((each for each in larger if len(each) <= MAX_VARIABLES), stored)
    return {RUN_VARIABLE: run, BASE_VARIABLE: base, **fitting}


def _store_windows(
    windows: Sequence[MaintenanceWindow], prefix: str, stored: Mapping[str, dict[str, Any] | list[Any]]
) -> dict[str, Any]:
    """Return the stored variables with one per window, and more with the routes of a large one."""
    variables = dict[str, Any](stored)
    for n, window in enumerate(windows):
        value = window.to_json()
        if _stored_json_size(value) > MAX_VARIABLE_BYTES:
            parts = _split_routes(value["closed"])
            first = sum(name.startswith(ROUTES_PREFIX) for name in variables)
            named = {f"{ROUTES_PREFIX}{number:02}": part for number, part in enumerate(parts, first)}
            variables |= named
            value["closed"] = list(named)
        variables[f"{prefix}{n:02}"] = value
    return variables


def _split_routes(routes: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    """Yield the routes in lists that each fit into a variable."""
    part: list[list[str]] = []
    for each in routes:
        if part and _stored_json_size([*part, each]) > MAX_VARIABLE_BYTES:
            yield part
            part = []
        part.append(each)
    if part:
        yield part


def _stored_json_size(value: Any) -> int:
    return len(json.dumps(value).encode())


def have_same_effect(windows: Iterable[MaintenanceWindow], others: Iterable[MaintenanceWindow]) -> bool:
    """Return whether both close the same routes with the same message and owners; run and time may differ."""
    one, other = (frozenset(map(_describe_effect, each)) for each in (windows, others))
    return one == other


def _describe_effect(window: MaintenanceWindow) -> tuple[Any, ...]:
    held = frozenset((each.key, each.until, each.review_at) for each in window.all_owners if not each.is_run)
    return replace(window, run="", since="", incident=None, owners=()), held


def is_taken_over(own: Iterable[MaintenanceWindow], live: Iterable[MaintenanceWindow]) -> bool:
    """Return whether `live` keeps closed all that `own` closes, and differs only where a person took over a window."""
    stored = {(each.service, each.path): each for each in live}
    pairs = [(each, stored.get((each.service, each.path))) for each in own]
    return all(
        other is not None
        and (have_same_effect([each], [other]) or (each.reopened_by and {*each.closed} <= {*other.closed}))
        for each, other in pairs
    )


def describe_excess(windows: Sequence[MaintenanceWindow]) -> str:
    """Return why the windows do not fit into the variables, or an empty string if they do."""
    stored = _store_windows(windows, WINDOW_PREFIX, {})
    routes = sum(len(window.closed) for window in windows)
    if len(stored) > MAX_VARIABLES:
        what = f"{len(windows)} maintenance windows with {routes} routes"
        return f"{what} take {len(stored)} variables, and at most {MAX_VARIABLES} can be stored"
    for name, value in stored.items():
        if _stored_json_size(value) > MAX_VARIABLE_BYTES:
            return f"{name} takes {_stored_json_size(value)} bytes, and at most {MAX_VARIABLE_BYTES} can be stored"
    return ""


def replace_window(windows: Iterable[MaintenanceWindow], window: MaintenanceWindow) -> tuple[MaintenanceWindow, ...]:
    """Return the windows with `window` in place of the one for the same service and path."""
    return (*(b for b in windows if (b.service, b.path) != (window.service, window.path)), window)


def merge_states(
    newest: MaintenanceState, others: Iterable[MaintenanceState], base: MaintenanceState | None = None
) -> MaintenanceState:
    """Merge the states of runs that did not know of each other, so that all of it can be undone.

    A window reopens automatically only if each state says so, with the same end or by the same run. An owner of the
    state that all began with, `base`, has left if one of the runs released it.
    """
    windows = newest.windows
    for other in others:
        for window in other.windows:
            same = _find_same_window(windows, window)
            if same is None:
                windows = (*windows, window)
            else:
                closed = {each.key: each for each in (*same.closed, *window.closed)}
                both = replace(
                    same,
                    closed=tuple(closed.values()),
                    subdomain=window.subdomain or same.subdomain,
                    reopen_at_end=same.reopen_at_end and window.reopen_at_end and same.until == window.until,
                    reopened_by=same.reopened_by if same.reopened_by == window.reopened_by else "",
                )
                began = _find_same_window(base.windows, window) if base else None
                windows = replace_window(windows, _merge_owners(both, same, window, began))
    return replace(newest, windows=windows)


def _find_same_window(windows: Iterable[MaintenanceWindow], window: MaintenanceWindow) -> MaintenanceWindow | None:
    return next((each for each in windows if (each.service, each.path) == (window.service, window.path)), None)


def _merge_owners(
    both: MaintenanceWindow, one: MaintenanceWindow, other: MaintenanceWindow, began: MaintenanceWindow | None
) -> MaintenanceWindow:
    """Return the merged window with the owners of both, without those of `began` that one of the two released.

    One whom the other run changed meanwhile, such as its end, stays.
    """
    known, others = ({each.key for each in window.all_owners} for window in (one, other))
    more = [each for each in other.all_owners if each.key not in known and not each.is_run]
    before = began.all_owners if began else ()
    changed = {each.key for each in (*one.all_owners, *other.all_owners) if each not in before}
    left = {each.key for each in before if not each.is_run} - (known & others) - changed
    if not left & (known | others):
        return replace(both, owners=(*one.all_owners, *more)) if more else both
    return both.with_owners([each for each in (*one.all_owners, *more) if each.key not in left])


PATH_PATTERN = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~!$&'()+,;=:@-]+)+")
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class MaintenanceRequest:
    is_on: bool
    path: str
    """Path prefix without a trailing slash; empty for the whole service."""
    message: str
    until: str
    """Planned end in `TIME_FORMAT`, or empty."""
    reopen_at_end: bool
    ends_with_run: bool = False
    """Whether the run that closes it also reopens it, as a restore does."""
    releases_all: bool = False
    """Whether it opens for every owner, also if the owners cannot be read."""

    @classmethod
    def during_run(cls, message: str) -> Self:
        """Return the request of a run that closes a whole service, and reopens it at its end."""
        return cls(is_on=True, path="", message=message, until="", reopen_at_end=False, ends_with_run=True)

    @classmethod
    def parse(
        cls,
        *,
        state: str,
        path: str,
        message: str,
        until: str,
        reopen_at_end: bool,
        now: datetime,
        releases_all: bool = False,
    ) -> Self:
        """Parse and check the options. Raises ConfigError."""
        if state not in {"on", "off"}:
            raise ConfigError(f'unknown state "{state[:40]}"', hint="Use `--state on` or `--state off`.")
        if state == "off" and (message or until or reopen_at_end):
            raise ConfigError(
                "`--state off` takes no message and no end", hint="Omit `--message`, `--until` and `--reopen-at-end`."
            )
        if releases_all and (state == "on" or path):
            raise ConfigError(
                "`--release-all` opens the whole service", hint="Use it with `--state off`, and omit `--path`."
            )
        if reopen_at_end and not until:
            raise ConfigError(
                "`--reopen-at-end` needs an end", hint="Add `--until 2h` or `--until 2026-11-24T05:00Z` (UTC)."
            )
        if path and not PATH_PATTERN.fullmatch(path.rstrip("/")):
            hint = "Use a path such as /api/ai, without host, query, * or %. Omit `--path` for the whole service."
            raise ConfigError(f'"{path[:80]}" is not a path that a route can match', hint=hint)
        if len(message) > MAX_MESSAGE_LENGTH:
            raise ConfigError(
                f"the message has {len(message)} characters; at most {MAX_MESSAGE_LENGTH} are allowed",
                hint="Shorten `--message`.",
            )
        return cls(
            state == "on",
            path.rstrip("/"),
            message,
            _parse_window_end(until, now),
            reopen_at_end,
            releases_all=releases_all,
        )


def _parse_window_end(text: str, now: datetime) -> str:
    moment = parse_deadline(text, now)
    return f"{moment:{TIME_FORMAT}}" if moment else ""
