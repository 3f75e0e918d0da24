"""Edge of the sandbox: propagation, splits, version overrides and simulated Workers."""

from typing import Any

import httpx
import pytest

from sandbox import Sandbox
from sandbox.clock import timestamp
from tests.sandbox.conftest import WORKER, Releases


def _override(version: str) -> dict[str, str]:
    return {"Cloudflare-Workers-Version-Overrides": f'other="x", {WORKER}="{version}"'}


def _served_version(edge: httpx.Client, **headers: str) -> str:
    return str(edge.get("/health", headers=headers).json()["version"]["id"])


def test_deployment_reaches_edge_after_propagation(sandbox: Sandbox, edge: httpx.Client, releases: Releases) -> None:
    sandbox.deploy(WORKER, releases.good)
    assert edge.get("/health").status_code == 500
    sandbox.clock.advance(0.9)
    assert edge.get("/health").status_code == 500
    sandbox.clock.advance(0.1)
    assert _served_version(edge) == releases.good


def test_deployment_can_reach_edge_at_once(sandbox: Sandbox, edge: httpx.Client, releases: Releases) -> None:
    sandbox.switches.propagation_seconds = 0
    sandbox.deploy(WORKER, releases.good)
    assert _served_version(edge) == releases.good


def test_first_deployment_serves_at_once(sandbox: Sandbox, edge: httpx.Client) -> None:
    assert edge.get("/health").status_code == 404
    version = sandbox.upload(WORKER)
    assert edge.get("/health").status_code == 404
    sandbox.deploy(WORKER, version)
    assert _served_version(edge) == version


@pytest.mark.slow
def test_split_divides_and_counts_traffic(sandbox: Sandbox, edge: httpx.Client) -> None:
    old, new = sandbox.upload(WORKER), sandbox.upload(WORKER)
    sandbox.deploy(WORKER, {old: 90, new: 10})
    seen = [_served_version(edge) for _ in range(200)]
    assert {version: seen.count(version) for version in (old, new)} == sandbox.edge_counts
    assert 5 <= seen.count(new) <= 40


def test_version_override_reaches_version_without_traffic(sandbox: Sandbox, edge: httpx.Client) -> None:
    live, silent = sandbox.upload(WORKER), sandbox.upload(WORKER)
    sandbox.deploy(WORKER, {live: 100, silent: 0})
    assert _served_version(edge) == live
    assert _served_version(edge, **_override(silent)) == silent


def test_override_of_undeployed_version_is_ignored(sandbox: Sandbox, edge: httpx.Client, releases: Releases) -> None:
    assert edge.get("/health", headers=_override(releases.good)).status_code == 500


@pytest.mark.parametrize(
    ("header", "is_applied"),
    [
        pytest.param('{worker}="{version}"', True, id="a string"),
        pytest.param('other=(1 "x");a, {worker}="{version}";q=?1', True, id="other members and parameters"),
        pytest.param('{worker}="x", {worker}="{version}"', True, id="the last member of a name"),
        pytest.param("{worker}={version}", False, id="no quotes"),
        pytest.param("{worker}='{version}'", False, id="single quotes"),
        pytest.param('{worker}=("{version}")', False, id="a list"),
        pytest.param('{worker} = "{version}"', False, id="spaces around the sign"),
        pytest.param('{worker}="{version}",', False, id="a comma at the end"),
        pytest.param('{worker}="{version}" other="x"', False, id="no comma"),
        pytest.param('Other="x", {worker}="{version}"', False, id="an upper-case key"),
        pytest.param('1st="x", {worker}="{version}"', False, id="a key that begins with a digit"),
        pytest.param('{worker}="{version}", {worker}', False, id="a later member without a value"),
    ],
)
def test_override_needs_a_valid_dictionary(sandbox: Sandbox, edge: httpx.Client, header: str, is_applied: bool) -> None:
    live, silent = sandbox.upload(WORKER), sandbox.upload(WORKER)
    sandbox.deploy(WORKER, {live: 100, silent: 0})

    text = header.format(worker=WORKER, version=silent)
    seen = _served_version(edge, **{"Cloudflare-Workers-Version-Overrides": text})

    assert seen == (silent if is_applied else live)


def test_override_waits_for_propagation(sandbox: Sandbox, edge: httpx.Client) -> None:
    live, silent = sandbox.upload(WORKER), sandbox.upload(WORKER)
    sandbox.deploy(WORKER, live)
    sandbox.clock.advance(2)
    sandbox.deploy(WORKER, {live: 100, silent: 0})

    assert _served_version(edge, **_override(silent)) == live
    sandbox.clock.advance(1)
    assert _served_version(edge, **_override(silent)) == silent


def test_host_selects_worker(sandbox: Sandbox, edge: httpx.Client) -> None:
    ids = {name: sandbox.upload(name) for name in ("one", "two")}
    for name, version in ids.items():
        sandbox.deploy(name, version)
        sandbox.route(f"{name}.example.com", name)
    assert _served_version(edge, host="two.example.com") == ids["two"]
    assert _served_version(edge, host="one.example.com:8080") == ids["one"]
    assert edge.get("/health").status_code == 404


def test_edge_adds_no_version_header(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.deploy(WORKER, sandbox.upload(WORKER))
    assert set(edge.get("/health").headers) == {"content-type", "content-length", "cf-ray"}


def test_health_shows_version_with_metadata_binding(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.switches.propagation_seconds = 0
    version = sandbox.upload(WORKER, tag="4.1.0")
    sandbox.deploy(WORKER, version)
    created_on = timestamp(sandbox.clock.now())
    assert edge.get("/health").json() == {
        "status": "ok",
        "version": {"id": version, "tag": "4.1.0", "timestamp": created_on},
    }
    sandbox.deploy(WORKER, sandbox.upload(WORKER, version_metadata=False))
    assert edge.get("/health").json() == {"status": "ok"}


def test_default_worker_calculates_and_returns_404_elsewhere(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.deploy(WORKER, sandbox.upload(WORKER))
    charts = [edge.get("/api/charts/calculate"), edge.post("/api/charts/calculate", json={})]
    assert [chart.status_code for chart in charts] == [200, 200]
    assert charts[0].json()["chart"]["animal"] == "Dragon"
    assert edge.get("/other").status_code == 404
    assert edge.head("/health").content == b""


@pytest.mark.parametrize(
    ("behaviour", "path", "expected"),
    [
        ({}, "/other", (404, "application/json", '{"error": "not found"}')),
        (
            {"status": 500},
            "/other",
            (500, "application/json", '{"error": "the behaviour of this version sets status 500"}'),
        ),
        ({"paths": {"/health": {"status": 503, "body": ""}}}, "/health", (503, "text/plain; charset=utf-8", "")),
        ({"paths": {"/health": {"status": 503}}}, "/other", (404, "application/json", '{"error": "not found"}')),
        ({"body": "plain"}, "/health", (200, "text/plain; charset=utf-8", "plain")),
        ({"body": "<p>", "content_type": "text/html"}, "/health", (200, "text/html", "<p>")),
        ({"body": {"status": "degraded"}}, "/health", (200, "application/json", '{"status": "degraded"}')),
    ],
)
def test_behaviour_variable_controls_response(
    sandbox: Sandbox, edge: httpx.Client, behaviour: dict[str, Any], path: str, expected: tuple[int, str, str]
) -> None:
    sandbox.deploy(WORKER, sandbox.upload(WORKER, behaviour=behaviour))
    response = edge.get(path)
    assert (response.status_code, response.headers["content-type"], response.text) == expected


def test_behaviour_without_json_is_reported(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.deploy(WORKER, sandbox.upload(WORKER, vars={"SANDBOX_BEHAVIOUR": "{status: 500}"}))
    assert edge.get("/health").text.startswith("SANDBOX_BEHAVIOUR is not JSON")


def test_version_can_be_slow(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.deploy(WORKER, sandbox.upload(WORKER, behaviour={"paths": {"/health": {"delay": 60}}}))
    with pytest.raises(httpx.ReadTimeout):
        edge.get("/health", timeout=httpx.Timeout(30, read=0.05))
    assert edge.get("/other").status_code == 404
