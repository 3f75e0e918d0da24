"""Routes, custom domains and workers.dev, and their effect at the edge."""

from typing import Any

import httpx
import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import WORKER, Api

ZONE = "fortunet.example"


@pytest.fixture
def zone(sandbox: Sandbox) -> str:
    """Return a zone with two Workers, each of which responds with its name."""
    sandbox.switches.propagation_seconds = 0
    for name in (WORKER, "maintenance"):
        sandbox.deploy(name, sandbox.upload(name, behaviour={"body": name}))
    return sandbox.zones.add(ZONE)


@pytest.fixture
def routes(api: Api, zone: str) -> Any:
    token = api.sandbox.add_token("routes", ["Workers Routes Write", "Zone Read"])

    def call(method: str, path: str = "", **options: Any) -> Any:
        return api(method, f"/zones/{zone}/workers/routes{path}", token=token, **options)

    return call


def _body_at(edge: httpx.Client, host: str, path: str = "/") -> str:
    return edge.get(path, headers={"host": host}).text


def test_zone_is_found_by_name(api: Api, zone: str) -> None:
    token = api.sandbox.add_token("zones", ["Zone Read"])
    api.sandbox.zones.add("other.example")
    (found,) = api.get("/zones", params={"name": ZONE}, token=token).result
    assert (found["id"], found["account"]["id"]) == (zone, api.sandbox.account_id)
    assert api.get(f"/zones/{zone}", token=token).result == found
    assert len(api.get("/zones", params={"per_page": 1, "page": 2}, token=token).result) == 1
    assert api.get("/zones").error == (403, 10000)


def test_route_is_created_changed_and_deleted(routes: Any, edge: httpx.Client) -> None:
    made = routes("POST", json={"pattern": f"api.{ZONE}/*", "script": WORKER}).result
    assert _body_at(edge, f"api.{ZONE}") == WORKER
    changed = routes("PUT", f"/{made['id']}", json={"pattern": f"api.{ZONE}/*", "script": "maintenance"}).result
    assert routes("GET").result == [changed]
    assert _body_at(edge, f"api.{ZONE}") == "maintenance"
    assert routes("DELETE", f"/{made['id']}").result == {"id": made["id"]}
    assert routes("DELETE", f"/{made['id']}").status == 404
    assert edge.get("/", headers={"host": f"api.{ZONE}"}).status_code == 522


@pytest.mark.parametrize(
    ("patterns", "url", "served"),
    [
        ([f"{ZONE}/*", f"{ZONE}/pay*"], f"{ZONE}/pay/1?x=2", 1),
        ([f"{ZONE}/*", f"{ZONE}/pay*"], f"{ZONE}/play", 0),
        ([f"*.{ZONE}/a", f"a.{ZONE}/*"], f"a.{ZONE}/a", 1),
        ([f"{ZONE}/images/*", f"{ZONE}/images*"], f"{ZONE}/images/hello", 1),
        ([f"*{ZONE}/*", f"www.{ZONE}/*"], f"www.{ZONE}/", 1),
        ([f"*{ZONE}/*", f"www.{ZONE}/*"], f"{ZONE}/", 0),
        ([f"https://{ZONE}/*", f"{ZONE}/a"], f"{ZONE}/a", 1),
        ([f"{ZONE}/*", f"{ZONE}/a"], f"{ZONE}/a?query", 0),
    ],
)
def test_most_specific_route_wins(routes: Any, edge: httpx.Client, patterns: list[str], url: str, served: int) -> None:
    scripts = [WORKER, "maintenance"]
    for pattern, script in zip(patterns, scripts, strict=True):
        assert routes("POST", json={"pattern": pattern, "script": script}).status == 200
    host, _, path = url.partition("/")
    assert _body_at(edge, host, f"/{path}") == scripts[served]


@pytest.mark.parametrize(
    ("target", "raw"),
    [
        ("/p%61y", WORKER),
        ("/x/../pay?q=%61", WORKER),
        ("/./pay", WORKER),
        ("/%2e/pay", WORKER),
        ("/x\\..\\pay", WORKER),
        ("//pay", "maintenance"),
    ],
)
def test_urls_are_normalized_before_route_matching(
    sandbox: Sandbox, routes: Any, edge: httpx.Client, target: str, raw: str
) -> None:
    for pattern, script in ((f"{ZONE}/*", WORKER), (f"{ZONE}/pay*", "maintenance")):
        routes("POST", json={"pattern": pattern, "script": script})

    def served() -> str:
        sent = edge.build_request("GET", "/", headers={"host": ZONE})
        sent.extensions["target"] = target.encode()
        return edge.send(sent).text

    assert served() == "maintenance"
    sandbox.switches.urls_normalized = False
    assert served() == raw


@pytest.mark.parametrize("target", ["/P%41Y", "/x%2Fpay", "/%70", "/pa", "/pay/.."])
def test_distinct_paths_are_not_normalized_to_route(
    routes: Any, edge: httpx.Client, sandbox: Sandbox, target: str
) -> None:
    for pattern, script in ((f"{ZONE}/*", WORKER), (f"{ZONE}/pay*", "maintenance")):
        routes("POST", json={"pattern": pattern, "script": script})
    sent = edge.build_request("GET", "/", headers={"host": ZONE})
    sent.extensions["target"] = target.encode()

    assert edge.send(sent).text == WORKER


def test_route_without_script_excludes_path(routes: Any, edge: httpx.Client) -> None:
    routes("POST", json={"pattern": f"{ZONE}/*", "script": WORKER})
    routes("POST", json={"pattern": f"{ZONE}/static/*"})
    assert _body_at(edge, ZONE, "/static/x") == "error code: 522"
    assert _body_at(edge, ZONE, "/x") == WORKER


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"pattern": "elsewhere.example/*"}, (400, 10022)),
        ({"pattern": f"a*.{ZONE}/*"}, (400, 10022)),
        ({"pattern": f"{ZONE}/*.jpg"}, (400, 10022)),
        ({"pattern": f"{ZONE}/?q=*"}, (400, 10022)),
        ({"pattern": f"{ZONE}/*", "script": "none"}, (404, 10007)),
        ({"pattern": f"taken.{ZONE}/*"}, (409, 10020)),
        ({"pattern": f"{ZONE}/*", "more": 1}, (400, 10026)),
        ({}, (400, 10026)),
    ],
)
def test_invalid_route_is_refused(routes: Any, body: dict[str, Any], error: tuple[int, int]) -> None:
    routes("POST", json={"pattern": f"taken.{ZONE}/*"})
    assert routes("POST", json=body).error == error
    assert len(routes("GET").result) == 1


def test_script_routes_are_replaced(api: Api, routes: Any) -> None:
    routes("POST", json={"pattern": f"old.{ZONE}/*", "script": WORKER})
    routes("POST", json={"pattern": f"taken.{ZONE}/*", "script": "maintenance"})
    wanted = [{"pattern": f"new.{ZONE}/*", "zone_name": ZONE}]
    assert api.script("PUT", "routes", json=wanted, token="routes").result == [f"new.{ZONE}/*"]
    assert [route["pattern"] for route in routes("GET").result] == [f"taken.{ZONE}/*", f"new.{ZONE}/*"]
    taken = [{"pattern": f"taken.{ZONE}/*"}]
    assert api.script("PUT", "routes", json=taken, token="routes").error == (409, 10020)
    assert api.script("PUT", "routes", json=[{"pattern": "x.example/*"}], token="routes").error == (400, 10022)
    assert api.script("PUT", "routes", json=wanted).error == (403, 10000)


def test_other_zone_is_forbidden(api: Api, zone: str) -> None:
    token = api.sandbox.add_token("routes", ["Workers Routes Write"])
    assert api.get(f"/zones/{'0' * 32}/workers/routes", token=token).error == (403, 10000)
    assert api.get("/zones/none/workers/routes", token=token).error == (404, 7003)
    assert api.get(f"/zones/{zone}/workers/routes").error == (403, 10000)


def test_route_takes_precedence_over_custom_domain(api: Api, routes: Any, edge: httpx.Client) -> None:
    host = f"app.{ZONE}"
    made = api("PUT", "domains", json={"hostname": host, "service": WORKER}).result
    assert api.get("domains").result == [made]
    assert _body_at(edge, host, "/any") == WORKER
    routes("POST", json={"pattern": f"{host}/*", "script": "maintenance"})
    assert _body_at(edge, host, "/any") == "maintenance"
    assert api("PUT", "domains", json={"hostname": "x.example", "service": WORKER}).error == (400, 10026)
    assert api("DELETE", f"domains/{made['id']}").status == 200
    assert api("DELETE", f"domains/{made['id']}").status == 404


def test_workers_dev_and_previews_are_enabled_and_disabled(
    api: Api, zone: str, sandbox: Sandbox, edge: httpx.Client
) -> None:
    host, version = f"{WORKER}.sandbox.workers.dev", sandbox.upload(WORKER, behaviour={"body": "next"})
    preview = f"{version[:8]}-{host}"
    assert (_body_at(edge, host), _body_at(edge, preview)) == ("There is nothing here yet",) * 2
    api.script("POST", "subdomain", json={"enabled": True, "previews_enabled": True})
    assert (_body_at(edge, host), _body_at(edge, preview)) == (WORKER, "next")
    api.script("POST", "subdomain", json={"enabled": False})
    assert (_body_at(edge, host), _body_at(edge, preview)) == ("There is nothing here yet", "next")
    off = {"enabled": False, "previews_enabled": False}
    assert api.script("DELETE", "subdomain").result == off
    assert _body_at(edge, preview) == "There is nothing here yet"


def test_zone_has_fields_required_by_sdk(api: Api) -> None:
    api.sandbox.zones.add(ZONE)
    token = api.sandbox.add_token("zones", ["Zone Read"])
    (zone,) = api("GET", "/zones", token=token).result
    required = {"id", "account", "created_on", "development_mode", "meta", "modified_on", "name", "name_servers"}
    assert {*required, "owner", "plan"} <= zone.keys()
