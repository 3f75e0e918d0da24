"""Write on the incident: the comment of a watch, with its state, and each opening once."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ops.core.errors import Decision, ProviderError, Reason
from ops.core.incident_fold import fold_incident
from ops.core.incident_state import describe_health
from ops.core.names import CLOSING_RUNBOOK
from ops.core.redaction import Redactor
from ops.core.run_record import (
    ENDED_KIND,
    RecordRow,
    RecordRules,
    RunRecord,
    embed_record,
    is_closed_watch,
    read_record,
)
from ops.github.client import CHECK_HINT, GitHubApiError, connect, provider_errors
from ops.github.comments import StateComment
from ops.github.issues import (
    find_state_comment,
    is_incident,
    list_recent_incidents,
    reopen_incident,
    require_incident,
)
from ops.github.journal import read_issue_journal
from ops.github.records import JudgedRecord, Trust, acting_records, judge_records, keep_acting
from ops.watch.state import LONGEST, WatchState, new_watch_owner, parse_watch_state

if TYPE_CHECKING:
    from ops.github.client import Repository
    from ops.github.issues import Issue
    from ops.maintenance.drift import ClosureLook

WATCH = "watch"
"""Source and runbook of the record."""
CHANGES = {"writing", "written"}
"""Kinds of rows of a run that show a change, or an attempt."""
RECENT = 2 * LONGEST + timedelta(minutes=1)
"""Age of the oldest change of an incident whose watch may continue: until LONGEST after its end."""

ROUNDS_UNTIL_READ = 4
"""Rounds after which each runner has read its comment once."""
OPENING = "opening"
"""Source of the record of an opening."""


def find_watched_incident(environ: Mapping[str, str], redactor: Redactor, number: int) -> "Issue":
    """Return the incident issue. Raises ConfigError if the issue is none, and ProviderError."""
    with provider_errors(CHECK_HINT):
        issue = connect(environ, redactor).get_issue(number)
        require_incident(issue)
        return issue


class WatchRecord:
    """State of the watch of one service on an incident. A failure of GitHub is kept in `problem` and ends nothing."""

    def __init__(
        self,
        connect: "Callable[[], Issue]",
        environment: str,
        service: str,
        *,
        rules: RecordRules,
        job: str,
        is_closed: bool = False,
    ) -> None:
        """`rules`: whose records act. `job`: number and attempt of this workflow run; empty on a laptop.

        `is_closed`: the watch is one of a closed service, which has a comment of its own.
        """
        self._connect, self._is_closed = connect, is_closed
        self._rules, self.job = rules, job
        self._environment, self._service = environment, service
        self._issue: Issue | None = None
        self._comment: StateComment | None = None
        self._ended: list[tuple[StateComment, str]] = []
        """Comments of other watches, with the text of their end."""
        self.problem = ""

    def find(self, now: datetime) -> WatchState | None:
        """Return the state of a watch that has no decision yet. Raises ProviderError.

        Without one, a new watch begins: it ends those of the same service on other incidents, so that one remains. It
        also begins from the start, in the same comment, if release 0.1.1 or another laptop wrote that state.
        """
        issue = self._issue = self._connect()
        self._comment = StateComment(issue)
        acting = acting_records(issue, self._rules, self._is_open)
        state = parse_watch_state(acting[-1].record.watch, now) if acting else None
        if state is not None:
            self._comment = StateComment(issue, acting[-1].comment)
            return state
        former = find_state_comment(issue, self._is_open)
        if former and parse_watch_state(former[1].watch, now) and former[1].job == "":
            self._comment = former[0]
        self._try_state_comment(lambda _: self._end_others(now))
        return None

    def _end_others(self, now: datetime) -> None:
        """End the watches of this service on other incidents; their runners see it and stop. Raises ProviderError."""
        own = self._issue
        if own is None:
            return
        with provider_errors():
            others = [each for each in list_recent_incidents(own.repository, now - RECENT) if each.number != own.number]
        for issue in others:
            state_comment = find_state_comment(issue, self._is_open)
            if state_comment is None or parse_watch_state(state_comment[1].watch, now) is None:
                continue
            comment, record = state_comment
            rows = (*record.rows, RecordRow(now, ENDED_KIND, Decision.NOTHING_TO_DO))
            ended = replace(record, decision=Decision.NOTHING_TO_DO, reason=Reason.CONTINUED_ELSEWHERE, rows=rows)
            ended = replace(ended, watch={**record.watch, "owner": new_watch_owner(now)})
            text = f"### {self._service} in {self._environment}: a newer watch of it continues on #{own.number}"
            self._ended.append((comment, embed_record(text, ended)))
        self._write_ended()

    def _write_ended(self) -> None:
        for comment, body in self._ended:
            comment.write(body)

    def has_change_since(self, at: datetime) -> bool:
        """Return whether a run began to change the service after that time. Raises ProviderError."""
        here = (each for each in self._read_run_records() if each.service == self._service)
        return any(row.kind in CHANGES and row.at > at for each in here for row in each.rows)

    def is_still_unhealthy(self) -> bool:
        """Return whether the newest run that began to change the service ended unhealthy. Raises ProviderError.

        Of a run for several services, the record names the first one only.
        """
        runs = [each for each in self._read_run_records() if any(row.kind in CHANGES for row in each.rows)]
        here = [each for each in runs if each.service == self._service] or runs
        return bool(here) and here[-1].decision == Decision.STILL_UNHEALTHY

    def find_failing_services(self, now: datetime) -> tuple[str, ...]:
        """Return the other services of the incident that do not work; none if GitHub does not answer."""
        issue, own = self._issue, (self._environment, self._service)
        if issue is None:
            return ()
        try:
            with provider_errors():
                state = fold_incident(read_issue_journal(issue, self._rules, read_at=now))
        except ProviderError:
            return ()
        failing = (each for each in state.services if each.healthy_since is None)
        return tuple(
            f"{each.name} {describe_health(each)}" for each in failing if (each.environment, each.service) != own
        )

    def _read_run_records(self) -> list[RunRecord]:
        """Return the trusted records of runs in this environment, oldest first."""
        if self._issue is None:
            return []
        judged = judge_records(self._issue, self._rules)
        runs = (each.record for each in judged if each.record.is_run and each.trust != Trust.NONE)
        return [each for each in runs if each.environment == self._environment]

    def _is_open(self, record: RunRecord) -> bool:
        place = (WATCH, self._environment, self._service)
        is_same = (record.source, record.environment, record.service) == place
        return is_same and not record.decision and is_closed_watch(record.watch) == self._is_closed

    @property
    def incident(self) -> int | None:
        """Number of the issue; None before `find`."""
        return self._issue.number if self._issue else None

    @property
    def url(self) -> str:
        return self._comment.url if self._comment else ""

    def save(self, text: str, record: RunRecord, state: WatchState) -> None:
        """Write the comment with one request.

        For a while the end of another watch is written instead: its runner writes each round, and reads every fourth.
        """
        if self._ended and not record.decision and 1 < len(state.rounds) <= ROUNDS_UNTIL_READ + 1:
            self._try_state_comment(lambda _: self._write_ended())
            return
        named = replace(
            record,
            run=f"watch-{state.owner}",
            source=WATCH,
            runbook=WATCH,
            environment=self._environment,
            service=self._service,
            watch=state.to_json(),
            job=self.job,
        )
        self._try_state_comment(lambda comment: comment.write(embed_record(text, named)))

    def is_taken_over(self, state: WatchState, now: datetime) -> bool:
        """Return whether a later runner has the watch, or one decided it; False if GitHub fails.

        It sends one request, and asks who wrote the comment only if that says so.
        """
        bodies: list[str] = []
        self._try_state_comment(lambda comment: bodies.append(comment.read()))
        record = read_record(bodies[0]) if bodies else None
        written = parse_watch_state(record.watch, now) if record else None
        if record is None or not (record.decision or (written is not None and written.owner > state.owner)):
            return False
        return self._is_genuine(record)

    def _is_genuine(self, record: RunRecord) -> bool:
        """Return whether a watch wrote the comment; else the problem names who edited it."""
        issue, comment, judged = self._issue, self._comment, list[JudgedRecord]()
        if issue is None or comment is None:
            return False
        self._try_state_comment(lambda _: judged.extend(judge_records(issue, self._rules, lambda each: each == record)))
        own = next((each for each in judged if each.comment.id == comment.id), None)
        if own is not None and own.trust == Trust.NONE and not own.is_former:
            self.problem = f"the comment of this watch is not believed: {own.doubt}"
            return False
        return own is not None

    def report_relapse(self, text: str) -> None:
        """Open the incident again if it is closed, and post the text."""
        issue = self._issue
        if issue is not None:
            self._try_state_comment(lambda _: reopen_incident(issue, text))

    def report_opening(self, text: str, opening: RunRecord, incidents: Iterable[int]) -> bool:
        """Like `report_relapse`, but once for each opening, also on the other incidents that need the service closed.

        Return False if all of them have it. A failure at one does not keep it from the others.
        """
        own, posted = self._issue, list[bool]()
        if own is None:
            return True

        def post_watch_update(number: int) -> None:
            issue = own if number == own.number else _find_other_incident(own.repository, number)
            if issue is not None:
                posted.append(post_opening(issue, text, opening, self._rules))

        def post_each(_: StateComment) -> None:
            failures = list[ProviderError]()
            for number in dict.fromkeys((own.number, *incidents)):
                try:
                    post_watch_update(number)
                except ProviderError as error:
                    failures.append(error)
            if failures:
                raise failures[0]

        self._try_state_comment(post_each)
        return any(posted) or not posted

    def _try_state_comment(self, send: Callable[[StateComment], object]) -> None:
        if self._comment is None:
            return
        try:
            send(self._comment)
            self.problem = ""
        except ProviderError as error:
            self.problem = f"the comment on the incident is not up to date: {error.message}"


def _find_other_incident(repository: "Repository", number: int) -> "Issue | None":
    """Return an incident; None if the issue was deleted, or is none any more. Raises ProviderError."""
    try:
        with provider_errors():
            issue = repository.get_issue(number)
            return issue if is_incident(issue) else None
    except GitHubApiError as error:
        if error.status in {404, 410}:  # 410: it was deleted
            return None
        raise


def opening_record(environment: str, service: str, look: "ClosureLook", now: datetime, job: str) -> RunRecord:
    """Return the record of an opening. The same ways into the same stored closure have the same name.

    `job`: number and attempt of this workflow run; empty on a laptop.
    """
    texts = [each.text for each in look.openings]
    name = hashlib.sha256(json.dumps([environment, service, look.run, sorted(texts)]).encode()).hexdigest()[:16]
    rows = (RecordRow(now, "warning", f"OPEN although closed: {'; '.join(texts)}"),)
    return RunRecord(
        f"{OPENING}-{name}",
        source=OPENING,
        runbook=CLOSING_RUNBOOK,
        environment=environment,
        service=service,
        rows=rows,
        job=job,
    )


def post_opening(issue: "Issue", text: str, opening: RunRecord, rules: RecordRules) -> bool:
    """Post the text, unless a watch posted this opening before, and open the incident again if it is closed.

    Return whether it was posted. Raises ProviderError.
    """
    judged = judge_records(issue, rules, lambda record: record.run == opening.run)
    # Without the right to read runs, each look would post it again.
    if any(each.is_denied for each in judged) or keep_acting(issue, judged):
        return False
    reopen_incident(issue, embed_record(text, opening))
    return True
