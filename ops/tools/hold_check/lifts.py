"""Read from GitHub whether the holds of an incident were lifted.

The record is a live event of GitHub: the bot of the operations repository added LABEL to the incident, after the gate
authorized a responder. A text, a mark of Cloudflare, or a label that a person added lifts nothing.
"""

import re
from datetime import UTC, datetime
from typing import Any

from ops.tools.hold_check.http_reads import fetch_for_hold_check, github_api
from ops.tools.hold_check.values import Environ, HoldLift

LABEL, BOT = "hold:lifted", "github-actions[bot]"
PAGES = 10
QUERY = """query($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) {
    issue(number: $number) {
      labels(first: 100) { nodes { name } }
      timelineItems(itemTypes: [LABELED_EVENT], first: 100, after: $after) {
        pageInfo { hasNextPage endCursor }
        nodes { ... on LabeledEvent { createdAt actor { __typename login } label { name } } }
      }
    }
  }
}"""
"""One call reads the labels that are there now, and 100 events that added them; at most PAGES calls read all.

An issue has at most 100 labels. A pull request is no issue here: docs.github.com/graphql/reference/objects#issue.
"""


def read_hold_lift(operations: str, number: str, environ: Environ) -> HoldLift:
    """Return when the holds of an incident were lifted, or why they were not."""
    token = next(filter(None, map(environ.get, ("OPERATIONS_TOKEN", "GITHUB_TOKEN", "GH_TOKEN"))), "")
    if not (operations and token):
        return HoldLift(why=f"no token reads {operations}" if operations else "")
    owner, _, name = operations.partition("/")
    variables, events = {"owner": owner, "name": name, "number": int(number)}, list[Any]()
    url = f"{github_api(environ).removesuffix('/v3')}/graphql"  # of an Enterprise Server: /api/graphql
    try:
        for _ in range(PAGES):
            query = {"query": QUERY, "variables": variables}
            status, answer = fetch_for_hold_check(url, {"Authorization": f"Bearer {token}"}, query)
            issue = ((answer["data"] or {}).get("repository") or {}).get("issue") if status == 200 else None
            if issue is None:
                return HoldLift(
                    why=f"GitHub does not show issue {number} of {operations} ({_github_error_reason(status, answer)})"
                )
            if not _has_lift_label(issue):
                return HoldLift(is_shown=True)
            events += issue["timelineItems"]["nodes"]
            page = issue["timelineItems"]["pageInfo"]
            if not page["hasNextPage"]:
                return _judge_lift_events(events)
            variables["after"] = page["endCursor"]
        return HoldLift(why=f"issue {number} of {operations} got more than {100 * PAGES} labels", is_shown=True)
    except (AttributeError, LookupError, TypeError, ValueError):
        return HoldLift(why=f"GitHub's answer about issue {number} of {operations} has an unknown shape")


def _github_error_reason(status: int, answer: Any) -> str:
    """Return the HTTP status, or the type of GitHub's error, which has the status 200."""
    kind = str(answer["errors"][0].get("type")) if status == 200 else ""
    return kind if re.fullmatch("[A-Z_]+", kind) else f"HTTP {status}"


def _has_lift_label(issue: Any) -> bool:
    return any(each["name"].lower() == LABEL for each in issue["labels"]["nodes"])


def _judge_lift_events(events: list[Any]) -> HoldLift:
    """Return the lift by the last event that added the label. The login of a bot lacks `[bot]` here."""
    added = [each for each in events if each["label"]["name"].lower() == LABEL]
    actor = (added[-1]["actor"] or {}) if added else {}
    login = f"{actor.get('login', '')}{'[bot]' if actor.get('__typename') == 'Bot' else ''}"
    if login != BOT:
        return HoldLift(why=f"{LABEL} was added by {login or 'an unknown account'}, not by {BOT}", is_shown=True)
    return HoldLift(datetime.fromisoformat(added[-1]["createdAt"]).astimezone(UTC), is_shown=True)
