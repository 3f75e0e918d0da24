"""API root, rate limits, users, repository, collaborators, GitHub Apps and their tokens."""

import base64
import secrets
from typing import Any

from sandbox.github.call import (
    NO_CONTENT,
    REPO,
    GitHubAnswer,
    GitHubCall,
    GitHubRefusal,
    Routes,
    fields,
    not_found,
    parse_strings,
)
from sandbox.github.urls import Urls, timestamp
from sandbox.github.users import serializers
from sandbox.github.users.state import LIFETIME, RegisteredApp, User, permission

ROUTES = Routes()


def _registered(call: GitHubCall) -> RegisteredApp:
    """Return the App that authenticated with its JSON Web Token; these routes accept no other token."""
    if call.token.kind != "app" or call.token.app is None:
        raise GitHubRefusal(401, "A JSON web token could not be decoded")
    return call.tokens.apps[str(call.token.app.id)]


@ROUTES.add("GET", REPO + "/installation")
def get_installation(call: GitHubCall) -> GitHubAnswer:
    registered = _registered(call)
    if registered.repository_id != call.repository.id:
        raise not_found()
    return GitHubAnswer(body=_installation(registered, call))


@ROUTES.add("POST", "/app/installations/{installation_number}/access_tokens")
def create_token(call: GitHubCall) -> GitHubAnswer:
    """Create an installation token. Defaults: all repositories and all permissions of the installation."""
    registered = _registered(call)
    if call.number("installation_number") != registered.installation_id:
        raise not_found()
    body = fields(call, optional={"repositories": list, "repository_ids": list, "permissions": dict})
    _refuse_repositories(call, registered, body)
    permissions = body.get("permissions") or dict(registered.permissions)
    for name, level in permissions.items():
        if level not in {"read", "write"} or registered.permissions.get(name) not in {level, "write"}:
            raise GitHubRefusal(422, "The permissions requested are not granted to this installation.")
    now = call.repository.now()
    body_of_jwt = base64.urlsafe_b64encode(secrets.token_bytes(90)).decode()
    secret = f"ghs_{registered.app.id}_{body_of_jwt[:36]}.{body_of_jwt[36:80]}.{body_of_jwt[80:]}"
    scopes = [f"{name}:{level}" for name, level in permissions.items()]
    call.tokens.add(
        secret, call.user, scopes, registered.app, repository_id=registered.repository_id, expires_at=now + LIFETIME
    )
    is_selected = "repositories" in body or "repository_ids" in body
    answer = {
        "token": secret,
        "expires_at": timestamp(now + LIFETIME),
        "permissions": permissions | {"metadata": "read"},
        "repository_selection": "selected" if is_selected else "all",
    }
    if is_selected:
        answer["repositories"] = [serializers.full_repository(call.repository, call.urls)]
    return GitHubAnswer(status=201, body=answer)


def _refuse_repositories(call: GitHubCall, registered: RegisteredApp, body: dict[str, Any]) -> None:
    names = parse_strings(body.get("repositories", []), "repositories")
    is_installed = registered.repository_id == call.repository.id
    own = {call.repository.name.lower()} if is_installed else set()
    ids = {call.repository.id} if is_installed else set()
    if not {name.lower() for name in names} <= own or not set(body.get("repository_ids", [])) <= ids:
        text = "There is at least one repository that does not exist or is not accessible to the parent installation."
        raise GitHubRefusal(422, text)


@ROUTES.add("DELETE", "/installation/token")
def revoke_token(call: GitHubCall) -> GitHubAnswer:
    """Revoke the token of the request."""
    if call.token.kind != "installation":
        raise GitHubRefusal(403, call.token.refusal)
    call.tokens.remove(call.token.secret)
    return NO_CONTENT


def _installation(registered: RegisteredApp, call: GitHubCall) -> dict[str, Any]:
    urls: Urls = call.urls
    number, created_at = registered.installation_id, timestamp(call.repository.created_at)
    return {
        "id": number,
        "account": serializers.user(call.repository.owner, urls),
        "repository_selection": "selected",
        "access_tokens_url": f"{urls.api}/app/installations/{number}/access_tokens",
        "repositories_url": f"{urls.api}/installation/repositories",
        "html_url": f"{urls.html}/organizations/{call.repository.owner_login}/settings/installations/{number}",
        "app_id": registered.app.id,
        "app_slug": registered.app.slug,
        "target_id": call.repository.owner.id,
        "target_type": "Organization",
        "permissions": dict(registered.permissions) | {"metadata": "read"},
        "events": [],
        "created_at": created_at,
        "updated_at": created_at,
        **dict.fromkeys(("single_file_name", "suspended_by", "suspended_at")),
    }


@ROUTES.add("GET", "/")
def get_root(call: GitHubCall) -> GitHubAnswer:
    links = {"current_user_url": "/user", "rate_limit_url": "/rate_limit", "repository_url": "/repos/{owner}/{repo}"}
    return GitHubAnswer(body={name: call.urls.api + path for name, path in links.items()})


@ROUTES.add("GET", "/rate_limit")
def get_rate_limit(call: GitHubCall) -> GitHubAnswer:
    """Return the rate limits. The request itself does not count."""
    core = call.repository.rates.usage(call.token)
    return GitHubAnswer(body={"resources": {"core": core, "search": core}, "rate": core})


@ROUTES.add("GET", "/user")
def get_authenticated_user(call: GitHubCall) -> GitHubAnswer:
    """Return the user of the token. The token of an app has no user."""
    if call.token.app is not None:
        raise GitHubRefusal(403, "Resource not accessible by integration")
    return GitHubAnswer(body=_profile(call, call.user))


def _profile(call: GitHubCall, user: User) -> dict[str, Any]:
    empty = dict.fromkeys(("bio", "blog", "company", "email", "hireable", "location", "name"))
    counts = dict.fromkeys(("followers", "following", "public_gists", "public_repos"), 0)
    created_at = timestamp(call.repository.created_at)
    times = {"created_at": created_at, "updated_at": created_at}
    return {**serializers.user(user, call.urls), **empty, **counts, **times}


@ROUTES.add("GET", "/users/{username}")
def get_user(call: GitHubCall) -> GitHubAnswer:
    user = call.repository.user(call.parameters["username"])
    if user is None:
        raise not_found()
    return GitHubAnswer(body=_profile(call, user))


@ROUTES.add("GET", REPO)
def get_repository(call: GitHubCall) -> GitHubAnswer:
    """Return the repository; for a person with their permissions, which are those of the role, not of the token."""
    body = serializers.full_repository(call.repository, call.urls)
    if call.token.app is None:
        body["permissions"] = serializers.permissions(call.repository.role(call.user))
    return GitHubAnswer(body=body)


_COLLABORATOR = REPO + "/collaborators/{username}"


@ROUTES.add("GET", _COLLABORATOR + "/permission")
def get_permission(call: GitHubCall) -> GitHubAnswer:
    """Return a user's permission; requires push access. Apps have none; a bot that is not an app is not a user."""
    if call.token.kind == "installation" and not call.repository.switches.github_token_reads_permissions:
        raise GitHubRefusal(403, "Resource not accessible by integration")
    if not call.may("write"):
        raise GitHubRefusal(403, "Must have push access to view collaborator permission.")
    user = call.repository.user(call.parameters["username"])
    if user is None:
        raise not_found()
    if user.type != "User" and call.repository.app(user) is None:
        raise GitHubRefusal(404, f"{user.login} is not a user")
    role = None if user.type == "Bot" else call.repository.role(user)
    shown = serializers.user(user, call.urls) | {"role_name": role or "none"}
    return GitHubAnswer(body={"permission": permission(role), "role_name": role or "none", "user": shown})


@ROUTES.add("GET", _COLLABORATOR)
def is_collaborator(call: GitHubCall) -> GitHubAnswer:
    user = call.repository.user(call.parameters["username"])
    if user is None or call.repository.collaborator_role(user) is None:
        raise not_found()
    return GitHubAnswer(status=204)


@ROUTES.add("GET", REPO + "/assignees/{assignee}")
def is_assignable(call: GitHubCall) -> GitHubAnswer:
    user = call.repository.user(call.parameters["assignee"])
    if user is None or call.repository.collaborator_role(user) is None:
        raise not_found()
    return GitHubAnswer(status=204)


@ROUTES.add("GET", REPO + "/teams")
def list_teams(call: GitHubCall) -> GitHubAnswer:
    # docs.github.com/rest/repos/repos#list-repository-teams
    return call.page(call.repository.teams, lambda one: serializers.team(one, call.urls))
