"""Lines of the state of an incident on a terminal."""

from collections.abc import Iterator

from ops.core.clock import format_utc
from ops.core.incident_state import IncidentState, describe_health

NOTHING = "none"


def incident_lines(state: IncidentState) -> Iterator[str]:
    """Yield the state in one sentence, then services, what is held, and what is unknown."""
    yield state.headline
    for each in state.services:
        since = each.healthy_since
        works = f", working since {format_utc(since)}" if since else ""
        yield f"  {each.name} {describe_health(each)}{works}"
    yield f"  lead: {state.lead.login or state.lead.source}"
    for item in state.held:
        by = f", held by {' and '.join(item.by)}" if item.by else ""
        until = f", until {format_utc(item.until)}" if item.until else ""
        yield f"  held: {item.what}{by}{until}"
    if not state.held:
        yield f"  held: {NOTHING}"
    yield from (f"  {line}" for line in state.rollback_lines)
    for fact in state.unknown:
        yield f"  unknown: {fact.what}: {fact.why}"
