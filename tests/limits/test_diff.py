"""The table of changes between two versions of limits.yml, and the comments that show it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ops.core.runtime_contract import ReportedLimit, RuntimeState
from ops.limits.diff import (
    RESULT_MARKER,
    LimitsPlan,
    compare_limits,
    limits_marker,
    render_drift,
    render_limits_comment,
    render_limits_result,
)
from ops.limits.file import Limit, Temporary
from tests.support.hostile import WORDS, skeleton
from tests.support.properties import holds_for

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
SOON, PAST = datetime(2026, 11, 25, 6, 0, tzinfo=UTC), datetime(2026, 11, 25, 2, 0, tzinfo=UTC)
WAS = Limit(limit=30, period=60, key="ip")


def until(moment: datetime, limit: int = 60, reason: str = "why") -> Temporary:
    return Temporary(limit=limit, until=moment, reason=reason)


def changed(**fields: Any) -> Limit:
    return WAS.model_copy(update=fields)


@pytest.mark.parametrize(
    ("was", "proposed", "change"),
    [
        (WAS, WAS, "no change"),
        (None, WAS, "new"),
        (WAS, changed(limit=45), "+50 %"),
        (WAS, changed(limit=20), "-33 %"),
        (WAS, changed(period=120), "-50 %"),
        (WAS, changed(limit=60, period=120), "30 → 60, current rate unchanged"),
        (WAS, changed(temporary=until(SOON)), "+100 %; until 2026-11-25 06:00, then 30"),
        (changed(temporary=until(SOON)), WAS, "-50 %; no temporary limit"),
        (WAS, changed(temporary=until(PAST)), "its temporary limit has ended"),
        (
            changed(temporary=until(SOON)),
            changed(limit=40, temporary=until(SOON)),
            "30 → 40, current rate unchanged",
        ),
        (WAS, changed(key="user", probe=True), "key ip → user; probe off → on"),
        (WAS, changed(override="a load test"), "only notes for people"),
    ],
)
def test_diff_compares_with_effective_limit(was: Limit | None, proposed: Limit, change: str) -> None:
    plan = compare_limits(None if was is None else {"calc": was}, {"calc": proposed}, "offline", NOW)

    assert plan.rows[0].change == change
    assert plan.summary == ("no change" if change == "no change" else "1 of 1 limit changes")


def test_diff_shows_removed_and_live_limits() -> None:
    live = RuntimeState(
        "version", "rev", {"calc": ReportedLimit(60, 60, "ip", SOON), "other": ReportedLimit(1, 1, "ip")}
    )

    plan = compare_limits({"calc": WAS, "ai": WAS}, {"calc": WAS}, live, NOW)

    assert [row.cells()[:5] for row in plan.rows] == [
        ("calc", "30 in 60 s per ip", "30 in 60 s per ip", "30", "60 in 60 s until 2026-11-25 06:00"),
        ("ai", "30 in 60 s per ip", "-", "30", "-"),
    ]
    assert plan.rows[0].change == "no change"
    assert plan.rows[1].change.startswith("removed")
    assert plan.live_text.endswith("revision rev")


PLACE = "production"


def render_bodies(said: str) -> list[str]:
    """Render each comment with the text as name, reason, problem and answer."""
    limit = Limit(limit=30, period=60, key="ip")
    valid = LimitsPlan(compare_limits({}, {said: limit}, said, NOW), said, said, PLACE, warnings=(said,))
    wrong = LimitsPlan(None, said, said, PLACE, problems=(said,))
    return [
        render_limits_comment(valid),
        render_limits_comment(wrong),
        render_limits_result(render_limits_comment(valid), PLACE, said, (said,)),
        render_drift((said,), PLACE, said),
    ]


HARMLESS = [skeleton(body) for body in render_bodies("x")]


@pytest.mark.slow
@holds_for(25, 300, said=WORDS)
def test_comment_survives_untrusted_text(said: str) -> None:
    assert [skeleton(body) for body in render_bodies(said)] == HARMLESS


def test_result_replaces_previous_result() -> None:
    first = render_limits_result(f"{limits_marker(PLACE)}\nthe plan", PLACE, "one")

    assert render_limits_result(first, PLACE, "two") == render_limits_result(
        f"{limits_marker(PLACE)}\nthe plan", PLACE, "two"
    )
    assert first.count(RESULT_MARKER) == 1
    assert render_limits_result("", PLACE, "one").startswith(limits_marker(PLACE))
