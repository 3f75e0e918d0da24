"""A small HTTP/1.1 server on loopback: requests in, responses out, and answers that break on purpose."""

import contextlib
import socket
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    target: str
    """Path and query as sent, not decoded."""
    headers: Message
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


@dataclass(kw_only=True)
class Response:
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    sent: int | None = None
    """Announce the whole body, send only so many bytes of it, and close."""


Answer = Callable[[Request], Response | None]
"""None closes the connection without an answer."""


class _Server(TCPServer):
    """Serves `answer` from `start` to `stop`, each connection in a thread of its own."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, answer: Answer, address: Any, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.answer = answer
        self._stopping = threading.Event()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._thread = threading.Thread(target=self._serve, name=f"sandbox-{self.server_address!r}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and wait for its thread."""
        self._stopping.set()
        with socket.socket(self.address_family) as waking:  # the thread that waits for connections
            waking.connect(self.server_address)
        self._thread.join()
        for connection, thread in list(self._connections.items()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()
        self.server_close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self.handle_request()

    def verify_request(self, *_: Any) -> bool:
        return not self._stopping.is_set()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self._converse, args=(request, client_address), daemon=True)
        self._connections[request] = thread
        thread.start()

    def _converse(self, connection: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(connection, client_address)
        finally:
            self.shutdown_request(connection)
            self._connections.pop(connection, None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # and one write for headers and body, or each answer waits 40 ms for an ACK
    server: _Server

    def handle(self) -> None:
        """A client that goes away is no news."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: object) -> None:
        pass

    def _exchange(self) -> None:
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not length.isdigit():
            response: Response | None = Response(status=411)
            self.close_connection = True
        else:
            body = self.rfile.read(int(length))
            request = Request(method=self.command, target=self.path, headers=self.headers, body=body)
            response = self._answer(request)
        if response is None:
            self.close_connection = True
        else:
            self._write(response)

    def _answer(self, request: Request) -> Response | None:
        try:
            return self.server.answer(request)
        except Exception:  # noqa: BLE001  (a bug of the sandbox: it must be seen, and the client answered)
            traceback.print_exc()
            return Response(status=500, headers=[("content-type", "text/plain")], body=b"the sandbox has a bug")

    def _write(self, response: Response) -> None:
        self.close_connection |= response.sent is not None
        lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        if response.status not in {204, 304}:
            lines.append(f"content-length: {len(response.body)}")
        if self.close_connection:
            lines.append("connection: close")
        body = b"" if self.command == "HEAD" else response.body[: response.sent]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _exchange  # noqa: N815


class _UnixHandler(_Handler):
    disable_nagle_algorithm = False  # there is none on a unix socket


class Server(_Server):
    """On a port of this machine; 0 is any that is free."""

    def __init__(self, answer: Answer, port: int = 0) -> None:
        super().__init__(answer, (LOOPBACK, port), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


class UnixServer(_Server):
    """On a socket in the file system."""

    address_family = socket.AF_UNIX

    def __init__(self, answer: Answer, path: Path) -> None:
        super().__init__(answer, str(path), _UnixHandler)

    def server_close(self) -> None:
        super().server_close()
        Path(str(self.server_address)).unlink(missing_ok=True)


def _phrase(status: int) -> str:
    with contextlib.suppress(ValueError):
        return HTTPStatus(status).phrase
    return ""
