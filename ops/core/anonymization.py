"""Personal data in text that others may read: addresses of networks and people, cut to what still tells something.

An IPv4 address becomes its /24, an IPv6 address its /48, an e-mail address the first letter and the domain. They are
looked for in any text, also where a URL has encoded them; what only looks like one is cut down as well.
"""

import ipaddress
import re

_COLON = r"(?::|%3[aA])"
_V6 = re.compile(rf"(?:[0-9A-Fa-f.]|{_COLON}){{2,}}")
"""A run that may hold an IPv6 address; one without it is left as it is. A time of day has no more than two colons."""
_V4 = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?:\.[0-9]{1,3})+(?:/[0-9]{1,3})?")
_MAIL = re.compile(
    r"""(?:"[^"\n]*"|(?<![^\s"'<>()\[\]{},;:/?&=|\\@`])[^\s"'<>()\[\]{},;:/?&=|\\@`]+)(?:@|%40)(?=[^\s"'<>()@])"""
)
"""It begins where a name can: from each of its letters on, a long name would be read again."""


def anonymize_text(text: str) -> str:
    return _V4.sub(_network, _V6.sub(_prefix, _MAIL.sub(_initial, text)))


def _initial(found: re.Match[str]) -> str:
    # The words of a longer name that a URL's encoding joins are one name here, and all of it but a letter goes.
    name = found[0].removesuffix("@").removesuffix("%40").lstrip('"')
    return f"{name[:1]}…@"


def _prefix(found: re.Match[str]) -> str:
    run = re.sub("%3a", ":", found[0], flags=re.IGNORECASE)
    if "::" not in run and run.count(":") < 4:
        return found[0]
    try:
        address = ipaddress.IPv6Address(run)
    except ValueError:
        # An address may stand in the midst of it, so nothing of it stays.
        return "…"
    return str(ipaddress.IPv6Network((address, 48), strict=False))


def _network(found: re.Match[str]) -> str:
    first, second, third, *_ = found[0].split(".")
    return f"{first}.{second}.{third}.0/24"
