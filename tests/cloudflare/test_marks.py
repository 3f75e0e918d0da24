"""Marks in messages: they parse back unchanged, and hostile messages give nothing that can do harm."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.cloudflare.marks import (
    ANY_NAME,
    MAX_MESSAGE_BYTES,
    DeploymentMark,
    SchemaMark,
    parse_mark,
    parse_schema_marks,
    without_schema_marks,
)
from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion
from ops.database.guard_result import GuardedDatabase, MigrationGuardResult
from ops.workers.history import WorkerHistory
from tests.support.properties import holds_for

NAMES = (
    st.lists(st.text(min_size=1, max_size=40), max_size=6)
    .map(tuple)
    .filter(lambda names: len(quote(",".join(names), safe="")) <= 700)
)
"""Names that fit into a message of 1000 bytes, escaped; a test below has those that do not."""
OLD, ROTATED, LATER = (f"{number}0000000-0000-4000-8000-000000000000" for number in (1, 2, 3))
BEGINNING = datetime(2026, 11, 1, tzinfo=UTC)
ID = "5c0ffee0-0000-4000-8000-0000000000db"
BOOKMARK = "0000001a-00000002-00004ef1-0123456789abcdef0123456789abcdef"
MIGRATIONS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1, max_size=60).map(
    lambda text: f"{text}.sql"
)
SCHEMA_MARKS = st.builds(
    SchemaMark, st.just(ID), MIGRATIONS, st.lists(MIGRATIONS, max_size=3).map(tuple), st.just(BOOKMARK)
)


@pytest.mark.slow
@holds_for(
    40,
    2000,
    names=NAMES,
    what=st.integers(0, 2),
    text=st.text(max_size=40),
    incident=st.none() | st.integers(1, 10**9),
)
def test_deployment_mark_round_trips(names: tuple[str, ...], what: int, text: str, incident: int | None) -> None:
    rotated, revoked, reset = (names if each == what else () for each in range(3))
    mark = DeploymentMark(incident, "77.1-abcd", OLD, " ".join(text.split()), rotated, revoked, reset)

    assert parse_mark(str(mark)) == mark


@pytest.mark.slow
@holds_for(50, 1000, count=st.integers(0, 60), length=st.integers(1, 60), text=st.text(max_size=300))
def test_names_beyond_the_limit_become_the_wildcard(count: int, length: int, text: str) -> None:
    names = tuple(f"{'N' * length}_{number}" for number in range(count))

    message = str(DeploymentMark(42, "77.1-abcd", None, text, revoked=names))

    read = parse_mark(message)
    assert len(message.encode()) <= MAX_MESSAGE_BYTES
    assert read
    if read.revoked != names:
        *kept, last = read.revoked
        assert (last, tuple(kept)) == (ANY_NAME, names[: len(kept)])
        assert len(",".join(names)) > MAX_MESSAGE_BYTES - 70


def history(*deployed: tuple[str, str]) -> WorkerHistory:
    """Deploy each version with its message for an hour, oldest first; versions are uploaded in name order."""
    rows = [
        WorkerDeployment(f"d{hour}", BEGINNING + timedelta(days=1, hours=hour), ((version, 100.0),), message=message)
        for hour, (version, message) in enumerate(deployed)
    ]
    uploaded = enumerate((OLD, ROTATED, LATER), start=1)
    versions = {v: WorkerVersion(v, number, BEGINNING + timedelta(hours=number)) for number, v in uploaded}
    now = BEGINNING + timedelta(days=3)
    return WorkerHistory(tuple(reversed(rows)), versions, frozenset(versions), now, min_served=600)


FINISHED = "ops1 incident=42 run=r blames=- revoked=KEY,OTHER; done"


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("deployed", "version", "names"),
    [
        ([(OLD, ""), (ROTATED, ""), (ROTATED, FINISHED)], OLD, {"KEY", "OTHER"}),
        ([(ROTATED, FINISHED), (LATER, "")], OLD, {"KEY", "OTHER"}),
        ([(OLD, ""), (ROTATED, ""), (ROTATED, FINISHED), (LATER, "")], LATER, set()),
        ([(OLD, ""), (ROTATED, FINISHED)], ROTATED, set()),
        ([(OLD, ""), (ROTATED, FINISHED.replace("revoked", "rotated"))], OLD, set()),
        ([(OLD, ""), (ROTATED, f"ops1 incident=42 run=r blames={OLD} revoked=KEY")], OLD, {"KEY"}),
        ([(OLD, ""), (ROTATED, f"ops1 incident=42 run=r blames={LATER} revoked=KEY")], OLD, set()),
    ],
    ids=[
        "uploaded before the rotation",
        "the oldest deployment that is listed",
        "uploaded after the rotation",
        "the rotated version itself",
        "rotated and not revoked",
        "a blame that is borne out",
        "a blame that is not borne out",
    ],
)
def test_revoked_values_affect_only_earlier_uploads(
    deployed: list[tuple[str, str]], version: str, names: set[str]
) -> None:
    assert history(*deployed).revoked(version).keys() == names


@pytest.mark.slow
@given(SCHEMA_MARKS, st.text(max_size=100))
@settings(max_examples=50)
def test_schema_mark_is_read_after_any_text(mark: SchemaMark, text: str) -> None:
    if parse_schema_marks(text):
        return
    (found,) = parse_schema_marks(f"{text} {mark}")

    assert (found.database, found.last, found.bookmark) == (ID, mark.last, BOOKMARK)
    assert found.applied == mark.applied or found.applied[-1] == ANY_NAME


@pytest.mark.slow
@given(st.lists(MIGRATIONS, max_size=40).map(tuple))
@settings(max_examples=20)
def test_schema_mark_leaves_room_in_a_message(names: tuple[str, ...]) -> None:
    mark = SchemaMark(ID, names[-1] if names else "", names, BOOKMARK)

    assert len(str(mark).encode()) < MAX_MESSAGE_BYTES
    (found,) = parse_schema_marks(str(mark))
    whole = found.applied if found.applied == names else found.applied[:-1]
    assert names[: len(whole)] == whole


def test_marks_of_two_databases_are_read_and_hidden() -> None:
    marks = [SchemaMark(ID, "0001_a.sql"), SchemaMark(ID.replace("5c", "6c"), "")]
    message = f'Revert "tax" {marks[0]} {marks[1]}'

    assert list(parse_schema_marks(message)) == marks
    assert without_schema_marks(message) == 'Revert "tax"'


@pytest.mark.sampled
@pytest.mark.parametrize(
    "name", ["0001%0A::error::x.sql", "0001%1B[2J.sql", "0001%E2%80%AE.sql", "0001%00.sql"], ids=range(4)
)
def test_mark_with_control_characters_is_ignored(name: str) -> None:
    assert parse_schema_marks(f"ops-schema1 db={ID} last={name} applied=- bookmark=-") == ()
    assert parse_schema_marks(f"ops-schema1 db={ID} last=0001_a.sql applied={name} bookmark=-") == ()


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_text_of_a_deployment_gets_the_room_that_the_schema_mark_leaves(letter: str) -> None:
    database = GuardedDatabase("shop", ID, "d1_migrations", ())
    result = MigrationGuardResult(database, last="0001_a.sql", applied=["0001_a.sql"], bookmark=BOOKMARK)

    message = result.deployment_message(letter * MAX_MESSAGE_BYTES)

    room = MAX_MESSAGE_BYTES - len(f" {result.mark}".encode())
    assert message == f"{letter * (room // len(letter.encode()))} {result.mark}"
