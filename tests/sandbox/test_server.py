"""HTTP server of the sandbox under misbehaving clients."""

import threading

import httpx

from sandbox.server import HttpResponse, Server


def test_event_without_client_does_not_block_other_servers() -> None:
    """A new server's socket can reuse the number of a stopped one, and receive its pending event."""
    with_no_client, other = Server(lambda _: HttpResponse()), Server(lambda _: HttpResponse(body=b"here"))
    other.start()
    try:
        accepting = threading.Thread(target=with_no_client.accept, daemon=True)
        accepting.start()
        accepting.join(timeout=5)

        assert not accepting.is_alive()
        assert httpx.get(other.url, verify=False).text == "here"
    finally:
        other.stop()
        with_no_client.server_close()
