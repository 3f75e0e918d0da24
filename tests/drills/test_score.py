"""Score of a drill: its targets, and whether the sandbox confirms the recovery."""

import json
from datetime import timedelta

import httpx
import pytest

from ops.app.configuration import read_config
from ops.config.sections import RecoveryTarget
from ops.drills import status_check
from ops.drills.github import compare_with_sandbox
from ops.drills.score import add_score
from tests.conftest import ACCOUNT, WORKER, World
from tests.support.switches import prepared


@pytest.mark.parametrize(("serves", "is_well"), [("bad", True), ("good", False), ("no known", True)])
def test_recovery_not_confirmed_by_sandbox_fails(serves: str, is_well: bool) -> None:
    result = compare_with_sandbox(
        {"decision": "recovered", "message": "it says so"}, live_release=serves, is_healthy=is_well
    )

    assert (result["decision"], result["exit_code"]) == ("still_unhealthy", 6)
    assert f"it says so; the sandbox serves the {serves} release" in result["message"]


TARGET = RecoveryTarget.model_validate({"write": "1m", "recovery": "5m"})
SCORES: dict[str, tuple[dict[str, float | None], str, bool, list[str]]] = {
    "both in time": ({"trigger_to_write": 60, "trigger_to_verified": 300}, "recovered", True, []),
    "a late write": ({"trigger_to_write": 60.1, "trigger_to_verified": 61}, "recovered", False, ["trigger_to_write"]),
    "a late proof": (
        {"trigger_to_write": 1, "trigger_to_verified": 300.1},
        "recovered",
        False,
        ["trigger_to_verified"],
    ),
    "unknown, and the whole job was in time": (
        {"trigger_to_write": None, "trigger_to_verified": None, "total": 50},
        "recovered",
        True,
        [],
    ),
    "unknown": (
        {"trigger_to_write": None, "trigger_to_verified": None},
        "recovered",
        False,
        ["trigger_to_write", "trigger_to_verified"],
    ),
    "written, and never proved": (
        {"trigger_to_write": 2, "trigger_to_verified": None, "total": 120},
        "still_unhealthy",
        False,
        ["trigger_to_verified"],
    ),
    "in time, and no recovery": ({"trigger_to_write": 1, "trigger_to_verified": 2}, "healthy_as_before", False, []),
}


@pytest.mark.parametrize(("durations", "decision", "reached", "missed"), SCORES.values(), ids=SCORES)
def test_score_compares_durations_with_targets(
    durations: dict[str, float | None], decision: str, reached: bool, missed: list[str]
) -> None:
    ended = {"decision": decision, "exit_code": 0, "durations": durations}

    result = add_score(ended, TARGET, runbook="rollback-worker", edge="embedded", with_incident=False)

    assert (result["within_target"], result["exit_code"]) == (reached, 0 if reached else 6)
    assert [name for name, target in result["targets"].items() if not target["within"]] == missed


def test_score_without_target_is_open_but_incident_needs_report() -> None:
    ended = {"decision": "recovered", "exit_code": 0, "durations": {}}

    alone, told = (
        add_score(ended, None, runbook="x", edge="embedded", with_incident=with_it) for with_it in (False, True)
    )

    assert (alone["targets"], alone["within_target"], alone["exit_code"]) == ({}, None, 0)
    assert (told["within_target"], told["exit_code"]) == (False, 6)


def test_status_check_finds_wrong_live_version(world: World) -> None:
    environment = read_config(world.config)[0].environment("production")
    bad, good = world.release(timedelta(hours=1)), world.release(timedelta(minutes=10), deploy=False)
    assert status_check.find_status_differences(world.sandbox, environment, world.config) == ()

    world.sandbox.switches.deployments_lag_reads = 1
    client = httpx.Client(headers={"Authorization": f"Bearer {world.sandbox.token}"})
    body = {"strategy": "percentage", "versions": [{"version_id": good, "percentage": 100}]}
    with client:
        client.post(f"{world.sandbox.api_url}/accounts/{ACCOUNT}/workers/scripts/{WORKER}/deployments", json=body)
    (wrong,) = status_check.find_status_differences(world.sandbox, environment, world.config)

    assert bad in wrong.partition("not")[0]
    assert good in wrong.partition("not")[2]
    assert status_check.find_status_differences(world.sandbox, environment, world.config) == ()


def test_status_check_finds_missing_switch(world: World) -> None:
    """An expired switch is off. A switch that is on, but missing in KV's response, is reported."""
    environment = read_config(world.config)[0].environment("production")
    place, now = prepared(world), world.sandbox.clock.now()
    place.put("ai", state="groq", until=f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}")
    assert status_check.find_status_differences(world.sandbox, environment, world.config) == ()

    place.put("session-do", state="off")
    assert status_check.find_status_differences(world.sandbox, environment, world.config) == ()
    body = json.dumps({"success": True, "errors": [], "messages": [], "result": {"values": {}}})
    world.sandbox.fault(method="POST", path="/accounts/*/storage/kv/namespaces/*/bulk/get", body=body, times=None)

    assert status_check.find_status_differences(world.sandbox, environment, world.config) == (
        "that these switches are on: {}, not {'session-do': 'off'}",
    )
