"""Serve TLS in front of the sandbox's edge, so that a browser sees the site's https origin."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import trustme

BUFFER_SIZE = 65_536


@contextlib.contextmanager
def serve_tls_front(host: str, edge_url: str) -> Iterator[int]:
    """Yield a port that accepts TLS as `host`, with a temporary certificate, and forwards to the edge."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert(host).configure_cert(context)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        threading.Thread(target=_accept, args=(listening, context, edge_url), daemon=True).start()
        yield listening.getsockname()[1]


def _accept(listening: socket.socket, context: ssl.SSLContext, edge_url: str) -> None:
    with contextlib.suppress(OSError):  # the socket is closed at the end
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_serve, args=(connection, context, edge_url), daemon=True).start()


def _serve(connection: socket.socket, context: ssl.SSLContext, edge_url: str) -> None:
    """Forward one connection until either side closes it."""
    edge = urlsplit(edge_url)
    with (
        connection,
        contextlib.suppress(OSError),
        context.wrap_socket(connection, server_side=True) as browser,
        socket.create_connection((edge.hostname or "", edge.port or 80)) as behind,
    ):
        threading.Thread(target=_hand_on, args=(behind, browser), daemon=True).start()
        _hand_on(browser, behind)


def _hand_on(giving: socket.socket, taking: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := giving.recv(BUFFER_SIZE):
            taking.sendall(data)
    for end in (giving, taking):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
