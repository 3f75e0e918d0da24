# Written by `ops workflows sync` from ops.yml and the runbooks. Change those, and not this file.
# digest: 8fdd1138d989ff8a
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
import hashlib
import http.client
from typing import Any

LONGEST = 1000
"""Characters of untrusted text that an answer shows."""


class Unredirected(urllib.request.HTTPRedirectHandler):
    """Treat a redirect as an error: the token is for the API's own host."""

    def redirect_request(self, *_: Any) -> None:
        return None


OPENER = urllib.request.build_opener(Unredirected)


def call(method: str, path: str, seconds: float, body: object = None) -> Any:
    """Send one request and return the JSON of the response. Raises OSError and ValueError."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310  the runner sets the address
        os.environ["GITHUB_API_URL"].rstrip("/") + path,
        data,
        {
            "Accept": "application/vnd.github+json",
            "Authorization": "Bearer " + os.environ["GITHUB_TOKEN"],
            "Content-Type": "application/json",
            "User-Agent": "backout",
            "X-GitHub-Api-Version": "2022-11-28",
        },
        method=method,
    )
    try:
        with OPENER.open(request, timeout=max(0.1, seconds)) as answer:
            return json.loads(answer.read() or "null")
    except http.client.HTTPException as error:  # an incomplete response
        raise OSError(type(error).__name__) from None


def repository() -> str:
    return "/repos/" + os.environ["GITHUB_REPOSITORY"]


def inert(text: object) -> str:
    """Return untrusted text as inline code, where GitHub finds no mention, reference, link or markup."""
    line = "".join(c if c.isprintable() else " " for c in str(text)).strip()[:LONGEST] or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if "`" in (line[0], line[-1]) else ""
    return fence + pad + line + pad + fence


def run_page() -> str:
    """Return the URL of this attempt of the workflow run."""
    page = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}".format_map(os.environ)
    return page if attempt() == "1" else page + "/attempts/" + attempt()


def attempt() -> str:
    return os.environ["GITHUB_RUN_ATTEMPT"]


def mark(kind: str) -> str:
    """Return the hidden line that names this attempt in a comment."""
    return "<!-- backout:" + kind + " run=" + os.environ["GITHUB_RUN_ID"] + " attempt=" + attempt() + " -->"


def program() -> str:
    """Return the beginning of a command on a laptop."""
    return os.environ.get("PROGRAM") or "ops"


def on_laptop(command: str, needs: str = "") -> str:
    """Return the advice to run this command on a laptop. `needs`: its variables, as Markdown."""
    return "Run on a laptop: " + inert(command) + (", which needs " + needs if needs else "")


def starts(label: str) -> bool:
    """Return whether ops.yml may give the label a runbook."""
    return label.casefold().startswith("recover:") or label.casefold() == "hold:lift"


def is_request(label: str) -> bool:
    """Return whether a label requests something that the gate answers on the issue."""
    exact = {"approve:restore", "actions:create", "ops:stop", "ops:resume"}
    return starts(label) or label.casefold() in exact or label.casefold().startswith("lead:")


def laptop(label: str, number: int, needs: str = "") -> str:
    """Return the advice to do on a laptop what a label requests; "" if only GitHub can do it."""
    name, issue, where = label.casefold(), str(number), " --incident " + str(number)
    own = " label " + shlex.quote(label) + where if starts(name) else ""  # ops.yml says what
    commands = {name: own, "report": " incident report " + issue, "check-outage": " check-outage" + where}
    commands |= {"actions:create": " incident actions --create " + issue, "ops:resume": " stop --lift"}
    commands |= {"ops:stop": " stop --reason TEXT" + where}
    return on_laptop(program() + commands[name], needs) if commands[name] else ""

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



def prose(text: object) -> str:
    """Return untrusted text as escaped prose; URLs and text between backticks become code.

    A UUID is cut to 8 characters.
    """
    line = "".join(c if c.isprintable() else " " for c in str(text)).strip()[:LONGEST]
    line = re.sub(r"\b([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", r"\1", line)
    parts, at = [], 0
    for found in re.finditer("`([^`]+)`|https?://[^ `]*[^ `.,:;!?)]", line):
        parts += [_escape(line[at : found.start()]), inert(found[1] or found[0])]
        at = found.end()
    return "".join([*parts, _escape(line[at:])]) or "-"


def _escape(text: str) -> str:
    """Return escaped text. Zero-width spaces break the patterns that GitHub finds after it decodes entities."""
    broken = re.sub("[@#:](?=[^ ])|www(?=[.])|gh(?=-)", lambda found: found[0] + "\0", text, flags=re.IGNORECASE)
    escaped = re.sub(r"[^\w \0,;()'\"/%.-]|_|^[-0-9]", lambda found: f"&#{ord(found[0])};", broken)
    return escaped.replace("\0", "&#8203;")


def documented(text: str, page: str) -> str:
    """Return Markdown as a link to a page of Backout; unchanged if DOCS has no address."""
    docs = os.environ.get("DOCS", "")
    return "[" + text + "](" + docs + page + ")" if re.fullmatch("https?://[A-Za-z0-9.:/_~#=&%-]+", docs) else text


def meaning(reason: object) -> str:
    """Return the reason of an end as Markdown, with the page about it."""
    known = re.fullmatch("[a-z_]+", str(reason))
    return documented(inert(reason), "docs/reference/reasons.md#" + known[0]) if known else inert(reason)

SETTINGS: dict[str, Any] = {
    "PROGRAM": "./run ops",
    "DOCS": os.environ.get("GITHUB_SERVER_URL", "") + "/" + os.environ.get("GITHUB_REPOSITORY", "") + "/blob/HEAD/",
    "RUN_STEP": "Recover",
    "LIMITS": {"gate": 5, "fetch-migrations": 5, "database-production": 15, "database-staging": 15,
        "recovery-production": 15, "recovery-staging": 15, "security-production": 15, "security-staging": 15,
        "fetch-site-production": 10, "fetch-site-staging": 10, "build-site": 25, "redeploy-production": 20,
        "redeploy-staging": 20, "wait": 310, "end-security-production": 15, "end-security-staging": 15, "report": 10,
        "watch": 70, "check-outage": 5, "tell": 5, "tell-later": 5, "unprivileged": 15},
    "VARIABLES": {
      "production": "`CLOUDFLARE_API_TOKEN`",
      "staging": "`STAGING_CLOUDFLARE_API_TOKEN`"
    },
}
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
