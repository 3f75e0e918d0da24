"""Read from GitHub whether the holds of an incident were lifted.

The record is a live event of GitHub: the bot of the operations repository added LABEL to the incident, after the gate
authorized a responder. A text, a mark of Cloudflare, or a label that a person added lifts nothing.
docs.github.com/rest/issues/events#list-issue-events
"""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from ops.tools.hold_check.http_reads import get, github_api
from ops.tools.hold_check.values import Environ, Lift

LABEL, BOT = "hold:lifted", "github-actions[bot]"
EVENTS, EVENT_PAGES = 100, 10
"""Size of a page of events, and most pages that are read."""


def read_lift(operations: str, number: str, environ: Environ) -> Lift:
    """Return when the holds of an incident were lifted, or why they were not. It sends one call if they were not."""
    token = next(filter(None, map(environ.get, ("OPERATIONS_TOKEN", "GITHUB_TOKEN", "GH_TOKEN"))), "")
    if not (operations and token):
        return Lift(why=f"no token reads {operations}" if operations else "")
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
    url = f"{github_api(environ)}/repos/{quote(operations)}/issues/{number}"
    status, issue = get(url, headers)
    if status != 200:
        return Lift(why=f"GitHub does not show issue {number} of {operations} (HTTP {status})")
    try:
        return _judge_events(list(_read_events(url, headers))) if _has_label(issue) else Lift(is_shown=True)
    except (AttributeError, LookupError, TypeError, ValueError):
        return Lift(why=f"GitHub's answer about issue {number} of {operations} has an unknown shape")


def _has_label(issue: Any) -> bool:
    return "pull_request" not in issue and any(each["name"].lower() == LABEL for each in issue["labels"])


def _read_events(url: str, headers: dict[str, str]) -> list[Any]:
    """Return the events, oldest first. Raises ValueError if they cannot all be read."""
    events = list[Any]()
    for page in range(1, EVENT_PAGES + 1):
        status, listed = get(f"{url}/events?per_page={EVENTS}&page={page}", headers)
        if status != 200:
            raise ValueError
        events += listed
        if len(listed) < EVENTS:
            return events
    raise ValueError


def _judge_events(events: list[Any]) -> Lift:
    """Return the lift by the last event that added the label."""
    added = [each for each in events if each["event"] == "labeled" and each["label"]["name"].lower() == LABEL]
    actor = (added[-1]["actor"] or {}) if added else {}
    if (actor.get("login"), actor.get("type")) != (BOT, "Bot"):
        return Lift(
            why=f"{LABEL} was added by {actor.get('login') or 'an unknown account'}, not by {BOT}", is_shown=True
        )
    return Lift(datetime.fromisoformat(added[-1]["created_at"]).astimezone(UTC), is_shown=True)
