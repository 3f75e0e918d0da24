"""JSON of a drill's result: it comes back as it was, and what people edit into it is refused or left out."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.core.drill_result import (
    DrillKind,
    DrillOutcome,
    DrillResult,
    DrillTime,
    RecordedDrill,
    pack_results,
    parse_drill_result,
    parse_earlier,
)
from ops.core.run_record import RunRecord, embed_record, read_record

STARTED = datetime(2026, 11, 24, 3, tzinfo=UTC)
TIMES = st.builds(DrillTime, *[st.none() | st.floats(0, 600_000)] * 2)
NAMES = st.text(st.characters(codec="utf-8").filter(str.isprintable), max_size=100)
RESULTS = st.builds(
    DrillResult,
    name=NAMES.filter(bool),
    kind=st.sampled_from(DrillKind),
    environment=NAMES,
    service=NAMES,
    started=st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=0)),
    outcome=st.sampled_from(DrillOutcome),
    write=TIMES,
    verified=TIMES,
    report=st.sampled_from(["", "https://github.example/acme/ops/issues/7"]),
)
SHOP = DrillResult("rollback-worker", DrillKind.STAGING, "staging", "shop", STARTED, DrillOutcome.PASSED).to_json()


@given(RESULTS)
def test_result_survives_its_json(result: DrillResult) -> None:
    assert parse_drill_result(json.loads(json.dumps(result.to_json()))) == result


@pytest.mark.parametrize(("length", "kept"), [(8, 11), (63, 3)])
def test_record_of_many_results_stays_readable(length: int, kept: int) -> None:
    """A record escapes hyphens; a name of ops.yml has 63 characters at most."""
    times = DrillTime(3.123456789, 30.0)
    first = DrillResult(
        "rollback-worker", DrillKind.STAGING, "staging", "a", STARTED, DrillOutcome.PASSED, times, times
    )
    results = [
        replace(first, started=STARTED + number * timedelta(days=30), service=f"{'a-' * length}{number}"[-length:])
        for number in range(12)
    ]
    packed = pack_results(results[-1], [RecordedDrill(each, by="alice") for each in results[:-1]])

    read = read_record(embed_record("### Drill", RunRecord(results[-1].key, source="drill", drill=packed)))
    assert read is not None
    assert parse_drill_result(read.drill) == results[-1]
    earlier = [each.result for each in parse_earlier(read.drill)]
    assert earlier == results[-2::-1][: len(earlier)]
    assert len(earlier) >= kept


@pytest.mark.parametrize(
    "edit",
    [
        {"name": ""},
        {"name": 7},
        {"name": "x" * 101},
        {"service": "shop\n# heading"},
        {"environment": "staging\u202e"},
        {"kind": "production"},
        {"outcome": "recovered"},
        {"started": "yesterday"},
        {"started": None},
        {"write": {"seconds": -1}},
        {"write": {"seconds": True}},
        {"write": {"seconds": "3"}},
        {"verified": {"target": math.nan}},
        {"verified": {"seconds": 10**400}},
    ],
)
def test_malformed_result_is_none(edit: dict[str, Any]) -> None:
    assert parse_drill_result(SHOP) is not None
    assert parse_drill_result(SHOP | edit) is None


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://x.example/) [a](", f"https://{'x' * 300}", 7])
def test_link_that_is_no_url_is_left_out(link: object) -> None:
    result = parse_drill_result(SHOP | {"report": link})

    assert result is not None
    assert result.report == ""


@pytest.mark.parametrize(
    ("seconds", "target", "is_slow"), [(61, 60, True), (60, 60, False), (None, 60, False), (61, None, False)]
)
def test_only_a_known_time_above_its_target_is_slow(seconds: float | None, target: float | None, is_slow: bool) -> None:
    times = {"write": {"seconds": 1.0, "target": 60.0}, "verified": {"seconds": seconds, "target": target}}
    result = parse_drill_result(SHOP | times)

    assert result is not None
    assert result.is_slow is is_slow
