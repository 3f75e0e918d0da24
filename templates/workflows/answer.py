"""Answer a label if its gate does not: GitHub refuses broken files without any job, a set-up may hang.

It reads the runs of `incident.yml` until the gate of the label's run ends, and answers on the issue if that
does not happen. The gate answers each request, or `tell` if the gate fails. That comment belongs to the
request.

SECONDS_TO_WAIT: time that the gate has to end. DIRECT: file of the button without a called file, or "".
PROGRAM: beginning of laptop commands, such as `./run ops`.
"""

from __future__ import annotations

import calendar
import json
import os
import time
import urllib.error
from pathlib import Path
from typing import Any

from _request import call, inert, laptop, mark, repository

CALL_SECONDS = 10.0
SLACK, LATEST = 2, 3600
"""Seconds by which the clocks of an issue and of its run may differ, and within which its run is created."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 10.0
PAUSES = (2.5, 3.0)
"""Seconds before the second and the third try. A list may lack for two seconds what was posted."""


def find_run(event: Any) -> Any:
    """Return the run of the label, or None."""
    at = event["issue"]["updated_at"]
    title = "incident #" + str(event["issue"]["number"]) + " " + event["label"]["name"] + " at " + at
    path = repository() + "/actions/runs?event=issues&per_page=100&created=" + _moment(at, -SLACK)
    path += ".." + _moment(at, LATEST) + "&page="
    refused = None
    for page in range(1, 11):  # GitHub lists at most 1,000 of them
        found = call("GET", path + str(page), CALL_SECONDS)
        for run in found["workflow_runs"]:
            if not run["path"].startswith(".github/workflows/incident.yml"):
                continue
            if run["display_title"] == title:
                return run
            if is_refused(run):
                refused = run  # the oldest one
        if page * 100 >= found["total_count"]:
            break
    return refused


def is_refused(run: Any) -> bool:
    """Return whether GitHub refused the files. It then knows no title, and gives different conclusions."""
    return run["status"] == "completed" and not run["display_title"].startswith("incident #")


def _moment(at: str, seconds: int) -> str:
    """Return the time that is this many seconds later."""
    form = "%Y-%m-%dT%H:%M:%SZ"
    return time.strftime(form, time.gmtime(calendar.timegm(time.strptime(at, form)) + seconds))


def has_ended(run: Any) -> bool:
    """Return whether the gate of the run ended. GitHub calls it `caller / gate` in a called file."""
    path = repository() + "/actions/runs/" + str(int(run["id"])) + "/jobs?per_page=100"
    jobs = call("GET", path, CALL_SECONDS)["jobs"]
    gates = [job for job in jobs if job["name"].rpartition(" / ")[2] == "gate"]
    return any(job["status"] == "completed" for job in gates)


def link(run: Any) -> str:
    page = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/".format_map(os.environ)
    return "[run](" + page + str(int(run["id"])) + ")"


def watch(event: Any) -> str:
    """Return what keeps the gate from an answer, as Markdown; "" once it ended."""
    page = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/workflows/incident.yml".format_map(os.environ)
    who = inert(event["label"]["name"]) + " from " + inert("@" + event["sender"]["login"])
    seconds, pause = float(os.environ["SECONDS_TO_WAIT"]), FIRST_PAUSE
    ends, problem = time.monotonic() + seconds, ""
    while True:
        try:
            run = find_run(event)
            if run is None:
                problem = f"**No run started within {seconds:g} s:** {who} · [runs]({page})"
            elif has_ended(run):
                return ""
            elif run["status"] == "completed":
                has_error = is_refused(run) or run["conclusion"] == "startup_failure"
                why = "GitHub refused the workflow files" if has_error else "no job ran"
                return f"**Did not start, and nothing was changed:** {who} · {why} · {link(run)}"
            else:
                problem = f"**No answer after {seconds:g} s, may come later:** {who} · {link(run)}"
        except urllib.error.HTTPError as error:
            problem = f"**Unknown whether it started:** {who} · HTTP {error.code} · [runs]({page})"
        except (OSError, ValueError, KeyError, TypeError) as error:
            name = type(error).__name__
            problem = f"**Unknown whether it started:** {who} · {name} · [runs]({page})"
        if time.monotonic() + pause > ends:
            return problem
        time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_PAUSE)


def next_steps(event: Any) -> str:
    """Return the ways on as Markdown: they need neither `incident.yml` nor a file that it calls.

    The label comes first: the gate refuses a run that starts without it.
    """
    on_laptop = laptop(event["label"]["name"], int(event["issue"]["number"]))
    steps = ["Take the label off, so that no recovery starts later.", on_laptop + "." if on_laptop else ""]
    if direct := os.environ.get("DIRECT"):
        page = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/workflows/".format_map(os.environ) + direct
        steps.append(f"To roll a Worker back without a laptop: [{direct[:-4]}]({page}), *Run workflow*.")
    check = os.environ["PROGRAM"] + " workflows sync --check"
    steps.append("Afterwards look for a broken workflow file: " + inert(check) + ".")
    return "**Next step:** " + " ".join(filter(None, steps))


def post(event: Any, text: str) -> None:
    """Post the answer once: after a lost response, look for it first. Raises OSError and ValueError."""
    number, line, problem = int(event["issue"]["number"]), mark("unstarted"), Exception()
    path = repository() + "/issues/" + str(number) + "/comments"
    for pause in (0.0, *PAUSES):
        time.sleep(pause)
        try:
            if pause and is_posted(path + "?per_page=100&since=" + event["issue"]["updated_at"], line):
                return
            call("POST", path, CALL_SECONDS, {"body": text + "\n\n" + line + "\n"})
        except (OSError, ValueError) as error:
            problem = error
            if getattr(error, "code", 500) < 500:
                break
        else:
            return
    raise problem


def is_posted(path: str, line: str) -> bool:
    """Return whether one of these comments is a bot's and has the line."""
    ours = [one for one in call("GET", path, CALL_SECONDS) if (one["user"] or {}).get("type") == "Bot"]
    return any(line in one["body"].splitlines() for one in ours)


def main() -> None:
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes())
    if "pull_request" in event["issue"]:
        return
    if problem := watch(event):
        print("::error title=request::" + problem.partition(":**")[0].strip("*"), flush=True)
        post(event, problem + "\n\n" + next_steps(event))


main()
