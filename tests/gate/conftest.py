"""Fixture: a job with an open incident."""

from datetime import timedelta

import pytest

from tests.conftest import World
from tests.gate.support import Job


@pytest.fixture
def job(world: World) -> Job:
    """Return a job whose repository has a writer (alice), a triager (tina) and a stranger (zoe)."""
    github = world.sandbox.github
    github.add_user("alice")
    github.add_user("tina", "triage")
    github.add_user("zoe", None)
    opened = world.sandbox.clock.now() - timedelta(hours=1)
    return Job(world, github.open_issue("API answers 500", "Since 10:00.", ["incident"], "alice", opened))
