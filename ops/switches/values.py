"""State of a switch in KV, and the value to write for a desired state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ops.core.clock import format_duration, format_planned_end, format_utc, parse_deadline
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.runtime_contract import SWITCH_KEY_PREFIX, ReportedSwitch, SwitchValue, parse_switch_value
from ops.core.suggestions import did_you_mean, quote_name

if TYPE_CHECKING:
    from ops.config.runtime import RuntimeConfig
    from ops.config.runtime import SwitchConfig as Rules

SAME_END_TOLERANCE = timedelta(minutes=1)
"""Ends that differ by less count as equal, so that a repeated command changes nothing."""


@dataclass(frozen=True)
class SwitchState:
    """One switch as it was read from KV."""

    name: str
    rules: "Rules"
    text: str | None
    """Raw value; None if the key does not exist."""
    value: SwitchValue | None

    @property
    def key(self) -> str:
        return f"{SWITCH_KEY_PREFIX}{self.name}"

    def state(self, now: datetime) -> str:
        """Return the effective state at `now`, at each location that has this value."""
        if self.value is None:
            return self.rules.on_unknown or self.rules.normal
        return self.rules.normal if self.value.is_over(now) else self.value.state

    def is_on(self, now: datetime) -> bool:
        """Return whether it was set to another state than normal, and has not ended."""
        return self.value is not None and self.state(now) != self.rules.normal

    def describe(self, now: datetime) -> str:
        if self.value is None:
            return f"{self.state(now)}: never set"
        return describe_switch(self.value, now)

    def differs_from(self, observed: ReportedSwitch | None) -> bool:
        """Return whether the application shows a value of another run; KV or the application may lag a minute."""
        revision = self.value.revision if self.value else None
        return observed is not None and observed.revision is not None and observed.revision != revision

    def describe_disagreement(self, observed: ReportedSwitch | None, now: datetime) -> str:
        """Describe different states in KV and in the application; empty if they agree."""
        if observed is None or not self.differs_from(observed) or observed.state == self.state(now):
            return ""
        return (
            f"KV shows {self.name} = {self.state(now)}, the application shows {quote_name(observed.state)}: "
            "one of them is up to a minute behind"
        )


def describe_switch(value: SwitchValue, now: datetime) -> str:
    """Describe a value in one line: state, owner, age, incident, paths and end."""
    since = format_duration(max(0.0, (now - value.since).total_seconds()))
    parts = [
        value.state,
        f"by {quote_name(value.owner)} {since} ago",
        *_describe_purpose(value, map(quote_name, value.paths)),
    ]
    if value.until:
        parts.append(f"{'ended' if value.is_over(now) else 'until'} {format_utc(value.until)}")
    elif value.review_at:
        parts.append(format_planned_end(value.review_at, now))
    return ", ".join(parts)


def describe_planned(value: SwitchValue) -> str:
    """Describe a value that this run will write: state, incident, paths and end."""
    until = [f"until {format_utc(value.until)}"] if value.until else []
    return ", ".join([value.state, *_describe_purpose(value, value.paths), *until])


def _describe_purpose(value: SwitchValue, paths: Iterable[str]) -> list[str]:
    """Return the incident and the paths of a value, if it has any; `paths` are already quoted."""
    incident = [f"for incident #{value.incident}"] if value.incident else []
    return incident + ([f"for {', '.join(paths)}"] if value.paths else [])


def find_rules(runtime: "RuntimeConfig", name: str) -> "Rules":
    """Return the switch's settings in ops.yml. Raises ConfigError if there are none."""
    if name in runtime.switches:
        return runtime.switches[name]
    text = f'no switch "{quote_name(name)}" in ops.yml{did_you_mean(name, runtime.switches)}'
    raise ConfigError(text, reason=Reason.UNKNOWN_NAME, hint=f"Use one of: {', '.join(runtime.switches)}.")


def require_state(name: str, rules: "Rules", state: str) -> str:
    """Return `state` if the switch has it. Raises ConfigError if not."""
    if state in rules.states:
        return state
    text = f'{name} has no state "{quote_name(state)}"{did_you_mean(state, rules.states)}'
    raise ConfigError(text, reason=Reason.UNKNOWN_NAME, hint=f"Use one of: {', '.join(rules.states)}.")


def parse_state(name: str, rules: "Rules", text: str | None) -> SwitchState:
    """Parse a value from KV. Raises Refused if it is malformed."""
    try:
        return SwitchState(name, rules, text, None if text is None else parse_switch_value(text))
    except ValueError as error:
        raise Refused(
            f"cannot read the value of {SWITCH_KEY_PREFIX}{name} in KV: {error}",
            reason=Reason.UNKNOWN_VALUE,
            hint=(
                "If a newer version of Backout wrote it, use that version. Otherwise delete the key in the dashboard "
                "(Storage & Databases → KV): the switch then has its normal state."
            ),
        ) from None


@dataclass(frozen=True)
class DesiredValue:
    """Requested value of a switch. `until` is None if the requester gave no end."""

    state: str
    owner: str
    incident: int | None
    until: datetime | None = None
    message: str = ""
    paths: tuple[str, ...] = ()
    review_at: datetime | None = None
    has_no_end: bool = False
    """Whether it stays until it is set again."""


def parse_end(name: str, rules: "Rules", state: str, text: str, now: datetime) -> datetime | None:
    """Parse the end of a state, limited by `longest`; None if there is none. Raises ConfigError."""
    moment = parse_deadline(text, now)
    if moment is None:
        return None
    if state == rules.normal:
        hint = f"Omit `--until`: {state} stays until it is set to another state."
        raise ConfigError(f"`--until` does not apply: {state} is the normal state of {name}", hint=hint)
    latest = now + timedelta(seconds=rules.longest)
    if moment > latest + SAME_END_TOLERANCE:
        raise ConfigError(
            f"{name} may be {state} for at most {format_duration(rules.longest)}; {format_utc(moment)} is later",
            hint=f"Use an end before {format_utc(latest)}, or set a longer `longest` for {name} in ops.yml.",
        )
    return moment


def value_to_write(
    current: SwitchState, desired: DesiredValue, *, revision: str, now: datetime, repeat: bool = False
) -> SwitchValue | None:
    """Return the value to write; None if KV holds it already, unless `repeat` is set.

    A state that continues keeps its start and its incident.
    """
    rules, previous = current.rules, current.value
    is_same = current.state(now) == desired.state
    if desired.state == rules.normal:
        write = SwitchValue(desired.state, desired.owner, desired.incident, now, revision)
        return None if is_same and not repeat else write
    goes_on = previous if is_same else None
    latest = now + timedelta(seconds=rules.longest)
    end = None if desired.has_no_end else (goes_on and goes_on.until) or latest
    write = SwitchValue(
        state=desired.state,
        owner=desired.owner,
        incident=desired.incident or (goes_on.incident if goes_on else None),
        since=goes_on.since if goes_on else now,
        revision=revision,
        until=desired.until or end,
        review_at=desired.review_at,
        message=desired.message,
        paths=desired.paths,
    )
    return None if goes_on and _is_same_value(goes_on, write) and not repeat else write


def _is_same_value(one: SwitchValue, other: SwitchValue) -> bool:
    """Return whether both have the same effect: owner and revision are ignored, times may differ slightly.

    A value that its run ends is no other run's value.
    """
    if one.ends_with_run != other.ends_with_run:
        return False
    kept = replace(other, owner=one.owner, revision=one.revision, until=one.until, review_at=one.review_at)
    return one == kept and _is_same_moment(one.until, other.until) and _is_same_moment(one.review_at, other.review_at)


def _is_same_moment(one: datetime | None, other: datetime | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= SAME_END_TOLERANCE


def expected_json(name: str, state: str, revision: str | None) -> dict[str, str]:
    """Return JSON path → value that the public endpoint shows when this state is in effect."""
    found = {f"switches.{name}.state": state}
    return found | ({f"switches.{name}.revision": revision} if revision else {})


@dataclass(frozen=True)
class SkippedSwitch:
    """A switch that is not reset, with the reason."""

    name: str
    reason: str


def split_by_incident(
    found: Mapping[str, SwitchState], incident: int, now: datetime
) -> tuple[list[SwitchState], list[SkippedSwitch]]:
    """Return the active switches of the incident, and the other changed ones with the reason to skip them."""
    mine, left = list[SwitchState](), list[SkippedSwitch]()
    for name, each in found.items():
        if each.value is None or each.value.state == each.rules.normal:
            continue
        if each.value.is_over(now):
            left.append(SkippedSwitch(name, f"already ended: {describe_switch(each.value, now)}"))
        elif each.value.incident == incident:
            mine.append(each)
        else:
            whose = f"belongs to incident #{each.value.incident}" if each.value.incident else "belongs to no incident"
            left.append(SkippedSwitch(name, f"{whose}: {describe_switch(each.value, now)}"))
    return mine, left
