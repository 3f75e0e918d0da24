"""Run all checks on one repository, and delete what the run made."""

from collections.abc import Callable

from ops.core.verification_name import make_name
from ops.platform import workflow_checks
from ops.platform.account import Delay
from ops.platform.github_checks import GitHubChecks
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
    name = make_name()
    try:
        say("creating a branch, a label, an issue and an environment")
        resources, pull = create_resources(repository, name, say, delay)
        failures = run_steps(list_steps(repository, resources, results), GITHUB_STEPS, say)
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


def list_steps(
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
