"""Fixture: an incident that tests put labels on."""

from datetime import timedelta

import pytest

from tests.conftest import World
from tests.support.prepared_python import RunPython
from tests.templates.scripts import Workflow


@pytest.fixture
def workflow(world: World, python: RunPython) -> Workflow:
    """Return a run for a label; alice writes, tina triages."""
    github = world.sandbox.github
    github.add_user("alice")
    github.add_user("tina", "triage")
    opened = world.sandbox.clock.now() - timedelta(hours=1)
    return Workflow(world, github.open_issue("API answers 500", "Since 10:00.", ["incident"], "alice", opened), python)
