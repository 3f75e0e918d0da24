"""Run the GitHub part of a drill: incident, trigger, real workflow files, and their outcome.

The log is not trusted: the decision comes from the record on the incident, and the live release from the sandbox.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.core.errors import EXIT_CODES, ConfigError, Decision, Reason, exit_code_for
from ops.core.result import DURATIONS, duration_label
from ops.core.run_record import RunRecord, read_record
from ops.drills import repository
from ops.drills.command import DrillWorld, Params, Say, as_text
from ops.drills.support import Trigger, label_of
from ops.github.comments import BOT

if TYPE_CHECKING:
    from ops.config import Config, Service
    from sandbox import Sandbox
    from sandbox.actions import Runner
    from sandbox.github import GitHub
    from sandbox.github.actions.state import FakeRun

TOKEN = "sandbox-responder"  # noqa: S105  opens nothing but the sandbox
READING = "report"
"""GitHub environment with a read-only token. The other environment is the runbook's own."""
REVIEWER = "drill-reviewer"
"""Approves a run if `ops.yml` requires an approval."""
AFTER_PERMISSION = "after-permission"
PERMISSION = {"method": "GET", "path": "/repos/*/*/collaborators/*/permission"}
FAILING: Mapping[str, Any] = {"times": None, "status": 503}
_HEADLINE = re.compile("(" + "|".join(decision.upper().replace("_", " ") for decision in Decision) + "): ")


@dataclass(frozen=True)
class DrillIncident:
    """The incident issue of the drill. The responder, who has write access, works on it."""

    place: DrillWorld
    number: int
    url: str

    @property
    def github(self) -> "GitHub":
        return self.place.sandbox.github

    def environ(self) -> dict[str, str]:
        """Return the environment of the responder's laptop."""
        return {**self.github.environ(), "GITHUB_TOKEN": TOKEN}

    @property
    def journal(self) -> RunRecord | None:
        """The newest record of a run by the bot or the responder; None if there is none."""
        blocks = [
            block
            for comment in self.github.issue(self.number).comments
            if comment.user.login in {BOT, self.place.responder}
            and (block := read_record(comment.body))
            and block.part == 1
        ]
        return blocks[-1] if blocks else None

    def has_whole_journal(self, before: RunRecord | None) -> bool:
        """Return whether a run after `before` has a record with a decision."""
        last = self.journal
        return last is not None and last != before and last.decision != ""

    @property
    def report(self) -> dict[str, Any] | None:
        """The newest post-incident issue that refers to this one."""
        told = [event.source for event in self.github.issue(self.number).events if event.event == "cross-referenced"]
        found = [issue for issue in told if issue is not None and issue.has_label("post-incident")]
        return _named(self.github, found[-1].number) if found else None

    def describe(self) -> dict[str, Any]:
        """Return incident and report for the result of the drill."""
        return {"incident": {"number": self.number, "url": self.url}, "report": self.report}


def open_incident(place: DrillWorld) -> DrillIncident:
    """Open the incident as the person on call does."""
    hub = place.sandbox.github
    hub.add_user(place.responder)
    hub.add_token(TOKEN, place.responder, ["issues:write", "actions:write"])
    number = hub.open_issue(
        f"{place.service} is broken", "A drill.", labels=["incident", "drill"], author=place.responder
    )
    return DrillIncident(place, number, _named(hub, number)["url"])


def _named(hub: "GitHub", number: int) -> dict[str, Any]:
    return {"number": number, "url": hub.urls.page(f"/issues/{number}")}


@contextmanager
def github_failures(incident: DrillIncident, trigger: Trigger | None, where: str | None) -> "Iterator[None]":
    """Let GitHub answer 503: after the permission check, or to the requests of `where`.

    A laptop run has no permission check, so that it fails from the start.
    """
    faults = incident.github
    if where == AFTER_PERMISSION and trigger != "command":
        faults.fault(**PERMISSION, after=lambda: faults.fault(**FAILING))
    elif where == AFTER_PERMISSION:
        faults.fault(**FAILING)
    elif where is not None:
        method, _, path = where.partition(":")
        if not re.fullmatch(r"[A-Z*]+", method) or not path.startswith(("/", "*")):
            hint = f"Write {AFTER_PERMISSION}, or one such as PATCH:/repos/*/*/issues/comments/*."
            raise ConfigError(f'--github-fails "{where}" is no METHOD:PATH', hint=hint)
        faults.fault(method=method, path=path, **FAILING)
    try:
        yield
    finally:
        faults.faults.clear()


def prepare_repository(place: DrillWorld, power: str) -> None:
    """Give the repository its files, and the GitHub environment `power` the token and the secrets.

    No other environment can act. Raises ConfigError.
    """
    from sandbox.actions import ActNotFound, find_act

    sandbox = place.sandbox
    hub = sandbox.github
    try:
        find_act()
    except ActNotFound as error:
        raise ConfigError(str(error)) from None
    files = repository.files(place.config)
    needed = ["ops.yml", f".github/workflows/{place.runbook}.yml", ".github/workflows/incident.yml"]
    if missing := [name for name in needed if name not in files]:
        hint = "Run `ops workflows sync`, and add the file to git."
        raise ConfigError(f"git knows no {missing[0]} beside {place.config}", hint=hint)
    hub.add_commit("The operations repository", place.responder, files=files)
    reading = sandbox.add_token("sandbox-reading", permissions=["Workers Scripts Read", "Pages Read"])
    for name, token in ((power, place.token or sandbox.token), (READING, reading)):
        hub.add_environment(name)
        hub.put_secret(place.environment.token, token, name)
    for name, value in place.environ.items():
        hub.put_secret(name, value, power)
    if power in place.environment.approval:
        hub.add_user(REVIEWER, "read")
        hub.add_environment(place.environment.approval_environment, reviewers=[REVIEWER])


def requester_action(
    incident: DrillIncident, config: "Config", trigger: Trigger | None, params: Params
) -> tuple[str, "Callable[[GitHub], object]"]:
    """Return the responder's action as text and as a function. `DrillSupport.check` made sure that a label exists."""
    place, environment = incident.place, incident.place.environment.name
    if trigger == "button":
        button = f"{place.runbook}.yml"
        inputs = {"environment": environment, "incident": str(incident.number)}
        inputs |= {name: as_text(value) for name, value in {**place.named, **params}.items()}
        return f"pressed the button of {button}", lambda hub: hub.dispatch(button, inputs, place.responder)
    label = label_of(config, place.runbook, environment, {**place.named, **params})
    return f'put the label "{label}" on it', lambda hub: hub.label(incident.number, label, place.responder)


def by_workflow(
    incident: DrillIncident,
    config: "Config",
    trigger: Trigger | None,
    params: Params,
    say: Say,
    *,
    changed_at: "Callable[[Sandbox, Service], datetime | None]",
) -> dict[str, Any]:
    """Trigger the workflow, let the local runner finish it, and return the result.

    The result comes from the record on the incident; if there is none, from the job's log.
    """
    from sandbox.actions import Runner, UnsupportedExpression

    place, hub, sandbox = incident.place, incident.github, incident.place.sandbox
    text, pressed = requester_action(incident, config, trigger, params)
    environ = {name: value for name, value in sandbox.environ().items() if not name.endswith("_TOKEN")}
    cache = Path(os.environ.get("PIP_CACHE_DIR") or Path.home() / ".cache" / "pip")
    asked_at, before = sandbox.clock.now(), incident.journal
    with Runner(hub, environ, pip_cache=cache, on_line=lambda _, line: say(line)) as runner:
        say(f"{place.responder} {text}")
        pressed(hub)
        try:
            if place.environment.approval:
                _approve(hub, runner, say)
            runner.wait()
        except (UnsupportedExpression, TimeoutError) as error:
            raise ConfigError(
                f"the local runner gives up: {error}", hint="Correct the workflow file, or wait."
            ) from None
        run = hub.runs[-1]
        log = runner.log(run.id)
    for job in run.jobs:
        say(f'the job "{job.name}" ended: {job.conclusion}')
    block = incident.journal
    result = _from_journal(block) if block and incident.has_whole_journal(before) else _from_log(log)
    durations = {**result["durations"], "total": _seconds(asked_at, run.updated_at)}
    wrote_at = changed_at(sandbox, place.environment.service(place.service))
    if durations["trigger_to_write"] is None and wrote_at is not None and wrote_at > asked_at:
        durations["trigger_to_write"] = _seconds(asked_at, wrote_at)
    return {
        "schema": 1,
        **result,
        "runbook": place.runbook,
        "environment": place.environment.name,
        "service": place.service,
        "workflow_run": {**_run_json(run), "log": log},
        "durations": durations,
    }


def _approve(hub: "GitHub", runner: "Runner", say: Say) -> None:
    """Approve the run if it waits for a reviewer. Raises TimeoutError."""
    from sandbox.actions.runner import TIMEOUT_SECONDS

    run = hub.runs[-1]
    runner.wait_until(lambda: run.status in {"waiting", "completed"}, TIMEOUT_SECONDS)
    if run.status == "waiting":
        say(f"the reviewer {REVIEWER} approved it")
        hub.review(run.id, REVIEWER)


def _from_journal(block: RunRecord) -> dict[str, Any]:
    decision = Decision(block.decision)
    return {
        "decision": decision.value,
        "reason": block.reason,
        "exit_code": exit_code_for(decision, block.reason),
        "message": f"the incident's journal says {block.decision}",
        "run": block.run,
        "timeline": [{"at": row.at.isoformat(), "kind": row.kind, "text": row.text} for row in block.rows],
        "durations": {name: block.durations.get(duration_label(name)) for name in DURATIONS},
    }


def _from_log(log: list[str]) -> dict[str, Any]:
    """Return the result from the log: GitHub failed, or the gate refused."""
    refused = [line.removeprefix("refused: ") for line in log if line.startswith("refused: ")]
    ended = [found for line in log if (found := _HEADLINE.match(line))]
    decision = Decision.REFUSED if refused else Decision.FAILED
    if ended:
        decision = Decision(ended[-1][1].lower().replace(" ", "_"))
    message = refused[-1] if refused else f"nothing is on the incident, and the job's log says {decision.value}"
    return {
        "decision": decision.value,
        "reason": "",
        "exit_code": EXIT_CODES[decision],
        "message": message,
        "run": None,
        "timeline": [],
        "durations": dict.fromkeys(DURATIONS),
    }


def _run_json(run: "FakeRun") -> dict[str, Any]:
    jobs = [{"name": job.name, "conclusion": job.conclusion, **_times(job)} for job in run.jobs]
    return {"id": run.id, "event": run.event, "conclusion": run.conclusion, "jobs": jobs}


def _times(job: Any) -> dict[str, str | None]:
    names = ("created_at", "started_at", "completed_at")
    return {name: at.isoformat() if (at := getattr(job, name)) else None for name in names}


def _seconds(since: datetime, until: datetime) -> float:
    return round((until - since).total_seconds(), 3)


def compare_with_sandbox(result: Mapping[str, Any], *, serves: str, is_well: bool) -> dict[str, Any]:
    """Return the result, marked unhealthy if the sandbox contradicts a recovery."""
    said = f"{result['message']}; the sandbox serves the {serves} release, {'healthy' if is_well else 'NOT healthy'}"
    if result["decision"] != Decision.RECOVERED or (serves == "good" and is_well):
        return {**result, "message": said}
    return mark_unhealthy({**result, "message": said})


def mark_unhealthy(result: Mapping[str, Any], why: str = "") -> dict[str, Any]:
    failed = {"decision": Decision.STILL_UNHEALTHY.value, "reason": Reason.STILL_UNHEALTHY.value}
    message = f"{result['message']}; {why}" if why else result["message"]
    return {**result, **failed, "exit_code": EXIT_CODES[Decision.STILL_UNHEALTHY], "message": message}
