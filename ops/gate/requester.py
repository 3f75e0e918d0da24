"""The requester: ids on GitHub, and the permission in a later job.

Hours or days can pass after the gate.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ops.config.strict_yaml import read_yaml
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.redaction import Redactor
from ops.gate.outcomes import RecoveryRequest
from ops.github import permissions
from ops.github.client import connect, provider_errors

if TYPE_CHECKING:
    from ops.github.client import Repository


def requester_ids(repository: "Repository", request: RecoveryRequest) -> tuple[int, ...]:
    """Return the numeric ids of the sender and of the person who started this attempt; none if one is unknown."""
    if request.actor.lower() == request.sender.lower():
        return (request.sender_id,)
    try:
        with provider_errors():
            answer = permissions.read_permission(repository, request.actor)
        return (request.sender_id, int(answer["user"]["id"]))
    except (ProviderError, KeyError, TypeError):
        return ()


def current_responders(repository: "Repository") -> tuple[str, ...]:
    """Return the current `responders` of ops.yml on the default branch. Sends one request. Raises ProviderError."""
    problem = "the responders of ops.yml on the default branch are not known"
    try:
        data = read_yaml(permissions.read_config_text(repository)).data
    except ProviderError as error:
        raise ProviderError(f"{problem}: {error.message}", reason=error.reason) from None
    listed = data.get("responders", ()) if isinstance(data, dict) else None
    if not isinstance(listed, tuple) or not all(isinstance(login, str) for login in listed):
        raise ProviderError(problem, reason=Reason.MALFORMED_ANSWER)
    return listed


def refuse_requester(environ: Mapping[str, str], redactor: Redactor, login: str, hint: str) -> None:
    """Raise Refused if the requester may no longer start a recovery.

    This job has the `ops.yml` of the request's commit, so the responders are read from the default branch.
    """
    repository = connect(environ, redactor)
    try:
        responders = current_responders(repository)
    except ProviderError as error:
        raise Refused(error.message, reason=Reason.PERMISSION_UNKNOWN, hint=hint) from None
    answer = permissions.check_permission(repository, permissions.Requester(login), responders)
    if answer.reason is not None:
        names = {"requester": login or "nobody", "responders": ", ".join(responders)}
        raise Refused(
            f"{login or 'nobody'} requested this: {answer.message.format_map(names)}", reason=answer.reason, hint=hint
        )
