"""Users, organisations and apps.

docs.github.com/rest/users/users
"""

from typing import Any

from sandbox.github.urls import Urls, node_id
from sandbox.github.users.state import App, User

_LINKS = {
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
    own = urls.user(user.login)
    slug = user.login.removesuffix("[bot]")
    return {
        "login": user.login,
        "id": user.id,
        "node_id": node_id("U", user.id),
        "avatar_url": f"{urls.html}/avatars/u/{user.id}?v=4",
        "gravatar_id": "",
        "url": own,
        "html_url": f"{urls.html}/{slug}" if slug == user.login else f"{urls.html}/apps/{slug}",
        **{name: own + path for name, path in _LINKS.items()},
        "type": user.type,
        "site_admin": False,
    }


def maybe_user(one: User | None, urls: Urls) -> dict[str, Any] | None:
    return None if one is None else user(one, urls)


def association(user: User) -> str:
    # docs.github.com/graphql/reference/enums#commentauthorassociation
    return "NONE" if user.role is None else "MEMBER" if user.role == "admin" else "COLLABORATOR"


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
    """As `performed_via_github_app` has it."""
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
