"""List the open incidents, with the decision of the last run of each."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.core import system_clock
from ops.core.clock import format_duration, format_rfc3339
from ops.core.redaction import Redactor
from ops.core.threads import run_parallel
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.incident_form import parse_form
from ops.render.terminal import to_one_line

if TYPE_CHECKING:
    from ops.github.issues import Issue, TrustedAuthors

UNKNOWN = "-"


@dataclass(frozen=True)
class OpenIncident:
    number: int
    title: str
    service: str
    """Answer on the issue form; "" if it is no name of a service."""
    severity: str
    opened_at: datetime
    decision: str
    """Decision of the last run; "" without a run or while it continues."""
    last_run: str
    """Runbook of the last run, or ""."""
    last_result: str
    """Result of the last run in one sentence; "" without a run, while it continues, and for older records."""
    url: str

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "opened_at": format_rfc3339(self.opened_at)}


@dataclass(frozen=True)
class Overview:
    read_at: datetime
    incidents: Sequence[OpenIncident]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "read_at": format_rfc3339(self.read_at),
            "incidents": [each.to_json() for each in self.incidents],
        }


def read_overview(environ: Mapping[str, str], redactor: Redactor) -> Overview:
    """Return the open incidents, newest first. Raises ConfigError and ProviderError."""
    from ops.github.issues import TrustedAuthors, list_open_incidents

    now = system_clock.current_time(environ)
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        trusted = TrustedAuthors(repository)
        reads = [partial(_describe, issue, trusted, now) for issue in list_open_incidents(repository)]
        incidents = run_parallel(reads)
    return Overview(now, redactor.redact_value(tuple(incidents)))


def _describe(issue: "Issue", trusted: "TrustedAuthors", now: datetime) -> OpenIncident:
    from ops.github.issues import records_of

    form = parse_form(issue.body, now=now)
    labels = [label.name for label in issue.labels]
    runs = [found for found in records_of(issue, trusted) if found.is_run]
    last = runs[-1] if runs else None
    return OpenIncident(
        number=issue.number,
        title=issue.title,
        service=form.service,
        severity=next((name for name in labels if re.fullmatch("sev[0-9]", name, re.ASCII)), form.severity),
        opened_at=issue.created_at.astimezone(UTC),
        decision=last.record.decision if last else "",
        last_run=last.record.runbook if last else "",
        last_result=last.record.headline if last else "",
        url=issue.html_url,
    )


def overview_lines(overview: Overview) -> Iterator[str]:
    """Yield two lines per incident, the second with its URL."""
    for each in overview.incidents:
        age = format_duration(max(0.0, (overview.read_at - each.opened_at).total_seconds()))
        ended = each.decision.replace("_", " ") or "has no result yet"
        run = each.last_result or (f"{each.last_run} {ended}" if each.last_run else "no run")
        service, severity = each.service or UNKNOWN, each.severity or UNKNOWN
        yield to_one_line(f"#{each.number}  {severity}  {service}  {age} old  {run}  {each.title}")
        yield f"  {each.url}"
    if not overview.incidents:
        yield "No incident is open."
