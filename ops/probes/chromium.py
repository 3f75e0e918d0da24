"""Start an installed Chromium or Chrome: headless, with a new profile and DevTools.

With the sandbox's edge, the browser reaches only the site's host there, through TLS.
"""

import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

FLAGS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-features=Translate,MediaRouter,OptimizationHints",
    "--disable-sync",
    "--mute-audio",
    "--password-store=basic",
    "--use-mock-keychain",
)
BUFFER_SIZE = 65_536


class BrowserNotStarted(Exception):
    """The browser did not start."""


@contextmanager
def start_browser(program: str, profile: Path, url: str, edge_url: str | None, deadline: float) -> Iterator[str]:
    """Start the browser, yield the address of its DevTools, and kill it at the end.

    `deadline`: time of `time.monotonic()`. Raises BrowserNotStarted.
    """
    log = profile / "log.txt"
    with _flags(url, edge_url) as flags:
        argv = [program, *flags, f"--user-data-dir={profile}"]
        with log.open("wb") as output:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield _endpoint(process, profile / "DevToolsActivePort", log, deadline)
        finally:
            process.kill()
            process.wait()


@contextmanager
def _flags(url: str, edge_url: str | None) -> Iterator[list[str]]:
    # Chromium does not start with its sandbox as root.
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    if edge_url is None:
        yield flags
        return
    host = urlsplit(url).hostname or ""
    with _serve_tls_front(host, edge_url) as port:
        rules = f"MAP {host} 127.0.0.1:{port},MAP * ~NOTFOUND"  # the first match applies
        yield [*flags, f"--host-resolver-rules={rules}", "--ignore-certificate-errors"]


def _endpoint(process: "subprocess.Popen[bytes]", written: Path, log: Path, deadline: float) -> str:
    """Wait until Chromium writes its port and path to a file, and return the address."""
    while time.monotonic() < deadline:
        lines = written.read_text().splitlines() if written.exists() else []
        if len(lines) > 1:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        if process.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise BrowserNotStarted(" ".join(["it did not start", f"(exit {process.returncode})", *last]))
        time.sleep(0.02)
    raise BrowserNotStarted("it did not start in time")


@contextmanager
def _serve_tls_front(host: str, edge_url: str) -> Iterator[int]:
    """Yield a port that accepts TLS as `host`, with a temporary certificate, and forwards to the edge."""
    import trustme

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert(host).configure_cert(context)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        threading.Thread(target=_accept, args=(listening, context, edge_url), daemon=True).start()
        yield listening.getsockname()[1]


def _accept(listening: socket.socket, context: ssl.SSLContext, edge_url: str) -> None:
    with suppress(OSError):  # the socket is closed at the end
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_forward, args=(connection, context, edge_url), daemon=True).start()


def _forward(connection: socket.socket, context: ssl.SSLContext, edge_url: str) -> None:
    """Forward one connection until either side closes it."""
    edge = urlsplit(edge_url)
    with (
        connection,
        suppress(OSError),
        context.wrap_socket(connection, server_side=True) as browser,
        socket.create_connection((edge.hostname or "", edge.port or 80)) as behind,
    ):
        threading.Thread(target=_copy_bytes, args=(behind, browser), daemon=True).start()
        _copy_bytes(browser, behind)


def _copy_bytes(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(BUFFER_SIZE):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
