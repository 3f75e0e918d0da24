"""The real PyGithub, which follows the URLs in responses."""

from datetime import UTC, datetime

import pytest
from github import GithubException, UnknownObjectException
from github.EnvironmentDeploymentBranchPolicy import EnvironmentDeploymentBranchPolicyParams
from github.EnvironmentProtectionRuleReviewer import ReviewerParams
from github.Repository import Repository

from sandbox.actions import Runner
from sandbox.github import GitHub
from tests.sandbox.github.conftest import DISPATCHED, WORKFLOW, client
from tests.support.called_files import CALL, commit, start, workflow_file


@pytest.mark.slow
def test_incident_lifecycle_from_comment_to_report(repository: Repository, github: GitHub, incident: int) -> None:
    github.label(incident, "recover:rollback-worker", "alice")
    issue = repository.get_issue(incident)
    assert repository.get_collaborator_permission("alice") == "write"
    assert repository.get_collaborator_role_name("tina") == "triage"
    comment = issue.create_comment("received")
    issue.remove_from_labels("recover:rollback-worker")
    comment.edit("recovered")
    issue.add_to_labels("recovered")
    issue.create_reaction("eyes")
    report = repository.create_issue("Report", f"For #{incident}", labels=["post-incident"])
    issue.edit(state="closed", state_reason="completed")
    assert [one.body for one in issue.get_comments()] == ["recovered"]
    assert comment.user.login == "github-actions[bot]"
    assert [one.number for one in repository.get_issues(labels=["post-incident"])] == [report.number]
    timeline = [event.event for event in issue.get_timeline()]
    assert timeline == ["labeled", "labeled", "commented", "unlabeled", "labeled", "cross-referenced", "closed"]
    assert [event.event for event in issue.get_events()][-1] == "closed"
    assert github.unknown_requests == []


def test_issue_list_is_paginated(repository: Repository, github: GitHub) -> None:
    for number in range(65):
        github.open_issue(str(number), author="alice")
    found = repository.get_issues(state="all", direction="asc")
    assert (found.totalCount, [issue.title for issue in found]) == (65, [str(number) for number in range(65)])


@pytest.mark.slow
def test_issue_time_has_time_zone(repository: Repository, github: GitHub) -> None:
    at = datetime(2026, 11, 20, 10, 0, 30, 999, tzinfo=UTC)
    number = github.open_issue("Down", author="alice", at=at)
    assert repository.get_issue(number).created_at == at.replace(microsecond=0)


@pytest.mark.slow
def test_ref_file_and_pull_request_are_created(repository: Repository, github: GitHub) -> None:
    github.switches.actions_may_create_pull_requests = True
    repository.create_git_ref("refs/heads/limits", repository.get_branch("main").commit.sha)
    repository.create_file("limits.yml", "Add", "a: 1\n", branch="limits")
    file = repository.get_contents("limits.yml", ref="limits")
    assert not isinstance(file, list)
    repository.update_file("limits.yml", "Raise", "a: 2\n", file.sha, branch="limits")
    pull = repository.create_pull("main", "limits", title="Limits", body="Raise", draft=True)
    assert [one.filename for one in pull.get_files()] == ["limits.yml"]
    assert [one.commit.message for one in repository.compare("main", "limits").commits] == ["Add", "Raise"]
    assert [one.number for one in repository.get_pulls(state="open")] == [pull.number]
    with pytest.raises(GithubException, match="does not match"):
        repository.update_file("limits.yml", "Stale", "a: 3\n", file.sha, branch="limits")
    assert github.unknown_requests == []


@pytest.mark.slow
def test_workflows_are_dispatched_and_their_runs_read(repository: Repository, github: GitHub) -> None:
    github.add_commit("Add the button", "alice", files={WORKFLOW: DISPATCHED})
    button = repository.get_workflow("rollback-worker.yml")
    assert button.create_dispatch("main", {"service": "api"})
    (run,) = button.get_runs()
    github.add_job(run.id, "recover", steps=["Check"])
    assert [step.name for job in run.jobs() for step in job.steps] == ["Check"]
    assert repository.get_workflow_run(run.id).event == "workflow_dispatch"


@pytest.mark.slow
def test_jobs_of_called_files_are_read_and_run_again(repository: Repository, github: GitHub) -> None:
    with Runner(github, {}) as runner:
        commit(github, workflow_file({"gate": {}, "act": {"needs": "gate"}}), {"call": {"uses": CALL}})
        started = start(github)
        runner.wait()
        run = repository.get_workflow_run(started.id)
        github.rerun(run.id, "alice", only=started.jobs[1])
        runner.wait()

    run.update()
    assert (run.conclusion, run.run_attempt) == ("success", 2)
    assert [(job.name, job.run_attempt) for job in run.jobs("all")] == [
        (f"call / {name}", attempt) for attempt in (1, 2) for name in ("gate", "act")
    ]
    assert [each["path"].partition("@")[0] for each in run.raw_data["referenced_workflows"]] == [
        "acme/operations/.github/workflows/called.yml"
    ]


@pytest.mark.slow
def test_environment_secrets_are_encrypted(repository: Repository, github: GitHub) -> None:
    github.add_environment("recovery")
    with pytest.raises(GithubException, match="not accessible by integration"):
        repository.get_environment("recovery").create_secret("CF_TOKEN", "s3cret")
    github.add_user("ada", "admin")
    with client(github, github.add_token("ghp_ada", "ada")) as ada:
        owned = ada.get_repo(github.repository)
        owned.get_environment("recovery").create_secret("CF_TOKEN", "s3cret")
        owned.create_secret("SLACK", "hook")
        owned.create_variable("REGION", "eu")
    assert github.secrets("recovery") == {"CF_TOKEN": "s3cret"}
    assert (github.secrets(), github.variables()) == ({"SLACK": "hook"}, {"REGION": "eu"})


@pytest.mark.slow
def test_missing_issue_raises_unknown_object(repository: Repository) -> None:
    with pytest.raises(UnknownObjectException):
        repository.get_issue(99)
    assert repository.get_collaborator_permission("zoe") == "none"


@pytest.mark.slow
def test_pull_request_is_read_edited_and_merged(github: GitHub, alice: str) -> None:
    head = github.add_commit("Raise", "alice", branch="limits", files={"limits.yml": "a: 2\n"})
    number = github.open_pull("Raise", "limits", "alice")
    with client(github, alice) as opened:
        repository = opened.get_repo(github.repository)
        pull = repository.get_pull(number)
        pull.edit(title="Raise a", state="closed")
        pull.edit(state="open")
        assert [file.filename for file in pull.get_files()] == ["limits.yml"]
        merged = pull.merge(sha=head, merge_method="squash", commit_title="Limits")
        commit = repository.get_commit(merged.sha)
        assert [(one.number, one.title, one.merged_at is not None) for one in commit.get_pulls()] == [
            (number, "Raise a", True)
        ]
        assert commit.commit.message.partition("\n")[0] == "Limits"
        assert repository.compare(pull.base.sha, "main").ahead_by == 1


@pytest.mark.slow
def test_environments_are_created_with_policy_and_reviewer(github: GitHub) -> None:
    github.add_user("ada", "admin")
    with client(github, github.add_token("ghp_ada", "ada")) as ada:
        owned = ada.get_repo(github.repository)
        policy = EnvironmentDeploymentBranchPolicyParams(protected_branches=False, custom_branch_policies=True)
        rita = ReviewerParams("User", ada.get_user("rita").id)
        made = owned.create_environment("recovery", reviewers=[rita], deployment_branch_policy=policy)
        assert [rule.type for rule in made.protection_rules] == ["required_reviewers", "branch_policy"]
        assert owned.permissions.admin
        assert [one.name for one in owned.get_environments()] == ["recovery"]
        owned.delete_environment("recovery")
        assert owned.get_environments().totalCount == 0
    assert github.unknown_requests == []
