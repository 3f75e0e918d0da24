"""Answer a request for whose run no other job can speak: its job failed, was cancelled, or was rejected.

The last job of a workflow, written there by `ops workflows sync`, with the standard library alone. If the comment that
`received` posted still says that the run starts, it is edited to say what failed; if there is none, one is posted. A
comment in which the run went on, or that somebody else wrote, stays as it is. Without an issue the answer is in the
log and on the page of the run.

NEEDS: the `needs` context as JSON. COMMANDS: JSON, label → the same on a laptop without `--incident`.
The following may be left out. ACTING: ids of the jobs that act, with spaces between; default: all but gate and report.
RUN_STEP: name of the step that starts a run; without it no answer says that nothing was changed by a job that acts.
ENDING: ids of the jobs that end a state at its time, and END_COMMAND: the same on a laptop.
LIMITS: JSON, name of a job → its `timeout-minutes`. DOCS: address of the documentation.
"""

from __future__ import annotations

import calendar
import hashlib
import html
import json
import os
import re
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from _request import attempt, call, inert, laptop, prose, repository, run_page

BOT = "github-actions[bot]"
BAD = {"failure", "cancelled", "timed_out", "startup_failure"}
SECONDS = 10.0
"""For one request."""
PAUSES = (0.5, 2.0)
"""Seconds before a second and a third try."""
REJECTED = "was rejected by the reviewer "
NOT_STARTED = "did not start: no runner, or a rule of its GitHub environment"


class Request(NamedTuple):
    """What somebody requested, as the event has it. `number` is 0 without an issue to answer on."""

    title: str
    """As Markdown."""
    number: int = 0
    since: str = ""
    """When the label was put on; "" for a button."""
    again: str = ""
    """How to make a new request. Nothing for an incident that was closed."""
    command: str = ""
    """How to do the same on a laptop, as Markdown."""


class Failure(NamedTuple):
    """The answer, as Markdown. `is_answered`: the gate has answered already, or must not answer on that issue."""

    text: str
    is_answered: bool = False
    stopped: str = ""
    """The answer if the comment shows a run that has no end, as Markdown; default: `text`."""
    has_run: bool = False
    """Whether a run came to its end, which is on the pages of the workflow's run."""
    late_on: int | None = None
    """Of a state that was not ended in time: the number of the run's incident, or 0."""


def read_request(event: Any, needs: Any) -> Request:
    """Return the request of the event. Raises KeyError and TypeError if it is no event of ours."""
    if "inputs" in event and "workflow" in event:
        return _read_button(event)
    number, sender = int(event["issue"]["number"]), inert("@" + event["sender"]["login"])
    if event["action"] != "labeled":
        return Request("the report of #" + str(number))
    label = event["label"]["name"]
    is_ours = label.casefold().startswith("recover:") and "pull_request" not in event["issue"]
    since = re.fullmatch("[0-9TZ:-]+", str(event["issue"].get("updated_at")))
    if label.casefold() == "report":
        command = "Run on a laptop: " + inert("./run ops incident report " + str(number))
    else:
        command = laptop(label, number)
    is_off = needs["gate"]["result"] == "success"  # its last deed before "go"
    return Request(
        inert(label) + " from " + sender,
        number if is_ours or label.casefold() == "report" else 0,
        since[0] if since else "",
        "Put the label on again" if is_off else "Take the label off if it is still there, and put it on again",
        command,
    )


def _read_button(event: Any) -> Request:
    """Its file is named as its runbook, and its inputs are the options of the command."""
    name = Path(event["workflow"]).stem
    inputs = {key: str(value) for key, value in (event["inputs"] or {}).items() if value not in (None, "", "false")}
    words = ["./run", "ops", name]
    for key, value in inputs.items():
        option = "--" + key.replace("_", "-")
        words += [option] if value in {"true", "True"} else [option, value]
    page = re.escape("/" + os.environ["GITHUB_REPOSITORY"] + "/issues/")
    number = re.fullmatch("(?:#|https?://[^/]+" + page + ")?([1-9][0-9]{0,9})", inputs.get("incident", "").strip())
    title = inert(name) + " from " + inert("@" + event["sender"]["login"])
    command = "Run on a laptop: " + inert(shlex.join(words))
    return Request(title, int(number[1]) if number else 0, "", "Press the button again", command)


def read_failures(needs: Any, request: Request) -> Iterator[Failure]:
    """Yield what went wrong; nothing if nothing did, or nothing that the requester waits for."""
    gate = needs["gate"].get("outputs") or {}
    names = os.environ.get("ACTING", "").split() or [name for name in needs if name not in {"gate", "report"}]
    acting = [needs[name] for name in names if name in needs]
    outputs = [need.get("outputs") or {} for need in acting]
    is_idle = all(need["result"] == "skipped" for need in acting)
    if gate.get("attempt") not in {None, "", attempt()}:
        is_refused = (gate.get("go") == "true" and is_idle) or any(one.get("reason") == "rerun" for one in outputs)
        if is_refused:
            yield Failure(_rerun(request))
        elif skipped := _skipped_ends(needs, names):
            yield _late(request, skipped, outputs)
        return
    if gate.get("go") == "false" and gate.get("reason"):
        is_answered = gate.get("answered") == "true" or gate["reason"] == "unknown_incident"
        yield Failure(_refused(request, gate), is_answered)
        return
    ended = next((one for one in outputs if one.get("decision") or one.get("reason")), {})
    ending = os.environ.get("ENDING", "").split()
    failed = [name for name, need in needs.items() if need["result"] in BAD]
    if others := [name for name in failed if name not in ending]:
        look = _look(gate.get("environment"))
        text = _failed(request, others, ended, look, is_idle=is_idle)
        stopped = "" if ended else _failed(request, others, ended, look, is_idle=is_idle, is_begun=True)
        yield Failure(text, stopped=stopped, has_run=bool(ended.get("run")))
    if late := [name for name in failed if name in ending]:
        yield _late(request, late, outputs)


def _skipped_ends(needs: Any, acting: list[str]) -> list[str]:
    """Return the jobs that end a state, and were started again: GitHub skips them, since the attempt is another one."""
    timed = [name for name in acting if name in needs and (needs[name].get("outputs") or {}).get("ends_at")]
    ends = [prefix + name for name in timed for prefix in ("wait-", "end-")]
    return [name for name in ends if name in needs and needs[name]["result"] == "skipped"]


def _late(request: Request, jobs: list[str], outputs: list[Any]) -> Failure:
    """`outputs`: of the jobs that act. The run's incident is the place for it, also if nobody named one."""
    what, log, _ = _describe(jobs)
    text = (
        f"**Nothing ended it in time:** {request.title} · {what} · [log]({log})\n\n"
        f"**What to do:** Look whether it is still on. Run on a laptop: {inert(os.environ.get('END_COMMAND', ''))}"
    )
    incidents = [str(one["incident"]) for one in outputs if re.fullmatch("[1-9][0-9]{0,9}", str(one.get("incident")))]
    return Failure(text, late_on=int(incidents[0]) if incidents else request.number)


def _rerun(request: Request) -> str:
    who = inert("@" + os.environ.get("GITHUB_TRIGGERING_ACTOR", ""))
    return (
        f"**Refused, and nothing was changed:** {who} started one job of the run for {request.title} again. "
        f"An approval holds for one attempt.\n\n{_advice(request)}\n\nReason: `rerun`"
    )


def _refused(request: Request, gate: Any) -> str:
    why = prose(gate["message"]) if gate.get("message") else "see the [log](" + run_page() + ")"
    return (
        f"**Refused, and nothing was changed:** {request.title}: {why}\n\n"
        f"{_advice(request, gate.get('hint'))}\n\nReason: {inert(gate['reason'])}"
    )


def _look(environment: Any) -> str:
    status = " --environment " + environment if re.fullmatch("[A-Za-z0-9_-]+", environment or "") else ""
    return "Read the log, and look at what is live: " + inert("./run ops status" + status) + "."


def _failed(
    request: Request, failed: list[str], ended: Any, look: str, *, is_idle: bool, is_begun: bool = False
) -> str:
    """`ended`: outputs of the job that acts, if its command wrote them. `is_begun`: the comment shows a run."""
    what, log, is_before = _describe(failed)
    if ended.get("run"):
        heading = "**Ended as " + inert(ended.get("decision")) + ", and could not report here:**"
    elif is_begun:
        heading = "**The run stopped in its middle, and it is not known whether anything was changed:**"
    elif is_idle or is_before or ended.get("reason"):
        heading = "**Failed before the run began, and nothing was changed:**"
    else:
        heading = "**Failed, and it is not known whether anything was changed:**"
    said = [prose(ended["message"])] if ended.get("message") else []
    why = ", ".join([*said, inert(ended["reason"])] if ended.get("reason") else said)
    lines = [f"{heading} {request.title} · {what} · [log]({log})", "**Why:** " + why if why else ""]
    check = "" if "nothing was changed" in heading else look
    if REJECTED in what:
        check = "Talk to the reviewer."
    elif NOT_STARTED in what:
        check = "Look at the rules of its GitHub environment, such as the branches."
    lines.append(_advice(request, ended.get("hint"), check))
    return "\n\n".join(line for line in lines if line)


def _advice(request: Request, hint: Any = "", check: str = "") -> str:
    """`hint`: words of the command, for what went wrong. `check`: words of ours that come before all else."""
    first = " ".join(filter(None, (check, prose(hint) if hint else "")))
    again = request.again
    if first and again:
        again = "Then " + again[0].lower() + again[1:]
    command = request.command
    if again and command:
        command = "If that fails too, " + command[0].lower() + command[1:]
    said = " ".join(filter(None, (first, again + "." if again else "", command)))
    return "**What to do:** " + said if said else ""


def _describe(failed: list[str]) -> tuple[str, str, bool]:
    """Return what became of the failed job, the address of its log, and whether it failed before a run could begin."""
    try:
        job = next(job for job in _jobs() if job["conclusion"] in BAD and job["name"] in failed)
        steps = [step for step in job["steps"] if step["conclusion"] in BAD]
        where = " in step " + inert(steps[0]["name"]) if steps else ""
        if where and steps[0]["name"] == "Set up job":
            where += ", which downloads its actions"
        said = "job " + inert(job["name"]) + " " + _how(job) + where
        return said, _safe(job["html_url"]), _is_before_run(job["steps"])
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return "failed: " + ", ".join(map(inert, failed)), run_page(), False


def _is_before_run(steps: list[Any]) -> bool:
    """Whether the step that starts a run did not begin. GitHub lists the steps that it skipped."""
    name = os.environ.get("RUN_STEP", "")
    return not steps or (bool(name) and all(step["name"] != name or step["conclusion"] == "skipped" for step in steps))


def _safe(address: object) -> str:
    return str(address) if re.fullmatch("https?://[A-Za-z0-9.:/_-]+", str(address)) else run_page()


def _jobs() -> list[Any]:
    """Return the jobs of this attempt (docs.github.com/rest/actions/workflow-jobs)."""
    path = repository() + "/actions/runs/" + os.environ["GITHUB_RUN_ID"] + "/attempts/" + attempt() + "/jobs"
    return list(call("GET", path + "?per_page=100", SECONDS)["jobs"])


def _how(job: Any) -> str:
    if job["conclusion"] == "cancelled":
        return _cancelled(job)
    if job["conclusion"] == "timed_out":
        return "reached its time limit"
    if job["steps"]:
        return "failed"
    # docs.github.com/rest/actions/workflow-runs#get-the-review-history-for-a-workflow-run
    path = repository() + "/actions/runs/" + os.environ["GITHUB_RUN_ID"] + "/approvals"
    try:
        reviews = [review for review in call("GET", path, SECONDS) if review["state"] == "rejected"]
        if reviews:
            return REJECTED + inert("@" + reviews[-1]["user"]["login"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return NOT_STARTED


def _cancelled(job: Any) -> str:
    """GitHub cancels a job at its time limit as a person does."""
    if not job["steps"]:
        return "was cancelled before it started"
    began, ended = (
        calendar.timegm(time.strptime(job[key], "%Y-%m-%dT%H:%M:%SZ")) for key in ("started_at", "completed_at")
    )
    minutes = json.loads(os.environ.get("LIMITS") or "{}").get(job["name"])
    if minutes and ended - began >= int(minutes) * 60:
        return "reached its time limit of " + str(minutes) + " minutes"
    return "was cancelled after " + str(ended - began) + " s"


class Comments(NamedTuple):
    """Our comments of this attempt. `waiting` is the id of the one that says that the run starts, or 0."""

    waiting: int
    is_answered: bool
    unfinished: int = 0
    """Id of the one in which a run went on and has no end, or 0."""
    body: str = ""
    """Of that one."""

    @property
    def is_planned(self) -> bool:
        return bool(read_record(self.body).get("decision"))


def mark(kind: str) -> str:
    return "<!-- backout:" + kind + " run=" + os.environ["GITHUB_RUN_ID"] + " attempt=" + attempt() + " -->"


def read_comments(request: Request, kind: str) -> Comments:
    """Read the issue's comments, of which only those by the token's own login count. `kind`: of the answer's mark."""
    me, path = own_login(), repository() + "/issues/" + str(request.number) + "/comments?per_page=100"
    waiting, is_answered, unfinished, body, page = 0, False, 0, "", 0
    while True:
        page += 1
        since = "&since=" + request.since if request.since else ""
        found = call("GET", path + since + "&page=" + str(page), SECONDS)
        for one in found:
            lines = (one["body"] or "").splitlines()
            if not one["user"] or one["user"]["login"] != me:
                continue
            if mark("request") in lines:
                waiting = int(one["id"])
            record = read_record(one["body"] or "")
            if mark(kind) in lines:
                is_answered = True
            elif kind == "answered" and _is_of_run(record):
                is_open = record["source"] == "run" and record["part"] == 1 and record["decision"] in {"", "planned"}
                if is_open:
                    unfinished, body = int(one["id"]), one["body"]
                else:
                    is_answered = True
        if len(found) < 100:
            return Comments(waiting, is_answered, unfinished, body)


RECORD = re.compile(r"<!-- backout:v1 (\{.*\}) -->\s*$")


def read_record(body: str) -> Any:
    """Return the hidden record at the end of a comment, or nothing."""
    found = RECORD.search(body)
    try:
        record = json.loads(found[1]) if found else {}
    except ValueError:
        return {}
    return record if {"run", "source", "part", "decision", "digest"} <= set(record) else {}


def _is_of_run(record: Any) -> bool:
    """Whether it is of a run of this attempt, or of its gate's refusal."""
    run, number = str(record.get("run")), os.environ["GITHUB_RUN_ID"]
    return run.startswith(number + "." + attempt() + "-") or run == "gate-" + number


def above(text: str, body: str) -> str:
    """Return the comment of a run with the answer above its last report. Its record stays valid, and at the end."""
    report, record, hidden = RECORD.sub("", body).strip(), read_record(body), body[body.rindex("<!-- backout:v1 ") :]
    report = re.sub("^### ", "#### Last report of the run: ", report)
    shown = text + "\n\n" + mark("answered") + "\n\n" + report
    lines = "\n".join(line.rstrip() for line in shown.strip().splitlines())
    whole = json.dumps([lines, {**record, "digest": ""}], sort_keys=True)
    digest = hashlib.sha256(whole.encode()).hexdigest()[:16]  # as ops/core/run_record.py makes it
    old, new = ('"digest":"' + each + '"' for each in (str(record["digest"]), digest))
    return shown + "\n\n" + hidden.replace(old, new)


def own_login() -> str:
    """Return the login of the token. GITHUB_TOKEN may not ask, and is the bot's."""
    try:
        return str(call("GET", "/user", SECONDS)["login"])
    except urllib.error.HTTPError as error:
        if error.code != 403:
            raise
        return BOT


def answer(request: Request, failure: Failure) -> str:
    """Edit our comment or post one. Return the answer, or nothing if none was needed. Raises OSError and ValueError."""
    kind = "answered" if failure.late_on is None else "late"
    found, comments = read_comments(request, kind), repository() + "/issues/comments/"
    body = {"body": failure.text + "\n\n" + mark(kind) + "\n"}
    if kind == "late":
        if not found.is_answered:
            call("POST", repository() + f"/issues/{request.number}/comments", SECONDS, body)
        return failure.text
    # A plan is the end of a dry run. Else a later job goes on, such as that of a build.
    is_over = found.is_planned and failure.has_run
    if found.is_answered or failure.is_answered or is_over:
        if found.waiting:
            call("DELETE", comments + str(found.waiting), SECONDS)
        return ""
    if found.unfinished:
        text = failure.text if found.is_planned else failure.stopped or failure.text
        call("PATCH", comments + str(found.unfinished), SECONDS, {"body": above(text, found.body)})
        return text
    if found.waiting:
        call("PATCH", comments + str(found.waiting), SECONDS, body)
    elif not request.since and "pull_request" in call("GET", repository() + f"/issues/{request.number}", SECONDS):
        raise ValueError("the number beside the button is a pull request's")
    else:
        call("POST", repository() + f"/issues/{request.number}/comments", SECONDS, body)
    return failure.text


def answer_patiently(request: Request, failure: Failure) -> tuple[str, str]:
    """Return the answer if one was needed, and why there is none. Each try looks first for what an earlier one did."""
    problem = ""
    for pause in (0.0, *PAUSES):
        time.sleep(pause)
        try:
            return answer(request, failure), ""
        except urllib.error.HTTPError as error:
            problem = "GitHub answered " + str(error.code)
            if error.code < 500 and error.code != 429:
                break
        except Exception as error:  # noqa: BLE001  the job has nothing else to do
            problem = type(error).__name__
    return failure.text, problem


def show(text: str) -> None:
    """On the pages of the run, in case nobody can be answered on an issue."""
    first = " ".join(text.partition("**What to do:**")[0].split())
    plain = re.sub(r"[*`]|· \[log\]\(.*?\)", "", first).strip()
    decoded = html.unescape(plain).replace("\u200b", "")
    line = "".join(c if c.isprintable() else " " for c in decoded).replace("%", "%25").replace("##[", "## [")
    print("::error title=request::" + line, flush=True)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def tell(request: Request, failure: Failure) -> None:
    if request.number:
        text, problem = answer_patiently(request, failure)
    else:
        text, problem = "" if failure.has_run or failure.is_answered else failure.text, ""
    if text:
        show(text)
    if problem:
        print("::warning title=request::The answer could not be written to the issue: " + problem, flush=True)


def main() -> None:
    needs = json.loads(os.environ["NEEDS"])
    request = read_request(json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes()), needs)
    for failure in read_failures(needs, request):
        tell(request if failure.late_on is None else request._replace(number=failure.late_on), failure)


main()
