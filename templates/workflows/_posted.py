"""Find a comment whose response was lost, so that nobody posts it twice.

`ops workflows sync` writes it into each program in place of the import, because a step has no second file.
"""

from _request import call, repository


def find_comment(number: int, since: str, line: str, seconds: float) -> int:
    """Return the id of a bot's comment with this line, or 0. `since`: time of the request."""
    path = repository() + "/issues/" + str(number) + "/comments?per_page=100&since=" + since
    for one in call("GET", path, seconds):
        if line in (one["body"] or "").splitlines() and (one["user"] or {}).get("type") == "Bot":
            return int(one["id"])
    return 0
