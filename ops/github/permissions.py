"""Check who may start a recovery: the current permission on GitHub and ops.yml `responders`.

Fails closed, with one exception: if GitHub answers 403 to our own token, a person whom `responders` lists is accepted.

docs.github.com/rest/collaborators/collaborators#get-repository-permissions-for-a-user
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ops.core.errors import ProviderError, Reason
from ops.core.responders import ResponderList

if TYPE_CHECKING:
    from github.Repository import Repository

CONFIG_FILE = "ops.yml"
WRITERS = {"write", "maintain", "admin"}
BUILT_IN = {*WRITERS, "triage", "read", "none"}
"""Any other `role_name` is a custom role; the older field `permission` then holds its base role."""
CHECKED, UNCHECKED, REFUSED = "checked", "not checked", "refused"
NOT_CHECKED = "permission not checked: GitHub answered 403 to our own token"
"""The text for every result that is UNCHECKED."""
_LOGIN = re.compile("[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Requester:
    """The person who requests a recovery.

    `id` is None if only the login is known: a login can change hands, an id cannot.
    """

    login: str
    id: int | None = None


@dataclass(frozen=True)
class PermissionCheck:
    """The result of a check; `reason` is None if the requester may start a recovery.

    The texts have the placeholders `{requester}` (their login) and `{responders}` (the people who may).
    """

    reason: Reason | None = None
    message: str = ""
    hint: str = ""
    checked: bool = True

    @property
    def permission(self) -> str:
        """The result in one word, as the gate passes it to the acting job."""
        return REFUSED if self.reason else CHECKED if self.checked else UNCHECKED


def check_permission(repository: "Repository", requester: Requester, lists: Sequence[ResponderList]) -> PermissionCheck:
    """Return whether the requester may start a recovery. Sends at most one request; never raises.

    `lists`: those of ops.yml that apply. The requester must be in each of them.
    """
    from ops.github.client import GitHubApiError, provider_errors

    if not _LOGIN.fullmatch(requester.login):
        return _not_a_person()
    if (refusal := check_lists(requester.login, lists)) is not None:
        return refusal
    try:
        with provider_errors():
            answer = read_permission(repository, requester.login)
    except ProviderError as error:
        if isinstance(error, GitHubApiError) and error.is_forbidden:
            return _check_listed(requester, lists)
        if isinstance(error, GitHubApiError) and error.status == 404:
            return _no_access("GitHub knows no person {requester} in this repository")
        return _unknown_permission(error.message)
    return _check_login(answer, requester)


def read_config_text(repository: "Repository") -> str:
    """Return the text of ops.yml on the default branch, empty without a text. Sends one request. Raises ProviderError.

    docs.github.com/rest/repos/contents#get-repository-content
    """
    from ops.github.client import provider_errors

    with provider_errors():
        content = repository.get_contents(CONFIG_FILE)
    return "" if isinstance(content, list) else content.decoded_content.decode("utf-8", errors="surrogateescape")


def may_write(role: str, permission: str) -> bool:
    """Return whether GitHub's `role_name` and `permission` include write access."""
    return role in WRITERS or (role not in BUILT_IN and permission in WRITERS)


def read_permission(repository: "Repository", login: str) -> Any:
    """Return GitHub's whole response about a user's permission. Sends one request. Raises what PyGithub raises."""
    from ops.github.client import read_json

    return read_json(repository, f"/collaborators/{quote(login, safe='')}/permission")


def has_write_access(repository: "Repository", login: str) -> bool:
    """Return whether GitHub reports write access; False for a login that it does not know. Raises as PyGithub."""
    from github import GithubException

    try:
        permission = read_permission(repository, login)
    except GithubException as error:
        if error.status == 404:
            return False
        raise
    return may_write(permission["role_name"], permission["permission"])


def _check_login(answer: Any, requester: Requester) -> PermissionCheck:
    """Check that the response is about this person, and their write access."""
    user = answer.get("user")
    if user is None:
        return _unknown_permission("GitHub's answer names no user")
    if user["type"] != "User":
        return _not_a_person()
    if requester.id is not None and user["id"] != requester.id:
        return _no_access("the login {requester} belongs to somebody else by now")
    if may_write(answer["role_name"], answer["permission"]):
        return PermissionCheck()
    return _no_access("{requester} may not write to this repository, and a label alone allows nothing")


def _no_access(message: str) -> PermissionCheck:
    return PermissionCheck(
        Reason.NO_WRITE_ACCESS, message, "Ask somebody who may write here to do it, or to give you access."
    )


def _not_a_person() -> PermissionCheck:
    hint = "Ask a person with write access to put the label on or to press the button."
    return PermissionCheck(
        Reason.NOT_A_PERSON, "{requester} is a bot or an app, and only people may start a recovery", hint
    )


def _unknown_permission(why: str) -> PermissionCheck:
    hint = "Do not wait for GitHub: run the command on a laptop."
    return PermissionCheck(Reason.PERMISSION_UNKNOWN, f"the permission of {{requester}} is unknown: {why}", hint)


def check_lists(login: str, lists: Sequence[ResponderList]) -> PermissionCheck | None:
    """Return the refusal of a person who is missing in a list; None if they are in all of them."""
    missing = next((each for each in lists if not each.includes(login)), None)
    if missing is None:
        return None
    hint = "Ask one of them: {responders}. Or add yourself to ops.yml by a pull request."
    message = f"{{requester}} is not among the responders of {missing.place}"
    return PermissionCheck(Reason.NOT_A_RESPONDER, message, hint)


def _check_listed(requester: Requester, lists: Sequence[ResponderList]) -> PermissionCheck:
    """Return the result if GitHub rejects our own token: only `responders` can decide then."""
    if lists and all(requester.login in each.logins for each in lists):
        return PermissionCheck(checked=False)
    reason = "does not list that login" if lists else "lists no responders"
    message = f"GitHub does not tell our own token what {{requester}} may do (403), and ops.yml {reason}"
    others = ", or ask one of the responders: {responders}" if lists else ""
    later = "" if lists else " For the next time, list those who may under `responders` in ops.yml."
    return PermissionCheck(Reason.PERMISSION_UNREADABLE, message, f"Type the command on a laptop{others}.{later}")
