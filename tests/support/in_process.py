"""Answer the requests of HTTP clients to a sandbox of this process without a socket.

The clients are the real ones, down to the function that connects: httpx's transport, urllib3's connection, and
`socket.create_connection` for the sandbox's clock. A request to an address where no sandbox of this process listens
takes a socket, and so does one whose answer may wait in real time, because only a socket has timeouts.
"""

import io
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from functools import cache
from typing import Any, Self

import httpx
from urllib3.connection import HTTPConnection

from sandbox import server
from sandbox.server import HttpResponse, Server

_over_socket = httpx.HTTPTransport.handle_request
_connect = HTTPConnection._new_conn
_create_socket = socket.create_connection


@contextmanager
def answered_in_process() -> Iterator[None]:
    """Send no request to a sandbox of this process over a socket."""
    with _transport(_handle_request, _new_connection, _create_connection):
        yield


@contextmanager
def answered_over_sockets() -> Iterator[None]:
    """Send every request over a socket."""
    with _transport(_over_socket, _connect, _create_socket):
        yield


@contextmanager
def _transport(*functions: Any) -> Iterator[None]:
    places = (httpx.HTTPTransport, "handle_request"), (HTTPConnection, "_new_conn"), (socket, "create_connection")
    former = [getattr(owner, name) for owner, name in places]
    for (owner, name), function in zip(places, functions, strict=True):
        setattr(owner, name, function)
    try:
        yield
    finally:
        for (owner, name), function in zip(places, former, strict=True):
            setattr(owner, name, function)


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


def _new_connection(connection: HTTPConnection) -> Any:
    here = (connection.host, connection.port or 80)
    return _Connection(here, connection.timeout) if here in server.RUNNING else _connect(connection)


def _create_connection(address: tuple[str, int], timeout: float | None = None, *more: Any, **options: Any) -> Any:
    if not (more or options) and _prompt_server(*address) is not None:  # only the clock gives nothing more
        return _Connection(address, timeout)
    return _create_socket(address, timeout, *more, **options)


@cache
def _silent_pipe() -> int:
    """A descriptor that never becomes readable, as that of a connection which the server keeps open."""
    return os.pipe()[0]


class _Connection:
    """The part of a socket that `http.client` and urllib3 use, which passes each request to the server's own reader."""

    def __init__(self, address: tuple[str, int], timeout: Any) -> None:
        self._address, self._timeout = address, timeout
        self._server: Server | None = None
        """The server that gets the request without a socket."""
        self._sent = b""
        self._real: socket.socket | None = None

    def sendall(self, data: bytes) -> None:
        """Send a part of a request. Its first part decides whether the request takes a socket."""
        if not self._sent:
            self._server = _prompt_server(*self._address)
            if self._server is None and self._real is None:
                self._real = _create_socket(self._address, self._timeout)
        self._sent += data
        if self._server is None and self._real is not None:
            self._real.sendall(data)

    def makefile(self, _mode: str) -> Any:
        """Return the response to what was sent. Like that of a socket, this cannot fail.

        `http.client` calls it in the constructor of a response, and a response without a file fails in its finalizer.
        """
        sent, self._sent = self._sent, b""
        if self._server is None and self._real is not None:
            return self._real.makefile("rb")
        answer = io.BytesIO()
        if self._server is not None and server.RUNNING.get(self._address) is self._server:
            server.serve_stream(self._server, io.BytesIO(sent), answer)
        return io.BytesIO(answer.getvalue())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def settimeout(self, timeout: Any) -> None:
        self._timeout = timeout
        if self._real is not None:
            self._real.settimeout(timeout)

    def fileno(self) -> int:
        return self._real.fileno() if self._real is not None else _silent_pipe()

    def close(self) -> None:
        if self._real is not None:
            self._real.close()

    def shutdown(self, how: int) -> None:
        if self._real is not None:
            self._real.shutdown(how)
