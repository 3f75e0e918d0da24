"""Version override of a request: a structured-field dictionary of Worker → version ID.

developers.cloudflare.com/workers/versions-and-deployments/version-overrides, rfc-editor.org/rfc/rfc9651
"""

import re

_KEY = r"[a-z*][a-z0-9_.*-]*"
_STRING = r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
_ITEM = rf"(?:{_STRING}|-?[0-9]{{1,15}}(?:\.[0-9]{{1,3}})?|[A-Za-z*][\w!#$%&'*+.^`|~:/-]*|:[A-Za-z0-9+/=]*:|\?[01])"
_PARAMETERS = rf"(?:; *{_KEY}(?:={_ITEM})?)*"
_LIST = rf"\( *(?:{_ITEM}{_PARAMETERS}(?: +{_ITEM}{_PARAMETERS})*)? *\)"
_MEMBER = re.compile(rf"({_KEY})(?:=({_ITEM}|{_LIST}))?{_PARAMETERS}", re.ASCII)
_SEPARATOR = re.compile(r"[ \t]*,[ \t]*")


def parse_overrides(header: str) -> dict[str, str]:
    """Return Worker → version of the members whose value is a string. A header that is no dictionary has none."""
    found: dict[str, str] = {}
    at, text = 0, header.strip(" ")
    while member := _MEMBER.match(text, at):
        name, value = member[1], member[2] or ""
        found.pop(name, None)  # the last one of a name counts
        if value.startswith('"'):
            found[name] = re.sub(r"\\(.)", r"\1", value[1:-1])
        if member.end() == len(text):
            return found
        if (separator := _SEPARATOR.match(text, member.end())) is None:
            break
        at = separator.end()
    return {}
