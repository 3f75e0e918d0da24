"""An API that an earlier run closed for maintenance, past its end."""

from tests.conftest import WORKER, World
from tests.support.scenarios import Given, Scenario
from tests.support.scenarios.maintenance import STRANGERS, close, scripts


def _prepare(world: World, given: Given) -> None:
    close(world, given, "--until", "1h", "--reopen-at-end", "--incident", str(given.incident))
    world.sandbox.clock.advance(2 * 3600)


SCENARIOS = {
    "": Scenario(
        _prepare,
        lambda world: scripts(world) == {WORKER},
        STRANGERS,
        is_like_another=True,
        proves_by_probes=False,
    )
}
