"""An API whose switches have no keys yet."""

from functools import partial

from tests.conftest import World
from tests.support import switches
from tests.support.scenarios import Given, Scenario, set_switch, state_of


def _prepare(world: World, _given: Given) -> None:
    switches.prepared(world)


def _reached(world: World) -> bool:
    return all(state_of(world, name) for name in ("ai", "maintenance", "session-do"))


SCENARIOS = {
    "": Scenario(_prepare, _reached, (partial(set_switch, "ai"),), is_like_another=True, proves_by_probes=False)
}
