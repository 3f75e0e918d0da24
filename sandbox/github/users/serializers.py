"""JSON of users, organizations, apps and the repository.

docs.github.com/rest/users/users, docs.github.com/rest/repos/repos#get-a-repository
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sandbox.github.issues.state import Fork
from sandbox.github.repository import Repository
from sandbox.github.urls import Urls, node_id, timestamp
from sandbox.github.users.state import App, Role, Team, User, includes_role

_USER_LINKS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}


def user(user: User, urls: Urls) -> dict[str, Any]:
    return {**_user(user.login, user.id, user.type, urls)}


@lru_cache
def _user(login: str, number: int, kind: str, urls: Urls) -> Mapping[str, Any]:
    """Return a user. A list of issues shows some in each row."""
    own = urls.user(login)
    slug = login.removesuffix("[bot]")
    return {
        "login": login,
        "id": number,
        "node_id": node_id("U", number),
        "avatar_url": f"{urls.html}/avatars/u/{number}?v=4",
        "gravatar_id": "",
        "url": own,
        "html_url": f"{urls.html}/{slug}" if slug == login else f"{urls.html}/apps/{slug}",
        **{name: own + path for name, path in _USER_LINKS.items()},
        "type": kind,
        "site_admin": False,
    }


def user_or_none(one: User | None, urls: Urls) -> dict[str, Any] | None:
    return None if one is None else user(one, urls)


def association(user: User, urls: Urls) -> str:
    # docs.github.com/graphql/reference/enums#commentauthorassociation
    role = user.roles.get(urls.full_name)
    return "NONE" if role is None else "MEMBER" if role == "admin" else "COLLABORATOR"


def organization(owner: User, urls: Urls) -> dict[str, Any]:
    own = f"{urls.api}/orgs/{owner.login}"
    return {
        "login": owner.login,
        "id": owner.id,
        "node_id": node_id("O", owner.id),
        "url": own,
        "repos_url": f"{own}/repos",
        "events_url": f"{own}/events",
        "hooks_url": f"{own}/hooks",
        "issues_url": f"{own}/issues",
        "members_url": f"{own}/members{{/member}}",
        "public_members_url": f"{own}/public_members{{/member}}",
        "avatar_url": f"{urls.html}/avatars/u/{owner.id}?v=4",
        "description": "",
    }


def app(app: App | None, urls: Urls) -> dict[str, Any] | None:
    """Return an app as in `performed_via_github_app`."""
    if app is None:
        return None
    owner = User(login="github", id=9919, type="Organization")
    return {
        "id": app.id,
        "slug": app.slug,
        "node_id": node_id("A", app.id),
        "owner": user(owner, urls),
        "name": app.name,
        "description": "",
        "external_url": f"{urls.html}/apps/{app.slug}",
        "html_url": f"{urls.html}/apps/{app.slug}",
        "created_at": "2018-07-30T09:30:17Z",
        "updated_at": "2024-12-03T13:51:44Z",
        "permissions": {"issues": "write", "metadata": "read"},
        "events": ["workflow_dispatch"],
    }


_REPOSITORY_LINKS = {
    "forks_url": "/forks",
    "keys_url": "/keys{/key_id}",
    "collaborators_url": "/collaborators{/collaborator}",
    "teams_url": "/teams",
    "hooks_url": "/hooks",
    "issue_events_url": "/issues/events{/number}",
    "events_url": "/events",
    "assignees_url": "/assignees{/user}",
    "branches_url": "/branches{/branch}",
    "tags_url": "/tags",
    "blobs_url": "/git/blobs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "trees_url": "/git/trees{/sha}",
    "statuses_url": "/statuses/{sha}",
    "languages_url": "/languages",
    "stargazers_url": "/stargazers",
    "contributors_url": "/contributors",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "commits_url": "/commits{/sha}",
    "git_commits_url": "/git/commits{/sha}",
    "comments_url": "/comments{/number}",
    "issue_comment_url": "/issues/comments{/number}",
    "contents_url": "/contents/{+path}",
    "compare_url": "/compare/{base}...{head}",
    "merges_url": "/merges",
    "archive_url": "/{archive_format}{/ref}",
    "downloads_url": "/downloads",
    "issues_url": "/issues{/number}",
    "pulls_url": "/pulls{/number}",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "labels_url": "/labels{/name}",
    "releases_url": "/releases{/id}",
    "deployments_url": "/deployments",
}


def minimal_repository(repository: Repository, urls: Urls) -> dict[str, Any]:
    """Return the repository as in runs."""
    return {
        "id": repository.id,
        "node_id": node_id("R", repository.id),
        "name": repository.name,
        "full_name": urls.full_name,
        "private": repository.switches.private,
        "owner": user(repository.owner, urls),
        "html_url": urls.page(),
        "description": repository.description,
        "fork": False,
        "url": urls.repo(),
        **_repository_links(urls),
    }


@lru_cache
def _repository_links(urls: Urls) -> Mapping[str, str]:
    return {name: urls.repo(path) for name, path in _REPOSITORY_LINKS.items()}


def repository(repository: Repository, urls: Urls) -> dict[str, Any]:
    """Return the repository as in payloads."""
    open_issues = sum(issue.state == "open" for issue in repository.threads.values())
    created_at = timestamp(repository.created_at)
    return {
        **minimal_repository(repository, urls),
        "created_at": created_at,
        "updated_at": created_at,
        "pushed_at": created_at,
        "git_url": f"git://{urls.html.partition('://')[2]}/{urls.full_name}.git",
        "ssh_url": f"git@{urls.html.partition('://')[2]}:{urls.full_name}.git",
        "clone_url": f"{urls.page()}.git",
        "svn_url": urls.page(),
        **dict.fromkeys(("homepage", "language", "mirror_url", "license")),
        "size": 0,
        **dict.fromkeys(("has_issues", "has_projects", "has_downloads", "has_wiki"), True),
        **dict.fromkeys(("has_pages", "has_discussions", "disabled", "is_template"), False),
        "archived": repository.is_archived,
        **dict.fromkeys(("stargazers_count", "watchers_count", "watchers", "forks_count", "forks"), 0),
        "open_issues_count": open_issues,
        "open_issues": open_issues,
        "default_branch": repository.git.default_branch,
        "allow_forking": True,
        "web_commit_signoff_required": False,
        "topics": [],
        "visibility": "private" if repository.switches.private else "public",
        "custom_properties": {},
    }


def fork(repository_: Repository, fork: Fork | None, urls: Urls) -> dict[str, Any]:
    """Return the repository of a head as in payloads: the fork, or the repository itself."""
    if fork is None:
        return repository(repository_, urls)
    counts = {"open_issues_count": 0, "open_issues": 0}
    return repository(repository_, _fork_urls(fork, repository_, urls)) | _identity(fork, urls) | counts


def minimal_fork(repository_: Repository, fork: Fork | None, urls: Urls) -> dict[str, Any]:
    if fork is None:
        return minimal_repository(repository_, urls)
    return minimal_repository(repository_, _fork_urls(fork, repository_, urls)) | _identity(fork, urls)


def _fork_urls(fork: Fork, repository_: Repository, urls: Urls) -> Urls:
    return replace(urls, full_name=f"{fork.owner.login}/{repository_.name}")


def _identity(fork: Fork, urls: Urls) -> dict[str, Any]:
    return {"id": fork.id, "node_id": node_id("R", fork.id), "owner": user(fork.owner, urls), "fork": True}


_PERMISSIONS: Mapping[str, Role] = {
    "admin": "admin",
    "maintain": "maintain",
    "push": "write",
    "triage": "triage",
    "pull": "read",
}


def permissions(role: Role | None) -> dict[str, bool]:
    """Return the `permissions` of a person in a repository."""
    return {name: includes_role(role, needed) for name, needed in _PERMISSIONS.items()}


def full_repository(repository_: Repository, urls: Urls) -> dict[str, Any]:
    """Return the repository as in `GET /repos/{owner}/{repo}`."""
    counts = {"network_count": 0, "subscribers_count": 0}
    return repository(repository_, urls) | counts | {"organization": user(repository_.owner, urls)}


def team(team: Team, urls: Urls) -> dict[str, Any]:
    """Return a team as docs.github.com/rest/repos/repos#list-repository-teams shows it."""
    return {
        "id": team.id,
        "node_id": node_id("T", team.id),
        "name": team.slug,
        "slug": team.slug,
        "description": None,
        "privacy": "closed",
        "notification_setting": "notifications_enabled",
        "permission": "pull",
        "url": f"{urls.api}/teams/{team.id}",
        "html_url": f"{urls.page('')}/teams/{team.slug}",
        "members_url": f"{urls.api}/teams/{team.id}/members{{/member}}",
        "repositories_url": f"{urls.api}/teams/{team.id}/repos",
        "parent": None,
    }
