"""Names that a person typed, in messages: made safe to show, and the known name that was probably meant."""

import re
from collections.abc import Iterable

_LIKE_A_SECRET = re.compile(r"://|(?=\w*\d)(?=\w*[A-Za-z])\w{24,}")
_LONGEST = 60
_SEARCHED = 200


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that `name` was probably meant to be, or "" when none is near."""
    import difflib  # here, because only a mistake needs it

    plain = {_plain(candidate): candidate for candidate in known}
    typed = _plain(name)
    beginnings = [candidate for candidate in plain if typed[2:] and candidate.startswith(typed)]  # prod, production
    matches = difflib.get_close_matches(typed, plain, n=1) or beginnings
    return plain[matches[0]] if matches else ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a message: `; did you mean "api"?`, else the names there are."""
    names = sorted(shown(each) for each in known)
    if near := nearest(name, names):
        return f'; did you mean "{near}"?'
    return f"; known: {', '.join(names[:12])}{', …' if names[12:] else ''}" if names else "; there is none"


def shown(name: str) -> str:
    """`name` on one line of at most 60 characters, and hidden where it looks like a secret in the wrong place."""
    if _LIKE_A_SECRET.search(name[:_SEARCHED]):
        return "(hidden)"
    line = name if name.isprintable() else "".join(c if c.isprintable() else "�" for c in name)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _plain(name: str) -> str:
    return name[:_LONGEST].lower().replace("-", "_")
