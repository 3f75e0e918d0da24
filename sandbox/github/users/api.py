"""Installations of GitHub Apps, and the tokens that are made for them and revoked."""

import base64
import secrets
from typing import Any

from sandbox.github.call import NO_CONTENT, REPO, Access, Answer, ApiError, Call, Routes, fields, not_found, strings
from sandbox.github.urls import Urls, timestamp
from sandbox.github.users import repositories_serializers, serializers
from sandbox.github.users.state import LIFETIME, RegisteredApp

ROUTES = Routes()


def _registered(call: Call) -> RegisteredApp:
    """The App that asks by its JSON Web Token; no other token opens these routes."""
    if call.token.kind != "app" or call.token.app is None:
        raise ApiError(401, "A JSON web token could not be decoded")
    return call.tokens.apps[str(call.token.app.id)]


@ROUTES.add(
    "GET", REPO + "/installation", Access(None, "apps/apps#get-a-repository-installation-for-the-authenticated-app")
)
def get_installation(call: Call) -> Answer:
    registered = _registered(call)
    if not registered.is_installed:
        raise not_found()
    return Answer(body=_installation(registered, call))


@ROUTES.add(
    "POST",
    "/app/installations/{installation_number}/access_tokens",
    Access(None, "apps/apps#create-an-installation-access-token-for-an-app"),
)
def create_token(call: Call) -> Answer:
    """Left out, `repositories` are all of the installation, and `permissions` all that it has."""
    registered = _registered(call)
    if call.number("installation_number") != registered.installation_id:
        raise not_found()
    body = fields(call, optional={"repositories": list, "repository_ids": list, "permissions": dict})
    _refuse_repositories(call, registered, body)
    permissions = body.get("permissions") or dict(registered.permissions)
    for name, level in permissions.items():
        if level not in {"read", "write"} or registered.permissions.get(name) not in {level, "write"}:
            raise ApiError(422, "The permissions requested are not granted to this installation.")
    now = call.repository.now()
    body_of_jwt = base64.urlsafe_b64encode(secrets.token_bytes(90)).decode()
    secret = f"ghs_{registered.app.id}_{body_of_jwt[:36]}.{body_of_jwt[36:80]}.{body_of_jwt[80:]}"
    scopes = [f"{name}:{level}" for name, level in permissions.items()]
    call.tokens.add(secret, call.user, scopes, registered.app, expires_at=now + LIFETIME)
    is_selected = "repositories" in body or "repository_ids" in body
    answer = {
        "token": secret,
        "expires_at": timestamp(now + LIFETIME),
        "permissions": permissions | {"metadata": "read"},
        "repository_selection": "selected" if is_selected else "all",
    }
    if is_selected:
        answer["repositories"] = [repositories_serializers.full(call.repository, call.urls)]
    return Answer(status=201, body=answer)


def _refuse_repositories(call: Call, registered: RegisteredApp, body: dict[str, Any]) -> None:
    names = strings(body.get("repositories", []), "repositories")
    own = {call.repository.name.lower()} if registered.is_installed else set()
    ids = {call.repository.id} if registered.is_installed else set()
    if not {name.lower() for name in names} <= own or not set(body.get("repository_ids", [])) <= ids:
        text = "There is at least one repository that does not exist or is not accessible to the parent installation."
        raise ApiError(422, text)


@ROUTES.add("DELETE", "/installation/token", Access(None, "apps/installations#revoke-an-installation-access-token"))
def revoke_token(call: Call) -> Answer:
    """The token that asks is unknown from now on."""
    if call.token.kind != "installation":
        raise ApiError(403, call.token.refusal)
    call.tokens.remove(call.token.secret)
    return NO_CONTENT


def _installation(registered: RegisteredApp, call: Call) -> dict[str, Any]:
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
