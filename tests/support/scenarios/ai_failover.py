"""An API whose AI switch the same person set before, without an incident."""

from functools import partial

from tests.conftest import World
from tests.support import switches
from tests.support.scenarios import Given, Scenario, set_switch, state_of, switched


def _prepare(world: World, given: Given) -> None:
    switched(world, given)
    switches.SwitchWorld(world).put("ai", state="groq", owner="bob", incident=None)
    world.sandbox.clock.advance(60)  # KV accepts one write per key and second


SCENARIOS = {
    "": Scenario(
        _prepare,
        lambda world: state_of(world, "ai") == "cerebras",
        (partial(set_switch, "ai"),),
        environ=lambda _: {"USER": "bob"},
        by_a_person=True,
        is_like_another=True,
    )
}
