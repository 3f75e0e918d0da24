"""The two clocks: this machine's, and a sandbox's, which a drill or a test may set and which may stand still."""

import time
from datetime import UTC, datetime
from typing import Any

import httpx

from ops.model.clock import parse_utc
from ops.model.errors import ConfigError
from ops.parallel import UnderWay


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        """Holds nothing."""


class SandboxClock:
    """Asks the sandbox at every look. Where its clock stands still, sleeping moves it on and takes no time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = httpx.Client(trust_env=False, timeout=5.0)
        self._under_way = UnderWay(self._http.close)
        try:
            self._is_virtual = bool(self._ask()["virtual"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            self.close()
            raise ConfigError(
                f"the clock of the sandbox cannot be read at {url} ({type(error).__name__})",
                hint="Start `ops sandbox` again and set the variables that it prints.",
            ) from None

    def now(self) -> datetime:
        return parse_utc(self._ask()["now"])

    def monotonic(self) -> float:
        return self.now().timestamp() if self._is_virtual else time.monotonic()

    def sleep(self, seconds: float) -> None:
        if self._is_virtual:
            with self._under_way.call():
                self._http.post(self._url, json={"advance": seconds}).raise_for_status()
        else:
            time.sleep(seconds)

    def close(self) -> None:
        self._under_way.close()

    def _ask(self) -> Any:
        with self._under_way.call():
            return self._http.get(self._url).raise_for_status().json()
