"""The comment on a pull request keeps its shape, whatever somebody wrote into limits.yml or its problems name."""

from datetime import UTC, datetime

from ops.limits.diff import compare
from ops.limits.file import Limit
from ops.limits.text import APPLIED, Planned, applied, comment, drift, marker
from tests.support.hostile import WORDS, skeleton
from tests.support.properties import holds_for

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)

PLACE = "production"


def bodies(said: str) -> list[str]:
    """Words where names, reasons, problems and answers stand."""
    limit = Limit(limit=30, period=60, key="ip")
    valid = Planned(compare({}, {said: limit}, said, NOW), said, said, PLACE, warnings=(said,))
    wrong = Planned(None, said, said, PLACE, problems=(said,))
    return [comment(valid), comment(wrong), applied(comment(valid), PLACE, said, (said,)), drift((said,), PLACE, said)]


HARMLESS = [skeleton(body) for body in bodies("x")]


@holds_for(25, 300, said=WORDS)
def test_the_comment_keeps_its_shape_whatever_is_said(said: str) -> None:
    assert [skeleton(body) for body in bodies(said)] == HARMLESS


def test_what_became_of_it_takes_the_place_of_what_was_said_before() -> None:
    first = applied(f"{marker(PLACE)}\nthe plan", PLACE, "one")

    assert applied(first, PLACE, "two") == applied(f"{marker(PLACE)}\nthe plan", PLACE, "two")
    assert first.count(APPLIED) == 1
    assert applied("", PLACE, "one").startswith(marker(PLACE))
