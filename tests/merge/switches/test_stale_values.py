"""A location that holds a former value of KV for longer than a run waits: written, not seen live. No success, no harm.

Workers KV is eventually consistent: "may take up to 60 seconds or more to be visible"
(developers.cloudflare.com/kv/concepts/how-kv-works).
"""

import pytest

from tests.conftest import World
from tests.support import switches
from tests.support.commands import ended
from tests.support.switches import SwitchWorld

STALE = 120.0
"""Seconds; `settle` of FortuneT is 90."""


def prepared(world: World) -> SwitchWorld:
    found = switches.prepared(world)
    switches.deploy(world, paths={"/": {"status": 200}})
    world.edit_config("        worker: fortunet-api", "        maintenance: switch\n        worker: fortunet-api")
    for name, state in (("session-do", "on"), ("ai", "auto"), ("maintenance", "off")):
        found.put(name, state=state, incident=None)
    world.sandbox.clock.advance(60)  # a key takes one write a second
    world.sandbox.switches.kv_staleness_seconds = STALE
    assert found.shown["switches"]["session-do"]["state"] == "on"
    return found


PRESSES: dict[str, tuple[str, ...]] = {
    "feature": ("feature", "--name", "session-do", "--state", "off"),
    "ai-failover": ("ai-failover", "--to", "groq"),
    "maintenance": ("maintenance", "--service", "api", "--state", "on", "--until", "2h"),
}


@pytest.mark.parametrize("words", PRESSES.values(), ids=PRESSES)
def test_former_value_is_no_evidence_until_a_later_press_sees_the_new_one(world: World, words: tuple[str, ...]) -> None:
    place = prepared(world)

    stopped, *again = [place.ops(*words, "--incident", "42") for _ in range(3)]

    assert ended(stopped) == (8, "no_evidence", "no_evidence"), stopped.result["message"]
    assert stopped.result["message"].startswith("written, not seen live: ")
    assert stopped.result["press"]
    assert ended(again[-1])[:2] == (0, "nothing_to_do"), again[-1].result["message"]
    assert len(place.puts) <= 2
