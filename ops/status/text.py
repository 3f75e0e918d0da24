"""Lines of `ops status`, of an incident's state, and of the states that it leaves active."""

from collections.abc import Iterator

from ops.cloudflare.marks import without_schema_marks
from ops.cloudflare.types.workers import describe_split
from ops.core.clock import format_age, format_utc
from ops.core.drill_result import DrillTrend
from ops.core.incident_state import IncidentState, describe_health
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.names import quote_name
from ops.render import to_one_line
from ops.status.held_states import list_held_states
from ops.status.holds import SECTIONS
from ops.status.live import LiveService
from ops.status.open_incidents import KnownIncidents
from ops.status.status import AT_THE_EDGE, EnvironmentStatus

NOTHING = "none"
HELD = "held: closed services, switches, temporary limits, commits and migrations"
HELD_KINDS = {"maintenance": "maintenance: ", "switches": "switch ", "limits": "temporary limit (any incident): "}


def status_lines(
    status: EnvironmentStatus, incidents: KnownIncidents, drills: DrillTrend | None = None
) -> Iterator[str]:
    """Yield the sections. One says `none` only if all of it was read. `drills`: None without staging drills."""
    yield f"{status.environment}, read at {format_utc(status.read_at)}"
    live = [*_live_lines(status), *_unknown_lines(status, "services")]
    for title, lines in (("live", live), (HELD, [*held_lines(status)])):
        yield f"  {title}"
        yield from (f"    {to_one_line(line)}" for line in lines or [NOTHING])
    yield "  open incidents"
    yield from (f"    {line}" for line in incidents.lines())
    if drills:
        yield "  staging drills"
        yield from (f"    {to_one_line(line)}" for line in drills.lines())
    if status.has_read:
        yield "  Read from Cloudflare's API. Other locations may use previous KV values for a minute."


def held_lines(status: EnvironmentStatus) -> Iterator[str]:
    """Yield everything that is held, with its owners and its end, and what of it is unknown."""
    yield from opening_lines(status)
    yield from (each.describe(status.read_at) for each in list_held_states(status))
    yield from orphan_lines(status)
    yield from _unknown_lines(status, *SECTIONS, "switches", "limits", *AT_THE_EDGE)


def attention_lines(status: EnvironmentStatus) -> Iterator[str]:
    """Yield what differs from a usual release: accidents, rollbacks, unfinished guards, and what is unknown."""
    for each in status.live:
        yield from (f"{each.service}: {line}" for line in _live_notes(each, status))
    yield from _unknown_lines(status, "services")


def _live_lines(status: EnvironmentStatus) -> Iterator[str]:
    for each in status.live:
        yield f"{each.service}: {_describe_live(each, status)}"
        yield from (f"  {line}" for line in _live_notes(each, status))
        yield from (f"  compared with the deployment URL, {line}" for line in each.compared)


def _live_notes(each: LiveService, status: EnvironmentStatus) -> Iterator[str]:
    if each.warning:
        yield f"! {each.warning}"
    if each.guarded_until and each.guarded_until > status.read_at:
        yield f"no guard of this deployment has finished: its time ends at {each.guarded_until:%H:%M} UTC"
    if each.rollback:
        yield from (f"! {line}" for line in (str(each.rollback), *each.rollback.next_merge))


def _unknown_lines(status: EnvironmentStatus, *sections: str) -> Iterator[str]:
    """Yield why parts of the sections are unknown. If nothing was read, the hint is that of the error, once."""
    for each in status.unread_in(*sections):
        yield f"! unknown, {each if status.has_read else f'{each.name}: {each.message}'}"


def opening_lines(status: EnvironmentStatus) -> Iterator[str]:
    for each in status.openings:
        yield f"! {each}"


def orphan_lines(status: EnvironmentStatus) -> Iterator[str]:
    for each in status.orphans:
        yield (
            f"route {each.pattern[:100]} leads to {WORKER}, which does not store it: two runs at once left it. "
            f"To reopen it: `{each.command}`, with `--incident NUMBER` if an incident closed it"
        )


def warning_lines(status: EnvironmentStatus) -> Iterator[str]:
    """Yield what differs from what is stored: accidents, open ways into closed services, routes that nobody stores."""
    where = f"in {status.environment}"
    for each in status.live:
        if each.warning:
            yield f"{each.service} {where}: {each.warning}"
    yield from map(str, status.openings)
    for line in orphan_lines(status):
        yield f"maintenance: {line}"


def _describe_live(each: LiveService, status: EnvironmentStatus) -> str:
    if not each.split or each.since is None:
        return "never deployed"
    what = describe_split(each.split) if each.kind == "worker" else f"deployment {each.split[0][0][:8]}"
    by = f", by {quote_name(each.by)}" if each.by else ""
    text = without_schema_marks(each.message)
    message = f" ({text[:100]})" if text else ""
    canonical = " (canonical)" if each.kind == "pages" else ""
    return f"{what}{canonical}, since {format_utc(each.since)} ({format_age(status.read_at - each.since)}){by}{message}"


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
