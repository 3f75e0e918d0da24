"""The watch's comment on the incident issue, with its state in the hidden record."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from ops.core.errors import ProviderError
from ops.core.run_record import RunRecord, embed_record, read_record
from ops.github.comments import StateComment
from ops.github.issues import find_state_comment, reopen_incident
from ops.watch.state import WatchState, parse_state

if TYPE_CHECKING:
    from ops.github.issues import Issue

WATCH = "watch"
"""Source and runbook of the record."""


class WatchRecord:
    """State of the watch of one service on an incident. A failure of GitHub is kept in `problem` and ends nothing."""

    def __init__(self, connect: "Callable[[], Issue]", environment: str, service: str) -> None:
        self._connect = connect
        self._environment, self._service = environment, service
        self._issue: Issue | None = None
        self._comment: StateComment | None = None
        self.problem = ""

    def find(self, now: datetime) -> WatchState | None:
        """Return the state of a watch that has no decision yet. Raises ProviderError."""
        self._issue = self._connect()
        self._comment = StateComment(self._issue)
        found = find_state_comment(self._issue, self._is_open)
        state = parse_state(found[1].watch, now) if found else None
        if found and state:
            self._comment = found[0]
        return state

    def _is_open(self, record: RunRecord) -> bool:
        place = (WATCH, self._environment, self._service)
        return (record.source, record.environment, record.service) == place and not record.decision

    @property
    def url(self) -> str:
        return self._comment.url if self._comment else ""

    def save(self, text: str, record: RunRecord, state: WatchState) -> None:
        """Write the comment with one request."""
        named = replace(
            record,
            run=f"watch-{state.owner}",
            source=WATCH,
            runbook=WATCH,
            environment=self._environment,
            service=self._service,
            watch=state.to_json(),
        )
        self._try(lambda comment: comment.write(embed_record(text, named)))

    def newer_owner(self, state: WatchState, now: datetime) -> str:
        """Return the runner that took the watch over later than this one, with one request; else an empty text."""
        bodies: list[str] = []
        self._try(lambda comment: bodies.append(comment.read()))
        record = read_record(bodies[0]) if bodies else None
        written = parse_state(record.watch, now) if record else None
        return written.owner if written and written.owner > state.owner else ""

    def report_relapse(self, text: str) -> None:
        """Open the incident again if it is closed, and post the text."""
        issue = self._issue
        if issue is not None:
            self._try(lambda _: reopen_incident(issue, text))

    def _try(self, send: Callable[[StateComment], object]) -> None:
        if self._comment is None:
            return
        try:
            send(self._comment)
            self.problem = ""
        except ProviderError as error:
            self.problem = f"the comment on the incident is not up to date: {error.message}"
