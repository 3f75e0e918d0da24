"""The hidden record at the end of a comment, which everyone who can comment may write."""

import json
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.core.approval import parse_request, parse_use
from ops.core.clock import parse_utc
from ops.core.drill_result import parse_drill_result
from ops.core.public_update import parse_update
from ops.core.run_record import RecordRow, RunRecord, embed_record, escape_hidden, is_edited, read_record
from ops.watch.state import WatchState, parse_watch_state
from tests.support.properties import holds_for

NOW = parse_utc("2026-11-24T03:20:00Z")
WATCH = WatchState("20261124T032000-00ab", NOW, NOW.replace(hour=4), "d1", "hhu")
RECORD = RunRecord(
    "1001.1-abcd",
    durations={"total": 36.0},
    versions=(("worker api", "a", "b"),),
    rows=(RecordRow(NOW, "written", "deployment"),),
    watch=WATCH.to_json(),
    job="1001.1",
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9)
EDGES = st.sampled_from(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 10**400, 1e300, -1e300, "x" * 5000])
VALUES = st.recursive(
    SCALARS | EDGES,
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.sampled_from("abc"), each, max_size=2),
    max_leaves=6,
)


def write(data: Any) -> str:
    return f"x\n\n<!-- backout:v1 {escape_hidden(json.dumps(data))} -->\n"


def paths(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each value in the JSON, the whole first."""
    places = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(each for key, value in places for each in paths(value, (*path, key)))]


def put(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return the JSON with another value at the path."""
    if not path:
        return value
    key, *rest = path
    changed = dict(data) if isinstance(data, dict) else list(data)
    changed[key] = put(data[key], tuple(rest), value)
    return changed


WRITTEN = json.loads(embed_record("x", RECORD).partition("backout:v1 ")[2].partition(" -->")[0])


@holds_for(300, 3000, path=st.sampled_from(paths(WRITTEN)), value=VALUES)
def test_no_record_raises_when_it_is_read(path: tuple[Any, ...], value: Any) -> None:
    body = write(put(WRITTEN, path, value))

    record = read_record(body)

    assert is_edited(body) in {True, False}
    if record is not None:
        parse_watch_state(record.watch, NOW)
        parse_watch_state(record.watch, None)
        read_record(embed_record("x", record))


@pytest.mark.parametrize("name", ["approval", "watch", "drill", "update", "chat"])
def test_list_of_pairs_is_no_object(name: str) -> None:
    assert read_record(write(WRITTEN | {name: {"a": 1}})) is not None

    for pairs in ([["a", 1]], [[None, 1], [False, 2]]):
        assert read_record(write(WRITTEN | {name: pairs})) is None
        assert not is_edited(write(WRITTEN | {name: pairs}))


@holds_for(100, 1000, data=st.dictionaries(st.sampled_from(["at", "id", "state", "rounds"]), VALUES))
def test_no_part_of_a_record_raises_when_it_is_read(data: dict[str, Any]) -> None:
    for parse in (parse_drill_result, parse_update, parse_use, parse_request):
        parse(data)


def test_record_is_read_as_it_was_written() -> None:
    read = read_record(write(WRITTEN))

    assert read is not None
    assert (read.rows, read.durations, read.versions) == (RECORD.rows, RECORD.durations, RECORD.versions)
    assert parse_watch_state(read.watch, NOW) == WATCH
