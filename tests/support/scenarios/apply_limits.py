"""Merged limits that no run has applied yet."""

import json
from collections.abc import Mapping

from tests.conftest import World
from tests.support import limits
from tests.support.scenarios import Given, Scenario


def prepare(world: World, _given: Given) -> None:
    limits.limits_world(world)


def job(world: World) -> Mapping[str, str]:
    """Return the variables of a job on the newest commit."""
    return {"GITHUB_ACTIONS": "true", "OPS_COMMIT": world.sandbox.github.resolve("main") or ""}


def stored_limit(world: World) -> int | None:
    """Return the limit of calc in KV."""
    text = world.sandbox.kv.get(limits.NAMESPACE, "ops/limits")
    found: int | None = json.loads(text)["limits"]["calc"]["limit"] if text else None
    return found


def edit(world: World) -> None:
    """Write other limits to KV as a person."""
    world.sandbox.kv.put(limits.NAMESPACE, "ops/limits", json.dumps({"version": 1, "revision": "x", "limits": {}}))


SCENARIOS = {
    "": Scenario(
        prepare,
        lambda world: stored_limit(world) == 30,
        (edit,),
        is_like_another=True,
        proves_by_probes=False,
        environ=job,
    )
}
