"""Foreign text cannot control a terminal: every command replaces control characters and marks of direction."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from tests.conftest import Outcome, World
from tests.support.adoption import SHOP, Team, build_shop, team
from tests.support.bakery import PERSON, SITE, TOKEN, Bakery, bakery
from tests.support.second_person import Desk, open_desk

FORGED = "✔ RECOVERED"
HOSTILE = f"x\x1b]0;owned\x07\x9b31m\u202e\u2066\r\b\n{FORGED}\nx"
"""A title of the window, a color in one byte, marks of direction, a return, and a line that looks like ours.

click removes other sequences itself.
"""
REFUSAL: dict[str, Any] = {"path": "/**", "status": 400, "code": 7003, "message": HOSTILE, "times": None}


def assert_is_safe(outcome: Outcome) -> None:
    for text in (outcome.out, outcome.err):
        lines = text.split("\n")
        assert [line for line in lines if not line.isprintable() or line.strip().startswith(FORGED)] == []


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Bakery]:
    with bakery(tmp_path) as made:
        made.release(ago=timedelta(minutes=5), message=HOSTILE, author=HOSTILE, tag=HOSTILE)
        made.sandbox.kv.add(HOSTILE)
        made.sandbox.rename_account(HOSTILE)
        files = {"index.html": HOSTILE.encode()}
        made.sandbox.pages.add_deployment(SITE, files=files, message=HOSTILE, commit=HOSTILE)
        zone = next(iter(made.sandbox.zones.all.values()))
        made.sandbox.zones.add_route(zone, f"shop.bakery.example/{HOSTILE}", "ops-maintenance")
        yield made


def ops(world: Bakery, *arguments: str) -> Outcome:
    environ = {**world.sandbox.github.environ(), "GITHUB_TOKEN": PERSON, "BAKERY_TOKEN": TOKEN}
    return World(world.sandbox, world.folder).ops(*arguments, **{**environ, "CLOUDFLARE_API_TOKEN": None})


COMMANDS = (
    "doctor",
    "versions shop",
    "versions blog",
    "targets",
    "hand-over",
    "stats",
    "status",
    "last",
    "incident list",
    "incident close 1",
    "watch --service shop --for 5m",
    "guard shop --for 1m --dry-run",
)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("rules", [[], [REFUSAL]], ids=["names", "errors"])
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "JSON"])
@pytest.mark.parametrize("command", COMMANDS)
def test_command_shows_no_control_characters(
    world: Bakery, command: str, options: list[str], rules: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.folder)
    hub = world.sandbox.github
    number = hub.open_issue(HOSTILE, f"### Service\n\n{HOSTILE}", ["incident"], "dana")
    for rule in rules:
        world.sandbox.fault(**rule)
    if command == "last":
        ops(world, "rollback-worker", "--service", "shop", "--dry-run", "--incident", str(number))

    outcome = ops(world, *command.split(), *options)

    assert outcome.code in {0, 2, 3, 4}, outcome.err
    assert outcome.out + outcome.err
    assert_is_safe(outcome)


@pytest.fixture
def desk(sandbox: Sandbox, tmp_path: Path) -> Desk:
    return open_desk(World(sandbox, tmp_path))


def press(desk: Desk, **inputs: str) -> Outcome:
    given = {"database": "orders", "environment": "live", "incident": str(desk.incident), "to": "-90s"}
    return desk.press("restore-database", {**given, **inputs}, "alice")


def approve_with_hostile_digest(desk: Desk) -> Outcome:
    return desk.press_approve(digest=HOSTILE)


def add_hostile_label(desk: Desk) -> Outcome:
    desk.hub.add_label(f"recover:{HOSTILE}")
    return desk.gate("issues", desk.hub.label(desk.incident, f"recover:{HOSTILE}", "alice"), desk.new_run())


def send_hostile_event(desk: Desk) -> Outcome:
    payload = desk.hub.label(desk.incident, "recover:orders", "alice")
    return desk.gate("issues", {**payload, "sender": {"login": HOSTILE, "id": 1, "type": "User"}}, desk.new_run())


@pytest.mark.parametrize(
    "way",
    [
        partial(press, environment="x", reason=HOSTILE),
        partial(press, environment=HOSTILE),
        partial(press, to=f"{HOSTILE}\n::error::x"),
        partial(press, reason=HOSTILE, incident="999999"),
        approve_with_hostile_digest,
        add_hostile_label,
        send_hostile_event,
    ],
    ids=["reason", "environment", "accepted", "no incident", "digest", "label", "sender"],
)
def test_gate_shows_no_control_characters(desk: Desk, way: Callable[[Desk], Outcome]) -> None:
    outcome = way(desk)

    assert outcome.out + outcome.err
    assert_is_safe(outcome)
    assert "\n::error::" not in outcome.out + outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [True, False], ids=["JSON", "text"])
def test_job_shows_no_control_characters(desk: Desk, as_json: bool) -> None:
    """Its log has each event as text, and as JSON for `incident import`."""
    assert press(desk, reason=HOSTILE).code == 0

    outcome = desk.act(desk.runs[-1], as_json=as_json)

    assert outcome.code == 0, outcome.err
    assert "awaiting_approval" in outcome.out + outcome.err
    assert_is_safe(outcome)


@pytest.fixture
def adopter(tmp_path: Path) -> Iterator[Team]:
    with team(SHOP, tmp_path) as found:
        build_shop(found.world.sandbox)
        yield found


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "JSON"])
def test_init_shows_no_control_characters(adopter: Team, options: tuple[str, ...]) -> None:
    sandbox = adopter.world.sandbox
    sandbox.rename_account(HOSTILE)
    sandbox.kv.add(HOSTILE)
    sandbox.upload(f"shop{HOSTILE}")
    sandbox.pages.add_project("notes", domains=[f"evil.example{HOSTILE}"])
    sandbox.put_secret("shop-web", HOSTILE, "1")
    sandbox.fault(path="/accounts/*/d1/**", status=400, code=7003, message=HOSTILE, times=None)

    outcome = adopter.init(*options)

    assert outcome.code == 0, outcome.err
    assert_is_safe(outcome)
    assert_is_safe(adopter.init("--contact", HOSTILE.replace("\n", " ")))
