"""Report that a closed service is open: once on its incident, and in the chat."""

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING

from ops.core.run_record import RecordRow, RunRecord, embed_record
from ops.core.version import __version__
from ops.github.client import provider_errors
from ops.github.issues import TrustedAuthors, records_of, reopen_incident

if TYPE_CHECKING:
    from ops.github.issues import Issue
    from ops.maintenance.live_closure import ClosureLook

OPENING = "opening"
"""Source of the record."""
RUNBOOK = "maintenance"


def opening_record(environment: str, service: str, look: "ClosureLook", now: datetime) -> RunRecord:
    """Return the record of an opening. The same ways into the same stored closure have the same name."""
    texts = [each.text for each in look.openings]
    name = hashlib.sha256(json.dumps([environment, service, look.run, sorted(texts)]).encode()).hexdigest()[:16]
    rows = (RecordRow(now, "warning", f"OPEN although closed: {'; '.join(texts)}"),)
    return RunRecord(
        f"{OPENING}-{name}",
        source=OPENING,
        runbook=RUNBOOK,
        environment=environment,
        service=service,
        rows=rows,
        program=__version__,
    )


def post_opening(issue: "Issue", text: str, opening: RunRecord) -> bool:
    """Post the text, unless this opening was posted before, and open the incident again if it is closed.

    Return whether it was posted. Raises ProviderError.
    """
    with provider_errors():
        known = {each.record.run for each in records_of(issue, TrustedAuthors(issue.repository))}
    if opening.run in known:
        return False
    reopen_incident(issue, embed_record(text, opening))
    return True
