"""The sandbox's HTTP server, where no client behaves."""

import threading

import httpx

from sandbox.server import HttpResponse, Server


def test_an_event_without_a_client_holds_up_no_other_server() -> None:
    """A new server's socket may get the number of a stopped one, and with it an event that was still to be handled."""
    with_no_client, other = Server(lambda _: HttpResponse()), Server(lambda _: HttpResponse(body=b"here"))
    other.start()
    try:
        accepting = threading.Thread(target=with_no_client.accept, daemon=True)
        accepting.start()
        accepting.join(timeout=5)

        assert not accepting.is_alive()
        assert httpx.get(other.url).text == "here"
    finally:
        other.stop()
        with_no_client.server_close()
