"""A restore that was killed with its service closed: the same command reopens what the killed run closed."""

import json
import re
import signal
import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Outcome, World, job_environ
from tests.runbooks.test_restore_database_edge import CLOSED, OPEN
from tests.runbooks.test_restore_database_taken_over import WAYS, Place, each_meeting, make_place
from tests.support import shopdesk
from tests.support.commands import Command, ended, endings
from tests.support.databases import RESTORE, ingress
from tests.support.message_sheet import is_shown

BEFORE_LAST = "before-migration:0002_b.sql"
SWITCH_WRITE = {"method": "PUT", "path": "/accounts/*/storage/kv/namespaces/*/values/*"}
WRITES: dict[str, dict[str, Any]] = {
    "upload": {"method": "POST", "path": "/accounts/*/workers/scripts/*/versions"},
    "deployment": {"method": "POST", "path": "/accounts/*/workers/scripts/*/deployments"},
    "route": {"method": "PUT", "path": "/zones/*/workers/routes/*"},
    "added route": {"method": "POST", "path": "/zones/*/workers/routes"},
    "removed route": {"method": "DELETE", "path": "/zones/*/workers/routes/*"},
    "workers.dev": {"method": "POST", "path": "/accounts/*/workers/scripts/*/subdomain"},
    "restore": RESTORE,
}
TWICE = {"upload", "deployment", "route", "workers.dev"}
EVERY_WRITE = [
    *(("edge", {**fault, "skip": nth}) for name, fault in WRITES.items() for nth in range(2 if name in TWICE else 1)),
    ("switch", SWITCH_WRITE),
    ("switch", RESTORE),
    ("switch", {**SWITCH_WRITE, "skip": 1}),
]
REFUSALS = "ops/maintenance/refusals.py"
MOMENTS = ("before", "after")


def command(place: Place, *more: str, **environ: str) -> Command:
    given = ("--database", "lib", "--to", BEFORE_LAST, "--one-person", *more)
    variables = {"CLOUDFLARE_API_TOKEN": "library", **environ}
    return Command(place.world, "restore-database", service="", more=given, environ=variables)


def kill(place: Place, fault: Mapping[str, Any], moment: str, *, number: int = signal.SIGKILL) -> Outcome:
    """Kill a run at a request: `before` it reaches Cloudflare, or `after` it took effect."""
    run = command(place)
    lost = {"lost": "before"} if moment == "before" and number == signal.SIGKILL else {}
    place.world.sandbox.fault(**fault, **{moment: run.send(number)}, **lost)
    done = run.run()
    place.world.sandbox.faults.clear()
    place.world.sandbox.clock.advance(90)
    return done


def is_open(place: Place) -> bool:
    return bool(ingress(place.world) == OPEN) if place.way == "edge" else not place.is_closed()


def where_of(place: Place) -> tuple[str, ...]:
    return "--environment", "production", "--config", str(place.world.config)


def stored(place: Place) -> list[Any]:
    """Return the maintenance that `ops status` lists."""
    found = place.world.ops("status", *where_of(place), "--json", CLOUDFLARE_API_TOKEN=place.library.token).result
    return [*found["maintenance"], *found["switches"]]


def assert_tells_what_is_closed(place: Place, message: str) -> None:
    """Check each statement of an interrupted run about what is open or closed."""
    is_stored, says_open = bool(stored(place)), "api is open, and may" in message
    assert not says_open or is_open(place), message
    assert "api stays in maintenance" not in message or place.is_closed(), message
    assert "api is stored as closed" not in message or is_stored, message
    is_said = says_open or any(f"api {word}" in message for word in ("stays", "is stored", "may stay"))
    assert is_said or (is_open(place) and not is_stored), message


def assert_finished(place: Place, again: Outcome, *, lost: int = 0) -> None:
    """Check that the world is as one run leaves it, and that a third press has nothing to do."""
    assert again.result["decision"] in {"recovered", "healthy_as_before", "nothing_to_do"}, again.err
    assert is_open(place), again.err
    assert (place.library.migrations, place.library.count("loans")) == (["0001_first.sql"], 1)
    assert len(place.library.restores) == 1 + lost
    assert "stays in maintenance" not in again.err
    place.world.sandbox.clock.advance(90)
    assert [each for each in stored(place) if each.get("state", "on") == "on"] == []
    third = place.library.restore(BEFORE_LAST)
    assert ended(third)[:2] == (0, "nothing_to_do"), third.err
    assert is_open(place)


def on_an_incident(place: Place) -> dict[str, str]:
    """Return the variables of alice's laptop, which writes to GitHub with her token, with an incident #1."""
    hub = place.world.sandbox.github
    hub.add_user("alice")
    hub.open_issue("Loans are gone", labels=["incident"], author="alice")
    token = hub.add_token("of-alice", "alice")
    return {**hub.environ(), "GITHUB_TOKEN": token, "GITHUB_RUN_ID": "", "GITHUB_ACTIONS": ""}


@pytest.mark.parametrize("way", WAYS)
def test_killed_restore_is_finished_and_reopened_by_the_same_command(world: World, way: str) -> None:
    place = make_place(world, way)
    kill(place, RESTORE, "after")
    assert place.is_closed()

    again = place.library.restore(BEFORE_LAST)

    assert again.code == 0, again.err
    (warning,) = again.result["plan"]["warnings"]
    assert re.match("run [^ ]+ closed api and did not reopen it", warning)
    assert_finished(place, again)


@pytest.mark.sampled
@pytest.mark.parametrize("way", WAYS)
def test_status_ends_a_killed_restore_whose_method_left_ops_yml(world: World, way: str) -> None:
    """The same command closes by the other method, and no longer finds what it closed."""
    place = make_place(world, way)
    kill(place, RESTORE, "after")
    by_switch, by_routes = "        maintenance: switch\n        worker:", "        worker:"
    world.edit_config(*((by_routes, by_switch) if way == "edge" else (by_switch, by_routes)))

    token = {"CLOUDFLARE_API_TOKEN": place.library.token}
    (held,) = world.ops("status", *where_of(place), "--json", **token).result["held"]

    assert held["release"], held
    for _ in range(2):
        assert world.ops(*held["release"].split()[1:], *where_of(place)[2:], "--yes", **token).code == 0
        assert is_open(place)


@pytest.mark.sampled(27)
@pytest.mark.parametrize(("number", "end"), endings(product(EVERY_WRITE, MOMENTS)), ids=str)
def test_restore_ended_at_any_write_is_finished_by_the_same_command(
    world: World, number: int, end: tuple[tuple[str, dict[str, Any]], str]
) -> None:
    (way, fault), moment = end
    place = make_place(world, way)
    killed = kill(place, fault, moment, number=number)
    if number != signal.SIGKILL and killed.code != 0:
        assert killed.result["decision"] == "interrupted", killed.err
        assert_tells_what_is_closed(place, killed.result["message"])
    lost = len(place.library.restores) if place.library.migrations != ["0001_first.sql"] else 0

    assert_finished(place, place.library.restore(BEFORE_LAST), lost=lost)


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["a job", "own laptop", "laptop of another person"])
@pytest.mark.parametrize("way", WAYS)
def test_killed_restore_of_an_incident_is_finished_on_another_machine(world: World, way: str, killed: str) -> None:
    """Another database uses the service too, so only the record on the incident shows that the run wanted the same."""
    place = make_place(world, way)
    other = "      shelves:\n        id: 1b0a0da8-0000-4000-8000-00000000b0ff\n        services: [api]\n"
    world.edit_config("    databases:\n", f"    databases:\n{other}")
    environ = on_an_incident(place)
    hub = world.sandbox.github
    hub.add_user("bob")
    of_bob = {**environ, "GITHUB_TOKEN": hub.add_token("of-bob", "bob")}
    runners = {"a job": job_environ(hub), "own laptop": environ, "laptop of another person": of_bob}
    run = command(place, "--incident", "1", **runners[killed])

    def kill_when_recorded() -> None:
        end = time.monotonic() + 60
        while not any("undo of the restore" in each.body for each in world.sandbox.github.issue(1).comments):
            assert time.monotonic() < end
            time.sleep(0.05)
        run.send(signal.SIGKILL)()

    world.sandbox.fault(**RESTORE, after=kill_when_recorded)
    run.run()
    world.sandbox.clock.advance(90)

    again = place.library.on_another_machine().restore(BEFORE_LAST, "--incident", "1", **environ)

    assert again.code == 0, again.err
    assert is_open(place)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_same_incident_needs_no_record_if_one_database_uses_the_service(world: World, way: str) -> None:
    """GitHub has lost the comment of the killed run, or never got it."""
    place = make_place(world, way)
    environ = on_an_incident(place)
    run = command(place, "--incident", "1", **environ)
    world.sandbox.fault(**RESTORE, after=run.send(signal.SIGKILL))
    run.run()
    world.sandbox.github.issue(1).comments.clear()
    world.sandbox.clock.advance(90)
    soon = place.library.on_another_machine().restore(BEFORE_LAST, "--incident", "1", **environ)
    assert ended(soon)[:2] == (8, "no_evidence"), soon.err  # without its record, the run may be alive
    world.sandbox.github.issue(1).comments.clear()
    world.sandbox.clock.advance(900)

    again = place.library.on_another_machine().restore(BEFORE_LAST, "--incident", "1", **environ)

    assert again.code == 0, again.err
    assert is_open(place)


def test_run_that_may_still_act_is_not_taken_over(world: World) -> None:
    """A live run writes a row each minute; the same command then says who acts, since when, and when to press again."""
    place = make_place(world, "edge")
    run = command(place)
    world.sandbox.fault(**WRITES["route"], after=run.send(signal.SIGKILL))
    run.run()

    soon = place.library.restore(BEFORE_LAST)

    assert ended(soon) == (3, "refused", "world_moved"), soon.err
    assert re.search(r" at 20\S+Z\.$", soon.result["hint"])
    assert soon.result["wrote"] is False
    world.sandbox.clock.advance(60)
    assert_finished(place, place.library.restore(BEFORE_LAST))


def test_another_person_reads_who_closed_the_service(world: World) -> None:
    place = make_place(world, "edge")
    kill(place, RESTORE, "after")
    there = Place(place.library.on_another_machine(), "edge")

    other = there.library.restore(BEFORE_LAST)

    assert ended(other) == (8, "no_evidence", "no_evidence"), other.err
    assert re.search("closed by run [^ ]+ at [^,]+, which reopens it at its end unless", other.result["message"])
    assert place.is_closed()
    assert ended(place.library.restore(BEFORE_LAST))[0] == 0
    assert is_open(place)


@pytest.mark.sampled
@pytest.mark.parametrize("way", WAYS)
def test_duty_to_reopen_ends_after_an_hour_and_is_shown(world: World, way: str) -> None:
    place = make_place(world, way)
    kill(place, RESTORE, "after")
    world.sandbox.clock.advance(3600)

    late = place.library.restore(BEFORE_LAST)

    assert ended(late) == (8, "no_evidence", "no_evidence"), late.err
    assert re.search("closed by .*, which never reopened it; open it with `ops maintenance ", late.result["message"])
    assert place.is_closed()
    shown = world.ops("status", *where_of(place), CLOUDFLARE_API_TOKEN="library").out
    command = "ops maintenance --state off --service api --environment production"
    assert re.search(f", closed by (a )?run [^,]+, which never ended it; to end it: `{command}`", shown), shown
    assert place.turn("off").code == 0
    assert is_open(place)
    world.sandbox.clock.advance(90)
    assert ended(place.library.restore(BEFORE_LAST))[:2] == (0, "nothing_to_do")


@pytest.mark.sampled
@pytest.mark.parametrize("way", WAYS)
def test_status_prints_a_command_that_opens_what_the_run_of_an_incident_left(world: World, way: str) -> None:
    place = make_place(world, way)
    environ = on_an_incident(place)
    run = command(place, "--incident", "1", **environ)
    world.sandbox.fault(**RESTORE, after=run.send(signal.SIGKILL))
    run.run()
    world.sandbox.clock.advance(3700)
    assert place.is_closed()

    shown = world.ops("status", *where_of(place), CLOUDFLARE_API_TOKEN="library").out
    (printed,) = re.findall("`ops (maintenance [^`]+)`", shown)
    where = ("--config", str(world.config), "--yes", "--json")
    opened = world.ops(*printed.split(), *where, **environ, CLOUDFLARE_API_TOKEN="library")

    assert opened.code == 0, opened.err
    assert is_open(place)
    assert way == "edge" or re.search(r"held by #1 \(\w+, until its run ends\), since .*never ended it", shown), shown


@pytest.mark.slow
def test_person_who_closed_it_after_the_kill_keeps_it_closed(world: World) -> None:
    place = make_place(world, "edge")
    kill(place, RESTORE, "after")
    assert place.turn("on", "--reason", "leak").code == 0

    again = place.library.restore(BEFORE_LAST)

    assert ended(again) == (8, "no_evidence", "no_evidence"), again.err
    assert "api was in maintenance before this run and stays so, held by " in again.result["message"]
    assert place.is_closed()


def test_service_whose_last_route_was_reopened_is_not_called_closed(world: World) -> None:
    """Only the stored state was left: another person sees an open service, and the same command removes it."""
    place = make_place(world, "edge")
    kill(place, {**WRITES["deployment"], "skip": 1}, "before")
    assert ingress(world) == OPEN
    there = Place(place.library.on_another_machine(), "edge")

    other = there.library.restore(BEFORE_LAST)

    assert other.code == 0, other.err
    assert "stays so" not in other.err
    assert_finished(place, place.library.restore(BEFORE_LAST))


@pytest.mark.slow
def test_switch_that_kv_did_not_keep_is_written_again_by_the_same_command(world: World) -> None:
    """The hint says what the step inside the restore does, not that it repeats nothing."""
    place = make_place(world, "switch")
    world.sandbox.fault(**SWITCH_WRITE, skip=1, status=200, body=json.dumps({"success": True, "result": None}))

    done = place.library.restore(BEFORE_LAST)

    assert done.code != 0
    assert "writes the value again" in done.result["hint"], done.result
    world.sandbox.clock.advance(90)
    assert_finished(place, place.library.restore(BEFORE_LAST))


@pytest.mark.slow
def test_edited_duty_is_said_with_the_command_that_opens(world: World) -> None:
    place = make_place(world, "edge")
    kill(place, RESTORE, "after")
    (live,) = world.sandbox.live("ops-maintenance")
    bindings = world.sandbox.account.workers["ops-maintenance"].versions[live].upload.bindings
    next(each["json"] for each in bindings if each["name"] == "BLOCK_00")["reopened_by"] = 7

    again = place.library.restore(BEFORE_LAST)

    assert ended(again)[:2] == (8, "no_evidence"), again.err
    (why, opens) = again.result["plan"]["warnings"]
    assert is_shown(why, f"{REFUSALS} malformed_state_refusal Refused not_prepared")
    assert "--state off --release-all" in opens
    assert place.turn("off", "--release-all").code == 0
    assert is_open(place)


@pytest.mark.slow
def test_foreign_maintenance_worker_is_said_with_a_command_that_opens(world: World) -> None:
    place = make_place(world, "edge")
    kill(place, RESTORE, "after")
    sandbox, (ours,) = world.sandbox, world.sandbox.live("ops-maintenance")
    sandbox.deploy("ops-maintenance", sandbox.upload("ops-maintenance", behaviour={"body": "other", "status": 200}))

    again = place.library.restore(BEFORE_LAST)

    (why, opens) = again.result["plan"]["warnings"]
    assert is_shown(why, f"{REFUSALS} foreign_worker_refusal Refused not_prepared")
    assert "roll ops-maintenance back" in opens
    assert "--release-all" not in opens
    assert ended(place.turn("off", "--release-all")) == (3, "refused", "not_prepared")
    sandbox.deploy("ops-maintenance", ours)
    assert place.turn("off").code == 0
    assert is_open(place)


@pytest.mark.slow
def test_unhealthy_checks_keep_closed_what_a_killed_restore_closed(world: World) -> None:
    place = make_place(world, "edge")
    kill(place, RESTORE, "after")
    world.edit_config("            at_least: 1", "            at_least: 3")

    again = place.library.restore(BEFORE_LAST)

    assert ended(again) == (6, "still_unhealthy", "still_unhealthy"), again.err
    assert "api stays in maintenance until you run `ops maintenance" in again.result["message"]
    assert ingress(world) == CLOSED


def test_killed_restore_of_another_application_is_finished(world: World) -> None:
    shop = shopdesk.prepared(world)
    before = dict(shop.routes)
    world.sandbox.fault(**RESTORE, status=403, code=10000, times=None)
    assert shop.restore("-2m").code != 0
    assert set(shop.routes.values()) == {"ops-maintenance"}
    world.sandbox.faults.clear()
    world.sandbox.clock.advance(90)

    again = shop.restore("-3m")

    assert again.code == 0, again.err
    assert shop.routes == before


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_same_restore_at_any_moment_of_another_one_leaves_an_open_service(tmp_path: Path, way: str) -> None:
    """Both on one machine: neither takes the duty to reopen over from the live other one."""
    for place, meeting in each_meeting(tmp_path, way, Place.restore_run, Place.restore_run):
        place.world.sandbox.clock.advance(90)
        again = place.library.restore(BEFORE_LAST)
        assert again.code == 0, f"{meeting.story}; {again.err}"
        assert is_open(place), meeting.story
        assert place.library.migrations == ["0001_first.sql"], meeting.story
        assert 0 in {meeting.first.exit_code, meeting.second.exit_code}, meeting.story
