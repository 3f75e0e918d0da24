"""Cloudflare's records: requests and errors of a Worker by version, and logged errors."""

import time
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.records import ACCOUNT_ANALYTICS_READ, read_worker_traffic
from ops.cloudflare.response import MalformedCloudflareResponse
from ops.cloudflare.types.records import MAX_ERROR_LENGTH, LoggedError, WorkerTraffic, describe_logged_errors
from ops.core.clock import Period, SandboxClock
from ops.core.errors import ProviderError
from ops.core.redaction import Secret
from sandbox import Sandbox

SHOP = "shop"


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[CloudflareClient]:
    token = sandbox.add_token("reader", [ACCOUNT_ANALYTICS_READ])
    clock = SandboxClock(sandbox.clock_url)
    client = CloudflareClient(sandbox.api_url, Secret(token), token_name="TOKEN", clock=clock)
    yield client
    client.close()


def read(
    client: CloudflareClient, sandbox: Sandbox, *, minutes: int = 15, timeout: float | None = 5.0
) -> WorkerTraffic:
    now = sandbox.clock.now()
    recent = Period(now - timedelta(minutes=minutes), now)
    return read_worker_traffic(client, sandbox.account_id, SHOP, recent, now=now, timeout=timeout)


def serve(sandbox: Sandbox, requests: int) -> None:
    with httpx.Client(base_url=sandbox.edge_url, verify=False) as edge:
        for _ in range(requests):
            edge.get("/")
            sandbox.clock.advance(0.25)


@pytest.fixture
def releases(sandbox: Sandbox) -> tuple[str, str]:
    """Serve 600 requests with a good version yesterday, and 400 with one that fails for a quarter of them today."""
    good = sandbox.upload(SHOP, code="good", behaviour={"body": "ok", "status": 200})
    sandbox.deploy(SHOP, good)
    serve(sandbox, 600)
    sandbox.clock.advance(86400)
    bad = sandbox.upload(SHOP, code="bad", behaviour={"body": "ok", "status": 200, "throws": "no", "share": 0.25})
    sandbox.deploy(SHOP, bad)
    sandbox.clock.advance(60)
    serve(sandbox, 400)
    return good, bad


@pytest.mark.slow
def test_thousand_requests_are_counted_exactly_without_sampling(sandbox: Sandbox, client: CloudflareClient) -> None:
    sandbox.switches.analytics_sample_interval, sandbox.switches.analytics_delay_seconds = 1, 0
    sandbox.switches.propagation_seconds = 0
    sandbox.deploy(SHOP, sandbox.upload(SHOP, behaviour={"throws": "no", "share": 0.31}))
    serve(sandbox, 1000)
    sandbox.clock.advance(1)  # a query ends at a whole second

    traffic = read(client, sandbox)

    assert sum(row.requests for row in traffic.minutes) == sum(row.requests for row in traffic.days) == 1000
    assert sum(row.errors for row in traffic.minutes) == sum(row.errors for row in traffic.days) == 310
    assert traffic.sample_interval == 1
    assert [row.start for row in traffic.minutes] == sorted(row.start for row in traffic.minutes)
    assert {row.start.second for row in traffic.minutes} == {0}


@pytest.mark.slow
def test_thousand_requests_are_estimated_by_default_once_minutes_are_complete(
    sandbox: Sandbox, client: CloudflareClient, releases: tuple[str, str]
) -> None:
    good, bad = releases
    early, now = read(client, sandbox), sandbox.clock.now()
    assert timedelta(minutes=5) <= now - early.complete_until < timedelta(minutes=6)
    assert sum(row.requests for row in early.minutes) < 400
    assert not early.may_be_cut
    sandbox.clock.advance(sandbox.switches.analytics_delay_seconds)

    traffic = read(client, sandbox)

    assert {row.version for row in traffic.minutes} == {bad}
    assert {row.version: row.start.date() for row in traffic.days if row.version == good} == {
        good: (sandbox.clock.now() - timedelta(days=1)).date()
    }
    for version, requests in ((good, 600), (bad, 400)):
        assert sum(row.requests for row in traffic.days if row.version == version) == pytest.approx(requests, rel=0.05)
    assert sum(row.errors for row in traffic.days if row.version == bad) == pytest.approx(100, rel=0.05)
    assert traffic.sample_interval > 1


def test_no_traffic_is_no_row(sandbox: Sandbox, client: CloudflareClient) -> None:
    sandbox.switches.analytics_sample_interval, sandbox.switches.analytics_delay_seconds = 1, 0
    sandbox.deploy(SHOP, sandbox.upload(SHOP, behaviour={"body": "ok", "status": 200}))
    serve(sandbox, 10)
    sandbox.clock.advance(60)
    assert read(client, sandbox).minutes
    sandbox.switches.analytics_empty = True

    traffic = read(client, sandbox)

    assert (traffic.minutes, traffic.days, traffic.sample_interval) == ((), (), 1.0)


def test_query_with_timeout_is_sent_once(sandbox: Sandbox, client: CloudflareClient) -> None:
    sandbox.fault(path="/graphql", status=503, times=None)

    with pytest.raises(ProviderError):
        read(client, sandbox)

    assert len(sandbox.requests) == 1


def test_failed_query_is_retried_within_its_bound(sandbox: Sandbox, client: CloudflareClient) -> None:
    sandbox.fault(path="/graphql", status=503, times=None)

    with pytest.raises(ProviderError):
        read(client, sandbox, timeout=None)

    assert len(sandbox.requests) == 4


@pytest.mark.slow
def test_token_without_permission_is_refused(sandbox: Sandbox, client: CloudflareClient) -> None:
    sandbox.add_token("reader", ["Workers Scripts Read"])

    with pytest.raises(ProviderError, match="not authorized"):
        read(client, sandbox)

    assert len(sandbox.requests) == 1


@pytest.mark.sampled
@pytest.mark.parametrize(
    "body",
    [
        '{"data": {"viewer": {"scope": []}}, "errors": null}',
        '{"data": {"viewer": {"scope": [{"minutes": [], "days": null}]}}, "errors": null}',
        '{"data": {"viewer": {"scope": [{"days": [{"sum": {"requests": "many", "errors": 0}}], "minutes": []}]}}}',
        (
            '{"data": {"viewer": {"scope": [{"minutes": [{"sum": {"requests": 1e999}, "avg": {"sampleInterval": 1},'
            ' "dimensions": {"datetimeMinute": "2026-11-24T03:40:00Z", "scriptVersion": "a"}}], "days": []}]}}}'
        ),
    ],
)
def test_unexpected_answer_is_an_error_of_the_provider(sandbox: Sandbox, client: CloudflareClient, body: str) -> None:
    sandbox.fault(path="/graphql", status=200, body=body)

    with pytest.raises(MalformedCloudflareResponse, match="the requests of a Worker"):
        read(client, sandbox)


def test_long_error_text_is_truncated_before_anonymization() -> None:
    huge = LoggedError(text="1.2.3.4@" * 2_000_000, count=7)

    began = time.process_time()
    (line,) = describe_logged_errors((huge,))

    assert time.process_time() - began < 0.2
    assert line.startswith("in 7 requests: ")
    assert len(line) < MAX_ERROR_LENGTH + 20


def test_five_most_frequent_logged_errors_are_shown_and_the_others_counted() -> None:
    errors = tuple(LoggedError(text=f"error {number}", count=9 - number) for number in range(7))

    assert len(describe_logged_errors(errors[:5])) == 5
    assert describe_logged_errors(errors) == (*describe_logged_errors(errors[:5]), "and 2 other errors")
