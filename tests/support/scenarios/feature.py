"""An API with switches."""

from functools import partial

from tests.support.scenarios import Scenario, set_switch, state_of, switched

SCENARIOS = {
    "": Scenario(
        switched,
        lambda world: state_of(world, "session-do") == "off",
        (partial(set_switch, "session-do"),),
        is_like_another=True,
    )
}
