"""Share escaping of foreign prose, and links to Backout's pages, between the programs that answer a request.

`ops workflows sync` writes it into each program in place of the import, because a step has no second file.
"""

import os
import re

from _request import LONGEST, inert


def prose(text: object) -> str:
    """Return untrusted text as escaped prose; URLs and text between backticks become code.

    A UUID is cut to 8 characters.
    """
    line = "".join(c if c.isprintable() else " " for c in str(text)).strip()[:LONGEST]
    line = re.sub(r"\b([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", r"\1", line)
    parts, at = [], 0
    for found in re.finditer("`([^`]+)`|https?://[^ `]*[^ `.,:;!?)]", line):
        parts += [_escape(line[at : found.start()]), inert(found[1] or found[0])]
        at = found.end()
    return "".join([*parts, _escape(line[at:])]) or "-"


def _escape(text: str) -> str:
    """Return escaped text. Zero-width spaces break the patterns that GitHub finds after it decodes entities."""
    broken = re.sub("[@#:](?=[^ ])|www(?=[.])|gh(?=-)", lambda found: found[0] + "\0", text, flags=re.IGNORECASE)
    escaped = re.sub(r"[^\w \0,;()'\"/%.-]|_|^[-0-9]", lambda found: f"&#{ord(found[0])};", broken)
    return escaped.replace("\0", "&#8203;")


def documented(text: str, page: str) -> str:
    """Return Markdown as a link to a page of Backout; unchanged if DOCS has no address."""
    docs = os.environ.get("DOCS", "")
    return "[" + text + "](" + docs + page + ")" if re.fullmatch("https?://[A-Za-z0-9.:/_~#=&%-]+", docs) else text


def meaning(reason: object) -> str:
    """Return the reason of an end as Markdown, with the page about it."""
    known = re.fullmatch("[a-z_]+", str(reason))
    return documented(inert(reason), "docs/reference/reasons.md#" + known[0]) if known else inert(reason)
