"""Drop-in reader `ops-runtime.js`: each rule of docs/reference/runtime-contract.md."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.merge.examples.backend.conftest import Example, client, fits, limits_document, switch_document

CALC = {"limit": 3, "period": 60, "key": "ip", "probe": True}
FEATURE = {"normal": "on", "on_unknown": "careful"}
MAINTENANCE = {"normal": "off", "on_unknown": "off"}
Reader = Callable[..., Example]


@pytest.fixture
def new_reader(example: Example, url: str) -> Iterator[Reader]:
    """Return a factory of readers in a new isolate, without cached values."""
    clients = []

    def make(limits: Any = None, switches: Any = None) -> Example:
        number = example.arrange("readers", {"limits": limits or {}, "switches": switches or {}})
        clients.append(client(url, reader=str(number)))
        return Example(clients[-1], f"{number}/")

    yield make
    for each in clients:
        each.close()


def statuses(reader: Example, path: str, times: int, **headers: str) -> list[int]:
    return [reader.http.get(path, headers=headers).status_code for _ in range(times)]


def test_missing_values_fall_back_to_declarations(new_reader: Reader) -> None:
    reader = new_reader({"calc": CALC}, {"feature": FEATURE, "other": {"normal": "on"}})
    assert reader.runtime_state() == {
        "contract": 1,
        "worker": "2c8b7e91-5f0a-4a4e-9d0f-2f6f4f1f7a10",
        "limits": {"revision": None, "values": {"calc": {"limit": 3, "period": 60, "key": "ip"}}},
        "switches": {"feature": {"state": "careful", "revision": None}, "other": {"state": "on", "revision": None}},
        "drill": {"until": None},
    }
    assert reader.http.post("/__ops/runtime").status_code == 405


def test_kv_values_apply_and_only_public_fields_are_shown(new_reader: Reader) -> None:
    reader = new_reader({"calc": CALC}, {"feature": FEATURE})
    calc = {"limit": 5, "period": 30, "key": "user"}
    until = reader.moment(hours=1)
    limits = reader.limits(calc=calc, undeclared=calc, constructor=calc)
    state = reader.switch("feature", "off", until=until, message="back at noon", review_at=until)
    reader.switch("undeclared", "off")
    shown = reader.runtime_state()
    assert shown["limits"] == {"revision": limits, "values": {"calc": calc}}
    assert shown["switches"] == {"feature": {"state": "off", "revision": state, "until": until}}
    assert reader.http.get("/?state=feature").json() == {"state": "off", "message": "back at noon"}


def test_value_with_owners_is_read_as_before(new_reader: Reader) -> None:
    """The reader is the one of Backout 0.1.0, which knows no owners."""
    reader = new_reader(switches={"feature": FEATURE})
    owners = [{"incident": each, "by": "alice", "since": "2026-11-25T03:05:12Z"} for each in (42, 43)]
    document = switch_document("off", owners=owners)
    assert fits(document, "switch")
    reader.put({"ops/switch/feature": document})
    assert reader.runtime_state()["switches"] == {"feature": {"state": "off", "revision": document["revision"]}}


def _without(value: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: each for key, each in value.items() if key != name}


def _any(*values: Any) -> tuple[Any, ...]:
    return values


def _limits(**limit: Any) -> dict[str, Any]:
    """Return a limits document whose only limit has these fields changed."""
    return {"version": 1, "revision": "0123456789ab-01234567", "limits": {"calc": {**CALC, "limit": 9, **limit}}}


GOOD = _limits()
OFF = switch_document("off")
NO_JSON = ["", "{", "null", "7", "[]", '"text"', "[" * 100_000]
BAD_LIMITS = [
    *({**GOOD, "version": version} for version in (0, 2, "1", None, True)),
    *(_without(GOOD, name) for name in GOOD),
    *({**GOOD, "revision": revision} for revision in ("", "0123456789AB-01234567", "0123456789ab", 7)),
    *({**GOOD, "limits": limits} for limits in _any(None, [], {"Calc": CALC}, {"__proto__": CALC}, {"calc": None})),
    *({**GOOD, "limits": {"calc": _without(CALC, name)}} for name in ("limit", "period", "key")),
    *({**GOOD, "limits": {"calc": CALC, "other": other}} for other in _any([], 7, {})),
    *(_limits(limit=limit) for limit in (0, -1, 1.5, "9", None, True)),
    *(_limits(period=period) for period in (0, 0.5, "60")),
    *(_limits(**field) for field in ({"key": "all"}, {"key": None}, {"probe": "yes"}, {"temporary": None})),
    *(_limits(temporary=temporary) for temporary in _any([], {}, {"limit": 9}, {"limit": 0, "until": OFF["since"]})),
]
BAD_SWITCHES = [
    *({**OFF, "version": version} for version in (2, "1", None)),
    *(_without(OFF, name) for name in OFF),
    *({**OFF, name: value} for name in ("revision", "state", "message", "owner") for value in _any(None, 7, [])),
    *({**OFF, "state": state} for state in ("", "Off", "off ")),
    *({**OFF, "paths": paths} for paths in _any(None, "/api", ["api"], [None])),
    *({**OFF, "incident": incident} for incident in ("42", 1.5, True)),
    *({**OFF, name: value} for name in ("until", "review_at", "since") for value in _any(7, {})),
    {**OFF, "revision": ""},
]
NO_MOMENTS = ["", "tomorrow", "2026-11-25", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-25T24:00:00Z"]
NO_MOMENTS += ["2026-11-25T05:00:00", "2026-11-25 05:00:00Z", "+002026-11-25T05:00:00Z"]
"""JSON Schema does not check the format of these times."""


def test_invalid_test_values_violate_contract_schema() -> None:
    assert fits(GOOD, "limits")
    assert fits(OFF, "switch")
    assert [value for value in BAD_LIMITS if fits(value, "limits")] == []
    assert [value for value in BAD_SWITCHES if fits(value, "switch")] == []


def test_invalid_value_keeps_last_one_and_affects_no_other(new_reader: Reader) -> None:
    reader = new_reader({"calc": CALC}, {"feature": FEATURE})
    good = {"limit": 7, "period": 60, "key": "ip"}
    kept = {"revision": reader.limits(calc=good), "values": {"calc": good}}
    assert reader.runtime_state()["limits"] == kept
    for bad in [*NO_JSON, *BAD_LIMITS, *(_limits(temporary={"limit": 9, "until": no}) for no in NO_MOMENTS), None]:
        switch = switch_document("off")
        reader.put({"ops/limits": bad, "ops/switch/feature": switch})
        shown = reader.runtime_state()
        assert (shown["limits"], shown["switches"]["feature"]["revision"]) == (kept, switch["revision"]), bad

    off = {"state": "off", "revision": reader.switch("feature", "off")}
    assert reader.runtime_state()["switches"]["feature"] == off
    moments = [{**OFF, name: no} for name in ("until", "review_at", "since") for no in NO_MOMENTS]
    for bad in [*NO_JSON, *BAD_SWITCHES, *moments, None]:
        limits = limits_document({"calc": good})
        reader.put({"ops/limits": limits, "ops/switch/feature": bad})
        shown = reader.runtime_state()
        assert (shown["limits"]["revision"], shown["switches"]["feature"]) == (limits["revision"], off), bad


def test_limit_missing_in_newest_list_uses_declaration(new_reader: Reader) -> None:
    reader = new_reader({"calc": CALC})
    reader.limits(calc={**CALC, "limit": 9})
    assert reader.runtime_state()["limits"]["values"]["calc"]["limit"] == 9
    reader.limits()
    assert reader.runtime_state()["limits"]["values"]["calc"]["limit"] == 3


def test_failing_kv_keeps_last_values_and_fails_no_request(new_reader: Reader) -> None:
    reader, late = new_reader({"calc": CALC}, {"feature": FEATURE}), new_reader({}, {"feature": FEATURE})
    reader.switch("feature", "off")
    assert reader.http.get("/?state=feature").json()["state"] == "off"
    reader.kv("throws")
    reader.advance(seconds=1)
    assert reader.http.get("/?state=feature&limit=calc").json()["state"] == "off"
    assert late.http.get("/?state=feature").json()["state"] == "careful"
    assert late.http.get("/?state=feature", headers={"without": "OPS_RUNTIME"}).status_code == 200


def test_hanging_kv_does_not_block_and_late_value_applies(new_reader: Reader) -> None:
    reader = new_reader({}, {"feature": FEATURE})
    reader.put({"ops/switch/feature": switch_document("off")})
    reader.kv("hangs")
    assert reader.http.get("/?state=feature").json()["state"] == "careful"
    assert reader.kv(None, releases=True)["hanging"] == 1
    states = (reader.http.get("/?state=feature").json()["state"] for _ in range(2000))
    assert next(state for state in states if state != "careful") == "off"
    assert reader.kv(None)["reads"] == []


def test_late_response_does_not_replace_newer_read(new_reader: Reader) -> None:
    reader = new_reader({}, {"feature": FEATURE})
    reader.put({"ops/switch/feature": switch_document("off")})
    reader.kv("hangs")
    reader.http.get("/")
    reader.kv(None)
    reader.switch("feature", "on")
    assert reader.http.get("/?state=feature").json()["state"] == "on"
    reader.kv(None, releases=True)
    assert any(reader.kv(None)["hanging"] == 0 for _ in range(2000))
    assert reader.http.get("/?state=feature").json()["state"] == "on"


def test_keys_are_read_in_bulk_once_a_second(new_reader: Reader) -> None:
    names = [f"feature-{number}" for number in range(100)]
    reader = new_reader({"calc": CALC}, dict.fromkeys(names, FEATURE))
    reader.kv(None)
    with ThreadPoolExecutor(5) as pool:
        assert [each.status_code for each in pool.map(reader.http.get, ["/"] * 10)] == [200] * 10
    first, second = reader.kv(None)["reads"]
    assert [len(first), len(second)] == [100, 1]
    assert first + second == ["ops/limits", *(f"ops/switch/{name}" for name in names)]

    reader.advance(seconds=0.9)
    reader.http.get("/")
    reader.advance(seconds=0.1)
    reader.http.get("/")
    assert len(reader.kv(None)["reads"]) == 2


def test_value_expires_at_until_without_write(new_reader: Reader) -> None:
    reader = new_reader({"calc": CALC}, {"feature": FEATURE})
    until = reader.moment(minutes=10)
    limits = reader.limits(calc={**CALC, "temporary": {"limit": 20, "until": until}})
    state = reader.switch("feature", "off", until=until, message="soon")
    assert reader.runtime_state()["limits"]["values"]["calc"] == {
        "limit": 20,
        "period": 60,
        "key": "ip",
        "until": until,
    }
    reader.kv("throws")
    reader.advance(minutes=9)
    assert reader.runtime_state()["switches"]["feature"]["state"] == "off"
    reader.advance(minutes=1)
    assert reader.runtime_state()["limits"] == {
        "revision": limits,
        "values": {"calc": {"limit": 3, "period": 60, "key": "ip"}},
    }
    assert reader.runtime_state()["switches"] == {"feature": {"state": "on", "revision": state}}
    assert reader.http.get("/?state=feature").json() == {"state": "on", "message": ""}


def test_limit_counts_window_and_reports_remaining_requests(new_reader: Reader) -> None:
    reader = new_reader({"calc": CALC, "ai": {**CALC, "limit": 1, "key": "user"}})
    for left in (2, 1, 0):
        reader.advance(seconds=10)
        answer = reader.http.get("/?limit=calc")
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"calc";q=3;w=60'
        assert answer.headers["ratelimit"] == f'"calc";r={left};t={60 - 10 * (2 - left)}'
    refused = reader.http.get("/?limit=calc")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "40")
    assert refused.headers["ratelimit"] == '"calc";r=0;t=40'
    assert refused.json() == {"error": "too many requests; try again in 40 s"}

    reader.limits(calc={**CALC, "limit": 4})
    assert statuses(reader, "/?limit=calc", 2) == [200, 429]
    reader.advance(seconds=39)
    assert statuses(reader, "/?limit=calc", 5) == [200] * 4 + [429]


def test_limit_key_is_user_or_else_network(new_reader: Reader) -> None:
    reader = new_reader({"ai": {"limit": 1, "period": 60, "key": "user"}})
    long = "x" * 4000

    def asked(user: str, address: str) -> int:
        return statuses(reader, f"/?limit=ai&user={user}", 1, **{"cf-connecting-ip": address})[0]

    assert [asked("mia", "192.0.2.1"), asked("mia", "192.0.2.2"), asked("tom", "192.0.2.1")] == [200, 429, 200]
    assert [asked(f"{long}1", "192.0.2.1"), asked(f"{long}2", "192.0.2.1")] == [200, 200]
    assert [asked("", "192.0.2.1"), asked("", "192.0.2.1"), asked("192.0.2.1", "192.0.2.1")] == [200, 429, 200]
    assert [asked("", "2001:db8:0:1::1"), asked("", "2001:DB8:0:0001:ffff:0:0:9")] == [200, 429]
    assert [asked("", "2001:db8:0:2::1"), asked("", "2001:db8::1"), asked("", "2001:db8::2")] == [200, 200, 429]
    assert [asked("", "::ffff:192.0.2.7"), asked("", "::ffff:192.0.2.8"), asked("", "192.0.2.7")] == [200, 200, 429]


def test_bucket_survives_eviction_and_is_deleted_after_window(
    example: Example,
) -> None:
    assert [example.arrange("bucket", "forget")["left"] for _ in range(3)] == [2, 1, 0]
    assert example.arrange("bucket", "forget") == {"allowed": False, "left": 0, "seconds": 60}
    example.advance(seconds=59)
    assert example.arrange("bucket", "alarm") == ["window"]
    example.advance(seconds=1)
    assert example.arrange("bucket", "alarm") == []
    assert example.arrange("bucket", "forget")["left"] == 2


def test_uncounted_request_passes_without_ratelimit_header(new_reader: Reader) -> None:
    reader = new_reader({"calc": {**CALC, "limit": 1}})
    for path in ("/?limit=calc", "/?limit=undeclared", "/__ops/limits/calc"):
        for _ in range(2):
            headers = {"without": "" if "undeclared" in path else "OPS_LIMITS", "ops-probe": "nonce-12"}
            answer = reader.http.get(path, headers=headers)
            assert answer.is_success
            assert "ratelimit" not in answer.headers


def test_probe_uses_real_limit_in_own_bucket(new_reader: Reader) -> None:
    reader = new_reader({"calc": CALC, "ai": {**CALC, "probe": False}, "none": {"limit": 1, "period": 60, "key": "ip"}})
    reader.limits(calc={**CALC, "limit": 5}, ai={**CALC, "probe": False})
    probed = [reader.http.get("/__ops/limits/calc", headers={"ops-probe": "nonce-12"}) for _ in range(7)]
    assert [answer.status_code for answer in probed] == [204] * 5 + [429] * 2
    assert probed[0].headers["ratelimit-policy"] == '"calc";q=5;w=60'
    assert "retry-after" in probed[6].headers
    assert reader.http.get("/?limit=calc").headers["ratelimit"] == '"calc";r=4;t=60'

    for name in ("ai", "none", "undeclared", "constructor", ""):
        assert statuses(reader, f"/__ops/limits/{name}", 1, **{"ops-probe": "nonce-12"}) == [404]
    for nonce in ("", "short-1", "x" * 65, "not allowed!"):
        assert statuses(reader, "/__ops/limits/calc", 1, **{"ops-probe": nonce}) == [400]
    assert reader.http.post("/__ops/limits/calc", headers={"ops-probe": "nonce-12"}).status_code == 405


def test_probes_create_at_most_16_buckets(new_reader: Reader) -> None:
    reader = new_reader({"calc": {**CALC, "limit": 1}})
    passed = sum(
        reader.http.get("/__ops/limits/calc", headers={"ops-probe": f"nonce-{number:03}"}).status_code == 204
        for number in range(120)
    )
    assert 8 < passed <= 16


def test_maintenance_closes_all_but_health_and_ops_paths(new_reader: Reader) -> None:
    reader = new_reader({"calc": CALC}, {"maintenance": MAINTENANCE})
    reader.switch("maintenance", "on", message="back at noon", until=reader.moment(minutes=5, seconds=1))
    for path in ("/", "/api/charts", "/healthy", "/x/health", "/__op", "//__ops/runtime"):
        answer = reader.http.post(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (503, "no-store")
        assert answer.json() == {"error": "maintenance", "message": "back at noon"}
        assert (answer.headers["retry-after"], answer.headers["ops-maintenance"]) == ("300", "switch")
    assert [statuses(reader, path, 1) for path in ("/health", "/health/auth", "/__ops/objects/x")] == [[200]] * 3
    assert reader.runtime_state()["switches"]["maintenance"]["state"] == "on"

    reader.switch("maintenance", "on", paths=["/api/ai", "/api/b c"])
    closed = ["/api/ai", "/api/ai/x", "/api/aix", "/api/%61i", "/x/../api/ai?q=1", "/api/b%20c"]
    assert [statuses(reader, path, 1) for path in closed] == [[503]] * 6
    assert reader.http.get("/api/ai").headers["retry-after"] == "600"
    assert [statuses(reader, path, 1) for path in ("/", "/api/a", "/api", "/x/api/ai", "/%")] == [[200]] * 5


def test_undeclared_maintenance_has_no_effect(new_reader: Reader) -> None:
    reader = new_reader({"calc": CALC})
    reader.put({"ops/switch/maintenance": switch_document("on")})
    assert statuses(reader, "/", 1) == [200]


@pytest.mark.parametrize(("hours", "status"), [(1, 503), (-1, 200)])
def test_variable_of_a_drill_lets_the_health_path_fail_until_its_time(
    example: Example, hours: int, status: int
) -> None:
    until = example.moment(hours=hours)
    health = example.http.get("/health", headers={"drill": until})
    other = example.http.get("/api/charts/calculate?date=1990-05-17&time=08:30", headers={"drill": until})
    shown = example.http.get("/__ops/runtime", headers={"drill": until}).json()

    assert (health.status_code, other.status_code) == (status, 200)
    assert shown["drill"] == {"until": until if status == 503 else None}
