"""Protection of the repository: privacy, GitHub environments and their uses, rulesets.

GitHub creates a deployment for each job with an `environment`, unless the job sets `deployment: false`. The statuses of
the deployment link to the job log.
docs.github.com/rest/deployments/environments, …/deployments/branch-policies, …/deployments/deployments,
…/deployments/statuses, …/repos/rules, …/actions/secrets
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ops.core.clock import Period, parse_utc
from ops.core.errors import ConfigError, ProviderError, Reason
from ops.core.redaction import Redactor
from ops.github.client import GitHubApiError, connect, is_configured, provider_errors, read_json, write_errors

if TYPE_CHECKING:
    from github.Repository import Repository


MOST_REVIEWERS = 6
_PER_PAGE, _MOST_PAGES = 100, 20
MOST_USES = 100
"""The limit of uses in one period; each needs one request for its statuses."""
_NEEDS_UPGRADE = "Upgrade to GitHub"
"""Beginning of GitHub's text where a private repository's plan lacks a feature."""
_CUSTOM = {"protected_branches": False, "custom_branch_policies": True}


class NotInPlan(ProviderError):
    """The GitHub plan lacks the feature for a private repository."""

    def __init__(self) -> None:
        hint = "Make the repository public, or use GitHub Pro, Team or Enterprise."
        super().__init__("the GitHub plan lacks it", reason=Reason.PROVIDER_REFUSED, hint=hint)


@dataclass(frozen=True)
class OwnRepository:
    """The repository, and whether the token may administer and write it; True also where GitHub does not say."""

    full_name: str
    default_branch: str
    is_private: bool
    """Also if it is internal: every member of the enterprise reads it then."""
    is_internal: bool
    may_administer: bool
    may_write: bool


@dataclass(frozen=True)
class Reviewer:
    id: int
    name: str
    """Login of a user, or slug of a team."""
    is_team: bool = False


@dataclass(frozen=True)
class EnvironmentProtection:
    """Protection rules of an environment."""

    branches: tuple[str, ...] | None = None
    """Patterns of branches that may use it; None: any, or all protected ones."""
    tags: tuple[str, ...] = ()
    reviewers: tuple[Reviewer, ...] = ()
    prevents_self_review: bool = False
    wait_minutes: int = 0

    def admits_only(self, branch: str) -> bool:
        return self.branches == (branch,) and not self.tags


def read_own_repository(repository: "Repository") -> OwnRepository:
    """Return the repository. Its permissions are those of the person, which the token may restrict further.

    The token of a GitHub App has no person, so GitHub shows no permissions.
    """
    with provider_errors():
        answer = read_json(repository, "")
    permissions = answer.get("permissions") or {}
    is_known = permissions.get("pull") is True
    return OwnRepository(
        str(answer["full_name"]),
        str(answer["default_branch"]),
        answer.get("private") is True,
        answer.get("visibility") == "internal",
        permissions.get("admin") is True or not is_known,
        permissions.get("push") is True or not is_known,
    )


def may_read(repository: "Repository", name: str) -> bool:
    """Return whether the token of this connection may read another repository, given as OWNER/NAME."""
    from github import UnknownObjectException

    with provider_errors():
        try:
            repository.requester.requestJsonAndCheck("GET", f"/repos/{name}")
        except UnknownObjectException:
            return False
    return True


def has_commit(repository: "Repository", name: str, sha: str) -> bool:
    """Return whether another repository has the commit (docs.github.com/rest/commits/commits#get-a-commit)."""
    try:
        with provider_errors():
            repository.requester.requestJsonAndCheck("GET", f"/repos/{name}/commits/{sha}")
    except GitHubApiError as error:
        if error.status in {404, 409, 422}:  # 409: the repository is empty
            return False
        raise
    return True


def read_environment(repository: "Repository", name: str) -> EnvironmentProtection | None:
    """Return the rules of the environment; None if it does not exist. Raises ProviderError."""
    from github import UnknownObjectException

    with provider_errors():
        try:
            row = read_json(repository, _environment_path(name))
        except UnknownObjectException:
            return None
    rules = {rule["type"]: rule for rule in row.get("protection_rules") or ()}
    review = rules.get("required_reviewers") or {}
    protection = EnvironmentProtection(
        reviewers=tuple(map(_parse_reviewer, review.get("reviewers") or ())),
        prevents_self_review=review.get("prevent_self_review") is True,
        wait_minutes=int((rules.get("wait_timer") or {}).get("wait_timer") or 0),
    )
    if not (row.get("deployment_branch_policy") or {}).get("custom_branch_policies"):
        return protection
    patterns = _branch_patterns(repository, name)
    return replace(
        protection,
        branches=tuple(each["name"] for each in patterns if each.get("type", "branch") == "branch"),
        tags=tuple(each["name"] for each in patterns if each.get("type") == "tag"),
    )


def list_reviewers(repository: "Repository") -> dict[str, tuple[Reviewer, ...]]:
    """Return environment → its required reviewers, for those that have some. Raises ProviderError.

    docs.github.com/rest/deployments/environments#list-environments
    """
    with provider_errors():
        rows = read_json(repository, f"/environments?per_page={_PER_PAGE}")["environments"]
    rules = ((str(row["name"]), rule) for row in rows for rule in row.get("protection_rules") or ())
    return {name: tuple(map(_parse_reviewer, rule["reviewers"])) for name, rule in rules if rule.get("reviewers")}


def _parse_reviewer(row: Mapping[str, Any]) -> Reviewer:
    is_team, account = row.get("type") == "Team", row["reviewer"]
    return Reviewer(int(account["id"]), str(account["slug" if is_team else "login"]), is_team)


def write_environment(
    repository: "Repository",
    name: str,
    branch: str,
    reviewers: Sequence[Reviewer] = (),
    *,
    prevents_self_review: bool = False,
) -> None:
    """Create the environment, or restrict it to one branch. Its other rules stay; `reviewers` replace its reviewers.

    `prevents_self_review` turns that rule on where there are reviewers.

    GitHub removes rules that a request leaves out, and refuses those that the plan lacks even with their default
    values. So the request has the rules that exist already, and no others (github.com/alchemy-run/alchemy/pull/1373).

    Raises ProviderError or UnclearWrite.
    """
    live = read_environment(repository, name) or EnvironmentProtection()
    listed = [{"type": "Team" if each.is_team else "User", "id": each.id} for each in reviewers or live.reviewers]
    body: dict[str, Any] = {"deployment_branch_policy": _CUSTOM}
    if listed:
        body |= {"reviewers": listed, "prevent_self_review": prevents_self_review or live.prevents_self_review}
    if live.wait_minutes:
        body["wait_timer"] = live.wait_minutes
    _write_protection(repository, "PUT", _environment_path(name), body)
    patterns = _branch_patterns(repository, name)
    if not any(_is_branch(each, branch) for each in patterns):
        _write_protection(repository, "POST", _policies_path(name), {"name": branch, "type": "branch"})
    for each in patterns:
        if not _is_branch(each, branch):
            _write_protection(repository, "DELETE", f"{_policies_path(name)}/{int(each['id'])}")


def _is_branch(pattern: Mapping[str, Any], branch: str) -> bool:
    return bool(pattern["name"] == branch) and pattern.get("type", "branch") == "branch"


def _branch_patterns(repository: "Repository", name: str) -> list[Mapping[str, Any]]:
    with provider_errors():
        answer = read_json(repository, f"{_policies_path(name)}?per_page={_PER_PAGE}")
    return list(answer["branch_policies"])


def _environment_path(name: str) -> str:
    return f"/environments/{quote(name, safe='')}"


def _policies_path(name: str) -> str:
    return f"{_environment_path(name)}/deployment-branch-policies"


def find_team(repository: "Repository", slug: str) -> Reviewer | None:
    """Return the team; None if no team with that name has access to the repository, which a reviewer needs.

    docs.github.com/rest/repos/repos#list-repository-teams
    """
    with provider_errors():
        rows = read_json(repository, f"/teams?per_page={_PER_PAGE}")
    found = (_parse_reviewer({"type": "Team", "reviewer": row}) for row in rows)
    return next((team for team in found if team.name.lower() == slug.lower()), None)


def find_reviewer(repository: "Repository", login: str) -> Reviewer | None:
    """Return the user; None if there is no user with that login (docs.github.com/rest/users/users#get-a-user)."""
    from github import UnknownObjectException

    with provider_errors():
        try:
            path = f"/users/{quote(login, safe='')}"
            _, account = repository.requester.requestJsonAndCheck("GET", path)
        except UnknownObjectException:
            return None
    return Reviewer(int(account["id"]), str(account["login"]))


def branch_rules(repository: "Repository", branch: str) -> tuple[Mapping[str, Any], ...]:
    """Return the active rules of the branch, of every ruleset.

    Raises:
        NotInPlan: the plan has no rulesets for private repositories.
    """
    with _github_plan_errors():
        path = f"/rules/branches/{quote(branch, safe='')}?per_page={_PER_PAGE}"
        if rules := read_json(repository, path):
            return tuple(rules)
        read_json(repository, "/rulesets?per_page=1")  # may tell that the plan has none
        return ()


def code_owner_errors(repository: "Repository") -> tuple[tuple[int, str], ...]:
    """Return line and kind of each error in CODEOWNERS on the default branch.

    Empty without such a file, or if the token may not read contents.
    docs.github.com/rest/repos/repos#list-codeowners-errors
    """
    from github import GithubException

    with provider_errors():
        try:
            answer = read_json(repository, "/codeowners/errors")
        except GithubException as error:
            if error.status in {403, 404}:
                return ()
            raise
    return tuple((int(each["line"]), str(each["kind"])) for each in answer["errors"])


def find_ruleset(repository: "Repository", name: str) -> int | None:
    """Return the ID of the repository's own ruleset with that name, or None. Raises NotInPlan."""
    with _github_plan_errors():
        rows = read_json(repository, f"/rulesets?per_page={_PER_PAGE}&includes_parents=false")
    return next((int(row["id"]) for row in rows if row["name"] == name), None)


def write_ruleset(repository: "Repository", ruleset: Mapping[str, Any]) -> None:
    """Create the ruleset, or replace the one with its name. Raises ProviderError or UnclearWrite."""
    number = find_ruleset(repository, ruleset["name"])
    if number is None:
        _write_protection(repository, "POST", "/rulesets", ruleset)
    else:
        _write_protection(repository, "PUT", f"/rulesets/{number}", ruleset)


def read_secret_names(repository: "Repository", environment: str = "") -> frozenset[str] | None:
    """Return the names of the secrets of an environment or of the repository.

    Empty if the environment does not exist; None if the token may not read them.
    """
    path = f"{_environment_path(environment)}/secrets" if environment else "/actions/secrets"
    try:
        with provider_errors():
            answer = read_json(repository, f"{path}?per_page={_PER_PAGE}")
    except GitHubApiError as error:
        if error.status == 404:
            return frozenset()
        if error.is_forbidden:
            return None
        raise
    return frozenset(str(row["name"]) for row in answer["secrets"])


@contextmanager
def _github_plan_errors() -> Iterator[None]:
    from github import GithubException

    with provider_errors():
        try:
            yield
        except GithubException as error:
            data = error.data if isinstance(error.data, dict) else {}
            if error.status == 403 and str(data.get("message", "")).startswith(_NEEDS_UPGRADE):
                raise NotInPlan from None
            raise


def _write_protection(repository: "Repository", method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
    with write_errors():
        repository.requester.requestJsonAndCheck(method, repository.url + path, input=body and dict(body))


@dataclass(frozen=True)
class GitHubEnvironmentUse:
    """Use of a GitHub environment by a job. `at`: GitHub's clock. `actor`: the person who started the run."""

    at: datetime
    environment: str
    actor: str
    ref: str
    sha: str
    state: str
    url: str
    """URL of the job's log."""


def list_github_environment_uses(repository: "Repository", period: Period) -> tuple[GitHubEnvironmentUse, ...]:
    """Return the uses of all environments in the period, newest first, at most MOST_USES. Raises as PyGithub."""
    return tuple(_read_github_environment_use(repository, row) for row in _list_job_deployments(repository, period))


def _list_job_deployments(repository: "Repository", period: Period) -> Iterator[Mapping[str, Any]]:
    """Yield the deployments of the period. GitHub lists the newest first and has no filter by time."""
    count = 0
    for page in range(1, _MOST_PAGES + 1):
        rows = read_json(repository, f"/deployments?per_page={_PER_PAGE}&page={page}")
        for row in rows:
            at = parse_utc(row["created_at"])
            if at < period.since or count == MOST_USES:
                return
            if at < period.until:
                count += 1
                yield row
        if len(rows) < _PER_PAGE:
            return


def _read_github_environment_use(repository: "Repository", row: Mapping[str, Any]) -> GitHubEnvironmentUse:
    statuses = read_json(repository, f"/deployments/{int(row['id'])}/statuses?per_page=1")
    last = statuses[0] if statuses else {}
    return GitHubEnvironmentUse(
        at=parse_utc(row["created_at"]),
        environment=row["environment"],
        actor=(row.get("creator") or {}).get("login", "ghost"),
        ref=row["ref"],
        sha=row["sha"],
        state=last.get("state") or "",
        url=last.get("log_url") or last.get("target_url") or "",
    )


def is_private(repository: "Repository") -> bool:
    """Return whether GitHub confirms that the repository is private.

    False if GitHub fails or does not say; never raises.
    """
    try:
        with provider_errors():
            answer = read_json(repository, "")
    except ProviderError:
        return False
    return isinstance(answer, dict) and answer.get("private") is True and answer.get("visibility") != "internal"


def is_own_private(environ: Mapping[str, str], redactor: Redactor) -> bool:
    """Return whether the operations repository is private; False if it cannot be read. Never raises."""
    try:
        return is_configured(environ) and is_private(connect(environ, redactor))
    except ConfigError:  # the token is for another server
        return False


def source_exposure(environ: Mapping[str, str], redactor: Redactor, application: str) -> str:
    """Return why others could read an artifact with the application's source; "" if it exposes nothing new."""
    own = environ.get("GITHUB_REPOSITORY", "")
    if own and own.lower() == (application or own).lower():
        return ""
    if is_own_private(environ, redactor):
        return ""
    return f"GitHub does not say that {own or 'the operations repository'} is private, and its artifacts are readable"
