"""Publish run events to the incident issue and the team's chat, within a shared time budget."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ops.core.clock import Clock
from ops.core.loopback import is_loopback
from ops.core.redaction import Redactor
from ops.core.threads import TimeBudget
from ops.core.timeline import EventKind, EventSink, Timeline
from ops.github import actions
from ops.publish.chat import ChatPublisher
from ops.publish.issue import LOCAL_USER, IssuePublisher

if TYPE_CHECKING:
    from ops.config import Config
    from ops.core.next_step import SuggestedCommand
    from ops.core.run_record import PreviousRuns

__all__ = ["LOCAL_USER", "Publisher"]
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
        rest = TimeBudget(FLUSH).rest
        self._incident = incident
        self._links = actions.run_links(environ, incident)
        links = tuple(self._links.values())
        is_drill = is_loopback(environ.get("CLOUDFLARE_API_BASE_URL", ""))
        self._notices = notices = ChatPublisher(environ, config.notify, run, is_drill=is_drill, links=links, rest=rest)
        self._journal = IssuePublisher(
            environ,
            redactor,
            clock,
            run,
            comment=comment,
            contacts=config.contacts,
            rest=rest,
            is_notified=lambda: notices.is_delivered,
        )

    def sinks(self, *, is_routine: bool, is_dry: bool) -> tuple[EventSink, ...]:
        """Return the event sinks. A dry run posts no comment, and a routine run posts nothing to chat."""
        comment = () if is_dry else self._journal.sinks(self._incident)
        return (*comment, *(() if is_routine else self._notices.sinks()))

    def begin(self, timeline: Timeline, ending: ExitStack) -> None:
        def tell(text: str) -> None:
            timeline.record(EventKind.WARNING, text)

        self._journal.begin(tell, ending)
        self._notices.begin(tell, ending)

    @property
    def opened(self) -> int | None:
        """The incident that was opened because the run wrote and named none."""
        return self._journal.opened

    def earlier(self, timeline: Timeline) -> "Callable[[], PreviousRuns]":
        """Start to read the previous runs on the incident. Return a function that waits for them."""
        return self._journal.earlier(self._incident, lambda text: timeline.record(EventKind.WARNING, text))

    def end(self, timeline: Timeline, press: "Callable[..., SuggestedCommand]", *, is_routine: bool) -> dict[str, str]:
        """Publish the end of the run. Return links to the comment or incident and to the pages of this run.

        A routine run without an incident opens one only if people are needed.
        """
        written = self._journal.end(timeline, press, only_if_needed=is_routine)
        self._notices.end()
        return {**self._links, **written}
