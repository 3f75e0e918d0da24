"""An API whose AI switch was set by an incident."""

from functools import partial

from tests.support.scenarios import Scenario, set_switch, state_of, switched

SCENARIOS = {
    "": Scenario(
        switched,
        lambda world: state_of(world, "ai") == "cerebras",
        (partial(set_switch, "ai"),),
        is_like_another=True,
    )
}
