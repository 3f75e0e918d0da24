"""Check one repository by GitHub's API and by workflows, and delete what the run made."""

from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from ops.core.errors import ProviderError
from ops.core.verification_name import make_verification_name
from ops.github.client import GitHubApiError, provider_errors
from ops.github.permissions import may_write, read_permission
from ops.github.records import query_graphql
from ops.github.verification import SKIP
from ops.platform import workflow_checks
from ops.platform.account import Delay
from ops.platform.github_cleanup import RepositoryCleanup
from ops.platform.github_repository import (
    RepositoryResources,
    VerificationRepository,
    create_resources,
    wait_for_merge,
)
from ops.platform.measurements import Measurements
from ops.platform.verification import Say, run_steps
from ops.platform.workflow_checks import WorkflowChecks

GITHUB_STEPS = {
    "permissions": "reading the permissions of people",
    "threads": "adding a comment and a label, and reading the lists, at most a minute",
    "labels": "adding the label in capital letters, and removing it twice",
    "texts": "editing the text of the issue, and sending texts that are too long",
    "pulls": "pushing to a pull request, and waiting until GitHub knows whether it can be merged",
    "plan": "setting rules of the environment, and reading those of the default branch",
    **workflow_checks.STEPS,
}
"""Step of a run on GitHub → what it does."""


def measure_repository(
    repository: VerificationRepository, results: Measurements, say: Say, delay: Delay
) -> dict[str, str]:
    """Make what a run needs, check every assumption, and delete it, also after a signal.

    Returns why each failed step failed: its assumptions stay unproved.

    Raises:
        ProviderError: something could not be made, or not be deleted.
    """
    name = make_verification_name()
    try:
        say("creating a branch, a label, an issue and an environment")
        resources, pull = create_resources(repository, name, say, delay)
        failures = run_steps(list_repository_checks(repository, resources, results), GITHUB_STEPS, say)
        if obstacle := wait_for_merge(repository, pull, say) if pull else resources.workflow_obstacle:
            say(f"workflows are not measured: {obstacle}")
            return failures | dict.fromkeys(workflow_checks.STEPS, obstacle)
        checks = WorkflowChecks(repository, resources, results)
        return failures | run_steps(checks.steps(), GITHUB_STEPS, say)
    finally:
        with delay():
            say("deleting what the run made on GitHub")
            cleanup = RepositoryCleanup(repository, name)
            cleanup.delete_leftovers()
            say_removal(repository, cleanup, say)


def say_removal(repository: VerificationRepository, cleanup: RepositoryCleanup, say: Say) -> None:
    """Propose the removal of the workflow from the default branch, if it is there. Raises ProviderError."""
    if url := cleanup.propose_removal():
        for other in cleanup.list_other_runs():
            say(f"The run {other} may go on and still need the workflow. Wait for its end before you merge.")
        say(f"Merge this pull request, which removes the workflow: {url}")
        say(f"Then run `{repository.cleanup_command}`, which deletes the branch of that pull request.")


def list_repository_checks(
    repository: VerificationRepository, resources: RepositoryResources, results: Measurements
) -> dict[str, Callable[[], None]]:
    """Return the steps that need the API alone, in their order."""
    checks = GitHubChecks(repository, resources, results)
    return {
        "permissions": checks.check_permissions,
        "threads": checks.check_lists,
        "labels": checks.check_labels,
        "texts": checks.check_texts,
        "pulls": checks.check_pulls,
        "plan": checks.check_plan,
    }


NOBODY = "backout-verify-nobody-has-this-login"
"""A login that nobody has."""
STRANGER = "octocat"
"""A login of GitHub's own, which has no access to the repository of a team."""
MOST_CHARACTERS = 65_536
"""Longest text of an issue or a comment."""
STEP, LONGEST_STEP, LONGEST = 1.0, 8.0, 60.0
"""Seconds of the first pause between two reads of something that is not yet shown, of the longest one, and of all."""
_EDITS = """query($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) { issue(number: $number) {
    body userContentEdits(first: 20) { totalCount nodes { editor { login } } } } }
}"""


class GitHubChecks:
    """Checks on what a run made. A refused request leaves its own rows unproved, not those of others."""

    def __init__(
        self, repository: VerificationRepository, resources: RepositoryResources, results: Measurements
    ) -> None:
        self._repository, self._api, self._results = repository, repository.api, results
        self._name, self._issue = resources.name, resources.issue

    def check_permissions(self) -> None:
        """Read the permission of the token's owner, of a stranger, and of a login that nobody has."""
        self._measure_github_answer(
            "own-permission", lambda: self._read_permission(self._repository.login, describe_writing)
        )
        self._measure_github_answer(
            "stranger-permission", lambda: self._read_permission(STRANGER, lambda row: row["permission"])
        )
        self._measure_github_answer("unknown-login", lambda: self._read_permission(NOBODY, describe_writing), {404})

    def _read_permission(self, login: str, describe: Callable[[Mapping[str, Any]], str]) -> str:
        with provider_errors():
            return describe(read_permission(self._repository.client, login))

    def check_lists(self) -> None:
        """Create a comment and put the label on, and read the lists until they show both."""
        path = f"/issues/{self._issue}"
        comment = self._api.comment(self._issue, "one")
        self._api.add_label(self._issue, self._name)
        self._measure_github_answer("comment-readable", lambda: self._read_body(comment), {404})
        waited = self._measure_delay(lambda: self._is_listed(comment, path))
        self._results.compare_time("list-lag", waited, LONGEST)
        host = urlsplit(str(self._repository.read(path)["url"])).netloc
        self._results.compare("answer-host", "the same" if host == self._repository.host else "another one")

    def _read_body(self, comment: int) -> str:
        return "readable" if self._repository.read(f"/issues/comments/{comment}")["body"] == "one" else "another text"

    def _is_listed(self, comment: int, path: str) -> bool:
        shown = {row["id"] for row in self._repository.list_rows(f"{path}/comments")}
        added = [row for row in self._repository.list_rows(f"{path}/events") if row["event"] == "labeled"]
        issues = self._repository.read("/issues", labels=self._name, state="open")
        return comment in shown and bool(added) and self._issue in {row["number"] for row in issues}

    def check_labels(self) -> None:
        """Put the label on in capital letters, and remove it twice."""
        self._measure_github_answer("label-case", self._count_labels)
        self._api.remove_label(self._issue, self._name)
        self._measure_github_answer("label-removed-once", self._remove_label, {404})

    def _count_labels(self) -> str:
        self._api.add_label(self._issue, self._name.upper())
        labels = [row["name"] for row in self._repository.read(f"/issues/{self._issue}")["labels"]]
        return "the same label" if labels == [self._name] else "another label"

    def _remove_label(self) -> str:
        self._api.remove_label(self._issue, self._name)
        return "removed"

    def check_texts(self) -> None:
        """Edit the text of the issue, read its history, and send texts that are too long."""
        self._api.edit_issue(self._issue, "two")
        self._measure_github_answer("edit-history", self._count_edits)
        self._measure_github_answer("comment-limit", self._send_long_comment, {422})
        self._measure_github_answer("issue-body-limit", self._send_long_body, {422})

    def _count_edits(self) -> str:
        owner, _, name = self._repository.name.partition("/")
        with provider_errors():
            found = query_graphql(
                self._repository.client, _EDITS, {"owner": owner, "name": name, "number": self._issue}
            )
        return f"{found['repository']['issue']['userContentEdits']['totalCount']} versions"

    def _send_long_comment(self) -> str:
        self._api.comment(self._issue, "x" * (MOST_CHARACTERS + 1))
        return "accepted"

    def _send_long_body(self) -> str:
        self._api.edit_issue(self._issue, "x" * (MOST_CHARACTERS + 1))
        kept = self._repository.read(f"/issues/{self._issue}")["body"]
        return "the old text stays" if kept == "two" else "accepted"

    def check_pulls(self) -> None:
        """Open a pull request, push a commit, and read it until GitHub knows whether it can be merged."""
        base, title = self._repository.default_branch, "Measure pull requests; do not merge"
        pull = self._api.open_pull(self._name, base, title, "`ops verify-platform` closes it in a minute.")
        try:
            self._api.commit(self._name, {}, f"Measure pull requests {SKIP}")
            read = self._repository.read
            waited = self._measure_delay(lambda: read(f"/pulls/{pull.number}")["mergeable"] is not None)
            self._results.compare_time("mergeable-known", waited, LONGEST)
        finally:
            self._api.close_pull(pull.number)

    def check_plan(self) -> None:
        """Set rules of the environment, and read those of the default branch."""
        owner = self._repository.user_id
        self._measure_github_answer("environment-created", lambda: self._try_environment_rules({}, "created"), {404})
        policy = {"protected_branches": False, "custom_branch_policies": True}
        rules = {"deployment_branch_policy": policy}
        self._measure_github_answer(
            "environment-branches", lambda: self._try_environment_rules(rules, "accepted"), {422}
        )
        reviewers = {"reviewers": [{"type": "User", "id": owner}]}
        self._measure_github_answer(
            "environment-reviewers", lambda: self._try_environment_rules(reviewers, "accepted"), {422}
        )
        branch = quote(self._repository.default_branch, safe="")
        self._measure_github_answer(
            "branch-rules", lambda: self._describe_list_answer(f"/rules/branches/{branch}"), {403}
        )
        self._measure_github_answer("rulesets", lambda: self._describe_list_answer("/rulesets"), {403})

    def _try_environment_rules(self, rules: Mapping[str, Any], answer: str) -> str:
        """Replace the rules of the environment, and remove them again, because jobs of later steps use it."""
        self._api.put_environment(self._name, rules)
        if rules:
            self._api.put_environment(self._name, {})
        return answer

    def _describe_list_answer(self, path: str) -> str:
        return "a list" if isinstance(self._repository.read(path), list) else "another shape"

    def _measure_github_answer(self, name: str, read: Callable[[], str], statuses: Collection[int] = ()) -> None:
        """Record an answer. A refusal with one of the statuses is an answer too."""
        try:
            self._results.compare(name, read())
        except GitHubApiError as error:
            if error.status in statuses and not error.is_limit:
                self._results.compare(name, f"HTTP {error.status}")
            else:
                self._results.record_error(name, error)
        except ProviderError as error:
            self._results.record_error(name, error)

    def _measure_delay(self, is_shown: Callable[[], bool]) -> float | None:
        """Return the seconds until it is shown; None if it is not within LONGEST. Raises ProviderError."""
        clock, pause = self._repository.clock, STEP
        began = clock.monotonic()
        while not is_shown():
            if clock.monotonic() - began >= LONGEST:
                return None
            clock.sleep(pause)
            pause = min(2 * pause, LONGEST_STEP)
        return clock.monotonic() - began


def describe_writing(row: Mapping[str, Any]) -> str:
    return "may write" if may_write(row["role_name"], row["permission"]) else "may not write"
