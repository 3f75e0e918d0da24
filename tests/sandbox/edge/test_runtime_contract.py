"""Runtime contract on the embedded edge, validated with its schema."""

import copy
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx
import jsonschema
import pytest

from sandbox import Sandbox
from sandbox.edge.runtime_contract import is_limits, is_switch
from tests.conftest import ROOT
from tests.sandbox.conftest import WORKER

SCHEMA = json.loads((ROOT / "docs" / "reference" / "runtime-contract.schema.json").read_text())
NAMESPACE = "c0ffee00c0ffee00c0ffee00c0ffee00"
CALC = "/api/charts/calculate"
DECLARED: dict[str, Any] = {
    "limits": {
        "calc": {"limit": 2, "period": 60, "key": "ip"},
        "ai": {"limit": 1, "period": 60, "key": "user"},
    },
    "switches": {
        "maintenance": {"normal": "off", "on_unknown": "off"},
        "session-do": {"normal": "on", "on_unknown": "off"},
        "ai": {"normal": "auto", "on_unknown": "auto"},
    },
    "ai": {"order": ["iflow", "groq", "cerebras"]},
}
LIMITS: dict[str, Any] = {
    "version": 1,
    "revision": "3f9c2ab41d07-9c0ffee1",
    "limits": {
        "calc": {"limit": 3, "period": 10, "key": "ip", "probe": True},
        "ai": {"limit": 1, "period": 60, "key": "user", "temporary": {"limit": 2, "until": "2026-11-25T06:00:00Z"}},
        "unknown": {"limit": 1, "period": 1, "key": "ip"},
    },
}
SWITCH: dict[str, Any] = {
    "version": 1,
    "revision": "5d41402abc4b",
    "state": "off",
    "until": None,
    "review_at": None,
    "message": "",
    "paths": [],
    "owner": "alice",
    "incident": 42,
    "since": "2026-11-25T03:05:12Z",
}


@pytest.fixture
def edge(sandbox: Sandbox, edge: httpx.Client) -> httpx.Client:
    """Return a client of a Worker that follows the contract, at a location without a KV cache."""
    sandbox.switches.kv_staleness_seconds = 0
    sandbox.kv.add(NAMESPACE)
    _deploy(sandbox)
    return edge


def _deploy(sandbox: Sandbox, **behaviour: Any) -> str:
    bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": NAMESPACE}]
    version = sandbox.upload(WORKER, bindings=bound, behaviour={"runtime": DECLARED, **behaviour})
    sandbox.deploy(WORKER, version)
    sandbox.clock.advance(1)
    return version


def _put_limits(sandbox: Sandbox, **limits: Any) -> None:
    sandbox.kv.put(NAMESPACE, "ops/limits", json.dumps(LIMITS | {"limits": LIMITS["limits"] | limits}))


def _put_switch(sandbox: Sandbox, name: str, **fields: Any) -> None:
    sandbox.kv.put(NAMESPACE, f"ops/switch/{name}", json.dumps(SWITCH | fields))


def _runtime_state(edge: httpx.Client, **headers: str) -> Any:
    response = edge.get("/__ops/runtime", headers=headers)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    shown = response.json()
    jsonschema.validate(shown, SCHEMA)
    return shown


def _time_in(sandbox: Sandbox, **time: float) -> str:
    return (sandbox.clock.now() + timedelta(**time)).isoformat().replace("+00:00", "Z")


def test_declarations_apply_before_first_write(sandbox: Sandbox, edge: httpx.Client) -> None:
    assert _runtime_state(edge) == {
        "contract": 1,
        "worker": sandbox.latest(WORKER),
        "limits": {"revision": None, "values": DECLARED["limits"]},
        "switches": {
            "maintenance": {"state": "off", "revision": None},
            "session-do": {"state": "off", "revision": None},
            "ai": {"state": "auto", "revision": None},
        },
        "ai": {"seconds": 300, "order": ["iflow", "groq", "cerebras"], "outcomes": {}},
    }


def test_written_values_apply_to_declared_names(sandbox: Sandbox, edge: httpx.Client) -> None:
    until = _time_in(sandbox, hours=1)
    _put_limits(sandbox, ai={**LIMITS["limits"]["ai"], "temporary": {"limit": 2, "until": until}})
    _put_switch(sandbox, "session-do", until=until)
    _put_switch(sandbox, "ai", state="groq")
    _put_switch(sandbox, "unknown")
    sandbox.set_outcomes(WORKER, {"iflow": {"ok": 0, "failed": 7}})
    shown = _runtime_state(edge)
    calc: dict[str, Any] = {"limit": 3, "period": 10, "key": "ip"}
    values = {"calc": calc, "ai": {"limit": 2, "period": 60, "key": "user", "until": until}}
    assert shown["limits"] == {"revision": LIMITS["revision"], "values": values}
    assert shown["switches"]["session-do"] == {"state": "off", "revision": "5d41402abc4b", "until": until}
    assert shown["switches"].keys() == DECLARED["switches"].keys()
    outcomes = {"iflow": {"ok": 0, "failed": 7}}
    assert shown["ai"] == {"seconds": 300, "order": ["groq", "iflow", "cerebras"], "outcomes": outcomes}

    sandbox.clock.advance(3600)
    shown = _runtime_state(edge)
    assert shown["limits"]["values"]["ai"] == {"limit": 1, "period": 60, "key": "user"}
    assert shown["switches"]["session-do"] == {"state": "on", "revision": "5d41402abc4b"}


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("bad", ["{", "[]", '{"version": 2}', None], ids=["no JSON", "no object", "version", "gone"])
def test_invalid_value_keeps_last_one_and_affects_no_other(
    sandbox: Sandbox, edge: httpx.Client, bad: str | None
) -> None:
    _put_limits(sandbox)
    _put_switch(sandbox, "session-do", state="on")
    before = _runtime_state(edge)
    for key in ("ops/limits", "ops/switch/session-do"):
        sandbox.kv.delete(NAMESPACE, key) if bad is None else sandbox.kv.put(NAMESPACE, key, bad)
    _put_switch(sandbox, "ai", state="cerebras")
    after = _runtime_state(edge)
    assert after["limits"] == before["limits"]
    assert after["switches"] == before["switches"] | {"ai": {"state": "cerebras", "revision": "5d41402abc4b"}}

    new = _deploy(sandbox)  # without cached values
    assert _runtime_state(edge)["limits"]["revision"] is None
    assert _runtime_state(edge)["worker"] == new


def _variants(value: Mapping[str, Any]) -> list[Any]:
    """Return variants of the value: without each field, and with other values in each."""
    others: list[Any] = [None, True, 0, 1, 2, -1, 1.5, "", "text", "No-Name", "/", [], ["/a"], ["a"], [1], {}, {"a": 1}]
    others += ["3f9c2ab41d07-9c0ffee1", {"calc": {"limit": 1, "period": 1, "key": "ip", "probe": "yes"}}]
    others += [
        {"calc": {"limit": 1, "period": 1, "key": "ip", "temporary": {"limit": 1}}},
        {"No": LIMITS["limits"]["calc"]},
    ]
    found = [{name: field for name, field in value.items() if name != without} for without in value]
    return found + [{**copy.deepcopy(value), name: other} for name in value for other in others]


@pytest.mark.parametrize("kind", ["limits", "switch"])
def test_value_is_valid_if_schema_accepts_it(kind: str) -> None:
    value, fits = (LIMITS, is_limits) if kind == "limits" else (SWITCH, is_switch)
    validator = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]})
    moments = ("until", "review_at", "since")  # jsonschema does not check formats by default
    tried = [
        each
        for each in [value, *_variants(value), 1, None, []]
        if not isinstance(each, dict) or all(each.get(name) == value[name] for name in moments if name in value)
    ]
    assert [fits(each) for each in tried] == [validator.is_valid(each) for each in tried]


@pytest.mark.parametrize("moment", ["tomorrow", "2026-11-25", "2026-11-25T05:00:00", "2026-13-25T05:00:00Z", 5])
def test_time_must_exist_and_have_zone(moment: Any) -> None:
    assert is_switch(SWITCH | {"until": "2026-11-25T05:00:00Z"})
    assert not is_switch(SWITCH | {"until": moment})


def test_limit_counts_windows_per_address_across_versions(sandbox: Sandbox, edge: httpx.Client) -> None:
    _put_limits(sandbox)
    sandbox.clock.advance(10 - sandbox.clock.now().timestamp() % 10)
    first = edge.get(CALC)
    assert first.headers["ratelimit-policy"] == '"calc";q=3;w=10'
    assert first.headers["ratelimit"] == '"calc";r=2;t=10'
    _deploy(sandbox)
    answers = [edge.get(CALC) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].headers["ratelimit"] == '"calc";r=0;t=9'
    assert answers[-1].headers["retry-after"] == "9"
    assert edge.get(CALC, headers={"cf-connecting-ip": "203.0.113.9"}).status_code == 200
    assert "ratelimit" not in edge.get("/health").headers
    sandbox.clock.advance(9)
    assert edge.get(CALC).status_code == 200


def test_limit_counts_by_user_or_else_address(edge: httpx.Client) -> None:
    asked = [edge.get("/api/charts/interpret", headers=headers) for headers in ({}, {}, {"authorization": "Bearer a"})]
    assert [answer.status_code for answer in asked] == [404, 429, 404]


@pytest.mark.slow
def test_limit_probe_uses_16_own_buckets_if_enabled(sandbox: Sandbox, edge: httpx.Client) -> None:
    path, mark = "/__ops/limits/calc", {"ops-probe": "a-drill-0001"}
    assert edge.get(path, headers=mark).status_code == 404
    _put_limits(sandbox)
    assert [edge.get(path, headers=mark).status_code for _ in range(4)] == [204, 204, 204, 429]
    assert edge.get(CALC).status_code == 200
    assert [edge.get(f"/__ops/limits/{name}", headers=mark).status_code for name in ("ai", "none")] == [404, 404]
    assert [edge.get(path, headers={"ops-probe": bad}).status_code for bad in ("short", "not a mark!")] == [400, 400]
    tries = [edge.get(path, headers={"ops-probe": f"a-drill-{n:04}"}).status_code for n in range(200)]
    assert tries.count(204) <= 15 * 3


def test_maintenance_closes_all_but_health_and_ops_paths(sandbox: Sandbox, edge: httpx.Client) -> None:
    _put_switch(sandbox, "maintenance", state="on", message="back at six", until=_time_in(sandbox, minutes=5))
    closed = edge.get(CALC)
    assert (closed.status_code, closed.json()) == (503, {"error": "back at six"})
    assert (closed.headers["retry-after"], closed.headers["ops-maintenance"]) == ("300", "switch")
    assert [edge.get(path).status_code for path in ("/health", "/health/auth", "/healthy")] == [200, 200, 503]
    assert _runtime_state(edge)["switches"]["maintenance"]["state"] == "on"
    sandbox.clock.advance(300)
    assert edge.get(CALC).status_code == 200


def test_maintenance_can_close_single_paths(sandbox: Sandbox, edge: httpx.Client) -> None:
    _put_switch(sandbox, "maintenance", state="on", paths=["/api/charts"])
    assert [edge.get(path).status_code for path in (CALC, "/api/ai")] == [503, 404]


def test_ai_switch_off_returns_its_message(sandbox: Sandbox, edge: httpx.Client) -> None:
    _put_switch(sandbox, "ai", message="no interpretations today")
    off = edge.post("/api/charts/interpret")
    assert (off.status_code, off.json()) == (503, {"error": "no interpretations today"})
    assert _runtime_state(edge)["ai"]["order"] == []


def test_feature_responds_by_its_switch_state(sandbox: Sandbox, edge: httpx.Client) -> None:
    told = {"off": {"path": "/api/session", "status": 200, "body": {"checked": "signature"}}}
    _deploy(sandbox, switched={"session-do": told}, paths={"/api/session": {"status": 500}})
    assert edge.get("/api/session").json() == {"checked": "signature"}
    _put_switch(sandbox, "session-do", state="on")
    assert edge.get("/api/session").status_code == 500


def test_location_shows_stale_value_until_expiry(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.switches.kv_staleness_seconds = 60
    assert _runtime_state(edge)["limits"]["revision"] is None
    _put_limits(sandbox)
    assert _runtime_state(edge)["limits"]["revision"] is None
    assert _runtime_state(edge, **{"sandbox-location": "elsewhere"})["limits"]["revision"] == LIMITS["revision"]
    sandbox.clock.advance(60)
    assert _runtime_state(edge)["limits"]["revision"] == LIMITS["revision"]


def test_contract_requires_binding_and_behaviour(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.deploy(WORKER, sandbox.upload(WORKER, behaviour={"runtime": DECLARED}))
    sandbox.clock.advance(1)
    assert edge.get("/__ops/runtime").status_code == 404


@pytest.mark.parametrize(("hours", "status"), [(1, 503), (-1, 200)])
def test_variable_of_a_drill_lets_the_health_path_fail_until_its_time(
    sandbox: Sandbox, edge: httpx.Client, hours: int, status: int
) -> None:
    until = _time_in(sandbox, hours=hours)
    bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": NAMESPACE}]
    behaviour = {"runtime": {**DECLARED, "drill": True}}
    version = sandbox.upload(WORKER, bindings=bound, behaviour=behaviour, vars={"OPS_DRILL_UNTIL": until})
    sandbox.deploy(WORKER, version)
    sandbox.clock.advance(1)

    assert (edge.get("/health").status_code, edge.get(CALC).status_code) == (status, 200)
    assert _runtime_state(edge)["drill"] == {"until": until if status == 503 else None}
