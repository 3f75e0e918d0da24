"""The lines of `ops status`, for people; and of what is still on for an incident that was closed."""

from collections.abc import Iterator

from ops.cloudflare.types.workers import describe_split
from ops.core.clock import format_duration, format_utc, parse_utc
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.suggestions import quote_name
from ops.render.terminal import to_one_line
from ops.status.status import Live, Status
from ops.switches.values import describe_switch

NOTHING = "nothing"


def lines(status: Status) -> Iterator[str]:
    yield f"{status.environment}, as read at {format_utc(status.read_at)}"
    yield "  live"
    for each in status.live:
        yield f"    {each.service}: {to_one_line(_live(each, status))}"
        for line in each.compared:
            yield f"      compared with its own address, {to_one_line(line)}"
    for title, found in (
        ("switches that are on", switches(status)),
        ("temporary limits", limits(status)),
        ("off at the edge", (*off(status), *orphans(status))),
    ):
        yield f"  {title}"
        for line in list(found) or [NOTHING]:
            yield f"    {to_one_line(line)}"
    if status.unread:
        yield "  not known"
        for each_lack in status.unread:
            yield f"    ! {to_one_line(each_lack)}"
    yield "  This is what Cloudflare's API says: a location may go on for a minute with what KV held before."


def switches(status: Status) -> Iterator[str]:
    for each in status.switches:
        assert each.value is not None
        yield f"{each.name}: {describe_switch(each.value, status.read_at)}"


def limits(status: Status) -> Iterator[str]:
    for each in status.limits:
        yield f"{quote_name(each.name)}: {each.limit} in {each.period} s, until {format_utc(each.until)}"


def off(status: Status) -> Iterator[str]:
    for block in status.off:
        where = f" for incident #{block.incident}" if block.incident else ""
        until = f", planned end {format_utc(parse_utc(block.until))}" if block.until else ""
        yield f"{block.scope}, since {format_utc(parse_utc(block.since))}{where}{until}"


def orphans(status: Status) -> Iterator[str]:
    for each in status.orphans:
        service = each.service or "SERVICE"
        yield (
            f"the route {each.pattern[:100]} leads to {WORKER}, which does not store it: two runs at once left it. "
            f"To open it: maintenance, --state off --service {service} --environment {status.environment}"
        )


def still_on(status: Status) -> Iterator[str]:
    """One line for each, with its environment; the last ones say what is not known."""
    where = f"in {status.environment}"
    for line in switches(status):
        yield f"the switch {line}, {where}"
    for line in limits(status):
        yield f"a temporary limit, of whatever incident: {line}, {where}"
    for line in off(status):
        yield f"off at the edge: {line}, {where}"
    for line in orphans(status):
        yield f"off at the edge: {line}"
    for line in status.unread:
        yield f"not known {where}: {line}"


def _live(each: Live, status: Status) -> str:
    if not each.split or each.since is None:
        return "nothing was ever deployed"
    what = describe_split(each.split) if each.kind == "worker" else f"deployment {each.split[0][0][:8]}"
    age = format_duration(max(0.0, (status.read_at - each.since).total_seconds()))
    by = f", by {quote_name(each.by)}" if each.by else ""
    said = f" ({each.message[:100]})" if each.message else ""
    canonical = ", which Cloudflare calls canonical" if each.kind == "pages" else ""
    return f"{what}{canonical}, since {format_utc(each.since)} ({age} ago){by}{said}"
