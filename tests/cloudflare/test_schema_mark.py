"""Schema marks in messages: what is written is read, and hostile messages give nothing that can do harm."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.cloudflare.marks import ANY_NAME, MAX_MESSAGE_BYTES, SchemaMark, parse_schema_marks, without_schema_marks

ID = "5c0ffee0-0000-4000-8000-0000000000db"
BOOKMARK = "0000001a-00000002-00004ef1-0123456789abcdef0123456789abcdef"
NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1, max_size=60).map(
    lambda text: f"{text}.sql"
)
MARKS = st.builds(SchemaMark, st.just(ID), NAMES, st.lists(NAMES, max_size=3).map(tuple), st.just(BOOKMARK))


@pytest.mark.slow
@given(MARKS, st.text(max_size=100))
@settings(max_examples=50)
def test_mark_is_read_after_any_text(mark: SchemaMark, text: str) -> None:
    if parse_schema_marks(text):
        return
    (found,) = parse_schema_marks(f"{text} {mark}")

    assert (found.database, found.last, found.bookmark) == (ID, mark.last, BOOKMARK)
    assert found.applied == mark.applied or found.applied[-1] == ANY_NAME


@pytest.mark.slow
@given(st.lists(NAMES, max_size=40).map(tuple))
@settings(max_examples=20)
def test_mark_leaves_room_in_a_message(names: tuple[str, ...]) -> None:
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
