"""Check the incident of a request (open, no other label or change); announce the run on it."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from ops.app import registry
from ops.app.configuration import program_name
from ops.core.clock import current_time
from ops.core.errors import ProviderError
from ops.core.threads import start_call
from ops.gate import refusals
from ops.gate.attempts import refuse_further_attempt, refuse_unknown_changes
from ops.gate.outcomes import RecoveryRequest, RefusedRequest
from ops.github import actions, issues, triggers
from ops.github.comments import request_comment_mark
from ops.render import code_span

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ops.config import Config
    from ops.github.client import Repository

T = TypeVar("T")
WAIT = 3.0
"""Real seconds to read or write the incident. A slow answer of GitHub must not delay the recovery."""


@dataclass(frozen=True)
class IncidentCheck:
    """The checks of one attempt of a job. Only `refuse_rerun` refuses if GitHub gives no answer."""

    repository: "Repository"
    config: "Config"
    environ: Mapping[str, str]
    attempt: int
    warn: Callable[[str], object]

    def start_reading(self, request: RecoveryRequest) -> "Future[triggers.TriggerIssue] | None":
        number = request.incident
        return start_call(lambda: triggers.read_issue(self.repository, number)) if number is not None else None

    def check_issue(
        self, request: RecoveryRequest, reading: "Future[triggers.TriggerIssue] | None" = None
    ) -> tuple[datetime | None, RefusedRequest | None]:
        """Return when the incident began, and a refusal if it is no open incident now.

        `reading`: the read that began earlier. If GitHub gives no answer, the recovery goes on.
        """
        number, reading = request.incident, reading or self.start_reading(request)
        if reading is None:
            return None, None
        issue = self._wait_for_github(
            reading, f"cannot check whether #{number} is an open incident", "; the recovery goes on"
        )
        if issue is None:
            return None, None
        if issue.state == "missing" and request.label:
            return None, refusals.moved_issue(request)
        if (refusal := refusals.refuse_on_issue(request, issue)) is not None:
            return None, refusal
        return issues.parse_began(issue.body, now=current_time(self.environ)), None

    def refuse_rerun(self, request: RecoveryRequest) -> RefusedRequest | None:
        """Return a refusal of a later attempt, unless GitHub confirms an open incident and no change since."""
        number = request.incident
        try:
            if number is not None:
                refusal = refusals.refuse_on_issue(request, triggers.read_issue(self.repository, number))
                if refusal is not None:
                    return refusal
            return refuse_further_attempt(self.repository, request, self.attempt, registry.record_rules(self.config))
        except ProviderError as error:
            return refuse_unknown_changes(request, self.attempt, error.message)

    def refuse_simultaneous(self, request: RecoveryRequest) -> RefusedRequest | None:
        """Return a refusal if the person added another label within the same second.

        If GitHub gives no answer, go on.
        """
        number, at, by = request.incident, request.requested_at, request.sender
        assert number is not None
        reading = start_call(lambda: triggers.labels_added(self.repository, number, at, by))
        problem = "cannot check for a second label within the same second"
        labels = self._wait_for_github(reading, problem, "; the recovery goes on")
        if labels is None:
            return None
        others = [label for label in request.other_labels if label.lower() in labels]
        return refusals.labels_at_once(request, [request.label or "", *others]) if others else None

    def is_missing(self, number: int) -> bool:
        """Return whether GitHub confirms that the repository has no such issue. False if GitHub gives no answer."""
        reading = start_call(lambda: triggers.read_issue(self.repository, number))
        try:
            return reading.result(timeout=WAIT).state == "missing"
        except (ProviderError, TimeoutError):
            return False

    def announce(self, request: RecoveryRequest) -> str:
        """Post the comment in which the run continues, and return its id; "" without a label.

        A failure is one warning: the run then posts a comment of its own.
        """
        run, number = actions.run_id(self.environ), request.incident
        if not (run and request.label and number):
            return ""
        mark = request_comment_mark(run, self.attempt)
        body = f"{_describe_request(request, self.environ, self.attempt)}\n\n{mark}\n"
        posting = start_call(lambda: triggers.post_request(self.repository, number, body))
        return str(self._wait_for_github(posting, "the comment that announces the run could not be written") or "")

    def _wait_for_github(self, answer: "Future[T]", problem: str, end: str = "") -> T | None:
        """Return the answer; None, with a warning, if GitHub fails or takes too long."""
        try:
            return answer.result(timeout=WAIT)
        except (ProviderError, TimeoutError) as error:
            why = error.message if isinstance(error, ProviderError) else "GitHub takes too long"
            self.warn(f"warning: {problem} ({why}){end}")
            return None


def _describe_request(request: RecoveryRequest, environ: Mapping[str, str], attempt: int) -> str:
    """Return who requested the run and when, its page, and the way on if nothing answers, as Markdown."""
    page = f"{actions.repository_page(environ)}/actions/runs/{actions.run_id(environ)}"
    again = f", started again by {code_span('@' + request.actor)}" if attempt > 1 else ""
    command = f"{program_name(environ)} label {shlex.quote(request.label or '')} --incident {request.incident}"
    return (
        f"**Received** {code_span(request.label)} from {code_span('@' + request.sender)} at "
        f"{request.requested_at:%H:%M} UTC{again}, starting: "
        f"[run]({page + (f'/attempts/{attempt}' if attempt > 1 else '')})\n\n"
        f"No answer after 2 minutes? Run on a laptop: {code_span(command)}"
    )
