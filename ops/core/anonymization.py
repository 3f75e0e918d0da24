"""Shorten network and e-mail addresses in text that other people may read.

An IPv4 address becomes its /24 network, an IPv6 address its /48 network, and an e-mail address its first letter and
domain. URL-encoded addresses are shortened too. So is text that only looks like an address.
"""

import ipaddress
import re

_COLON = r"(?::|%3[aA])"
_V6 = re.compile(rf"(?:[0-9A-Fa-f.]|{_COLON}){{2,}}")
"""Characters that may be an IPv6 address. A time of day has at most two colons, so it never matches one."""
_V4 = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?:\.[0-9]{1,3})+(?:/[0-9]{1,3})?")
_MAIL = re.compile(
    r"""(?:"[^"\n]*"|(?<![^\s"'<>()\[\]{},;:/?&=|\\@`])[^\s"'<>()\[\]{},;:/?&=|\\@`]+)(?:@|%40)(?=[^\s"'<>()@])"""
)
"""The lookbehind starts a match only where a name can start. Otherwise a long name is scanned once per letter."""


def anonymize_text(text: str) -> str:
    """Return the text with its network and e-mail addresses shortened."""
    return _V4.sub(_shorten_ipv4, _V6.sub(_shorten_ipv6, _MAIL.sub(_shorten_email, text)))


def _shorten_email(match: re.Match[str]) -> str:
    # URL encoding can join several words into one name; only its first letter stays.
    name = match[0].removesuffix("@").removesuffix("%40").lstrip('"')
    return f"{name[:1]}…@"


def _shorten_ipv6(match: re.Match[str]) -> str:
    run = re.sub("%3a", ":", match[0], flags=re.IGNORECASE)
    if "::" not in run and run.count(":") < 4:
        return match[0]
    try:
        address = ipaddress.IPv6Address(run)
    except ValueError:
        # The characters may contain an address, so none of them is kept.
        return "…"
    return str(ipaddress.IPv6Network((address, 48), strict=False))


def _shorten_ipv4(match: re.Match[str]) -> str:
    first, second, third, *_ = match[0].split(".")
    return f"{first}.{second}.{third}.0/24"
