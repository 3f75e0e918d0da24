"""The HTTP client: retries, single writes, the read-only guard and redaction."""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest
from hypothesis import strategies as st

import ops.cloudflare.workers  # noqa: F401  declares the reads that these tests send
from ops.cloudflare import client as clients
from ops.cloudflare.client import (
    RETRY_DELAYS,
    CloudflareClient,
    is_declared_read,
    paginate_by_cursor,
    paginate_by_total,
)
from ops.cloudflare.response import CloudflareApiError, CloudflareResponse, MalformedCloudflareResponse
from ops.core.clock import SandboxClock
from ops.core.errors import NotApplied, OpsError, ProviderError, Reason, Refused, UnclearWrite
from ops.core.redaction import Secret
from sandbox import Sandbox
from tests.conftest import ACCOUNT, WORKER
from tests.support.commands import UNCLEAR_RESPONSES
from tests.support.properties import holds_for

SCRIPT = f"/accounts/{ACCOUNT}/workers/scripts/{WORKER}"
DEPLOYMENTS = f"{SCRIPT}/deployments"
TRIES = len(RETRY_DELAYS) + 1


@pytest.fixture
def client(client: CloudflareClient, sandbox: Sandbox) -> CloudflareClient:
    """Return the client, with a deployed Worker."""
    sandbox.deploy(WORKER, sandbox.upload(WORKER))
    return client


def read(client: CloudflareClient, path: str = DEPLOYMENTS) -> CloudflareResponse:
    return client.read(path)


def write(client: CloudflareClient, method: str = "POST", path: str = DEPLOYMENTS) -> CloudflareResponse:
    return client.write(method, path, json={})


RETRIED: dict[str, dict[str, Any]] = {
    "429": {"status": 429},
    "500": {"status": 500},
    "502 HTML": {"status": 502, "body": "<html>"},
    "503 empty": {"status": 503, "body": ""},
    "10013 with 400": {"code": 10013},
    "HTML with 200": {"body": "<html>"},
    "an empty body": {"body": ""},
    "no answer": {"lost": "before"},
    "a body that is cut off": {"truncate": 10},
    "a broken encoding": {"body": "no gzip at all", "headers": {"content-encoding": "gzip"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RETRIED.values(), ids=RETRIED)
def test_read_fails_after_four_attempts(client: CloudflareClient, sandbox: Sandbox, rule: dict[str, Any]) -> None:
    sandbox.fault(**rule, times=None)

    with pytest.raises(ProviderError) as caught:
        read(client)

    assert len(sandbox.requests) == TRIES
    assert caught.value.exit_code == 4
    assert "GET /workers/scripts/fortunet-api/deployments" in caught.value.message


@pytest.mark.slow
@pytest.mark.parametrize("rule", RETRIED.values(), ids=RETRIED)
def test_read_succeeds_on_the_last_attempt(client: CloudflareClient, sandbox: Sandbox, rule: dict[str, Any]) -> None:
    began = sandbox.clock.now()
    sandbox.fault(**rule, times=TRIES - 1)

    assert len(read(client).result["deployments"]) == 1
    assert len(sandbox.requests) == TRIES
    assert (sandbox.clock.now() - began).total_seconds() == pytest.approx(sum(RETRY_DELAYS))


NOT_RETRIED: dict[str, tuple[dict[str, Any], type[OpsError]]] = {
    "10000": ({"code": 10000, "status": 403}, CloudflareApiError),
    "10007": ({"code": 10007, "status": 404}, CloudflareApiError),
    "a redirect": (
        {"status": 302, "body": "", "headers": {"location": "https://example.com/"}},
        MalformedCloudflareResponse,
    ),
    "a challenge": (
        {"status": 403, "body": "<html>", "headers": {"cf-mitigated": "challenge"}},
        MalformedCloudflareResponse,
    ),
}


@pytest.mark.parametrize(("rule", "error"), NOT_RETRIED.values(), ids=NOT_RETRIED)
def test_definitive_error_is_not_retried(
    client: CloudflareClient, sandbox: Sandbox, rule: dict[str, Any], error: type[OpsError]
) -> None:
    sandbox.fault(**rule, times=None)

    with pytest.raises(error):
        read(client)

    assert len(sandbox.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "times", "requests", "waited"),
    [("3", 1, 2, 3.0), ("9", 2, 3, 18.0), ("9", 3, 3, 18.0), ("21", 1, 1, 0.0), ("0.01", 1, 2, RETRY_DELAYS[0])],
    ids=["once", "twice within the budget", "a third time beyond it", "at once beyond it", "less than our own pause"],
)
def test_retry_after_is_honored_within_the_budget(
    client: CloudflareClient, sandbox: Sandbox, seconds: str, times: int, requests: int, waited: float
) -> None:
    began = sandbox.clock.now()
    sandbox.fault(status=429, headers={"retry-after": seconds}, times=times)

    if requests > times:
        read(client)
    else:
        with pytest.raises(CloudflareApiError, match="HTTP 429"):
            read(client)

    assert len(sandbox.requests) == requests
    assert (sandbox.clock.now() - began).total_seconds() == pytest.approx(waited)


@pytest.mark.slow
@pytest.mark.parametrize("applied", [False, True], ids=["not applied", "applied"])
@pytest.mark.parametrize("rule", UNCLEAR_RESPONSES.values(), ids=UNCLEAR_RESPONSES)
def test_write_is_never_repeated(
    client: CloudflareClient, sandbox: Sandbox, rule: dict[str, Any], applied: bool
) -> None:
    """A success of another shape is no error in the client; a caller that needs its id finds it unclear."""
    sandbox.fault(**rule, applied=applied)

    if '"success": true' in str(rule.get("body")):
        with client.writing():
            write(client)
    else:
        with client.writing(), pytest.raises(UnclearWrite) as caught:
            write(client)
        assert caught.value.reason == Reason.UNCLEAR
    assert len(sandbox.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "seconds"),
    [({"status": 429, "headers": {"retry-after": "7"}}, 7.0), ({"status": 429}, 0.0), ({"code": 10035}, 0.0)],
)
def test_rate_limit_and_concurrent_change_are_not_applied(
    client: CloudflareClient, sandbox: Sandbox, rule: dict[str, Any], seconds: float
) -> None:
    sandbox.fault(**rule)

    with client.writing(), pytest.raises(NotApplied) as caught:
        write(client)

    assert caught.value.retry_after == seconds
    assert len(sandbox.requests) == 1


class _Failing(httpx.BaseTransport):
    def __init__(self, error: Exception) -> None:
        self.error, self.sent = error, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        raise self.error


TRANSPORT = [httpx.ConnectTimeout, httpx.ConnectError, httpx.ReadTimeout, httpx.ReadError, httpx.WriteError]
TRANSPORT += [httpx.PoolTimeout, httpx.RemoteProtocolError, httpx.LocalProtocolError, httpx.ProxyError]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", TRANSPORT)
def test_transport_error_shows_only_its_type(sandbox: Sandbox, kind: Callable[[str], httpx.TransportError]) -> None:
    transport = _Failing(kind("connection to 203.0.113.7 with Bearer s3cret-s3cret failed"))
    clock = SandboxClock(sandbox.clock_url)
    client = CloudflareClient(
        "https://api.example", Secret("s3cret-s3cret"), token_name="T", clock=clock, transport=transport
    )

    with pytest.raises(ProviderError) as reading:
        read(client)
    with client.writing(), pytest.raises(UnclearWrite) as writing:
        write(client)

    assert transport.sent == TRIES + 1
    for error in (reading.value, writing.value):
        assert type(transport.error).__name__ in error.message
        assert "s3cret" not in str(error)
        assert "203.0.113.7" not in str(error)
    client.close()


# Planning


METHODS = st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "get", "TRACE", "X", ""])
KNOWN = ["accounts", ACCOUNT, "workers", "scripts", WORKER, "deployments", "versions"]
KNOWN += ["pages", "projects", "rollback", "0" * 36]
ODD = ["d1", "..", "", "%2e%2e", "secrets", "graphql", "?force=true", "deployments?force=true", "zones", "\n", "a b"]
SEGMENTS = st.sampled_from([*KNOWN, *ODD])
PATHS = st.lists(SEGMENTS, max_size=9).map(lambda parts: "/" + "/".join(parts)) | st.text()
TELEMETRY = f"/accounts/{ACCOUNT}/workers/observability/telemetry/query"
READ_PATHS = st.sampled_from(
    [
        DEPLOYMENTS,
        f"{SCRIPT}/versions",
        f"{SCRIPT}/versions/{'0' * 36}",
        f"/accounts/{ACCOUNT}/pages/projects/site",
        f"/accounts/{ACCOUNT}/pages/projects/site/deployments",
        f"/accounts/{ACCOUNT}/pages/projects/site/deployments/{'0' * 36}",
        TELEMETRY,
    ]
)


@pytest.mark.slow
@holds_for(40, 1000, method=METHODS, path=PATHS | READ_PATHS)
def test_client_rejects_writes_while_planning(
    client: CloudflareClient, sandbox: Sandbox, method: str, path: str
) -> None:
    before = len(sandbox.requests)

    if is_declared_read(method, path):
        assert method == "GET" or (method, path) in {("POST", "/graphql"), ("POST", TELEMETRY)}
    else:
        with pytest.raises(Refused) as caught:
            write(client, method, path)
        assert caught.value.reason == Reason.READ_ONLY
        assert len(sandbox.requests) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "",
        f"{DEPLOYMENTS}/",
        f"{DEPLOYMENTS}?force=true",
        f"{DEPLOYMENTS}\n",
        f"//evil.example{DEPLOYMENTS}",
        f"/x{DEPLOYMENTS}",
        DEPLOYMENTS.replace(ACCOUNT, ".."),
        DEPLOYMENTS.replace(WORKER, "a/b"),
        f"/accounts/{ACCOUNT}/pages/projects/site/deployments/{'0' * 36}/rollback",
        f"/accounts/{ACCOUNT}/pages/projects/site/upload-token",
    ],
)
def test_similar_path_is_no_declared_read(path: str) -> None:
    assert not is_declared_read("GET", path)


@pytest.mark.slow
def test_writes_are_allowed_only_inside_writing(client: CloudflareClient, sandbox: Sandbox) -> None:
    with pytest.raises(CloudflareApiError), client.writing():
        write(client)

    with pytest.raises(Refused):
        write(client)
    assert len(sandbox.requests) == 1


@pytest.mark.slow
def test_missing_permission_is_named(client: CloudflareClient, sandbox: Sandbox) -> None:
    sandbox.fault(code=10000, status=403)

    with pytest.raises(CloudflareApiError) as caught:
        read(client)

    assert "CLOUDFLARE_API_TOKEN" in caught.value.hint
    assert '"Workers Scripts Read"' in caught.value.hint


def test_repr_hides_the_token(client: CloudflareClient, sandbox: Sandbox) -> None:
    assert sandbox.token not in repr(client) + str(vars(client)) + repr(Secret(sandbox.token)) + f"{Secret('abcdef')}"


# Paging


def pages(rows: list[int]) -> tuple[Callable[[Mapping[str, str]], CloudflareResponse], list[Mapping[str, str]]]:
    asked: list[Mapping[str, str]] = []

    def answer(params: Mapping[str, str]) -> CloudflareResponse:
        asked.append(params)
        size = int(params["per_page"])
        first = int(params.get("cursor") or (int(params.get("page", "1")) - 1) * size)
        cursor = str(first + size) if first + size < len(rows) else ""
        return CloudflareResponse(rows[first : first + size], {"total_count": len(rows), "cursor": cursor})

    return answer, asked


FORMS = pytest.mark.parametrize("form", [clients.paginate_by_total, clients.paginate_by_cursor])


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25])
@FORMS
def test_pagination_returns_every_row_once(form: Callable[..., Iterator[int]], count: int) -> None:
    rows = random.sample(range(1000), count)
    answer, asked = pages(rows)

    assert list(form(answer, per_page=10)) == rows
    assert len(asked) <= count // 10 + 1


@FORMS
def test_endless_pagination_is_stopped(form: Callable[..., Iterator[int]]) -> None:
    asked: list[Mapping[str, str]] = []

    def endless(params: Mapping[str, str]) -> CloudflareResponse:
        asked.append(params)
        return CloudflareResponse([1] * int(params["per_page"]), {"total_count": 10**9, "cursor": "again"})

    assert len(list(form(endless, per_page=2))) == 2 * clients.MAX_PAGES
    assert len(asked) == clients.MAX_PAGES


NO_PAGES = [
    (paginate_by_total, '"result": 1'),
    (paginate_by_cursor, '"result": {}'),
    (paginate_by_total, '"result": [], "result_info": {"total_count": "x"}'),
]


@pytest.mark.parametrize(("pages", "answer"), NO_PAGES)
def test_invalid_page_is_malformed(
    client: CloudflareClient, sandbox: Sandbox, pages: Callable[..., Iterator[Any]], answer: str
) -> None:
    sandbox.fault(body=f'{{"success": true, "errors": [], {answer}}}', content_type="application/json", times=None)

    with pytest.raises(MalformedCloudflareResponse, match="unexpected JSON"):
        list(pages(lambda params: client.read(DEPLOYMENTS, params=params)))


NO_RESULT = {"body": '{"success": true, "errors": [], "result": null}', "content_type": "application/json"}


def test_read_without_a_result_is_read_again(client: CloudflareClient, sandbox: Sandbox) -> None:
    """One such answer at 3 a.m. must not end a plan."""
    sandbox.fault(**NO_RESULT, times=1)
    before = len(sandbox.requests)

    assert client.read(DEPLOYMENTS).result is not None

    assert len(sandbox.requests) == before + 2
    sandbox.fault(**NO_RESULT, times=None)
    with pytest.raises(MalformedCloudflareResponse, match="an answer without a result"):
        client.read(DEPLOYMENTS)
