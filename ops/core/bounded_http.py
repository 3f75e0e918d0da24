"""Read an answer of any server within a whole time and a number of bytes.

httpx limits only the time between two pieces of an answer, and unpacks all that a piece holds. So a server that sends a
byte every few seconds, or interim answers without an end, could hold a run, and a small packed answer fill its memory.
"""

import functools
import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore
import httpx

PROBE_AGENT = "backout-probe"
"""User agent of the requests of probes, by which analytics tell them from those of other clients."""
MAX_PAGE_URLS = 500
"""Most URLs that a page probe requests in a round; with more, its verdict is inconclusive."""
PACKED = "gzip"
"""The only encoding that requests accept. It is unpacked piece by piece; an answer in another one is read as it is."""
PIECE = 65_536
"""Bytes that are unpacked at once."""
ssl_context = functools.cache(httpx.create_ssl_context)
"""Reads the certificates once for all clients of this process, which takes 6 ms."""


class AnswerTooLarge(httpx.DecodingError):
    """The answer has more bytes than permitted."""


class _Call(threading.local):
    """The call of this thread. A connection serves one call at a time, in the thread of that call."""

    latest: float | None = None
    """Latest moment of its answer, by `time.monotonic`."""


_CALL = _Call()


def _remaining_seconds(timeout: float | None, late: type[Exception]) -> float | None:
    """Return the seconds that an operation on a connection may take: those of the whole call count too."""
    if _CALL.latest is None:
        return timeout
    rest = _CALL.latest - time.monotonic()
    if rest <= 0:
        raise late("the answer did not end in time")
    return rest if timeout is None else min(timeout, rest)


class _NoCookies(httpx.Cookies):
    """Keeps no cookie: one may pin a version, and the search for them takes a quarter of the CPU time of a call."""

    def extract_cookies(self, response: httpx.Response) -> None:
        pass


class _BoundedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining_seconds(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining_seconds(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        rest = _remaining_seconds(timeout, httpcore.ConnectTimeout)
        return _BoundedStream(self._stream.start_tls(ssl_context, server_hostname, rest))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _BoundedBackend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *arguments: Any, **options: Any
    ) -> httpcore.NetworkStream:
        rest = _remaining_seconds(timeout, httpcore.ConnectTimeout)
        return _BoundedStream(self._backend.connect_tcp(host, port, rest, *arguments, **options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


def open_client(*, transport: httpx.BaseTransport | None = None, **options: Any) -> httpx.Client:
    """Return a client of httpx whose calls by `read_answer` end in time, and which sends no cookie of an answer.

    `options` are those of `httpx.Client`.

    Two waits stay outside of that time: the system's look-up of a name, and the client's for a free connection
    (`httpx.Timeout.pool`). Each address of a host has the remaining time to connect.
    """
    http = httpx.Client(transport=transport, headers={"accept-encoding": PACKED}, **options)
    # httpx has no public name for its cookies as they are, nor for the backend of its pools. Without the backend only
    # the pauses of a server are limited.
    http._cookies = _NoCookies()  # noqa: SLF001
    for each in (http._transport, *http._mounts.values()):  # noqa: SLF001
        pool = getattr(each, "_pool", None)
        if isinstance(pool, httpcore.ConnectionPool):
            pool._network_backend = _BoundedBackend(pool._network_backend)  # noqa: SLF001
    return http


def read_answer(
    http: httpx.Client, method: str, url: str, *, within: float, most: int, is_cut: bool = False, **request: Any
) -> tuple[httpx.Response, bytes]:
    """Send a request, and return the response with its unpacked body.

    `within`: seconds for the whole call, at most. `most`: bytes of the body, at most; `is_cut`: whether a longer body
    ends there. `request`: arguments of `httpx.Client.stream`.

    Raises:
        AnswerTooLarge: the body is longer.
        httpx.RequestError: the call failed, or did not end in time.
    """
    _CALL.latest = time.monotonic() + within
    try:
        with http.stream(method, url, **request) as response:
            body = b"".join(_limit_bytes(_unpack_body(response), most))
    finally:
        _CALL.latest = None
    if len(body) > most and not is_cut:
        raise AnswerTooLarge(f"the answer has more than {most} bytes", request=response.request)
    return response, body[:most]


def _limit_bytes(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Yield the pieces until there are more than `most` bytes, or the call's time has passed."""
    size = 0
    for piece in pieces:
        if _CALL.latest is not None and time.monotonic() > _CALL.latest:
            raise httpx.ReadTimeout("the answer did not end in time")
        yield piece
        size += len(piece)
        if size > most:
            return


def _unpack_body(response: httpx.Response) -> Iterator[bytes]:
    """Yield the body in small pieces. Raises httpx.DecodingError."""
    if response.headers.get("content-encoding", "").strip().lower() != PACKED:
        yield from response.iter_raw()
        return
    unpacker, is_empty = zlib.decompressobj(zlib.MAX_WBITS | 16), True  # gzip
    try:
        for packed in response.iter_raw():
            is_empty, rest = is_empty and not packed, packed
            while rest:
                yield unpacker.decompress(rest, PIECE)
                rest = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error as error:
        raise httpx.DecodingError(f"the body is no {PACKED}") from error
    if not (unpacker.eof or is_empty):  # an answer to HEAD has no body
        raise httpx.DecodingError(f"the {PACKED} body has no end")
