"""Choose what drills play of `platform.json`, besides the inconvenient defaults."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.core.clock import SystemClock, format_rfc3339
from ops.core.errors import ConfigError
from ops.core.names import first_of
from ops.drills.command import Say
from ops.platform.measurements import Measurement, MeasurementKind
from ops.platform.platform_file import RecordedPlatform, read_platform_file

if TYPE_CHECKING:
    from sandbox.switches import GitHubSwitches, Switches

NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
OPEN_END = "more than "
LONGER = 2.0
"""Factor of a time whose end was not measured."""
EASIER = "not played, because the default is harder"
NO_SWITCH = "not played, because the sandbox has no switch for it"


@dataclass(frozen=True)
class PlayedSwitches:
    """Values of switches as `name=value`, of the local Cloudflare and GitHub."""

    cloudflare: tuple[str, ...] = ()
    github: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join((*self.cloudflare, *self.github)) or "the defaults"


@dataclass(frozen=True)
class PlatformProfile:
    """What a drill plays of a measured platform. No value makes the sandbox easier than its defaults."""

    path: Path
    description: str
    """When the file was measured, and by which version."""
    lags: PlayedSwitches
    """Lags that are longer than the sandbox's: part of every run."""
    answers: PlayedSwitches
    """These lags, and answers of another form. They stand in place of defaults, so that a second run plays them."""
    notes: tuple[str, ...]
    """Measured answers that no run plays, or that it plays in another form, with the reason."""

    @property
    def runs(self) -> tuple[PlayedSwitches, ...]:
        return tuple(dict.fromkeys((self.lags, self.answers)))

    def without_github(self) -> "PlatformProfile":
        """Return what a drill without an incident plays: its recovery reads nothing from GitHub."""
        if not self.answers.github:
            return self
        note = f"not played, because this drill has no GitHub without --trigger: {', '.join(self.answers.github)}"
        lags, answers = (replace(each, github=()) for each in (self.lags, self.answers))
        return replace(self, lags=lags, answers=answers, notes=(*self.notes, note))

    def describe(self) -> Iterator[str]:
        """Yield the lines about the file: what each run plays, and what none plays as measured."""
        yield f"{self.path.name}: {self.description}"
        for number, played in enumerate(self.runs, 1):
            yield f"run {number} of {len(self.runs)} plays {played}"
        yield from self.notes

    def to_json(self) -> dict[str, Any]:
        return {
            "description": self.description,
            "runs": [[*played.cloudflare, *played.github] for played in self.runs],
            "notes": list(self.notes),
        }


def read_profile(path: Path, switches: "Switches") -> PlatformProfile:
    """Return what a drill plays of the file, besides these switches.

    Raises:
        ConfigError: the file is missing, or none that a run wrote.
    """
    from sandbox.switches import GitHubSwitches

    recorded = read_platform_file(path, SystemClock().now())
    if recorded is None:
        raise ConfigError(f"{path} does not exist", hint="Measure first: `ops verify-platform --account ACCOUNT_ID`.")
    chosen = _PlayedAnswers(switches, GitHubSwitches())
    for measurement in recorded.results:
        chosen.add(measurement)
    return chosen.profile(path, recorded)


class _PlayedAnswers:
    """Turns measured answers into switches."""

    def __init__(self, cloudflare: "Switches", github: "GitHubSwitches") -> None:
        self._defaults = (cloudflare, github)
        self._lags, self._answers, self._notes = list[str](), list[str](), list[str]()

    def add(self, measurement: Measurement) -> None:
        """Add an answer that differs, or a time. A confirmed answer is the sandbox's default."""
        is_time = measurement.assumption.at_most is not None
        if measurement.kind is MeasurementKind.NOT_PROVABLE:
            return
        if measurement.kind is MeasurementKind.CONFIRMED and not is_time:
            return
        number, values = _find_values(measurement)
        if note := _find_note(measurement, values):
            self._notes.append(f"{measurement.assumption.id}, {measurement.measured}: {note}")
        for each in values or ():
            name, is_lag, _ = each.partition(">=")
            if is_lag:
                self._add_lag(name, number)
            else:
                self._answers.append(each.replace("#", f"{number:.0f}"))

    def _add_lag(self, name: str, number: float) -> None:
        default = next(getattr(each, name) for each in self._defaults if hasattr(each, name))
        if number > default:
            self._lags.append(f"{name}={number if isinstance(default, float) else math.ceil(number)}")

    def profile(self, path: Path, recorded: RecordedPlatform) -> PlatformProfile:
        description = f"measured {format_rfc3339(recorded.at)} by Backout {recorded.program}"
        lags, answers = (
            self._split_played_answers(self._lags),
            self._split_played_answers([*self._lags, *self._answers]),
        )
        return PlatformProfile(path, description, lags, answers, (*self._notes, *_describe_unmeasured(recorded)))

    def _split_played_answers(self, values: Sequence[str]) -> PlayedSwitches:
        names = {field.name for field in fields(self._defaults[1])}
        of_github = [each for each in values if each.partition("=")[0] in names]
        return PlayedSwitches(tuple(each for each in values if each not in of_github), tuple(of_github))


def _find_values(measurement: Measurement) -> tuple[float, tuple[str, ...] | None]:
    """Return the number in an answer, and the values that play it; None if the sandbox cannot."""
    text, ended = measurement.measured, measurement.measured.removeprefix(OPEN_END)
    found = NUMBER.search(text)
    number = max(float(found[0]) if found else 0.0, measurement.seconds or 0.0)
    forms = (text, NUMBER.sub("#", text, count=1), NUMBER.sub("#", ended, count=1))
    plays = measurement.assumption.plays
    return number * (1.0 if ended == text else LONGER), next((plays[each] for each in forms if each in plays), None)


def _describe_unmeasured(recorded: RecordedPlatform) -> Iterator[str]:
    """Yield a line about the answers that the file lacks, if it lacks any."""
    if names := [each.id for each in (*recorded.unproved, *recorded.missing)]:
        yield f"played as the defaults, because they were not measured: {', '.join(first_of(names))}"


def _find_note(measurement: Measurement, values: tuple[str, ...] | None) -> str:
    if measurement.measured.startswith(OPEN_END) and any(">=" in each for each in values or ()):
        return f"its end is not known, so that a run plays {LONGER:g} times this"
    return "" if values else NO_SWITCH if values is None else EASIER


def run_each(profile: PlatformProfile, run: Callable[[PlayedSwitches], dict[str, Any]], say: Say) -> dict[str, Any]:
    """Run a drill with each part of the profile until one fails. Return the failed or slowest run, with all of them."""
    results = list[dict[str, Any]]()
    for line in profile.describe():
        say(line)
    for number, played in enumerate(profile.runs, 1):
        if len(profile.runs) > 1:
            say(f"run {number} of {len(profile.runs)}")
        results.append(run(played))
        if results[-1]["exit_code"]:
            break
    chosen = max(results, key=lambda each: (bool(each["exit_code"]), each["durations"]["trigger_to_verified"] or 0.0))
    decisions = [each["decision"] for each in results]
    return {**chosen, "platform": {**profile.to_json(), "decisions": decisions}}
