"""Changes of Actions: dispatch, start, rerun and review of runs; secrets and variables."""

from collections.abc import Collection, Mapping
from typing import Any

from sandbox.github.actions.state import (
    FOLDER,
    HOSTED_LABELS,
    HOSTED_RUNNER,
    DeploymentReview,
    FakeJob,
    FakeRun,
    RunChange,
    Workflow,
    cron_times,
    workflow_name,
)
from sandbox.github.environments.state import FakeEnvironment
from sandbox.github.git.state import FakeCommit
from sandbox.github.issues.state import FakeIssue
from sandbox.github.payloads import compose
from sandbox.github.repository import Repository
from sandbox.github.secrets.state import VaultEntry
from sandbox.github.users.state import GitHubActor, User


def workflows(repository: Repository) -> list[Workflow]:
    """Return the workflows on the default branch, in the order in which they were first seen."""
    head = repository.git.head(repository.git.default_branch)
    for path in sorted(head.files) if head else ():
        if path.startswith(FOLDER) and path.endswith((".yml", ".yaml")):
            find_or_add_workflow(repository, path)
    return [one for one in repository.workflows.values() if head and one.path in head.files]


def find_runner(repository: Repository, labels: Collection[str], group: str | None) -> str | None:
    """Return the name of a runner that has all labels and no job; None if there is none now. Labels ignore case.

    docs.github.com/actions/how-tos/write-workflows/choose-where-workflows-run/choose-the-runner-for-a-job
    """
    wanted = {label.lower() for label in labels}
    if group is None and len(wanted) == 1 and wanted <= HOSTED_LABELS and not repository.switches.enterprise_server:
        return HOSTED_RUNNER
    busy = busy_runners(repository)
    for one in repository.runners.values():
        if one.is_online and one.name not in busy and wanted <= one.labels and group in {None, one.group}:
            return one.name
    return None


def busy_runners(repository: Repository) -> set[str | None]:
    """Return the names of the runners with a job."""
    return {job.runner_name for run in repository.runs.values() for job in run.jobs if job.status == "in_progress"}


def find_or_add_workflow(repository: Repository, path: str) -> Workflow:
    if path not in repository.workflows:
        workflow = Workflow(id=repository.new_id(), path=path, created_at=repository.now())
        repository.workflows[path] = workflow
    return repository.workflows[path]


def workflow_of(repository: Repository, name: str, commit: FakeCommit) -> Workflow | None:
    """Return a workflow of that commit by file name or path, even if it is not on the default branch."""
    path = name if name.startswith(FOLDER) else FOLDER + name
    return find_or_add_workflow(repository, path) if path in commit.files else None


def find_workflow(repository: Repository, name: str) -> Workflow | None:
    """Return a workflow of the default branch by ID, file name or path."""
    for workflow in workflows(repository):
        if name in {str(workflow.id), workflow.file, workflow.path}:
            return workflow
    return None


def dispatch(
    repository: Repository,
    by: GitHubActor,
    workflow: Workflow,
    *,
    branch: str,
    head: FakeCommit,
    inputs: Mapping[str, str],
) -> FakeRun:
    """Start a run, and deliver the event even if GITHUB_TOKEN caused it."""
    fields = {"inputs": dict(inputs), "ref": f"refs/heads/{branch}", "workflow": workflow.path}
    payload, event = compose(repository, by, fields), "workflow_dispatch"
    run = start_run(repository, by, workflow, event=event, payload=payload, head=head, branch=branch)
    repository.deliver(event, by, payload)
    return run


def start_run(
    repository: Repository,
    by: GitHubActor,
    workflow: Workflow,
    *,
    event: str,
    payload: Mapping[str, Any],
    head: FakeCommit,
    branch: str,
    pull: FakeIssue | None = None,
    merge: FakeCommit | None = None,
    number: int | None = None,
) -> FakeRun:
    at = repository.now(by)
    run = FakeRun(
        id=number or repository.new_id(),
        run_number=1 + sum(run.workflow is workflow for run in repository.runs.values()),
        workflow=workflow,
        name=workflow_name(workflow.path, (merge or head).files.get(workflow.path, b"")),
        event=event,
        payload=payload,
        actor=by.user,
        triggering_actor=by.user,
        head=head,
        head_branch=branch,
        created_at=at,
        updated_at=at,
        run_started_at=at,
        pull=pull,
        merge=merge,
    )
    repository.runs[run.id] = run
    return run


def schedule(repository: Repository, workflow: Workflow) -> list[FakeRun]:
    """Start a run on the default branch for each cron time of the workflow, without a delivery.

    The actor is the person who last changed the times:
    docs.github.com/actions/reference/workflows-and-actions/events-that-trigger-workflows#actor-for-scheduled-workflows
    """
    branch = repository.git.default_branch
    head = repository.git.commits[repository.git.branches[branch]]
    by = GitHubActor(user=_schedule_author(repository, workflow, head))
    runs = []
    for time in cron_times(head.files[workflow.path]):
        payload = compose(repository, by, {"schedule": time, "workflow": workflow.path})
        runs.append(start_run(repository, by, workflow, event="schedule", payload=payload, head=head, branch=branch))
    return runs


def _schedule_author(repository: Repository, workflow: Workflow, head: FakeCommit) -> User:
    def at(commit: FakeCommit) -> list[str]:
        return cron_times(commit.files.get(workflow.path, b""))

    found = [
        commit
        for commit in repository.git.history_of(workflow.path, head)
        if all(at(commit) != at(repository.git.commits[sha]) for sha in commit.parents)
    ]
    return found[0].author if found else head.author


class RerunError(ValueError):
    """GitHub does not allow a rerun of this run now."""


def rerun(repository: Repository, by: User, run: FakeRun, jobs: Collection[FakeJob] = ()) -> None:
    """Start a further attempt of all jobs, or of `jobs` and the jobs that need them.

    Payload and commit stay the same. docs.github.com/actions/how-tos/manage-workflow-runs/re-run-workflows-and-jobs

    Raises:
        RerunError: the run has not completed.
    """
    if run.status != "completed":
        raise RerunError("This workflow is already running")
    run.run_attempt += 1
    run.triggering_actor = by
    run.status, run.conclusion = "queued", None
    run.run_started_at = run.updated_at = repository.now()
    repository.change_run(RunChange("rerun", run, tuple(jobs)))


def failed_jobs(run: FakeRun) -> list[FakeJob]:
    """Return the failed jobs of the latest attempt. Raises RerunError if there is none."""
    found = [job for job in run.jobs if job.run_attempt == run.run_attempt and job.conclusion in _FAILED]
    if not found:
        raise RerunError("This workflow run cannot be retried")
    return found


_FAILED = {"failure", "cancelled", "timed_out"}


class ReviewError(ValueError):
    """The person may not review this run, or it does not wait for a review."""


def review(
    repository: Repository, by: User, run: FakeRun, environments: Collection[int], *, state: str, comment: str
) -> None:
    """Approve or reject the jobs that wait for these environments. Raises ReviewError."""
    gates = [
        gate for gate in run.pending_deployments if gate.state == "waiting" and gate.environment.id in environments
    ]
    found = {gate.environment.id: gate.environment for gate in gates}
    if not environments or found.keys() != set(environments):
        raise ReviewError("No pending deployments to approve or reject")
    if not all(may_review(by, run, environment) for environment in found.values()):
        raise ReviewError("You are not a required reviewer of this environment")
    for gate in gates:
        gate.state = "approved" if state == "approved" else "rejected"
    run.reviews.append(DeploymentReview(environments=tuple(found.values()), user=by, state=state, comment=comment))
    repository.change_run(RunChange("reviewed", run))


def may_review(by: User, run: FakeRun, environment: FakeEnvironment) -> bool:
    rules = environment.protection
    return by in rules.approvers and not (rules.prevents_self_review and by is run.triggering_actor)


def put_value(repository: Repository, entries: dict[str, VaultEntry], name: str, value: str) -> bool:
    """Set a secret or variable, and return whether it is new. Names are stored in capitals."""
    name, now = name.upper(), repository.now()
    if name in entries:
        entries[name].value, entries[name].updated_at = value, now
        return False
    entries[name] = VaultEntry(name=name, value=value, created_at=now, updated_at=now)
    return True


def find_or_make_environment(repository: Repository, name: str) -> FakeEnvironment:
    """Return the environment, created if it is missing. Names ignore case."""
    now = repository.now()
    made = FakeEnvironment(id=repository.new_id(), name=name, created_at=now, updated_at=now)
    return repository.environments.setdefault(name.lower(), made)
