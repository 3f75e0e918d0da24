"""An AI override set by an incident, while the preferred provider is healthy again."""

from datetime import timedelta

from tests.conftest import WORKER, World
from tests.support import switches
from tests.support.scenarios import Given, Scenario, state_of

REVISION = "5d41402abc4b"


def _prepare(world: World, given: Given) -> None:
    place = switches.prepared(world)
    since = f"{world.sandbox.clock.now() - timedelta(minutes=20):%Y-%m-%dT%H:%M:%SZ}"
    place.put("ai", state="groq", incident=given.incident, since=since, revision=REVISION)
    world.sandbox.set_outcomes(WORKER, {"iflow": {"ok": 5, "failed": 0}})
    world.sandbox.clock.advance(60)  # KV accepts one write per key and second


def _override(world: World) -> None:
    switches.SwitchWorld(world).put("ai", state="cerebras", owner="dana", incident=43)


SCENARIOS = {
    "": Scenario(
        _prepare,
        lambda world: state_of(world, "ai") == "auto",
        (_override,),
        {"revision": REVISION},  # its command reads it from KV
        is_like_another=True,
    )
}
