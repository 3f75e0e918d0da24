"""Facts of one incident for statistics, which its report holds hidden."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from ops.core.clock import format_rfc3339, parse_utc
from ops.core.errors import Decision
from ops.core.run_record import escape_hidden
from ops.core.service_fold import find_acknowledgment_moment, find_detection_moment, find_request_moment
from ops.core.timeline import EventKind
from ops.report.evidence import IncidentEvidence

FACTS_VERSION = 1
MAX_CAUSES, MAX_CAUSE = 5, 160
"""Causes that are kept, and characters of each."""
_BLOCK = re.compile(r"<!-- backout:facts (\{[^<>&@]*\}) -->")
_CAUSE = re.compile(r"root cause\s*(?::|by\b)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class IncidentFacts:
    """Moments and marks of an incident. A moment is None if it is unknown."""

    read_at: datetime
    """When the records were read, in whole seconds."""
    closed_at: datetime | None
    started: datetime | None
    detected: datetime | None
    acknowledged: datetime | None
    requested: datetime | None
    """Request of the run that recovered the last service; like the next two None if a person or a provider did."""
    written: datetime | None
    proved: datetime | None
    restored: datetime | None
    """Since when all affected services work."""
    is_reopened: bool = False
    is_relapsed: bool = False
    causes: tuple[str, ...] = ()
    """Untrusted text."""
    removed: tuple[tuple[str, str, str], ...] = ()
    """Environment, service, and version or deployment that a run took out of service."""

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in (field.name for field in fields(self))}
        times = {name: format_rfc3339(value) for name, value in values.items() if isinstance(value, datetime)}
        return {"v": FACTS_VERSION, **values, **times}


def find_facts(evidence: IncidentEvidence) -> IncidentFacts:
    """Return the facts. Only records that count have a part in them."""
    state, main = evidence.state, evidence.main_run
    restored = state.mitigated.at
    recovered = {each.recovered_by for each in state.services if each.recovered_by and each.healthy_since == restored}
    decisive = main if main and restored and main.record.run in recovered else None
    notes = (text for _, text, _ in evidence.find_notes("root cause"))
    causes = (_CAUSE.sub("", text, count=1).strip()[:MAX_CAUSE] for text in notes)
    return IncidentFacts(
        read_at=evidence.read_at.replace(microsecond=0),
        closed_at=evidence.closed_at,
        started=evidence.start.at,
        detected=find_detection_moment(evidence).at,
        acknowledged=find_acknowledgment_moment(evidence).at,
        requested=find_request_moment(decisive, evidence.actions).at if decisive else None,
        written=decisive.first_event_at(EventKind.WRITTEN) if decisive else None,
        proved=decisive.first_event_at(EventKind.VERIFIED) if decisive else None,
        restored=restored,
        is_reopened=len(state.periods) > 1,
        is_relapsed=any(each.relapsed.at for each in state.services),
        causes=tuple(dict.fromkeys(filter(None, causes)))[:MAX_CAUSES],
        removed=tuple(_list_removed(evidence)),
    )


def _list_removed(evidence: IncidentEvidence) -> "list[tuple[str, str, str]]":
    """Return what the rollbacks that recovered took out of service."""
    runs = (one.record for one in evidence.our_runs if one.record.decision == Decision.RECOVERED)
    removed = (
        (run.environment, run.service, before.partition(" ")[0])
        for run in runs
        if run.runbook.startswith(("rollback-", "redeploy-"))
        for _, before, _ in run.versions[:1]
    )
    return list(dict.fromkeys(removed))


def embed_incident_facts(facts: IncidentFacts) -> str:
    """Return the hidden text that `parse_incident_facts` reads."""
    return f"<!-- backout:facts {escape_hidden(json.dumps(facts.to_json(), separators=(',', ':')))} -->"


def parse_incident_facts(text: str) -> IncidentFacts | None:
    """Return the facts of a report's region; None if it has none, or none that this release can read."""
    match = _BLOCK.search(text)
    try:
        data = json.loads(match[1]) if match else {}
        return _parse_facts(data) if data.get("v") == FACTS_VERSION else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _parse_facts(data: Mapping[str, Any]) -> IncidentFacts:
    moments = ("closed_at", "started", "detected", "acknowledged", "requested", "written", "proved", "restored")
    return IncidentFacts(
        read_at=parse_utc(data["read_at"]).astimezone(UTC),
        **{name: parse_utc(data[name]).astimezone(UTC) if data[name] else None for name in moments},
        is_reopened=data["is_reopened"] is True,
        is_relapsed=data["is_relapsed"] is True,
        causes=tuple(str(each)[:MAX_CAUSE] for each in data["causes"][:MAX_CAUSES]),
        removed=tuple((str(a), str(b), str(c)) for a, b, c in data["removed"]),
    )
