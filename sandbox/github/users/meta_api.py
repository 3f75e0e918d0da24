"""The API's own root, the limits, whose the token is, and the repository."""

from sandbox.github.routing import REPO, Answer, ApiError, Call, Routes, not_found
from sandbox.github.urls import timestamp
from sandbox.github.users import repositories_serializers, serializers

ROUTES = Routes()


@ROUTES.add("GET", "/", None, "meta/meta#github-api-root")
def get_root(call: Call) -> Answer:
    links = {"current_user_url": "/user", "rate_limit_url": "/rate_limit", "repository_url": "/repos/{owner}/{repo}"}
    return Answer(body={name: call.urls.api + path for name, path in links.items()})


@ROUTES.add("GET", "/rate_limit", None, "rate-limit/rate-limit#get-rate-limit-status-for-the-authenticated-user")
def get_rate_limit(call: Call) -> Answer:
    """Asking costs nothing."""
    core = call.repository.rates.of(call.token)
    return Answer(body={"resources": {"core": core, "search": core}, "rate": core})


@ROUTES.add("GET", "/user", None, "users/users#get-the-authenticated-user")
def get_authenticated_user(call: Call) -> Answer:
    """An app's token has no user of its own to show."""
    if call.token.app is not None:
        raise ApiError(403, "Resource not accessible by integration")
    empty = dict.fromkeys(("bio", "blog", "company", "email", "hireable", "location", "name"))
    counts = dict.fromkeys(("followers", "following", "public_gists", "public_repos"), 0)
    created_at = timestamp(call.repository.created_at)
    times = {"created_at": created_at, "updated_at": created_at}
    return Answer(body={**serializers.user(call.user, call.urls), **empty, **counts, **times})


@ROUTES.add("GET", "/users/{username}", None, "users/users#get-a-user")
def get_user(call: Call) -> Answer:
    user = call.repository.user(call.parameters["username"])
    if user is None:
        raise not_found()
    return Answer(body=serializers.user(user, call.urls) | {"name": None})


@ROUTES.add("GET", REPO, "metadata:read", "repos/repos#get-a-repository")
def get_repository(call: Call) -> Answer:
    return Answer(body=repositories_serializers.full(call.repository, call.urls))
