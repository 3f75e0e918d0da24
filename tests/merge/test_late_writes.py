"""A write of a run is applied late, after its answer was lost: it is never called somebody else's change."""

from pathlib import Path

import pytest

from tests.conftest import Outcome
from tests.support.held_states import KINDS
from tests.support.interleavings import fresh_world
from tests.support.late_writes import LateWrite

MOST_WRITES = 7
BY_OTHERS = ("somebody else", "another run", "elsewhere", "replaced")


def assert_own(done: Outcome) -> None:
    said = " ".join([done.result["message"], done.result["hint"], *(each["text"] for each in done.events)])
    assert not any(words in said for words in BY_OTHERS), said


@pytest.mark.parametrize("requests_later", [1, 3, 6, 12, 99])
@pytest.mark.parametrize("holds", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("kind", KINDS)
def test_late_write_of_a_run_is_its_own(tmp_path: Path, kind: str, holds: bool, requests_later: int) -> None:
    for nth in range(MOST_WRITES):
        with fresh_world(tmp_path) as world, KINDS[kind](world) as place:
            if not holds:
                assert place.press("dana", holds=True).code == 0
            late = LateWrite(world, nth, requests_later)

            done = place.press("dana", holds=holds)

            if not late.end():
                assert nth
                return
            assert done.code == 0, done.err
            assert_own(done)
            again = place.press("dana", holds=holds)
            assert again.code == 0, again.err
            assert_own(again)
            assert place.is_held() == holds
