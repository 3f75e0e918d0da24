"""Commands whose answer asks people to start the same command again: pressed a second and a third time."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import Releases, World
from tests.support.commands import LIST, PROMISE, WRITE, ours

STATES: Mapping[str, tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]] = {
    "unreadable": ([{**WRITE, "lost": "after"}, {**LIST, "status": 500, "skip": 1, "times": None}], {}, {}),
    "invisible": ([], {"deployments_lag_reads": 100}, {}),
    "limited": ([{**WRITE, "status": 429, "headers": {"retry-after": "300"}}], {}, {}),
    "not applied": ([{**WRITE, "code": 10035, "times": 2}], {}, {}),
    "refused for now": ([{**LIST, "status": 429, "times": None}], {}, {}),
    "challenge": ([], {}, {"status": 403, "headers": {"cf-mitigated": "challenge"}, "body": "<html>", "times": None}),
}
"""Faults of the API, switches, and a fault of the edge."""


@pytest.mark.parametrize("state", STATES)
def test_command_is_pressed_three_times(world: World, releases: Releases, state: str) -> None:
    """The state has the text; the second press reaches the goal, and the third changes nothing."""
    faults, switches, at_edge = STATES[state]
    for fault in faults:
        world.sandbox.fault(**fault)
    vars(world.sandbox.switches).update(switches)
    if at_edge:
        world.sandbox.edge_fault(**at_edge)

    first = world.rollback()

    assert PROMISE.search(first.result["hint"]), first.result
    world.sandbox.faults.clear()
    world.sandbox.edge_faults.clear()
    world.sandbox.switches.deployments_lag_reads = 0
    world.sandbox.clock.advance(300)
    second, third = world.rollback(), world.rollback()
    assert (second.code, third.code) == (0, 0), second.err
    assert third.result["decision"] == "nothing_to_do"
    assert world.live == {releases.good: 100}
    assert len(ours(world)) == (2 if state == "invisible" else 1)  # the list still lags, and both are equal
