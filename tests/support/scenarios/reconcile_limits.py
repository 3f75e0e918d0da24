"""A temporary limit that KV still holds after its end."""

import json
import shutil
from datetime import timedelta

from tests.conftest import World
from tests.support import limits
from tests.support.scenarios import Given, Scenario
from tests.support.scenarios.apply_limits import edit, job


def _prepare(world: World, _given: Given) -> None:
    place = limits.limits_world(world)
    end = world.sandbox.clock.now() + timedelta(hours=4)
    place.commit(limits.temporary(60, f"{end:%Y-%m-%dT%H:%M:%SZ}"))
    assert place.apply().code == 0
    shutil.rmtree(world.folder / ".ops")  # the record of that run
    world.sandbox.clock.advance(4 * 3600 + 60)


def _reached(world: World) -> bool:
    text = world.sandbox.kv.get(limits.NAMESPACE, "ops/limits")
    return text is not None and "temporary" not in json.loads(text)["limits"]["calc"]


SCENARIOS = {"": Scenario(_prepare, _reached, (edit,), is_like_another=True, proves_by_probes=False, environ=job)}
