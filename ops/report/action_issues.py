"""Issues of action items on GitHub: state, mark, creation, and the comment on the report.

An issue is created once. Before it, the comment on the report names its row: the journal. A later run finds the issue
by the link in the row, by the journal, or by the mark in the issue. GitHub's list of issues may lack a new one for a
while, so a row whose issue may have been created waits for LAG.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from ops.core.clock import format_utc
from ops.core.errors import ProviderError, UnclearWrite
from ops.core.names import ACTION_ITEM_LABEL, cut_text
from ops.core.redaction import Redactor
from ops.core.run_record import RecordRow, RecordRules, RunRecord, embed_record
from ops.core.threads import run_in_batches
from ops.github.client import GitHubApiError, provider_errors, write_errors
from ops.github.comments import RunComments, is_pull_request
from ops.github.issues import TrustedAuthors, clean_title, close_duplicate
from ops.github.records import Trust, judge_records
from ops.render import collapse_blank_lines, load_templates
from ops.report.action_items import ActionItem, ItemState, TrackedItem, describe_item_count, track_items

if TYPE_CHECKING:
    from ops.github.client import Repository
    from ops.github.issues import Issue

SOURCE = "actions"
"""Source of the record in the comment on the report."""
CREATING, CREATED = "creating", "created"
"""Kinds of its rows: the text is the key of a row, and the number of the issue once it is known."""
LAG = timedelta(minutes=2)
"""Age up to which GitHub's list may lack an issue. GitHub promises none; a list was seen to lag by seconds."""
MOST_CREATED = 20
"""Issues that one run creates: GitHub limits 80 a minute (docs.github.com/rest/using-the-rest-api/rate-limits)."""
MOST_LINKED = 50
"""Linked issues that are read, the newest first."""
MAX_CALLS = 8
MAX_TITLE = 120
_MARK = re.compile(r"<!-- backout:action report=([1-9][0-9]{0,9}) key=([0-9a-f]{12}) -->")
_CREATED = re.compile(r"([0-9a-f]{12}) #([1-9][0-9]{0,9})")


def read_states(repository: "Repository", numbers: Iterable[int]) -> dict[int, ItemState]:
    """Return the state of each issue that could be read."""
    wanted = sorted(set(numbers), reverse=True)[:MOST_LINKED]
    states = run_in_batches([partial(_read_action_state, repository, number) for number in wanted], MAX_CALLS)
    return {number: state for number, state in zip(wanted, states, strict=True) if state != ItemState.UNREAD}


def read_tracked(repository: "Repository", items: Sequence[ActionItem]) -> tuple[TrackedItem, ...]:
    """Return the rows with the state of the issues that they link."""
    return track_items(
        items, read_states(repository, (item.issue for item in items if item.issue and not item.is_done))
    )


def _read_action_state(repository: "Repository", number: int) -> ItemState:
    try:
        with provider_errors():
            return ItemState.CLOSED if repository.get_issue(number).state == "closed" else ItemState.OPEN
    except GitHubApiError as error:
        return ItemState.MISSING if error.status in {404, 410} else ItemState.UNREAD  # 410: it was deleted
    except ProviderError:
        return ItemState.UNREAD


@dataclass(frozen=True)
class MarkedIssue:
    """An issue that a trusted author created for a row of this report."""

    number: int
    key: str
    is_open: bool


def find_marked(report: "Issue", linked: Collection[int]) -> list[MarkedIssue]:
    """Return the issues with a mark of this report that GitHub lists, oldest first, without those that rows link.

    A row may be renamed, so that another one has the text of its mark. Raises what PyGithub raises.
    """
    repository = report.repository
    listed = repository.get_issues(
        labels=[ACTION_ITEM_LABEL], state="all", since=report.created_at, sort="created", direction="asc"
    )
    trusted = TrustedAuthors(repository, has_own=True)
    found = [(each, mark) for each in listed if not is_pull_request(each) and (mark := _MARK.match(each.body or ""))]
    return [
        MarkedIssue(each.number, mark[2], each.state != "closed")
        for each, mark in found
        if int(mark[1]) == report.number and each.number not in linked
        if trusted.wrote(each)
    ]


@dataclass
class ActionJournal:
    """The rows of which runs began to create an issue, and the issues that they created."""

    began: dict[str, datetime] = field(default_factory=dict)
    created: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, report: "Issue", rules: RecordRules) -> "ActionJournal":
        """Read the records on the report that count. Raises ProviderError."""
        journal = cls()
        for judged in judge_records(report, rules, lambda record: record.source == SOURCE):
            for row in judged.record.rows if judged.trust != Trust.NONE or judged.is_unverified else ():
                journal.add(row)
        return journal

    def add(self, row: RecordRow) -> None:
        if row.kind == CREATING:
            self.began[row.text] = max(row.at, self.began.get(row.text, row.at))
        elif row.kind == CREATED and (match := _CREATED.fullmatch(row.text)):
            self.created[match[1]] = int(match[2])

    def may_be_created(self, key: str, now: datetime) -> bool:
        """Return whether another run began so recently that GitHub's list may lack its issue."""
        return key in self.began and key not in self.created and now - self.began[key] < LAG

    def rows(self, at: datetime) -> Iterator[RecordRow]:
        for key, number in self.created.items():
            yield RecordRow(at, CREATED, f"{key} #{number}")
        for key, began in self.began.items():
            if key not in self.created:
                yield RecordRow(began, CREATING, key)


@dataclass(frozen=True)
class ActionComment:
    """The comment on the report, with the journal and what it shows of each row."""

    at: datetime
    job: str
    redactor: Redactor
    run: str
    comments: RunComments
    """The same in each call: GitHub's list may lack the comment that this process has just made."""

    @classmethod
    def on(cls, report: "Issue", at: datetime, job: str, redactor: Redactor) -> "ActionComment":
        run = f"actions-{report.number}"
        comments = RunComments(report.repository, report.number, run, may_exist=True)
        return cls(at, job, redactor, run, comments)

    def save(self, journal: ActionJournal, tracked: Sequence[TrackedItem], notes: Sequence[str] = ()) -> str:
        """Write the comment and return its URL. Raises ProviderError."""
        record = RunRecord(self.run, source=SOURCE, rows=tuple(journal.rows(self.at)), job=self.job)
        text = (
            load_templates()
            .get_template("action_items.md.j2")
            .render(
                count=describe_item_count(tracked), **self.redactor.redact_value({"tracked": tracked, "notes": notes})
            )
        )
        with provider_errors():
            self.comments.put(1, embed_record(collapse_blank_lines(text).strip(), record))
        return self.comments.url


@dataclass(frozen=True)
class CreatedIssues:
    """The issues that a run asked GitHub for, by the key of their row."""

    numbers: dict[str, int] = field(default_factory=dict)
    unclear: set[str] = field(default_factory=set)
    """Keys without an answer."""
    problem: str = ""
    """Why not all were created; empty if GitHub refused none."""


@dataclass(frozen=True)
class IssueMaker:
    """Creates the issues of a report."""

    report: "Issue"
    incident: int
    redactor: Redactor

    def create(self, items: Sequence[ActionItem]) -> CreatedIssues:
        """Create one issue for each item, each with one request; stop at a refusal, which the others would get too."""
        numbers, unclear, problem = dict[str, int](), set[str](), ""
        try:
            assignable = self._find_assignable({login for item in items for login in item.logins})
            for item in items:
                try:
                    with write_errors():
                        people = [login for login in item.logins if login in assignable]
                        numbers[item.key] = self._create_action_issue(item, people)
                except UnclearWrite:
                    unclear.add(item.key)
        except ProviderError as error:
            problem = f"not all issues were created: {error.message}. Do this again later"
        return CreatedIssues(numbers, unclear, problem)

    def _create_action_issue(self, item: ActionItem, people: list[str]) -> int:
        mark = f"<!-- backout:action report={self.report.number} key={item.key} -->"
        shown = self.redactor.redact_value(item)
        unassigned = [each for each in shown.logins or filter(None, [shown.owner]) if each not in people]
        text = (
            load_templates()
            .get_template("action_item.md.j2")
            .render(item=shown, report=self.report.number, incident=self.incident, unassigned=unassigned)
        )
        title = " ".join(clean_title(shown.text[: 2 * MAX_TITLE]).split())
        short = cut_text(title, MAX_TITLE)
        body = f"{mark}\n{collapse_blank_lines(text).strip()}"
        repository = self.report.repository
        return repository.create_issue(
            short or "Action item", body, labels=[ACTION_ITEM_LABEL], assignees=people
        ).number

    def _find_assignable(self, logins: Collection[str]) -> set[str]:
        """Return the logins that may be assigned. GitHub refuses an issue with another one.

        docs.github.com/rest/issues/assignees#check-if-a-user-can-be-assigned
        """
        repository = self.report.repository
        with provider_errors():
            return {login for login in sorted(logins) if repository.has_in_assignees(login)}

    def settle(self, created: CreatedIssues, linked: Collection[int]) -> dict[str, int]:
        """Return the issues of the created and unclear keys. Close ours if another run came before.

        `linked`: issues of other rows.
        """
        numbers = dict(created.numbers)
        with provider_errors():
            for each in reversed(find_marked(self.report, linked)):
                if each.key in created.unclear or each.number < numbers.get(each.key, 0):
                    numbers[each.key] = each.number
            for key, number in created.numbers.items():
                if numbers[key] < number:
                    close_duplicate(self.report.repository, number, numbers[key])
        return numbers


def describe_unclear(item: ActionItem, journal: ActionJournal) -> TrackedItem:
    """Return the state of a row whose issue may have been created."""
    again = format_utc(journal.began[item.key] + LAG)
    note = f"GitHub did not confirm its issue, which may exist: do this again after {again}"
    return TrackedItem(item, ItemState.UNCLEAR, note=note)
