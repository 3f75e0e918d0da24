"""Late reads of KV's API: the application's endpoint decides what is in effect."""

import json
import re
from typing import Any

import pytest

from ops.core.plan import LiveState
from tests.conftest import Outcome, World
from tests.support import limits, switches
from tests.support.claims import case_world, run
from tests.support.commands import ended, texts
from tests.support.in_process import held
from tests.support.scenarios import Case, all_cases
from tests.support.switches import NAMESPACE, PUT, SwitchWorld

SETTLE = 90
"""The value of `settle` in ops.yml, in seconds."""
SHOP = {"switches": {**switches.DECLARED["switches"], "basket": {"normal": "on", "on_unknown": "on"}}}


@pytest.fixture
def place(world: World) -> SwitchWorld:
    found = switches.prepared(world)
    switches.deploy(world, paths={"/": {"status": 200}, "/api/ai": {"status": 200}})
    world.edit_config("        worker: fortunet-api", "        maintenance: switch\n        worker: fortunet-api")
    for name, state in (("session-do", "on"), ("ai", "auto"), ("maintenance", "off")):
        found.put(name, state=state, incident=None)
    world.sandbox.clock.advance(60)
    return found


@pytest.fixture
def shop(place: SwitchWorld) -> SwitchWorld:
    """Configure another team's application with its own switch."""
    place.world.edit_config("session-do:", "basket:")
    switches.deploy(place.world, SHOP)
    place.put("basket", state="on", incident=None)
    place.world.sandbox.clock.advance(60)
    return place


def shows_both(text: str, in_kv: str, live: str) -> bool:
    """Whether the text names the value in KV and the one that the application shows."""
    return bool(re.search(rf"KV .*{in_kv}\b.* application .*{live}\b", text))


WRITE = ("PUT", "/accounts/*/storage/kv/namespaces/*/values/*")
WRITERS = [case for case in all_cases() if case.writes[0] == WRITE]
"""Scenarios of the runbooks whose deciding write goes to KV."""


@pytest.mark.slow
@pytest.mark.parametrize("case", WRITERS, ids=str)
def test_application_proves_write_while_api_lags(case: Case) -> None:
    with case_world(case) as world:
        world.sandbox.switches.kv_api_staleness_seconds = 20

        outcome = run(world, case).outcome

        assert case.scenario.reached(world)
    assert_proved(outcome)


@pytest.mark.slow
def test_application_proves_limits_while_api_lags(world: World) -> None:
    place = limits.limits_world(world)

    outcome = place.apply()

    assert_proved(outcome)
    assert outcome.result["decision"] == "recovered"


def assert_proved(outcome: Outcome) -> None:
    assert outcome.code == 0, outcome.err
    assert outcome.result["decision"] in {"recovered", "healthy_as_before"}
    assert "the probe runtime shows it" in " ".join(texts(outcome, "read_back"))
    assert "somebody else" not in outcome.out + outcome.err


def close(place: SwitchWorld, state: str = "on") -> Outcome:
    """Set the switch `maintenance`; the edge stays unchanged for this service."""
    return place.ops("maintenance", "--state", state, "--service", "api")


@pytest.mark.slow
def test_application_proves_maintenance_while_api_lags(place: SwitchWorld) -> None:
    place.world.sandbox.switches.kv_api_staleness_seconds = 20

    assert_proved(close(place))


@pytest.mark.slow
def test_application_proves_switch_beyond_settle_time(place: SwitchWorld) -> None:
    place.world.sandbox.switches.kv_api_staleness_seconds = 10 * SETTLE

    assert_proved(place.feature("off", "--incident", "42"))


@pytest.mark.slow
def test_switch_can_be_reset_while_api_lags(place: SwitchWorld) -> None:
    place.feature("off", "--incident", "42")
    place.world.sandbox.clock.advance(2)

    back = place.feature("on", "--incident", "42")

    assert_shown(place, back, "session-do", "on")


def test_maintenance_can_be_reset_while_api_lags(place: SwitchWorld) -> None:
    close(place)
    place.world.sandbox.clock.advance(2)

    back = close(place, "off")

    assert_shown(place, back, "maintenance", "off")


def assert_shown(place: SwitchWorld, outcome: Outcome, name: str, state: str) -> None:
    assert ended(outcome)[0] == 0, outcome.result["message"]
    value = place.value(name)
    assert value
    assert value["state"] == state == place.shown["switches"][name]["state"]


@pytest.mark.slow
def test_switch_of_another_team_is_proved_and_reset(shop: SwitchWorld) -> None:
    off = shop.feature("off", name="basket")
    shop.world.sandbox.clock.advance(2)
    on = shop.feature("on", name="basket")

    assert ended(off)[:2] == ended(on)[:2] == (0, "recovered")
    assert shop.shown["switches"]["basket"]["state"] == "on"


@pytest.mark.slow
def test_late_value_of_earlier_run_is_not_a_newer_one(place: SwitchWorld) -> None:
    """The API shows bob's earlier value only after this run's write."""
    sandbox = place.world.sandbox
    former = place.value()
    assert former
    text = json.dumps({**former, "state": "off", "owner": "bob", "revision": "0123456789ab", "incident": 7})
    sandbox.kv.put(NAMESPACE, "ops/switch/session-do", text, by_api=True)
    sandbox.clock.advance(2)
    sandbox.fault(**PUT, after=lambda: sandbox.clock.advance(18))
    sandbox.edge_fault(path="/__ops/runtime", status=500, times=2)

    outcome = place.feature("off", "--until", "1h", "--incident", "42")

    assert ended(outcome)[0] == 0, outcome.result["message"]
    assert any("bob" in text for text in texts(outcome, "compared"))


@pytest.mark.parametrize("lost", ["before", "after"])
def test_application_resolves_unclear_write(place: SwitchWorld, lost: str) -> None:
    place.world.sandbox.fault(**PUT, lost=lost, times=2 if lost == "after" else 1)

    outcome = place.feature("off")

    assert ended(outcome) == (0, "recovered", "verified")
    assert place.shown["switches"]["session-do"]["state"] == "off"


@pytest.mark.slow
def test_unclear_write_without_evidence_is_unknown(place: SwitchWorld) -> None:
    place.world.sandbox.fault(**PUT, lost="before", times=2)

    outcome = place.feature("off")

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert LiveState.UNCHANGED.words not in outcome.result["message"].lower()


def test_two_rejections_are_not_applied(place: SwitchWorld) -> None:
    place.world.sandbox.fault(**PUT, status=429, times=2)

    outcome = place.feature("off")

    assert ended(outcome) == (4, "failed", "not_applied")


@pytest.mark.slow
def test_write_without_evidence_is_not_claimed(place: SwitchWorld) -> None:
    """The application reads no KV, and the API shows nothing for longer than `settle`."""
    switches.deploy(place.world, {"switches": {}})
    place.world.sandbox.switches.kv_api_staleness_seconds = 10 * SETTLE

    outcome = place.feature("off")

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert outcome.result["wrote"]
    assert "writes the value again" in outcome.result["hint"]
    place.feature("off")
    assert [each.method for each in place.world.sandbox.requests].count("PUT") == 2


def test_prepare_keeps_a_new_key(place: SwitchWorld) -> None:
    place.world.sandbox.kv.delete(NAMESPACE, "ops/switch/session-do")
    place.feature("off", "--incident", "42")
    place.world.sandbox.clock.advance(2)

    outcome = place.ops("switches", "prepare")

    assert ended(outcome) == (0, "nothing_to_do", "already_prepared")
    assert place.shown["switches"]["session-do"]["state"] == "off"


def test_all_clear_names_switch_hidden_by_lag(place: SwitchWorld) -> None:
    place.feature("off", "--incident", "42")
    place.world.sandbox.clock.advance(2)

    outcome = place.ops("all-clear", "--incident", "42")

    assert ended(outcome) == (3, "refused", "live_unknown")
    assert shows_both(outcome.result["message"], "session-do = on", "off")
    place.world.sandbox.clock.advance(30)
    assert ended(place.ops("all-clear", "--incident", "42"))[0] == 0
    assert place.shown["switches"]["session-do"]["state"] == "on"


def test_all_clear_resets_known_switches_and_names_the_rest(place: SwitchWorld) -> None:
    place.put("ai", state="groq", incident=42)
    place.world.sandbox.clock.advance(60)
    place.feature("off", "--incident", "42")

    outcome = place.ops("all-clear", "--incident", "42")

    assert ended(outcome)[0] == 0
    assert place.shown["switches"]["ai"]["state"] == "auto"
    assert shows_both(outcome.result["message"], "session-do = on", "off")


PRESSES: dict[str, list[str]] = {
    "session-do": ["feature", "--name", "session-do", "--state", "off"],
    "ai": ["ai-failover", "--to", "groq"],
    "maintenance": ["maintenance", "--state", "on", "--service", "api"],
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", PRESSES)
def test_repeated_request_warns_about_replaced_fields(place: SwitchWorld, name: str) -> None:
    place.ops(*PRESSES[name], "--incident", "42")
    before = place.value(name)
    assert before
    place.world.sandbox.clock.advance(2)

    other = place.ops(*PRESSES[name], "--incident", "43")
    assert ended(other) == (3, "refused", "live_unknown")
    assert f"{name} = {before['state']}" in other.result["message"]
    again = place.ops(*PRESSES[name], "--incident", "42")

    assert ended(again)[0] == 0, again.result["message"]
    assert f"{name} = {before['state']}" in " ".join(again.result["plan"]["warnings"])
    assert place.shown["switches"][name]["state"] == before["state"]
    place.world.sandbox.clock.advance(30)
    calm = place.ops(*PRESSES[name], "--incident", "42")
    assert ended(calm)[1] == "nothing_to_do"
    assert f"{name} = {before['state']}" not in " ".join(calm.result["plan"]["warnings"])


@pytest.mark.slow
def test_write_does_not_wait_for_a_hanging_application(place: SwitchWorld) -> None:
    with held(place.world.sandbox.edge_faults, path="/__ops/runtime") as hanging:
        place.world.sandbox.fault(**PUT, before=hanging.remove, is_prompt=True)
        outcome = place.feature("off", "--incident", "42")

    assert ended(outcome)[0] == 0


@pytest.mark.slow
def test_repeated_reset_is_proved(place: SwitchWorld) -> None:
    place.feature("off", "--incident", "42")
    place.world.sandbox.clock.advance(2)
    place.feature("on", "--incident", "42")
    place.world.sandbox.clock.advance(2)

    again = place.feature("on", "--incident", "42")

    assert ended(again)[0] == 0, again.result["message"]
    assert again.result["plan"]["warnings"] == []


@pytest.mark.slow
def test_status_names_switch_hidden_by_lag(shop: SwitchWorld) -> None:
    def unread() -> list[str]:
        where = ["--environment", "production", "--config", str(shop.world.config), "--json"]
        lines: list[str] = json.loads(shop.world.ops("status", *where, CLOUDFLARE_API_TOKEN="switching").out)["unread"]
        return lines

    assert [line for line in unread() if "basket" in line] == []
    shop.feature("off", name="basket")
    (line,) = [line for line in unread() if "basket" in line]
    assert shows_both(line, "basket = on", "off")
    shop.world.sandbox.clock.advance(30)
    assert [line for line in unread() if "basket" in line] == []


def test_limits_hidden_by_lag_are_not_reported(world: World) -> None:
    place = limits.limits_world(world)
    place.apply()

    first = place.reconcile()
    place.world.sandbox.clock.advance(30)
    place.commit(limits.SHIPPED.replace("limit: 30", "limit: 40", 1))
    place.apply()
    second = place.reconcile()

    assert ended(first) == ended(second) == (0, "nothing_to_do", "already_live")
    assert "KV's API" in first.result["message"]
    assert place.github.issues == []


def test_path_maintenance_requires_known_closed_paths(place: SwitchWorld) -> None:
    def turn(state: str, path: str, *more: str) -> Outcome:
        return place.ops("maintenance", "--state", state, "--service", "api", "--path", path, *more)

    turn("on", "/api/ai")
    place.world.sandbox.clock.advance(2)

    early = turn("on", "/api/charts")
    place.world.sandbox.clock.advance(30)
    later = turn("on", "/api/charts")

    assert ended(early) == (3, "refused", "live_unknown")
    assert "maintenance = on, from a run that KV does not show yet: KV shows off" in early.result["message"]
    assert ended(later)[0] == 0
    value: Any = place.value("maintenance")
    assert value["paths"] == ["/api/ai", "/api/charts"]


@pytest.mark.parametrize(("incident", "code"), [(None, 0), (9, 3)])
def test_way_out_of_unknown_paths_works_for_who_is_given_it(
    place: SwitchWorld, incident: int | None, code: int
) -> None:
    named = ["--incident", str(incident)] if incident else []
    turn = ["maintenance", "--state", "on", "--service", "api", *named]
    place.ops("maintenance", "--state", "on", "--service", "api", "--path", "/api/ai")
    place.world.sandbox.clock.advance(2)

    refused = place.ops(*turn, "--path", "/api/charts")
    whole = place.ops(*turn)

    assert ended(refused) == (3, "refused", "live_unknown")
    assert ("--path" in refused.result["hint"]) == (code == 0)
    assert whole.code == code, whole.result["message"]
