"""An object with full memory, in an application that shows it to a caller with the token."""

from datetime import timedelta
from typing import Any

from tests.conftest import WORKER, World
from tests.support.scenarios import Given, Scenario


def _prepare(world: World, given: Given) -> None:
    admin = {"ADMIN_TOKEN": given.secrets["FORTUNET_ADMIN_TOKEN"]}
    objects: dict[str, Any] = {"objects": {"ai-mutex": {}}}
    world.release(timedelta(hours=2), code="good", secrets=admin, durable_objects=["AiMutexDO"], behaviour=objects)


def _reached(world: World) -> bool:
    return " reset=" in world.sandbox.deployments(WORKER)[0].annotations.get("workers/message", "")


SCENARIOS = {"": Scenario(_prepare, _reached)}
