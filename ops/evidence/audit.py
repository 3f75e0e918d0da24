"""Export requests, approvals, plans, writes and results of runs as chained JSON lines.

It reads the records on the incidents, which only trusted authors can write. Each line has the SHA-256 of the line
before, and the last one their number, so that a line that was changed, added or taken away shows.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ops.core.clock import Period, current_time, format_rfc3339, parse_period
from ops.core.incident_state import IssueRecord
from ops.core.redaction import Redactor
from ops.core.timeline import EventKind
from ops.core.version import __version__
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.issues import get_incident, list_recent_incidents, trusted_records

if TYPE_CHECKING:
    from ops.core.run_record import RecordRow

SCHEMA = 1
KINDS: Mapping[str, str] = {
    EventKind.REQUESTED: "request",
    EventKind.AWAITING_APPROVAL: "request",
    EventKind.CONFIRMED: "request",
    EventKind.APPROVED: "approval",
    EventKind.PLANNED: "plan",
    EventKind.WRITING: "write",
    EventKind.WRITTEN: "write",
    EventKind.READ_BACK: "write",
    EventKind.FAILED: "result",
    EventKind.ENDED: "result",
}
"""Event of a record → kind of its line. Other events, such as probes, are in the comments that the lines name."""
Entry = Mapping[str, Any]


def read_audit(
    span: tuple[str, str], environ: Mapping[str, str], redactor: Redactor, *, incident: int | None, environment: str
) -> list[str]:
    """Return the JSON lines of a period, in the order of their times; `span` is since and until as typed.

    `incident` and `environment`: only those of one; None and "" for all. Writes nothing.

    Raises ConfigError and ProviderError.
    """
    now = current_time(environ)
    period = parse_period(*span, now)
    repository = connect(environ, redactor, read_only=True)
    with provider_errors(CHECK_HINT):
        issues = [get_incident(repository, incident)] if incident else list_recent_incidents(repository, period.since)
        numbers = sorted(issue.number for issue in issues)
        entries = [
            entry
            for number in numbers
            for recorded in trusted_records(repository, number)
            if environment in {"", recorded.record.environment}
            for entry in _audit_entries_of_record(number, recorded, period)
        ]
    entries.sort(key=lambda entry: entry["at"])
    begin = {
        "schema": SCHEMA,
        "kind": "begin",
        "repository": repository.full_name,
        "since": format_rfc3339(period.since),
        "until": format_rfc3339(period.until),
        "read_at": format_rfc3339(now),
        "only": {"incident": incident, "environment": environment},
        "incidents": numbers,
        "program": __version__,
    }
    return list(
        _chain_audit_entries([begin, *redactor.redact_value(entries), {"kind": "end", "entries": len(entries)}])
    )


def _audit_entries_of_record(number: int, recorded: IssueRecord, period: Period) -> Iterator[Entry]:
    record = recorded.record
    about = {
        "incident": number,
        "run": record.run,
        "source": record.source,
        "runbook": record.runbook,
        "environment": record.environment,
        "service": record.service,
        "recorded_by": recorded.author,
        "is_edited": recorded.is_edited,
        "url": recorded.url,
    }
    for row in record.rows:
        if row.kind in KINDS and period.contains(row.at):
            yield {"at": format_rfc3339(row.at), "kind": KINDS[row.kind], **about, **_audit_event(recorded, row)}


def _audit_event(recorded: IssueRecord, row: "RecordRow") -> Entry:
    event = {"event": row.kind, "text": row.text}
    if row.kind == EventKind.PLANNED:
        return event | {"changes": [list(each) for each in recorded.record.versions]}
    if row.kind == EventKind.ENDED:
        return event | {"decision": recorded.record.decision, "reason": recorded.record.reason}
    return event


def _chain_audit_entries(entries: Iterable[Entry]) -> Iterator[str]:
    previous = ""
    for entry in entries:
        line = json.dumps({**entry, "previous": previous})  # ASCII: no reader splits a line elsewhere
        yield line
        previous = hashlib.sha256(line.encode()).hexdigest()
