"""Three whole drills over sockets, in the fast set, whose other runs reach the sandbox without one."""

import pytest

from tests.conftest import World
from tests.support.drills import switch_arguments
from tests.support.in_process import answered_over_sockets

AT_ONCE = switch_arguments("pages_propagation_seconds=0", "kv_staleness_seconds=0")


@pytest.mark.parametrize("name", ["rollback-worker", "rollback-pages", "feature"])
def test_drill_recovers_over_sockets(world: World, name: str) -> None:
    """The drill starts the runbook as a process of its own."""
    with answered_over_sockets():
        outcome = world.ops("drill", name, "--json", "--config", str(world.config), *AT_ONCE)

    assert outcome.code == 0, outcome.err
    assert (outcome.result["decision"], outcome.result["drill"], outcome.result["wrote"]) == ("recovered", name, True)
