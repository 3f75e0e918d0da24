"""Rules of a raise: it lowers no rate, and ends no other raise early."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ops.core.clock import format_utc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ops.config.sections import LimitRaise
    from ops.core.runtime_contract import ReportedLimit, RuntimeState
    from ops.github.pulls import OwnPullRequest
    from ops.limits.file import Limit, Limits, Temporary


@dataclass(frozen=True)
class Rate:
    limit: int
    period: int
    """Period in seconds."""
    key: str

    def is_below(self, other: "Rate | None") -> bool:
        """Return whether it allows fewer requests over time. Rates of different keys are not compared."""
        if other is None or other.key != self.key:
            return False
        return self.limit * other.period < other.limit * self.period

    def __str__(self) -> str:
        return f"{self.limit} in {self.period} s"


def base_rate(limit: "Limit") -> Rate:
    return Rate(limit.limit, limit.period, limit.key)


def effective_rate(limit: "Limit", now: datetime) -> Rate:
    return Rate(limit.effective(now), limit.period, limit.key)


def live_rate(limit: "ReportedLimit | None") -> Rate | None:
    return None if limit is None else Rate(limit.limit, limit.period, limit.key)


@dataclass(frozen=True)
class RequestedRaise:
    """One limit of a request to raise, with the three rates that it must not lower."""

    name: str
    asked: "LimitRaise"
    base: "Limit"
    live: "ReportedLimit | str"
    """Limit that the application shows, or why it is unknown."""
    now: datetime
    incident: int | None

    @property
    def rate(self) -> Rate:
        return Rate(self.asked.limit, self.base.period, self.base.key)

    @property
    def temporary(self) -> "Temporary | None":
        """The temporary limit in effect at `now`."""
        temporary = self.base.temporary
        return None if temporary is None or temporary.is_over(self.now) else temporary

    @property
    def until(self) -> datetime:
        """The end of the raise: never before that of the raise that it replaces."""
        end = self.now + timedelta(seconds=self.asked.lasts)
        return end if self.temporary is None else max(end, self.temporary.until)

    @property
    def is_raise(self) -> bool:
        """Return whether it exceeds the base, and is below neither the temporary nor the live rate."""
        live = None if isinstance(self.live, str) else live_rate(self.live)
        exceeds_base = base_rate(self.base).is_below(self.rate)
        held = effective_rate(self.base, self.now)
        return exceeds_base and not self.rate.is_below(held) and not self.rate.is_below(live)

    @property
    def is_in_file(self) -> bool:
        """Return whether limits.yml has it for this incident, with more than half of its time left."""
        held = self.temporary
        if held is None or (held.limit, held.incident) != (self.asked.limit, self.incident):
            return False
        return held.until - self.now > timedelta(seconds=self.asked.lasts / 2)

    def describe(self) -> str:
        """Describe the requested value and all values that it is compared with."""
        held = "no temporary limit"
        if self.temporary is not None:
            held = f"temporary {self.temporary.limit} until {format_utc(self.temporary.until)}"
        live = "unknown" if isinstance(self.live, str) else f"{live_rate(self.live)} per {self.live.key}"
        return (
            f"{self.name} to {self.asked.limit}: base {base_rate(self.base)} per {self.base.key}, {held}, live {live}"
        )

    def describe_held(self) -> str:
        """Describe the raise that limits.yml has already, with the live value."""
        assert self.temporary is not None
        live = "unknown" if isinstance(self.live, str) else str(live_rate(self.live))
        return f"{self.name} to {self.temporary.limit} until {format_utc(self.temporary.until)} already (live: {live})"

    def not_compared(self) -> str:
        """Return why it is not compared with the live value; empty if it is."""
        if isinstance(self.live, str):
            return f"{self.name} is not compared with its live value: {self.live}"
        if self.live.key != self.base.key:
            return f"{self.name} is not compared with its live value, which counts per {self.live.key}"
        return ""


def ended_limits(limits: "Limits", now: datetime) -> tuple[str, ...]:
    """Describe the temporary limits that have ended, and so change nothing."""
    return tuple(
        f"the temporary limit {limit.temporary.limit} of {name} ended at {format_utc(limit.temporary.until)}"
        for name, limit in limits.items()
        if limit.temporary is not None and limit.temporary.is_over(now)
    )


def keep_rates(limits: "Limits", live: "Limits", now: datetime) -> "tuple[dict[str, Limit], dict[str, str]]":
    """Return the limits of a merged raise without what would lower a limit in KV, and why each differs from the file.

    `live` has the limits in KV. A higher base stays, and so does a temporary limit that is higher or ends later.
    """
    found, kept = dict(limits), dict[str, str]()
    for name, limit in limits.items():
        held = live.get(name, limit)
        result = _keep_rate(limit, held, now)
        if (result.limit, result.period, result.temporary) != (
            limit.limit,
            limit.period,
            _active_temporary(limit, now),
        ):
            found[name], kept[name] = result, _describe_kept(name, limit, held, result, now)
    return found, kept


def low_raises(limits: "Limits", live: "Limits", now: datetime) -> "dict[str, Temporary]":
    """Return the temporary limits below the base that KV does not have: left out before, or new."""
    return {
        name: entry
        for name, limit in limits.items()
        if (entry := _active_temporary(limit, now)) is not None
        and entry.limit < limit.limit
        and not (name in live and entry.is_same(live[name].temporary))
    }


def leave_out_limits(limits: "Limits", entries: "Mapping[str, Temporary]") -> "tuple[dict[str, Limit], dict[str, str]]":
    """Return the limits without these temporary limits, and a text for each."""
    left = {name: limits[name].model_copy(update={"temporary": None}) for name in entries}
    texts = {
        name: f"{name} stays at {base_rate(limits[name])}: the temporary {entry.limit} until {format_utc(entry.until)} "
        "in limits.yml is below that. Remove it by a pull request, or change its reason to apply it"
        for name, entry in entries.items()
    }
    return {**limits, **left}, texts


def _keep_rate(limit: "Limit", held: "Limit", now: datetime) -> "Limit":
    if limit.key != held.key:
        return limit.model_copy(update={"temporary": _active_temporary(limit, now)})
    if limit.period != held.period:  # a limit has one period, so the two cannot be combined
        lowers = base_rate(limit).is_below(base_rate(held)) or any(
            effective_rate(limit, at).is_below(effective_rate(held, at)) for at in _moments_of_highest_rate(held, now)
        )
        return held if lowers else limit.model_copy(update={"temporary": _active_temporary(limit, now)})
    base, raised, other = max(limit.limit, held.limit), _active_temporary(limit, now), _active_temporary(held, now)
    if raised is not None and raised.limit < base:
        raised = None
    if other is not None and (raised is None or raised.limit < other.limit or raised.until < other.until):
        raised = other if other.limit >= base else None
    return limit.model_copy(update={"limit": base, "temporary": raised})


def _active_temporary(limit: "Limit", now: datetime) -> "Temporary | None":
    return None if limit.temporary is None or limit.temporary.is_over(now) else limit.temporary


def _moments_of_highest_rate(limit: "Limit", now: datetime) -> list[datetime]:
    """Return the moments at which its rate may be highest: now, and right before its temporary limit ends."""
    temporary = _active_temporary(limit, now)
    return [now] if temporary is None else [now, temporary.until - timedelta(seconds=1)]


def _describe_kept(name: str, limit: "Limit", held: "Limit", result: "Limit", now: datetime) -> str:
    temporary = _active_temporary(limit, now)
    asked = f"temporary {temporary.limit} until {format_utc(temporary.until)}" if temporary else "no temporary limit"
    values = f"base {base_rate(limit)}, {asked}, live {_describe_limit(held, now)}"
    return f"{name} keeps {_describe_limit(result, now)}: the merged raise would lower it ({values})"


def _describe_limit(limit: "Limit", now: datetime) -> str:
    temporary, base = _active_temporary(limit, now), str(base_rate(limit))
    return base if temporary is None else f"{temporary.limit} until {format_utc(temporary.until)}, then {base}"


def live_limit(live: "RuntimeState | str", name: str) -> "ReportedLimit | str":
    """Return a limit that the application shows, or why it is unknown."""
    if isinstance(live, str):
        return live
    return live.limits.get(name, "the application does not show it")


def raised_limits(limits: "Limits", requested: "Mapping[str, LimitRaise]", now: datetime) -> set[str]:
    """Return the requested limits that this limits.yml raises at `now` at least as far."""
    return {
        name
        for name, each in requested.items()
        if (limit := limits.get(name)) is not None
        and limit.temporary is not None
        and not limit.temporary.is_over(now)
        and limit.temporary.limit >= each.limit
    }


MARKER_START = "<!-- backout limits incident="


def incident_marker(incident: int) -> str:
    """Return the line in the body of a pull request that names its incident."""
    return f"{MARKER_START}{incident} -->"


@dataclass(frozen=True)
class OpenRaise:
    """An open pull request of ours, with the requested limits that it raises."""

    pull: "OwnPullRequest"
    names: frozenset[str]

    def answers(self, incident: int | None) -> bool:
        """Return whether a merge of it fulfills a request for this incident; one for none answers one for none."""
        body = self.pull.body
        is_for_it = MARKER_START not in body if incident is None else incident_marker(incident) in body
        return is_for_it and not self.pull.is_in_conflict

    def __str__(self) -> str:
        conflict = {
            True: ", but conflicts with the default branch: close it",
            False: "",
            None: " (GitHub does not know yet whether it conflicts: if so, close it and request the raise again)",
        }[self.pull.is_in_conflict]
        return f"is open and raises {', '.join(sorted(self.names))}{conflict}"


@dataclass(frozen=True)
class Proposal:
    """The limits to raise, those that are left out, and the open pull requests with requested limits."""

    raises: "tuple[RequestedRaise, ...]"
    no_raise: "tuple[RequestedRaise, ...]"
    """Limits that the requested value would lower, or not change."""
    in_file: "tuple[RequestedRaise, ...]"
    """Limits that limits.yml raises already."""
    others: tuple[OpenRaise, ...] = ()

    @property
    def summary(self) -> str:
        return ", ".join(f"{each.name} to {each.asked.limit}" for each in self.raises)

    @property
    def left_out(self) -> tuple[str, ...]:
        refused = (f"not raised: {each.describe()}" for each in self.no_raise)
        return (*refused, *(f"limits.yml raises {each.describe_held()}" for each in self.in_file))

    @property
    def not_compared(self) -> tuple[str, ...]:
        return tuple(text for each in self.raises if (text := each.not_compared()))

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.left_out, *(f"pull request {other.pull.number} {other}" for other in self.others))


def make_proposal(requested: "Sequence[RequestedRaise]", others: "Sequence[OpenRaise]") -> Proposal:
    in_file = tuple(each for each in requested if each.is_in_file)
    rest = [each for each in requested if not each.is_in_file]
    raises, no_raise = (tuple(each for each in rest if each.is_raise == is_raise) for is_raise in (True, False))
    return Proposal(raises, no_raise, in_file, tuple(other for other in others if other.names))
