"""Answer a label on its issue within three seconds, before the gate checks the permission.

`ops workflows sync` writes it into `tell.py` in place of the import: a step of `tell` has no second file.
"""

import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from _posted import find_comment
from _request import attempt, call, inert, laptop, mark, repository, run_page, starts

LIMIT = 2.8
"""Seconds."""
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


def announcement(event: Any) -> str:
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


def announce(event: Any, ends: float) -> int:
    """Post the comment and return its id. After a lost response, search for it before a second try."""
    number, since = int(event["issue"]["number"]), str(event["issue"].get("updated_at", ""))
    path, body = repository() + "/issues/" + str(number) + "/comments", {"body": announcement(event)}
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


def receive() -> str:
    """Answer the request. Return the failure, without foreign text; "" if there is none."""
    ends = time.monotonic() + LIMIT
    try:
        event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes())
        if is_received(event):
            number = announce(event, ends)
            with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
                file.write("comment=" + str(number) + "\n")
    except urllib.error.HTTPError as error:
        return "GitHub answered " + str(error.code)
    except Exception as error:  # noqa: BLE001  the recovery comes first
        return type(error).__name__
    return ""


def answer_at_once() -> None:
    """Post one comment for the request, set the output `comment` to its id, and exit 0.

    The run continues in that comment; if no run begins, `tell` edits it. It exits after LIMIT, even if a request hangs,
    and never fails the job: if GitHub does not answer, the recovery goes on without the comment.
    """
    ended: list[str] = []
    worker = threading.Thread(target=lambda: ended.append(receive()), daemon=True)
    worker.start()
    worker.join(LIMIT)
    if problem := ended[0] if ended else "GitHub takes too long":
        print("::warning title=received::The request got no comment yet: " + problem, flush=True)
    os._exit(0)
