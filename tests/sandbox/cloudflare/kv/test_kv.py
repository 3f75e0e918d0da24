"""KV in the sandbox's API, and its eventual consistency per location."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import Answer, Api
from tests.support.wrangler import run_wrangler

KEY = "ops/switch/a b"


@pytest.fixture
def namespace(sandbox: Sandbox) -> str:
    """Return a namespace whose API shows writes at once."""
    sandbox.switches.kv_api_staleness_seconds = 0
    return sandbox.kv.add("runtime")


def _kv(api: Api, method: str, path: str, **options: Any) -> Answer:
    return api(method, f"/accounts/{api.sandbox.account_id}/storage/kv/namespaces{path}", **options)


def _value(api: Api, method: str, namespace: str, key: str = KEY, **options: Any) -> Answer:
    return _kv(api, method, f"/{namespace}/values/{quote(key, safe='')}", **options)


def test_value_is_bytes_and_key_may_contain_slashes(api: Api, namespace: str) -> None:
    assert _value(api, "PUT", namespace, content=b"\0\xff").status == 200
    assert _value(api, "GET", namespace).response.content == b"\0\xff"
    assert list(api.sandbox.kv.namespaces[namespace].entries) == [KEY]
    api.sandbox.clock.advance(1)
    assert _value(api, "DELETE", namespace).status == 200
    assert _value(api, "GET", namespace).error == (404, 10009)


def test_value_has_metadata_and_expiration(api: Api, namespace: str) -> None:
    form = {"value": (None, "text"), "metadata": (None, '{"by": "alice"}')}
    assert _value(api, "PUT", namespace, params={"expiration_ttl": 60}, files=form).status == 200
    until = int(api.sandbox.clock.now().timestamp()) + 60
    assert _value(api, "GET", namespace).response.headers["expiration"] == str(until)
    assert _kv(api, "GET", f"/{namespace}/metadata/{quote(KEY, safe='')}").result == {"by": "alice"}
    asked = {"keys": [KEY], "withMetadata": True}
    shown = {"value": "text", "metadata": {"by": "alice"}, "expiration": until}
    assert _kv(api, "POST", f"/{namespace}/bulk/get", json=asked).result == {"values": {KEY: shown}}
    api.sandbox.clock.advance(60)
    assert _value(api, "GET", namespace).error == (404, 10009)
    assert _kv(api, "GET", f"/{namespace}/keys").result == []


@pytest.mark.parametrize(
    ("status", "key", "options"),
    [
        (400, "k", {"params": {"expiration_ttl": 59}}),
        (400, "k", {"params": {"expiration": 1}}),
        (400, "k", {"params": {"expiration_ttl": "soon"}}),
        (400, "k", {"files": {"other": (None, "text")}}),
        (413, "k", {"files": {"value": (None, "text"), "metadata": (None, f'"{"x" * 1023}"')}}),
        (414, "ä" * 256 + "x", {"content": b"text"}),
    ],
    ids=["too short", "past", "no number", "no value", "long metadata", "long key"],
)
def test_invalid_write_is_refused(api: Api, namespace: str, status: int, key: str, options: dict[str, Any]) -> None:
    assert _value(api, "PUT", namespace, key, **options).status == status
    assert api.sandbox.kv.namespaces[namespace].entries == {}


@pytest.mark.slow
def test_value_over_25_mib_is_refused(api: Api, namespace: str) -> None:
    assert _value(api, "PUT", namespace, content=bytes(25 * 2**20 + 1)).status == 413


def test_key_accepts_one_write_a_second(api: Api, namespace: str) -> None:
    _value(api, "PUT", namespace, content=b"1")
    assert _value(api, "PUT", namespace, content=b"2").status == 429
    assert _value(api, "DELETE", namespace).status == 429
    pairs = [{"key": KEY, "value": "3"}, {"key": "other", "value": "3"}]
    put = _kv(api, "PUT", f"/{namespace}/bulk", json=pairs).result
    assert put == {"successful_key_count": 1, "unsuccessful_keys": [KEY]}
    assert [api.sandbox.kv.get(namespace, key) for key in (KEY, "other")] == ["1", "3"]
    api.sandbox.switches.kv_writes_per_key_limited = False
    assert _value(api, "PUT", namespace, content=b"4").status == 200


def test_bulk_write_read_and_delete(api: Api, namespace: str) -> None:
    pairs = [{"key": "text", "value": "a"}, {"key": "bytes", "value": "AP8=", "base64": True}]
    pairs.append({"key": "json", "value": "[1]", "metadata": 1, "expiration_ttl": 60})
    _kv(api, "PUT", f"/{namespace}/bulk", json=pairs)
    assert _value(api, "GET", namespace, "bytes").response.content == b"\0\xff"
    read = _kv(api, "POST", f"/{namespace}/bulk/get", json={"keys": ["text", "json", "none"]}).result
    assert read == {"values": {"text": "a", "json": "[1]", "none": None}}
    read = _kv(api, "POST", f"/{namespace}/bulk/get", json={"keys": ["json"], "type": "json"}).result
    assert read == {"values": {"json": [1]}}
    assert _kv(api, "POST", f"/{namespace}/bulk/get", json={"keys": ["k"] * 101}).status == 400
    api.sandbox.clock.advance(1)
    gone = _kv(api, "POST", f"/{namespace}/bulk/delete", json=["text", "json", "none"]).result
    assert gone == {"successful_key_count": 3, "unsuccessful_keys": []}
    assert [key["name"] for key in _kv(api, "GET", f"/{namespace}/keys").result] == ["bytes"]


def test_keys_are_paged_and_filtered_by_prefix(api: Api, namespace: str) -> None:
    for number in range(25):
        api.sandbox.kv.put(namespace, f"k/{number:02}", "")
    api.sandbox.kv.put(namespace, "other", "")
    query: dict[str, Any] = {"prefix": "k/", "limit": 10}
    names: list[list[str]] = []
    while True:
        answer = _kv(api, "GET", f"/{namespace}/keys", params=query)
        names.append([key["name"] for key in answer.result])
        query["cursor"] = answer.response.json()["result_info"]["cursor"]
        if not query["cursor"]:
            break
    assert [len(page) for page in names] == [10, 10, 5]
    assert [name for page in names for name in page] == [f"k/{number:02}" for number in range(25)]
    assert _kv(api, "GET", f"/{namespace}/keys", params={"limit": 9}).status == 400


def test_namespaces_are_unique_and_listed(api: Api) -> None:
    made = _kv(api, "POST", "", json={"title": "one"}).result
    assert _kv(api, "POST", "", json={"title": "one"}).error == (400, 10014)
    assert _kv(api, "GET", "").result == [{"id": made["id"], "title": "one", "supports_url_encoding": True}]
    assert api.sandbox.kv.add("c0ffee00" * 4) == "c0ffee00" * 4


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "values/k"), ("PUT", "values/k"), ("GET", "keys"), ("POST", "bulk/get")]
)
def test_missing_namespace_returns_404(api: Api, method: str, path: str) -> None:
    assert _kv(api, method, f"/{'0' * 32}/{path}").error == (404, 10013)


def test_read_and_write_need_separate_permissions(api: Api, namespace: str) -> None:
    reading = api.sandbox.add_token("reading", {"Workers KV Storage Read"})
    other = api.sandbox.add_token("other", {"Workers Scripts Write"})
    asked = {"json": {"keys": ["k"]}}
    assert _kv(api, "POST", f"/{namespace}/bulk/get", token=reading, **asked).status == 200
    assert _kv(api, "POST", f"/{namespace}/bulk/get", token=other, **asked).error == (403, 10000)
    assert _value(api, "PUT", namespace, token=reading, content=b"1").error == (403, 10000)
    _value(api, "PUT", namespace, content=b"1")
    (entry,) = api.sandbox.audit
    assert (entry.method, entry.product, entry.type, entry.status) == ("PUT", "storage", "values", 200)


def test_api_shows_writes_with_delay_in_order(api: Api, namespace: str) -> None:
    api.sandbox.switches.kv_api_staleness_seconds = 20

    def read() -> tuple[Any, list[str]]:
        values = _kv(api, "POST", f"/{namespace}/bulk/get", json={"keys": [KEY]}).result["values"]
        return values[KEY], [key["name"] for key in _kv(api, "GET", f"/{namespace}/keys").result]

    _value(api, "PUT", namespace, content=b"1")
    api.sandbox.clock.advance(2)
    _value(api, "DELETE", namespace)
    assert read() == (None, [])
    api.sandbox.clock.advance(18)
    assert read() == ("1", [KEY])
    assert _value(api, "GET", namespace).response.content == b"1"
    api.sandbox.clock.advance(2)
    assert read() == (None, [])
    api.sandbox.kv.put(namespace, KEY, "from Python")
    assert read() == ("from Python", [KEY])


def test_location_caches_value_or_absence_for_a_minute(sandbox: Sandbox, namespace: str) -> None:
    def seen(location: str, key: str) -> str | None:
        entry = sandbox.kv.entry_seen_at(location, namespace, key)
        return None if entry is None else entry.value.decode()

    sandbox.kv.put(namespace, "there", "old")
    assert [seen("here", "there"), seen("here", "absent")] == ["old", None]
    sandbox.kv.put(namespace, "there", "new")
    sandbox.kv.put(namespace, "absent", "new")
    assert [seen("elsewhere", "there"), sandbox.kv.get(namespace, "there")] == ["new", "new"]
    sandbox.clock.advance(59)
    assert [seen("here", "there"), seen("here", "absent")] == ["old", None]
    sandbox.clock.advance(1)
    assert [seen("here", "there"), seen("here", "absent")] == ["new", "new"]


@pytest.mark.slow
def test_real_wrangler_reads_and_writes(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.switches.kv_api_staleness_seconds = 0

    def kv(*arguments: str) -> str:
        return run_wrangler(sandbox, tmp_path, "kv", *arguments, home=tmp_path)

    sandbox.switches.kv_api_staleness_seconds = 0
    kv("namespace", "create", "runtime")
    (namespace,) = sandbox.kv.namespaces
    assert namespace in kv("namespace", "list")
    where = ["--namespace-id", namespace, "--remote"]
    kv("key", "put", KEY, "on", *where, "--ttl", "60", "--metadata", '{"by": "alice"}')
    assert kv("key", "get", KEY, *where) == "on"
    assert KEY in kv("key", "list", *where)
    sandbox.clock.advance(1)
    kv("key", "delete", KEY, *where)
    assert sandbox.kv.get(namespace, KEY) is None
    assert sandbox.unknown_requests == []
