"""Durations as people read them."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import strategies as st

from ops.core.clock import format_age, format_duration, format_rounded_up, format_seconds
from tests.support.properties import holds_for

ROOT = Path(__file__).parents[2]
UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
SECONDS_TO_MINUTES = re.compile(r"\{[^{}]*/ ?60[^{}]*\} (min|h\b|hour)")
"""A text that turns seconds into minutes by itself."""
AGE = re.compile(r"\} ago")
"""A text that says by itself how long ago something was."""


def read_back(text: str) -> float:
    """Return the seconds that a text says."""
    assert re.fullmatch(r"[0-9.]+ (s|min|h|d)( [0-9]+ (min|h))?", text)
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([0-9.]+) ([a-z]+)", text))


@holds_for(200, 5000, seconds=st.floats(0, 40 * 86400))
def test_loss_never_looks_smaller_than_it_is(seconds: float) -> None:
    shown = read_back(format_rounded_up(seconds))

    assert seconds <= shown <= seconds + 3600
    assert shown - seconds <= (0.11 if seconds < 10 else 1 if seconds < 60 else 60 if seconds < 86400 else 3600)


@holds_for(200, 5000, seconds=st.floats(0, 40 * 86400))
def test_age_never_looks_greater_than_it_is(seconds: float) -> None:
    assert seconds - 3600 < read_back(format_duration(seconds)) <= seconds + 0.05


@pytest.mark.parametrize(
    ("seconds", "down", "up", "precise"),
    [
        (0, "0.0 s", "0.0 s", "0.0 s"),
        (12.345678, "12 s", "13 s", "12 s"),
        (89.4, "1 min", "2 min", "89 s"),
        (600, "10 min", "10 min", "10 min"),
        (3599.5, "59 min", "1 h", "59 min"),
        (25 * 3600, "1 d 1 h", "1 d 1 h", "1 d 1 h"),
        (25 * 3600 + 1, "1 d 1 h", "1 d 2 h", "1 d 1 h"),
    ],
)
def test_duration_in_at_most_two_units(seconds: float, down: str, up: str, precise: str) -> None:
    assert (format_duration(seconds), format_rounded_up(seconds), format_seconds(seconds)) == (down, up, precise)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (86400, "1 d ago"),
        (1, "1.0 s ago"),
        (0.99, "just now"),
        (0, "just now"),
        (-60, "just now"),
        (-60.1, "in the future"),
        (-86400, "in the future"),
    ],
)
def test_age_of_another_clock_is_never_negative(seconds: float, shown: str) -> None:
    assert format_age(timedelta(seconds=seconds)) == shown
    assert format_duration(seconds) == format_duration(max(0, seconds))


@pytest.mark.parametrize("pattern", [SECONDS_TO_MINUTES, AGE])
def test_no_other_place_formats_durations_or_ages(pattern: re.Pattern[str]) -> None:
    files = sorted((ROOT / "ops").rglob("*.py"))

    assert len(files) > 100
    assert [file for file in files if pattern.search(file.read_text())] == [ROOT / "ops/core/clock.py"]
