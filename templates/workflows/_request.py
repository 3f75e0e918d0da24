"""Share code between the steps that answer a request: calls of GitHub's API, and escaping.

`ops workflows sync` writes it into each program in place of the import, because a step has no second file.
"""

import http.client
import json
import os
import re
import shlex
import urllib.request
from typing import Any

LONGEST = 1000
"""Characters of untrusted text that an answer shows."""


class Unredirected(urllib.request.HTTPRedirectHandler):
    """Treat a redirect as an error: the token is for the API's own host."""

    def redirect_request(self, *_: Any) -> None:
        return None


OPENER = urllib.request.build_opener(Unredirected)


def call(method: str, path: str, seconds: float, body: object = None) -> Any:
    """Send one request and return the JSON of the response. Raises OSError and ValueError."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310  the runner sets the address
        os.environ["GITHUB_API_URL"].rstrip("/") + path,
        data,
        {
            "Accept": "application/vnd.github+json",
            "Authorization": "Bearer " + os.environ["GITHUB_TOKEN"],
            "Content-Type": "application/json",
            "User-Agent": "backout",
            "X-GitHub-Api-Version": "2022-11-28",
        },
        method=method,
    )
    try:
        with OPENER.open(request, timeout=max(0.1, seconds)) as answer:
            return json.loads(answer.read() or "null")
    except http.client.HTTPException as error:  # an incomplete response
        raise OSError(type(error).__name__) from None


def repository() -> str:
    return "/repos/" + os.environ["GITHUB_REPOSITORY"]


def inert(text: object) -> str:
    """Return untrusted text as inline code, where GitHub finds no mention, reference, link or markup."""
    line = "".join(c if c.isprintable() else " " for c in str(text)).strip()[:LONGEST] or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if "`" in (line[0], line[-1]) else ""
    return fence + pad + line + pad + fence


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


def run_page() -> str:
    """Return the URL of this attempt of the workflow run."""
    page = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}".format_map(os.environ)
    return page if attempt() == "1" else page + "/attempts/" + attempt()


def attempt() -> str:
    return os.environ["GITHUB_RUN_ATTEMPT"]


def mark(kind: str) -> str:
    """Return the hidden line that names this attempt in a comment."""
    return "<!-- backout:" + kind + " run=" + os.environ["GITHUB_RUN_ID"] + " attempt=" + attempt() + " -->"


def program() -> str:
    """Return the beginning of a command on a laptop."""
    return os.environ.get("PROGRAM") or "ops"


def on_laptop(command: str, variables: str) -> str:
    """Return the advice to run this command on a laptop. `variables` are those that it needs, with their places."""
    return "Run on a laptop: " + inert(command) + (", which needs " + prose(variables) if variables else "")


def documented(text: str, page: str) -> str:
    """Return Markdown as a link to a page of Backout; unchanged if DOCS has no address."""
    docs = os.environ.get("DOCS", "")
    return "[" + text + "](" + docs + page + ")" if re.fullmatch("https?://[A-Za-z0-9.:/_~#=&%-]+", docs) else text


def meaning(reason: object) -> str:
    """Return the reason of an end as Markdown, with the page about it."""
    known = re.fullmatch("[a-z_]+", str(reason))
    return documented(inert(reason), "docs/reference/reasons.md#" + known[0]) if known else inert(reason)


def laptop(label: str, number: int, variables: str = "") -> str:
    """Return the advice to run the recovery of a label on a laptop: `ops label` reads it from ops.yml."""
    return on_laptop(program() + " label " + shlex.quote(label) + " --incident " + str(number), variables)
