"""Watch that closed services stay closed: their routes and addresses, or their switch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.app import registry
from ops.app.session import Session
from ops.core.due_notice import DueNotice
from ops.core.errors import EXIT_CODES, Decision, OpsError, Reason
from ops.core.names import CLOSING_RUNBOOK
from ops.core.next_step import build_command
from ops.core.runtime_contract import MAINTENANCE_SWITCH, SWITCH_KEY_PREFIX
from ops.core.verdict import Verdict
from ops.github import actions
from ops.maintenance.drift import ClosureLook, advise_closing_again, find_ignored_switch, look_at_routes
from ops.publish.chat_services import ChatMessage, PagingAction
from ops.publish.incident_chat import post_message
from ops.switches.values import find_switch_rules, parse_switch_state
from ops.watch.judgment import ErrorRates, WatchResult, judge_watch
from ops.watch.record import find_watched_incident, opening_record, post_opening
from ops.watch.state import INTERVAL, WatchState
from ops.watch.watch import Rounds, Watch

if TYPE_CHECKING:
    from ops.config import Config, Service
    from ops.core.redaction import Redactor

SECOND_LOOK = 20.0
"""Seconds until an opening is looked at again: a run that reopens opens the routes before it stores that."""
OPEN, UNKNOWN = EXIT_CODES[Decision.RELAPSED], EXIT_CODES[Decision.NO_EVIDENCE]


def look_at_closures(session: Session, services: "Iterable[Service]") -> Mapping[str, ClosureLook]:
    """Compare the stored closures of services with what is live, and return those of closed services.

    Raises OpsError if they cannot be read.
    """
    at_the_edge, looks = dict[str, str](), dict[str, ClosureLook]()
    for each in services:
        if each.maintenance != "switch":
            at_the_edge |= {each.name: each.host} if each.url else {}
        elif look := _look_at_switch(session, each):
            looks[each.name] = look
    if at_the_edge:
        looks |= look_at_routes(
            session.cloudflare.workers, session.cloudflare.routes, session.web.check_maintenance, at_the_edge
        )
    return looks


def _look_at_switch(session: Session, service: "Service") -> ClosureLook | None:
    """Return None if the switch is not set."""
    runtime, now = session.environment.require_runtime(), session.clock.now()
    key = f"{SWITCH_KEY_PREFIX}{MAINTENANCE_SWITCH}"
    text = session.cloudflare.kv.read_values(runtime.namespace, [key])[key]
    switch = parse_switch_state(MAINTENANCE_SWITCH, find_switch_rules(runtime, MAINTENANCE_SWITCH), text)
    if switch.value is None or not switch.is_on(now):
        return None
    shown = session.web.fetch_runtime_state(service.url)
    reported = None if isinstance(shown, str) else shown.switches.get(MAINTENANCE_SWITCH)
    opening = find_ignored_switch(service.name, switch, reported, timedelta(seconds=runtime.settle), now)
    missing = shown if isinstance(shown, str) else f"{service.name} does not show {MAINTENANCE_SWITCH}"
    unread = switch.describe_disagreement(reported, now) if reported else missing
    openings = (opening,) if opening else ()
    return ClosureLook(openings=openings, run=switch.value.revision, unread=unread)


class ClosureWatch(Watch):
    """One runner that watches one closed service. It ends with the first opening, and when it is reopened."""

    def rounds(self, duration: timedelta) -> Rounds:
        """Watch until an opening, the reopening, or the end of a new or continued watch. Raises ProviderError."""
        state = self._begin_watch(duration)
        while (number := (yield from self._next_round(state))) is not None:
            looked, verdict = self._look_twice()
            before, state = len(state.rounds), state.with_round(number, verdict)
            if self._must_read(state, number, before) and self._is_taken_over(state):
                return self._closure_result(state, looked, Decision.NOTHING_TO_DO, Reason.CONTINUED_ELSEWHERE)
            if looked.openings or not looked.is_stored:
                return self._end_closure(state, looked)
            result = self._closure_result(state, looked)
            self._save_watch(result)
            self._on_round(result)
        return self._end_closure(state.at_end(), self._look_at_end(state))

    def _after_run(self, new: WatchState) -> WatchState:
        """Return the state: what matters is whether the service is closed."""
        return new

    def _new_state(self, owner: str, now: datetime, until: datetime) -> WatchState:
        return WatchState(owner, now, until, is_closed=True)

    def _read_deployments(self, state: WatchState) -> WatchState:
        """Return the state: a deployment matters only if it opens the service."""
        return state

    def _look_twice(self) -> tuple[ClosureLook, Verdict]:
        """Look, and at an opening once more."""
        looked = self._look_at_closure()
        if looked.openings:
            self._clock.sleep(SECOND_LOOK)
            looked = self._look_at_closure()
        if looked.openings:
            return looked, Verdict.UNHEALTHY
        return looked, Verdict.INCONCLUSIVE if looked.unread else Verdict.HEALTHY

    def _look_at_end(self, state: WatchState) -> ClosureLook:
        """Look once more: a machine that slept looked long ago. One look alone confirms nothing."""
        looked, now = self._look_twice()[0], self._clock.now()
        seen = (at for at, verdict in state.probe_rounds() if verdict == Verdict.HEALTHY)
        if looked.unread or any(now - at >= INTERVAL for at in seen):
            return looked
        return replace(looked, unread="it was seen closed only once")

    def _look_at_closure(self) -> ClosureLook:
        try:
            looks = look_at_closures(self._session, [self._service])
        except OpsError as error:
            return ClosureLook(unread=error.message)
        return looks.get(self._service.name, ClosureLook(is_stored=False))

    def _closure_result(
        self, state: WatchState, looked: ClosureLook, decision: Decision | None = None, reason: Reason | None = None
    ) -> WatchResult:
        judgment = judge_watch(state, self._live, ErrorRates())
        return replace(
            self._build_watch_result(state, judgment, decision, reason), look=self._redactor.redact_value(looked)
        )

    def _end_closure(self, state: WatchState, looked: ClosureLook) -> WatchResult:
        """Decide, and publish the end. An opening is reported on the incident and in the chat."""
        if looked.openings:
            decision, reason = Decision.RELAPSED, Reason.OPEN_ALTHOUGH_CLOSED
        elif not looked.is_stored:
            decision, reason = Decision.NOTHING_TO_DO, Reason.NOT_OFF
        elif looked.unread:
            decision, reason = Decision.NO_EVIDENCE, Reason.NO_EVIDENCE
        else:
            decision, reason = Decision.NOTHING_TO_DO, Reason.ALREADY_OFF
        if self._is_taken_over(state):
            return self._closure_result(state, looked, Decision.NOTHING_TO_DO, Reason.CONTINUED_ELSEWHERE)
        result = self._closure_result(state, looked, decision, reason)
        is_published = self._send_patiently(lambda: self._save_watch(result))
        if looked.openings:
            is_published = self._report_opening(result, looked) and is_published
        self._on_round(result)
        return replace(self._closure_result(state, looked, decision, reason), is_published=is_published)

    def _report_opening(self, result: WatchResult, looked: ClosureLook) -> bool:
        """Report the opening, and return whether the incidents show it."""
        job = self._record.job if self._record else ""
        opening = opening_record(result.environment, result.service, looked, self._clock.now(), job)
        text, news = self._notice(result), list[bool]()
        incidents = sorted({number for each in looked.openings for number in each.incidents})

        def send() -> None:
            if self._record:
                news.append(self._record.report_opening(text, opening, incidents))

        is_published = self._send_patiently(send)
        if not news or any(news):
            self._chat(result)
        return is_published


@dataclass(frozen=True)
class ScheduledLook:
    session: Session
    config: "Config"
    environ: Mapping[str, str]
    redactor: "Redactor"

    def find_notices(self, services: "Sequence[Service]") -> Iterator[DueNotice]:
        """Yield a notice for each closed service that is open, or whose state is unknown."""
        try:
            looks = look_at_closures(self.session, services)
            if any(each.openings for each in looks.values()):
                self.session.clock.sleep(SECOND_LOOK)
                looks = look_at_closures(self.session, services)
        except OpsError as error:
            yield DueNotice(f"unknown whether closed services are closed: {error.message}", UNKNOWN)
            return
        for name, look in looks.items():
            where = f"{name} in {self.session.environment.name}"
            if look.openings:
                text = f"{where} is OPEN although closed: {'; '.join(each.text for each in look.openings)}"
                yield DueNotice(text, OPEN, partial(self._publish_opening, name, look, text))
            elif look.unread:
                yield DueNotice(f"unknown whether {where} is closed: {look.unread}", UNKNOWN)

    def _publish_opening(self, service: str, look: ClosureLook, text: str) -> str:
        """Report the opening on its incident, once, and in chat. Return a line about it."""
        shown = self.redactor.redact_text(f"{text}. {self._advise_closing(look)}")
        record = opening_record(
            self.session.environment.name, service, look, self.session.clock.now(), actions.job_number(self.environ)
        )
        numbers = sorted({number for each in look.openings for number in each.incidents})
        lines = dict[int, str]()
        for number in numbers:
            try:
                issue = find_watched_incident(self.environ, self.redactor, number)
                is_new = post_opening(issue, f"### ⚠️ {shown}", record, registry.record_rules(self.config))
                lines[number] = f"reported on #{number}" if is_new else f"reported before on #{number}"
            except OpsError as error:
                lines[number] = f"not reported on #{number}: {error.message}"
        if not numbers or any(not line.startswith("reported before") for line in lines.values()):
            message = ChatMessage(shown, "open although closed", PagingAction.TRIGGER)
            post_message(self.environ, self.config.notify, self.redactor, message, next(iter(numbers), None))
        nobody = f"{service} was closed without an incident, so only the chat can show it"
        return "; ".join(lines.values()) or nobody

    def _advise_closing(self, look: ClosureLook) -> str:
        def closing_command(options: Mapping[str, Any]) -> str:
            where = {"environment": self.session.environment.name}
            return build_command(self.config.github.laptop_program, CLOSING_RUNBOOK, {**options, **where})

        return advise_closing_again(look.openings[0], look.windows, self.session.clock.now(), closing_command)
