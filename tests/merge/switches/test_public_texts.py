"""Texts that users of an application read: no name of a constant, no placeholder, no internal word."""

import re

import pytest

from tests.conftest import Outcome, World
from tests.support import databases, offline, switches
from tests.support.databases import RESTORE
from tests.support.switches import SwitchWorld

CONSTANT = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b")
PLACEHOLDER = re.compile(r"[{}<>%]|\b(None|null|undefined|NAME|SERVICE|TODO)\b")
INTERNAL = re.compile(
    r"\b(switch\w*|incident|runbook|backout|ops|KV|D1|worker\w*|cloudflare|groq|iflow|cerebras|override|roll\w*back)\b",
    re.IGNORECASE,
)


def assert_public(text: str) -> None:
    assert text
    for pattern in (CONSTANT, PLACEHOLDER, INTERNAL):
        assert not pattern.search(text), (pattern.pattern, text)


@pytest.fixture
def place(world: World) -> SwitchWorld:
    found = switches.prepared(world)
    for name, state in (("ai", "auto"), ("maintenance", "off")):
        found.put(name, state=state, incident=None)
    world.sandbox.clock.advance(60)
    return found


def posts(outcome: Outcome) -> list[str]:
    """Return the texts that people put on the status page, and those of the banner."""
    tasks: list[str] = outcome.result["plan"]["tasks"]
    return [text for task in tasks for text in re.findall('"([^"]+)"', task)]


@pytest.mark.parametrize("back", [["ai-failover", "--to", "restore"], ["ai-failover", "--to", "groq"], ["all-clear"]])
def test_ai_failover_announces_outage_and_its_end(place: SwitchWorld, back: list[str]) -> None:
    off = place.ops("ai-failover", "--to", "off", "--incident", "42")
    answer = place.get("/api/ai/interpret").json()
    assert_public(str(answer.get("message") or answer["error"]))
    place.world.sandbox.clock.advance(60)

    on = place.ops(*back, "--incident", "42")

    for outcome in (off, on):
        assert outcome.code == 0, outcome.err
        assert len(posts(outcome)) == 2
        for text in posts(outcome):
            assert_public(text)
    assert "Post on the status page" in on.result["plan"]["tasks"][1]
    assert "It works again" in on.result["plan"]["tasks"][1]
    place.world.sandbox.clock.advance(60)
    again = place.ops(*back, "--incident", "42")
    assert again.result["plan"]["tasks"] == []


def test_ai_failover_between_providers_announces_nothing(place: SwitchWorld) -> None:
    assert place.ops("ai-failover", "--to", "groq", "--incident", "42").result["plan"]["tasks"] == []


def test_feature_shows_users_no_text(place: SwitchWorld) -> None:
    place.put("session-do", state="on", incident=None)
    place.world.sandbox.clock.advance(2)
    place.feature("off", "--incident", "42", "--reason", "a bug")
    assert (place.value() or {})["message"] == ""


def test_maintenance_by_switch_shows_a_public_message(place: SwitchWorld) -> None:
    place.world.edit_config("        worker: fortunet-api", "        maintenance: switch\n        worker: fortunet-api")
    place.ops("maintenance", "--state", "on", "--service", "api", "--incident", "42", "--reason", "a leak")
    answer = place.get("/")
    assert answer.status_code == 503
    assert_public(str((place.value("maintenance") or {})["message"]))
    assert (place.value("maintenance") or {})["message"] in answer.text


def test_maintenance_at_the_edge_shows_a_public_message(world: World) -> None:
    with offline.prepared(world) as place:
        place.on("--incident", "42", "--reason", "a leak")
        assert_public(place.get(f"{offline.HOST}/", accept="application/json").json()["message"])
        html = place.get(f"{offline.HOST}/", accept="text/html").text
    body = re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL)
    assert_public(body.strip())


def test_restore_shows_a_public_message(world: World) -> None:
    library, seen = databases.prepared_at_edge(world), list[str]()

    def look() -> None:
        (live,) = world.sandbox.live("ops-maintenance")
        bindings = world.sandbox.account.workers["ops-maintenance"].versions[live].upload.bindings
        seen.extend(each["json"]["message"] for each in bindings if each["name"].startswith("BLOCK_"))

    world.sandbox.fault(**RESTORE, before=look)
    library.restore("before-migration:0002_b.sql")

    assert seen
    for text in seen:
        assert_public(text)
