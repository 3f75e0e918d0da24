"""Connections to GitHub that end if an answer is too long or too slow."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from github.Requester import HTTPRequestsConnectionClass, HTTPSRequestsConnectionClass, RequestsResponse

from ops.core.threads import run_in_background

MAX_BYTES = 32_000_000
"""Longest answer: a page of 100 comments of 65,536 characters each, in bytes."""
LONGEST_PART = 30.0
"""Seconds for the headers of an answer, and again for its body."""
PIECE = 65_536


def _iter_pieces(response: requests.Response) -> Iterator[bytes]:
    """Yield the body as it arrives: `iter_content` waits until a piece is full. Raises requests.RequestException."""
    try:
        while piece := response.raw.read1(PIECE, decode_content=True):
            yield piece
    except urllib3.exceptions.DecodeError as error:
        raise requests.exceptions.ContentDecodingError(error, response=response) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ConnectionError(error, response=response) from error


def _read_bounded(response: requests.Response) -> None:
    """Read the body of an answer before requests does, which reads all that the server sends.

    Raises requests.RequestException.
    """
    latest, pieces, size = time.monotonic() + LONGEST_PART, list[bytes](), 0
    for piece in _iter_pieces(response):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BYTES or time.monotonic() > latest:
            response.close()
            limit = f"{MAX_BYTES} bytes" if size > MAX_BYTES else f"{LONGEST_PART:g} s"
            raise requests.exceptions.ContentDecodingError(f"the answer takes more than {limit}", response=response)
    response._content = b"".join(pieces)  # noqa: SLF001  requests has no other way to say that the body was read


class _BoundedConnection(http.client.HTTPConnection):
    """Ends a connection whose headers do not arrive in time: its timeout limits only the pause between two pieces."""

    def getresponse(self) -> Any:
        """Raises what the standard library raises if a server closes the connection."""
        arrived = threading.Event()
        run_in_background(partial(_shut_down_if_late, self.sock, arrived))
        try:
            return super().getresponse()
        finally:
            arrived.set()


def _shut_down_if_late(sock: socket.socket, arrived: threading.Event) -> None:
    # Of a TLS connection only the socket below it: closing the TLS layer in another thread is not safe.
    if not arrived.wait(LONGEST_PART):
        with contextlib.suppress(OSError):  # it is closed already
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _PlainConnection(_BoundedConnection, urllib3.connection.HTTPConnection):
    pass


class _TlsConnection(_BoundedConnection, urllib3.connection.HTTPSConnection):
    pass


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class BoundedAdapter(requests.adapters.HTTPAdapter):
    """An adapter of requests whose connections are bounded, also those through a proxy."""

    guard: Callable[[requests.PreparedRequest], None] | None = None

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        if self.guard:
            self.guard(request)
        return super().send(request, *arguments, **options)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(*arguments, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


_POOLS = {"http": _PlainPool, "https": _TlsPool}


class _DirectConnection:
    """Sends the headers of a request as they are.

    A session of requests would also merge its empty settings and keep cookies, which the API of GitHub does not need.
    That takes a quarter of the CPU time of a request.
    """

    def getresponse(self: Any) -> RequestsResponse:
        """Send the request and return the answer. Raises requests.RequestException.

        A read of a renamed repository goes to the address that GitHub gives, on the same host. PyGithub would leave out
        its query, and with it the filters of a list.
        docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api#follow-redirects
        """
        address = f"{self.protocol}://{self.host}:{self.port}{self.url}"
        response = self._send_to(address)
        if self.verb == "GET" and response.is_redirect:
            moved = urljoin(address, response.headers["location"])
            if _origin_of(moved) == _origin_of(address):
                response = self._send_to(moved)
        return RequestsResponse(response)

    def _send_to(self: Any, address: str) -> requests.Response:
        session, request = self.session, requests.PreparedRequest()
        request.prepare_method(self.verb)
        request.prepare_url(address, None)
        request.prepare_headers({**session.headers, **self.headers})
        request.prepare_body(self.input, None)
        adapter = session.get_adapter(request.url)
        response: requests.Response = adapter.send(
            request, timeout=self.timeout, verify=self.verify, proxies=session.proxies
        )
        _read_bounded(response)
        return response


def _origin_of(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


class PlainApi(_DirectConnection, HTTPRequestsConnectionClass):
    pass


class TlsApi(_DirectConnection, HTTPSRequestsConnectionClass):
    pass
