"""An API whose commit was rolled back in the incident, and a label of a person, which lifts nothing."""

from datetime import timedelta

from tests.conftest import World
from tests.support.scenarios import Given, Scenario, deploy_hotfix

BAD, LIFTED = "b" * 40, "hold:lifted"


def _prepare(world: World, given: Given) -> None:
    hub = world.sandbox.github
    while given.incident not in hub._repository.threads:
        hub.open_issue("The cart fails", labels=["incident"])
    good = world.release(timedelta(hours=2), code="good", tag="a" * 40)
    bad = world.release(timedelta(hours=1), code="bad", tag=BAD)
    mark = f"ops1 incident={given.incident} run=run-1 blames={bad}; 500 on /cart"
    at = world.sandbox.clock.now() - timedelta(minutes=10)
    world.sandbox.deploy("fortunet-api", good, message=mark, at=at)
    hub.label(given.incident, LIFTED, hub._repository.owner_login)


def _reached(world: World) -> bool:
    events = [each for issue in world.sandbox.github._repository.threads.values() for each in issue.events]
    return any(each.event == "labeled" and each.label and each.label.name == LIFTED and each.app for each in events)


SCENARIOS = {
    "": Scenario(
        _prepare,
        _reached,
        (deploy_hotfix,),
        proves_by_probes=False,
    )
}
