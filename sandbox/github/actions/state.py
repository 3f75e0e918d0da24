"""Workflows, which are files of the default branch, and their runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sandbox.github.environments.state import FakeEnvironment
from sandbox.github.git.state import FakeCommit
from sandbox.github.issues.state import FakeIssue, Fork
from sandbox.github.users.state import User

FOLDER = ".github/workflows/"
MAX_INPUTS = 25


class InputError(ValueError):
    """Invalid inputs of a dispatch, or an invalid workflow file."""


@dataclass(frozen=True, kw_only=True)
class ActionsPolicy:
    """Settings of Actions of a new repository."""

    enabled: bool = True
    allowed: Literal["all", "local_only", "selected"] = "all"
    needs_sha: bool = False
    github_owned: bool = True
    verified: bool = False
    patterns: tuple[str, ...] = ()
    token_writes: bool = False
    """Whether GITHUB_TOKEN may write in a workflow that states no permissions."""
    fork_approval: str = "first_time_contributors"


@dataclass(frozen=True, kw_only=True)
class SelfHostedRunner:
    """A runner of the repository, or of its owner who shares it."""

    id: int
    name: str
    labels: frozenset[str]
    """In lower case: labels ignore case."""
    group: str
    is_online: bool
    of_owner: bool
    """The repository's API does not list it."""


HOSTED_LABELS = frozenset(("ubuntu-latest", "ubuntu-slim", "ubuntu-24.04", "ubuntu-22.04"))
"""Those of GitHub's runners on Linux: docs.github.com/actions/reference/runners/github-hosted-runners."""
HOSTED_RUNNER = "GitHub Actions 1"


@dataclass(eq=False, kw_only=True)
class Workflow:
    id: int
    path: str
    created_at: datetime
    state: str = "active"

    @property
    def file(self) -> str:
        return self.path.removeprefix(FOLDER)


@dataclass(frozen=True, kw_only=True)
class FakeStep:
    name: str
    number: int
    status: str
    conclusion: str | None
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(eq=False, kw_only=True)
class FakeJob:
    id: int
    name: str
    run_attempt: int
    created_at: datetime
    status: str = "queued"
    conclusion: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    labels: tuple[str, ...] = ("ubuntu-latest",)
    """The labels of its `runs-on`."""
    runner_name: str | None = None
    steps: list[FakeStep] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class FakeArtifact:
    id: int
    name: str
    size: int
    created_at: datetime


@dataclass(eq=False, kw_only=True)
class PendingDeployment:
    """A job that waits for a reviewer of its environment, and the decision."""

    environment: FakeEnvironment
    job: FakeJob
    state: Literal["waiting", "approved", "rejected"] = "waiting"


@dataclass(frozen=True, kw_only=True)
class DeploymentReview:
    """One entry of a run's approvals. GitHub stores no time for it."""

    environments: tuple[FakeEnvironment, ...]
    user: User
    state: str
    comment: str


@dataclass(eq=False, kw_only=True)
class FakeRun:
    id: int
    run_number: int
    workflow: Workflow
    name: str
    event: str
    payload: Mapping[str, Any]
    """Payload of the event that started it; the same object as in the delivery."""
    actor: User
    triggering_actor: User
    head: FakeCommit
    head_branch: str
    """For a pull request, this and `head` are those of the head branch."""
    created_at: datetime
    updated_at: datetime
    run_started_at: datetime
    run_attempt: int = 1
    status: str = "queued"
    conclusion: str | None = None
    jobs: list[FakeJob] = field(default_factory=list)
    artifacts: dict[str, FakeArtifact] = field(default_factory=dict)
    """Those that the API has shown."""
    artifact_reads: int = 0
    """Reads of the list, since it has an artifact."""
    pending_deployments: list[PendingDeployment] = field(default_factory=list)
    reviews: list[DeploymentReview] = field(default_factory=list)
    pull: FakeIssue | None = None
    """For runs of the event `pull_request`."""
    title: str = ""
    """From `run-name`, by default the name; the path of a refused file."""
    called_files: tuple[str, ...] = ()
    """Paths of the workflow files that it calls, all at its commit."""
    merge: FakeCommit | None = None
    """Test merge of that pull request: the workflow files come from it."""

    @property
    def commit(self) -> FakeCommit:
        """The commit of GITHUB_SHA."""
        return self.merge or self.head

    @property
    def fork(self) -> Fork | None:
        """Fork that holds the head; None if it is in the repository itself."""
        return self.pull.pull.fork if self.pull and self.pull.pull else None


class RunChange(NamedTuple):
    """Change of a run by a person through the API, for a runner to apply."""

    kind: Literal["reviewed", "cancelled", "rerun"]
    run: FakeRun
    jobs: tuple[FakeJob, ...] = ()
    """Jobs to rerun; empty for all."""


@dataclass(eq=False, kw_only=True)
class FakeGitHubDeployment:
    """Created by GitHub for a job with an environment."""

    id: int
    environment: str
    creator: User
    ref: str
    sha: str
    state: str
    run_id: int
    created_at: datetime


def workflow_name(path: str, text: bytes) -> str:
    """Return the name of a workflow: by default, its path."""
    named = re.search(rb"^name:[ \t]*(.+?)[ \t]*$", text, re.MULTILINE)
    return named[1].decode().strip("'\"") if named else path


def dispatch_inputs(text: bytes, given: Mapping[str, Any]) -> dict[str, str]:
    """Return all inputs as strings, as in the payload: given ones, and defaults for the others.

    docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#onworkflow_dispatchinputs

    Raises:
        InputError: an input is unexpected, missing or invalid.
    """
    declared = _declared_inputs(text)
    if declared is None:
        raise InputError("Workflow does not have 'workflow_dispatch' trigger")
    unexpected = [name for name in given if name not in declared]
    if unexpected:
        raise InputError(f"Unexpected inputs provided: {unexpected}".replace("'", '"'))
    values = {}
    for name, rules in declared.items():
        value = given.get(name, rules.get("default"))
        if value is None or value == "":
            if rules.get("required") and rules.get("default") is None:
                raise InputError(f"Required input '{name}' not provided")
            values[name] = "false" if rules.get("type") == "boolean" else ""
            continue
        values[name] = _check_input(name, rules, _text(value))
    return values


def cron_times(text: bytes) -> list[str]:
    """Return the cron lines of `on: schedule`. Raises InputError if the file is not valid."""
    on = _parse_trigger(text)
    listed = (on.get("schedule") or []) if isinstance(on, dict) else []
    return [str(entry["cron"]) for entry in listed]


def _parse_trigger(text: bytes) -> Any:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        parsed = yaml.load(text, Loader=loader)  # noqa: S506  a safe loader, in C where there is one
    except yaml.YAMLError as error:
        raise InputError("Workflow file is not valid") from error
    return parsed.get("on", parsed.get(True)) if isinstance(parsed, dict) else None  # YAML 1.1 reads `on` as a boolean


def _declared_inputs(text: bytes) -> dict[str, dict[str, Any]] | None:
    """Return input → declaration; None if the workflow cannot be dispatched."""
    on = _parse_trigger(text)
    if isinstance(on, dict) and "workflow_dispatch" in on:
        inputs = (on["workflow_dispatch"] or {}).get("inputs") or {}
        return {str(name): rules or {} for name, rules in inputs.items()}
    return {} if on == "workflow_dispatch" or (isinstance(on, list) and "workflow_dispatch" in on) else None


def _check_input(name: str, rules: Mapping[str, Any], value: str) -> str:
    kind = rules.get("type", "string")
    options = {"boolean": ["true", "false"], "choice": [str(option) for option in rules.get("options", [])]}.get(kind)
    if options is not None and value not in options:
        raise InputError(f"Provided value '{value}' for input '{name}' not in the list of allowed values")
    if kind == "number" and not re.fullmatch(r"-?\d+(\.\d+)?", value):
        raise InputError(f"Provided value '{value}' for input '{name}' is not a number")
    return value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
