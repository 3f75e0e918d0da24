"""Lines of `ops status`, and of the states that an incident leaves active."""

from collections.abc import Iterator

from ops.cloudflare.marks import without_schema_marks
from ops.cloudflare.types.workers import describe_split
from ops.core.clock import format_duration, format_planned_end, format_utc, parse_utc
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.core.names import quote_name
from ops.core.owners import describe_owners
from ops.core.runtime_contract import MAINTENANCE_SWITCH
from ops.maintenance.reopening_duty import is_over
from ops.render import to_one_line
from ops.status.status import AT_THE_EDGE, EnvironmentStatus, LiveService, UnreadSource
from ops.switches.values import describe_switch

NOTHING = "none"


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


def switch_lines(status: EnvironmentStatus) -> Iterator[str]:
    for each in status.switches:
        assert each.value is not None
        owners, lasts = each.value.active_owners(status.read_at), ""
        is_of_run = bool(owners) and all(owner.ends_with_run for owner in owners)
        is_left = is_of_run and is_over(each.value.since, status.read_at)
        if status.switched_service and (is_left or (each.name == MAINTENANCE_SWITCH and not is_of_run)):
            (path,) = each.value.paths if len(each.value.paths) == 1 else ("",)
            opens = status.suggest_opening(status.switched_service, path, owners)
            to = "That run never turned it off; to" if is_left else "To"
            lasts = f". {to} open {status.switched_service}: `{opens}`"
        yield f"{each.name}: {describe_switch(each.value, status.read_at)}{lasts}"


def limit_lines(status: EnvironmentStatus) -> Iterator[str]:
    for each in status.limits:
        yield f"{quote_name(each.name)}: {each.limit} in {each.period} s, until {format_utc(each.until)}"


def maintenance_lines(status: EnvironmentStatus) -> Iterator[str]:
    for block in status.windows:
        where = f" for incident {block.named_incidents}" if block.incidents else ""
        owners = block.active_owners(status.read_at)
        if block.owners and owners:
            where = f", held by {describe_owners(owners)}"
        until = f", {format_planned_end(parse_utc(block.until), status.read_at)}" if block.until else ""
        if block.reopened_by and is_over(parse_utc(block.since), status.read_at):
            opens = status.suggest_opening(block.service, block.path, owners)
            until += f", closed by run {quote_name(block.reopened_by)}, which never reopened it; to open it: `{opens}`"
        elif block.reopened_by:
            until += f", until run {quote_name(block.reopened_by)} ends"
        else:
            until += f". To open it: `{status.suggest_opening(block.service, block.path, owners)}`"
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
