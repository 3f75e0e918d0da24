"""Production is rolled back until the next release, by any means: in `ops status` and the state of an incident."""

from typing import Any

import pytest

from tests.conftest import World
from tests.support.held_lifts import open_operations
from tests.support.hold_histories import open_history
from tests.support.shop import SITE, WORKER

ROLLED_BACK: dict[str, tuple[list[Any], str]] = {
    "by a run": (["A", "B", {"rollback": "A", "blames": "B"}], "B"),
    "in the dashboard": (["A", "B", {"redeploy": "A", "message": "Rollback"}], "B"),
    "and a secret was rotated": (
        [
            "A",
            "B",
            {"rollback": "A", "blames": "B"},
            {"redeploy": "A", "message": "ops1 incident=42 run=x blames=- rotated=K"},
        ],
        "B",
    ),
    "and the same version deployed again": (
        ["A", "B", {"rollback": "A", "blames": "B"}, {"redeploy": "A", "message": "again"}],
        "B",
    ),
    "and rehearsed": (["A", "B", {"rollback": "A", "blames": "B"}, {"rehearse": "B", "live": "A"}], "B"),
    "twice": (["A", "B", "C", {"rollback": "B", "blames": "C"}, {"rollback": "A", "blames": "B"}], "C"),
}
AGREES: dict[str, list[Any]] = {
    "one release": ["A"],
    "two releases": ["A", "B"],
    "a new release": ["A", "B", {"rollback": "A", "blames": "B"}, "C"],
    "an undo": [
        "A",
        "B",
        {"rollback": "A", "blames": "B"},
        {"redeploy": "B", "message": "ops1 incident=42 run=u blames=-"},
    ],
    "a secret edit": ["A", "B", {"secret": "S"}],
    "a secret edit that was rolled back": ["A", "B", {"secret": "S"}, {"rollback": "B", "blames": "S"}],
}


def status(world: World, service: str = "web") -> dict[str, Any]:
    where = ["--environment", "live", "--config", str(world.config)]
    outcome = world.ops("status", *where, "--json", SHOP_TOKEN=world.sandbox.token, CLOUDFLARE_API_TOKEN=None)
    (found,) = [each for each in outcome.result["services"] if each["service"] == service]
    return dict(found)


@pytest.mark.parametrize("case", ROLLED_BACK)
def test_status_says_what_is_live_in_place_of_what(world: World, case: str) -> None:
    deployments, newest = ROLLED_BACK[case]
    shop = open_history(world, {"commits": ["A", "B", "C"], "deployments": deployments})

    rollback = status(world)["rollback"]

    assert rollback["commit"] == shop.shas[newest]
    assert shop.versions["A"][:8] in rollback["live"]
    assert rollback["incident"] == (None if case == "in the dashboard" else 42)
    assert (rollback["run"] != "") == (case != "in the dashboard")


@pytest.mark.parametrize("case", AGREES)
def test_status_says_nothing_while_the_newest_release_is_live(world: World, case: str) -> None:
    open_history(world, {"commits": ["A", "B", "C"], "deployments": AGREES[case]})

    assert status(world)["rollback"] is None


def test_site_is_rolled_back_until_its_next_deployment(world: World) -> None:
    shop = open_history(world, {"commits": ["A", "B", "C"], "deployments": ["A", "B", {"rollback": "A"}], "site": True})
    assert status(world, "docs")["rollback"]["commit"] == shop.shas["B"]

    shop.deploy(["C"], SITE)
    assert status(world, "docs")["rollback"] is None


@pytest.mark.parametrize("is_checked", [True, False])
def test_incident_and_run_say_what_the_next_merge_does(world: World, is_checked: bool) -> None:
    operations = open_operations(world, {"commits": ["A", "B"], "deployments": ["A", "B"]})
    if not is_checked:
        world.config.write_text(world.config.read_text().replace("        hold_check: true\n", ""))
    environ = {**operations.hub.environ(), "SHOP_TOKEN": world.sandbox.token, "CLOUDFLARE_API_TOKEN": None}
    where = ["--environment", "live", "--config", str(world.config), "--incident", str(operations.incident)]
    rolled = world.ops(
        "rollback-worker",
        "--service",
        "web",
        *where,
        "--to",
        operations.shop.versions["A"],
        "--yes",
        "--json",
        **environ,
    )
    assert world.sandbox.live(WORKER) == {operations.shop.versions["A"]: 100}, rolled.err

    show = ["incident", "show", str(operations.incident), "--config", str(world.config)]
    shown = world.ops(*show, "--json", **environ)
    (rollback,) = shown.result["rolled_back"]
    assert [each for each in world.ops(*show, **environ).out.splitlines() if each.strip().startswith("live: web ")]

    assert rollback["environment"] == "live"
    assert (rollback["commit"], rollback["incident"]) == (operations.shop.shas["B"], operations.incident)
    assert rollback["by"] not in ("", rollback["run"])
    for text in ("\n".join(rollback["next_merge"]), "\n".join(rolled.result["plan"]["follows"])):
        assert ("hold-check@SHA" in text) == (not is_checked)
        assert (f"Fixes-Incident: {operations.incident}" in text) == is_checked


def test_token_that_cannot_read_a_site_leaves_nothing_active(world: World) -> None:
    """The state says what is unknown. It is nothing that a person must release before the incident ends."""
    operations = open_operations(world)
    token = world.sandbox.add_token("reads", ["Workers Scripts Read", "Zone Read", "Workers Routes Read"])
    environ = {**operations.hub.environ(), "SHOP_TOKEN": token, "CLOUDFLARE_API_TOKEN": None}

    shown = world.ops("incident", "show", str(operations.incident), "--config", str(world.config), "--json", **environ)

    assert [each for each in shown.result["unknown"] if "docs" in each["why"]] == [], "it is no service of the incident"
    assert [each["service"] for each in shown.result["rolled_back"]] == ["web"]
