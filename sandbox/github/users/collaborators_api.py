"""What somebody may do in the repository."""

from sandbox.github.routing import REPO, Answer, ApiError, Call, Routes, not_found
from sandbox.github.users import serializers
from sandbox.github.users.state import permission

ROUTES = Routes()
_COLLABORATOR = REPO + "/collaborators/{username}"


@ROUTES.add(
    "GET",
    _COLLABORATOR + "/permission",
    "metadata:read",
    "collaborators/collaborators#get-repository-permissions-for-a-user",
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
    "GET", _COLLABORATOR, "metadata:read", "collaborators/collaborators#check-if-a-user-is-a-repository-collaborator"
)
def is_collaborator(call: Call) -> Answer:
    user = call.repository.user(call.parameters["username"])
    if user is None or user.role is None:
        raise not_found()
    return Answer(status=204)
