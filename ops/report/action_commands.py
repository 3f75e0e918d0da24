"""Make one issue of each action item of a report, and list them: `ops incident actions`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import load_config
from ops.app.registry import record_rules
from ops.core.clock import current_time
from ops.core.errors import ConfigError, Reason
from ops.core.redaction import Redactor
from ops.core.run_record import RecordRules
from ops.github import actions
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.issue_edits import edit_text
from ops.github.issues import TrustedAuthors
from ops.report.action_issues import (
    MOST_CREATED,
    ActionComment,
    ActionJournal,
    IssueMaker,
    MarkedIssue,
    describe_unclear,
    find_marked,
    read_states,
    read_tracked,
)
from ops.report.action_items import (
    PREVENTION,
    ActionItem,
    ItemState,
    TrackedItem,
    count_open,
    find_action_items,
    link_item_rows,
)
from ops.report.issue import LABEL, find_report, incident_of_report

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.client import Repository
    from ops.github.issues import Issue

MAX_TEXT = 160
"""Characters of an action in a line."""


@dataclass(frozen=True)
class ActionList:
    """The action items of a report. Their texts are untrusted."""

    incident: int
    report: int
    url: str
    tracked: tuple[TrackedItem, ...]
    notes: tuple[str, ...] = ()
    """Issues of the report without a row, and what else a person must know."""
    created: tuple[int, ...] = ()
    problem: str = ""
    """Why not all issues were created, which is also a note; empty if GitHub refused none."""

    @property
    def is_unclear(self) -> bool:
        return any(each.state == ItemState.UNCLEAR for each in self.tracked)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "incident": self.incident,
            "report": self.report,
            "url": self.url,
            "open": count_open(self.tracked),
            "created": list(self.created),
            "items": [each.to_json() for each in self.tracked],
            "notes": list(self.notes),
        }


def list_actions(number: int, config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> ActionList:
    """Return the action items of an incident or report. Writes nothing. Raises ConfigError and ProviderError."""
    load_config(config_path, environ, redactor)
    with provider_errors(CHECK_HINT):
        report, incident = _find_report(connect(environ, redactor, read_only=True), number)
        tracked = read_tracked(report.repository, _require_items(report, environ))
    redacted: ActionList = redactor.redact_value(ActionList(incident, report.number, report.html_url, tracked))
    return redacted


def create_actions(number: int, config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> ActionList:
    """Create the missing issues of an incident or report, link them in its rows, and comment on it.

    Raises ConfigError without the section of `ops.yml`, and ProviderError.
    """
    config = load_config(config_path, environ, redactor)
    require_section(config)
    repository = connect(environ, redactor)
    with provider_errors(CHECK_HINT):
        report, incident = _find_report(repository, number)
        items = _require_items(report, environ)
        work = _ItemCreation.read(report, items, record_rules(config), current_time(environ))
        comment = ActionComment.on(report, work.now, actions.job_number(environ), redactor)
        missing = [each.item for each in work.missing][:MOST_CREATED]
        if missing:
            work.journal.began.update((item.key, work.now) for item in missing)
            comment.save(work.journal, work.tracked, work.notes)
        maker = IssueMaker(report, incident, redactor)
        created = maker.create(missing)
        for item in missing:
            if item.key not in created.numbers.keys() | created.unclear:
                del work.journal.began[item.key]
        numbers = {**work.numbers, **(maker.settle(created, work.linked) if missing else {})}
        work.journal.created.update(numbers)
        linked, lost = _link_report(report, numbers)
        tracked = work.finish(numbers, linked)
        notes = (*filter(None, (created.problem, work.describe_rest())), *lost, *work.notes)
        comment.save(work.journal, tracked, notes)
    made = tuple(number for key, number in created.numbers.items() if numbers[key] == number)
    result: ActionList = redactor.redact_value(
        ActionList(incident, report.number, report.html_url, tracked, notes, made, created.problem)
    )
    return result


def action_lines(found: ActionList) -> Iterator[str]:
    """Yield one line for each row, and what else a person must know."""
    for each in found.tracked:
        named = f"#{each.issue}" if each.issue else "-"
        people = f", owner {each.item.owner}" if each.item.owner else ""
        due = f", due {each.item.due}" if each.item.due else ""
        note = f". {each.note}" if each.note else ""
        yield f"{named} {each.state.value}: {each.item.text[:MAX_TEXT]}{people}{due}{note}"
    yield from found.notes


def require_section(config: "Config") -> None:
    """Raise ConfigError if ops.yml does not turn action items into issues."""
    if config.action_items is None:
        hint = "Add `action_items: {}` to ops.yml, then run `ops workflows sync` and `ops labels sync`."
        raise ConfigError("ops.yml has no section `action_items`", hint=hint)


def _find_report(repository: "Repository", number: int) -> "tuple[Issue, int]":
    """Return the report and its incident; `number` is that of either. Raises ConfigError without a report."""
    from github import UnknownObjectException

    try:
        issue = repository.get_issue(number)
        incident = incident_of_report(issue.body or "")
    except UnknownObjectException:
        raise ConfigError(f"#{number} does not exist", reason=Reason.UNKNOWN_INCIDENT) from None
    is_report = incident is not None and any(label.name == LABEL for label in issue.labels)
    if incident is not None and is_report and TrustedAuthors(repository, has_own=True).wrote(issue):
        return issue, incident
    report = find_report(repository, number)
    if report is None:
        hint = f"Write it first: `ops incident report {number}`, or the label `report` on the incident."
        raise ConfigError(f"#{number} has no report", reason=Reason.UNKNOWN_INCIDENT, hint=hint)
    return report, number


def _require_items(report: "Issue", environ: Mapping[str, str]) -> list[ActionItem]:
    items = find_action_items(report.body or "", environ["GITHUB_REPOSITORY"])
    if items is None:
        hint = f"Put back the heading `{PREVENTION}`, and below it a table with the columns action and issue."
        raise ConfigError(f"the report #{report.number} has no table of action items", hint=hint)
    return items


@dataclass(frozen=True)
class _ItemCreation:
    """What is known of each row before anything is created."""

    now: datetime
    tracked: tuple[TrackedItem, ...]
    journal: ActionJournal
    linked: frozenset[int]
    """Issues that rows link."""
    numbers: dict[str, int]
    """Key → issue of a row that has no link to it."""
    closed: frozenset[int]
    notes: tuple[str, ...]

    @classmethod
    def read(cls, report: "Issue", items: Sequence[ActionItem], rules: RecordRules, now: datetime) -> "_ItemCreation":
        tracked, journal = read_tracked(report.repository, items), ActionJournal.read(report, rules)
        bare = {each.item.key for each in tracked if each.state == ItemState.NO_ISSUE}
        linked = frozenset(item.issue for item in items if item.issue)
        marked = find_marked(report, linked)
        known = {key: each for key, each in journal.created.items() if key in bare and each not in linked}
        states = read_states(report.repository, known.values())
        numbers = {key: each for key, each in known.items() if states.get(each, ItemState.MISSING) != ItemState.MISSING}
        numbers |= {each.key: each.number for each in reversed(marked) if each.key in bare}
        closed = {each.number for each in marked if not each.is_open}
        closed |= {each for each, state in states.items() if state == ItemState.CLOSED}
        alone = [each for each in marked if each.is_open and each.number not in numbers.values()]
        notes = tuple(f"#{each.number} is open, and no row links it" for each in alone)
        judged = tuple(_judge_action_item(each, journal, numbers, alone, now) for each in tracked)
        return cls(now, judged, journal, linked, numbers, frozenset(closed), notes)

    @property
    def missing(self) -> list[TrackedItem]:
        """Return the rows for which an issue is created."""
        return [each for each in self.tracked if each.state == ItemState.NO_ISSUE and each.item.key not in self.numbers]

    def describe_rest(self) -> str:
        """Return that another press is needed; empty if it is not."""
        rest = len(self.missing) - MOST_CREATED
        return f"one press creates {MOST_CREATED} issues: do this again for the other {rest}" if rest > 0 else ""

    def finish(self, numbers: Mapping[str, int], linked: frozenset[str]) -> tuple[TrackedItem, ...]:
        """Return the rows with their new issues."""
        return tuple(self._finish_action_item(each, numbers, linked) for each in self.tracked)

    def _finish_action_item(self, each: TrackedItem, numbers: Mapping[str, int], linked: frozenset[str]) -> TrackedItem:
        key = each.item.key
        if each.state != ItemState.NO_ISSUE:
            return each
        if key in numbers:
            note = "" if key in linked else f"its row does not link it: write #{numbers[key]} into the row"
            state = ItemState.CLOSED if numbers[key] in self.closed else ItemState.OPEN
            return TrackedItem(each.item, state, numbers[key], note)
        return describe_unclear(each.item, self.journal) if key in self.journal.began else each


def _judge_action_item(
    each: TrackedItem, journal: ActionJournal, numbers: Mapping[str, int], alone: Sequence[MarkedIssue], now: datetime
) -> TrackedItem:
    """Return the row, or why no issue is created for it now."""
    key = each.item.key
    if each.state != ItemState.NO_ISSUE or key in numbers:
        return each
    if journal.may_be_created(key, now):
        return describe_unclear(each.item, journal)
    if alone:
        first = alone[0].number
        note = f"if it is the action of #{first}, write #{first} into the row, else close #{first}. Then do this again"
        return TrackedItem(each.item, ItemState.HELD, note=note)
    return each


def _link_report(report: "Issue", numbers: Mapping[str, int]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Write the issues into the rows. Return the keys of the rows that have them, and what people must know.

    A row that changed meanwhile is left as it is.
    """
    linked = frozenset[str]()

    def link_action_items(body: str) -> str:
        nonlocal linked
        after, linked = link_item_rows(body, numbers)
        return after

    notes = edit_text(report, link_action_items).notes if numbers else ()
    return linked, notes
