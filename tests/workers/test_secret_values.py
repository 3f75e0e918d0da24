"""Ages of secret values, as the marks in a Worker's history tell them."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st

from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion
from ops.workers.history import WorkerHistory
from ops.workers.secret_values import age_of_value, find_doubtful_values
from tests.support.properties import holds_for

BEFORE, ROTATED, LATER, LAST = (f"{number}0000000-0000-4000-8000-000000000000" for number in (1, 2, 3, 4))
VERSIONS = (BEFORE, ROTATED, LATER, LAST)
BEGINNING = datetime(2026, 11, 1, tzinfo=UTC)


def mark(what: str, run: str = "r") -> str:
    return f"ops1 incident=- run={run} blames=- {what}"


def history(deployed: Iterable[tuple[str, str]], *, uploaded_by_us: Iterable[str] = ()) -> WorkerHistory:
    """Deploy each version with its message for an hour, oldest first; versions are uploaded in name order."""
    rows = [
        WorkerDeployment(f"d{hour}", BEGINNING + timedelta(days=1, hours=hour), ((version, 100.0),), message=message)
        for hour, (version, message) in enumerate(deployed)
    ]
    versions = {
        version: WorkerVersion(version, number, BEGINNING + timedelta(hours=number))
        for number, version in enumerate(VERSIONS, start=1)
    }
    for version in uploaded_by_us:
        versions[version] = replace(versions[version], message="ops1 incident=- run=ours blames=-")
    now = BEGINNING + timedelta(days=3)
    return WorkerHistory(tuple(reversed(rows)), versions, frozenset(versions), now, min_served=600)


ROTATION = [(BEFORE, ""), (ROTATED, ""), (ROTATED, mark("rotated=KEY"))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deployed", "version", "age"),
    [
        (ROTATION, BEFORE, "old"),
        (ROTATION, ROTATED, "new"),
        ([*ROTATION, (LATER, "")], LATER, "unknown"),
        ([*ROTATION, (LATER, mark("restored=KEY"))], LATER, "old"),
        ([*ROTATION, (LATER, mark("revoked=KEY"))], LATER, "new"),
        ([*ROTATION, (LATER, ""), (LATER, mark("rotated=KEY"))], ROTATED, "old"),
        ([*ROTATION, (LATER, mark("rotated=OTHER"))], LATER, "unknown"),
        ([(ROTATED, mark("rotated=*"))], BEFORE, "old"),
        ([(BEFORE, ""), (ROTATED, "")], ROTATED, "unknown"),
        ([(ROTATED, f"ops1 incident=- run=r blames={LATER} rotated=KEY")], BEFORE, "unknown"),
    ],
    ids=[
        "uploaded before it",
        "the rotated version",
        "uploaded later by others",
        "restored by a person",
        "proved at the end",
        "rotated twice",
        "another secret",
        "any secret",
        "no rotation",
        "a mark that the history does not bear out",
    ],
)
def test_age_of_a_value_follows_the_marks(deployed: list[tuple[str, str]], version: str, age: str) -> None:
    assert age_of_value(history(deployed), version, "KEY").value == age


@pytest.mark.parametrize("run", ["ours", "another"])
def test_our_upload_inherits_the_value_of_the_upload_before_it(run: str) -> None:
    deployed = [*ROTATION, (LATER, f"ops1 incident=- run={run} blames=-")]

    age = age_of_value(history(deployed, uploaded_by_us=[LATER]), LATER, "KEY").value

    assert age == ("new" if run == "ours" else "unknown")


@pytest.mark.slow
@holds_for(50, 2000, events=st.lists(st.tuples(st.sampled_from(VERSIONS), st.sampled_from(["", "rotated", "revoked"]))))
def test_version_before_a_rotation_is_in_doubt_until_its_end(events: list[tuple[str, str]]) -> None:
    deployed = [(version, mark(f"{what}=KEY") if what else "") for version, what in events]
    seen = history([(BEFORE, ""), *deployed])
    newest = next((index for index in range(len(events) - 1, -1, -1) if events[index][1] == "rotated"), None)
    if newest is None:
        return
    has_ended = any(what == "revoked" for _, what in events[newest + 1 :])
    for version in VERSIONS:
        if version < events[newest][0]:
            assert ("KEY" in find_doubtful_values(seen, version)) != has_ended
