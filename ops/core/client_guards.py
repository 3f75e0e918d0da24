"""Guards of API clients: to which URL they may send a token, and when they may write.

Only a URL of this machine may replace a real API.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

from ops.core.errors import ConfigError, Reason
from ops.core.redaction import Secret

D = TypeVar("D", bound="WriteGuard")


def is_loopback(url: str) -> bool:
    """Return whether the URL's host is 127.0.0.0/8, ::1 or localhost. False for a URL with user information."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or "@" in parts.netloc:
            return False
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def uses_one_sandbox(environ: Mapping[str, str]) -> bool:
    """Return whether Cloudflare's and GitHub's API are both real or both of a sandbox."""
    return is_loopback(environ.get("CLOUDFLARE_API_BASE_URL") or "https://-") == is_loopback(
        environ.get("GITHUB_API_URL") or "https://-"
    )


def parse_token(name: str, value: str) -> Secret:
    """Return the token that the variable `name` holds.

    Raises:
        ConfigError: it has a quotation mark, which no token has, or a character that a header cannot carry, as a space.
    """
    if invalid := re.search(r"""[^!-~]|["'`]""", value):
        raise ConfigError(
            f"{name} has an invalid character, U+{ord(invalid[0]):04X}, "
            f"at position {invalid.start() + 1} of {len(value)}",
            reason=Reason.TOKEN_MALFORMED,
            hint=f"Copy the token again without spaces, quotation marks or line breaks, and set {name}.",
        )
    return Secret(value)


class WriteGuard:
    """Base of clients that can write. Only the engine enters `writing`, around the write of one change."""

    _may_write = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Permit writes inside the block."""
        self._may_write = True
        try:
            yield
        finally:
            self._may_write = False


class WriteGuards:
    """All write guards of a run, opened together. A client that is made while they are open is opened too."""

    def __init__(self) -> None:
        self._all: list[WriteGuard] = []
        self._open: ExitStack | None = None

    def add(self, door: D) -> D:
        self._all.append(door)
        if self._open is not None:
            self._open.enter_context(door.writing())
        return door

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Permit writes of all clients inside the block."""
        with ExitStack() as opened:
            for door in self._all:
                opened.enter_context(door.writing())
            self._open = opened
            try:
                yield
            finally:
                self._open = None
