"""Lines of `ops status`, `ops versions` and `ops check-outage`, and of leftovers."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from ops.cloudflare.schema_mark import without_schema_marks
from ops.cloudflare.types.workers import describe_split
from ops.core.clock import format_duration, format_planned_end, format_utc, parse_utc
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.suggestions import quote_name
from ops.render.terminal import to_one_line
from ops.status.edge import AT_THE_EDGE
from ops.status.status import EnvironmentStatus, LiveService
from ops.status.unread import UnreadSource
from ops.status.versions import LIVE, TARGET, Candidate, ServiceVersions
from ops.switches.values import describe_switch

if TYPE_CHECKING:
    from ops.core.outage import OutageFinding
    from ops.status.outage import OutageReport

NOTHING = "none"
MAX_TEXT = 60
"""Characters that are shown of a message or author."""


def status_lines(status: EnvironmentStatus) -> Iterator[str]:
    """Yield the sections. One says `none` only if all of it was read."""
    yield f"{status.environment}, read at {format_utc(status.read_at)}"
    at_the_edge = (*opening_lines(status), *maintenance_lines(status), *orphan_lines(status))
    in_kv = NOTHING if status.has_runtime else f"{NOTHING}: ops.yml has no `runtime`"
    for title, found, nothing, *sections in (
        ("live", _live_lines(status), NOTHING, "services"),
        ("active switches", switch_lines(status), in_kv, "switches"),
        ("temporary limits", limit_lines(status), in_kv, "limits"),
        ("maintenance at the edge", at_the_edge, NOTHING, *AT_THE_EDGE),
    ):
        yield f"  {title}"
        unknown = [_unknown_line(each, status) for each in status.unread_in(*sections)]
        for line in [*found, *unknown] or [nothing]:
            yield f"    {to_one_line(line)}"
    if status.has_read:
        yield "  Read from Cloudflare's API. Other locations may use previous KV values for a minute."


def _live_lines(status: EnvironmentStatus) -> Iterator[str]:
    for each in status.live:
        yield f"{each.service}: {_describe_live(each, status)}"
        if each.warning:
            yield f"  ! {each.warning}"
        yield from (f"  compared with the deployment URL, {line}" for line in each.compared)


def _unknown_line(each: UnreadSource, status: EnvironmentStatus) -> str:
    """Return one line. If nothing was read, the hint is that of the error, once."""
    return f"! unknown, {each if status.has_read else f'{each.name}: {each.message}'}"


def outage_lines(report: "OutageReport") -> Iterator[str]:
    """Yield the verdict, each sign and the next step."""
    found = report.finding
    yield f"{report.place}, read at {format_utc(report.read_at)}: {found.verdict.value}"
    for title, signs in _outage_signs(found):
        yield from (f"  {title:<6}  {to_one_line(sign)}" for sign in signs)
    yield f"  {report.next_step}"
    yield from (f"  call    {to_one_line(str(each))}" for each in report.contacts)


def _outage_signs(found: "OutageFinding") -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from (("theirs", found.theirs), ("ours", found.ours), ("github", found.github), ("note", found.notes))


def version_lines(found: ServiceVersions, *, most: int) -> Iterator[str]:
    """Yield the newest `most` versions, and further ones only if they are live or the target."""
    yield f"{found.service} in {found.environment}, read at {format_utc(found.read_at)}"
    matters = [each for at, each in enumerate(found.candidates) if at < most or each.verdict in {LIVE, TARGET}]
    for each in matters:
        yield f"  {each.verdict:<8}  {to_one_line(_describe_candidate(each, found.read_at))}"
        yield from (f"            {to_one_line(line)}" for line in (each.why, *each.schema))
    if hidden := len(found.candidates) - len(matters):
        yield f"  {hidden} more are not shown (--all shows them)"
    for note in found.notes:
        yield f"  {to_one_line(note)}"
    has_target = any(each.verdict == TARGET for each in found.candidates)
    yield f"  To roll back: {found.command}" if has_target else f"  To choose one: {found.command} --to ID"


def _describe_candidate(each: Candidate, now: datetime) -> str:
    parts = (
        each.id[:8],
        f"{each.percent:g} %" if each.percent else "",
        f"{format_duration((now - each.created_on).total_seconds())} old" if each.created_on else "",
        f"by {each.author[:MAX_TEXT]}" if each.author else "",
        f"from {each.commit[:12]}" if each.commit else "",
        f'"{each.message.partition(chr(10))[0][:MAX_TEXT]}"' if each.message else "",
    )
    return "  ".join(filter(None, parts))


def switch_lines(status: EnvironmentStatus) -> Iterator[str]:
    for each in status.switches:
        assert each.value is not None
        yield f"{each.name}: {describe_switch(each.value, status.read_at)}"


def limit_lines(status: EnvironmentStatus) -> Iterator[str]:
    for each in status.limits:
        yield f"{quote_name(each.name)}: {each.limit} in {each.period} s, until {format_utc(each.until)}"


def maintenance_lines(status: EnvironmentStatus) -> Iterator[str]:
    for block in status.windows:
        where = f" for incident {block.named_incidents}" if block.incidents else ""
        until = f", {format_planned_end(parse_utc(block.until), status.read_at)}" if block.until else ""
        until += f", until run {quote_name(block.reopened_by)} ends" if block.reopened_by else ""
        yield f"{block.scope}, since {format_utc(parse_utc(block.since))}{where}{until}"


def opening_lines(status: EnvironmentStatus) -> Iterator[str]:
    for each in status.openings:
        yield f"! {each}"


def orphan_lines(status: EnvironmentStatus) -> Iterator[str]:
    for each in status.orphans:
        yield (
            f"route {each.pattern[:100]} leads to {WORKER}, which does not store it: two runs at once left it. "
            f"To reopen it: `{each.command}`, with `--incident NUMBER` if an incident closed it"
        )


def leftover_lines(status: EnvironmentStatus) -> Iterator[str]:
    """Yield one line per leftover, with its environment; unknown sources come last."""
    where = f"in {status.environment}"
    for each in status.live:
        if each.warning:
            yield f"{each.service} {where}: {each.warning}"
    for line in switch_lines(status):
        yield f"switch {line}, {where}"
    for line in limit_lines(status):
        yield f"temporary limit (any incident): {line}, {where}"
    yield from map(str, status.openings)
    for line in maintenance_lines(status):
        yield f"maintenance: {line}, {where}"
    for line in orphan_lines(status):
        yield f"maintenance: {line}"
    for lack in status.unread:
        yield f"unknown {where}: {lack}"


def _describe_live(each: LiveService, status: EnvironmentStatus) -> str:
    if not each.split or each.since is None:
        return "never deployed"
    what = describe_split(each.split) if each.kind == "worker" else f"deployment {each.split[0][0][:8]}"
    age = format_duration(max(0.0, (status.read_at - each.since).total_seconds()))
    by = f", by {quote_name(each.by)}" if each.by else ""
    text = without_schema_marks(each.message)
    message = f" ({text[:100]})" if text else ""
    canonical = " (canonical)" if each.kind == "pages" else ""
    return f"{what}{canonical}, since {format_utc(each.since)} ({age} ago){by}{message}"
