"""State of a switch in KV, and the value to write for a desired state."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ops.core.clock import format_age, format_duration, format_planned_end, format_rfc3339, format_utc, parse_deadline
from ops.core.errors import ConfigError, NeedsAcceptance, Reason, Refused
from ops.core.names import did_you_mean, quote_name
from ops.core.owners import (
    UNTIL_RUN_ENDS,
    StateOwner,
    StateRequester,
    add_owner,
    describe_owners,
    find_others,
    find_owner,
    refuse_held_state,
)
from ops.core.runtime_contract import (
    MAINTENANCE_SWITCH,
    SWITCH_KEY_PREFIX,
    ReportedSwitch,
    SwitchValue,
    parse_switch_value,
)

if TYPE_CHECKING:
    from ops.config.sections import RuntimeConfig
    from ops.config.sections import SwitchConfig as Rules

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

    def owners(self, now: datetime) -> tuple[StateOwner, ...]:
        """Return the owners of a state other than the normal one, in the order of their requests."""
        return self.value.active_owners(now) if self.value is not None and self.is_on(now) else ()

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

    def describe_hidden_run(self, observed: ReportedSwitch, now: datetime) -> str:
        """Describe a run that the application shows and KV does not show yet; empty if there is none."""
        if not self.differs_from(observed):
            return ""
        different = self.describe_disagreement(observed, now)
        return different or (
            f"the application shows {self.name} = {quote_name(observed.state)} from another run than KV: "
            "one of them is up to a minute behind"
        )

    def describe_unstored(self, shown: str, now: datetime) -> str:
        """Describe a state that the application shows from a run whose value KV does not show yet."""
        return (
            f"the application shows {self.name} = {quote_name(shown)}, from a run that KV does not show yet: "
            f"KV shows {self.describe(now)}. One of them is up to a minute behind"
        )


def describe_switch(value: SwitchValue, now: datetime) -> str:
    """Describe a value in one line: state, owner, age, incident, paths and end. Several owners have an end each."""
    age = format_age(now - value.since)
    owners = value.active_owners(now)
    if len(owners) > 1:
        paths = _describe_switch_purpose(None, map(quote_name, value.paths))
        return ", ".join([value.state, f"set {age}", f"held by {describe_owners(owners)}", *paths])
    parts = [
        value.state,
        f"by {quote_name(value.owner.removesuffix(UNTIL_RUN_ENDS))} {age}",
        *([UNTIL_RUN_ENDS.removeprefix(", ")] if value.owner.endswith(UNTIL_RUN_ENDS) else []),
        *_describe_switch_purpose(value.incident, map(quote_name, value.paths)),
    ]
    if value.until:
        parts.append(f"{'ended' if value.is_over(now) else 'until'} {format_utc(value.until)}")
    elif value.review_at:
        parts.append(format_planned_end(value.review_at, now))
    return ", ".join(parts)


def describe_planned(value: SwitchValue) -> str:
    """Describe a value that this run will write: state, incident, paths and end, or its owners."""
    if len(value.owners) > 1:
        return ", ".join(
            [value.state, f"held by {describe_owners(value.owners)}", *_describe_switch_purpose(None, value.paths)]
        )
    until = [f"until {format_utc(value.until)}"] if value.until else []
    return ", ".join([value.state, *_describe_switch_purpose(value.incident, value.paths), *until])


def _describe_switch_purpose(incident: int | None, paths: Iterable[str]) -> list[str]:
    """Return the incident and the closed paths, if there are any; `paths` are already quoted."""
    closed = ", ".join(paths)
    return [*([f"for incident #{incident}"] if incident else []), *([f"for {closed}"] if closed else [])]


def find_switch_rules(runtime: "RuntimeConfig", name: str) -> "Rules":
    """Return the switch's settings in ops.yml. Raises ConfigError if there are none."""
    if name in runtime.switches:
        return runtime.switches[name]
    text = f'no switch "{quote_name(name)}" in ops.yml{did_you_mean(name, runtime.switches)}'
    raise ConfigError(text, reason=Reason.UNKNOWN_NAME, hint=f"Use one of: {', '.join(runtime.switches)}.")


def require_switch_state(name: str, rules: "Rules", state: str) -> str:
    """Return `state` if the switch has it. Raises ConfigError if not."""
    if state in rules.states:
        return state
    text = f'{name} has no state "{quote_name(state)}"{did_you_mean(state, rules.states)}'
    raise ConfigError(text, reason=Reason.UNKNOWN_NAME, hint=f"Use one of: {', '.join(rules.states)}.")


def parse_switch_state(name: str, rules: "Rules", text: str | None) -> SwitchState:
    """Parse a value from KV. Raises Refused if it is malformed."""
    try:
        return SwitchState(name, rules, text, None if text is None else parse_switch_value(text))
    except ValueError as error:
        opens = (
            " To open the service all the same: `ops maintenance --state off --release-all`, with its name."
            if name == MAINTENANCE_SWITCH
            else ""
        )
        raise Refused(
            f"cannot read the value of {SWITCH_KEY_PREFIX}{name} in KV: {error}{_describe_without_owners(text)}",
            reason=Reason.UNKNOWN_VALUE,
            hint=(
                "If a newer version of Backout wrote it, use that version. Otherwise delete the key in the dashboard "
                f"(Storage & Databases → KV): the switch then has its normal state.{opens}"
            ),
        ) from None


def _describe_without_owners(text: str | None) -> str:
    """Return the end of a message about a value of which only the owners cannot be read; empty for another one."""
    try:
        value = parse_switch_value(json.dumps({**json.loads(text or ""), "owners": []}))
    except (ValueError, TypeError):
        return ""
    return f". Its owners were edited; without them it is {describe_planned(value)}"


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
    accepted_owners: tuple[str, ...] = ()
    """Names of owners whose other state this one may replace."""
    accepts_longer: bool = False
    """Whether it may end later than `longest` after the first start of the state."""
    leaves_runs: bool = False
    """Whether a run without an incident keeps the state that it ends itself; else it takes that over."""

    @property
    def requester(self) -> StateRequester:
        return StateRequester(self.incident, self.owner)


def parse_switch_end(name: str, rules: "Rules", state: str, text: str, now: datetime) -> datetime | None:
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

    A state that continues keeps its start and its owners; the requester is added to them. It takes over a state that
    its run ends, such as that of a restore.

    Raises:
        Refused: others hold another state, or the end is too late.
    """
    state, standing = current.state(now), current.value if current.is_on(now) else None
    if desired.state == current.rules.normal:
        kept = _owners_after_release(current, desired, now)
        if standing and kept:
            return SwitchValue.of_owners(standing.state, kept, since=standing.since, revision=revision)
        write = SwitchValue(desired.state, desired.owner, desired.incident, now, revision)
        return None if state == desired.state and not repeat else write
    if state != desired.state:
        _refuse_other_state(current, desired, now)
        standing = None
    before = standing.active_owners(now) if standing else ()
    kept = tuple(each for each in before if not each.ends_with_run or desired.owner.endswith(UNTIL_RUN_ENDS))
    owners = add_owner(kept, _new_owner(current, standing, desired, now))
    if standing and not repeat and _are_same_switch_owners(before, owners):
        return None
    return SwitchValue.of_owners(desired.state, owners, since=standing.since if standing else now, revision=revision)


def _new_owner(current: SwitchState, standing: SwitchValue | None, desired: DesiredValue, now: datetime) -> StateOwner:
    """Return the owner that the request adds or changes. Raises Refused if its end is too late."""
    own = find_owner(standing.active_owners(now), desired.requester) if standing else None
    latest = latest_allowed_end(current, now, accepts_longer=desired.accepts_longer)
    if desired.until and desired.until > latest + SAME_END_TOLERANCE:
        assert standing is not None
        longest = format_duration(current.rules.longest)
        raise NeedsAcceptance(
            f"{current.name} may be {desired.state} until {format_utc(latest)}: {longest} (`longest`) after its start "
            f"at {format_utc(standing.since)}. The requested end is {format_utc(desired.until)}",
            reason=Reason.ENDS_TOO_LATE,
            hint=f"Use `--until {format_rfc3339(latest)}`, or accept the later end with `--accept-longer`.",
            accept={"accept_longer": True},
        )
    end = None if desired.has_no_end else desired.until or (own and own.until) or latest
    return StateOwner(desired.incident, desired.owner, now, end, desired.review_at, desired.message, desired.paths)


def latest_allowed_end(current: SwitchState, now: datetime, *, accepts_longer: bool = False) -> datetime:
    """Return the latest end of a state that starts or continues now: `longest` after its first start.

    An end that a person accepted already, or no end, is no earlier limit.
    """
    longest, standing = timedelta(seconds=current.rules.longest), current.value if current.is_on(now) else None
    if standing is None or standing.until is None or accepts_longer:
        return now + longest
    return max(standing.since + longest, standing.until)


def _owners_after_release(current: SwitchState, desired: DesiredValue, now: datetime) -> tuple[StateOwner, ...]:
    """Return the owners that keep the state after the normal one was requested. Raises Refused if only others do."""
    owners = current.owners(now)
    others = find_others(owners, desired.requester, desired.accepted_owners)
    if others and (find_owner(owners, desired.requester) is None or desired.accepted_owners):
        raise _refuse_held_switch(current, desired, others, now)
    return tuple(each for each in owners if each in others or (each.is_run and desired.leaves_runs))


def _refuse_other_state(current: SwitchState, desired: DesiredValue, now: datetime) -> None:
    """Raise Refused if others hold another state than the desired one."""
    if others := find_others(current.owners(now), desired.requester, desired.accepted_owners):
        raise _refuse_held_switch(current, desired, others, now)


def _refuse_held_switch(
    current: SwitchState, desired: DesiredValue, others: Sequence[StateOwner], now: datetime
) -> NeedsAcceptance:
    return refuse_held_state(
        f"{current.name} is {current.state(now)}",
        others,
        requester=desired.requester,
        effect=f"sets it to {desired.state}",
        accepted=desired.accepted_owners,
    )


def _are_same_switch_owners(before: Sequence[StateOwner], after: Sequence[StateOwner]) -> bool:
    """Return whether both have the same effect: the persons of an incident and starts may differ, ends slightly."""
    mine, theirs = (sorted(each, key=lambda owner: str(owner.key)) for each in (before, after))
    return len(mine) == len(theirs) and all(map(_is_same_switch_owner, mine, theirs))


def _is_same_switch_owner(one: StateOwner, other: StateOwner) -> bool:
    mine, theirs = ((each.key, each.message, each.paths, each.ends_with_run) for each in (one, other))
    has_same_terms = mine == theirs
    return (
        has_same_terms
        and _is_same_switch_end(one.until, other.until)
        and _is_same_switch_end(one.review_at, other.review_at)
    )


def _is_same_switch_end(one: datetime | None, other: datetime | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= SAME_END_TOLERANCE


def expected_switch_json(name: str, state: str, revision: str | None) -> dict[str, str]:
    """Return JSON path → value that the public endpoint shows when this state is in effect."""
    expected = {f"switches.{name}.state": state}
    return expected | ({f"switches.{name}.revision": revision} if revision else {})


@dataclass(frozen=True)
class SkippedSwitch:
    """A switch that is not reset, with the reason."""

    name: str
    reason: str


def split_by_incident(
    states: Mapping[str, SwitchState], incident: int, now: datetime
) -> tuple[list[SwitchState], list[SkippedSwitch]]:
    """Return the active switches of the incident, and the other changed ones with the reason to skip them."""
    mine, left = list[SwitchState](), list[SkippedSwitch]()
    for name, each in states.items():
        if each.value is None or each.value.state == each.rules.normal:
            continue
        owners, described = each.owners(now), describe_switch(each.value, now)
        if not owners:
            left.append(SkippedSwitch(name, f"already ended: {described}"))
        elif find_owner(owners, StateRequester(incident)):
            mine.append(each)
        else:
            incidents = " and ".join(f"#{owner.incident}" for owner in owners if owner.incident)
            whose = f"belongs to incident {incidents}" if incidents else "belongs to no incident"
            left.append(SkippedSwitch(name, f"{whose}: {described}"))
    return mine, left
