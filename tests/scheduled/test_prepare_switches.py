"""`ops switches prepare`: create the missing keys of switches."""

import re

import pytest

from tests.conftest import World
from tests.support import switches
from tests.support.commands import ended
from tests.support.switches import PUT, READ, SwitchWorld


@pytest.fixture
def place(world: World) -> SwitchWorld:
    return switches.prepared(world)


def test_prepare_creates_only_missing_keys(place: SwitchWorld) -> None:
    before = place.put("session-do", state="off")

    outcome = place.ops("switches", "prepare")

    assert ended(outcome) == (0, "healthy_as_before", "verified")
    assert sorted(place.puts) == ["ai", "maintenance"]
    made = place.value("ai")
    assert made
    assert (made["state"], made["until"], made["incident"]) == ("auto", None, None)
    assert place.value("session-do") == before
    assert place.shown["switches"]["ai"]["revision"] == made["revision"]
    assert ended(place.ops("switches", "prepare")) == (0, "nothing_to_do", "already_prepared")
    place.world.sandbox.clock.advance(60)
    assert ended(place.ops("switches", "prepare")) == (0, "nothing_to_do", "already_prepared")


def test_prepare_keeps_concurrent_key(place: SwitchWorld) -> None:
    place.world.sandbox.fault(**PUT, after=lambda: place.put("session-do", state="off"))

    outcome = place.ops("switches", "prepare")

    assert ended(outcome) == (4, "failed", "world_moved")
    assert place.puts == ["maintenance"]


def test_prepare_keeps_malformed_value(place: SwitchWorld) -> None:
    place.world.sandbox.kv.put(switches.NAMESPACE, "ops/switch/ai", '{"version": 2}')

    outcome = place.ops("switches", "prepare")

    assert outcome.code == 0
    assert sorted(place.puts) == ["maintenance", "session-do"]
    assert any("ai: " in line for lines in outcome.result["plan"]["sections"].values() for line in lines)


@pytest.mark.slow
def test_hundred_switches_need_one_request(place: SwitchWorld) -> None:
    many = "".join(f"        part-{n}:\n          longest: 1h\n" for n in range(97))
    text = place.world.config.read_text()
    place.world.config.write_text(re.sub(r"(\n      switches: [^\n]*\n)", rf"\1{many}", text, count=1))
    place.world.sandbox.requests.clear()

    outcome = place.ops("switches", "prepare", "--dry-run")

    assert ended(outcome) == (0, "planned", "dry_run")
    assert len(outcome.result["plan"]["changes"]) == 100
    reads = [request for request in place.world.sandbox.requests if request.path.endswith("/bulk/get")]
    assert len(reads) == 1
    assert len(place.world.sandbox.requests) == 1


@pytest.mark.slow
def test_unreadable_kv_creates_nothing(place: SwitchWorld) -> None:
    place.world.sandbox.fault(**READ, times=None, status=403)

    outcome = place.ops("switches", "prepare")

    assert outcome.code == 4
    assert place.puts == []
