"""Addresses of this machine, the only ones that may replace Cloudflare and GitHub; and tokens that can be sent."""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from ops.core.errors import ConfigError, Reason
from ops.core.redaction import Secret


def is_loopback(url: str) -> bool:
    """True for 127.0.0.0/8, ::1 and the name localhost; a URL with user information is never one."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or "@" in parts.netloc:
            return False
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def uses_one_sandbox(environ: Mapping[str, str]) -> bool:
    """A sandbox's run does not reach the real GitHub, nor a real one a sandbox's."""
    return is_loopback(environ.get("CLOUDFLARE_API_BASE_URL") or "https://-") == is_loopback(
        environ.get("GITHUB_API_URL") or "https://-"
    )


def parse_token(name: str, value: str) -> Secret:
    """The value of the variable `name`. Raises ConfigError.

    Only printable ASCII without spaces can be sent in a header; a pasted smart quote cannot.
    """
    if stray := re.search(r"[^!-~]", value):
        raise ConfigError(
            f"{name} holds a stray character, U+{ord(stray[0]):04X}, at position {stray.start() + 1} of {len(value)}",
            reason=Reason.TOKEN_MALFORMED,
            hint="Copy the token again, alone and without a line break, and set it anew.",
        )
    return Secret(value)
