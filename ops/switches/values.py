"""Setting a switch: what KV holds of it, what is wanted, and whether that is so already. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ops.core.clock import format_duration, format_utc
from ops.core.duration import parse_deadline
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.runtime_contract import SWITCHES, ReportedSwitch, SwitchValue, parse_switch
from ops.core.suggestions import shown, suggestion

if TYPE_CHECKING:
    from ops.config.runtime import RuntimeConfig
    from ops.config.runtime import SwitchConfig as Rules

SAME = timedelta(minutes=1)
"""Two ends that lie no farther apart are one: a command that is started again after a moment changes nothing."""


@dataclass(frozen=True)
class Standing:
    """What KV holds of one switch, as it was read."""

    name: str
    rules: "Rules"
    text: str | None
    """None: there is no such key."""
    value: SwitchValue | None

    @property
    def key(self) -> str:
        return f"{SWITCHES}{self.name}"

    def state(self, now: datetime) -> str:
        """In effect wherever this value has arrived."""
        if self.value is None:
            return self.rules.on_unknown or self.rules.normal
        return self.rules.normal if self.value.is_over(now) else self.value.state

    def is_on(self, now: datetime) -> bool:
        """Somebody set it, and it has not ended."""
        return self.value is not None and self.state(now) != self.rules.normal

    def told(self, now: datetime) -> str:
        if self.value is None:
            return f"{self.state(now)}: nobody ever set it"
        return told(self.value, now)

    def differs_from(self, seen: ReportedSwitch | None) -> bool:
        """Whether the application shows what another run wrote: it or KV's API is up to a minute behind."""
        held = self.value.revision if self.value else None
        return seen is not None and seen.revision is not None and seen.revision != held

    def apart(self, seen: ReportedSwitch | None, now: datetime) -> str:
        """Both states, for people, where KV and the application show different ones of different runs."""
        if seen is None or not self.differs_from(seen) or seen.state == self.state(now):
            return ""
        return (
            f"KV shows {self.name} = {self.state(now)}, the application {shown(seen.state)}: one of them is up to a "
            "minute behind"
        )


def told(value: SwitchValue, now: datetime) -> str:
    """A switch's value in one line: its state, whose it is, since when and until when."""
    since = format_duration(max(0.0, (now - value.since).total_seconds()))
    parts = [value.state, f"by {shown(value.owner)} {since} ago", *_purpose(value, map(shown, value.paths))]
    if value.until:
        parts.append(f"{'ended' if value.is_over(now) else 'until'} {format_utc(value.until)}")
    elif value.review_at:
        parts.append(f"meant to last until {format_utc(value.review_at)}")
    return ", ".join(parts)


def coming(value: SwitchValue) -> str:
    """What it will be, where it is plain whose it is."""
    until = [f"until {format_utc(value.until)}"] if value.until else []
    return ", ".join([value.state, *_purpose(value, value.paths), *until])


def _purpose(value: SwitchValue, paths: Iterable[str]) -> list[str]:
    """Return the incident and the paths that it is for, as far as it has them; `paths` as they are to be shown."""
    incident = [f"for incident #{value.incident}"] if value.incident else []
    return incident + ([f"for {', '.join(paths)}"] if value.paths else [])


def rules_of(runtime: "RuntimeConfig", name: str) -> "Rules":
    """Raises ConfigError where ops.yml has no such switch."""
    if name in runtime.switches:
        return runtime.switches[name]
    text = f'no switch "{shown(name)}" in ops.yml{suggestion(name, runtime.switches)}'
    raise ConfigError(text, reason=Reason.UNKNOWN_NAME, hint="Name one that stands under `runtime`, `switches`.")


def state_of(name: str, rules: "Rules", state: str) -> str:
    """Raises ConfigError where the switch has no such state."""
    if state in rules.states:
        return state
    text = f'{name} has no state "{shown(state)}"'
    raise ConfigError(text, reason=Reason.UNKNOWN_NAME, hint=f"Write one of: {', '.join(rules.states)}.")


def standing(name: str, rules: "Rules", text: str | None) -> Standing:
    """Raises Refused where what is there cannot be understood."""
    try:
        return Standing(name, rules, text, None if text is None else parse_switch(text))
    except ValueError as error:
        raise Refused(
            f"what KV holds at {SWITCHES}{name} cannot be understood: {error}",
            reason=Reason.UNKNOWN_VALUE,
            hint=(
                "A newer version of this program may have written it: use that one. Else look at the key in the "
                "dashboard (Storage & Databases → KV), and delete it there: then the switch is in its normal state."
            ),
        ) from None


@dataclass(frozen=True)
class Wanted:
    """What somebody asks of a switch. `until` is None where nobody said until when."""

    state: str
    owner: str
    incident: int | None
    until: datetime | None = None
    message: str = ""
    paths: tuple[str, ...] = ()
    review_at: datetime | None = None
    stays: bool = False
    """It does not end by itself."""


def until_of(name: str, rules: "Rules", state: str, text: str, now: datetime) -> datetime | None:
    """The end that somebody wrote; None where they wrote none. Raises ConfigError."""
    moment = parse_deadline(text, now)
    if moment is None:
        return None
    if state == rules.normal:
        hint = f"Leave --until out: {state} stays until somebody sets it otherwise."
        raise ConfigError(f"{state} is the normal state of {name}, which has no end", hint=hint)
    latest = now + timedelta(seconds=rules.longest)
    if moment > latest + SAME:
        raise ConfigError(
            f"{name} may be {state} for {format_duration(rules.longest)} at most, and {format_utc(moment)} is later",
            hint=f"Name an end before {format_utc(latest)}, or write a longer `longest` for {name} into ops.yml.",
        )
    return moment


def value_of(
    standing: Standing, wanted: Wanted, *, revision: str, now: datetime, repeat: bool = False
) -> SwitchValue | None:
    """What is to be written; None where it is so already. A state that goes on keeps its beginning and its incident.

    `repeat`: also where KV holds it already.
    """
    rules, former = standing.rules, standing.value
    is_same = standing.state(now) == wanted.state
    if wanted.state == rules.normal:
        made = SwitchValue(wanted.state, wanted.owner, wanted.incident, now, revision)
        return None if is_same and not repeat else made
    goes_on = former if is_same else None
    latest = now + timedelta(seconds=rules.longest)
    end = None if wanted.stays else (goes_on and goes_on.until) or latest
    made = SwitchValue(
        state=wanted.state,
        owner=wanted.owner,
        incident=wanted.incident or (goes_on.incident if goes_on else None),
        since=goes_on.since if goes_on else now,
        revision=revision,
        until=wanted.until or end,
        review_at=wanted.review_at,
        message=wanted.message,
        paths=wanted.paths,
    )
    return None if goes_on and _alike(goes_on, made) and not repeat else made


def _alike(one: SwitchValue, other: SwitchValue) -> bool:
    kept = replace(other, owner=one.owner, revision=one.revision, until=one.until, review_at=one.review_at)
    return one == kept and _near(one.until, other.until) and _near(one.review_at, other.review_at)


def _near(one: datetime | None, other: datetime | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= SAME


def shown_json(name: str, state: str, revision: str | None) -> dict[str, str]:
    """Path → value at the public endpoint, where this is in effect."""
    found = {f"switches.{name}.state": state}
    return found | ({f"switches.{name}.revision": revision} if revision else {})


@dataclass(frozen=True)
class Left:
    """A switch that is not set back, and why."""

    name: str
    why: str


def of_incident(found: Mapping[str, Standing], incident: int, now: datetime) -> tuple[list[Standing], list[Left]]:
    """Those whose value names the incident and that are on; of the others that somebody set, why they are left."""
    mine, left = list[Standing](), list[Left]()
    for name, each in found.items():
        if each.value is None or each.value.state == each.rules.normal:
            continue
        if each.value.is_over(now):
            left.append(Left(name, f"ended by itself: {told(each.value, now)}"))
        elif each.value.incident == incident:
            mine.append(each)
        else:
            whose = f"of incident #{each.value.incident}" if each.value.incident else "of no incident"
            left.append(Left(name, f"it is {whose}: {told(each.value, now)}"))
    return mine, left
