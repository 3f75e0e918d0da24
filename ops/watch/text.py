"""Texts of a watch: comment on the incident, rows of its record, lines of the command."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from ops.cloudflare.types.workers import short_id
from ops.core.clock import format_duration, format_utc
from ops.core.errors import Decision, Reason, page_of
from ops.core.names import CLOSING_RUNBOOK
from ops.core.next_step import build_command
from ops.core.run import ICONS
from ops.core.run_record import ENDED_KIND, RecordRow, RunRecord
from ops.core.verdict import Verdict
from ops.maintenance.drift import ClosureLook, advise_closing_again
from ops.publish.chat import paging_action
from ops.publish.chat_services import ChatMessage
from ops.render import collapse_blank_lines, load_templates
from ops.watch.judgment import FAILURES, MINUTE, WatchResult, format_share, sum_since
from ops.watch.state import INTERVAL, WatchState

MAX_POINTS = 30
"""Most points of the chart, so that it fits on a phone."""


CLOSED_WORDS = {
    Verdict.HEALTHY: "closed",
    Verdict.UNHEALTHY: "open",
    Verdict.INCONCLUSIVE: "unknown",
    None: "nobody looked",
}
"""Verdict of a round of a closed service → its word."""


@dataclass(frozen=True)
class CommandNames:
    """Parts of commands in texts: the program with its other options, and the incident."""

    program: str = "ops"
    more: tuple[str, ...] = ()
    incident: int | None = None
    docs: str = ""
    """URL before `docs/`; empty if it is unknown."""

    def page(self, result: WatchResult) -> str:
        """Return the address of the page about the reason; empty before the end."""
        return f"{self.docs}{page_of(result.reason)}" if result.reason else ""

    def command(self, name: str, result: WatchResult, **more: Any) -> str:
        options = {"service": result.service, "environment": result.environment, "incident": self.incident, **more}
        return build_command(self.program, name, options, *self.more)

    def status(self, environment: str) -> str:
        return build_command(self.program, "status", {"environment": environment}, *self.more)


def next_step(result: WatchResult, names: CommandNames) -> str:
    """Return the sentence that says how to go on; a command in it is in backticks."""
    if result.look is not None:
        return _closure_step(result, result.look, names)
    rollback = f"`{names.command(f'rollback-{result.kind}', result)}`"
    has_failed = result.decision in FAILURES
    if has_failed and result.state.foreign:
        return f"Ask the author of the newer deployment first. Then roll back: {rollback}"
    if has_failed and result.live.is_rollback:
        rollback = f"`{names.command('rollback-worker', result, relapsed=short_id(result.state.deployment))}`"
    if has_failed:
        return f"Roll back to an older version: {rollback}"
    if result.decision == Decision.NO_EVIDENCE:
        return f"Look at the service, or watch it again: `{names.command('watch', result)}`"
    is_over = result.decision == Decision.MITIGATED and names.incident is not None
    if is_over and result.others:
        return f"Keep the incident open: {'; '.join(result.others)}."
    return "Close the incident when the cause is fixed." if is_over else ""


def _closure_step(result: WatchResult, look: ClosureLook, names: CommandNames) -> str:
    if result.decision == Decision.RELAPSED:

        def watch_command(options: Mapping[str, Any]) -> str:
            return names.command(CLOSING_RUNBOOK, result, **{key: value for key, value in options.items() if value})

        return advise_closing_again(look.openings[0], look.windows, result.state.seen_at, watch_command)
    if result.decision == Decision.NO_EVIDENCE:
        return f"Look yourself: `{names.status(result.environment)}`"
    if result.reason == Reason.ALREADY_OFF:
        return f"Nobody looks from now on. To look: `{names.status(result.environment)}`"
    return ""


def _closure_headline(result: WatchResult, look: ClosureLook) -> str:
    where = f"{result.service} in {result.environment}"
    if result.decision == Decision.RELAPSED:
        return f"{where} is OPEN although closed: {'; '.join(each.text for each in look.openings)}"
    if result.reason == Reason.CONTINUED_ELSEWHERE:
        return f"{where}: another runner continues this watch"
    if result.reason == Reason.NOT_OFF:
        return f"{where} is not closed: it was reopened, or never closed"
    if result.reason == Reason.ALREADY_OFF:
        return f"{where} is closed at the end of the watch"
    if result.decision:
        return f"{where}: unknown whether it is still closed"
    return f"{where} is closed; looking every minute until {result.state.until:%H:%M} UTC"


def watch_headline(result: WatchResult) -> str:
    if result.look is not None:
        return _closure_headline(result, result.look)
    where, since = f"{result.service} in {result.environment}", result.judgment.green_since
    if result.decision == Decision.RELAPSED:
        return f"{where} relapsed: {result.judgment.cause}"
    if result.decision == Decision.STILL_UNHEALTHY:
        was_healthy = Verdict.HEALTHY in {verdict for _, verdict in result.state.probe_rounds()}
        return f"{where} is {'unhealthy again' if was_healthy else 'still unhealthy'}: {result.judgment.cause}"
    if result.decision == Decision.MITIGATED and since:
        return f"{where} is mitigated: healthy since {since:%H:%M:%S} UTC"
    if result.decision == Decision.NOTHING_TO_DO:
        return f"{where}: another runner continues this watch"
    if result.decision:
        return f"{where}: the watch has no evidence that the service stays healthy"
    return f"{where}: watching until {result.state.until:%H:%M} UTC"


def watch_detail_lines(result: WatchResult) -> Iterator[str]:
    """Yield the rounds, error rates, newer deployments and missing data. Texts of deployments are untrusted."""
    if result.look is not None:
        yield f"Looks: {count_rounds(result.state)}"
        yield from (f"Unknown: {each}" for each in filter(None, [result.look.unread]))
        yield from (note[:1].upper() + note[1:] for note in result.notes)
        return
    has_probes = result.judgment.has_probes
    yield f"Probes: {count_rounds(result.state)}" if has_probes else "No probe: only Cloudflare's error rates decide"
    if result.rates.traffic:
        for version in result.live.versions:
            requests, errors = sum_since(result.rates.traffic, {version}, result.state.started_at)
            if requests:
                yield f"{version[:8]}: {requests:,} requests, {100 * errors / requests:.1f} % failed (estimate)"
    for rate in result.judgment.rates:
        good, bad = map(format_share, (rate.share.limits.good, rate.share.limits.bad))
        yield f"{rate.name}: {rate.share.verdict}; above {bad} failed is bad, below {good} is good"
    if result.state.is_extended:
        yield f"Extended once to {result.state.until:%H:%M} UTC, because the evidence was thin"
    yield from _describe_confidence(result)
    for each in result.state.newer:
        kind = "Deployment of Backout" if each.is_ours else "Foreign deployment, so no automatic step follows"
        yield f"{kind}: {each.text}"
    yield from (note[:1].upper() + note[1:] for note in result.notes)


def _describe_confidence(result: WatchResult) -> Iterator[str]:
    """Yield how often the word of an ended watch is wrong, at most; docs/explanation/watch.md has the tests."""
    if result.decision == Decision.RELAPSED:
        yield "How sure: a service that fails no more than it may is called relapsed in at most 1 % of the watches"
    elif result.decision == Decision.MITIGATED:
        yield "How sure: a service that fails more than it may is called mitigated in at most 5 % of the watches"
    elif result.decision == Decision.NO_EVIDENCE and result.judgment.probes.share.has_counts:
        unseen = format_share(result.judgment.probes.share.most_unseen)
        yield f"How sure: up to {unseen} of the rounds of probes may fail unseen"


def count_rounds(state: WatchState) -> str:
    """Return such as "58 healthy, 2 unhealthy, 1 not probed"."""
    verdicts = [verdict for _, verdict in state.probe_rounds()]
    words = CLOSED_WORDS if state.is_closed else {each: each.value for each in Verdict} | {None: "not probed"}
    counts = [(verdicts.count(each), word) for each, word in words.items()]
    return ", ".join(f"{count} {word}" for count, word in counts if count) or "no round yet"


def chat_notice(result: WatchResult, names: CommandNames) -> ChatMessage:
    """Return the chat message about an ended watch."""
    state = "open although closed" if result.look and result.look.openings else str(result.decision).replace("_", " ")
    text = f"{watch_headline(result)}. {next_step(result, names)}"
    return ChatMessage(text, state, paging_action(str(result.decision)))


def render_notice(result: WatchResult, names: CommandNames) -> str:
    """Return the text of a new comment, of which GitHub notifies people; it does so for no edit."""
    return _render_watch(result, names, details=(), chart=())


def render_watch_comment(result: WatchResult, names: CommandNames) -> str:
    """Return the comment that is edited after each round."""
    return _render_watch(result, names, details=tuple(watch_detail_lines(result)), chart=tuple(chart_lines(result)))


def _render_watch(result: WatchResult, names: CommandNames, *, details: tuple[str, ...], chart: tuple[str, ...]) -> str:
    template = load_templates().get_template("watch.md.j2")
    text = template.render(
        icon=ICONS[result.decision] if result.decision else "👀",
        headline=watch_headline(result),
        command="" if result.decision else names.command("watch", result, closed=result.state.is_closed),
        last_round=f"{result.state.seen_at:%H:%M:%S}",
        details=details,
        next_step=next_step(result, names),
        reason=result.reason or "",
        docs=names.page(result),
        chart=chart,
    )
    return collapse_blank_lines(text).strip()


def chart_lines(result: WatchResult) -> Iterator[str]:
    """Yield a Mermaid chart: bars of unhealthy probes, and a line of failed requests. Its only texts are times."""
    state, traffic = result.state, result.rates.traffic
    count = len(state.rounds)
    if count < 2 or state.is_closed:
        return
    step = max(MINUTE, ceil(count * INTERVAL / MAX_POINTS / MINUTE) * MINUTE)
    starts = [state.started_at + number * step for number in range(ceil(count * INTERVAL / step))]
    rounds = list(state.probe_rounds())
    bars = [
        _percent_of_rounds([v == Verdict.UNHEALTHY for at, v in rounds if start <= at < start + step])
        for start in starts
    ]
    rows = [row for row in traffic.minutes if row.version in result.live.versions] if traffic else []
    minutes = [start.replace(second=0, microsecond=0) for start in starts]
    sums = [[row for row in rows if start <= row.start < start + step] for start in minutes]
    line = [_percent_of_watch(sum(row.errors for row in each), sum(row.requests for row in each)) for each in sums]
    yield "xychart-beta"
    yield f'  title "Unhealthy probes{" (bars), failed requests (line)" if rows else ""}"'
    labels = ", ".join(f'"{start:%H:%M}"' for start in starts)
    yield f"  x-axis [{labels}]"
    yield '  y-axis "%" 0 --> 100'
    yield f"  bar [{', '.join(map(str, bars))}]"
    if rows:
        yield f"  line [{', '.join(map(str, line))}]"


def _percent_of_rounds(values: list[bool]) -> int:
    return _percent_of_watch(sum(values), len(values))


def _percent_of_watch(part: int, whole: int) -> int:
    return round(100 * min(part, whole) / whole) if whole else 0


def build_watch_record(result: WatchResult) -> RunRecord:
    """Return the rows of the incident's timeline, and the decision."""
    state = result.state
    subject = f"closed {result.service}" if state.is_closed else result.service
    about = f"watch of {subject} in {result.environment} until {state.until:%H:%M} UTC"
    rows = [RecordRow(state.started_at, "requested", about)]
    rows += [
        RecordRow(each.at, "warning", f"{'' if each.is_ours else 'foreign '}deployment {each.text}")
        for each in state.newer
    ]
    rows += [RecordRow(at, "warning", f"not probed for {length}") for at, length in _watch_gaps(state)]
    if result.decision and result.ended_at:
        if state.is_closed:
            kinds: dict[str | None, str] = {Reason.OPEN_ALTHOUGH_CLOSED: "failed", Reason.ALREADY_OFF: "verified"}
            rows.append(RecordRow(result.ended_at, kinds.get(result.reason, "warning"), watch_headline(result)))
        elif result.judgment.cause:
            rows.append(RecordRow(result.ended_at, "failed", result.judgment.cause))
        if (since := result.judgment.green_since) and result.decision == Decision.MITIGATED:
            rows.append(RecordRow(since, "verified", "healthy from this time to the end of the watch"))
        rows.append(RecordRow(result.ended_at, ENDED_KIND, result.decision))
    record = RunRecord(f"watch-{state.owner}", rows=tuple(rows))
    return replace(record, decision=result.decision or "", reason=result.reason or "")


def _watch_gaps(state: WatchState) -> Iterator[tuple[datetime, str]]:
    """Yield start and length of each time in which no runner watched."""
    length = timedelta(0)
    for at, verdict in (*state.probe_rounds(), (state.time_of(len(state.rounds)), Verdict.INCONCLUSIVE)):
        if verdict is None:
            length += state.interval
        elif length:
            yield at - length, format_duration(length.total_seconds())
            length = timedelta(0)


def watch_round_line(result: WatchResult, *, is_one: bool = True) -> str:
    """Return the line of the command for the latest round. `is_one`: no other service is watched."""
    _, verdict = list(result.state.probe_rounds())[-1]
    at = f"{format_utc(result.state.seen_at)}  {'' if is_one else f'{result.service}: '}"
    if result.look is not None:
        return f"{at}{CLOSED_WORDS[verdict]}"
    rates = ", ".join(f"{each.name} {each.share.verdict}" for each in result.judgment.rates)
    if not result.judgment.has_probes:
        return f"{at}{rates or 'no error rate yet'}"
    return f"{at}probes {verdict or 'not probed'}{f', {rates}' if rates else ''}"
