"""Read GitHub's lists, which may be behind our own writes.

GitHub documents no read-after-write consistency of a list [unsure: list-lag], and has no idempotency key: after a lost
answer, a second request would make a second issue or comment. Everything else that Backout creates has a unique name.
"""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ops.core.clock import Clock, parse_http_date
from ops.core.errors import OpsError, UnclearWrite

if TYPE_CHECKING:
    from github.Requester import Requester

F = TypeVar("F")
LIST_PAUSES = (1.0, 1.5, 2.0, 2.5)
"""Seconds before each further look for our own write in a list."""
ROUNDING = timedelta(seconds=2)
"""GitHub's times are whole seconds, and the clocks of its servers may differ."""
BOT = "github-actions[bot]"
"""The author of everything written with GITHUB_TOKEN. A person's login cannot contain brackets."""
_CREATION = re.compile(r"/repos/[^/]+/[^/]+/issues(/\d+/comments)?")


def await_listed(find: Callable[[], F | None], clock: Clock) -> F | None:
    """Return what `find` finds in a list, which may be behind our own write; None if it stays away."""
    for pause in LIST_PAUSES:
        if found := find():
            return found
        clock.sleep(pause)
    return find()


def is_unclear(error: Exception) -> bool:
    """Return whether a write that raised this error of PyGithub or its transport may have taken effect."""
    import requests
    from github import GithubException

    if isinstance(error, GithubException):
        return error.status >= 500
    return isinstance(error, UnclearWrite | requests.RequestException | ValueError)


def may_have_created(verb: str, path: str, error: Exception) -> bool:
    """Return whether this error came from a creation of an issue or comment that may have taken effect."""
    return verb == "POST" and bool(_CREATION.fullmatch(path)) and is_unclear(error)


def find_created(
    requester: "Requester", path: str, sent: Mapping[str, Any], began: float, find_clock: Callable[[], Clock]
) -> dict[str, Any] | None:
    """Return GitHub's entry of the issue or comment that a POST without an answer created.

    `began`: when it was sent, by `time.monotonic`.

    None if the list does not show it in time, or fails. The list may be behind, so this costs some seconds of the
    clock. Another job of the same author may have sent the same text at the same time: its entry counts too.

    docs.github.com/rest/issues/issues#list-repository-issues, docs.github.com/rest/issues/comments#list-issue-comments
    """
    import requests
    from github import GithubException

    with suppress(GithubException, requests.RequestException, ValueError, OpsError):
        clock = find_clock()
        read_at = _read_time(requester, path, clock)  # it may be slow, so the length of the request ends after it
        sent_at = read_at - timedelta(seconds=time.monotonic() - began) - ROUNDING
        since = f"{sent_at:%Y-%m-%dT%H:%M:%SZ}"
        return await_listed(lambda: _find_ours(requester, path, sent, since), clock)
    return None


def _read_time(requester: "Requester", path: str, clock: Clock) -> datetime:
    """Return the time of GitHub, because this machine's clock may be wrong; of the clock if the answer has none."""
    headers, _ = requester.requestJsonAndCheck("GET", path, parameters={"per_page": 1})
    try:
        return parse_http_date(headers.get("date", ""))
    except ValueError:
        return clock.now()


def _find_ours(requester: "Requester", path: str, sent: Mapping[str, Any], since: str) -> dict[str, Any] | None:
    parameters = {"since": since, "per_page": 100}
    if path.endswith("/issues"):
        parameters |= {"state": "all", "sort": "created", "direction": "desc"}
    rows = requester.requestJsonAndCheck("GET", path, parameters=parameters)[1]
    same = [row for row in rows if (row.get("created_at") or "") >= since and _is_same(row, sent)]
    own = read_login(requester) if same else ""
    return next((row for row in same if row["user"] and row["user"]["login"] == own), None)


def _is_same(row: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """Return whether an entry has what was sent. GitHub may change white space at the ends and of lines."""
    pairs = [(row.get(field) or "", sent.get(field) or "") for field in ("title", "body")]
    return all(shown.split() == given.split() for shown, given in pairs)


def read_login(requester: "Requester") -> str:
    """Return the login of the token's owner. GITHUB_TOKEN may not read it (403) and belongs to the bot.

    docs.github.com/rest/users/users#get-the-authenticated-user
    """
    from github import GithubException

    try:
        return str(requester.requestJsonAndCheck("GET", "/user")[1]["login"])
    except GithubException as error:
        if error.status != 403:
            raise
        return BOT
