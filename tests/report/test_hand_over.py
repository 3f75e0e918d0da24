"""`ops hand-over` shows everything that is open, as `ops status` and `ops incident list` have it."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from ops.core.names import STOPPED_LABEL
from ops.core.run_record import RunRecord, embed_record
from ops.github.stops import MOST_ISSUES
from ops.watch.state import WatchState, new_watch_owner
from sandbox.github.users.state import ACTIONS_BOT
from tests.conftest import Outcome, World, workflow_run
from tests.support.held_lifts import Operations, open_operations
from tests.support.held_states import KINDS
from tests.support.hostile import PIECES, skeleton
from tests.support.shop import open_shop
from tests.support.staging_drills import SECTION, open_drilled_shop, publish, result_of


@pytest.fixture
def night(world: World) -> Operations:
    """A shop with an open incident, a rollback that stands, and a held commit."""
    return open_operations(world)


def environ_of(night: Operations) -> dict[str, Any]:
    return {"SHOP_TOKEN": night.world.sandbox.token, "CLOUDFLARE_API_TOKEN": None, **night.hub.environ()}


def hand_over(night: Operations, *arguments: str, **environ: Any) -> Outcome:
    return show(night.world, environ_of(night) | environ, *arguments)


def show(world: World, environ: Mapping[str, Any], *arguments: str, command: str = "hand-over") -> Outcome:
    return world.ops(command, "--config", str(world.config), *arguments, **environ)


def add_watch(night: Operations, *, minutes_ago: int, rounds: int, closed: bool = False, by: str = ACTIONS_BOT) -> None:
    """Post the record of a watch of half an hour without a result."""
    start = (night.world.sandbox.clock.now() - timedelta(minutes=minutes_ago)).replace(microsecond=0)
    state = WatchState(new_watch_owner(start), start, start + timedelta(minutes=30), "", "h" * rounds, is_closed=closed)
    number = workflow_run(night.hub, night.hub.environ())["GITHUB_RUN_ID"]
    name = f"watch-live-web-{night.incident}{'-closed' if closed else ''}-{minutes_ago}"
    record = RunRecord(
        name, source="watch", environment="live", service="web", watch=state.to_json(), job=f"{number}.1"
    )
    night.hub.comment(night.incident, embed_record("### Watching", record), by)


def test_hand_over_shows_what_status_and_list_show(night: Operations) -> None:
    environ = environ_of(night)
    status = show(night.world, environ, "--environment", "live", "--json", command="status").result

    done = hand_over(night, "--json")
    shown = done.result

    (live,) = shown["environments"]
    for each in (live, status):  # an error names its request
        each |= {"read_at": "", "unread": len(each["unread"])}
    assert live == {key: status[key] for key in live}
    assert shown["incidents"] == status["incidents"] != []
    assert (shown["watches"], shown["stop"], done.code) == ([], None, status["exit_code"])
    lines = hand_over(night).out
    assert night.shop.shas["B"][:12] in lines.partition("live: held")[2]
    assert f"#{night.incident}" in lines.partition("live: rolled back")[0]
    assert night.world.writes() == []


@pytest.mark.parametrize("kind", ["site", "feature"])
def test_closed_service_and_switch_are_shown_with_their_end(world: World, kind: str) -> None:
    with KINDS[kind](world) as place:
        done = place.press("dana", holds=True, more=("--until", "2h"))
        assert done.code == 0, done.err
        shown = world.ops("hand-over", "--config", str(world.config), "--json", **place.environ)

    held = [each for environment in shown.result["environments"] for each in environment["held"]]
    (one,) = (each for each in held if each["until"] or each["planned_end"])
    assert [by.split()[0] for by in one["held_by"]] == ["dana"]


def test_watches_are_shown_until_their_result_and_a_lost_runner_is_named(night: Operations) -> None:
    add_watch(night, minutes_ago=10, rounds=20)
    add_watch(night, minutes_ago=20, rounds=3, closed=True)
    night.hub.add_user("mallory", "read")
    add_watch(night, minutes_ago=5, rounds=9, by="mallory")

    watches = hand_over(night, "--json").result["watches"]
    assert [(each["closed"], each["has_runner"], each["incident"]) for each in watches] == [
        (False, True, night.incident),
        (True, False, night.incident),
    ]
    section = hand_over(night).out.partition("  watches\n")[2].partition("\n  live")[0].splitlines()
    assert ["ops watch --stopped" in line for line in section] == [False, True]


def test_watch_of_an_incident_that_was_closed_lately_is_shown(night: Operations) -> None:
    add_watch(night, minutes_ago=10, rounds=20)
    night.hub.close(night.incident, "alice")

    done = hand_over(night, "--json")
    assert (done.result["incidents"], [each["incident"] for each in done.result["watches"]]) == ([], [night.incident])
    assert f"#{night.incident} (closed)" in hand_over(night).out.partition("  watches\n")[2].splitlines()[0]

    night.hub.clock.advance(3 * 3600)
    assert hand_over(night, "--json").result["watches"] == []


def test_stop_is_the_first_line(night: Operations) -> None:
    number = night.hub.open_issue("Stop", "", [], "alice")
    night.hub.label(number, STOPPED_LABEL, "alice")

    assert hand_over(night, "--json").result["stop"]["issue"] == number
    assert "recoveries are stopped" in hand_over(night).out.splitlines()[2]


def test_github_down_says_what_cloudflare_knows(night: Operations) -> None:
    add_watch(night, minutes_ago=10, rounds=20)
    usual = hand_over(night, "--json")
    night.hub.fault(method="*", path="/**", status=503, times=None)

    done = hand_over(night, "--json")

    assert (done.result["incidents"], done.result["watches"]) == (None, None)
    assert done.result["incidents_unread"]
    held = [[each["what"] for each in one.result["environments"][0]["held"]] for one in (usual, done)]
    assert held[0] == held[1] != []
    assert "unknown" in hand_over(night).out.partition("  watches\n")[2].splitlines()[0]


@pytest.mark.parametrize("path", ["", "issues"])
def test_unread_part_of_github_is_no_success(world: World, path: str) -> None:
    shop = open_shop(world)
    environ = shop.environ(**world.sandbox.github.environ())
    world.sandbox.github.fault(method="GET", path=f"/repos/*/*/{path}" if path else "/**", status=503, times=None)

    done = show(world, environ, "--json")

    assert (done.code, done.result["exit_code"]) == (4, 4)


def test_stop_that_cannot_be_judged_is_no_success(world: World) -> None:
    shop, hub = open_shop(world), world.sandbox.github
    hub.add_user("alice")
    for _ in range(MOST_ISSUES + 1):
        hub.label(hub.open_issue("Stop", "", [], "alice"), STOPPED_LABEL, "alice")

    done = show(world, shop.environ(**hub.environ()), "--json")

    assert (done.code, bool(done.result["stop_unread"])) == (4, True)


def test_account_without_a_token_is_named_and_the_other_one_is_shown(world: World) -> None:
    shop = open_shop(world, staging=True)
    done = show(world, shop.environ(**world.sandbox.github.environ()), "--json")

    live, staging = done.result["environments"]
    assert (bool(live["services"]), live["unread"]) == (True, [])
    assert "SHOP_STAGING_TOKEN" in " ".join(staging["unread"])
    assert done.code == done.result["exit_code"] == 2
    one = show(world, shop.environ(**world.sandbox.github.environ()), "--json", "--environment", "live")
    assert (one.code, len(one.result["environments"])) == (0, 1)


def test_two_unread_accounts_are_one_error_that_names_both(world: World) -> None:
    open_shop(world, staging=True)
    done = show(world, {"CLOUDFLARE_API_TOKEN": None, **world.sandbox.github.environ()})

    assert done.code == 4
    assert "live, staging" in done.err


def test_drill_that_is_due_is_shown_only_with_the_section(world: World) -> None:
    shop = open_drilled_shop(world)
    publish(shop, result_of(shop, days_ago=41))
    environ = shop.environ(**world.sandbox.github.environ())

    assert len(show(world, environ, "--json").result["staging_drills"]["warnings"]) == 1
    assert "staging drills" in show(world, environ, "--markdown").out.lower()
    world.config.write_text(world.config.read_text().replace(SECTION, ""))
    assert "staging_drills" not in show(world, environ, "--json").result


def test_hostile_texts_add_no_markup(night: Operations) -> None:
    stop = night.hub.open_issue("Stop", "", [], "alice")
    usual = Counter(skeleton(hand_over(night, "--markdown").out))
    night.hub.label(stop, STOPPED_LABEL, "alice")
    incident = night.hub.issue(night.incident)
    for text in PIECES:
        incident.title, incident.body = text, f"### Service\n\n{text}\n\n### Severity\n\n{text}"
        night.hub.issue(stop).title = text

        added = Counter(skeleton(hand_over(night, "--markdown").out)) - usual
        assert {each for each in added if not each.startswith(("<li", "</li", "<code", "</code"))} == set(), text


def test_two_forms_at_once_are_a_usage_error(night: Operations) -> None:
    assert hand_over(night, "--json", "--markdown").code == 2
