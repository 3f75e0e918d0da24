"""Create, describe and archive repositories.

docs.github.com/rest/repos/repos, docs.github.com/repositories/archiving-a-github-repository/archiving-repositories
"""

import re
from dataclasses import replace

from sandbox.github.call import (
    REPO,
    TEXT,
    Fields,
    GitHubAnswer,
    GitHubCall,
    GitHubRefusal,
    Routes,
    custom,
    fields,
    not_found,
)
from sandbox.github.repository import Repository
from sandbox.github.users import serializers

ROUTES = Routes()
_OPTIONAL: Fields = {"private": bool, "description": TEXT, "auto_init": bool, "has_wiki": bool, "has_projects": bool}


@ROUTES.add("POST", "/user/repos")
def create_own_repository(call: GitHubCall) -> GitHubAnswer:
    """Create a repository of the token's user."""
    return _create(call, call.user.login)


@ROUTES.add("POST", "/orgs/{org}/repos")
def create_organization_repository(call: GitHubCall) -> GitHubAnswer:
    """Create a repository of an organization. Its members are the people with a role in one of its repositories."""
    owner = call.repository.user(call.parameters["org"])
    if owner is None or owner.type != "Organization":
        raise not_found()
    names = {name.partition("/")[0].lower() for name, role in call.user.roles.items() if role}
    if owner.login.lower() not in names:
        raise GitHubRefusal(403, "You need admin access to the organization before adding a repository to it.")
    return _create(call, owner.login)


def _create(call: GitHubCall, owner: str) -> GitHubAnswer:
    if call.token.kind != "classic" or not call.token.may("administration:write"):
        raise not_found() if call.token.kind == "classic" else GitHubRefusal(403, call.token.refusal)
    body = fields(call, required={"name": str}, optional=_OPTIONAL)
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", body["name"]):
        raise custom("Repository", "name", "name is invalid")
    full_name = f"{owner}/{body['name']}"
    if full_name.lower() in call.repository.host.repositories:
        refusal = custom("Repository", "name", "name already exists on this account")
        raise GitHubRefusal(422, "Repository creation failed.", *refusal.errors)
    urls = replace(call.urls, full_name=full_name)
    switches = replace(call.repository.switches, private=body.get("private", False))
    made = Repository(urls, call.repository.clock, switches, call.repository.host)
    made.description = body.get("description")
    call.user.roles[full_name] = "admin"
    return GitHubAnswer(status=201, body=_full(call, made))


@ROUTES.add("PATCH", REPO)
def update_repository(call: GitHubCall) -> GitHubAnswer:
    """Change the description, or archive the repository."""
    body = fields(call, optional={"archived": bool, "description": TEXT})
    repository = call.repository
    repository.description = body.get("description", repository.description)
    repository.is_archived = body.get("archived", repository.is_archived)
    return GitHubAnswer(body=_full(call, repository))


def _full(call: GitHubCall, repository: Repository) -> dict[str, object]:
    urls = replace(call.urls, full_name=repository.urls.full_name)
    permissions = serializers.permissions(repository.role(call.user))
    return {**serializers.full_repository(repository, urls), "permissions": permissions}
