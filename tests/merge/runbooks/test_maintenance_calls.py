"""Calls of maintenance to Cloudflare's API, of which all users of a token share 1,200 in five minutes."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.maintenance.plan_text import CALLS_SECTION
from tests.support.commands import ended
from tests.support.many_routes import ManyRoutes, many_routes


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[ManyRoutes]:
    with many_routes(tmp_path, 20) as found:
        yield found


def test_20_routes_close_and_reopen_with_few_calls(shop: ManyRoutes) -> None:
    for state, most in (("on", 45), ("off", 47)):
        shop.world.sandbox.requests.clear()

        outcome = shop.ops(state)

        assert ended(outcome)[0] == 0
        assert shop.run(state).reached()
        assert len(shop.calls) <= most
        kinds = [event["kind"] for event in outcome.result["timeline"] if "departments/007" in event["text"]]
        assert kinds[:4] == ["compared", "writing", "written", "read_back"]


def test_plan_shows_the_calls(shop: ManyRoutes) -> None:
    later = 12
    """Two calls a second while 20 writes of 0.3 s last; here they take no time."""
    for state in ("on", "off"):
        shop.world.sandbox.requests.clear()

        (line,) = shop.ops(state).result["plan"]["sections"][CALLS_SECTION]

        shown, made = int(re.findall(r"about (\d+)", line)[0]), len(shop.calls)
        assert made <= shown - later <= made + 3
        assert "1,200" in line
        assert "300" in line
