"""An API whose commit was rolled back in the incident, and a job with the bot's token."""

from datetime import timedelta

from tests.conftest import World, job_environ
from tests.support.scenarios import Given, Scenario, deploy_hotfix

BAD = "b" * 40


def _prepare(world: World, given: Given) -> None:
    hub = world.sandbox.github
    while given.incident not in hub._repository.threads:
        hub.open_issue("The cart fails", labels=["incident"])
    good = world.release(timedelta(hours=2), code="good", tag="a" * 40)
    bad = world.release(timedelta(hours=1), code="bad", tag=BAD)
    mark = f"ops1 incident={given.incident} run=run-1 blames={bad}; 500 on /cart"
    at = world.sandbox.clock.now() - timedelta(minutes=10)
    world.sandbox.deploy("fortunet-api", good, message=mark, at=at)


def _reached(world: World) -> bool:
    hub = world.sandbox.github
    return any(issue.find_label("hold:lifted") for issue in hub._repository.threads.values())


SCENARIOS = {
    "": Scenario(
        _prepare,
        _reached,
        (deploy_hotfix,),
        proves_by_probes=False,
        environ=lambda world: job_environ(world.sandbox.github),
    )
}
