"""State of a watch in a hidden record: it fits, and a hostile one is ignored."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.core.clock import parse_utc
from ops.core.run_record import RecordRow, RunRecord, embed_record, read_record
from ops.core.verdict import Verdict
from ops.watch.state import INTERVAL, LONGEST, NewerDeployment, WatchState, parse_watch_state
from tests.support.properties import holds_for

START = parse_utc("2026-11-24T03:40:00Z")
STATE = WatchState("20261124T034000-00ab", START, START + timedelta(minutes=30), "d1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "seconds", "number"),
    [("", 0, 0), ("", 29, 0), ("", 61, 2), ("hhh", 61, 3), ("h", 200, 6)],
)
def test_due_round_skips_missed_rounds(before: str, seconds: float, number: int) -> None:
    state = replace(STATE, rounds=before)

    assert state.due_round(START + timedelta(seconds=seconds)) == number


def test_missed_rounds_are_visible() -> None:
    state = STATE.with_round(0, Verdict.HEALTHY).with_round(3, Verdict.UNHEALTHY)

    assert state.rounds == "h..u"
    assert [verdict for _, verdict in state.probe_rounds()] == [Verdict.HEALTHY, None, None, Verdict.UNHEALTHY]


@pytest.mark.slow
@holds_for(
    60, 400, text=st.text(max_size=300), count=st.integers(0, 9), rounds=st.text("hui.", max_size=LONGEST // INTERVAL)
)
def test_every_state_survives_its_record(text: str, count: int, rounds: str) -> None:
    newer = tuple(NewerDeployment(f"{number:036}", START, "<" * 40 + text, number > 1) for number in range(count))
    state = replace(STATE, until=START + LONGEST, rounds=rounds).with_newer(newer)
    row = RecordRow(START, "warning", text)
    record = RunRecord("watch-1", environment="e" * 99, service="s" * 99, rows=(row,) * 9, watch=state.to_json())

    read = read_record(embed_record("text", record))

    assert read is not None
    found = parse_watch_state(read.watch, START + LONGEST)
    assert found is not None
    assert found.rounds == rounds
    assert [each.id for each in found.newer] == [each.id for each in state.newer]


@pytest.mark.sampled
@pytest.mark.parametrize(
    "change",
    [
        {"rounds": "hx"},
        {"rounds": "h" * 300},
        {"rounds": "h" * 5},
        {"deployment": "`x`"},
        {"owner": "mai"},
        {"started_at": "soon"},
        {"started_at": None},
        {"until": "2026-11-24T03:40:00Z"},
        {"until": "2026-11-25T03:40:00Z"},
        {"newer": [["d", "2026-11-24T03:40:00Z"]]},
        {"newer": 5},
        {"started_at": "2026-11-24T03:59:00Z"},
        {"until": "9999-12-31T23:59:59Z"},
        {"usual_failures": 10**400},
    ],
)
def test_malformed_state_is_ignored(change: dict[str, Any]) -> None:
    assert parse_watch_state({**STATE.to_json(), **change}, START) is None
    assert parse_watch_state({}, START) is None


def test_state_at_the_end_of_the_calendar_is_ignored() -> None:
    """Times after it cannot be computed. A report reads states of any age."""
    last = {"started_at": "9999-12-31T23:00:00Z", "until": "9999-12-31T23:59:59Z", "rounds": "h" * 9}

    assert parse_watch_state({**STATE.to_json(), **last}, None) is None


def test_old_state_is_ignored() -> None:
    assert parse_watch_state(STATE.to_json(), STATE.until + timedelta(minutes=1)) == STATE
    assert parse_watch_state(STATE.to_json(), STATE.until + LONGEST) is None
