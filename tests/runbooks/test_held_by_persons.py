"""A person without an incident holds a closed service or a switch as an incident does, by the same rule."""

import json
from collections.abc import Iterator

import pytest

from tests.conftest import World
from tests.support import held_states
from tests.support.commands import ended
from tests.support.held_states import KINDS, HeldState, Holder, stored_windows
from tests.support.switches import NAMESPACE


@pytest.fixture
def place(request: pytest.FixtureRequest, world: World) -> Iterator[HeldState]:
    with KINDS[request.param](world) as found:
        yield found


every_kind = pytest.mark.parametrize("place", KINDS, indirect=True)
by_routes = pytest.mark.parametrize("place", ["routes"], indirect=True)


@every_kind
def test_hold_of_a_person_ends_by_that_person_only(place: HeldState) -> None:
    assert place.press("dana", holds=True).code == 0

    refused = place.press("erik", holds=False)

    assert ended(refused) == (3, "refused", "held_by_others")
    assert "dana without an incident" in refused.result["message"]
    assert "--accept-owners dana" in refused.result["press"]
    assert "accept_owners = dana" in refused.result["press_button"]
    assert place.is_held()
    assert place.press("Dana", holds=False).code == 0  # GitHub ignores case
    assert not place.is_held()
    assert ended(place.press("dana", holds=False))[:2] == (0, "nothing_to_do")


@pytest.mark.sampled(2)
@every_kind
def test_incident_releases_itself_and_names_the_person_who_stays(place: HeldState) -> None:
    assert place.press(7, holds=True).code == 0
    assert place.press("dana", holds=True).code == 0
    assert ended(place.press("dana", holds=True))[:2] == (0, "nothing_to_do")
    assert place.holders == {7, "dana"}

    released = place.press(7, holds=False)

    assert released.code == 0, released.err
    assert place.is_held()
    assert place.holders == {"dana"}
    assert "held by dana without an incident" in released.result["message"]
    plan = released.result["plan"]
    assert "--accept-owners dana" in plan["next_step"]
    assert "accept_owners = dana" in plan["next_step_button"]
    assert any("dana" in task for task in plan["tasks"])
    assert ended(place.press(7, holds=False)) == (3, "refused", "held_by_others")
    opened = place.run_suggested(plan["next_step"], "alice")
    assert opened.code == 0, opened.err
    assert not place.is_held()


@pytest.mark.sampled(2)
@every_kind
def test_two_persons_hold_and_the_last_one_opens(place: HeldState) -> None:
    for person in ("dana", "erik"):
        assert place.press(person, holds=True).code == 0
    assert place.press("dana", holds=False).code == 0
    assert place.is_held()
    assert place.press("erik", holds=False).code == 0
    assert not place.is_held()


@pytest.mark.slow
@every_kind
def test_hold_of_a_person_ends_at_its_end(place: HeldState) -> None:
    """A feature and a switch end by their own clock; a planned end alone is a reminder."""
    end = ("--until", "1h", *(("--reopen-at-end",) if place.runbook == "maintenance" else ()))
    assert place.press("dana", holds=True, more=end).code == 0
    assert place.press(7, holds=True, more=(*end[:1], "2h", *end[2:])).code == 0
    place.world.sandbox.clock.advance(3700)

    assert place.press(7, holds=False).code == 0

    assert not place.is_held()


@pytest.mark.slow
@by_routes
def test_planned_end_alone_releases_nobody(place: HeldState) -> None:
    assert place.press("dana", holds=True, more=("--until", "1h")).code == 0
    place.world.sandbox.clock.advance(7200)

    assert ended(place.press(7, holds=False)) == (3, "refused", "held_by_others")


@pytest.mark.parametrize("holder", ["erik", 7])
@by_routes
def test_window_of_release_011_without_an_incident_opens_as_before(place: HeldState, holder: Holder) -> None:
    """That release stored no person, and promised none that the service stays closed."""
    assert place.press("dana", holds=True).code == 0
    (window,) = stored_windows(place.world)
    del window["owners"]

    assert place.press(holder, holds=False).code == 0

    assert not place.is_held()


@by_routes
def test_person_takes_over_a_window_of_release_011(place: HeldState) -> None:
    assert place.press("dana", holds=True).code == 0
    (window,) = stored_windows(place.world)
    del window["owners"]

    assert place.press("erik", holds=True).code == 0

    assert place.holders == {"erik"}
    assert ended(place.press("dana", holds=False)) == (3, "refused", "held_by_others")
    assert place.press("erik", holds=False).code == 0
    assert not place.is_held()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("place", ["routes", "feature"], indirect=True)
def test_own_hold_without_an_incident_is_named_to_its_person(place: HeldState) -> None:
    assert place.press(held_states.ON_CALL, holds=True).code == 0

    refused = place.press(7, holds=False)

    assert ended(refused) == (3, "refused", "held_by_others")
    assert "omit `--incident`" in refused.result["hint"]


@pytest.mark.parametrize("by", ["dana, or erik", "or; reason = x", "7,9"])
@by_routes
def test_name_that_was_edited_is_accepted_as_it_is_printed(place: HeldState, by: str) -> None:
    assert place.press("dana", holds=True).code == 0
    (window,) = stored_windows(place.world)
    window["owners"][0]["by"] = by

    refused = place.press("erik", holds=False)

    assert ended(refused) == (3, "refused", "held_by_others")
    assert place.run_suggested(refused.result["press"], "erik").code == 0
    assert not place.is_held()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("edited", [{"by": ""}, {"incident": -7}, {"until": "soon"}], ids=str)
@by_routes
def test_owner_that_cannot_be_read_names_the_way_on(place: HeldState, edited: dict[str, object]) -> None:
    assert place.press("dana", holds=True).code == 0
    (window,) = stored_windows(place.world)
    window["owners"][0].update(edited)

    refused = place.press("dana", holds=False)

    assert ended(refused)[:2] == (3, "refused")
    assert "--release-all" in refused.result["hint"]
    assert place.is_held()
    assert place.press("dana", holds=False, more=("--release-all",)).code == 0
    assert not place.is_held()


@pytest.mark.sampled(2)
@every_kind
def test_status_names_owners_and_times_and_the_command_that_ends_it(place: HeldState) -> None:
    end = ("--until", "1h", *(("--reopen-at-end",) if place.runbook == "maintenance" else ()))
    for holder in (7, "dana"):
        assert place.press(holder, holds=True, more=end).code == 0
    world = place.world
    where = ("--environment", place.environment, "--config", str(world.config))

    shown = world.ops("status", *where, **place.environ).out
    (held,) = world.ops("status", *where, "--json", **place.environ).result["held"]

    assert [each.split()[0] for each in held["held_by"]] == ["#7", "dana"]
    assert (held["since"] < held["until"], held["planned_end"]) == (True, None)
    (line,) = [line for line in shown.splitlines() if "dana without an incident" in line]
    assert held["release"] in line
    assert place.run_suggested(held["release"], "erik").code == 0
    assert not place.is_held()


@pytest.mark.parametrize("place", ["switch", "feature"], indirect=True)
def test_switch_whose_owners_were_edited_says_its_state_and_the_way_on(place: HeldState) -> None:
    assert place.press(7, holds=True, more=("--until", "1h")).code == 0
    kv, key = place.world.sandbox.kv, f"ops/switch/{place.hold.get('name', 'maintenance')}"
    stored = json.loads(kv.get(NAMESPACE, key) or "{}")
    kv.put(NAMESPACE, key, json.dumps({**stored, "owners": "nobody"}))

    refused = place.press(7, holds=False)

    assert ended(refused) == (3, "refused", "unknown_value")
    assert f"{stored['state']}, for incident #7" in refused.result["message"]
    assert place.is_held()
    if place.runbook == "feature":
        assert key in refused.result["message"]
        return
    assert "--release-all" in refused.result["hint"]
    assert place.press(7, holds=False, more=("--release-all",)).code == 0
    assert not place.is_held()


@by_routes
def test_refusal_on_the_issue_has_the_button_that_accepts_the_person(place: HeldState) -> None:
    """A label cannot pass `--accept-owners`."""
    hub = place.world.sandbox.github
    hub.add_user("alice")
    number = hub.open_issue("A leak", labels=["incident"], author="alice")
    assert place.press("dana", holds=True).code == 0

    refused = place.press(number, holds=False, more=(), **hub.environ())

    assert ended(refused) == (3, "refused", "held_by_others")
    (comment,) = hub.issue(number).comments
    assert "dana without an incident" in comment.body
    assert ", accept_owners `dana`" in comment.body
