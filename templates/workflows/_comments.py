"""Read our comments of this attempt on an issue, and put an answer above the report of a run that did not end.

`ops workflows sync` writes it into each program in place of the import, because a step has no second file.
"""

import hashlib
import json
import os
import re
import urllib.error
from typing import Any, NamedTuple

from _request import attempt, call, mark, repository

BOT = "github-actions[bot]"
SECONDS = 10.0
"""Time limit of one request."""
ANSWERED = "answered"
"""Kind of the answer to the request itself."""
RECORD = re.compile(r"<!-- backout:v1 (\{.*\}) -->\s*$")


class Comments(NamedTuple):
    """Our comments of this attempt. `waiting`: id of the comment that announces the run, or 0."""

    waiting: int
    is_answered: bool
    unfinished: int = 0
    """Id of a comment with a run that has no end, or 0."""
    body: str = ""
    """Text of that unfinished comment."""

    @property
    def is_planned(self) -> bool:
        return bool(read_record(self.body).get("decision"))

    @property
    def has_open_rehearsal(self) -> bool:
        """Whether a rehearsal began and has no result."""
        return "writing" in self._rehearsed and "result" not in self._rehearsed

    @property
    def has_accident(self) -> bool:
        """Whether a rehearsal moved the traffic."""
        return "moved" in self._rehearsed

    @property
    def _rehearsed(self) -> list[str]:
        """First words of the steps of a rehearsal."""
        return [str(text).partition(":")[0] for _, kind, text in self._rows if kind == "rehearsed"]

    @property
    def state(self) -> str:
        """What the unfinished run is known to have changed. The comment may lag behind the run by some seconds."""
        kinds = [kind for _, kind, _ in self._rows if kind in {"writing", "written", "read_back"}]
        live, planned = kinds.count("read_back"), read_record(self.body).get("versions")
        if live >= max(1, len(planned) if isinstance(planned, list) else 1):
            return "Written and live, not proved"
        if live:
            return "Partly changed, the rest is unknown"
        return "Written, not seen live" if kinds[-1:] == ["written"] else "Unknown whether anything was changed"

    @property
    def _rows(self) -> list[list[Any]]:
        """The rows of the unfinished run's record. A person may have edited it."""
        rows = read_record(self.body).get("rows")
        return [row for row in rows if isinstance(row, list) and len(row) == 3] if isinstance(rows, list) else []


def read_comments(number: int, since: str, kind: str) -> Comments:
    """Read our comments on the issue; only those by the token's login count.

    `since`: time of the request, or "". `kind`: kind of the answer's mark.
    """
    me, path = own_login(), repository() + "/issues/" + str(number) + "/comments?per_page=100"
    path += "&since=" + since if since else ""
    waiting, is_answered, unfinished, body, page = 0, False, 0, "", 0
    while True:
        page += 1
        found = call("GET", path + "&page=" + str(page), SECONDS)
        for one in found:
            lines = (one["body"] or "").splitlines()
            if not one["user"] or one["user"]["login"] != me:
                continue
            if mark("request") in lines:
                waiting = int(one["id"])
            record = read_record(one["body"] or "")
            if mark(kind) in lines:
                is_answered = True
            elif kind == ANSWERED and _is_of_run(record):
                is_open = record["source"] == "run" and record["part"] == 1 and record["decision"] in {"", "planned"}
                if is_open:
                    unfinished, body = int(one["id"]), one["body"]
                else:
                    is_answered = True
        if not found:  # a short page need not be the last one: GitHub hides comments of spammers in it
            return Comments(waiting, is_answered, unfinished, body)


def read_record(body: str) -> Any:
    """Return the hidden record at the end of a comment, or an empty object."""
    found = RECORD.search(body)
    try:
        record = json.loads(found[1]) if found else {}
    except ValueError:
        return {}
    return record if {"run", "source", "part", "decision", "digest"} <= set(record) else {}


def _is_of_run(record: Any) -> bool:
    """Return whether the record is from a run of this attempt, or from its gate's refusal."""
    run, number = str(record.get("run")), os.environ["GITHUB_RUN_ID"]
    return run.startswith(number + "." + attempt() + "-") or run == "gate-" + number


def above(text: str, body: str) -> str:
    """Return the comment with the answer above the run's last report. The record stays valid and at the end."""
    report, record, hidden = RECORD.sub("", body).strip(), read_record(body), body[body.rindex("<!-- backout:v1 ") :]
    report = re.sub("^### ", "#### Last report of the run: ", report)
    shown = text + "\n\n" + mark(ANSWERED) + "\n\n" + report
    lines = "\n".join(line.rstrip() for line in shown.strip().splitlines())
    whole = json.dumps([lines, {**record, "digest": ""}], sort_keys=True)
    digest = hashlib.sha256(whole.encode()).hexdigest()[:16]  # same as in ops/core/run_record.py
    old, new = ('"digest":"' + each + '"' for each in (str(record["digest"]), digest))
    return shown + "\n\n" + hidden.replace(old, new)


def own_login() -> str:
    """Return the login of the token. GITHUB_TOKEN may not read it (403), and belongs to the bot."""
    try:
        return str(call("GET", "/user", SECONDS)["login"])
    except urllib.error.HTTPError as error:
        if error.code != 403:
            raise
        return BOT
