"""The API's root, its limits, the token's user, the repository and its collaborators."""

from sandbox.github.call import REPO, Access, Answer, ApiError, Call, Routes, not_found
from sandbox.github.urls import timestamp
from sandbox.github.users import repositories_serializers, serializers
from sandbox.github.users.state import permission

ROUTES = Routes()


@ROUTES.add("GET", "/", Access(None, "meta/meta#github-api-root"))
def get_root(call: Call) -> Answer:
    links = {"current_user_url": "/user", "rate_limit_url": "/rate_limit", "repository_url": "/repos/{owner}/{repo}"}
    return Answer(body={name: call.urls.api + path for name, path in links.items()})


@ROUTES.add(
    "GET", "/rate_limit", Access(None, "rate-limit/rate-limit#get-rate-limit-status-for-the-authenticated-user")
)
def get_rate_limit(call: Call) -> Answer:
    """Asking costs nothing."""
    core = call.repository.rates.of(call.token)
    return Answer(body={"resources": {"core": core, "search": core}, "rate": core})


@ROUTES.add("GET", "/user", Access(None, "users/users#get-the-authenticated-user"))
def get_authenticated_user(call: Call) -> Answer:
    """An app's token has no user of its own to show."""
    if call.token.app is not None:
        raise ApiError(403, "Resource not accessible by integration")
    empty = dict.fromkeys(("bio", "blog", "company", "email", "hireable", "location", "name"))
    counts = dict.fromkeys(("followers", "following", "public_gists", "public_repos"), 0)
    created_at = timestamp(call.repository.created_at)
    times = {"created_at": created_at, "updated_at": created_at}
    return Answer(body={**serializers.user(call.user, call.urls), **empty, **counts, **times})


@ROUTES.add("GET", "/users/{username}", Access(None, "users/users#get-a-user"))
def get_user(call: Call) -> Answer:
    user = call.repository.user(call.parameters["username"])
    if user is None:
        raise not_found()
    return Answer(body=serializers.user(user, call.urls) | {"name": None})


@ROUTES.add("GET", REPO, Access("metadata:read", "repos/repos#get-a-repository"))
def get_repository(call: Call) -> Answer:
    return Answer(body=repositories_serializers.full(call.repository, call.urls))


_COLLABORATOR = REPO + "/collaborators/{username}"


@ROUTES.add(
    "GET",
    _COLLABORATOR + "/permission",
    Access("metadata:read", "collaborators/collaborators#get-repository-permissions-for-a-user"),
)
def get_permission(call: Call) -> Answer:
    """For who can push. Apps have none, and a bot that is no app, as Copilot, is not even a user."""
    if call.token.kind == "installation" and not call.repository.switches.github_token_reads_permissions:
        raise ApiError(403, "Resource not accessible by integration")
    if not call.may("write"):
        raise ApiError(403, "Must have push access to view collaborator permission.")
    user = call.repository.user(call.parameters["username"])
    if user is None:
        raise not_found()
    if user.type != "User" and call.repository.app(user) is None:
        raise ApiError(404, f"{user.login} is not a user")
    role = None if user.type == "Bot" else call.repository.role(user)
    shown = serializers.user(user, call.urls) | {"role_name": role or "none"}
    return Answer(body={"permission": permission(role), "role_name": role or "none", "user": shown})


@ROUTES.add(
    "GET",
    _COLLABORATOR,
    Access("metadata:read", "collaborators/collaborators#check-if-a-user-is-a-repository-collaborator"),
)
def is_collaborator(call: Call) -> Answer:
    user = call.repository.user(call.parameters["username"])
    if user is None or user.role is None:
        raise not_found()
    return Answer(status=204)
