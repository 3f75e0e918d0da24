"""What is told of a run outside of the terminal: on its incident issue and in the team's chat, within one budget."""

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
"""Real seconds that the end of a run waits for GitHub and the chat, in all."""


class Publisher:
    """Of one run. Nothing here raises, and nothing here is waited for before the run has ended.

    A run against a sandbox is a drill: it is told to the sandbox's GitHub and chat alone, a real one to the real ones.
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
        """`comment`: id of the comment that says that the run starts; the run goes on in it."""
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
        """Return the sinks of the run's events: a dry run posts no comment, and a routine run is not sent to chat."""
        comment = () if is_dry else self._journal.sinks(self._incident)
        return (*comment, *(() if is_routine else self._notices.sinks()))

    def begin(self, timeline: Timeline, ending: ExitStack) -> None:
        def tell(text: str) -> None:
            timeline.record(EventKind.WARNING, text)

        self._journal.begin(tell, ending)
        self._notices.begin(tell, ending)

    @property
    def opened(self) -> int | None:
        """The incident that was opened because the run wrote and had none."""
        return self._journal.opened

    def earlier(self, timeline: Timeline) -> "Callable[[], PreviousRuns]":
        """Begin to read what earlier runs wrote on the incident; what this answers has it."""
        return self._journal.earlier(self._incident, lambda text: timeline.record(EventKind.WARNING, text))

    def end(self, timeline: Timeline, press: "Callable[..., SuggestedCommand]", *, is_routine: bool) -> dict[str, str]:
        """The links to what was written, and to the pages of this run. A routine one opens an incident if need be."""
        written = self._journal.end(timeline, press, only_if_needed=is_routine)
        self._notices.end()
        return {**self._links, **written}
