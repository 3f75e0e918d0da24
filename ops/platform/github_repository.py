"""Client of the repository that a run measures, and what the run makes in it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from ops.core.clock import Clock, format_duration
from ops.core.errors import ConfigError, ProviderError, Reason, Refused
from ops.core.redaction import Secret
from ops.github.client import GitHubApiError, provider_errors
from ops.github.own_writes import BRANCH_SUFFIXES, FOLDER, WORKFLOW
from ops.github.pulls import CreatedPullRequest
from ops.github.verification import SKIP, VerificationWrites, find_file, open_guarded
from ops.platform.account import Delay
from ops.platform.measurements import describe_measuring_error
from ops.platform.workflow_files import MARK, render_verification_workflow

TOKEN_VARIABLE = "VERIFY_GITHUB_TOKEN"  # noqa: S105  (the name of the variable)
TOKEN_HINT = (
    "Give the token the permissions in docs/how-to/first-day.md#the-token-on-github, then run "
    f"`export {TOKEN_VARIABLE}=…`."
)
PATH = f"{FOLDER}{WORKFLOW}"
_, ADDING, REMOVING = BRANCH_SUFFIXES
PAGE, MOST_PAGES = 100, 30
"""Rows of a page, and most pages of a list that are read."""
MERGE_SECONDS, MERGE_PAUSE = 300.0, 10.0
"""Longest wait for the person who merges, and seconds between two reads."""
BODY = (
    "`ops verify-platform` measures with this issue whether GitHub behaves as Backout assumes. It closes the issue at "
    "its end."
)
DUMMY = "a value without a meaning"


@dataclass(frozen=True)
class RepositoryResources:
    """What a run made. The branch, the environment, the label and the title of the issue have one name."""

    name: str
    issue: int
    environment_reason: str
    """Why there is no environment with the dummy secret; empty if there is one."""
    workflow_obstacle: str
    """Why the workflow is not on the default branch; empty if it is."""

    @property
    def has_environment(self) -> bool:
        return not self.environment_reason


class VerificationRepository:
    """Client of one repository, whose transport lets no write to anything else through."""

    def __init__(self, environ: Mapping[str, str], name: str, token: Secret, clock: Clock) -> None:
        self.name, self.clock = name, clock
        self.client, self.guard = open_guarded(environ, token, name)
        self.api = VerificationWrites(self.client, self.guard)
        self.login, self.user_id = "", 0
        """Login and ID of the token's owner."""
        self.default_branch = ""
        self.issue = 0
        """Number of the issue of this run; 0 before there is one."""

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Read the owner of the token and the default branch; close the client at the end.

        Raises:
            ConfigError: the repository has another name now.
            ProviderError: GitHub refused a read, or did not answer.
        """
        try:
            with provider_errors():
                user = self.client.requester.requestJsonAndCheck("GET", "/user")[1]
            known = self._read_repository()
            self.default_branch = str(known["default_branch"])
            first = f"/git/ref/heads/{quote(self.default_branch)}"
            self._get_repository_json(first, "Add a README file to the repository on GitHub: it needs a first commit.")
            self.login, self.user_id = str(user["login"]), int(user["id"])
            self.guard.open_pulls_into(self.default_branch)
            yield self
        except GitHubApiError as error:
            if error.is_forbidden or error.status == 401:
                error.hint = TOKEN_HINT
            raise
        finally:
            self.client.requester.close()

    def _read_repository(self) -> Any:
        try:
            return self._get_repository_json("", "Check OWNER/NAME, and that the token includes that repository.")
        except Refused:  # by the guard
            raise ConfigError(
                f"GitHub redirects {self.name}: the repository has another name now",
                reason=Reason.UNKNOWN_NAME,
                hint="Read the name on its page, then run `ops verify-platform --repository OWNER/NAME`.",
            ) from None

    @property
    def host(self) -> str:
        """Host, and port if any, to which requests go."""
        return urlsplit(self.client.requester.base_url).netloc

    @property
    def cleanup_command(self) -> str:
        return f"ops verify-platform --repository {self.name} --cleanup"

    @property
    def requests(self) -> int:
        return self.guard.sent

    def read(self, path: str, **parameters: object) -> Any:
        """Return the answer to a GET below the repository. Raises ProviderError."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        return self._get_repository_json(f"{path}{query}")

    def _get_repository_json(self, path: str, hint: str = "") -> Any:
        with provider_errors(hint):
            return self.client.requester.requestJsonAndCheck("GET", f"{self.client.url}{path}")[1]

    def list_rows(self, path: str, key: str = "", **parameters: object) -> list[Any]:
        """Return all rows of a list; with `key`, of that field of its answers. Raises ProviderError."""
        rows = list[Any]()
        for page in range(1, MOST_PAGES + 1):
            answer = self.read(path, **parameters, per_page=PAGE, page=page)
            shown = (answer.get(key) or []) if key else answer
            rows += shown
            if len(shown) < PAGE:
                break
        return rows

    def find_file(self, path: str) -> str | None:
        """Return the text of a file on the default branch; None if there is none. Raises ProviderError."""
        return find_file(self.client, path, self.default_branch)

    def holds_workflow(self) -> bool:
        """Return whether a file of a verification is on the default branch. Raises ProviderError."""
        return (self.find_file(PATH) or "").startswith(MARK)


def create_resources(
    repository: VerificationRepository, name: str, say: Callable[[str], object], delay: Delay
) -> tuple[RepositoryResources, CreatedPullRequest | None]:
    """Create what a run needs, and the pull request that adds the workflow, unless the workflow is there.

    A signal waits for each answer, so that nothing appears after the deletion. Raises ProviderError.
    """
    api = repository.api
    repository.guard.own_name(name)
    with delay():
        api.create_branch(name, repository.default_branch, {}, f"Measure GitHub {SKIP}")
    with delay():
        api.create_label(name)
    with delay():
        repository.issue = api.create_issue(name, BODY)
    environment = _create_environment(repository, name, delay)
    pull, reason = _propose_workflow(repository, name, delay)
    if pull:
        say(f"Merge this pull request now, to measure workflows too: {pull.url}")
        say("It adds a harmless workflow. Another pull request removes the workflow at the end.")
    return RepositoryResources(name, repository.issue, environment, reason), pull


def _create_environment(repository: VerificationRepository, name: str, delay: Delay) -> str:
    """Create an environment with a dummy secret, and return why there is none."""
    try:
        with delay():
            repository.api.put_environment(name, {})
        with delay():
            repository.api.put_secret(name, DUMMY)
    except ProviderError as error:
        return f"the environment with a secret could not be created ({describe_measuring_error(error)})"
    return ""


def _propose_workflow(
    repository: VerificationRepository, name: str, delay: Delay
) -> tuple[CreatedPullRequest | None, str]:
    """Open the pull request that adds the workflow. Without one, return why the workflow cannot be used."""
    text = repository.find_file(PATH)
    if text is not None:
        is_same = text == render_verification_workflow()
        other = "an older workflow of a measurement" if text.startswith(MARK) else "another file"
        return None, "" if is_same else f"{other} is at {PATH} on the default branch"
    branch, title = f"{name}{ADDING}", "Add the harmless workflow verify-platform"
    body = (
        "`ops verify-platform` starts this workflow to measure how GitHub runs jobs. Another pull request removes it "
        "at the end of the measurement."
    )
    try:
        with delay():
            repository.api.create_branch(
                branch, repository.default_branch, {PATH: render_verification_workflow()}, title
            )
        with delay():
            pull = repository.api.open_pull(branch, repository.default_branch, title, body)
    except ProviderError as error:
        return None, f"the pull request that adds the workflow could not be opened ({describe_measuring_error(error)})"
    return pull, ""


def wait_for_merge(repository: VerificationRepository, pull: CreatedPullRequest, say: Callable[[str], object]) -> str:
    """Wait until the workflow is on the default branch, and return why it is not.

    A person merges the pull request of this run, or that of another run, which has the same workflow.
    """
    clock, minutes, is_merged = repository.clock, 0, False
    began = clock.monotonic()
    while (waited := clock.monotonic() - began) < MERGE_SECONDS:
        try:
            has_workflow = repository.find_file(PATH) == render_verification_workflow()
            row = repository.read(f"/pulls/{pull.number}")
            is_merged = bool(row.get("merged_at"))
            if has_workflow:
                if row.get("state") == "open":
                    _close_needless_pull(repository, pull, say)
                return ""
            if row.get("state") == "closed" and not is_merged:
                return "the pull request that adds the workflow was closed without a merge"
        except ProviderError as error:
            say(f"cannot read whether the pull request is merged: {describe_measuring_error(error)}")
        if waited >= minutes * 60:
            minutes += 1
            say(f"waiting until you merge {pull.url}: minute {minutes} of {MERGE_SECONDS // 60:.0f}")
        clock.sleep(MERGE_PAUSE)
    if is_merged:
        return "the workflow was merged, but the default branch does not show it"
    return f"the pull request that adds the workflow was not merged within {format_duration(MERGE_SECONDS)}"


def _close_needless_pull(
    repository: VerificationRepository, pull: CreatedPullRequest, say: Callable[[str], object]
) -> None:
    """Close the pull request at once, so that nobody merges it. If that fails, the cleanup closes it."""
    say(f"another run has added the same workflow: do not merge {pull.url}")
    with suppress(ProviderError):
        repository.api.close_pull(pull.number)
