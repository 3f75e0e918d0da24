"""Read and write the labels on an incident that lift holds of commits.

The record of a lift is the event of GitHub that the bot added LIFTED. `ops hold check` reads the same events.
docs.github.com/rest/issues/events#list-issue-events, docs.github.com/rest/issues/labels
"""

from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING, Any

from ops.core.client_guards import WriteGuard
from ops.core.errors import Reason, Refused
from ops.core.standing_rollback import LIFTED, CommitHoldLift
from ops.github.client import newest_first, provider_errors, read_json, write_errors
from ops.github.comments import BOT, own_login
from ops.github.triggers import remove_label

if TYPE_CHECKING:
    from github.Repository import Repository

HINT = "The token needs *Issues: write* in the operations repository."


class LiftLabels(WriteGuard):
    """Labels of incidents in the operations repository. Each method raises ProviderError, a write UnclearWrite too."""

    def __init__(self, open_repository: "Callable[[], Repository]") -> None:
        self._open = open_repository

    def is_bot(self) -> bool:
        """Return whether the token is that of a workflow."""
        with provider_errors(HINT):
            return own_login(self._open()) == BOT

    def read_lift(self, incident: int) -> CommitHoldLift | None:
        """Return the label LIFTED of the incident; None if it is not there now."""
        repository = self._open()
        with provider_errors(HINT):
            names = {each["name"].lower() for each in read_json(repository, f"/issues/{incident}")["labels"]}
            events = newest_first(repository.get_issue(incident).get_events()) if LIFTED in names else ()
            for event in events:
                if event.event == "labeled" and event.label.name.lower() == LIFTED:
                    actor: Any = event.actor  # null if the account was deleted, which PyGithub's types omit
                    by = actor.login if actor else ""
                    return CommitHoldLift(by, event.created_at.astimezone(UTC), is_by_bot=by == BOT)
        return None

    def add(self, incident: int, label: str) -> None:
        self._require_writing()
        repository = self._open()
        with write_errors(HINT):
            path = f"{repository.url}/issues/{incident}/labels"
            repository.requester.requestJsonAndCheck("POST", path, input={"labels": [label]})

    def request(self, incident: int, label: str) -> None:
        """Add a label that starts a workflow. GitHub starts none for a label that is already there."""
        self._require_writing()
        remove_label(self._open(), incident, label)
        self.add(incident, label)

    def remove_lift(self, incident: int) -> None:
        """Remove the label, unless another run has done it."""
        self._require_writing()
        remove_label(self._open(), incident, LIFTED)

    def _require_writing(self) -> None:
        if not self._may_write:
            raise Refused("a label may not be written before the plan is confirmed", reason=Reason.READ_ONLY)
