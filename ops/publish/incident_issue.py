"""Publish a run on its incident issue, or open an incident for a run that wrote without one.

Publishing follows the recovery: nothing here raises, and the end of a run waits a few seconds at most.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ops.core.client_guards import uses_one_sandbox
from ops.core.clock import Clock
from ops.core.end_message import MOVED
from ops.core.errors import Decision, ProviderError, needs_people
from ops.core.plan import LiveState
from ops.core.redaction import Redactor
from ops.core.run import STATES, Run
from ops.core.run_record import PreviousRuns, RecordRules, job_of, make_note
from ops.core.threads import run_in_background, start_call, start_timed_call
from ops.core.timeline import EventKind, EventSink, RunEvent, Timeline
from ops.github import client
from ops.github.actions import repository_page

if TYPE_CHECKING:
    from github.Repository import Repository

    from ops.config.types import Contact
    from ops.github.comments import RunComments
    from ops.publish.menu import RecoveryMenu


LOCAL_USER = "by local user "
"""Prefix of the name in the request of a laptop run: the login on GitHub is read later."""


class IssuePublisher:
    """Publishes one run on GitHub. `remaining` returns the real seconds that its end may still wait.

    Does nothing if GitHub is not configured, or if only one of GitHub and Cloudflare is a sandbox.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        redactor: Redactor,
        clock: Clock,
        run: str,
        *,
        comment: int | None = None,
        contacts: "tuple[Contact, ...]",
        offers_updates: bool = False,
        program: str,
        remaining: Callable[[], float],
        is_notified: Callable[[], bool],
        chat_threads: Callable[[], Mapping[str, str]],
    ) -> None:
        self._is_notified, self._chat_threads, self._program = is_notified, chat_threads, program
        self._environ, self._redactor = environ, redactor
        self._clock, self._run = clock, run
        self._comment, self._offers_updates = comment, offers_updates
        self._contacts, self._remaining = contacts, remaining
        self._writer: CommentWriter | None = None
        self._login: str | None = None
        """Login of the token's owner; None until it was read."""
        self.opened_incident: int | None = None
        """Number of the incident that was opened after the run."""
        self.is_answered = True
        """Whether the comment shows the end of the run; also if there is none to write."""
        self.is_recorded = False
        """Whether an incident holds the whole record of the run."""
        self._is_on = client.is_configured(environ) and uses_one_sandbox(environ)

    def sinks(self, incident: int | None) -> tuple[EventSink, ...]:
        if not self._is_on or incident is None:
            return ()
        self._writer = CommentWriter(
            self._connect_issue,
            self._render_run_comments,
            number=incident,
            run=self._run,
            clock=self._clock,
            remaining=self._remaining,
            request=self._comment,
        )
        return (self._writer,)

    def begin(self, warn: Callable[[str], object], exit_stack: ExitStack) -> None:
        """Start the thread that writes. It ends with the run, also if a bug ends it."""
        if self._writer:
            exit_stack.callback(self._writer.close)
            self._writer.begin(warn)

    def read_previous_runs(
        self, incident: int | None, wait: float, rules: RecordRules, warn: Callable[[str], object]
    ) -> Callable[[], PreviousRuns]:
        """Start to read the runs on the incident.

        Return a function that waits for them, at most `wait` real seconds from now; no runs if GitHub is late or fails.
        """
        if not self._is_on or incident is None:
            return PreviousRuns
        finish = start_timed_call(lambda: self._previous_runs(incident, rules), wait)
        warned = list[str]()

        def issue_runs_result() -> PreviousRuns:
            try:
                runs = finish()
            except Exception as error:  # noqa: BLE001  a recovery does without
                warn(f"cannot read the earlier runs of the incident ({client.github_failure(error)})")
                return PreviousRuns()
            if runs.doubts and runs.doubts not in warned:
                warned.append(runs.doubts)
                warn(runs.doubts)
            return runs

        return issue_runs_result

    def _previous_runs(self, incident: int, rules: RecordRules) -> PreviousRuns:
        from ops.github.records import read_previous_runs

        return read_previous_runs(self._connect_issue(), incident, rules)

    def end(
        self, timeline: Timeline, menu: "Callable[[str, str], RecoveryMenu]", *, only_if_needed: bool = False
    ) -> dict[str, str]:
        """Publish the end. Return links to the comment, or to an incident that is opened now.

        An incident is opened if the run named none, and wrote or may have written; with `only_if_needed` only if people
        are needed too.
        """
        if self._writer:
            url = self._writer.close()
            self.is_answered = self.is_recorded = self._writer.is_complete
            return {"journal": url} if url else {}
        if not self._is_on or timeline.first(EventKind.WRITING) is None:
            return {}
        events = tuple(timeline.events)
        run = Run(self._run, events)
        is_unchanged = not run.has_written and run.live is LiveState.UNCHANGED
        changed_nothing = is_unchanged and run.decision in {Decision.REFUSED, Decision.FAILED}
        if changed_nothing or (only_if_needed and not needs_people(run.decision)):
            return {}
        try:
            url = start_call(lambda: self._open_incident(events, menu)).result(timeout=self._remaining())
        except Exception as error:  # noqa: BLE001  the run is over, and its result counts
            timeline.record(
                EventKind.WARNING,
                f"the incident of this run may be missing ({client.github_failure(error)}): look for it, or open one",
            )
            return {}
        self.is_recorded = True
        return {"incident": url}

    def notify(self, timeline: Timeline, incident: int | None, notices: Mapping[int, str]) -> None:
        """Comment on other incidents that the run of `incident` concerns. A failure becomes a warning."""
        if not self._is_on or not notices:
            return
        try:
            start_call(lambda: self._post_notices(incident, notices)).result(timeout=self._remaining())
        except Exception as error:  # noqa: BLE001  the run is over, and its result counts
            others = ", ".join(f"#{number}" for number in notices)
            text = f"the comment on {others} may be missing ({client.github_failure(error)}): tell the people there"
            timeline.record(EventKind.WARNING, text)

    def _post_notices(self, incident: int | None, notices: Mapping[int, str]) -> None:
        """Add each text to the timeline of its incident, as a note."""
        from ops.github.comments import save_record
        from ops.render import escape_markdown

        repository, whose = self._connect_issue(), f"for incident #{incident}" if incident else "without an incident"
        name, now = f"notice-{self._run}"[:64], self._clock.now()
        for number, text in notices.items():
            note = f"a run {whose} changed a state that this incident needs: {text}"
            record = make_note(name, now, note, job_of(self._run))
            save_record(repository, number, escape_markdown(note[:1].upper() + note[1:]), record, may_exist=False)

    def _open_incident(self, events: tuple[RunEvent, ...], menu: "Callable[[str, str], RecoveryMenu]") -> str:
        """Open an incident with the run on it, and return its URL."""
        from ops.github.comments import RunComments
        from ops.github.issues import open_incident_issue
        from ops.publish import comment

        run = Run(self._run, events)
        repository, page = self._connect_issue(), repository_page(self._environ)
        seen = f"Opened after a run in {run.environment} without an incident: {run.state}. {run.message}"
        body = comment.render_incident_body(service=run.service, symptom=seen)
        title = f"{run.runbook} on {run.service} in {run.environment}: {run.state}"

        def put_run(number: int) -> None:
            self.opened_incident = number
            comments = RunComments(repository, number, self._run)
            for part, text in enumerate(self._render_run_comments(events), start=1):
                comments.put(part, text)

        # The time is limited, and the record of the run counts more than the menu.
        return open_incident_issue(
            repository,
            title,
            lambda _: body,
            lambda number: menu(number, page).render([run.service]),
            before_menu=put_run,
        ).url

    def _connect_issue(self) -> Any:
        return client.connect(self._environ, self._redactor)

    def _render_run_comments(self, events: tuple[RunEvent, ...]) -> tuple[str, ...]:
        from ops.publish import comment

        run = Run(
            self._run, self._with_login(events), is_notified=self._is_notified(), chat_threads=self._chat_threads()
        )
        page, offers = repository_page(self._environ), self._offers_updates
        return comment.render_comments(run, self._contacts, page, self._program, offers_updates=offers)

    def _with_login(self, events: tuple[RunEvent, ...]) -> tuple[RunEvent, ...]:
        """Return the events with the owner of GITHUB_TOKEN added to the laptop's local user in the first one."""
        if not events or LOCAL_USER not in events[0].text:
            return events
        if self._login is None:
            self._login = self._read_login()
        owner = f"by {self._login} as GITHUB_TOKEN says, local user " if self._login else LOCAL_USER
        return (replace(events[0], text=events[0].text.replace(LOCAL_USER, owner)), *events[1:])

    def _read_login(self) -> str:
        """Return the login of the token's owner; "" for the bot, which is no person, or if GitHub fails."""
        from ops.github.comments import BOT, own_login

        try:
            with client.provider_errors():
                login = own_login(self._connect_issue())
                return "" if login == BOT else login
        except ProviderError:
            return ""


FIRST_MINUTE = 60.0
FIRST_MINUTE_INTERVAL, LATER_INTERVAL = 5.0, 20.0
"""Seconds between two edits, in the first minute and later: GitHub limits content that is written.

A prepared undo and the start of a rehearsal do not wait: people and other runs need them while the write is open.
docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""
LAST_TRIES = 3
REFUSALS = range(400, 500)
"""Statuses that an immediate retry would not change."""


def _opens_rehearsal(event: RunEvent) -> bool:
    """Return whether a rehearsal has to be finished by another run if this one dies now."""
    return event.kind == EventKind.REHEARSED and event.text.startswith(("writing: ", MOVED))


class CommentWriter:
    """A timeline sink that only queues, and a thread that writes the comment.

    The thread loads PyGithub. A failure there is recorded once, by its type, and does not change the run.
    """

    def __init__(
        self,
        connect: "Callable[[], Repository]",
        render: Callable[[tuple[RunEvent, ...]], tuple[str, ...]],
        *,
        number: int,
        run: str,
        clock: Clock,
        remaining: Callable[[], float],
        request: int | None = None,
    ) -> None:
        """`remaining` returns the real seconds that `close` may still wait.

        `request`: id of the comment that announced this run.
        """
        self._connect_issue = connect
        self._render_run_comments = render
        self._number, self._run, self._request = number, run, request
        self._clock, self._remaining = clock, remaining
        self._changed = threading.Condition()
        self._events: list[RunEvent] = []
        self._is_due = self._closing = False
        self.is_complete = False
        """Whether the last edit was written."""
        self._began, self._next = clock.monotonic(), 0.0
        self._comments: RunComments | None = None
        self._done = Future[None]()
        self._warn: Callable[[str], object] | None = None

    def __call__(self, event: RunEvent) -> None:
        with self._changed:
            self._events.append(event)
            self._is_due |= event.kind in {*STATES, EventKind.PREPARED}
            if event.kind == EventKind.PREPARED or _opens_rehearsal(event):
                self._next = min(self._next, self._clock.monotonic())
            self._changed.notify()

    def begin(self, warn: Callable[[str], object]) -> None:
        """Start the thread. `warn` gets the first failure."""
        self._warn = warn
        run_in_background(self._write_queued_events)

    def close(self) -> str:
        """Wait for the last edit, within the time budget. Return the comment's URL; "" if it was never written."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        try:
            self._done.result(timeout=self._remaining())
        except TimeoutError as error:
            self._note_publish_failure(error)
        self._warn = None
        return self._comments.url if self._comments else ""

    def _write_queued_events(self) -> None:
        try:
            last = False
            while not last:
                events, last = self._wait_for_events()
                is_written = self._try_to_publish(events, tries=LAST_TRIES if last else 1)
                self.is_complete = is_written and last
        except Exception as error:  # noqa: BLE001  a thread has nobody to raise to, and the clock may be gone
            self._note_publish_failure(error)
        finally:
            self._done.set_result(None)  # `close` waits for no thread that has ended

    def _wait_for_events(self) -> tuple[tuple[RunEvent, ...], bool]:
        """Wait until a write is due. Return its events, and whether it is the last write."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._is_due)
            while not self._closing and (seconds := self._next - self._clock.monotonic()) > 0:
                self._changed.wait(seconds)
            now = self._clock.monotonic()
            first = not self._next and not self._closing
            self._next = now + (FIRST_MINUTE_INTERVAL if now - self._began < FIRST_MINUTE else LATER_INTERVAL)
            events = tuple(self._events[:1] if first else self._events)
            self._is_due = any(event.kind in {*STATES, EventKind.PREPARED} for event in self._events[len(events) :])
            return events, self._closing

    def _try_to_publish(self, events: tuple[RunEvent, ...], *, tries: int) -> bool:
        """Return whether the comment shows the events."""
        for _ in range(tries):
            try:
                self._publish_comments(events)
            except Exception as error:  # noqa: BLE001  GitHub, the network, a template: the run goes on
                with self._changed:
                    self._is_due = True
                self._note_publish_failure(error)
                if getattr(error, "status", 0) in REFUSALS:
                    return False
            else:
                return True
        return False

    def _publish_comments(self, events: tuple[RunEvent, ...]) -> None:
        from ops.github.comments import RunComments

        if self._comments is None:
            self._comments = RunComments(self._connect_issue(), self._number, self._run, request=self._request)
        for part, body in enumerate(self._render_run_comments(events), start=1):
            self._comments.put(part, body)

    def _note_publish_failure(self, error: Exception) -> None:
        warn, self._warn = self._warn, None
        if warn is not None:
            advice = f"; issue #{self._number} does not exist there" if getattr(error, "status", 0) == 404 else ""
            warn(f"cannot update the comment on the incident issue ({client.github_failure(error)}{advice})")
