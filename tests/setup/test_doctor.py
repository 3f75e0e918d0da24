"""`ops doctor`: right answers in a world with everything right, and one wrong answer for each fault."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bakery import Bakery, bakery


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Bakery]:
    with bakery(tmp_path) as made:
        yield made


def test_world_without_fault_has_no_wrong_answer(world: Bakery) -> None:
    outcome = world.doctor()
    print(outcome.out, outcome.err)
    assert outcome.code == 0
