"""Answer a label on its issue within three seconds, before the gate knows who may do what.

The first step of the gate, written into incident.yml by `ops workflows sync`: before checkout, standard library alone.
It posts one comment for each request. The run goes on in that comment; if no run begins, the job `tell` edits it.
It never fails the job: if GitHub does not answer, the recovery goes on without the comment.

COMMANDS: JSON, label → the same on a laptop without `--incident`. DOCS: address of the documentation, or nothing.
Output `comment`: the comment's id, or nothing.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SECONDS = 2.8
FIRST_TRY = 1.6
"""Seconds: the rest is for a look whether a comment whose answer was lost is there."""
LONGEST = 1000


class Unredirected(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: the token is for the API's own address."""

    def redirect_request(self, *_: Any) -> None:
        return None


OPENER = urllib.request.build_opener(Unredirected)


def call(method: str, path: str, seconds: float, body: object = None) -> Any:
    """Send one request, and return the answer's JSON. Raises OSError and ValueError."""
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
    except http.client.HTTPException as error:  # an answer that breaks off
        raise OSError(type(error).__name__) from None


def repository() -> str:
    return "/repos/" + os.environ["GITHUB_REPOSITORY"]


def inert(text: object) -> str:
    """Return somebody's words as inline code: there GitHub finds no mention, reference, link or markup."""
    line = "".join(c if c.isprintable() else " " for c in str(text)).strip()[:LONGEST] or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if "`" in (line[0], line[-1]) else ""
    return fence + pad + line + pad + fence


def run_page() -> str:
    """Return the address of this attempt of the workflow's run."""
    page = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}".format_map(os.environ)
    return page if attempt() == "1" else page + "/attempts/" + attempt()


def attempt() -> str:
    return os.environ["GITHUB_RUN_ATTEMPT"]


def laptop(label: str, number: int) -> str:
    """Return how to do the same without GitHub."""
    known = {name.casefold(): command for name, command in json.loads(os.environ.get("COMMANDS") or "{}").items()}
    docs = os.environ.get("DOCS", "")
    if label.casefold() in known:
        return "Run on a laptop: " + inert(known[label.casefold()] + " --incident " + str(number))
    more = " ([documentation](" + docs + "))" if re.fullmatch("https?://[A-Za-z0-9.:/_~#=&%-]+", docs) else ""
    return "Run the command on a laptop: `./run ops --help` lists them" + more + "."


def is_request(event: Any) -> bool:
    """Whether a label for a recovery was put on an issue of this repository."""
    return (
        event.get("action") == "labeled"
        and str((event.get("label") or {}).get("name", "")).casefold().startswith("recover:")
        and "pull_request" not in event["issue"]
        and event["repository"]["full_name"].lower() == os.environ["GITHUB_REPOSITORY"].lower()
    )


def mark() -> str:
    return "<!-- backout:request run=" + os.environ["GITHUB_RUN_ID"] + " attempt=" + attempt() + " -->"


def text(event: Any) -> str:
    label, number, sender = event["label"]["name"], event["issue"]["number"], event["sender"]["login"]
    moment = re.search(r"T(\d\d:\d\d)", str(event["issue"].get("updated_at")))
    at = moment[1] if moment else time.strftime("%H:%M", time.gmtime())
    again = ""
    if attempt() != "1":
        again = ", started again by " + inert("@" + os.environ.get("GITHUB_TRIGGERING_ACTOR", ""))
    return (
        f"**Received** {inert(label)} from {inert('@' + sender)} at {at} UTC{again}, starting: [run]({run_page()})\n\n"
        f"No answer after 2 minutes? {laptop(label, number)}\n\n{mark()}\n"
    )


def find(event: Any, path: str, seconds: float) -> int | None:
    """Return the id of the comment of this request, if there is one."""
    since = str(event["issue"].get("updated_at", ""))
    if not re.fullmatch("[0-9TZ:-]+", since):
        return None
    found = call("GET", path + "?per_page=100&since=" + since, seconds)
    ours = (one for one in found if mark() in one["body"].splitlines() and one["user"]["type"] == "Bot")
    return next((int(one["id"]) for one in ours), None)


def post(event: Any, ends: float) -> int:
    """Post the comment, and return its id. If the answer is lost, look for the comment before it is sent once more."""
    path, body = repository() + "/issues/" + str(int(event["issue"]["number"])) + "/comments", {"body": text(event)}
    try:
        return int(call("POST", path, FIRST_TRY, body)["id"])
    except urllib.error.HTTPError as error:
        if error.code < 500:
            raise
        lost: Exception = error
    except (OSError, ValueError, KeyError, TypeError) as error:
        lost = error
    found = find(event, path, ends - time.monotonic())
    if found is None and isinstance(getattr(lost, "reason", lost), TimeoutError):
        raise lost  # it may still be heard
    return found or int(call("POST", path, ends - time.monotonic(), body)["id"])


def answer() -> str:
    """Return what went wrong, in words of ours."""
    ends = time.monotonic() + SECONDS
    try:
        event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes())
        if is_request(event):
            number = post(event, ends)
            with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
                file.write("comment=" + str(number) + "\n")
    except urllib.error.HTTPError as error:
        return "GitHub answered " + str(error.code)
    except Exception as error:  # noqa: BLE001  the recovery comes first
        return type(error).__name__
    return ""


def main() -> None:
    """Wait no longer than SECONDS, whatever hangs."""
    ended: list[str] = []
    worker = threading.Thread(target=lambda: ended.append(answer()), daemon=True)
    worker.start()
    worker.join(SECONDS)
    if problem := ended[0] if ended else "GitHub takes too long":
        print("::warning title=received::The request got no comment yet: " + problem, flush=True)
    os._exit(0)


main()
