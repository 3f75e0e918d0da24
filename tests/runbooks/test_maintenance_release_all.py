"""`maintenance --state off --release-all`: it opens a service for all who hold it, also if that cannot be read."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ops.maintenance.ownership import RELEASED
from tests.conftest import World
from tests.runbooks.test_maintenance_two_incidents import is_closed, switched, turn, turn_switch
from tests.runbooks.test_reopen_maintenance import stored_window
from tests.support import offline
from tests.support.commands import ended
from tests.support.offline import MAINTENANCE_WORKER, MaintenanceWorld, account

ADMIN_YML = """\
    services:
      admin:
        worker: bread-admin
        url: https://admin.fortunet.example
        probes:
          - {name: home, http: {path: /, status: 200}}
"""
NAMESPACE = "c0ffee00c0ffee00c0ffee00c0ffee00"


@pytest.fixture
def place(world: World) -> Iterator[MaintenanceWorld]:
    with offline.prepared(world) as found:
        yield found


def test_release_all_opens_what_two_incidents_and_a_person_hold(place: MaintenanceWorld) -> None:
    before = place.ways
    for incident in (7, 9):
        assert turn(place, "on", incident).code == 0
    assert ended(turn(place, "off", None)) == (3, "refused", "held_by_others")

    opened = turn(place, "off", None, "--release-all")

    assert opened.code == 0, opened.err
    assert place.ways == before
    (released,) = opened.result["plan"]["sections"][RELEASED]
    assert "#7 (" in released
    assert "#9 (" in released
    assert "#7 (" in opened.result["message"]
    assert "#9 (" in opened.result["message"]
    assert ended(turn(place, "off", None, "--release-all")) == (0, "nothing_to_do", "not_off")


def test_release_all_tells_the_incidents_that_it_released(place: MaintenanceWorld) -> None:
    hub = place.world.sandbox.github
    hub.add_user("alice")
    number = hub.open_issue("A leak", labels=["incident"], author="alice")
    environ = {**hub.environ(), "GITHUB_RUN_ID": "", "GITHUB_ACTIONS": ""}
    assert place.on("--incident", str(number), **environ).code == 0

    opened = place.ops("--state", "off", "--service", "api", "--release-all", **environ)

    assert opened.code == 0, opened.err
    assert "the whole of api opens: " in hub.issue(number).comments[-1].body


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored.update(owners="nobody"),
        lambda stored: stored.update(incident="seven"),
        lambda stored: stored.update(since="yesterday", run=None),
        lambda stored: stored.update(message=7),
    ],
    ids=["owners", "incident", "start and run", "message"],
)
def test_release_all_opens_what_nobody_can_read(place: MaintenanceWorld, change: Callable[[Any], None]) -> None:
    before = place.ways
    assert turn(place, "on", 7).code == 0
    change(stored_window(place))
    refused = turn(place, "off", 7)
    assert ended(refused) == (3, "refused", "not_prepared")
    assert "--release-all" in refused.result["hint"]
    assert is_closed(place)

    opened = turn(place, "off", None, "--release-all")

    assert opened.code == 0, opened.err
    assert place.ways == before
    assert "cannot be read, because it was edited" in opened.result["message"]
    assert turn(place, "on", 7).code == 0  # the stored state is whole again


def store(place: MaintenanceWorld, name: str, value: Any) -> None:
    """Add a variable to the live version of ops-maintenance."""
    versions, (live,) = (
        account(place).workers[MAINTENANCE_WORKER].versions,
        place.world.sandbox.live(MAINTENANCE_WORKER),
    )
    upload = versions[live].upload
    bindings = (*upload.bindings, {"type": "json", "name": name, "json": value})
    versions[live] = replace(versions[live], upload=replace(upload, bindings=bindings))


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "edited",
    [{"owners": "nobody"}, {"incident": "seven"}, {"since": "yesterday", "run": None}, {"reopened_by": 7}],
    ids=" and ".join,
)
def test_release_all_leaves_the_unreadable_window_of_another_service(
    place: MaintenanceWorld, edited: dict[str, Any]
) -> None:
    sandbox = place.world.sandbox
    sandbox.deploy("bread-admin", sandbox.upload("bread-admin", behaviour={"body": "admin", "status": 200}))
    place.route("admin.fortunet.example/*", "bread-admin")
    place.world.edit_config("    services:\n      api:", f"{ADMIN_YML}      api:")
    until = ("--until", "2h", "--reopen-at-end")
    assert place.ops("--state", "on", "--service", "admin", "--incident", "9", *until).code == 0
    assert turn(place, "on", 7).code == 0
    window = stored_window(place)
    assert window["service"] == "admin"
    window.update(edited)
    kept = {**window}
    earlier = {**kept, "path": "/old"}
    store(place, "OPENED_00", earlier)

    opened, again = (turn(place, "off", None, "--release-all") for _ in range(2))

    assert opened.code == 0, opened.err
    assert "admin" not in opened.result["message"]
    (said,) = [text for text in opened.result["plan"]["warnings"] if "the whole of admin" in text]
    assert "--service admin" in said
    assert "--release-all" in said
    assert stored_window(place) == kept
    assert stored_window(place, "OPENED_00") == earlier
    assert place.serves("admin.fortunet.example/") == "off"
    assert not is_closed(place)
    assert ended(again) == (0, "nothing_to_do", "not_off")
    assert place.ops("--state", "off", "--service", "admin", "--release-all").code == 0
    assert place.serves("admin.fortunet.example/") == "admin"
    assert turn(place, "on", 7).code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lose", "named"),
    [
        (lambda stored: stored.clear(), "variable BLOCK_00, "),
        (lambda stored: stored.update(closed=7), "BLOCK_00 of api,"),
    ],
    ids=["all", "routes"],
)
def test_release_all_takes_routes_of_a_lost_window_from_an_older_version(
    place: MaintenanceWorld, lose: Callable[[Any], None], named: str
) -> None:
    before = place.ways
    for message in ("First.", "Second."):
        assert turn(place, "on", 7, "--message", message).code == 0
    lose(stored_window(place))

    opened = turn(place, "off", None, "--release-all")

    assert opened.code == 0, opened.err
    assert named in opened.result["message"]
    assert place.ways == before


@pytest.mark.slow
@pytest.mark.parametrize("more", [("--state", "on"), ("--state", "off", "--path", "/api/ai")])
def test_release_all_is_for_opening_a_whole_service(place: MaintenanceWorld, more: tuple[str, ...]) -> None:
    assert ended(place.ops("--service", "api", "--release-all", *more))[:2] == (2, "refused")


def test_release_all_opens_by_switch_for_each_incident(world: World) -> None:
    place = switched(world)
    for incident in (7, 9):
        turn_switch(place, "on", incident)

    opened = place.ops("maintenance", "--state", "off", "--service", "api", "--release-all")

    assert opened.code == 0, opened.err
    assert place.get("/").status_code == 200
    assert "#7 (" in opened.result["message"]
    assert "#9 (" in opened.result["message"]


@pytest.mark.sampled
@pytest.mark.parametrize("text", ["{}", "no JSON", '{"version": 7}'])
def test_release_all_replaces_a_malformed_switch(world: World, text: str) -> None:
    place = switched(world)
    turn_switch(place, "on", 7)
    world.sandbox.kv.put(NAMESPACE, "ops/switch/maintenance", text)
    assert ended(place.ops("maintenance", "--state", "off", "--service", "api"))[1] == "refused"

    opened = place.ops("maintenance", "--state", "off", "--service", "api", "--release-all")

    assert opened.code == 0, opened.err
    assert place.get("/").status_code == 200
    value = place.value("maintenance")
    assert value
    assert value["state"] == "off"
