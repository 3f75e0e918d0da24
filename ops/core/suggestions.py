"""Names that a person typed, in messages: made safe to show, and the known name that was probably meant."""

import re
from collections.abc import Iterable

_LIKE_A_SECRET = re.compile(r"://|(?=\w*\d)(?=\w*[A-Za-z])\w{24,}")
_LONGEST = 60
_MOST = 6
_SEARCHED = 200


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The known name that `name` was probably meant to be, or "" when none is near."""
    import difflib  # here, because only a mistake needs it

    plain = {_plain(candidate): candidate for candidate in known}
    matches = [plain[found] for found in difflib.get_close_matches(_plain(name), plain, n=1)]
    return next(iter(matches or _beginnings(name, plain.values())), "")


def _beginnings(name: str, known: Iterable[str]) -> list[str]:
    """Names that begin with what was typed, of three letters or more: prod, production."""
    typed = _plain(name)
    return [candidate for candidate in known if typed[2:] and _plain(candidate).startswith(typed)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message: `; did you mean "api"?`, else the names there are.

    Of several names that begin as typed, each one is named.
    """
    names = sorted(quote_name(each) for each in known)
    near = _beginnings(name, names) or [nearest_name(name, names)]
    if near[0]:
        meant = " or ".join(f'"{each}"' for each in near[:_MOST])
        return f"; did you mean {meant}?"
    return f"; known: {', '.join(names[:12])}{', …' if names[12:] else ''}" if names else "; there is none"


def quote_name(name: str) -> str:
    """`name` on one line of at most 60 characters, and hidden where it looks like a secret in the wrong place."""
    if _LIKE_A_SECRET.search(name[:_SEARCHED]):
        return "(hidden)"
    line = name if name.isprintable() else "".join(c if c.isprintable() else "�" for c in name)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _plain(name: str) -> str:
    return name[:_LONGEST].lower().replace("-", "_")
