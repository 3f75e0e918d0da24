"""`ops status` shows the open incidents with their state, and never waits long for GitHub."""

from contextlib import nullcontext
from typing import Any

import pytest

from tests.conftest import ACCOUNT, Outcome, World
from tests.support.in_process import held

CONFIG = f"""
environments:
  live:
    account_id: {ACCOUNT}
    services:
      oven:
        worker: bakery-oven
        url: https://oven.bakery.example
        probes: [{{name: health, http: {{path: /health}}}}]
"""


@pytest.fixture
def bakery(world: World) -> World:
    world.config.write_text(CONFIG)
    world.sandbox.deploy("bakery-oven", world.sandbox.upload("bakery-oven", code="one"))
    return world


def status(world: World, *more: str, **environ: str | None) -> Outcome:
    return world.ops("status", "--environment", "live", "--config", str(world.config), *more, **environ)


def open_two(world: World) -> dict[str, Any]:
    """Open an incident that names its service, and one that names none, which is closed."""
    hub = world.sandbox.github
    hub.add_user("mai")
    hub.open_issue("Cold bread", "### Service\n\noven\n", ["incident"], "mai")
    hub.close(hub.open_issue("Old", labels=["incident"], author="mai"), "mai")
    return hub.environ()


def test_open_incident_is_shown_with_its_state(bakery: World) -> None:
    environ = open_two(bakery)

    shown = status(bakery, "--json", **environ).result

    assert [(each["number"], each["state"]) for each in shown["incidents"]] == [(1, "open")]
    assert shown["incidents_unread"] == ""
    section = status(bakery, **environ).out.partition("open incidents")[2]
    assert "#1: " in section
    assert "oven" in section


@pytest.mark.parametrize("github", ["none", "down", pytest.param("silent", marks=pytest.mark.slow)])
def test_incidents_that_were_not_read_are_unknown_and_change_no_exit_code(bakery: World, github: str) -> None:
    environ = {"GITHUB_TOKEN": None, "GITHUB_REPOSITORY": None} if github == "none" else open_two(bakery)
    if github != "silent":
        bakery.sandbox.github.fault(method="*", path="/**", status=503, times=None)

    with held(bakery.sandbox.github.faults) if github == "silent" else nullcontext():
        done = status(bakery, "--json", **environ)

    assert (done.result["incidents"], bool(done.result["incidents_unread"])) == (None, True)
    assert done.code == done.result["exit_code"]
    assert [each["service"] for each in done.result["services"]] == ["oven"]
