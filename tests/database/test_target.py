"""Points of a restore: forms, times, and the migrations of one apply."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import hypothesis.strategies as st
import pytest

from ops.cloudflare.types.d1 import Migration
from ops.core.errors import ConfigError, Reason, Refused
from ops.database.time_travel import ONE_APPLY, RestorePoint, last_apply, parse_restore_point, splits_an_apply
from tests.support.properties import holds_for

NOW = datetime(2026, 11, 24, 12, 0, 30, 250_000, tzinfo=UTC)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
BOOKMARK = f"00000085-0000024c-00004c6d-{'8e' * 16}"


def applied(*seconds: int) -> list[Migration]:
    """Return migrations at these seconds after 10:00."""
    at = datetime(2026, 11, 24, 10, tzinfo=UTC)
    return [Migration(f"{n:04}_x.sql", at + timedelta(seconds=second)) for n, second in enumerate(seconds, start=1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("to", "point"),
    [
        ("-15m", RestorePoint(at=datetime(2026, 11, 24, 11, 45, 30, tzinfo=UTC))),
        ("-2h", RestorePoint(at=datetime(2026, 11, 24, 10, 0, 30, tzinfo=UTC))),
        ("2026-11-24T13:00:00+01:00", RestorePoint(at=NOON)),
        ("2026-11-24T12:00:00Z", RestorePoint(at=NOON)),
        ("2026-11-24 12:00:00 UTC", RestorePoint(at=NOON)),
        (BOOKMARK, RestorePoint(bookmark=BOOKMARK)),
        ("before-migration:0002_x.sql", RestorePoint(at=datetime(2026, 11, 24, 10, 1, 39, tzinfo=UTC))),
        ("before-last-migration", RestorePoint(at=datetime(2026, 11, 24, 10, 4, 59, tzinfo=UTC))),
        ("before-migration:0009_gone.sql", None),
    ],
)
def test_forms_of_a_point(to: str, point: RestorePoint | None) -> None:
    assert parse_restore_point(to, NOW, applied(0, 100, 300, 302)) == point


@pytest.mark.parametrize(
    "to",
    [
        "",
        "15m",
        "-15",
        "-0d",
        "-999d",
        "-99999999999h",
        "2026-11-24",
        "2026-13-01T00:00Z",
        "0000-1",
        "0001-01-01T00:00+14:00",
    ],
)
def test_other_texts_are_no_point(to: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_restore_point(to, NOW, applied(0))
    assert refused.value.hint


@pytest.mark.parametrize("to", ["before-last-migration", "before-migration:x.sql", "before-migration:0001_x.sql"])
def test_database_without_migrations(to: str) -> None:
    if to == "before-last-migration":
        with pytest.raises(Refused) as refused:
            parse_restore_point(to, NOW, [])
        assert refused.value.reason == Reason.NO_TARGET
    else:
        assert parse_restore_point(to, NOW, []) is None


@pytest.mark.slow
@holds_for(100, 1000, gaps=st.lists(st.integers(0, 120), min_size=1, max_size=8))
def test_point_before_a_migration_keeps_all_earlier_ones(gaps: list[int]) -> None:
    """Whichever migration is named: the restore takes back it and later ones only, or is refused."""
    migrations = applied(*(sum(gaps[: n + 1]) for n in range(len(gaps))))
    for place, migration in enumerate(migrations):
        try:
            point = parse_restore_point(f"before-migration:{migration.name}", NOW, migrations)
        except Refused as refused:
            assert gaps[place] <= 1
            earliest = refused.hint.partition("before-migration:")[2].partition(".sql")[0] + ".sql"
            point = parse_restore_point(f"before-migration:{earliest}", NOW, migrations)
        else:
            assert point is not None
            assert point.at is not None
            assert [each for each in migrations if each.applied_at > point.at] == migrations[place:]
        assert point is not None


@pytest.mark.slow
@holds_for(100, 1000, gaps=st.lists(st.integers(0, 120), min_size=1, max_size=8))
def test_last_apply_is_never_split(gaps: list[int]) -> None:
    migrations = applied(*(sum(gaps[: n + 1]) for n in range(len(gaps))))
    group = last_apply(migrations)
    kept = migrations[: len(migrations) - len(group)]

    assert [*kept, *group] == migrations
    assert not splits_an_apply(kept, group)
    assert all(b.applied_at - a.applied_at < ONE_APPLY for a, b in pairwise(group))


def test_days_count_back_from_now() -> None:
    point = parse_restore_point("-8d", NOW, applied(0))

    assert point is not None
    assert point.at == (NOW - timedelta(days=8)).replace(microsecond=0)
