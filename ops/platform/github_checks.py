"""Checks of GitHub by its API alone: people, issues, pull requests, plan, addresses."""

from ops.github.client import GitHubApiError, provider_errors
from ops.github.permissions import may_write, read_permission
from ops.platform.github_repository import RepositoryResources, VerificationRepository
from ops.platform.measurements import Measurements

NOBODY = "backout-verify-nobody-has-this-login"
"""A login that nobody has: GitHub takes at most 39 characters for one, and this has fewer."""


class PeopleChecks:
    def __init__(
        self, repository: VerificationRepository, resources: RepositoryResources, results: Measurements
    ) -> None:
        self._repository, self._resources, self._results = repository, resources, results

    def check_permissions(self) -> None:
        """Read the permission of the token's owner, and of a login that nobody has."""
        self._results.compare("own-permission", self._describe_permission(self._repository.login))
        self._results.compare("unknown-login", self._describe_permission(NOBODY))

    def _describe_permission(self, login: str) -> str:
        try:
            with provider_errors():
                answer = read_permission(self._repository.client, login)
        except GitHubApiError as error:
            return f"HTTP {error.status}"
        return "may write" if may_write(answer["role_name"], answer["permission"]) else "may not write"
