"""The limits comment on a pull request: untrusted text, and replaced results."""

from datetime import UTC, datetime

import pytest

from ops.limits.diff import compare_limits
from ops.limits.file import Limit
from ops.limits.text import RESULT_MARKER, LimitsPlan, marker, render_comment, render_drift, render_result
from tests.support.hostile import WORDS, skeleton
from tests.support.properties import holds_for

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)

PLACE = "production"


def render_bodies(said: str) -> list[str]:
    """Render each comment with the text as name, reason, problem and answer."""
    limit = Limit(limit=30, period=60, key="ip")
    valid = LimitsPlan(compare_limits({}, {said: limit}, said, NOW), said, said, PLACE, warnings=(said,))
    wrong = LimitsPlan(None, said, said, PLACE, problems=(said,))
    return [
        render_comment(valid),
        render_comment(wrong),
        render_result(render_comment(valid), PLACE, said, (said,)),
        render_drift((said,), PLACE, said),
    ]


HARMLESS = [skeleton(body) for body in render_bodies("x")]


@pytest.mark.slow
@holds_for(25, 300, said=WORDS)
def test_comment_survives_untrusted_text(said: str) -> None:
    assert [skeleton(body) for body in render_bodies(said)] == HARMLESS


def test_result_replaces_previous_result() -> None:
    first = render_result(f"{marker(PLACE)}\nthe plan", PLACE, "one")

    assert render_result(first, PLACE, "two") == render_result(f"{marker(PLACE)}\nthe plan", PLACE, "two")
    assert first.count(RESULT_MARKER) == 1
    assert render_result("", PLACE, "one").startswith(marker(PLACE))
