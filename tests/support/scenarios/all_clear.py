"""An API with two switches set by the incident."""

from functools import partial

from tests.conftest import World
from tests.support import switches
from tests.support.scenarios import Given, Scenario, set_switch, state_of, switched


def _prepare(world: World, given: Given) -> None:
    switched(world, given)
    switches.SwitchWorld(world).put("session-do", state="off", incident=given.incident)
    world.sandbox.clock.advance(60)  # KV accepts one write per key and second


def _reached(world: World) -> bool:
    return (state_of(world, "ai"), state_of(world, "session-do")) == ("auto", "on")


SCENARIOS = {"": Scenario(_prepare, _reached, (partial(set_switch, "ai"),), is_like_another=True)}
