"""Requests without a socket and over one reach a sandbox as the same bytes, and get the same answer."""

import gc
import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import requests
from urllib3.util import Retry

from sandbox.records import RequestRecord
from sandbox.server import HttpRequest, HttpResponse, Server
from tests.conftest import find_unclosed_sockets
from tests.support.claims import case_world, run
from tests.support.in_process import answered_in_process, answered_over_sockets
from tests.support.scenarios import cases, runbooks

TRANSPORTS = (answered_in_process, answered_over_sockets)
ODD_TARGETS = ("//api/ai", "/x/../api", "/api/%61i", "/a?b=c&b=%20", "/a?", "/ü")
BODIES: dict[str, dict[str, Any]] = {
    "none": {},
    "json": {"json": {"a": ["ü", None, 1.5]}},
    "bytes": {"content": bytes(range(256)) * 300},
    "form": {"data": {"a": "1 & 2"}},
    "files": {"files": {"a": ("n.js", b"x" * 70_000, "application/javascript+module")}, "headers": {"x-a": "b"}},
}
Seen = tuple[Any, ...]
Transport = Callable[[], AbstractContextManager[None]]


@dataclass
class Echo:
    """A server that answers as it is set, and keeps what it received."""

    answer: HttpResponse | None = field(default_factory=HttpResponse)
    received: list[Seen] = field(default_factory=list)

    def __call__(self, request: HttpRequest) -> HttpResponse | None:
        boundary = request.headers.get("content-type", "").partition("boundary=")[2]
        headers = sorted((name.lower(), value.replace(boundary or "-", "-")) for name, value in request.headers.items())
        body = request.body.replace(boundary.encode() or b"-", b"-")
        self.received.append((request.method, request.target, headers, body))
        return self.answer and HttpResponse(**vars(self.answer))


@pytest.fixture
def echo() -> Iterator[tuple[Echo, Server]]:
    answer = Echo()
    server = Server(answer)
    server.start()
    yield answer, server
    server.stop()


def both(echo: Echo, send: Callable[[], Seen]) -> None:
    """Send a request over each transport, and require that the server and the client see the same."""
    seen = []
    for transport in TRANSPORTS:
        echo.received.clear()
        with transport():
            seen.append((send(), [*echo.received]))
    assert seen[0] == seen[1]


def httpx_answer(client: httpx.Client, method: str, target: str, **options: Any) -> Seen:
    """Return status, headers and body of the response, or the type of the error."""
    try:
        found = client.request(method, target, **options)
    except httpx.RequestError as error:
        return (type(error),)
    return found.status_code, _stable(found.headers), found.content


def requests_answer(url: str, method: str, **options: Any) -> Seen:
    """Return what `httpx_answer` does, by requests, which PyGithub uses, with its retries of reads."""
    with requests.Session() as session:
        retry = Retry(total=2, status_forcelist=[500], allowed_methods={"GET"}, backoff_factor=0)
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
        try:
            found = session.request(method, url, timeout=5, allow_redirects=False, **options)
        except requests.RequestException as error:
            return (type(error),)
        return found.status_code, _stable(found.headers), found.content


def _stable(headers: Mapping[str, str]) -> Seen:
    """Return the headers without those that differ in each answer."""
    changing = re.compile("date|cf-ray|x-github-request-id|x-ratelimit-(remaining|used)|ratelimit")
    return tuple(sorted(each for each in headers.items() if not changing.fullmatch(each[0].lower())))


@pytest.mark.slow
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_requests_are_the_same(echo: tuple[Echo, Server], method: str, body: str) -> None:
    answer, server = echo
    answer.answer = HttpResponse(status=201, headers=[("x-a", "1"), ("x-a", "2")], body=b'{"a": 1}')
    with httpx.Client(base_url=server.url) as client:
        both(answer, lambda: httpx_answer(client, method, "/a", **BODIES[body]))
    options = {"data" if name == "content" else name: value for name, value in BODIES[body].items()}
    both(answer, lambda: requests_answer(f"{server.url}/a", method, **options))


@pytest.mark.sampled
@pytest.mark.parametrize("target", ODD_TARGETS)
def test_targets_are_the_same(echo: tuple[Echo, Server], target: str) -> None:
    answer, server = echo
    raw = {"extensions": {"target": target.encode("latin-1")}} if target.isascii() else {}
    with httpx.Client(base_url=server.url) as client:
        both(answer, lambda: httpx_answer(client, "GET", "/a", **raw))
        both(answer, lambda: httpx_answer(client, "GET", target))
    both(answer, lambda: requests_answer(server.url + target, "GET"))


ANSWERS = {
    "lost": None,
    "empty": HttpResponse(status=204),
    "unchanged": HttpResponse(status=304),
    "retried": HttpResponse(status=500, body=b"{}"),
    "redirect": HttpResponse(status=302, headers=[("location", "/b")]),
    "truncated": HttpResponse(body=b"0123456789", truncate_at=4),
    "cut before its body": HttpResponse(body=b"0123456789", truncate_at=0),
    "malformed gzip": HttpResponse(headers=[("content-encoding", "gzip")], body=b"no gzip"),
    "large": HttpResponse(body=b"x" * 3_000_000),
    "other letters": HttpResponse(headers=[("x-a", "caf\xe9")], body="ü".encode()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_the_same(echo: tuple[Echo, Server], name: str) -> None:
    answer, server = echo
    answer.answer = ANSWERS[name]
    with httpx.Client(base_url=server.url) as client:
        both(answer, lambda: httpx_answer(client, "GET", "/a"))
        both(answer, lambda: httpx_answer(client, "HEAD", "/a"))
    both(answer, lambda: requests_answer(f"{server.url}/a", "GET"))


@pytest.mark.slow
def test_answer_that_waits_takes_a_socket_with_its_timeout() -> None:
    waiting = threading.Event()
    server = Server(lambda _: HttpResponse() if waiting.wait(5) else None, is_prompt=waiting.is_set)
    server.start()
    try:
        with answered_in_process(), httpx.Client(base_url=server.url, timeout=0.05) as client:
            assert httpx_answer(client, "GET", "/a") == (httpx.ReadTimeout,)
        with answered_in_process(), pytest.raises(requests.ReadTimeout):
            requests.get(server.url, timeout=0.05)
    finally:
        waiting.set()
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_stopped_server_leaves_no_half_made_response(transport: Transport) -> None:
    """Its finalizer would fail at a later time, in another test: Python 3.13 reports that."""
    server = Server(lambda _: HttpResponse())
    server.start()
    with transport(), requests.Session() as client:
        assert client.get(server.url).status_code == 200
        server.stop()

        with pytest.raises(requests.ConnectionError) as failed:
            client.get(server.url)

    responses = [each for each in gc.get_objects() if isinstance(each, http.client.HTTPResponse)]
    assert all(hasattr(each, "fp") for each in responses), failed.value


FAST = [name for name in runbooks() if not cases(name)[0].scenario.is_slow]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
def test_reads_of_runs_get_the_same_answers(name: str) -> None:
    """Run each runbook, and send each of its reads again over both transports."""
    case = cases(name)[0]
    with case_world(case) as world:
        run(world, case)
        sandbox, hub = world.sandbox, world.sandbox.github
        assert sandbox.requests or hub.requests
        for base, records, token in (
            (sandbox.api_url.removesuffix("/client/v4"), sandbox.requests, sandbox.token),
            (hub.api_url, hub.requests, hub.token),
        ):
            reads = {(each.path, *sorted(each.query.items())): each for each in records if each.method == "GET"}
            for record in reads.values():
                assert_same_answer(base, record, token)


def assert_same_answer(base: str, record: RequestRecord, token: str) -> None:
    seen = []
    for transport in TRANSPORTS:
        with transport(), httpx.Client(base_url=base, headers={"authorization": f"Bearer {token}"}) as client:
            seen.append(httpx_answer(client, record.method, record.path, params=dict(record.query)))
    assert seen[0] == seen[1], record.path


@pytest.mark.parametrize("address", [("192.0.2.1", 443), ("2001:db8::1", 443)])
def test_no_test_can_reach_another_machine(address: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as one:
        one.settimeout(0.1)
        with pytest.raises(AssertionError, match="a test tried to reach"):
            one.connect(address)


def test_socket_that_nobody_closes_is_found_by_its_own_test(echo: tuple[Echo, Server]) -> None:
    with answered_over_sockets():
        client = httpx.Client(base_url=echo[1].url)
        client.get("/")
        kept: list[object] = [client]
        kept.append(kept)  # a circle, which only the garbage collector ends
        del client, kept
        with pytest.warns(ResourceWarning, match=r"unclosed <socket\.socket"):
            find_unclosed_sockets()


def test_closed_sockets_are_not_found(echo: tuple[Echo, Server], recwarn: pytest.WarningsRecorder) -> None:
    with answered_over_sockets(), httpx.Client(base_url=echo[1].url) as client:
        client.get("/")
    find_unclosed_sockets()
    assert not recwarn.list
