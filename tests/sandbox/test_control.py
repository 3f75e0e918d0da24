"""Control of the sandbox: clock, history, switches and recorded requests."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ops.core.clock import SandboxClock
from sandbox import Sandbox, Switches
from tests.sandbox.conftest import WORKER, Api, Releases


def test_virtual_clock_moves_only_on_request(sandbox: Sandbox) -> None:
    now = sandbox.clock.now()
    assert sandbox.clock.now() == now
    sandbox.clock.advance(1.5)
    assert sandbox.clock.now() == now + timedelta(seconds=1.5)
    sandbox.clock.set(datetime(2026, 11, 20, 11, tzinfo=timezone(timedelta(hours=1))))
    assert sandbox.clock.now() == datetime(2026, 11, 20, 10, tzinfo=UTC)


def test_real_clock_continues_from_set_time() -> None:
    instant = datetime(2026, 11, 20, tzinfo=UTC)
    with Sandbox() as sandbox:
        sandbox.clock.set(instant)
        assert timedelta() <= sandbox.clock.now() - instant < timedelta(minutes=1)


def test_time_that_a_sleep_skips_counts_in_durations() -> None:
    with Sandbox() as sandbox:
        sandbox.clock.longest_sleep = 5.0
        clock = SandboxClock(sandbox.clock_url)
        now, began = clock.now(), clock.monotonic()

        clock.sleep(600)

        assert clock.now() - now >= timedelta(minutes=10)
        assert 600 <= clock.monotonic() - began < 630


def test_clock_requires_time_zone(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="time zone"):
        sandbox.clock.set(datetime(2026, 11, 20))  # noqa: DTZ001


def test_clock_is_read_and_moved_over_http(api: Api) -> None:
    url = api.sandbox.clock_url
    assert api.http.post(url, json={"set": "2026-11-20T10:00:00Z"}).json() == {
        "now": "2026-11-20T10:00:00.000000Z",
        "virtual": True,
        "longest_sleep": None,
    }
    assert api.http.post(url, json={"advance": 90}).json()["now"] == "2026-11-20T10:01:30.000000Z"
    assert api.http.get(url).json()["now"] == "2026-11-20T10:01:30.000000Z"


@pytest.mark.parametrize(
    "body", [{}, {"set": "now"}, {"set": "2026-11-20T10:00:00"}, {"advance": "1"}, {"advance": 1, "set": ""}, []]
)
def test_invalid_clock_request_is_refused(api: Api, body: Any) -> None:
    assert api.http.post(api.sandbox.clock_url, json=body).status_code == 400


def test_past_time_backdates_without_moving_clock(sandbox: Sandbox) -> None:
    now = sandbox.clock.now()
    version = sandbox.upload(WORKER, at=now - timedelta(hours=2))
    sandbox.deploy(WORKER, version, at=now - timedelta(hours=1))
    assert sandbox.deployments(WORKER)[0].created_on == now - timedelta(hours=1)
    assert sandbox.clock.now() == now


def test_history_is_ordered_by_time(sandbox: Sandbox) -> None:
    new, old = sandbox.upload(WORKER), sandbox.upload(WORKER)
    sandbox.deploy(WORKER, new)
    sandbox.deploy(WORKER, old, at=sandbox.clock.now() - timedelta(hours=1))
    assert sandbox.live(WORKER) == {new: 100}


def test_deployment_after_clock_set_back_is_newest(sandbox: Sandbox) -> None:
    first, second = sandbox.upload(WORKER), sandbox.upload(WORKER)
    sandbox.deploy(WORKER, first)
    sandbox.clock.advance(-3600)
    sandbox.deploy(WORKER, second)
    assert sandbox.live(WORKER) == {second: 100}


def test_sandbox_describes_itself(api: Api, releases: Releases) -> None:
    described = api.http.get(api.sandbox.control_url).json()
    assert described == api.sandbox.describe()
    assert described["services"] == [{"worker": WORKER, "live": {releases.bad: 100}, "versions": 2}]
    rights = ["D1 Write", "Pages Write", "Workers KV Storage Write", "Workers Scripts Write"]
    assert described["tokens"] == [{"token": api.sandbox.token, "permissions": rights, "expired": False}]


def test_environment_variables_locate_sandbox(sandbox: Sandbox) -> None:
    assert sandbox.environ() == {
        "CLOUDFLARE_API_BASE_URL": sandbox.api_url,
        "CLOUDFLARE_API_TOKEN": sandbox.token,
        "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
        "OPS_EDGE_URL": sandbox.edge_url,
        "OPS_CLOCK_URL": sandbox.clock_url,
        "OPS_PROVIDERS_URL": sandbox.providers.url,
    }


def test_switches_are_set_over_http(api: Api) -> None:
    url = f"{api.sandbox.control_url}/switches"
    assert api.http.get(url).json()["deployments_listed"] == 10
    assert api.http.post(url, json={"deployments_listed": None}).json()["deployments_listed"] is None
    assert api.sandbox.switches == Switches(deployments_listed=None)
    assert api.http.post(url, json={"surprise": True}).status_code == 400


def test_requests_are_recorded_in_order_without_token(api: Api, releases: Releases) -> None:
    api.script("GET", "versions?deployable=true")
    api.deploy(releases.good)
    read, write = api.sandbox.requests
    assert (read.method, read.query, read.status, read.body) == ("GET", {"deployable": "true"}, 200, None)
    assert (write.path.rpartition("/")[2], write.body["strategy"]) == ("deployments", "percentage")
    assert write.at == api.sandbox.clock.now()
    listed = api.http.get(f"{api.sandbox.control_url}/requests").json()
    assert [record["method"] for record in listed] == ["GET", "POST"]
    assert api.sandbox.token not in str(listed)


def test_control_requires_json_and_known_path(api: Api) -> None:
    assert api.http.post(api.sandbox.clock_url, content="{}").status_code == 400
    assert api.http.get(f"{api.sandbox.control_url}/surprise").status_code == 404


def test_sandboxes_of_one_account_generate_same_ids() -> None:
    with Sandbox() as one, Sandbox() as two:
        assert one.upload(WORKER) == two.upload(WORKER)
