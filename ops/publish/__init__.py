"""Turn the events of a run into its comment and chat messages, and send them in order.

Subjects: also body and recovery menu of an incident.

Examples: render_comments, steps_for_people, chat_message.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from ops.core.clock import Clock
from ops.core.redaction import Redactor
from ops.core.run import Run
from ops.core.threads import TimeBudget
from ops.core.timeline import EventKind, EventSink, Timeline
from ops.github import actions
from ops.publish.chat import ChatPublisher
from ops.publish.incident_chat import add_failure_note
from ops.publish.incident_issue import LOCAL_USER, IssuePublisher

if TYPE_CHECKING:
    from ops.config import Config
    from ops.core.run_record import PreviousRuns, RecordRules
    from ops.publish.menu import RecoveryMenu

__all__ = ["LOCAL_USER", "Publisher"]
OTHERS_WAIT = 10.0
"""Real seconds to wait for the records of other incidents, without which the run would be refused."""
SETTLE = 1.0
"""Real seconds that the last comment of a run waits for the chat, to show a message that failed."""
FLUSH = 5.0
"""Real seconds that the end of a run waits for GitHub and the chat together."""


class Publisher:
    """Publishes the events of one run in the background.

    Never raises into the run, and waits only at its end. A run against a sandbox is a drill: it reaches only the
    sandbox's GitHub and chat, and a real run reaches only the real ones.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        config: "Config",
        redactor: Redactor,
        clock: Clock,
        *,
        run: str,
        incident: int | None,
        comment: int | None = None,
    ) -> None:
        """`comment`: id of the comment that announced this run; the run continues in it."""
        remaining = TimeBudget(FLUSH).rest
        self._incident, self._is_routine = incident, False
        self._links = actions.run_links(environ, incident)
        self._environ, self._redactor, self._remaining = environ, redactor, remaining
        self._chat = chat = ChatPublisher(environ, config.notify, run, links=self._links, remaining=remaining)
        self.issue = IssuePublisher(
            environ,
            redactor,
            clock,
            run,
            comment=comment,
            contacts=config.contacts,
            offers_updates=config.status_page is not None,
            program=config.github.laptop_program,
            remaining=remaining,
            is_notified=lambda: chat.is_delivered,
            chat_threads=lambda: chat.threads,
        )

    def sinks(self, *, is_routine: bool, is_dry: bool) -> tuple[EventSink, ...]:
        """Return the event sinks. A dry run posts no comment, and a routine run posts nothing to chat."""
        self._is_routine = is_routine
        comment = () if is_dry else self.issue.sinks(self._incident)
        return (*comment, *(() if is_routine else self._chat.sinks()))

    def begin(self, timeline: Timeline, exit_stack: ExitStack) -> None:
        warn = partial(timeline.record, EventKind.WARNING)
        self.issue.begin(warn, exit_stack)
        self._chat.begin(warn, exit_stack)

    def read_previous_runs(self, timeline: Timeline, wait: float, rules: "RecordRules") -> "Callable[[], PreviousRuns]":
        """Start to read the previous runs on the incident. `rules`: whose records count.

        Return a function that waits for them, at most `wait` real seconds from now.
        """
        read = self.issue.read_previous_runs(
            self._incident, wait, rules, lambda text: timeline.record(EventKind.WARNING, text)
        )

        def previous_runs_result() -> "PreviousRuns":
            previous = read()
            self._chat.continue_threads(previous.runs)
            return previous

        return previous_runs_result

    def read_runs_of(
        self, incidents: "Collection[int]", timeline: Timeline, rules: "RecordRules"
    ) -> "list[PreviousRuns]":
        """Return the previous runs on other incidents; none of an incident that GitHub does not return in time."""
        warn = partial(timeline.record, EventKind.WARNING)
        reads = [self.issue.read_previous_runs(each, OTHERS_WAIT, rules, warn) for each in incidents]
        return [read() for read in reads]

    def end(
        self, timeline: Timeline, menu: "Callable[[str, str], RecoveryMenu]", notices: Mapping[int, str]
    ) -> dict[str, str]:
        """Publish the end of the run. Return links to the comment or incident and to the pages of this run.

        A routine run without an incident opens one only if people are needed. `menu` returns the recovery menu for the
        number of an incident and the URL of its repository. `notices`: other incident → text for a comment on it.
        """
        self._chat.settle(min(SETTLE, self._remaining()))
        shown = len(self._chat.failures)
        written = self.issue.end(timeline, menu, only_if_needed=self._is_routine)
        if self.issue.opened_incident is not None:
            decision = Run("", tuple(timeline.events)).decision
            self._chat.report_opened(self.issue.opened_incident, decision, written.get("incident", ""))
        self.issue.notify(timeline, self._incident or self.issue.opened_incident, notices)
        self._chat.end()
        self._note_failures(self._chat.failures[shown:])
        return {**self._links, **written}

    def _note_failures(self, failures: Sequence[str]) -> None:
        """Note on the incident what failed after the comment of the run had its end."""
        number = self._incident or self.issue.opened_incident
        if failures and number is not None and self.issue.is_recorded:
            wait = self._remaining()
            add_failure_note(self._environ, self._redactor, number, "end of the run", failures, wait=wait)
