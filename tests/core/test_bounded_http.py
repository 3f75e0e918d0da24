"""Servers that send too much, too slowly or without an end: every client of ours ends in time, and keeps its memory."""

import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, repeat

import httpx
import pytest
from hypothesis import strategies as st

from ops.cloudflare.client import CloudflareClient
from ops.config.notify import NotifyConfig, Webhook
from ops.core.bounded_http import AnswerTooLarge, open_client, read_answer
from ops.core.clock import SystemClock
from ops.core.errors import UnclearWrite
from ops.core.redaction import Secret
from ops.github import connection as github_connection
from ops.github.client import open_repository, write_errors
from ops.probes.http import MAX_BYTES, ProbeClient
from ops.publish.chat_services import ChatMessage, NotSentError, PagingAction, find_senders
from tests.support.properties import holds_for

Serve = Callable[[socket.socket], None]
WHOLE = 0.4
"""Seconds of a call in these tests."""
LONGEST = 60.0
"""Seconds after which a slow server gives up. No call waits so long, also on a busy machine."""
HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def serving(serve: Serve) -> Iterator[str]:
    """Answer each connection on loopback with `serve`, until the client has gone. Fails if that took LONGEST."""
    outlasted: list[Serve] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            connection.recv(65_536)
            connection.settimeout(LONGEST)
            try:
                serve(connection)
            except TimeoutError:
                outlasted.append(serve)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    assert outlasted == []


def while_client_waits(pause: float = 0.05) -> Iterator[None]:
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        yield
        time.sleep(pause)
    raise TimeoutError


def drip_status(connection: socket.socket) -> None:
    for _, byte in zip(while_client_waits(), chain(HEAD + b"x-slow: ", repeat(ord("a"))), strict=False):
        connection.sendall(bytes([byte]))


def drip_body(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"content-length: 100000\r\n\r\n")
    for _ in while_client_waits():
        connection.sendall(b".")


def send_interim_answers(connection: socket.socket) -> None:
    for _ in while_client_waits(pause=0):
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n" * 100)


def send_continues(connection: socket.socket) -> None:
    for _ in while_client_waits(pause=0):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def say_nothing(connection: socket.socket) -> None:
    connection.recv(1)


def pack(piece: bytes, times: int) -> bytes:
    """Return a gzip body of the piece this many times; its checksum is wrong."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    block = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08" + bytes(7) + block * times + packer.flush()


BOMB = pack(bytes(10_000_000), 60)
"""A body of 600 kB that unpacks to 600 MB."""


def send_bomb(connection: socket.socket) -> None:
    headers = f"content-encoding: gzip\r\ncontent-type: application/json\r\ncontent-length: {len(BOMB)}\r\n\r\n"
    connection.sendall(HEAD + headers.encode() + BOMB)


SLOW = [drip_status, drip_body, send_interim_answers, say_nothing]


@pytest.mark.parametrize("serve", SLOW)
def test_call_of_a_slow_server_ends_in_time(serve: Serve) -> None:
    with serving(serve) as address, open_client(timeout=2 * LONGEST) as http, pytest.raises(httpx.ReadTimeout):
        read_answer(http, "GET", address, within=WHOLE, most=1000)


def read_probe(address: str) -> None:
    web = ProbeClient(address)
    _, body = web.send("GET", "https://bakery.example/health")
    web.close()
    assert body == bytes(MAX_BYTES)


def write_to_cloudflare(address: str) -> None:
    client = CloudflareClient(address, Secret("token"), token_name="CLOUDFLARE_API_TOKEN", clock=SystemClock())
    with client.writing(), pytest.raises(UnclearWrite, match="AnswerTooLarge"):
        client.write("POST", "/accounts", json={})
    client.close()


def write_to_github(address: str) -> None:
    place = open_repository({"GITHUB_API_URL": address}, "token", "acme/operations")
    with pytest.raises(UnclearWrite, match="ContentDecodingError"), write_errors():
        place.create_label("a", "ffffff")


def post_to_chat(address: str) -> None:
    (sender,), _ = find_senders({"HOOK": address}, NotifyConfig(slack=Webhook(webhook="HOOK")), is_drill=True)
    with pytest.raises(NotSentError, match="answered 200"):
        sender.send(ChatMessage("Started", "started", PagingAction.ACKNOWLEDGE), "")


@pytest.mark.parametrize("ask", [read_probe, write_to_cloudflare, write_to_github, post_to_chat])
def test_small_body_that_unpacks_to_600_megabytes_ends_early(ask: Callable[[str], None]) -> None:
    assert len(BOMB) < 700_000
    with serving(send_bomb) as address:
        began = time.process_time()
        ask(address)
        spent = time.process_time() - began
        tracemalloc.start()  # which takes most of the time
        try:
            ask(address)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert spent < 1.0
    assert peak < 50_000_000


@holds_for(fast=30, slow=300, body=st.binary(max_size=200), times=st.integers(1, 2000), most=st.integers(0, 5000))
def test_body_is_whole_cut_or_refused(body: bytes, times: int, most: int) -> None:
    """The reference packs with gzip. A longer body is refused, or ends where the caller says."""
    whole = body * times

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(gzip.compress(whole)))

    with open_client(transport=httpx.MockTransport(answer)) as http:
        ask = partial(read_answer, http, "GET", "http://127.0.0.1", within=5.0, most=most)
        assert ask(is_cut=True)[1] == whole[:most]
        if len(whole) > most:
            with pytest.raises(AnswerTooLarge):
                ask()
        else:
            assert ask()[1] == whole


@pytest.mark.parametrize(
    ("serve", "error"),
    [
        (drip_body, "ContentDecodingError"),
        (drip_status, "ConnectionError"),
        (send_continues, "ConnectionError"),
        (say_nothing, "ConnectionError"),
    ],
)
def test_slow_answer_of_github_ends_in_time(monkeypatch: pytest.MonkeyPatch, serve: Serve, error: str) -> None:
    """The pieces of the body are small, so that none fills a buffer before the time has passed."""
    monkeypatch.setattr(github_connection, "LONGEST_PART", WHOLE)
    with serving(serve) as address:
        place = open_repository({"GITHUB_API_URL": address}, "token", "acme/operations")
        with pytest.raises(UnclearWrite, match=error), write_errors():
            place.create_label("a", "ffffff")


@pytest.mark.parametrize(
    "body",
    [
        b"content-length: 100\r\n\r\n{}",
        b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"transfer-encoding: chunked\r\n\r\n9\r\n{}",
    ],
)
def test_cut_body_of_github_is_not_whole(body: bytes) -> None:
    with serving(lambda connection: connection.sendall(HEAD + body)) as address:
        place = open_repository({"GITHUB_API_URL": address}, "token", "acme/operations")
        with pytest.raises(UnclearWrite, match="ConnectionError"), write_errors():
            place.create_label("a", "ffffff")


@pytest.mark.parametrize("kept", [10, -9, -1])
def test_packed_body_without_its_end_is_not_whole(kept: int) -> None:
    packed = gzip.compress(b"name: api, name: worker")[:kept]

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(packed))

    with open_client(transport=httpx.MockTransport(answer)) as http, pytest.raises(httpx.DecodingError, match="end"):
        read_answer(http, "GET", "http://127.0.0.1", within=5.0, most=100)


def test_packed_answer_may_have_no_body() -> None:
    """As for HEAD: RFC 9110, section 9.3.2."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b""))

    with open_client(transport=httpx.MockTransport(answer)) as http:
        assert read_answer(http, "HEAD", "http://127.0.0.1", within=5.0, most=100)[1] == b""
