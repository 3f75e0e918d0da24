"""State of a watch: rounds of probes at fixed times, and newer deployments.

Its JSON is persisted in the hidden record of the watch's comment.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import MAXYEAR, datetime, timedelta
from typing import Any, Self

from ops.config.types import LONGEST_WATCH, extend_watch
from ops.core.clock import MAX_CLOCK_SKEW, format_rfc3339, parse_utc
from ops.core.run_record import is_closed_watch
from ops.core.verdict import Verdict

INTERVAL, CLOSED_INTERVAL = timedelta(seconds=30), timedelta(minutes=1)
"""Time from the start of a round to the start of the next one; for a closed service."""
LONGEST = timedelta(seconds=LONGEST_WATCH)
MAX_PAUSE = timedelta(minutes=5)
"""Longest time without a round of a watch that still has a runner; its comment names the same time."""
MOST_DEPLOYMENTS = 3
"""Newer deployments that are kept; one more changes nothing."""
MAX_TEXT = 80

_LETTERS = {Verdict.HEALTHY: "h", Verdict.UNHEALTHY: "u", Verdict.INCONCLUSIVE: "i"}
NOT_PROBED = "."
"""Letter of a round in which no runner watched."""


@dataclass(frozen=True)
class NewerDeployment:
    """A deployment after the watched one. `text` names it for people and is untrusted."""

    id: str
    at: datetime
    text: str
    is_ours: bool = False


@dataclass(frozen=True)
class WatchState:
    owner: str
    """Runner that watches. It starts with the time, and the newest one wins."""
    started_at: datetime
    until: datetime
    deployment: str = ""
    """Deployment that is watched; empty if it is unknown."""
    rounds: str = ""
    """A letter per round since the start: h, u, i, or . where no runner watched."""
    newer: tuple[NewerDeployment, ...] = ()
    is_closed: bool = False
    """Whether it watches that a closed service stays closed, instead of its health."""
    is_extended: bool = False
    """Whether it goes on because its evidence was thin at the first end. That happens once."""
    second_source: str = ""
    """What shows a relapse beside the probes; empty if nothing does."""
    is_unhealthy: bool = False
    """Whether the run before it ended still unhealthy, so that a failure is no relapse."""
    usual_failures: float = 0.0
    """Share of the rounds that failed before the bad deployment, as ops.yml declares it."""

    @property
    def interval(self) -> timedelta:
        return CLOSED_INTERVAL if self.is_closed else INTERVAL

    def due_round(self, now: datetime) -> int:
        """Return the number of the next round; missed rounds are skipped."""
        return max(len(self.rounds), (now - self.started_at) // self.interval)

    def time_of(self, number: int) -> datetime:
        return self.started_at + number * self.interval

    def fits(self, number: int) -> bool:
        """Whether a record with a round of this number is still read."""
        return number <= LONGEST // INTERVAL

    def with_round(self, number: int, verdict: Verdict) -> Self:
        """Return the state with this round. Rounds before it that nobody probed become visible."""
        return replace(self, rounds=self.rounds.ljust(number, NOT_PROBED) + _LETTERS[verdict])

    def at_end(self) -> "WatchState":
        """Return the state at the end of the watch. Last rounds that nobody probed become visible."""
        return replace(self, rounds=self.rounds.ljust((self.until - self.started_at) // self.interval, NOT_PROBED))

    def extended(self) -> "WatchState":
        """Return the state of a longer watch; the same one if it was extended before, or is the longest possible."""
        length = timedelta(seconds=extend_watch((self.until - self.started_at).total_seconds()))
        until = self.started_at + length
        return self if self.is_extended or until <= self.until else replace(self, until=until, is_extended=True)

    def with_newer(self, deployments: tuple[NewerDeployment, ...]) -> "WatchState":
        known = {each.id for each in self.newer}
        added = tuple(each for each in deployments if each.id not in known)
        return replace(self, newer=(*self.newer, *added)[:MOST_DEPLOYMENTS])

    def probe_rounds(self) -> Iterator[tuple[datetime, Verdict | None]]:
        """Yield time and verdict of each round, oldest first; None where no runner watched."""
        verdicts = {letter: verdict for verdict, letter in _LETTERS.items()}
        for number, letter in enumerate(self.rounds):
            yield self.time_of(number), verdicts.get(letter)

    @property
    def seen_at(self) -> datetime:
        """Time of the last round, or of the start."""
        return self.time_of(max(0, len(self.rounds) - 1))

    @property
    def foreign(self) -> tuple[NewerDeployment, ...]:
        return tuple(each for each in self.newer if not each.is_ours)

    def to_json(self) -> dict[str, Any]:
        return {
            "owner": self.owner,
            "started_at": format_rfc3339(self.started_at),
            "until": format_rfc3339(self.until),
            "deployment": self.deployment,
            "rounds": self.rounds,
            "newer": [[each.id, format_rfc3339(each.at), each.text[:MAX_TEXT], each.is_ours] for each in self.newer],
            **({"closed": True} if self.is_closed else {}),
            **({"extended": True} if self.is_extended else {}),
            **({"second_source": self.second_source} if self.second_source else {}),
            **({"unhealthy": True} if self.is_unhealthy else {}),
            **({"usual_failures": self.usual_failures} if self.usual_failures else {}),
        }


def new_watch_owner(now: datetime) -> str:
    """Return the name of a runner that starts now; a later one is greater."""
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def parse_watch_state(data: Mapping[str, Any], now: datetime | None) -> WatchState | None:
    """Return the state in a record; None if it is malformed, or is no watch of the last hours (`now` None: any age)."""
    try:
        newer = tuple(
            NewerDeployment(str(name), parse_utc(at), str(text), is_ours is True)
            for name, at, text, is_ours in data["newer"]
        )
        start, until = parse_utc(data["started_at"]), parse_utc(data["until"])
        owner, rounds, deployment = str(data["owner"]), str(data["rounds"]), str(data["deployment"])
        usual = float(data.get("usual_failures", 0.0))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    if MAXYEAR in {start.year, until.year}:  # times after it cannot be computed
        return None
    is_extended, is_unhealthy = (data.get(each) is True for each in ("extended", "unhealthy"))  # 0.1.1 wrote neither
    state = WatchState(
        owner,
        start,
        until,
        deployment,
        rounds,
        newer,
        is_closed_watch(data),
        is_extended,
        str(data.get("second_source", "")),  # 0.1.1 asked none
        is_unhealthy,
        usual,
    )
    is_sound = re.fullmatch(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{4}", owner) and re.fullmatch("[hui.]*", rounds)
    is_id = re.fullmatch("[0-9a-f-]{0,36}", deployment)
    is_recent = now is None or (start <= now < until + LONGEST and state.seen_at <= now + MAX_CLOCK_SKEW)
    fits = 0 <= usual < 0.5 and is_recent and start < until <= start + LONGEST and len(newer) <= MOST_DEPLOYMENTS
    if not is_sound or not is_id or not fits or not state.fits(len(rounds) - 1):
        return None
    return state
