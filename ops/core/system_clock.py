"""The clock of this machine, and the clock of a sandbox, which a test may set or stop."""

import json
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from ops.core.clock import parse_utc
from ops.core.errors import ConfigError, Reason
from ops.core.loopback import is_loopback

TIMEOUT = 5.0
"""Seconds to wait for an answer of the sandbox's clock, which runs on this machine."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SandboxClock:
    """The clock of a sandbox, over HTTP. A virtual clock moves only by `sleep`, which takes no real time.

    Another one is moved by a sleep that is longer than its `longest_sleep`, so that a drill does not wait for it.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        try:
            answer = self._ask("GET")
            self._is_virtual, self._stands_at = bool(answer["virtual"]), parse_utc(answer["now"])
            longest = answer.get("longest_sleep")
            self._longest_sleep = math.inf if longest is None else float(longest)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"cannot read the sandbox's clock at {url} ({type(error).__name__})",
                hint="Start `ops sandbox` again and set the variables that it prints.",
            ) from None

    def now(self) -> datetime:
        return self._stands_at if self._is_virtual else parse_utc(self._ask("GET")["now"])

    def monotonic(self) -> float:
        return self._stands_at.timestamp() if self._is_virtual else time.monotonic()

    def sleep(self, seconds: float) -> None:
        if self._is_virtual or seconds > self._longest_sleep:
            self._stands_at = parse_utc(self._ask("POST", {"advance": seconds})["now"])
        else:
            time.sleep(seconds)

    def _ask(self, method: str, body: Any = None) -> Any:
        """Send one request on its own connection, because threads share the clock.

        A raw socket is ten times faster than an HTTP client here.

        Raises:
            OSError: there is no connection.
            ValueError: the answer is not 200 with JSON.
        """
        import socket  # here, because only the clock of a sandbox needs it

        data = json.dumps(body).encode()
        head = f"{method} {self._url.path} HTTP/1.1\r\nhost: {self._url.netloc}\r\nconnection: close\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        with socket.create_connection((self._url.hostname, self._url.port or 80), timeout=TIMEOUT) as connection:
            connection.sendall(head.encode() + data)
            with connection.makefile("rb") as answer:
                head_of_answer, _, payload = answer.read().partition(b"\r\n\r\n")
        if not head_of_answer.startswith(b"HTTP/1.1 200 "):
            raise ValueError(head_of_answer[:40])
        return json.loads(payload)


def current_time(environ: Mapping[str, str]) -> datetime:
    """Return the current UTC time, from the sandbox's clock if OPS_CLOCK_URL is set.

    Raises:
        ConfigError: GitHub is not the sandbox's. The clock could then make old events look recent.
    """
    url = environ.get("OPS_CLOCK_URL")
    if not url:
        return SystemClock().now()
    if not is_loopback(url) or not is_loopback(environ.get("GITHUB_API_URL", "")):
        hint = "Run `unset OPS_CLOCK_URL`: it is only for a sandbox on this machine that includes GitHub."
        raise ConfigError(
            "OPS_CLOCK_URL is set, but GITHUB_API_URL is not a sandbox on this machine",
            reason=Reason.NOT_LOOPBACK,
            hint=hint,
        )
    return SandboxClock(url).now()
