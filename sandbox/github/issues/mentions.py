"""What Markdown refers to: people with `@login`, issues with `#7`, `owner/name#7` or an address.

Code and HTML comments refer to nothing, while an escape or an entity changes nothing: it is undone before.
docs.github.com/get-started/writing-on-github/working-with-advanced-formatting/autolinked-references-and-urls
"""

import html
import re
from collections.abc import Iterator

_INERT = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,}).*?(?:^ {0,3}(?P=fence)[`~]*[ \t]*$|\Z)"  # a fenced block, or the rest of the text
    r"|(?<!`)(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)"
    r"|<!--.*?(?:-->|\Z)"
    r"|<code>.*?</code>",
    re.DOTALL | re.MULTILINE,
)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


def _live(text: str | None) -> str:
    return html.unescape(_ESCAPE.sub(r"\1", _INERT.sub(" ", text or "")))


def logins(text: str | None) -> Iterator[str]:
    for match in re.finditer(r"(?<![\w/@`])@([A-Za-z0-9][A-Za-z0-9-]*)", _live(text)):
        yield match[1]


def numbers(text: str | None, full_name: str) -> Iterator[int]:
    """Of issues in this repository."""
    name = re.escape(full_name)
    pattern = rf"(?:(?<![\w/&#])|\b{name})#(\d+)\b|//[^/\s]+/{name}/(?:issues|pull)/(\d+)\b|(?<![\w/])GH-(\d+)\b"
    for match in re.finditer(pattern, _live(text), re.IGNORECASE):
        yield int(next(filter(None, match.groups())))
