"""Remind once a week of action items that `ops.yml` requires: `ops incident remind`.

An incident counts a week after it was closed, if it is as severe as `required_from` and no drill. A reminder blocks
nothing. The newest one replaces the one before.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import load_config
from ops.core.clock import current_time
from ops.core.incident_state import find_severity
from ops.core.names import ACTIONS_LABEL, DRILL_LABEL
from ops.core.redaction import Redactor
from ops.core.run_record import RecordRow, RunRecord, embed_record
from ops.github import actions
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.comments import own_records
from ops.github.issues import list_recent_incidents, parse_form
from ops.render import collapse_blank_lines, load_templates
from ops.report.action_issues import read_tracked
from ops.report.action_items import TrackedItem, count_open, describe_item_count, find_action_items
from ops.report.issue import list_reports

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.Repository import Repository

WEEK = timedelta(days=7)
SLACK = timedelta(hours=2)
"""A weekly schedule may start so much earlier than the one before."""
LONGEST = timedelta(days=180)
"""Age of the last change of an incident up to which it is read."""
SOURCE = "reminder"
POSTED, WOULD_POST, RECENT = "reminded now", "would be reminded now", "reminded less than a week ago"
NO_REPORT, NO_TABLE, NO_ITEM = "no report", "no table of action items", "no action item is written"


@dataclass(frozen=True)
class LackingIncident:
    """An incident whose required action items are not done. Its texts are untrusted."""

    incident: int
    severity: str
    issue: int
    """Issue that gets the reminder: the report, else the incident."""
    url: str
    what: str
    tracked: tuple[TrackedItem, ...] = ()
    reminder: str = ""
    """Whether a reminder was posted, would be, or is recent."""

    @property
    def has_report(self) -> bool:
        return self.issue != self.incident

    @property
    def open_items(self) -> tuple[TrackedItem, ...]:
        return tuple(each for each in self.tracked if each.is_open)

    def describe(self) -> str:
        return f"#{self.incident} {self.severity}: {self.what}; {self.reminder} on {self.url}"


def remind_of_action_items(
    config_path: Path, environ: Mapping[str, str], redactor: Redactor, *, dry_run: bool
) -> tuple[LackingIncident, ...]:
    """Post the reminders that are due, and return all incidents that lack something, newest first.

    Raises ConfigError and ProviderError.
    """
    config = load_config(config_path, environ, redactor)
    required = config.action_items.required_from if config.action_items else None
    if required is None:
        return ()
    now = current_time(environ)
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor, read_only=dry_run)
        lacking = list(_find_lacking_reports(repository, required, now, environ["GITHUB_REPOSITORY"]))
        poster = _ReminderPoster(repository, required, now, actions.job_number(environ), redactor)
        posted = [replace(each, reminder=poster.post_due(each, dry_run=dry_run)) for each in lacking]
    result: tuple[LackingIncident, ...] = redactor.redact_value(tuple(posted))
    return result


def _find_lacking_reports(
    repository: "Repository", required: str, now: datetime, name: str
) -> Iterator[LackingIncident]:
    incidents = [each for each in list_recent_incidents(repository, now - LONGEST) if _is_report_due(each, now)]
    severities = {each.number: _find_severity(each, now) for each in incidents}
    severe = [each for each in incidents if severities[each.number] and severities[each.number] <= required]
    reports = list_reports(repository, min(each.created_at for each in severe)) if severe else {}
    for each in severe:
        lack = _find_report_lack(repository, each, reports.get(each.number), name)
        if lack is not None:
            yield replace(lack, severity=severities[each.number])


def _is_report_due(issue: "Issue", now: datetime) -> bool:
    is_due = issue.state == "closed" and now - issue.closed_at >= WEEK
    return is_due and not any(label.name == DRILL_LABEL for label in issue.labels)


def _find_severity(issue: "Issue", now: datetime) -> str:
    """Return the severity by the label, else by the form, as everywhere; empty if it is unknown."""
    labels = [label.name for label in issue.labels]
    return find_severity(labels, parse_form(issue.body, now=now, opened=issue.created_at))


def _find_report_lack(
    repository: "Repository", incident: "Issue", report: "Issue | None", name: str
) -> LackingIncident | None:
    """Return what an incident lacks; None if all is done."""
    if report is None:
        return LackingIncident(incident.number, "", incident.number, incident.html_url, NO_REPORT)
    lack = LackingIncident(incident.number, "", report.number, report.html_url, NO_TABLE)
    items = find_action_items(report.body or "", name)
    if not items:
        return lack if items is None else replace(lack, what=NO_ITEM)
    tracked = read_tracked(repository, items)
    return replace(lack, what=describe_item_count(tracked), tracked=tracked) if count_open(tracked) else None


@dataclass(frozen=True)
class _ReminderPoster:
    repository: "Repository"
    required: str
    now: datetime
    job: str
    redactor: Redactor

    def post_due(self, lack: LackingIncident, *, dry_run: bool) -> str:
        """Post the reminder unless one is younger than a week, and delete older ones. Return what was done."""
        issue = self.repository.get_issue(lack.issue)
        former = [comment for comment, record in own_records(issue, of_bot=True) if record.source == SOURCE]
        if any(self.now - comment.created_at < WEEK - SLACK for comment in former):
            return RECENT
        if dry_run:
            return WOULD_POST
        issue.create_comment(self._render_reminder(lack))
        for comment in former:
            comment.delete()
        return POSTED

    def _render_reminder(self, lack: LackingIncident) -> str:
        template = load_templates().get_template("action_reminder.md.j2")
        text = template.render(lack=self.redactor.redact_value(lack), required=self.required, label=ACTIONS_LABEL)
        row = RecordRow(self.now, SOURCE, lack.what)
        run = f"reminder-{lack.incident}"
        record = RunRecord(run, source=SOURCE, rows=(row,), job=self.job)
        return embed_record(collapse_blank_lines(text).strip(), record)
