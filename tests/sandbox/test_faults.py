"""Faults of the sandbox: errors, lost responses, delays and callbacks."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import WORKER, Api, Releases


def test_fault_returns_status_code_and_message(api: Api, releases: Releases) -> None:
    rule = api.sandbox.fault(method="POST", path="**/deployments", status=429, code=10429, message="slow down")
    answer = api.deploy(releases.good)
    assert (answer.error, answer.message) == ((429, 10429), "slow down")
    assert rule.hits == 1
    assert api.sandbox.live(WORKER) == {releases.bad: 100}


def test_fault_applies_after_skip_for_given_times(api: Api, releases: Releases) -> None:
    api.sandbox.fault(path="/client/v4/accounts/*/workers/scripts/*/deployments", status=503, skip=1, times=2)
    assert [api.script("GET", "deployments").status for _ in range(4)] == [200, 503, 503, 200]


def test_unlimited_fault_can_be_removed(api: Api, releases: Releases) -> None:
    rule = api.sandbox.fault(status=500, times=None)
    assert [api.script("GET", "deployments").status for _ in range(3)] == [500, 500, 500]
    rule.remove()
    rule.remove()
    assert api.script("GET", "deployments").status == 200


@pytest.mark.parametrize(
    ("method", "path", "strikes"),
    [
        ("*", "**", True),
        ("GET", "/accounts/*/workers/scripts/*/deployments", True),
        ("GET", "/client/v4/accounts/**", True),
        ("POST", "**", False),
        ("GET", "/accounts/*/deployments", False),
        ("GET", "**/versions", False),
    ],
)
def test_fault_matches_method_and_path(api: Api, releases: Releases, method: str, path: str, *, strikes: bool) -> None:
    api.sandbox.fault(method=method, path=path, status=500)
    assert (api.script("GET", "deployments").status == 500) is strikes


def test_edge_fault_matches_host(sandbox: Sandbox) -> None:
    sandbox.edge_fault(host="*.pages.dev", status=503, times=None)

    def ask(host: str) -> int:
        return httpx.get(sandbox.edge_url, headers={"host": host}, verify=False).status_code

    assert [ask(host) for host in ("a.pages.dev:443", "b.a.pages.dev", "pages.dev", "a.example")] == [
        503,
        503,
        404,
        404,
    ]


def test_response_lost_before_request_takes_effect(api: Api, releases: Releases) -> None:
    api.sandbox.fault(method="POST", lost="before")
    with pytest.raises(httpx.RemoteProtocolError):
        api.deploy(releases.good)
    assert api.sandbox.live(WORKER) == {releases.bad: 100}
    assert api.sandbox.requests[-1].status is None


def test_response_lost_after_request_takes_effect(api: Api, releases: Releases) -> None:
    api.sandbox.fault(method="POST", lost="after")
    with pytest.raises(httpx.RemoteProtocolError):
        api.deploy(releases.good)
    assert api.sandbox.live(WORKER) == {releases.good: 100}


def test_error_can_hide_effective_request(api: Api, releases: Releases) -> None:
    api.sandbox.fault(method="POST", status=502, applied=True)
    assert api.deploy(releases.good).status == 502
    assert api.sandbox.live(WORKER) == {releases.good: 100}


def test_response_can_be_truncated(api: Api, releases: Releases) -> None:
    api.sandbox.fault(method="POST", truncate=10)
    with pytest.raises(httpx.RemoteProtocolError, match="received 10 bytes"):
        api.deploy(releases.good)
    assert api.sandbox.live(WORKER) == {releases.good: 100}


def test_response_can_be_html_empty_or_bytes(api: Api, releases: Releases) -> None:
    api.sandbox.fault(status=502, body="<html>Bad gateway</html>")
    api.sandbox.fault(skip=1, body="", content_type="application/json")
    api.sandbox.fault(skip=2, body=b"\xff\xfe", content_type="application/octet-stream")
    html, empty, raw = (api.script("GET", "deployments").response for _ in range(3))
    assert (html.status_code, html.headers["content-type"], html.text) == (502, "text/html", "<html>Bad gateway</html>")
    assert (empty.status_code, empty.headers["content-type"], empty.content) == (200, "application/json", b"")
    assert raw.content == b"\xff\xfe"


def test_fault_adds_headers_to_any_response(api: Api, releases: Releases) -> None:
    api.sandbox.fault(status=429, headers={"retry-after": "7"})
    api.sandbox.fault(skip=1, headers={"cf-mitigated": "challenge"})
    assert api.script("GET", "deployments").response.headers["retry-after"] == "7"
    answer = api.script("GET", "deployments")
    assert (answer.status, answer.response.headers["cf-mitigated"]) == (200, "challenge")


def test_response_can_be_delayed(api: Api, releases: Releases) -> None:
    api.sandbox.fault(delay=60)
    with pytest.raises(httpx.ReadTimeout):
        api.script("GET", "deployments", timeout=httpx.Timeout(30, read=0.05))


def test_stop_ends_delays() -> None:
    with ThreadPoolExecutor() as pool, Sandbox() as sandbox:
        rule = sandbox.fault(delay=60)
        waiting = pool.submit(httpx.get, f"{sandbox.api_url}/user", timeout=60)
        while not rule.hits:
            assert not waiting.done()
    assert waiting.exception() is None or isinstance(waiting.exception(), httpx.TransportError)


def test_callbacks_run_before_and_after_request(api: Api, releases: Releases) -> None:
    seen: list[dict[str, float]] = []
    api.sandbox.fault(
        method="POST",
        before=lambda: seen.append(api.sandbox.live(WORKER)),
        after=lambda: seen.append(api.sandbox.live(WORKER)),
    )
    api.deploy(releases.good)
    assert seen == [{releases.bad: 100}, {releases.good: 100}]


def test_faults_combine_on_one_request(api: Api, releases: Releases) -> None:
    slow = api.sandbox.fault(times=None, headers={"x-slow": "1"})
    api.sandbox.fault(status=500)
    answer = api.script("GET", "deployments")
    assert (answer.status, answer.response.headers["x-slow"]) == (500, "1")
    assert api.script("GET", "deployments").status == 200
    assert slow.hits == 2


def test_invalid_fault_raises(sandbox: Sandbox) -> None:
    with pytest.raises(TypeError):
        sandbox.fault(surprise=True)
    with pytest.raises(ValueError, match="lost must be"):
        sandbox.fault(lost="sometimes")


def test_faults_are_set_and_removed_over_http(api: Api, releases: Releases) -> None:
    url = f"{api.sandbox.control_url}/faults"
    made = api.http.post(url, json={"method": "GET", "status": 503, "times": None}).json()
    assert api.script("GET", "deployments").status == 503
    assert api.http.get(url).json() == [made | {"hits": 1}]
    assert api.http.delete(url).status_code == 200
    assert api.script("GET", "deployments").status == 200


@pytest.mark.parametrize("body", ['{"before": "x"}', '{"lost": "x"}', "[]", "{"])
def test_invalid_fault_is_refused_over_http(api: Api, body: str) -> None:
    headers = {"content-type": "application/json"}
    response = api.http.post(f"{api.sandbox.control_url}/faults", content=body, headers=headers)
    assert (response.status_code, list(json.loads(response.text))) == (400, ["error"])
