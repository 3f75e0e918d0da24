"""JSON of workflows, runs, jobs, deployments, secrets and variables.

docs.github.com/rest/actions
"""

from typing import Any
from urllib.parse import quote

from sandbox.github.actions import state
from sandbox.github.actions.state import (
    DeploymentReview,
    FakeArtifact,
    FakeGitHubDeployment,
    FakeJob,
    FakeRun,
    FakeStep,
    SelfHostedRunner,
    Workflow,
)
from sandbox.github.environments import serializers as environments
from sandbox.github.environments.state import FakeEnvironment
from sandbox.github.git import serializers
from sandbox.github.pulls import serializers as pulls
from sandbox.github.repository import Repository
from sandbox.github.secrets.state import VaultEntry
from sandbox.github.urls import Urls, node_id, timestamp, timestamp_or_none
from sandbox.github.users import serializers as users


def workflow(repository: Repository, workflow: Workflow, urls: Urls) -> dict[str, Any]:
    head = repository.git.head(repository.git.default_branch)
    text = head.files.get(workflow.path, b"") if head else b""
    branch = repository.git.default_branch
    return {
        "id": workflow.id,
        "node_id": node_id("W", workflow.id),
        "name": state.workflow_name(workflow.path, text),
        "path": workflow.path,
        "state": workflow.state,
        "created_at": timestamp(workflow.created_at),
        "updated_at": timestamp(workflow.created_at),
        "url": urls.repo(f"/actions/workflows/{workflow.id}"),
        "html_url": urls.page(f"/blob/{branch}/{workflow.path}"),
        "badge_url": urls.page(f"/workflows/{quote(workflow.file)}/badge.svg"),
    }


def run(repository: Repository, run: FakeRun, urls: Urls) -> dict[str, Any]:
    url = urls.repo(f"/actions/runs/{run.id}")
    earlier = f"{url}/attempts/{run.run_attempt - 1}" if run.run_attempt > 1 else None
    return {
        "id": run.id,
        "name": run.name,
        "node_id": node_id("WFR", run.id),
        "check_suite_id": run.id,
        "check_suite_node_id": node_id("CS", run.id),
        "head_branch": run.head_branch,
        "head_sha": run.head.sha,
        "path": run.workflow.path,
        "display_title": run.title or run.name,
        "run_number": run.run_number,
        "event": run.event,
        "status": run.status,
        "conclusion": run.conclusion,
        "workflow_id": run.workflow.id,
        "url": url,
        "html_url": urls.page(f"/actions/runs/{run.id}"),
        "pull_requests": [pulls.minimal(repository, run.pull, urls)] if run.pull and not run.fork else [],
        "created_at": timestamp(run.created_at),
        "updated_at": timestamp(run.updated_at),
        "actor": users.user(run.actor, urls),
        "run_attempt": run.run_attempt,
        "referenced_workflows": [_called_file(repository, run, path) for path in run.called_files],
        "run_started_at": timestamp(run.run_started_at),
        "triggering_actor": users.user(run.triggering_actor, urls),
        **{f"{name}_url": f"{url}/{name}" for name in ("jobs", "logs", "artifacts", "cancel", "rerun")},
        "check_suite_url": urls.repo(f"/check-suites/{run.id}"),
        "previous_attempt_url": earlier,
        "workflow_url": urls.repo(f"/actions/workflows/{run.workflow.id}"),
        "head_commit": _head_commit(run, urls),
        "repository": users.minimal_repository(repository, urls),
        "head_repository": users.minimal_fork(repository, run.fork, urls),
    }


def _called_file(repository: Repository, run: FakeRun, path: str) -> dict[str, Any]:
    """A local file counts as called by the sha: actions/runner, src/Sdk/WorkflowParser/…/ReusableWorkflowsLoader.cs."""
    return {"path": f"{repository.urls.full_name}/{path}@{run.commit.sha}", "sha": run.commit.sha}


def _head_commit(run: FakeRun, urls: Urls) -> dict[str, Any]:
    shown = serializers.git_commit(run.head, urls)
    who = {name: shown[name] for name in ("author", "committer")}
    signed = {name: {"name": one["name"], "email": one["email"]} for name, one in who.items()}
    return {
        "id": run.head.sha,
        "tree_id": run.head.tree,
        "message": run.head.message,
        "timestamp": timestamp(run.head.at),
        **signed,
    }


def job(run: FakeRun, job: FakeJob, urls: Urls) -> dict[str, Any]:
    runner = {"id": 1, "group_id": 1, "group_name": "GitHub Actions"} if job.runner_name else {}
    return {
        "id": job.id,
        "run_id": run.id,
        "workflow_name": run.name,
        "head_branch": run.head_branch,
        "run_url": urls.repo(f"/actions/runs/{run.id}"),
        "run_attempt": job.run_attempt,
        "node_id": node_id("CR", job.id),
        "head_sha": run.head.sha,
        "url": urls.repo(f"/actions/jobs/{job.id}"),
        "html_url": urls.page(f"/actions/runs/{run.id}/job/{job.id}"),
        "status": job.status,
        "conclusion": job.conclusion,
        "created_at": timestamp(job.created_at),
        "started_at": timestamp(job.started_at or job.created_at),
        "completed_at": timestamp_or_none(job.completed_at),
        "name": job.name,
        "steps": [_step(step) for step in job.steps],
        "check_run_url": urls.repo(f"/check-runs/{job.id}"),
        "labels": list(job.labels),
        "runner_name": job.runner_name,
        **{f"runner_{name}": runner.get(name) for name in ("id", "group_id", "group_name")},
    }


def artifact(run: FakeRun, one: FakeArtifact, urls: Urls) -> dict[str, Any]:
    url, at = urls.repo(f"/actions/artifacts/{one.id}"), timestamp(one.created_at)
    return {
        "id": one.id,
        "node_id": node_id("A", one.id),
        "name": one.name,
        "size_in_bytes": one.size,
        "url": url,
        "archive_download_url": f"{url}/zip",
        "expired": False,
        "created_at": at,
        "updated_at": at,
        "expires_at": None,
        "digest": None,
        "workflow_run": {"id": run.id, "head_branch": run.head_branch, "head_sha": run.head.sha},
    }


def runner(one: SelfHostedRunner, *, is_busy: bool) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "os": "linux",
        "status": "online" if one.is_online else "offline",
        "busy": is_busy,
        "ephemeral": False,
        "labels": [{"name": label} for label in sorted(one.labels)],
    }


def _step(step: FakeStep) -> dict[str, Any]:
    times = {"started_at": timestamp_or_none(step.started_at), "completed_at": timestamp_or_none(step.completed_at)}
    return {"name": step.name, "status": step.status, "conclusion": step.conclusion, "number": step.number, **times}


def secret(entry: VaultEntry) -> dict[str, Any]:
    """Return a secret without its value."""
    times = {"created_at": timestamp(entry.created_at), "updated_at": timestamp(entry.updated_at)}
    return {"name": entry.name, **times}


def variable(entry: VaultEntry) -> dict[str, Any]:
    return {**secret(entry), "value": entry.value}


def pending_deployment(environment: FakeEnvironment, urls: Urls, *, may_approve: bool) -> dict[str, Any]:
    return {
        "environment": environments.named(environment, urls),
        "wait_timer": environment.protection.wait_timer,
        "wait_timer_started_at": None,
        "current_user_can_approve": may_approve,
        "reviewers": environments.reviewers(environment.protection, urls),
    }


def review(one: DeploymentReview, urls: Urls) -> dict[str, Any]:
    times = [
        {"created_at": timestamp(each.created_at), "updated_at": timestamp(each.updated_at)}
        for each in one.environments
    ]
    named = [environments.named(each, urls) for each in one.environments]
    return {
        "environments": [{**name, **time} for name, time in zip(named, times, strict=True)],
        "state": one.state,
        "user": users.user(one.user, urls),
        "comment": one.comment,
    }


def deployment(one: FakeGitHubDeployment, urls: Urls) -> dict[str, Any]:
    at = timestamp(one.created_at)
    path = f"/deployments/{one.id}"
    return {
        "url": urls.repo(path),
        "id": one.id,
        "node_id": node_id("DE", one.id),
        "task": "deploy",
        "original_environment": one.environment,
        "environment": one.environment,
        "description": None,
        "created_at": at,
        "updated_at": at,
        "statuses_url": urls.repo(f"{path}/statuses"),
        "repository_url": urls.repo(),
        "creator": users.user(one.creator, urls),
        "sha": one.sha,
        "ref": one.ref,
        "payload": {},
        "transient_environment": False,
        "production_environment": False,
        "performed_via_github_app": None,
    }


def deployment_status(one: FakeGitHubDeployment, urls: Urls) -> dict[str, Any]:
    at, path = timestamp(one.created_at), f"/deployments/{one.id}"
    log = urls.page(f"/actions/runs/{one.run_id}/job/{one.id}")
    return {
        "url": urls.repo(f"{path}/statuses/{one.id}"),
        "id": one.id,
        "node_id": node_id("DES", one.id),
        "state": one.state,
        "creator": users.user(one.creator, urls),
        "description": "",
        "environment": one.environment,
        "target_url": log,
        "created_at": at,
        "updated_at": at,
        "deployment_url": urls.repo(path),
        "repository_url": urls.repo(),
        "environment_url": "",
        "log_url": log,
        "performed_via_github_app": None,
    }
