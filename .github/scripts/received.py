# Written by `ops workflows sync` from ops.yml and the runbooks. Change those, and not this file.
# digest: 27e8173f9595f2f6
"""Answer a label on its issue within three seconds, before the gate checks the permission.

The gate runs it right after the checkout, with the standard library only. It posts one comment per
request. The run continues in that comment; if no run begins, the job `tell` edits it. It never fails the
job: if GitHub does not answer, the recovery goes on without the comment.

PROGRAM: beginning of laptop commands, such as `./run ops`.
Output `comment`: id of the comment, or empty.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

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
    name = label.casefold()
    return starts(name) or name.startswith("lead:") or name in {"approve:restore", "ops:stop", "ops:resume"}


def laptop(label: str, number: int, needs: str = "") -> str:
    """Return the advice to do on a laptop what a label requests; "" if only GitHub can do it."""
    name, where = label.casefold(), " --incident " + str(number)
    commands = {"report": " incident report " + str(number), "check-outage": " check-outage" + where}
    commands |= {"ops:stop": " stop --reason TEXT" + where, "ops:resume": " stop --lift"}
    if starts(name):  # ops.yml says what
        commands[name] = " label " + shlex.quote(label) + where
    return on_laptop(program() + commands[name], needs) if name in commands else ""


def find_comment(number: int, since: str, line: str, seconds: float) -> int:
    """Return the id of a bot's comment with this line, or 0. `since`: time of the request."""
    path = repository() + "/issues/" + str(number) + "/comments?per_page=100&since=" + since
    for one in call("GET", path, seconds):
        if line in (one["body"] or "").splitlines() and (one["user"] or {}).get("type") == "Bot":
            return int(one["id"])
    return 0

SECONDS = 2.8
FIRST_TRY = 1.6
"""Seconds. The rest is for a search, if the response is lost and the comment may exist."""


def is_received(event: Any) -> bool:
    """Return whether a label of a recovery was added to an issue of this repository."""
    return (
        event.get("action") == "labeled"
        and starts(str((event.get("label") or {}).get("name", "")))
        and "pull_request" not in event["issue"]
        and event["repository"]["full_name"].lower() == os.environ["GITHUB_REPOSITORY"].lower()
    )


def text(event: Any) -> str:
    label, number, sender = event["label"]["name"], event["issue"]["number"], event["sender"]["login"]
    moment = re.search(r"T(\d\d:\d\d)", str(event["issue"].get("updated_at")))
    at = moment[1] if moment else time.strftime("%H:%M", time.gmtime())
    again = ""
    if attempt() != "1":
        again = ", started again by " + inert("@" + os.environ.get("GITHUB_TRIGGERING_ACTOR", ""))
    who = inert(label) + " from " + inert("@" + sender)
    return (
        f"**Received** {who} at {at} UTC{again}, starting: [run]({run_page()})\n\n"
        f"No answer after 2 minutes? {laptop(label, number)}\n\n{mark('request')}\n"
    )


def post(event: Any, ends: float) -> int:
    """Post the comment and return its id. After a lost response, search for it before a second try."""
    number, since = int(event["issue"]["number"]), str(event["issue"].get("updated_at", ""))
    path, body = repository() + "/issues/" + str(number) + "/comments", {"body": text(event)}
    try:
        return int(call("POST", path, FIRST_TRY, body)["id"])
    except urllib.error.HTTPError as error:
        if error.code < 500:
            raise
        lost: Exception = error
    except (OSError, ValueError, KeyError, TypeError) as error:
        lost = error
    is_time = re.fullmatch("[0-9TZ:-]+", since)
    found = find_comment(number, since, mark("request"), ends - time.monotonic()) if is_time else 0
    if not found and isinstance(getattr(lost, "reason", lost), TimeoutError):
        raise lost  # GitHub may still create the comment
    return found or int(call("POST", path, ends - time.monotonic(), body)["id"])


def answer() -> str:
    """Answer the request. Return the failure, without foreign text; "" if there is none."""
    ends = time.monotonic() + SECONDS
    try:
        event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes())
        if is_received(event):
            number = post(event, ends)
            with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
                file.write("comment=" + str(number) + "\n")
    except urllib.error.HTTPError as error:
        return "GitHub answered " + str(error.code)
    except Exception as error:  # noqa: BLE001  the recovery comes first
        return type(error).__name__
    return ""


def main() -> None:
    """Answer and exit after SECONDS, even if a request hangs."""
    ended: list[str] = []
    worker = threading.Thread(target=lambda: ended.append(answer()), daemon=True)
    worker.start()
    worker.join(SECONDS)
    if problem := ended[0] if ended else "GitHub takes too long":
        print("::warning title=received::The request got no comment yet: " + problem, flush=True)
    os._exit(0)


main()
