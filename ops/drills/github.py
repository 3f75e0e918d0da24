"""Run the GitHub part of a drill: incident, trigger, real workflow files, and their outcome.

The log is not trusted: the decision comes from the record on the incident, and the live release from the sandbox.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ops.app.configuration import read_config
from ops.app.menu import build_menu
from ops.app.registry import ANSWER
from ops.core.approval import APPROVE_BUTTON, RECORD_SOURCE, parse_request
from ops.core.errors import EXIT_CODES, ConfigError, Decision, Reason, exit_code_for
from ops.core.public_update import UPDATE_SOURCE
from ops.core.run import DURATIONS, duration_label
from ops.core.run_record import MESSAGES_SOURCE, STATE_SOURCE, RunRecord, read_record
from ops.core.version import __version__
from ops.drills import repository
from ops.drills.command import DrillWorld, Params, Say, param_text
from ops.drills.score import mark_drill_unhealthy
from ops.drills.support import Trigger, find_label
from ops.tools import own_program

if TYPE_CHECKING:
    from ops.config import Config, Service
    from sandbox import Sandbox
    from sandbox.actions import Runner
    from sandbox.faults import Fault
    from sandbox.github import GitHub, GitHubRepository
    from sandbox.github.actions.state import FakeRun

TOKEN = "sandbox-responder"  # noqa: S105  opens nothing but the sandbox
ANSWER_FILE = f"{ANSWER}.yml"
READ_ONLY = ("Workers Scripts Read", "Pages Read", "Account Analytics Read")
"""Permissions of the token of jobs that only read."""
READ_ONLY_ENVIRONMENT = "report"
"""GitHub environment with a read-only token. The other environment is the runbook's own."""
PROGRAM = "backout/backout"
"""Stands for the repository of the actions, where the operations repository is a copy of it."""
REVIEWER = "drill-reviewer"
"""Approves a run if `ops.yml` requires an approval."""
SECOND_PERSON = "drill-approver"
"""Approves a plan that waits for a second person, if ops.yml names no second responder."""
AFTER_PERMISSION = "after-permission"
PERMISSION = {"method": "GET", "path": "/repos/*/*/collaborators/*/permission"}
NO_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
"""Variable of a job that reaches no package index."""
FAILING: Mapping[str, Any] = {"times": None, "status": 503}
_HEADLINE = re.compile(
    r"(?:✔|✖|OK|!!) (" + "|".join(decision.upper().replace("_", " ") for decision in Decision) + ")  "
)
"""The first line of a result as `ops.cli.output` prints it: sign, decision and text."""


@dataclass(frozen=True)
class DrillIncident:
    """The incident issue of the drill. The responder, who has write access, works on it."""

    world: DrillWorld
    number: int
    url: str

    @property
    def github(self) -> "GitHub":
        return self.world.sandbox.github

    def environ(self) -> dict[str, str]:
        """Return the environment of the responder's laptop."""
        return {**self.github.environ(), "GITHUB_TOKEN": TOKEN}

    @property
    def last_record(self) -> RunRecord | None:
        """The newest record of a run by the bot or the responder; None if there is none."""
        from sandbox.github.users.state import ACTIONS_BOT

        blocks = [
            block
            for comment in self.github.issue(self.number).comments
            if comment.user.login in {ACTIONS_BOT, self.world.responder}
            and (block := read_record(comment.body))
            and block.part == 1
            and block.source not in {RECORD_SOURCE, STATE_SOURCE, MESSAGES_SOURCE, UPDATE_SOURCE, "note"}
        ]
        return blocks[-1] if blocks else None

    def has_complete_record(self, before: RunRecord | None) -> bool:
        """Return whether a run after `before` has a record with a decision."""
        last = self.last_record
        return last is not None and last != before and last.decision != ""

    @property
    def report(self) -> dict[str, Any] | None:
        """The newest post-incident issue that refers to this one."""
        sources = [event.source for event in self.github.issue(self.number).events if event.event == "cross-referenced"]
        reports = [issue for issue in sources if issue is not None and issue.find_label("post-incident")]
        return _number_and_url(self.github, reports[-1].number) if reports else None

    def describe(self) -> dict[str, Any]:
        """Return incident and report for the result of the drill."""
        return {"incident": {"number": self.number, "url": self.url}, "report": self.report}


class DrillTrigger(Protocol):
    """Command, label or button that starts the runbook of a drill."""

    @property
    def config(self) -> "Config": ...
    @property
    def incident(self) -> DrillIncident | None: ...
    @property
    def drill(self) -> Any: ...

    def __call__(self, params: Params) -> dict[str, Any]: ...


def open_drill_incident(world: DrillWorld) -> DrillIncident:
    """Open the incident as the person on call does, with its recovery menu."""
    github = world.sandbox.github
    config, _ = read_config(world.config)
    add_responder(world)
    number = github.open_issue(
        f"{world.service} is broken", "A drill.", labels=["incident", "drill"], author=world.responder
    )
    menu = build_menu(config, (config.github.laptop_program,), str(number), github.urls.page())
    github.comment(number, menu.render([world.service]), world.responder)
    return make_incident(world, number)


def add_responder(world: DrillWorld) -> None:
    """Add the person on call, with the token of the laptop."""
    world.sandbox.github.add_user(world.responder)
    world.sandbox.github.add_token(TOKEN, world.responder, ["issues:write", "actions:write"])


def make_incident(world: DrillWorld, number: int) -> DrillIncident:
    return DrillIncident(world, number, _number_and_url(world.sandbox.github, number)["url"])


def _number_and_url(github: "GitHub", number: int) -> dict[str, Any]:
    return {"number": number, "url": github.urls.page(f"/issues/{number}")}


@contextmanager
def github_failures(incident: DrillIncident, trigger: Trigger | None, failing: str | None) -> "Iterator[None]":
    """Let GitHub answer 503: after the permission check, or to the requests of `failing`.

    A laptop run has no permission check, so that it fails from the start.
    """
    github = incident.github
    added: list[Fault] = []

    def fail_github_call(**rule: Any) -> None:
        added.append(github.fault(**rule))

    if failing == AFTER_PERMISSION and trigger != "command":
        fail_github_call(**PERMISSION, after=lambda: fail_github_call(**FAILING))
    elif failing == AFTER_PERMISSION:
        fail_github_call(**FAILING)
    elif failing is not None:
        method, _, path = failing.partition(":")
        if not re.fullmatch(r"[A-Z*]+", method) or not path.startswith(("/", "*")):
            hint = f"Write {AFTER_PERMISSION}, or one such as PATCH:/repos/*/*/issues/comments/*."
            raise ConfigError(f'--github-fails "{failing}" is no METHOD:PATH', hint=hint)
        fail_github_call(method=method, path=path, **FAILING)
    try:
        yield
    finally:
        for fault in added:
            fault.remove()


def prepare_repository(world: DrillWorld, github_environment: str) -> None:
    """Give the repository its files, and the GitHub environment its token and secrets.

    No other environment can act. Without environments, the repository has the secrets. Raises ConfigError.
    """
    from sandbox.actions import ActNotFound, find_act

    sandbox = world.sandbox
    github = sandbox.github
    try:
        find_act()
    except ActNotFound as error:
        raise ConfigError(f"this drill runs the workflow files: {error}") from None
    files = repository.build_repository_files(world.config, world.actions, is_watched=world.is_watched)
    needed = ["ops.yml", f".github/workflows/{world.runbook}.yml", ".github/workflows/incident.yml"]
    if missing := [name for name in needed if name not in files]:
        hint = "Run `ops workflows sync`, and add the file to git."
        raise ConfigError(f"git knows no {missing[0]} beside {world.config}", hint=hint)
    github.add_commit("The operations repository", world.responder, files=files)
    read_only_token = sandbox.add_token("sandbox-reading", permissions=READ_ONLY)
    config, _ = read_config(world.config)

    for place, token in ((github_environment, world.token or sandbox.token), (READ_ONLY_ENVIRONMENT, read_only_token)):
        if config.github.environments:
            github.add_environment(place)
        _put_secret(github, config, place, world.environment.token, token)
    for name, value in world.environ.items():
        _put_secret(github, config, github_environment, name, value)
        if world.is_watched:
            _put_secret(github, config, READ_ONLY_ENVIRONMENT, name, value)
    if github_environment in world.environment.approval:
        github.add_user(REVIEWER, "read")
        github.add_environment(world.environment.approval_environment, reviewers=[REVIEWER])


def put_token(world: DrillWorld, github_environment: str) -> None:
    """Replace the token of Cloudflare in the GitHub environment."""
    put_secret(world, github_environment, world.environment.token, world.token)


def put_secret(world: DrillWorld, github_environment: str, name: str, value: str) -> None:
    config, _ = read_config(world.config)
    _put_secret(world.sandbox.github, config, github_environment, name, value)


def _put_secret(github: "GitHub", config: "Config", environment: str, name: str, value: str) -> None:
    """Put the secret into the GitHub environment; without environments, into the repository."""
    place = environment if config.github.environments else None
    github.put_secret(config.github.secret(environment, name), value, place)


def drilled_actions_repository(world: DrillWorld) -> str:
    """Return the repository of the actions that another repository uses."""
    return world.actions or PROGRAM


@contextmanager
def open_runner(world: DrillWorld, say: Say, application: "GitHubRepository | None" = None) -> "Iterator[Runner]":
    """Start the local runner, of the operations repository or of the application's.

    It serves this program as the repository of the actions.
    """
    from sandbox.actions import Runner

    environ = {name: value for name, value in world.sandbox.environ().items() if not name.endswith("_TOKEN")}
    cache = Path(os.environ.get("PIP_CACHE_DIR") or Path.home() / ".cache" / "pip")
    with tempfile.TemporaryDirectory() as folder:
        name = drilled_actions_repository(world) if application else world.actions
        if name:
            say(f"this program, ops {__version__}, runs as {name}, not the commit that the workflows pin")
            own_program.write_program(Path(folder))
        with Runner(
            application or world.sandbox.github,
            {**environ, **({} if world.has_package_index else NO_INDEX)},
            pip_cache=cache if world.has_package_index else Path(folder, "empty"),
            actions={name: Path(folder)} if name else {},
            repositories=world.repositories,
            on_line=lambda _, line: say(line),
        ) as runner:
            yield runner


def finish_workflows(
    world: DrillWorld,
    trigger_run: "Callable[[], object]",
    say: Say,
    application: "GitHubRepository | None" = None,
) -> "list[FakeRun]":
    """Start workflow files by `trigger_run`, and let the local runner finish them. Return the new runs.

    They are those of the operations repository, or of the application's.

    Raises ConfigError.
    """
    from sandbox.actions import UnsupportedExpression

    hub = application or world.sandbox.github
    known = len(hub.runs)
    with open_runner(world, say, application) as runner:
        trigger_run()
        try:
            wait_for_runs(runner, hub)
        except (UnsupportedExpression, TimeoutError) as error:
            raise ConfigError(f"the local runner gives up: {error}", hint="Correct the workflow file.") from None
    runs = list_drilled_runs(hub, known)
    for run in runs:
        for job in run.jobs:
            say(f'{run.event}: the job "{job.name}" ended: {job.conclusion}')
    return runs


def wait_for_runs(runner: "Runner", hub: "GitHubRepository") -> None:
    """Wait until all runs have ended, without answers that have nothing to say because each gate has ended.

    Such an answer reads GitHub for two minutes in an outage. Raises what `Runner.wait` raises.
    """

    def is_needless_answer(run: "FakeRun") -> bool:
        gates = [job for each in hub.runs for job in each.jobs if job.name.rpartition(" / ")[2] == "gate"]
        return run.workflow.file == ANSWER_FILE and bool(gates) and all(job.status == "completed" for job in gates)

    runner.wait(is_ignored=is_needless_answer)


def list_drilled_runs(hub: "GitHubRepository", known: int = 0) -> "list[FakeRun]":
    """Return the runs after the first `known` ones, oldest first.

    Runs are left out that only answer for others, or that skipped each job, because the label was not for them.
    """
    runs = (run for run in hub.runs[known:] if run.workflow.file != ANSWER_FILE)
    return [run for run in runs if any(job.conclusion != "skipped" for job in run.jobs) or not run.jobs]


def requester_action(
    incident: DrillIncident, config: "Config", trigger: Trigger | None, params: Params
) -> tuple[str, "Callable[[GitHub], object]"]:
    """Return the responder's action as text and as a function. `DrillSupport.check` made sure that a label exists."""
    world, environment = incident.world, incident.world.environment.name
    if trigger == "button":
        button = f"{world.runbook}.yml"
        inputs = {"environment": environment, "incident": str(incident.number)}
        inputs |= {name: param_text(value) for name, value in {**world.service_param, **params}.items()}
        return f"pressed the button of {button}", lambda hub: hub.dispatch(button, inputs, world.responder)
    label = find_label(config, world.runbook, environment, {**world.service_param, **params})
    return f'put the label "{label}" on it', lambda hub: hub.label(incident.number, label, world.responder)


def run_workflow(
    incident: DrillIncident,
    config: "Config",
    trigger: Trigger | None,
    params: Params,
    say: Say,
    *,
    changed_at: "Callable[[Sandbox, Service], datetime | None]",
) -> dict[str, Any]:
    """Trigger the workflow, let the local runner finish it, and return the result.

    A second person approves a plan that waits for one.
    """
    action = requester_action(incident, config, trigger, params)
    result = run_action(incident, incident.world.responder, action, say, changed_at=changed_at)
    if result["reason"] != Reason.NEEDS_TWO_PEOPLE:
        return result
    second = next((each for each in config.responders if each != incident.world.responder), SECOND_PERSON)
    incident.github.add_user(second)
    incident.world.sandbox.clock.advance(1)  # times of GitHub have whole seconds, and nobody reads a plan in less
    return run_action(incident, second, second_person_action(incident, second), say, changed_at=changed_at)


def second_person_action(incident: DrillIncident, second: str) -> tuple[str, "Callable[[GitHub], object]"]:
    """Return the action of the second person, who approves the newest plan, as text and as a function."""
    record = incident.last_record
    request = parse_request(record.approval) if record else None
    inputs = {"incident": str(incident.number), "digest": request.full_digest if request else ""}
    button = f"{APPROVE_BUTTON}.yml"
    return f"pressed the button of {button}", lambda hub: hub.dispatch(button, inputs, second)


def run_action(
    incident: DrillIncident,
    person: str,
    action: tuple[str, "Callable[[GitHub], object]"],
    say: Say,
    *,
    changed_at: "Callable[[Sandbox, Service], datetime | None]",
) -> dict[str, Any]:
    """Let a person act, wait for the workflow, and return the result.

    The result comes from the record on the incident; if there is none, from the job's log.
    """
    from sandbox.actions import UnsupportedExpression

    world, github, sandbox = incident.world, incident.github, incident.world.sandbox
    text, trigger_run = action
    requested_at, before = sandbox.clock.now(), incident.last_record
    with open_runner(world, say) as runner:
        say(f"{person} {text}")
        trigger_run(github)
        try:
            if world.environment.approval:
                _approve_run(github, runner, say)
            wait_for_runs(runner, github)
        except (UnsupportedExpression, TimeoutError) as error:
            raise ConfigError(
                f"the local runner gives up: {error}", hint="Correct the workflow file, or wait."
            ) from None
        run = list_drilled_runs(github)[-1]
        log = runner.log(run.id)
    for job in run.jobs:
        say(f'the job "{job.name}" ended: {job.conclusion}')
    record = incident.last_record
    result = result_from_record(record) if record and incident.has_complete_record(before) else _result_from_log(log)
    durations = {**result["durations"], "total": _seconds_between(requested_at, run.updated_at)}
    wrote_at = changed_at(sandbox, world.environment.service(world.service))
    if durations["trigger_to_write"] is None and wrote_at is not None and wrote_at > requested_at:
        durations["trigger_to_write"] = _seconds_between(requested_at, wrote_at)
    return {
        "schema": 1,
        **result,
        "runbook": world.runbook,
        "environment": world.environment.name,
        "service": world.service,
        "workflow_run": {**describe_run(run), "log": log},
        "durations": durations,
    }


def _approve_run(github: "GitHub", runner: "Runner", say: Say) -> None:
    """Approve the run if it waits for a reviewer. Raises TimeoutError."""
    from sandbox.actions.runner import TIMEOUT_SECONDS

    run = list_drilled_runs(github)[-1]
    runner.wait_until(lambda: run.status in {"waiting", "completed"}, TIMEOUT_SECONDS)
    if run.status == "waiting":
        say(f"the reviewer {REVIEWER} approved it")
        github.review(run.id, REVIEWER)


def result_from_record(record: RunRecord) -> dict[str, Any]:
    """Return the result of the run with this record, which has a decision."""
    decision = Decision(record.decision)
    return {
        "decision": decision.value,
        "reason": record.reason,
        "exit_code": exit_code_for(decision, record.reason),
        "message": f"the incident's journal says {record.decision}",
        "run": record.run,
        "timeline": [{"at": row.at.isoformat(), "kind": row.kind, "text": row.text} for row in record.rows],
        "durations": {name: record.durations.get(duration_label(name)) for name in DURATIONS},
    }


def _result_from_log(log: list[str]) -> dict[str, Any]:
    """Return the result from the log: GitHub failed, or the gate refused."""
    refused = [line.removeprefix("refused: ") for line in log if line.startswith("refused: ")]
    ended = [match for line in log if (match := _HEADLINE.match(line))]
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


def describe_run(run: "FakeRun") -> dict[str, Any]:
    """Return a workflow run for the result of the drill."""
    jobs = [{"name": job.name, "conclusion": job.conclusion, **_job_times(job)} for job in run.jobs]
    return {"id": run.id, "event": run.event, "conclusion": run.conclusion, "jobs": jobs}


def _job_times(job: Any) -> dict[str, str | None]:
    names = ("created_at", "started_at", "completed_at")
    return {name: at.isoformat() if (at := getattr(job, name)) else None for name in names}


def _seconds_between(since: datetime, until: datetime) -> float:
    return round((until - since).total_seconds(), 3)


def compare_with_sandbox(result: Mapping[str, Any], *, live_release: str, is_healthy: bool) -> dict[str, Any]:
    """Return the result, marked unhealthy if the sandbox contradicts a recovery."""
    health = "healthy" if is_healthy else "NOT healthy"
    message = f"{result['message']}; the sandbox serves the {live_release} release, {health}"
    if result["decision"] != Decision.RECOVERED or (live_release == "good" and is_healthy):
        return {**result, "message": message}
    return mark_drill_unhealthy(result, message)
