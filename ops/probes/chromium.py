"""Start an installed Chromium or Chrome: headless, with a new profile and DevTools.

With the sandbox's edge, the browser reaches only the site's host there, through TLS.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
    from ops.probes import tls_front

    host = urlsplit(url).hostname or ""
    with tls_front.serve_tls_front(host, edge_url) as port:
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
