"""All-clear: reset the switches that an incident set."""

from datetime import timedelta

import pytest

from ops.runbooks.all_clear import UNCHANGED_SECTION
from tests.conftest import World
from tests.support import switches
from tests.support.commands import ended
from tests.support.switches import PUT, READ, SwitchWorld


@pytest.fixture
def place(world: World) -> SwitchWorld:
    """Set two switches for incident 42 and one for incident 43."""
    found = switches.prepared(world)
    found.put("session-do", state="off", incident=42)
    found.put("ai", state="groq", incident=42, message="busy")
    found.put("maintenance", state="off", incident=42)
    world.sandbox.clock.advance(60)  # a key takes one write a second
    return found


@pytest.mark.slow
@pytest.mark.parametrize("command", ["all-clear", "switches clear"])
def test_all_clear_resets_all_switches_of_the_incident(place: SwitchWorld, command: str) -> None:
    outcome = place.ops(*command.split(), "--incident", "42")

    assert ended(outcome) == (0, "healthy_as_before", "verified")
    states = {name: each["state"] for name, each in place.shown["switches"].items()}
    assert states == {"session-do": "on", "ai": "auto", "maintenance": "off"}
    assert sorted(place.puts) == ["ai", "session-do"]
    value = place.value("ai")
    assert value
    assert (value["message"], value["until"], value["incident"]) == ("", None, 42)
    place.world.sandbox.clock.advance(60)
    assert ended(place.ops(*command.split(), "--incident", "42")) == (0, "nothing_to_do", "nothing_left")


def test_all_clear_skips_and_names_other_switches(place: SwitchWorld) -> None:
    ended_at = place.world.sandbox.clock.now() - timedelta(minutes=1)
    place.put("ai", state="groq", incident=43)
    place.put("maintenance", state="on", incident=None, until=f"{ended_at:%Y-%m-%dT%H:%M:%SZ}")

    outcome = place.ops("all-clear", "--incident", "42")

    assert outcome.code == 0
    assert place.puts == ["session-do"]
    lines = outcome.result["plan"]["sections"][UNCHANGED_SECTION]
    assert [line.partition(", ")[0] for line in lines] == [
        "maintenance: already ended: on",
        "ai: belongs to incident #43: groq",
    ]


def test_all_clear_skips_malformed_values(place: SwitchWorld) -> None:
    place.world.sandbox.kv.put(switches.NAMESPACE, "ops/switch/maintenance", '{"version": 2}')

    outcome = place.ops("all-clear", "--incident", "42")

    assert outcome.code == 0
    assert sorted(place.puts) == ["ai", "session-do"]
    (line,) = outcome.result["plan"]["sections"][UNCHANGED_SECTION]
    assert "maintenance" in line
    assert "version 2" in line


def test_all_clear_keeps_a_newer_value(place: SwitchWorld) -> None:
    """The value changes before the comparison of the second switch."""
    place.world.sandbox.fault(**PUT, after=lambda: place.put("ai", state="cerebras", incident=43))

    outcome = place.ops("all-clear", "--incident", "42")

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "ai is cerebras, by bob" in outcome.result["message"]
    assert "changed: Switch session-do; not changed: Switch ai" in outcome.result["message"]
    assert place.puts == ["session-do"]


@pytest.mark.slow
def test_all_clear_requires_an_incident(place: SwitchWorld) -> None:
    outcome = place.ops("all-clear")

    assert outcome.code == 2
    assert "--incident 42" in outcome.result["hint"]


@pytest.mark.slow
def test_unreadable_kv_prevents_writes(place: SwitchWorld) -> None:
    place.world.sandbox.fault(**READ, times=None, status=500)

    assert place.ops("all-clear", "--incident", "42").code == 4
    assert place.puts == []
