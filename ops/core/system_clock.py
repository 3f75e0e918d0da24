"""The two clocks: this machine's, and a sandbox's, which a drill or a test may set and which may stand still."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from socket import create_connection
from typing import Any
from urllib.parse import urlsplit

from ops.core.clock import parse_utc
from ops.core.errors import ConfigError, Reason
from ops.core.loopback import is_loopback

TIMEOUT = 5.0
"""Seconds for one answer of a sandbox's clock, which is on this machine."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SandboxClock:
    """A sandbox's clock. One that stands still is moved on by sleeping, which takes no time, and is read only then."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        try:
            answer = self._ask("GET")
            self._is_virtual, self._stands_at = bool(answer["virtual"]), parse_utc(answer["now"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"the clock of the sandbox cannot be read at {url} ({type(error).__name__})",
                hint="Start `ops sandbox` again and set the variables that it prints.",
            ) from None

    def now(self) -> datetime:
        return self._stands_at if self._is_virtual else parse_utc(self._ask("GET")["now"])

    def monotonic(self) -> float:
        return self._stands_at.timestamp() if self._is_virtual else time.monotonic()

    def sleep(self, seconds: float) -> None:
        if self._is_virtual:
            self._stands_at = parse_utc(self._ask("POST", {"advance": seconds})["now"])
        else:
            time.sleep(seconds)

    def _ask(self, method: str, body: Any = None) -> Any:
        """On a connection of its own: threads share a clock, and a run asks it once or twice.

        Raises OSError, and ValueError for another answer than 200 with JSON. An HTTP client would take ten times as
        long, and a sandbox answers as plainly as it is asked.
        """
        data = json.dumps(body).encode()
        head = f"{method} {self._url.path} HTTP/1.1\r\nhost: {self._url.netloc}\r\nconnection: close\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        with create_connection((self._url.hostname, self._url.port or 80), timeout=TIMEOUT) as connection:
            connection.sendall(head.encode() + data)
            with connection.makefile("rb") as answer:
                said, _, told = answer.read().partition(b"\r\n\r\n")
        if not said.startswith(b"HTTP/1.1 200 "):
            raise ValueError(said[:40])
        return json.loads(told)


def current_time(environ: Mapping[str, str]) -> datetime:
    """A sandbox's clock counts only beside a sandbox's GitHub: else it would make old events young."""
    url = environ.get("OPS_CLOCK_URL")
    if not url:
        return SystemClock().now()
    if not is_loopback(url) or not is_loopback(environ.get("GITHUB_API_URL", "")):
        hint = "Run `unset OPS_CLOCK_URL`: only a sandbox on this machine, GitHub included, has a clock of its own."
        raise ConfigError(
            "OPS_CLOCK_URL is set, and this GitHub is no sandbox's", reason=Reason.NOT_LOOPBACK, hint=hint
        )
    return SandboxClock(url).now()
