"""Two incidents on one switch: none ends what the other holds, and each text names the one that still holds it."""

import itertools
import random
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ops.core.clock import parse_utc
from tests.conftest import Outcome, World
from tests.support import switches
from tests.support.commands import ended, texts
from tests.support.switches import SwitchWorld

SHOP = {
    "switches": {**switches.DECLARED["switches"], "basket": {"normal": "on", "on_unknown": "on"}},
    "ai": switches.DECLARED["ai"],
}


@pytest.fixture
def place(world: World) -> SwitchWorld:
    """Configure another team's application with its own switch."""
    found = switches.prepared(world)
    world.edit_config("session-do:", "basket:")
    switches.deploy(world, SHOP)
    for name, state in (("basket", "on"), ("ai", "auto")):
        found.put(name, state=state, incident=None)
    world.sandbox.clock.advance(60)
    return found


@pytest.fixture
def fresh(place: SwitchWorld) -> SwitchWorld:
    """Let KV's API show each write at once."""
    place.world.sandbox.switches.kv_api_staleness_seconds = 0
    return place


def basket(place: SwitchWorld, state: str, incident: int | None, *arguments: str) -> Outcome:
    named = ["--incident", str(incident)] if incident else []
    outcome = place.feature(state, *named, *arguments, name="basket")
    place.world.sandbox.clock.advance(2)  # a key takes one write a second
    return outcome


def clear(place: SwitchWorld, incident: int) -> Outcome:
    outcome = place.ops("all-clear", "--incident", str(incident))
    place.world.sandbox.clock.advance(2)
    return outcome


def shown(place: SwitchWorld, name: str = "basket") -> str:
    return str(place.shown["switches"][name]["state"])


def owners(place: SwitchWorld, name: str = "basket") -> list[Any]:
    value = place.value(name) or {}
    return [each["incident"] for each in value.get("owners", [value])]


@pytest.mark.slow
def test_second_incident_is_added_and_keeps_the_later_end(fresh: SwitchWorld) -> None:
    basket(fresh, "off", 7, "--until", "3h")
    first = fresh.value("basket") or {}

    added = basket(fresh, "off", 9, "--until", "1h")

    assert added.code == 0, added.err
    assert owners(fresh) == [7, 9]
    value = fresh.value("basket") or {}
    assert (value["incident"], value["until"], value["since"]) == (7, first["until"], first["since"])
    assert any("#7 (" in line and "#9 (" in line for line in added.result["plan"]["follows"])
    assert ended(basket(fresh, "off", 9, "--until", "1h")) == (0, "nothing_to_do", "already_set")
    assert ended(basket(fresh, "off", 7)) == (0, "nothing_to_do", "already_set")
    assert "--incident 9 --name basket --state on" in added.result["undo"][0]


@pytest.mark.parametrize("release", ["feature", "all-clear"])
def test_release_of_one_incident_leaves_the_switch_to_the_other(fresh: SwitchWorld, release: str) -> None:
    basket(fresh, "off", 7)
    basket(fresh, "off", 9, "--until", "1h")

    done = clear(fresh, 7) if release == "all-clear" else basket(fresh, "on", 7)

    assert done.code == 0, done.err
    assert (shown(fresh), owners(fresh)) == ("off", [9])
    assert re.search(r"basket.* off.*#9 \(", done.result["message"])
    assert "healthy" not in done.result["message"]
    value = fresh.value("basket") or {}
    assert parse_utc(value["until"]) - fresh.world.sandbox.clock.now() < timedelta(hours=1)
    again = clear(fresh, 7) if release == "all-clear" else basket(fresh, "on", 7)
    assert ended(again)[:2] == ((0, "nothing_to_do") if release == "all-clear" else (3, "refused"))
    assert "#9" in again.out
    assert ended(clear(fresh, 9)) == (0, "healthy_as_before", "verified")
    assert shown(fresh) == "on"


@pytest.mark.slow
def test_each_end_counts_and_the_last_one_ends_it(fresh: SwitchWorld) -> None:
    basket(fresh, "off", 7, "--until", "1h")
    basket(fresh, "off", 9, "--until", "2h")
    fresh.world.sandbox.clock.advance(3700)

    assert ended(clear(fresh, 7)) == (0, "nothing_to_do", "nothing_left")
    assert shown(fresh) == "off"
    fresh.world.sandbox.clock.advance(3600)
    assert shown(fresh) == "on"
    assert ended(clear(fresh, 9)) == (0, "nothing_to_do", "nothing_left")


@pytest.mark.slow
@pytest.mark.parametrize("incident", [9, None])
def test_other_state_needs_acceptance_by_name(fresh: SwitchWorld, incident: int | None) -> None:
    basket(fresh, "off", 7)
    before = fresh.value("basket")

    refused = basket(fresh, "on", incident)

    assert ended(refused) == (3, "refused", "held_by_others")
    assert re.search(r"basket.* off.*#7 \(", refused.result["message"])
    assert "--accept-owners 7" in refused.result["press"]
    assert "#7" in refused.result["hint"]
    assert ("--incident 7" in refused.result["hint"]) is (incident is None)
    assert "accept_owners = 7" in refused.result["press_button"]
    assert fresh.value("basket") == before
    assert ended(basket(fresh, "on", incident, "--accept-owners", "8"))[:2] == (3, "refused")

    accepted = basket(fresh, "on", incident, "--accept-owners", "7")

    assert ended(accepted)[0] == 0, accepted.err
    assert shown(fresh) == "on"
    assert any("#7 (" in line for line in accepted.result["plan"]["warnings"])


def test_ai_provider_of_another_incident_stays(fresh: SwitchWorld) -> None:
    def failover(to: str, incident: int, *more: str) -> Outcome:
        outcome = fresh.ops("ai-failover", "--to", to, "--incident", str(incident), *more)
        fresh.world.sandbox.clock.advance(2)
        return outcome

    assert failover("groq", 7).code == failover("groq", 9).code == 0
    assert ended(failover("cerebras", 9)) == (3, "refused", "held_by_others")
    kept = failover("restore", 7)
    assert kept.code == 0
    assert re.match(r"ai stays groq, .*held by #9 \(", kept.result["message"])
    assert (shown(fresh, "ai"), owners(fresh, "ai")) == ("groq", [9])
    changed = failover("cerebras", 9)
    assert changed.code == 0
    assert changed.result["message"].startswith("ai is cerebras, ")
    assert failover("restore", 9).code == 0
    assert shown(fresh, "ai") == "auto"


def test_end_is_limited_from_the_first_start(fresh: SwitchWorld) -> None:
    """`longest` of the switch is four hours."""
    basket(fresh, "off", 7)
    first = fresh.value("basket") or {}
    fresh.world.sandbox.clock.advance(3 * 3600)

    added = basket(fresh, "off", 9)

    value = fresh.value("basket") or {}
    assert (owners(fresh), value["until"]) == ([7, 9], first["until"])
    assert any("--accept-longer" in line for line in added.result["plan"]["warnings"])
    late = basket(fresh, "off", 9, "--until", "3h")
    assert ended(late) == (3, "refused", "ends_too_late")
    assert "--accept-longer" in late.result["press"]
    _, latest, _ = late.result["hint"].replace("--until ", "").split("`", 2)
    assert basket(fresh, "off", 9, "--until", latest).code == 0
    assert basket(fresh, "off", 9, "--until", "3h", "--accept-longer").code == 0
    value = fresh.value("basket") or {}
    assert parse_utc(value["until"]) - parse_utc(value["since"]) > timedelta(hours=5)


def test_value_of_the_first_release_gets_a_second_incident(fresh: SwitchWorld) -> None:
    """Version 0.1.0 stored one incident."""
    end = fresh.world.sandbox.clock.now() + timedelta(hours=1)
    fresh.put("basket", state="off", incident=7, until=f"{end:%Y-%m-%dT%H:%M:%SZ}")
    fresh.world.sandbox.clock.advance(2)

    assert basket(fresh, "off", 9, "--until", "30m").code == 0

    assert owners(fresh) == [7, 9]
    assert parse_utc((fresh.value("basket") or {})["until"]) == end.replace(microsecond=0)
    assert clear(fresh, 7).code == 0
    assert shown(fresh) == "off"
    assert clear(fresh, 9).code == 0
    assert shown(fresh) == "on"


@pytest.mark.slow
def test_switch_of_another_incident_that_kv_does_not_show_yet_stays(place: SwitchWorld) -> None:
    """KV's API still shows the state before."""
    basket(place, "off", 7)

    for state in ("on", "off"):
        assert ended(basket(place, state, 9)) == (3, "refused", "live_unknown")
    assert shown(place) == "off"
    assert basket(place, "on", 7).code == 0
    assert shown(place) == "on"


def test_wrong_namespace_is_refused_in_the_plan(place: SwitchWorld) -> None:
    other = "d00dfeedd00dfeedd00dfeedd00dfeed"
    place.world.sandbox.kv.add(other)
    place.world.edit_config(switches.NAMESPACE, other)

    outcome = basket(place, "off", 7)

    assert ended(outcome) == (3, "refused", "other_namespace")
    assert place.puts == []
    for told in (other, switches.NAMESPACE, "basket = on"):
        assert told in outcome.result["message"]
    assert "runtime.namespace" in outcome.result["hint"]
    assert switches.NAMESPACE in outcome.result["hint"]


@pytest.mark.slow
def test_other_incident_gets_a_comment(fresh: SwitchWorld) -> None:
    github = fresh.world.sandbox.github
    github.add_user("alice")
    seven, nine = (github.open_issue(title, labels=["incident"], author="alice") for title in ("One", "Two"))

    def act(command: tuple[str, ...], incident: int, *more: str) -> Outcome:
        outcome = fresh.ops(*command, "--incident", str(incident), *more, **github.environ())
        fresh.world.sandbox.clock.advance(2)
        return outcome

    off = ("feature", "--name", "basket", "--state", "off")
    assert act(off, seven).code == act(off, nine).code == 0
    assert act(("all-clear",), seven).code == 0
    assert act(("feature", "--name", "basket", "--state", "on"), seven, "--accept-owners", str(nine)).code == 0

    told = {each: [comment.body for comment in github.issue(each).comments] for each in (seven, nine)}
    (added,) = [body for body in told[seven] if f"run for incident #{nine}" in body.replace("\\", "")]
    assert re.search(rf"basket[\w ]* off, .*#{seven} \(.*#{nine} \(", added.replace("&#8203;", ""))
    released, replaced = [body for body in told[nine] if f"run for incident #{seven}" in body.replace("\\", "")]
    assert re.search(r"basket[\w ]* off\b", released)
    assert re.search(r"basket[\w ]* on\b", replaced)


@pytest.mark.slow
def test_status_and_leftovers_name_every_incident(fresh: SwitchWorld) -> None:
    basket(fresh, "off", 7)
    basket(fresh, "off", 9)

    status = fresh.world.ops(
        *("status", "--environment", "production", "--config", str(fresh.world.config)),
        CLOUDFLARE_API_TOKEN="switching",
    )

    (line,) = [line for line in status.out.splitlines() if "basket: off" in line]
    assert "held by #7 (" in line
    assert "#9 (" in line


Step = tuple[str, int]
STEPS: tuple[Step, ...] = (("off", 7), ("off", 9), ("on", 7), ("on", 9), ("clear", 7), ("clear", 9), ("end", 7))
ORDERS = random.Random(20).sample(list(itertools.permutations(STEPS, 6)), 60)
HOURS = {7: 1, 9: 3}


def take(place: SwitchWorld, act: str, incident: int) -> Outcome:
    """Take one step; repeat it in a minute if KV does not show yet what the application shows."""
    steps: dict[str, Callable[[], Outcome]] = {
        "off": lambda: basket(place, "off", incident, "--until", f"{HOURS[incident]}h"),
        "on": lambda: basket(place, "on", incident),
        "clear": lambda: clear(place, incident),
    }
    done = steps[act]()
    if done.result["reason"] != "live_unknown":
        return done
    place.world.sandbox.clock.advance(60)
    return steps[act]()


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("lag", [0, 20])
def test_nothing_ends_while_another_incident_holds_it(place: SwitchWorld, order: tuple[Step, ...], lag: int) -> None:
    """Keep books apart from the program: who asked for `off`, and until when."""
    books, clock = dict[int, Any](), place.world.sandbox.clock
    place.world.sandbox.switches.kv_api_staleness_seconds = lag
    for act, incident in order:
        if act == "end":
            clock.advance(3700)
        else:
            done = take(place, act, incident)
            others = [each for each, end in books.items() if each != incident and end > clock.now()]
            is_refused = act == "on" and bool(others) and incident not in books
            books.pop(incident, None)
            if act == "off":
                assert done.code == 0, done.err
                books[incident] = clock.now() + timedelta(hours=HOURS[incident])
            elif not lag:
                assert done.code == (3 if is_refused else 0), done.err
                assert all(f"#{each}" in done.out + done.err for each in others), done.out
        books = {each: end for each, end in books.items() if end > clock.now()}
        if books or not lag:  # a late value of KV may keep it off for longer
            assert shown(place) == ("off" if books else "on"), (order, act, incident)


@pytest.mark.slow
def test_failed_note_on_the_other_incident_is_a_warning(fresh: SwitchWorld) -> None:
    hub = fresh.world.sandbox.github
    hub.add_user("alice")
    one, other = (hub.open_issue(each, labels=["incident"], author="alice") for each in ("Baskets", "Prices"))
    fresh.feature("off", "--incident", str(one), name="basket", **hub.environ())
    fresh.world.sandbox.clock.advance(2)
    hub.fault(path=f"/repos/*/*/issues/{one}/comments", status=500, times=None)

    done = fresh.feature("on", "--incident", str(other), "--accept-owners", str(one), name="basket", **hub.environ())

    assert ended(done)[0] == 0, done.err
    assert (fresh.value("basket") or {})["state"] == "on"
    assert any(f"#{one} " in text for text in texts(done, "warning"))
