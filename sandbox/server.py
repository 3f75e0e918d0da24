"""A small HTTP/1.1 server on loopback that can also break its responses on purpose."""

import contextlib
import json
import selectors
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import cached_property, partial
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from socketserver import StreamRequestHandler, TCPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

LOOPBACK = "127.0.0.1"
MAX_LINE_BYTES = 65_536
"""Maximum bytes of the request line and of each header."""


@dataclass(frozen=True, kw_only=True)
class HttpRequest:
    method: str
    target: str
    """Path and query as sent, not decoded."""
    headers: Message
    body: bytes

    @cached_property
    def path(self) -> str:
        return urlsplit(self.target).path

    @cached_property
    def query(self) -> Mapping[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


@dataclass(kw_only=True)
class HttpResponse:
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    truncate_at: int | None = None
    """Declare the full content length, send only this many bytes of the body, and close the connection."""


def json_response(status: int, value: Any) -> HttpResponse:
    return HttpResponse(status=status, headers=[("content-type", "application/json")], body=json.dumps(value).encode())


Responder = Callable[[HttpRequest], HttpResponse | None]
"""A responder that returns None closes the connection without a response."""


class _Acceptor:
    """One thread per process that accepts the connections of all its servers."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._servers: set[_Server] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, server: "_Server") -> None:
        """Accept connections to the server. A selector can register sockets while another thread waits on it."""
        with self._lock:
            self._servers.add(server)
            self._selector.register(server, selectors.EVENT_READ, server)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="sandbox", daemon=True)
                self._thread.start()

    def remove(self, server: "_Server") -> None:
        """Accept no further connections to the server."""
        with self._lock:
            self._servers.remove(server)
            self._selector.unregister(server)

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                with self._lock:
                    if key.data in self._servers:
                        key.data.accept()


_ACCEPTOR = _Acceptor()


class _ThreadPool:
    """Pool of threads, each of which serves one connection at a time. A thread start takes 0.1 ms."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def run(self, work: Callable[[], None]) -> None:
        """Call `work` in an idle thread, or in a new one."""
        with self._lock:
            if self._idle:
                self._idle -= 1
                self._work.put(work)
                return
        threading.Thread(target=self._run, args=(work,), name="sandbox connection", daemon=True).start()

    def _run(self, work: Callable[[], None]) -> None:
        while True:
            work()
            with self._lock:
                self._idle += 1
            work = self._work.get()


_THREAD_POOL = _ThreadPool()


class _Server(TCPServer):
    """Calls `answer` for each request between `start` and `stop`, one thread per connection."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, answer: Responder, address: Any, handler: type[StreamRequestHandler]) -> None:
        super().__init__(address, handler)
        self.socket.settimeout(0)  # the event may belong to a stopped server whose descriptor this socket reuses
        self.answer = answer
        self._connections: dict[socket.socket, threading.Lock] = {}
        """Connection → lock, released when the connection has ended."""

    def respond(self, method: str, target: str, headers: Message, body: bytes) -> HttpResponse | None:
        """Return the response to a well-formed request; None closes the connection without one."""
        if target.startswith("//"):  # a browser would read the next part as a host
            target = "/" + target.lstrip("/")
        try:
            return self.answer(HttpRequest(method=method, target=target, headers=headers, body=body))
        except Exception:  # noqa: BLE001  (a bug of the sandbox: it must be seen, and the client answered)
            traceback.print_exc()
            return HttpResponse(status=500, headers=[("content-type", "text/plain")], body=b"the sandbox has a bug")

    def start(self) -> None:
        _ACCEPTOR.add(self)

    def stop(self) -> None:
        """Close every connection and wait until all have ended."""
        _ACCEPTOR.remove(self)
        for connection, ending in list(self._connections.items()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            with ending:
                pass
        self.server_close()

    def accept(self) -> None:
        with contextlib.suppress(OSError):  # the client has already disconnected
            request, address = self.get_request()
            request.settimeout(None)
            self.process_request(request, address)

    def process_request(self, request: Any, client_address: Any) -> None:
        ending = self._connections[request] = threading.Lock()
        ending.acquire()
        _THREAD_POOL.run(partial(self._serve_connection, request, client_address, ending))

    def _serve_connection(self, connection: socket.socket, client_address: Any, ending: threading.Lock) -> None:
        try:
            self.finish_request(connection, client_address)
        finally:
            self.shutdown_request(connection)
            self._connections.pop(connection, None)
            ending.release()


class _Handler(StreamRequestHandler):
    """HTTP/1.1 for well-formed clients. `http.server` spends half of a request's time on parsing headers."""

    disable_nagle_algorithm = True  # and a single write; otherwise each response waits 40 ms for an ACK
    server: _Server

    def handle(self) -> None:
        """Serve the requests of the connection; ignore a client that disconnects."""
        with contextlib.suppress(ConnectionError):
            while self.serve_request():
                pass

    def serve_request(self) -> bool:
        line = self.rfile.readline(MAX_LINE_BYTES)
        if not line:
            return False
        try:
            method, target, version = line.decode("latin-1").split()
            headers = self._headers()
        except ValueError:
            return self._write(HttpResponse(status=400), keep=False)
        keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdigit():
            return self._write(HttpResponse(status=411), keep=False)
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.rfile.read(int(length))
        if len(body) < int(length):  # the client ended within its request, which then has no effect
            return False
        response = self.server.respond(method, target, headers, body)
        return response is not None and self._write(response, keep=keep, with_body=method != "HEAD")

    def _headers(self) -> Message:
        """Read the headers. Raises ValueError if a header is malformed."""
        headers = Message()
        while (line := self.rfile.readline(MAX_LINE_BYTES)) not in {b"\r\n", b"\n"}:
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or name != name.strip():
                raise ValueError(name)
            headers[name] = value.strip()
        return headers

    def _write(self, response: HttpResponse, *, keep: bool, with_body: bool = True) -> bool:
        """Send the response and return whether the connection stays open."""
        keep &= response.truncate_at is None
        lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}"]
        lines += [f"{name}: {value}" for name, value in headers_to_send(response, keep=keep)]
        body = response.body[: response.truncate_at] if with_body else b""
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return keep


def headers_to_send(response: HttpResponse, *, keep: bool) -> list[tuple[str, str]]:
    """Return all headers of the response on a connection that stays open, or does not."""
    length = [] if response.status in {204, 304} else [("content-length", str(len(response.body)))]
    return [*response.headers, *length, *([] if keep else [("connection", "close")])]


def serve_stream(server: _Server, request: BytesIO, answer: BytesIO) -> None:
    """Read one request as from a connection to the server, and write the response."""
    handler = _Handler.__new__(_Handler)
    handler.server, handler.rfile, handler.wfile = server, request, answer
    handler.serve_request()


class _UnixHandler(_Handler):
    disable_nagle_algorithm = False  # a Unix socket has none


RUNNING: dict[tuple[str, int], "Server"] = {}
"""Address → server of this process between `start` and `stop`, so that its tests can call it without a socket."""


class Server(_Server):
    """Server on a loopback port; port 0 selects a free one."""

    def __init__(self, answer: Responder, port: int = 0, *, is_prompt: Callable[[], bool] = lambda: True) -> None:
        """`is_prompt`: whether no answer waits in real time now, so that a client without a socket needs no timeout."""
        super().__init__(answer, (LOOPBACK, port), _Handler)
        self.is_prompt = is_prompt

    def start(self) -> None:
        super().start()
        RUNNING[LOOPBACK, self.port] = self

    def stop(self) -> None:
        RUNNING.pop((LOOPBACK, self.port), None)
        super().stop()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


class UnixServer(_Server):
    """Server on a Unix socket."""

    address_family = socket.AF_UNIX

    def __init__(self, answer: Responder, path: Path) -> None:
        super().__init__(answer, str(path), _UnixHandler)

    def server_close(self) -> None:
        super().server_close()
        Path(str(self.server_address)).unlink(missing_ok=True)


def _phrase(status: int) -> str:
    with contextlib.suppress(ValueError):
        return HTTPStatus(status).phrase
    return ""
