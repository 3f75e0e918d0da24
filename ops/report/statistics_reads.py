"""Read the incidents of a period: their issues, and the facts that their reports hold.

A report holds the facts as of its last renewal. They count while nobody acted on the issue since; else, and without a
report, the records of the incident are read.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import load_config
from ops.app.registry import record_rules
from ops.core.clock import Period, current_time, parse_period
from ops.core.errors import OpsError
from ops.core.names import DRILL_LABEL
from ops.core.redaction import Redactor
from ops.core.threads import run_in_batches
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.issues import list_recent_incidents
from ops.github.journal import read_issue_journal
from ops.report import issue as reports
from ops.report.action_issues import read_states
from ops.report.action_items import ActionItem, ItemState, count_open, find_action_items, track_items
from ops.report.evidence import IncidentEvidence
from ops.report.facts import IncidentFacts, find_facts, parse_incident_facts
from ops.report.statistics import CountedIncident, Statistics, split_drills
from ops.status.changes import ChangeQuestion, read_changes

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.client import Repository
    from ops.github.issues import Issue

MOST_JOURNALS = 50
"""Incidents whose records are read one by one, the newest first: each costs three calls or more."""
NOT_READ = f"it has no current report, and only {MOST_JOURNALS} such incidents are read"
OWN_COMMENTS = timedelta(minutes=2)
"""Time after the read of a report in which its job writes its own comments on the issue."""
MAX_CALLS = 8
"""Incidents that are read at the same time."""


def read_statistics(
    config_path: Path, environ: Mapping[str, str], redactor: Redactor, *, since: str, until: str, environment: str
) -> Statistics:
    """Return the redacted statistics. `environment`: "" for all; it limits only the change failure rate.

    Raises ConfigError and ProviderError.
    """
    config = load_config(config_path, environ, redactor)
    environments = [config.environment(environment).name] if environment else list(config.environments)
    now = current_time(environ)
    period = parse_period(since, until, now)
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor, read_only=True)
        reader = _IncidentReader(repository, environ["GITHUB_REPOSITORY"], config, period, now)
        incidents = reader.read()
    removed = {each for one in incidents if one.facts and not one.is_drill for each in one.facts.removed}
    drills = {each.number for each in incidents if each.is_drill}
    changes = read_changes(config, environments, ChangeQuestion(period, removed, drills), environ)
    counted = [each for each in incidents if period.contains(each.opened_at)]
    statistics: Statistics = redactor.redact_value(Statistics(period, now, *split_drills(counted), changes))
    return statistics


class _IncidentReader:
    """Reads the incidents that changed since the period began."""

    def __init__(self, repository: "Repository", name: str, config: "Config", period: Period, now: datetime) -> None:
        self._repository, self._name, self._period, self._now = repository, name, period, now
        self._places, self._rules = config.places, record_rules(config)

    def read(self) -> list[CountedIncident]:
        """Return them, also those of which only the rollback may concern a change of the period.

        The latter have facts only if their report holds them. Raises what PyGithub raises.
        """
        issues = list_recent_incidents(self._repository, self._period.since)
        numbers = {each.number for each in issues if self._period.contains(each.created_at)}
        reported = reports.list_reports(self._repository, self._period.since)
        pages = {number: each.body or "" for number, each in reported.items()}
        facts = {each.number: _current_report_facts(each, pages.get(each.number, "")) for each in issues}
        unread = (each for each in issues if each.number in numbers and facts[each.number] is None)
        missing = sorted(unread, key=lambda each: -each.number)
        read = run_in_batches([partial(self._try_records, each) for each in missing[:MOST_JOURNALS]], MAX_CALLS)
        from_records = {each.number: answer for each, answer in zip(missing, read, strict=False)}
        items = {number: find_action_items(pages[number], self._name) for number in pages.keys() & numbers}
        linked = (item for listed in items.values() for item in listed or ())
        states = read_states(self._repository, (item.issue for item in linked if item.issue and not item.is_done))
        return [
            _count_incident(
                each, facts[each.number] or from_records.get(each.number, NOT_READ), items.get(each.number), states
            )
            for each in issues
        ]

    def _try_records(self, issue: "Issue") -> IncidentFacts | str:
        """Return the facts from the records of the issue, or why they are unknown."""
        try:
            with provider_errors():
                journal = read_issue_journal(issue, self._rules, read_at=self._now)
        except OpsError as error:
            return error.message
        return find_facts(IncidentEvidence(**vars(journal), places=self._places))


def _current_report_facts(issue: "Issue", body: str) -> IncidentFacts | None:
    """Return the facts of the report, unless the issue changed since, such as by a note or by reopening it."""
    facts = parse_incident_facts(reports.find_facts_region(body)) if body else None
    closed_at = issue.closed_at if issue.state == "closed" else None
    is_current = facts and facts.closed_at == closed_at and issue.updated_at <= facts.read_at + OWN_COMMENTS
    return facts if is_current else None


def _count_incident(
    issue: "Issue", facts: IncidentFacts | str, items: list[ActionItem] | None, states: Mapping[int, ItemState]
) -> CountedIncident:
    """Return the incident. `facts` may be the reason why they are unknown."""
    return CountedIncident(
        number=issue.number,
        title=issue.title,
        url=issue.html_url,
        opened_at=issue.created_at,
        is_open=issue.state != "closed",
        is_drill=any(label.name == DRILL_LABEL for label in issue.labels),
        facts=None if isinstance(facts, str) else facts,
        open_actions=None if items is None else count_open(track_items(items, states)),
        unread=facts if isinstance(facts, str) else "",
    )
