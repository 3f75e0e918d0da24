"""Post the recovery menu on an incident that people opened, once.

`ops workflows sync` writes it into incident.yml, with the standard library only: the menu appears even if Backout
cannot be installed. Programs that open an incident post the same menu themselves.

menu.json in RUNNER_TEMP has the parts of the menu, as lists of lines. ISSUE_NUMBER and https://REPOSITORY in them are
replaced.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _request import call, repository

BOT = "github-actions[bot]"
BUDGET = 60_000
"""Characters of a menu. `ops/publish/menu.py` has the same number."""
SECONDS = 10.0
"""Time limit of one request."""
PAUSES = (0.0, 2.0, 5.0)
"""Seconds before each try."""
PAGE = 100


def is_incident(event: Any) -> bool:
    """Return whether the label `incident` was added to an open issue of this repository."""
    return (
        event.get("action") == "labeled"
        and str((event.get("label") or {}).get("name", "")).casefold() == "incident"
        and event["issue"]["state"] == "open"
        and "pull_request" not in event["issue"]
        and event["repository"]["full_name"].lower() == os.environ["GITHUB_REPOSITORY"].lower()
    )


def text(event: Any, menu: Any) -> str:
    """Return the menu of the service that the issue form names, else of all services."""
    sections = {name: "\n".join(lines) for name, lines in menu["sections"].items()}
    named = re.search(r"^### Service\s+(\S+)\s*$", event["issue"]["body"] or "", re.MULTILINE)
    known = [named[1]] if named and named[1] in sections else list(sections)
    body, left_out = "\n".join(menu["head"]), []
    for name in known:
        if len(body) + len(sections[name]) > BUDGET:
            left_out.append(name)
        else:
            body += "\n\n" + sections[name]
    if left_out:
        body += "\n\nToo long for one comment, and left out: " + ", ".join(left_out) + "."
    page = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}".format_map(os.environ)
    body += "\n\n" + "\n".join(menu["foot"]) + "\n"
    return body.replace("ISSUE_NUMBER", str(event["issue"]["number"])).replace("https://REPOSITORY", page)


def menus(issue: str) -> Iterator[int]:
    """Yield the ids of the menus on the issue. Anybody can write one: it counts from the bot and from writers."""
    for page in range(1, 100):
        found = call("GET", f"{issue}/comments?per_page={PAGE}&page={page}", SECONDS)
        for one in found:
            _, mark, record = (one["body"] or "").rpartition("<!-- backout:v1 ")
            if mark and '"source":"menu"' in record and is_trusted(one["user"] and one["user"]["login"]):
                yield int(one["id"])
        if len(found) < PAGE:
            return


@functools.cache
def is_trusted(login: str | None) -> bool:
    """Return whether the author is the bot, or may write to the repository. It asks once for each author."""
    if not login or login == BOT:
        return bool(login)
    try:
        found = call("GET", repository() + "/collaborators/" + login + "/permission", SECONDS)
    except urllib.error.HTTPError as error:
        if error.code in (403, 404):
            return False
        raise
    return found["permission"] in ("admin", "write")


def post(event: Any, body: str) -> None:
    """Post the menu if there is none. If another program posts at the same time, the first menu stays."""
    issue = repository() + "/issues/" + str(int(event["issue"]["number"]))
    if any(menus(issue)):
        return
    own = int(call("POST", issue + "/comments", SECONDS, {"body": body})["id"])
    if min(menus(issue), default=own) < own:
        call("DELETE", repository() + "/issues/comments/" + str(own), SECONDS)


def try_to_post(event: Any) -> str:
    """Post the menu, with three tries. Return the last failure, without foreign text; "" if there is none."""
    menu = json.loads(Path(os.environ["RUNNER_TEMP"], "menu.json").read_bytes())
    body, problem = text(event, menu), ""
    for pause in PAUSES:
        time.sleep(pause)
        try:
            post(event, body)
        except urllib.error.HTTPError as error:
            problem = "GitHub answered " + str(error.code)
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = type(error).__name__
        else:
            return ""
    return problem


def main() -> None:
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes())
    if is_incident(event) and (problem := try_to_post(event)):
        print("::error title=menu::The incident got no recovery menu: " + problem, flush=True)
        sys.exit(1)


main()
