"""An application that reads limits.yml, and people who merge."""

from tests.conftest import World
from tests.support import limits
from tests.support.scenarios import Given, Scenario


def _prepare(world: World, _given: Given) -> None:
    limits.limits_world(world).github.switches.actions_may_create_pull_requests = True


def _reached(world: World) -> bool:
    return any(issue.pull and issue.state == "open" for issue in world.sandbox.github._repository.threads.values())


def _merge(world: World) -> None:
    world.sandbox.github.add_commit("Limits", "alice", files={"limits.yml": limits.changed(45)})


SCENARIOS = {"": Scenario(_prepare, _reached, (_merge,))}
