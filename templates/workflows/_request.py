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


def on_laptop(command: str, needs: str = "") -> str:
    """Return the advice to run this command on a laptop. `needs`: its variables, as Markdown."""
    return "Run on a laptop: " + inert(command) + (", which needs " + needs if needs else "")


def starts(label: str) -> bool:
    """Return whether ops.yml may give the label a runbook."""
    return label.casefold().startswith("recover:") or label.casefold() == "hold:lift"


def is_request(label: str) -> bool:
    """Return whether a label requests something that the gate answers on the issue."""
    exact = {"approve:restore", "actions:create", "ops:stop", "ops:resume"}
    return starts(label) or label.casefold() in exact or label.casefold().startswith("lead:")


def laptop(label: str, number: int, needs: str = "") -> str:
    """Return the advice to do on a laptop what a label requests; "" if only GitHub can do it."""
    name, issue, where = label.casefold(), str(number), " --incident " + str(number)
    own = " label " + shlex.quote(label) + where if starts(name) else ""  # ops.yml says what
    commands = {name: own, "report": " incident report " + issue, "check-outage": " check-outage" + where}
    commands |= {"actions:create": " incident actions --create " + issue, "ops:resume": " stop --lift"}
    commands |= {"ops:stop": " stop --reason TEXT" + where}
    return on_laptop(program() + commands[name], needs) if commands[name] else ""
