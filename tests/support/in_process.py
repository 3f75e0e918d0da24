"""Answer the requests of HTTP clients to a sandbox of this process without a socket.

The clients are the real ones, down to their last step: httpx's transport, urllib3's connection, and
`socket.create_connection` for the sandbox's clock. A request to an address where no sandbox of this process listens
takes a socket, and so does one whose answer may wait in real time, because only a socket has timeouts. While no answer
may wait, a limit of `ops` for the result of another thread ends nothing: it would only show that the machine is slow.
"""

import http.client
import io
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from urllib3 import HTTPHeaderDict
from urllib3 import HTTPResponse as Answer
from urllib3.connection import HTTPConnection

from sandbox import server
from sandbox.faults import Fault, Faults
from sandbox.server import HttpResponse, Server

_over_socket = httpx.HTTPTransport.handle_request
_send, _receive = HTTPConnection.request, HTTPConnection.getresponse
_create_socket = socket.create_connection
_result = Future.result


@contextmanager
def answered_in_process() -> Iterator[None]:
    """Send no request to a sandbox of this process over a socket."""
    with _transport(_handle_request, _request, _get_response, _create_connection, _await_result):
        yield


@contextmanager
def answered_over_sockets() -> Iterator[None]:
    """Send every request over a socket."""
    with _transport(_over_socket, _send, _receive, _create_socket, _result):
        yield


HOLD = 60.0
"""Seconds until a held request goes on. Those who do not wait for it are much faster, also on a busy machine."""
_keepers: list[None] = []
"""One entry per block in which the limits of `ops` count as they are."""


@contextmanager
def held(place: Faults, **rule: Any) -> Iterator[Fault]:
    """Hold requests until the end of the block, which fails if it waits for them; then they are lost.

    They take no socket, so that no timeout of a client ends the wait: only a limit of `ops` does.
    """
    is_over, has_waited = threading.Event(), threading.Event()

    def hold() -> None:
        if not (has_waited.is_set() or is_over.wait(HOLD)):
            has_waited.set()

    fault = place.add(Fault(before=hold, lost="before", times=None, is_prompt=True, **rule))
    try:
        with answered_in_process(), limits_kept():
            yield fault
        assert fault.hits, "no request was held"
        assert not place.may_wait, "another fault lets the requests take sockets"
        assert not has_waited.is_set(), f"a request was held for {HOLD} s, and the block waited for it"
    finally:
        is_over.set()
        fault.remove()


@contextmanager
def limits_kept() -> Iterator[None]:
    """Let a limit of `ops` for another thread end a wait, although no request takes a socket."""
    _keepers.append(None)
    try:
        yield
    finally:
        _keepers.pop()


@contextmanager
def _transport(*functions: Any) -> Iterator[None]:
    connection = (HTTPConnection, "request"), (HTTPConnection, "getresponse")
    waits = (socket, "create_connection"), (Future, "result")
    places = (httpx.HTTPTransport, "handle_request"), *connection, *waits
    former = [getattr(owner, name) for owner, name in places]
    for (owner, name), function in zip(places, functions, strict=True):
        setattr(owner, name, function)
    try:
        yield
    finally:
        for (owner, name), function in zip(places, former, strict=True):
            setattr(owner, name, function)


def _await_result(future: Future[Any], timeout: float | None = None) -> Any:
    running = list(server.RUNNING.values())
    may_wait = _keepers or not running or not all(each.is_prompt() for each in running)
    return _result(future, timeout if timeout is None or may_wait else max(timeout, HOLD))


def _prompt_server(host: str, port: int | None) -> Server | None:
    found = server.RUNNING.get((host, port or 80))
    return found if found is not None and found.is_prompt() else None


def _handle_request(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
    found = _prompt_server(request.url.host, request.url.port)
    if found is None or "transfer-encoding" in request.headers:
        return _over_socket(transport, request)
    headers = Message()
    for name, value in request.headers.raw:
        headers[name.decode("latin-1")] = value.decode("latin-1")
    target: bytes = request.extensions.get("target", request.url.raw_path)
    response = found.respond(request.method, target.decode("latin-1"), headers, request.read())
    if response is None:
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
    keep = response.truncate_at is None and headers.get("connection", "").lower() != "close"
    sent = server.headers_to_send(response, keep=keep)
    given = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent]
    body = _Body(response, is_empty=request.method == "HEAD")
    return httpx.Response(response.status, headers=given, stream=body, extensions={"http_version": b"HTTP/1.1"})


class _Body(httpx.SyncByteStream):
    """The body of a response, which may end too early."""

    def __init__(self, response: HttpResponse, *, is_empty: bool) -> None:
        self._response, self._is_empty = response, is_empty

    def __iter__(self) -> Iterator[bytes]:
        if self._is_empty:
            return
        yield self._response.body[: self._response.truncate_at]
        if self._response.truncate_at is not None and self._response.truncate_at < len(self._response.body):
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


@dataclass(frozen=True)
class _Pending:
    """A request that urllib3 has sent, and whose response it has not yet asked for."""

    to: Server
    method: str
    url: str
    headers: Message
    body: bytes
    options: Mapping[str, Any]


def _request(
    connection: HTTPConnection, method: str, url: str, body: Any = None, headers: Any = None, **options: Any
) -> None:
    found = _prompt_server(connection.host, connection.port)
    pending = found and _as_sent(found, connection, method, url, body, headers or {}, **options)
    connection.__dict__["pending"] = pending
    if pending is None:
        _send(connection, method, url, body=body, headers=headers, **options)


def _as_sent(
    to: Server,
    connection: HTTPConnection,
    method: str,
    url: str,
    body: Any,
    headers: Mapping[str, str | bytes],
    *,
    chunked: bool = False,
    **options: Any,
) -> _Pending | None:
    """Return the request as `requests` sends it, or None if urllib3 would add more than the host."""
    data = (body or "").encode() if isinstance(body, str | None) else body
    sent = Message()
    for name, value in headers.items():
        sent[name] = (value.encode("latin-1") if isinstance(value, str) else value).decode("latin-1")
    is_whole = isinstance(data, bytes) and (not data or "content-length" in sent)
    if chunked or not is_whole or any(name not in sent for name in ("accept-encoding", "user-agent")):
        return None
    if "host" not in sent:
        here = f"{connection.host}:{connection.port}"
        sent["Host"] = urlsplit(url).netloc if url.startswith("http") else here  # a proxy gets the whole URL
    return _Pending(to, method, url, sent, data, options)


def _get_response(connection: HTTPConnection) -> Any:
    pending: _Pending | None = connection.__dict__.pop("pending", None)
    if pending is None:
        return _receive(connection)
    response = pending.to.respond(pending.method, pending.url, pending.headers, pending.body)
    if response is None:
        raise http.client.RemoteDisconnected("Remote end closed connection without response")
    body = b"" if pending.method == "HEAD" else response.body[: response.truncate_at]
    return Answer(
        io.BytesIO(body),
        HTTPHeaderDict(server.headers_to_send(response, keep=response.truncate_at is None)),
        response.status,
        version=11,
        version_string="HTTP/1.1",
        reason=http.client.responses.get(response.status, ""),
        request_method=pending.method,
        request_url=pending.url,
        **pending.options,
    )


def _create_connection(address: tuple[str, int], timeout: float | None = None, *more: Any, **options: Any) -> Any:
    found = None if more or options else _prompt_server(*address)  # only the clock gives nothing more
    return _create_socket(address, timeout, *more, **options) if found is None else _Connection(found)


class _Connection:
    """The part of a socket that the sandbox's clock uses, which passes its request to the server's own reader."""

    def __init__(self, to: Server) -> None:
        self._server, self._sent = to, b""

    def sendall(self, data: bytes) -> None:
        self._sent += data

    def makefile(self, _mode: str) -> Any:
        answer = io.BytesIO()
        server.serve_stream(self._server, io.BytesIO(self._sent), answer)
        return io.BytesIO(answer.getvalue())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass
