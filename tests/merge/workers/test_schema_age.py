"""Comparison of code and schema: a mark, which everyone who deploys can write, only adds migrations."""

import re
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from ops.cloudflare.marks import CodeAge, SchemaMark
from ops.cloudflare.types.d1 import Migration
from ops.workers.schema_age import AppliedMigrations, compare_all

ID = "5c0ffee0-0000-4000-8000-0000000000db"
START = datetime(2026, 11, 24, tzinfo=UTC)
NAMES = tuple(f"000{number}_x.sql" for number in range(6))
TIMES = st.one_of(st.none(), st.integers(-2, 8).map(lambda hours: START + timedelta(hours=hours)))
ANY_NAME = st.sampled_from([*NAMES, "", "0099_other.sql"])
MARKS = st.builds(SchemaMark, st.sampled_from([ID, ID.replace("5c", "6c")]), ANY_NAME, st.lists(ANY_NAME).map(tuple))


@given(st.integers(0, 6), TIMES, st.lists(MARKS, max_size=3), st.lists(MARKS, max_size=3))
@settings(max_examples=60)
def test_marks_only_add_migrations(
    count: int, uploaded: datetime | None, own: list[SchemaMark], later: list[SchemaMark]
) -> None:
    applied = tuple(Migration(name, START + timedelta(hours=at)) for at, name in enumerate(NAMES[:count]))
    database = AppliedMigrations("orders", ID, applied)

    (plain,) = compare_all([database], (), CodeAge(uploaded))
    (marked,) = compare_all([database], (), CodeAge(uploaded, tuple(own), tuple(later)))

    assert set(plain.newer) <= set(marked.newer) <= set(NAMES[:count])
    assert plain.is_complete == (uploaded is not None)
    if uploaded:
        assert all(each.name in plain.newer for each in applied if each.applied_at > uploaded)


@given(TIMES, st.lists(MARKS, max_size=3), st.lists(MARKS, max_size=3))
@settings(max_examples=40)
def test_unread_schema_is_never_known(
    uploaded: datetime | None, own: list[SchemaMark], later: list[SchemaMark]
) -> None:
    database = AppliedMigrations("orders", ID, None, "D1 did not answer")

    (age,) = compare_all([database], (), CodeAge(uploaded, tuple(own), tuple(later)))

    assert not age.is_complete
    assert re.search("unknown|at least", age.describe("0ffae05a"))
