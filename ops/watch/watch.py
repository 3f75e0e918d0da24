"""Run a watch: probe, read deployments and error rates, save the state, and decide.

Calls of an API in a minute, in steady state: one query of the analytics, two edits of the comment, and in turn the
deployments or the comment: four.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ops.app.session import Session
from ops.cloudflare import records
from ops.cloudflare.types.workers import describe_split, short_id
from ops.core.clock import Period, format_utc
from ops.core.errors import ConfigError, Decision, ProviderError, Reason
from ops.core.names import join_names
from ops.core.redaction import Redactor
from ops.core.threads import run_in_batches
from ops.core.verdict import ProbeObservation, Verdict
from ops.watch.judgment import FAILURES, ErrorRates, LiveVersions, WatchJudgment, WatchResult, judge_watch
from ops.watch.record import WatchRecord
from ops.watch.second_source import PAUSE, QUERY_TIMEOUT, WITHIN, SecondSource
from ops.watch.state import LONGEST, NewerDeployment, WatchState, new_watch_owner
from ops.watch.text import build_watch_record

if TYPE_CHECKING:
    from ops.cloudflare.types.pages import PagesDeployment
    from ops.cloudflare.types.workers import WorkerDeployment
    from ops.config import Service
    from ops.core.clock import Clock

PAUSES = (0.0, 5.0, 25.0)
"""Seconds before each try to publish the end."""
CHAT_DECISIONS = {*FAILURES, Decision.MITIGATED}
"""Ends of a watch that change the state of the incident."""
MAX_ROUNDS = 8
"""Rounds of several services that run at the same time."""
R = TypeVar("R")
Rounds = Generator[datetime, None, WatchResult]
"""Yields the time of each next round, until which its caller waits, and returns the result."""
NO_RATES = "Cloudflare has none for a site"


class WatchObserver:
    """One runner that observes one service: what its rounds saw, the error rates, and what it cannot read."""

    def __init__(self, session: Session, service: "Service", redactor: Redactor) -> None:
        self._session, self._service = session, service
        self._redactor, self._clock = redactor, session.clock
        self._rates = ErrorRates()
        self._problem, self._last_bad = "", ""
        self._places: set[str] = set()

    def _note_round(self, seen: ProbeObservation, at: datetime) -> None:
        """Keep from where the probes saw the service, and what was not healthy."""
        self._places |= {*seen.places}
        self._last_bad = _describe_bad_round(seen, at) or self._last_bad

    def _read_rates(self, state: WatchState) -> None:
        """Read the requests to the Worker since the start of the state. Never raises."""
        if not self._service.worker:
            self._rates = ErrorRates(problem=NO_RATES)
            return
        session, now = self._session, self._clock.now()
        period = Period(state.started_at, max(now, state.started_at + timedelta(seconds=1)))
        try:
            traffic = records.read_worker_traffic(
                session.client, session.account_id, self._service.worker, period, now=now, timeout=QUERY_TIMEOUT
            )
        except (ProviderError, ConfigError) as error:
            self._rates = ErrorRates(problem=error.message)
        else:
            self._rates = ErrorRates(traffic)

    def _list_notes(self) -> tuple[str, ...]:
        """Return from where the service was seen, its last bad round, and why deployments are unknown."""
        seen_from = f"seen from {join_names(sorted(self._places))} by this runner" if self._places else ""
        return tuple(filter(None, (seen_from, self._last_bad, self._problem)))


class Watch(WatchObserver):
    """One runner that watches one service."""

    def __init__(
        self,
        session: Session,
        service: "Service",
        probe: Callable[[], ProbeObservation],
        record: WatchRecord | None,
        *,
        redactor: Redactor,
        text: Callable[[WatchResult], str],
        notice: Callable[[WatchResult], str],
        on_round: Callable[[WatchResult], object],
        chat: Callable[[WatchResult], object] = lambda _: None,
        second_source: Callable[[WatchState], SecondSource] | None = None,
    ) -> None:
        """`probe` runs one round, `text` and `notice` render the comments, `on_round` gets each state.

        `chat` posts the end to the team's chat. `second_source` is for a relapse after which an automatic step may
        follow.
        """
        super().__init__(session, service, redactor)
        self._probe, self._record, self._text, self._notice = probe, record, text, notice
        self._on_round, self._chat, self._second_source = on_round, chat, second_source
        self._live = LiveVersions()

    def rounds(self, duration: timedelta) -> Rounds:
        """Watch until the end of a new watch, or of the one that is continued.

        Raises:
            ProviderError: the incident cannot be read.
        """
        state = self._begin_watch(duration)
        while True:
            ended = yield from self._watch_rounds(state)
            if isinstance(ended, WatchResult):
                return (yield from self._ask_second_source(ended))
            self._read_rates(ended)
            state = self._read_deployments(ended.at_end())
            judgment = self._judge_watched(state)
            longer = state.extended()
            if judgment.verdict != Verdict.INCONCLUSIVE or longer == state:
                return (yield from self._ask_second_source(self._end_watch(state, judgment)))
            state = longer

    def _watch_rounds(self, state: WatchState) -> Generator[datetime, None, WatchResult | WatchState]:
        """Watch to the end that the state names, and return the state then; the result of a watch that ended early."""
        while (number := (yield from self._next_round(state))) is not None:
            before, state = len(state.rounds), state.with_round(number, self._run_probes(state.time_of(number)))
            state = self._read_round(state, number)
            judgment = self._judge_watched(state)
            if self._must_read(state, number, before) and self._is_taken_over(state):
                return self._build_watch_result(state, judgment, Decision.NOTHING_TO_DO, Reason.CONTINUED_ELSEWHERE)
            if judgment.is_relapse:
                # Rates are not read again: a missing answer, or one about other versions, would hide the relapse.
                return self._end_watch(self._read_deployments(state), judgment)
            result = self._build_watch_result(state, judgment)
            self._save_watch(result)
            self._on_round(result)
        return state

    def _next_round(self, state: WatchState) -> Generator[datetime, None, int | None]:
        """Wait for the next round, and return its number; None at the end.

        A suspended machine wakes up late. If that is after the end, one more round makes the result as new as its time.
        """
        yield min(state.time_of(state.due_round(self._clock.now())), state.until)
        now = self._clock.now()
        number = state.due_round(now)
        is_late = state.seen_at < state.until < now - state.interval and state.fits(number)
        return number if is_late or state.time_of(number) < state.until else None

    def _must_read(self, state: WatchState, number: int, before: int) -> bool:
        """Return whether this runner reads its comment before it writes: in every fourth round, and after a gap.

        `before`: rounds until this one, without the gap.
        """
        is_late = self._clock.now() - state.time_of(number) > state.interval
        return number % 4 == 3 or number > before or is_late

    def _is_taken_over(self, state: WatchState) -> bool:
        return self._record is not None and self._record.is_taken_over(state, self._clock.now())

    def _begin_watch(self, duration: timedelta) -> WatchState:
        now = self._clock.now()
        recorded = self._record.find(now) if self._record else None
        owner = new_watch_owner(now)
        new = self._new_state(owner, now, now + duration)
        if recorded is None or self._record is None:
            return self._read_deployments(self._after_run(new))
        state = self._read_deployments(replace(recorded, owner=owner))
        # A later change of ours is a new recovery: its watch starts from the beginning, in the same comment. Rollbacks
        # of a site make no deployment.
        is_over = any(each.is_ours for each in state.newer) or self._record.has_change_since(recorded.started_at)
        return self._read_deployments(self._after_run(new)) if is_over else state

    def _after_run(self, new: WatchState) -> WatchState:
        """Return the state of a new watch, with what the run before it left. Raises ProviderError."""
        return replace(new, is_unhealthy=self._record is not None and self._record.is_still_unhealthy())

    def _new_state(self, owner: str, now: datetime, until: datetime) -> WatchState:
        return WatchState(owner, now, until, usual_failures=self._service.verify.usual_failures)

    def _run_probes(self, at: datetime) -> Verdict:
        seen = self._probe()
        self._note_round(seen, at)
        return seen.verdict

    def _judge_watched(self, state: WatchState) -> WatchJudgment:
        has_probes = bool(self._service.watched_probes)
        return judge_watch(state, self._live, self._rates, has_probes=has_probes)

    def _read_round(self, state: WatchState, number: int) -> WatchState:
        if number % 2 == 0:
            self._read_rates(state)
        return self._read_deployments(state) if number % 4 == 1 else state

    def _read_deployments(self, state: WatchState) -> WatchState:
        """Return the state with the deployments after the watched one; the first reading chooses the watched one."""
        try:
            if self._service.worker:
                deployments = [
                    each
                    for each in self._session.cloudflare.workers.list_deployments(self._service.worker)
                    if each.split
                ]
                self._live = _live_versions(deployments, state)
                rows = [
                    (each.id, each.created_on, partial(_describe_new_deployment, each), _has_our_mark(each))
                    for each in deployments
                ]
                watched = _find_recovery(deployments, state, self._record.incident) if self._record else ""
            else:
                sites = self._session.cloudflare.pages.list_deployments(self._service.pages)
                served = sorted((e for e in sites if e.can_serve_production), key=lambda e: e.created_on, reverse=True)
                rows = [(each.id, each.created_on, partial(_describe_site, each), False) for each in served]
                watched = ""
        except (ProviderError, ConfigError) as error:
            self._problem = f"the deployments cannot be read: {error.message}"
            return state
        self._problem = ""
        names = [name for name, *_ in rows]
        state = state if state.deployment or not rows else replace(state, deployment=watched or names[0])
        newer = rows[: names.index(state.deployment)] if state.deployment in names else []
        return state.with_newer(tuple(NewerDeployment(name, at, text(), own) for name, at, text, own in newer[::-1]))

    def _build_watch_result(
        self,
        state: WatchState,
        judgment: WatchJudgment,
        decision: Decision | None = None,
        reason: Reason | None = None,
    ) -> WatchResult:
        problem = self._record.problem if self._record else ""
        result: WatchResult = self._redactor.redact_value(
            WatchResult(
                service=self._service.name,
                environment=self._session.environment.name,
                kind=self._service.kind,
                state=state,
                judgment=judgment,
                rates=self._rates,
                live=self._live,
                notes=(*judgment.notes, *self._list_notes(), *filter(None, [problem])),
                decision=decision,
                reason=reason,
                ended_at=self._clock.now() if decision else None,
                url=self._record.url if self._record else "",
            )
        )
        return result

    def _end_watch(self, state: WatchState, judgment: WatchJudgment) -> WatchResult:
        """Decide, and publish the end. A relapse, or a service that is still unhealthy, opens the incident again."""
        decision, reason = {
            Verdict.UNHEALTHY: (Decision.RELAPSED, Reason.RELAPSED),
            Verdict.HEALTHY: (Decision.MITIGATED, Reason.VERIFIED),
            Verdict.INCONCLUSIVE: (Decision.NO_EVIDENCE, Reason.NO_EVIDENCE),
        }[judgment.verdict]
        if decision == Decision.RELAPSED and state.is_unhealthy:
            decision, reason = Decision.STILL_UNHEALTHY, Reason.STILL_UNHEALTHY
        if self._is_taken_over(state):
            return self._build_watch_result(state, judgment, Decision.NOTHING_TO_DO, Reason.CONTINUED_ELSEWHERE)
        others = self._find_others() if decision == Decision.MITIGATED else ()
        result = replace(self._build_watch_result(state, judgment, decision, reason), others=others)
        if decision in CHAT_DECISIONS:
            self._chat(result)
        sends = [partial(self._save_watch, result)]
        if decision in FAILURES and self._record:
            sends.append(partial(self._record.report_relapse, self._notice(result)))
        sent = [self._send_patiently(each) for each in sends]
        self._on_round(result)
        return replace(
            self._build_watch_result(state, judgment, decision, reason), others=others, is_published=all(sent)
        )

    def _find_others(self) -> tuple[str, ...]:
        """Return the other services of the incident that do not work."""
        others = self._record.find_failing_services(self._clock.now()) if self._record else ()
        return tuple(map(self._redactor.redact_text, others))

    def _ask_second_source(self, result: WatchResult) -> Rounds:
        """Wait until a second source shows the relapse of the probes, and note it on the incident.

        People were notified before. Error rates alone start no step, and are no second source of themselves.
        """
        is_seen = result.decision == Decision.RELAPSED and result.has_failing_probes
        if self._second_source is None or not is_seen or result.state.foreign:
            return result
        until, notes = self._clock.now() + WITHIN, result.notes
        while True:
            seen = self._second_source(result.state)
            is_over = seen.is_shown or self._clock.now() >= until
            result = replace(
                result,
                state=replace(result.state, second_source=seen.text if seen.is_shown else ""),
                notes=(*notes, _describe_source(seen, None if is_over else until)),
            )
            result = self._redactor.redact_value(result)
            if is_over:
                is_saved = self._send_patiently(partial(self._save_watch, result))
                return replace(result, is_published=result.is_published and is_saved)
            self._save_watch(result)
            yield self._clock.now() + PAUSE

    def _send_patiently(self, send: Callable[[], object]) -> bool:
        """Return whether it was sent. No later round repairs the end of a watch, so it is sent several times."""
        for pause in PAUSES if self._record else ():
            self._clock.sleep(pause)
            send()
            if self._record and not self._record.problem:
                return True
        return False

    def _save_watch(self, result: WatchResult) -> None:
        if self._record:
            self._record.save(self._text(result), build_watch_record(result), result.state)


def run_side_by_side(running: Sequence[Generator[datetime, None, R]], clock: "Clock") -> Iterator[tuple[int, R]]:
    """Run the rounds of several services side by side, and yield index and result of each at its end.

    Raises:
        ProviderError: the rounds of a service raise it.
    """
    results, due = dict[int, R](), dict.fromkeys(range(len(running)), clock.now())
    while due:
        moment = min(due.values())
        if (seconds := (moment - clock.now()).total_seconds()) > 0:
            clock.sleep(seconds)
        now = [number for number, at in due.items() if at <= max(moment, clock.now())]
        advances = [partial(_advance_rounds, running[each], results, each) for each in now]
        for number, following in zip(now, run_in_batches(advances, MAX_ROUNDS), strict=True):
            if following is None:
                del due[number]
                yield number, results[number]
            else:
                due[number] = following


def _advance_rounds(rounds: Generator[datetime, None, R], results: dict[int, R], number: int) -> datetime | None:
    """Return the time of the next round; None once the result is known."""
    try:
        return next(rounds)
    except StopIteration as end:
        results[number] = end.value
        return None


def _live_versions(deployments: "list[WorkerDeployment]", state: WatchState) -> LiveVersions:
    """Return the live versions, and facts about the watched deployment and the one that it replaced."""
    if not deployments:
        return LiveVersions()
    names = [each.id for each in deployments]
    place = names.index(state.deployment) if state.deployment in names else 0
    mark, before = deployments[place].mark, deployments[place + 1 : place + 2]
    is_rollback = mark is not None and mark.blames is not None
    return LiveVersions(deployments[0].serving_versions, before[0].created_on if before else None, is_rollback)


def _find_recovery(deployments: "list[WorkerDeployment]", state: WatchState, incident: int | None) -> str:
    """Return the ID of our newest recent deployment for the incident, which somebody may have replaced already.

    "" if there is none. One without an incident may have opened it.
    """
    marks = (
        (each, each.mark)
        for each in deployments
        if _has_our_mark(each) and state.started_at - each.created_on <= LONGEST
    )
    return next((each.id for each, mark in marks if mark and mark.incident in {None, incident}), "")


def _has_our_mark(deployment: "WorkerDeployment") -> bool:
    """Return whether it has our mark.

    A deployment of a rehearsal is listed only if it moved traffic: forged, or live by accident.
    """
    return deployment.mark is not None and not deployment.is_rehearsal


def _describe_bad_round(seen: ProbeObservation, at: datetime) -> str:
    """Return what was not healthy in the round; empty if nothing was, or nothing was probed."""
    if seen.verdict == Verdict.HEALTHY or seen.is_empty:
        return ""
    bad = tuple(each for each in seen.results if each.verdict != Verdict.HEALTHY)
    return f"last round that was not healthy, {at:%H:%M:%S} UTC: {replace(seen, results=bad).detail}"


def _describe_new_deployment(deployment: "WorkerDeployment") -> str:
    author = f" by {deployment.author}" if deployment.author else ""
    return f"{describe_split(deployment.split)}{author} at {format_utc(deployment.created_on)}"


def _describe_source(seen: SecondSource, until: datetime | None) -> str:
    """Return what the figures say; `until`: end of the wait for them; None once it is over."""
    if seen.is_shown:
        return f"a second source shows the relapse: {seen.text}"
    if until is None:
        return f"Cloudflare's figures do not show the relapse, so no automatic step follows: {seen.text}"
    waits = f"the watch waits for them until {until:%H:%M} UTC, because an automatic step needs them"
    return f"Cloudflare's figures do not show the relapse yet; {waits}: {seen.text}"


def _describe_site(deployment: "PagesDeployment") -> str:
    return f"{short_id(deployment.id)} at {format_utc(deployment.created_on)}"
