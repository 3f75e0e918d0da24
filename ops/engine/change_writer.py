"""Send a change of any runbook and settle it: write, at most twice, and read back.

Reading the live state settles an unclear write; nothing is sent again before that. Only this module permits writes.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ops.core.clock import format_duration, format_rounded_up, format_utc
from ops.core.errors import (
    Interrupted,
    NotApplied,
    OpsError,
    ProviderError,
    Reason,
    Refused,
    UnclearWrite,
    UnknownOutcome,
)
from ops.core.plan import LiveState, Progress, replaced_error
from ops.core.timeline import EventKind
from ops.engine.context import Context
from ops.engine.signals import SignalHandler
from ops.engine.step import ChangeState, ObservedState, ReadBackWords, Step

READ_BACK_PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds between reads until an answered write is visible; the list of deployments may lag."""
SETTLE_PAUSE = 1.0
"""Seconds to wait before reading after an unclear write, which may still be in progress."""
WAIT_PAUSE = 5.0
"""Seconds between reads after READ_BACK_PAUSES, while an answered write is not visible yet."""
WAITING = "waiting until "
"""Start of the event of a run that is silent for at most the period of the rate limit."""
LONGEST_RETRY_AFTER = 30.0
"""Longest Retry-After in seconds that a run waits for. A longer one ends the run."""


@dataclass
class SentChange:
    """One step from its write on, with the first unclear answer."""

    ctx: Context[Any]
    step: Step
    progress: Progress
    unclear: str = ""
    """Message of the first unclear answer; empty if there was none."""
    is_rehearsal: bool = False
    """Whether it changes no traffic: its steps are events of the rehearsal, and never count as the run's change."""
    patience: float = 0.0
    """Seconds to read back an answered write that is not visible yet. 0: only READ_BACK_PAUSES, or a probe decides."""
    is_accepted: bool = False
    """Whether the change is known to be accepted: by an answer, or by a state that shows it."""

    @property
    def words(self) -> ReadBackWords:
        return self.step.words

    def check(self) -> ObservedState:
        return self.step.check(self.ctx)

    def record(self, kind: EventKind, text: str, **data: Any) -> None:
        """Record a step of the change."""
        if self.is_rehearsal and kind != EventKind.WARNING:
            kind, text = EventKind.REHEARSED, f"{kind.value.replace('_', ' ')}: {text}"
        self.ctx.timeline.record(kind, text, **data)

    @property
    def known(self) -> str:
        """Return what the provider said to the write, for people."""
        return self.words.answered if self.is_accepted else f"the write may have been applied ({self.unclear})"

    @property
    def start_again_hint(self) -> str:
        """Return the advice for a state that could not be read."""
        return f"Start the same command again when the API answers: {self.words.repeat}"

    @property
    def doubt(self) -> str:
        return f"{LiveState.UNKNOWN.words}: {self.unclear}; then"

    def unknown(self, world: ObservedState) -> UnknownOutcome:
        """Return the error for an unclear write that the state neither shows nor excludes."""
        return UnknownOutcome(f"{self.doubt} {world.text}", reason=Reason.UNCLEAR, hint=self.start_again_hint)

    def note_applied(self, world: ObservedState) -> None:
        """Record that the state shows an unanswered write."""
        self.is_accepted = self.progress.is_answered = True
        self.record(EventKind.WRITTEN, f"applied after all: {world.text}")

    def is_ours(self, world: ObservedState) -> bool:
        """Return whether this run made the live change."""
        return bool(self.unclear) if world.made_by_run is None else world.made_by_run

    def overtaken(self, world: ObservedState) -> ProviderError:
        """Return the error for another live change, and record what happened to ours.

        Ours was made only if an answer, a former read or the provider's history shows it.
        """
        known = world.made_by_run if self.unclear else bool(world.made_by_run)
        made = self.is_accepted or known
        if made:
            self.progress.settle_change(self.step, self.progress.replaced)
            if not self.is_accepted:
                self.record(EventKind.WRITTEN, f"applied, then replaced: {world.text}")
        elif made is False:
            self.progress.drop_change(verified=True)
        return replaced_error(world.text, made=bool(made))


@dataclass(frozen=True)
class ChangeWriter:
    """Sends changes with write permission, and holds signals meanwhile."""

    writing: Callable[[], AbstractContextManager[None]]
    """Context manager that permits writes; entered around each write."""
    signals: SignalHandler

    def write(self, sent: SentChange) -> bool:
        """Send the write, and once more only if a read shows that the first one was not applied.

        Return False if another run or person made the same change.
        """
        record = sent.record
        for last in (False, True):
            record(EventKind.WRITING, f"{sent.step.target}: {sent.step.before} → {sent.step.after}")
            try:
                with self.signals.delay(), self.writing():
                    answer = sent.step.apply(sent.ctx)
                    sent.progress.is_answered = True
                    record(EventKind.WRITTEN, answer)
                    sent.is_accepted = True
            except Interrupted:
                raise
            except OpsError as error:
                if isinstance(error, UnclearWrite):
                    sent.unclear = sent.unclear or error.message
                elif not isinstance(error, NotApplied) and not sent.unclear:
                    sent.progress.drop_change(verified=isinstance(error, Refused))
                    if not isinstance(error, Refused) and not sent.is_rehearsal and self._is_as_planned(sent):
                        sent.progress.drop_change(verified=True)
                    raise
                record(EventKind.WARNING, error.message, reason=error.reason.value)
                self.signals.raise_pending()
                world = self._settle_unclear_write(sent, error, last=last)
                if world is not None:
                    return sent.is_ours(world)
            else:
                return True
        raise AssertionError("the last try is settled")

    def _is_as_planned(self, sent: SentChange) -> bool:
        """Read the state after a rejected write. Return whether it is the planned one; False if it is unreadable."""
        try:
            world = sent.check()
        except Interrupted:
            raise
        except OpsError:
            return False
        sent.record(EventKind.COMPARED, world.text, state=world.state.value)
        return world.state == ChangeState.PLANNED and not world.is_uncertain

    def _settle_unclear_write(self, sent: SentChange, error: OpsError, *, last: bool) -> ObservedState | None:
        """Return the state that settles an unclear or rejected write, or one that the probes must settle.

        Return None if the write may be sent once more. A rejected second attempt does not settle an unclear first one.
        """
        retry_after = error.retry_after if isinstance(error, NotApplied) else 0.0
        ends = last or retry_after > LONGEST_RETRY_AFTER or not isinstance(error, (NotApplied, UnclearWrite))
        sent.ctx.clock.sleep(max(SETTLE_PAUSE, retry_after) if retry_after <= LONGEST_RETRY_AFTER else SETTLE_PAUSE)
        try:
            world = self.look(sent, sent.doubt, patient=ends and bool(sent.unclear))
        except UnknownOutcome:
            if sent.unclear:
                raise
            raise _not_applied(sent, error, None, last=last) from None
        sent.record(EventKind.COMPARED, world.text, state=world.state.value)
        if world.is_uncertain and sent.unclear:
            raise sent.unknown(world)
        if world.is_uncertain:
            raise _not_applied(sent, error, None, last=last)
        if world.state == ChangeState.DONE:
            if sent.is_ours(world):
                sent.note_applied(world)
            return world
        if world.may_lag and sent.unclear and (ends or world.state == ChangeState.CHANGED_ELSEWHERE):
            return world
        if world.state == ChangeState.CHANGED_ELSEWHERE:
            raise sent.overtaken(world)
        if ends:
            raise _not_applied(sent, error, world, last=last)
        return None

    def look(self, sent: SentChange, doubt: str, *, patient: bool) -> ObservedState:
        """Read after a write until the state is settled; with `patient` also until our change is visible.

        It reads again after a malformed answer, and while the history lacks our unclear write, because it may lag.

        Raises:
            UnknownOutcome: the state cannot be read.
        """
        pauses = iter(READ_BACK_PAUSES)
        while True:
            world: ObservedState | None = None
            try:
                world = sent.check()
            except ProviderError as error:
                pause = next(pauses, None) if error.reason == Reason.MALFORMED_ANSWER else None
                if pause is None:
                    raise UnknownOutcome(
                        f"{doubt} {error.message}", reason=Reason.UNCLEAR, hint=sent.start_again_hint
                    ) from None
            else:
                waits = patient and world.state == ChangeState.PLANNED and not (world.may_lag and not sent.patience)
                lacks_ours = (
                    bool(sent.unclear) and world.state == ChangeState.CHANGED_ELSEWHERE and world.made_by_run is False
                )
                settled = not (world.is_uncertain or waits or lacks_ours)
                if settled or (pause := next(pauses, None)) is None:
                    return world
            sent.ctx.clock.sleep(pause)

    def read_back(self, sent: SentChange) -> ObservedState:
        """Return the state with our change live or uncertain, or a state that the probes must settle.

        Raises:
            UnknownOutcome: the change is not visible within `patience`, or the state cannot be read.
        """
        record, began = sent.record, sent.ctx.clock.monotonic()
        world: ObservedState | None = None
        failure = ""
        try:
            world = self.look(sent, f"{sent.words.answered}, but reading it back failed:", patient=True)
        except UnknownOutcome as error:
            if not (sent.patience and sent.is_accepted):
                raise
            failure = error.message
        if world is None or _may_still_appear(sent, world):
            world = self._wait_for_change(sent, world, began + sent.patience, failure)
        if world.is_uncertain and not sent.is_accepted:
            raise sent.unknown(world)
        if world.is_uncertain:
            record(EventKind.WARNING, f"not proved: {world.text}")
            return world
        if world.may_lag and not sent.patience and world.state != ChangeState.DONE:
            record(EventKind.COMPARED, f"the API may lag: {world.text}", state=world.state.value)
            return world
        if world.state == ChangeState.CHANGED_ELSEWHERE:
            raise sent.overtaken(world)
        if world.state == ChangeState.DONE:
            if not sent.is_accepted:
                sent.note_applied(world)
            record(EventKind.READ_BACK, world.text)
            for text in (
                *world.notes,
                *(f"happened between the plan and the write: {it}" for it in world.concurrent_changes),
            ):
                record(EventKind.WARNING, text)
            return world
        waited = format_duration(sent.ctx.clock.monotonic() - began)
        raise UnknownOutcome(
            f"{sent.known}, but {sent.words.place} does not show the change after {waited} (last read: {world.text})",
            reason=Reason.UNCLEAR,
            hint=f"Start the same command again in a minute: {sent.words.repeat}",
        )

    def _wait_for_change(
        self, sent: SentChange, world: ObservedState | None, deadline: float, failure: str
    ) -> ObservedState:
        """Read until the change is visible or excluded, or the deadline; an unreadable state is read again."""
        clock = sent.ctx.clock
        until = format_utc(clock.now() + timedelta(seconds=deadline - clock.monotonic())).split(maxsplit=1)[1]
        text = f"{sent.known}; waiting for {sent.words.place} to show it (until {until})"
        if deadline > clock.monotonic():
            sent.record(EventKind.COMPARED, f"{text}. Now: {world.text if world else failure}")
        while (left := deadline - clock.monotonic()) > 0 and (world is None or _may_still_appear(sent, world)):
            clock.sleep(min(WAIT_PAUSE, left))
            try:
                world = sent.check()
            except ProviderError as error:
                world, failure = None, f"{sent.words.answered}, but reading it back failed: {error.message}"
        if world is None:
            raise UnknownOutcome(failure, reason=Reason.UNCLEAR, hint=sent.start_again_hint)
        return world


def keep_rate(ctx: Context[Any], step: Step) -> bool:
    """Wait before a step that would use the API's rate limit up. Return whether it waited."""
    pause = step.find_pause(ctx)
    if pause:
        until = format_utc(ctx.clock.now() + timedelta(seconds=pause))
        text = f"{WAITING}{until} before {step.target}: the API limits the calls of all users of a token"
        ctx.timeline.record(EventKind.WARNING, text)
        ctx.clock.sleep(pause)
    return bool(pause)


def _may_still_appear(sent: SentChange, world: ObservedState) -> bool:
    """Return whether a later read may show the change. An unanswered write counts only where the state may lag."""
    if not sent.patience or not (sent.is_accepted or world.may_lag):
        return False
    return world.is_provable and (world.is_uncertain or world.state == ChangeState.PLANNED)


def _not_applied(sent: SentChange, error: OpsError, world: ObservedState | None, *, last: bool) -> OpsError:
    """Return the error for a change that was not made. `world` is the state read since; None if it was unreadable."""
    sent.progress.drop_change(verified=world is not None)
    if isinstance(error, Refused):
        return error
    read = f"As read at {format_utc(sent.ctx.clock.now())}, {world.text}. " if world else ""
    retry_after = error.retry_after if isinstance(error, NotApplied) else 0.0
    if retry_after > LONGEST_RETRY_AFTER:
        wait = format_rounded_up(retry_after)
        hint = f"{read}The rate limit counts for the whole account: start the same command again in {wait}."
        return ProviderError(f"{error.message}; retry after {wait}", reason=Reason.RATE_LIMITED, hint=hint)
    tries = " in two attempts" if last else ""
    hint = f"{read}Start the same command again."
    return ProviderError(f"the change was not applied{tries}: {error.message}", reason=Reason.NOT_APPLIED, hint=hint)
