"""Answer a request if a job failed, was cancelled or was rejected, and no run could report it.

It uses the standard library only. `ops workflows sync` writes it into `.github/scripts`. The job `tell` follows the
recovery and its report; `tell-later` the jobs that last longer. If the gate's comment still announces the run, it is
edited to show the failure; if there is none, one is posted. A comment in which the run continued, or that somebody else
wrote, stays unchanged. Without an issue, the answer appears in the log and on the page of the run. The exit code is 1
if the issue did not get its answer; `tell-later` then answers again.

NEEDS: the `needs` context as JSON. `ops workflows sync` writes the others into SETTINGS, from ops.yml; workflows of
version 0.1 give them as variables of the step:
VARIABLES: JSON, environment → the variables that a command on a laptop needs, with their places.
Optional: ACTING: ids of the acting jobs, separated by spaces (default: all but gate and report).
RUN_STEP: name of the step that starts a run; without it, no answer claims that an acting job changed nothing.
END_COMMAND: the laptop command that ends a temporary state.
LIMITS: JSON, job → its `timeout-minutes`. PROGRAM: beginning of laptop commands, such as `./run ops`.
DOCS: URL of the folder that holds `docs`.
"""

from __future__ import annotations

import calendar
import html
import json
import os
import re
import shlex
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from _comments import ANSWERED, SECONDS, above, read_comments
from _prose import meaning, prose
from _request import attempt, call, inert, is_request, laptop, mark, on_laptop, program, repository, run_page, starts

SETTINGS: dict[str, Any] = {}
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value if isinstance(_value, str) else json.dumps(_value))

BAD = {"failure", "cancelled", "timed_out", "startup_failure"}
PAUSES = (2.5, 2.0)
"""Seconds before the second and the third try. A list may lack for two seconds what was posted."""
REJECTED = "was rejected by the reviewer "
WATCH = "watch"
"""Id of the job that watches the service after the run."""
NEXT = "next-"
"""Start of the ids of jobs that make the automatic step after a relapse."""
NAME = "[a-z][a-z0-9_-]*"
"""Pattern of the names in ops.yml."""
REHEARSAL = (
    "\n\nIts rehearsal may have left a version at 0 %, which gets no traffic. The next run removes it. "
    "If somebody deployed in that moment, the version before may be live again: `status` says so, "
    "and the next run deploys theirs again."
)
ACCIDENT = (
    "\n\nIts rehearsal replaced a deployment that came in between, and the version before may be live again: "
    "`status` says so, and the next run deploys theirs again."
)
STOPPED = "Unknown whether anything was changed, because the run stopped in its middle"
STATES = (
    "nothing was changed",
    "the traffic was not moved",
    "the rehearsal moved the traffic",
    "not changed, but a rehearsal may be left",
    "unknown whether the change was made",
    "written, not seen live",
    "partly changed",
    "written, then replaced",
    "written and live, not proved",
)
"""Start of a run's message: what is live, by `LiveState`."""
NOT_STARTED = "did not start: no runner, or a rule of its GitHub environment"


class Request(NamedTuple):
    """The request of the event. `number` is 0 if there is no issue to answer on."""

    title: str
    """Markdown: the label or runbook, and the requester."""
    number: int = 0
    since: str = ""
    """When the label was added; "" for a button."""
    again: str = ""
    """How to make a new request; "" for a closed incident."""
    command: str = ""
    """Markdown: how to run the command on a laptop."""


class Failure(NamedTuple):
    """The answer as Markdown. `is_answered`: the gate already answered, or nobody must answer on that issue."""

    text: str
    is_answered: bool = False
    stopped: str = ""
    """The answer if the comment shows a run without an end; default: `text`."""
    has_run: bool = False
    """Whether a run ended, and reported its end on the page of the workflow run."""
    kind: str = ANSWERED
    """Kind of its mark: an attempt gets one answer of each kind. All but ANSWERED are about a job after the run."""


class Cause(NamedTuple):
    """The first failed job: its description as Markdown, and the URL of its log."""

    text: str
    log: str
    is_before_run: bool = False


class Jobs:
    """The jobs before this one, from the `needs` context."""

    def __init__(self, needs: Any) -> None:
        self.needs = needs
        self.gate = self.outputs("gate")
        environment = self.gate.get("environment") or ""
        self.environment = environment if re.fullmatch(NAME, environment) else ""
        names = os.environ.get("ACTING", "").split() or list(needs.keys() - {"gate", "report", WATCH})
        if SETTINGS:
            names = [self.gate.get("job")]
        self.acting = [name for name in needs if name in names]
        self.runs = [self.outputs(name) for name in self.acting]
        """Outputs of the acting jobs."""
        self.failed = [name for name, need in needs.items() if need["result"] in BAD]
        ended = [
            name for name in self.acting if needs[name]["result"] == "success" and self.outputs(name).get("incident")
        ]
        self.unanswered = [name for name in ended if not self.outputs(name).get("answered")]
        """Acting jobs that succeeded, and could not show it on the incident."""
        self.is_idle = all(needs[name]["result"] == "skipped" for name in self.acting)
        """Whether no acting job began."""

    def outputs(self, name: str) -> Any:
        """Return the outputs of the job, and those of its step, which one of them holds as JSON."""
        single = self.needs[name].get("outputs") or {}
        whole = json.loads(single.get("pass") or single.get("result") or "{}")
        return {**(whole or {}), **single}  # null if the step did not run

    @property
    def incident(self) -> int:
        """Number of the run's incident; 0 if it has none."""
        return int(self.find("incident", "[1-9][0-9]{0,9}") or 0)

    def find(self, key: str, pattern: str) -> str:
        """Return the first of these outputs that matches; "" if there is none."""
        return next((one[key] for one in self.runs if re.fullmatch(pattern, str(one.get(key) or ""))), "")


def read_request(event: Any, jobs: Jobs) -> Request:
    """Return the request of the event. Raises KeyError and TypeError for an unexpected event."""
    if "inputs" in event and "workflow" in event:
        return _read_button(event)
    number, sender = int(event["issue"]["number"]), inert("@" + event["sender"]["login"])
    if event["action"] != "labeled":
        return Request("the report of #" + str(number))
    label, name = event["label"]["name"], event["label"]["name"].casefold()
    is_ours = name in {"report", "check-outage"} or (is_request(name) and "pull_request" not in event["issue"])
    has_token = starts(name) and jobs.gate.get("power") != "none"
    since = re.fullmatch("[0-9TZ:-]+", str(event["issue"].get("updated_at")))
    is_off = jobs.needs["gate"]["result"] == "success"  # the gate removes the label just before it gives the pass
    return Request(
        inert(label) + " from " + sender,
        number if is_ours else 0,
        since[0] if since else "",
        "Put the label on again" if is_off else "Take the label off if it is still there, and put it on again",
        laptop(label, number, _variables(jobs.environment) if has_token else ""),
    )


def _read_button(event: Any) -> Request:
    """Return the request of a button. Its file has the runbook's name, and its inputs are the command's options."""
    file = Path(event["workflow"]).stem
    name = "rollback-worker" if file == "rollback-worker-direct" else file
    inputs = {key: str(value) for key, value in (event["inputs"] or {}).items() if value not in (None, "", "false")}
    words = [*program().split(), name]
    for key, value in inputs.items():
        option = "--" + key.replace("_", "-")
        words += [option] if value in {"true", "True"} else [option, value]
    page = re.escape("/" + os.environ["GITHUB_REPOSITORY"] + "/issues/")
    number = re.fullmatch("(?:#|https?://[^/]+" + page + ")?([1-9][0-9]{0,9})", inputs.get("incident", "").strip())
    title = inert(file) + " from " + inert("@" + event["sender"]["login"])
    variables = _variables(inputs.get("environment", ""))
    command = "" if name == "approve-restore" else on_laptop(shlex.join(words), variables)
    return Request(title, int(number[1]) if number else 0, "", "Press the button again", command)


def _variables(environment: str) -> str:
    """Return the variables that a command on a laptop needs in this environment, as Markdown."""
    variables = str(json.loads(os.environ.get("VARIABLES") or "{}").get(environment, ""))
    return prose(variables) if variables else ""


def read_failures(request: Request, jobs: Jobs) -> Iterator[Failure]:
    """Yield the failures that the requester must learn of."""
    gate = jobs.gate
    if gate.get("attempt") not in {None, "", attempt()}:
        if (gate.get("go") == "true" and jobs.is_idle) or jobs.find("reason", "rerun"):
            who = inert("@" + os.environ.get("GITHUB_TRIGGERING_ACTOR", ""))
            said = f"{who} started one job of the run for {request.title} again. The gate's pass holds for one attempt."
            yield Failure(_refuse(request, said, "rerun"))
            return
        late = _skipped_ends(jobs)
    elif gate.get("go") == "false" and gate.get("reason"):
        is_answered = gate.get("answered") == "true" or gate["reason"] == "unknown_incident"
        why = prose(gate["message"]) if gate.get("message") else "see the [log](" + run_page() + ")"
        yield Failure(_refuse(request, f"{request.title}: {why}", gate["reason"], gate.get("hint")), is_answered)
        return
    else:
        ending = [name for name in jobs.needs if name == "wait" or name.startswith(("wait-", "end-"))]
        after = {*ending, "tell", WATCH, *(name for name in jobs.needs if name.startswith(NEXT))}
        if failed := jobs.unanswered or [name for name in jobs.failed if name not in after]:
            yield _run_failure(request, jobs, failed)
        late = [name for name in jobs.failed if name in ending]
    if late:
        step = "Look whether it is still on. Run on a laptop: " + inert(os.environ.get("END_COMMAND", ""))
        yield Failure(_text("Nothing ended it in time", request, _find_cause(late), step=step), kind="late")
    yield from _watch_failures(request, jobs)
    yield from _step_failures(request, jobs)


def _skipped_ends(jobs: Jobs) -> list[str]:
    """Return re-run jobs that end a state. GitHub skips them, because their attempt is another one."""
    timed = [name for name in jobs.acting if jobs.outputs(name).get("ends_at")]
    ends = ["wait", *(prefix + name for name in timed for prefix in ("wait-", "end-"))] if timed else []
    return [name for name in ends if name in jobs.needs and jobs.needs[name]["result"] == "skipped"]


def _refuse(request: Request, said: str, reason: str, hint: Any = "") -> str:
    step = "**Next step:** " + _advice(request, hint)
    return f"**Refused, and nothing was changed:** {said}\n\n{step}\n\nReason: {meaning(reason)}"


def _run_failure(request: Request, jobs: Jobs, failed: list[str]) -> Failure:
    """Return the failure of jobs before the run, of the run itself, or of its report on the incident."""
    if failed == jobs.unanswered:
        request = request._replace(again="", command="")
    cause = _find_cause(failed)
    ended: Any = next((one for one in jobs.runs if one.get("decision") or one.get("reason")), {})
    state, message = _split_state(str(ended.get("message") or ""))
    heading = "Failed, and it is not known whether anything was changed"
    if ended.get("run"):
        heading = state + "Ended as " + inert(ended.get("decision")) + ", and could not report here"
    elif jobs.is_idle or cause.is_before_run or ended.get("reason"):
        heading = "Failed before the run began, and nothing was changed"
    said = [prose(message)] if message else []
    why = ", ".join([*said, meaning(ended["reason"])] if ended.get("reason") else said)

    def text(heading: str) -> str:
        check = "" if "nothing was changed" in heading.lower() else _look(jobs)
        if REJECTED in cause.text:
            check = "Talk to the reviewer."
        elif NOT_STARTED in cause.text:
            check = "Look at the rules of its GitHub environment, such as the branches."
        return _text(heading, request, cause, why, _advice(request, ended.get("hint"), check))

    return Failure(text(heading), stopped="" if ended else text(STOPPED), has_run=bool(ended.get("run")))


def _split_state(message: str) -> tuple[str, str]:
    """Return the state that leads the message of a run, as a sentence, and the rest of the message."""
    state, _, rest = message.partition(": ")
    return (state[0].upper() + state[1:] + ". ", rest) if state in STATES else ("", message)


def _watch_failures(request: Request, jobs: Jobs) -> Iterator[Failure]:
    """Yield the failure of the watch, unless the incident shows its end. It changes nothing at Cloudflare."""
    if WATCH not in jobs.failed or (ended := jobs.outputs(WATCH)).get("answered") == "true":
        return
    heading, step = "The watch ended as " + inert(ended.get("decision")), prose(ended.get("hint") or "")
    if not ended.get("decision"):
        services = jobs.find("watch", f"{NAME}( {NAME})*").split()
        place = [*(("service", each) for each in services), ("environment", jobs.environment)]
        words = [*program().split(), WATCH]
        heading = "The watch stopped early, and the service is not watched"
        if not services:  # the job of a report continues each watch that lost its runner, if there is one
            heading, place = "No stopped watch was continued to its end", []
            words.append("--stopped")
        for option, value in (*place, ("incident", str(jobs.incident or request.number or ""))):
            words += ["--" + option, value] if value else []
        again = "Run the job `watch` again on the page of its log, or run on a laptop: "
        step = (again if services else "Continue it. Run on a laptop: ") + inert(shlex.join(words))
    why = prose(ended["message"]) if ended.get("message") else ""
    yield Failure(_text(heading, request, _find_cause([WATCH]), why, step), kind=WATCH)


def _step_failures(request: Request, jobs: Jobs) -> Iterator[Failure]:
    """Yield the failure of an automatic step that wrote no end on the incident."""
    for name in (name for name in jobs.failed if name.startswith(NEXT)):
        ended = jobs.outputs(name)
        if ended.get("run"):
            continue
        cause = _find_cause([name])
        is_known = cause.is_before_run or ended.get("reason")
        known = "nothing was changed" if is_known else "it is not known whether it was made"
        why = prose(ended["message"]) if ended.get("message") else ""
        heading = "The automatic step after the relapse failed, and " + known
        yield Failure(_text(heading, request, cause, why, _look(jobs)), kind="next")


def _text(heading: str, request: Request, cause: Cause, why: str = "", step: str = "") -> str:
    """Return the Markdown of an answer about a failed job."""
    lines = [f"**{heading}:** {request.title} · {cause.text} · [log]({cause.log})"]
    lines += ["**Why:** " + why] if why else []
    return "\n\n".join([*lines, "**Next step:** " + step] if step else lines)


def _look(jobs: Jobs) -> str:
    status = " --environment " + jobs.environment if jobs.environment else ""
    return "Read the log, and look at what is live: " + inert(program() + " status" + status) + "."


def _advice(request: Request, hint: Any = "", check: str = "") -> str:
    """Return the next steps: first `check`, then the `hint` of the command, then how to try again."""
    first = " ".join(filter(None, (check, prose(hint) if hint else "")))
    again = request.again
    if first and again:
        again = "Then " + again[0].lower() + again[1:]
    command = request.command
    if again and command:
        command = "If that fails too, " + command[0].lower() + command[1:]
    return " ".join(filter(None, (first, again + "." if again else "", command)))


def _find_cause(failed: list[str]) -> Cause:
    try:
        job = next(job for job in _jobs() if job["conclusion"] in {*BAD, "success"} and job["name"] in failed)
        steps = [step for step in job["steps"] if step["conclusion"] in BAD] or _unfinished(job)
        where = " in step " + inert(steps[0]["name"]) if steps else ""
        if where and steps[0]["name"] == "Set up job":
            where += ", which downloads its actions"
        said = "job " + inert(job["name"]) + " " + _how(job) + where
        return Cause(said, _safe(job["html_url"]), _is_before_run(job))
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return Cause("failed: " + ", ".join(map(inert, failed)), run_page())


def _is_before_run(job: Any) -> bool:
    """Return whether it is proved that the step that starts a run did not begin. GitHub also lists skipped steps.

    The proof is a job without a runner, or a step that failed before. A lost runner leaves its step without an end, and
    may have gone on without GitHub.
    """
    if not job["steps"]:
        return not job.get("runner_name")
    name = os.environ.get("RUN_STEP", "")
    has_begun = any(step["name"] == name and step["conclusion"] != "skipped" for step in job["steps"])
    return bool(name) and not has_begun and any(step["conclusion"] in BAD for step in job["steps"])


def _unfinished(job: Any) -> list[Any]:
    """Return the step that a lost runner left without an end, as in github.com/xroche/httrack/issues/795."""
    return [step for step in job["steps"] if step["conclusion"] is None][:1]


def _safe(address: object) -> str:
    return str(address) if re.fullmatch("https?://[A-Za-z0-9.:/_-]+", str(address)) else run_page()


def _job_id(name: str) -> str:
    """Return the id of a job, as in `needs`, from its name in the API: `caller / id` if a called workflow has it."""
    return name.rpartition(" / ")[2]


def _jobs() -> list[Any]:
    """Return the jobs of this attempt, each with its id as name (docs.github.com/rest/actions/workflow-jobs)."""
    path = repository() + "/actions/runs/" + os.environ["GITHUB_RUN_ID"] + "/attempts/" + attempt() + "/jobs"
    return [{**job, "name": _job_id(job["name"])} for job in call("GET", path + "?per_page=100", SECONDS)["jobs"]]


def _how(job: Any) -> str:
    if job["conclusion"] == "cancelled":
        return _cancelled(job)
    if job["conclusion"] == "success":
        return "ended"
    if job["conclusion"] == "timed_out":
        return "reached its time limit"
    if _unfinished(job) or (job.get("runner_name") and not job["steps"]):
        return "lost its runner"
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
    """Return how the job was cancelled. At its time limit, GitHub reports a job as cancelled too."""
    if not job["steps"]:
        return "was cancelled before it started"
    began, ended = (
        calendar.timegm(time.strptime(job[key], "%Y-%m-%dT%H:%M:%SZ")) for key in ("started_at", "completed_at")
    )
    minutes = json.loads(os.environ.get("LIMITS") or "{}").get(job["name"])
    if minutes and ended - began >= int(minutes) * 60:
        return "reached its time limit of " + str(minutes) + " minutes"
    return "was cancelled after " + str(ended - began) + " s"


def answer(request: Request, failure: Failure) -> str:
    """Edit our comment or post one. Return the answer; "" if none was needed. Raises OSError and ValueError."""
    kind = failure.kind
    found, comments = read_comments(request.number, request.since, kind), repository() + "/issues/comments/"
    issue = repository() + "/issues/" + str(request.number)
    body = {"body": failure.text + "\n\n" + mark(kind) + "\n"}
    if kind != ANSWERED:
        if not found.is_answered:
            call("POST", issue + "/comments", SECONDS, body)
        return failure.text
    # A plan ends a dry run. Without a run that ended, a later job had to continue, such as a build.
    is_over = found.is_planned and failure.has_run
    if found.is_answered or failure.is_answered or is_over:
        if found.waiting:
            call("DELETE", comments + str(found.waiting), SECONDS)
        return ""
    if found.unfinished:
        text = failure.text
        if failure.stopped and not found.is_planned:
            text = failure.stopped.replace(STOPPED, found.state + ", because the run stopped in its middle")
            text += ACCIDENT if found.has_accident else REHEARSAL if found.has_open_rehearsal else ""
        call("PATCH", comments + str(found.unfinished), SECONDS, {"body": above(text, found.body)})
        return text
    if found.waiting:
        call("PATCH", comments + str(found.waiting), SECONDS, body)
    elif request.since or "pull_request" not in call("GET", issue, SECONDS):  # a button can name a pull request
        call("POST", issue + "/comments", SECONDS, body)
    return failure.text


def answer_patiently(
    request: Request, failure: Failure, pauses: tuple[float, ...] = PAUSES
) -> tuple[str, Exception | None]:
    """Return the answer that was needed, and the error if it is missing. Each try first reads earlier results."""
    try:
        return answer(request, failure), None
    except Exception as error:  # noqa: BLE001  the job has nothing else to do
        if not pauses or not is_temporary(error):
            return failure.text, error
    time.sleep(pauses[0])
    return answer_patiently(request, failure, pauses[1:])


def is_temporary(error: Exception) -> bool:
    """Return whether a later try may succeed."""
    return not isinstance(error, urllib.error.HTTPError) or error.code >= 500 or error.code == 429


def show(text: str) -> None:
    """Show the answer as annotation and summary of the run."""
    first = " ".join(text.partition("**Next step:**")[0].split())
    plain = re.sub(r"[*`]|· \[log\]\(.*?\)", "", first).strip()
    decoded = html.unescape(plain).replace("\u200b", "")
    line = "".join(c if c.isprintable() else " " for c in decoded).replace("%", "%25").replace("##[", "## [")
    print("::error title=request::" + line, flush=True)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def tell(request: Request, failure: Failure) -> bool:
    """Show the answer on the issue, or without one on the page of the run. Return whether a later try may help."""
    if request.number:
        text, problem = answer_patiently(request, failure)
    else:
        text, problem = "" if failure.has_run or failure.is_answered else failure.text, None
    if text:
        show(text)
    if problem is None:
        return False
    why = f"GitHub answered {problem.code}" if isinstance(problem, urllib.error.HTTPError) else type(problem).__name__
    print("::warning title=request::The answer could not be written to the issue: " + why, flush=True)
    return is_temporary(problem)


def main() -> None:
    jobs, is_missing = Jobs(json.loads(os.environ["NEEDS"])), False
    request = read_request(json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes()), jobs)
    for failure in read_failures(request, jobs):
        if failure.kind == ANSWERED and jobs.needs.get("tell", {}).get("result") == "success":
            continue
        is_later = failure.kind != ANSWERED and jobs.incident
        is_missing |= tell(request._replace(number=jobs.incident) if is_later else request, failure)
    sys.exit(1 if is_missing else 0)


if __name__ == "__main__":
    main()
