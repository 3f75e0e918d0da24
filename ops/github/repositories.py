"""Create, find and archive a repository (docs.github.com/rest/repos/repos)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.core.errors import ProviderError, Reason
from ops.core.redaction import Redactor
from ops.github.client import GitHubApiError, make_requester, provider_errors, write_errors

if TYPE_CHECKING:
    from ops.github.requester import TypedRequester

RIGHTS = (
    "Use a classic token with the scopes `repo` and `workflow`, or a fine-grained token for all repositories of the "
    "owner with Administration, Contents, Environments, Issues, Secrets and Workflows: write."
)
NAME_TAKEN = "name already exists"
"""Part of GitHub's error for a repository whose name is in use."""


@dataclass(frozen=True)
class FoundRepository:
    """A repository that exists."""

    full_name: str
    description: str
    is_archived: bool


class RepositoryApi:
    """Repositories of the token's person and of their organizations."""

    def __init__(self, environ: Mapping[str, str], redactor: Redactor) -> None:
        """Sends no request. Raises ConfigError for a URL of another machine."""
        from github.Auth import Token

        redactor.add_secret(environ["GITHUB_TOKEN"])
        self._requester: TypedRequester = make_requester(environ, Token(environ["GITHUB_TOKEN"]))

    def read_login(self) -> str:
        """Return the login of the token's person. Raises ProviderError."""
        with provider_errors("Check the token: a person's, not that of a GitHub App."):
            return str(self._requester.requestJsonAndCheck("GET", "/user")[1]["login"])

    def find(self, name: str) -> FoundRepository | None:
        """Return the repository; None if there is none that the token may read. Raises ProviderError."""
        from github import UnknownObjectException

        with provider_errors():
            try:
                answer = self._requester.requestJsonAndCheck("GET", f"/repos/{name}")[1]
            except UnknownObjectException:
                return None
        return _parse_repository(answer)

    def create(self, name: str, login: str, description: str) -> bool:
        """Create an empty private repository, or return False if its name is in use.

        Raises UnclearWrite if it may exist now, and ProviderError.
        """
        from github import GithubException

        owner, _, short = name.partition("/")
        path = "/user/repos" if owner.lower() == login.lower() else f"/orgs/{owner}/repos"
        body = {"name": short, "private": True, "description": description}
        try:
            with write_errors(f"Its owner must let you create repositories. {RIGHTS}"):
                try:
                    self._requester.requestJsonAndCheck("POST", path, input=body)
                except GithubException as error:
                    if error.status == 422 and NAME_TAKEN in str(error.data):
                        return False
                    raise
        except GitHubApiError as error:
            raise _explain_refusal(error, name) from None
        return True

    def archive(self, name: str) -> None:
        """Make the repository read-only. Raises UnclearWrite and ProviderError."""
        with write_errors("Archive it in the settings of the repository, as an admin."):
            self._requester.requestJsonAndCheck("PATCH", f"/repos/{name}", input={"archived": True})


def _explain_refusal(error: GitHubApiError, name: str) -> ProviderError:
    owner = name.partition("/")[0]
    texts = {
        403: f"GitHub refused to create {name}: this token or person may not create repositories of {owner}",
        404: f"GitHub refused to create {name}: {owner} is no organization, or the token lacks the scope `repo`",
        422: f"GitHub refused to create {name}: the name or the plan does not allow it",
    }
    text = texts.get(error.status)
    if text is None or error.is_limit:
        return error
    return ProviderError(text, reason=Reason.PROVIDER_REFUSED, hint=error.hint)


def _parse_repository(answer: Mapping[str, Any]) -> FoundRepository:
    return FoundRepository(
        str(answer["full_name"]),
        str(answer.get("description") or ""),
        answer.get("archived") is True,
    )
