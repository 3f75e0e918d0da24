"""HTTP server of the sandbox under misbehaving clients."""

import socket
import threading

import httpx

from sandbox.server import LOOPBACK, HttpRequest, HttpResponse, Server


def test_event_without_client_does_not_block_other_servers() -> None:
    """A new server's socket can reuse the number of a stopped one, and receive its pending event."""
    with_no_client, other = Server(lambda _: HttpResponse()), Server(lambda _: HttpResponse(body=b"here"))
    other.start()
    try:
        accepting = threading.Thread(target=with_no_client.accept, daemon=True)
        accepting.start()
        accepting.join(timeout=30)

        assert not accepting.is_alive()
        assert httpx.get(other.url, verify=False).text == "here"
    finally:
        other.stop()
        with_no_client.server_close()


def test_request_that_ends_early_has_no_effect() -> None:
    """A killed client sends a part of its body: no server acts on that."""
    received: list[bytes] = []

    def answer(request: HttpRequest) -> HttpResponse:
        received.append(request.body)
        return HttpResponse()

    server = Server(answer)
    server.start()
    try:
        with socket.create_connection((LOOPBACK, server.port)) as client:
            client.sendall(b'POST /a HTTP/1.1\r\ncontent-length: 9\r\n\r\n{"a":')
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
    finally:
        server.stop()
    assert received == []
