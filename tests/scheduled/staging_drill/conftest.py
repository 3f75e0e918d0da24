"""A world with a drill: two accounts whose Workers have one name."""

from collections.abc import Iterator

import pytest

from sandbox import Sandbox
from tests.conftest import World
from tests.support.staging_drill import LIVE_ACCOUNT, DrillWorld, open_drill_world


@pytest.fixture
def live() -> Iterator[Sandbox]:
    """The account of production."""
    with Sandbox(account_id=LIVE_ACCOUNT, virtual_clock=True) as running:
        yield running


@pytest.fixture
def place(world: World, live: Sandbox) -> DrillWorld:
    return open_drill_world(world, live)
