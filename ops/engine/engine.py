"""The order of every run: plan → (dry run ends) → confirm → per change compare, write, read back → verify → decide.

Nothing here knows a product. The engine alone waits, repeats and lets writes through; each step is an event with its
time, also when it fails. A write whose answer is unclear is settled by reading, never by repeating it blindly.
"""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ops.core.clock import format_duration, format_utc
from ops.core.errors import (
    EXIT_CODES,
    Decision,
    Interrupted,
    NotApplied,
    OpsError,
    ProviderError,
    Reason,
    Refused,
    UnclearWrite,
    UnknownOutcome,
    exit_code_for,
)
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan, Progress, changed_elsewhere_error, replaced_error
from ops.core.result import (
    RunResult,
    command_to_json,
    describe_decision,
    failure_message,
    measure_durations,
    plan_to_json,
    planned_outcome,
)
from ops.core.threads import start_call
from ops.core.timeline import EventKind
from ops.core.verdict import NO_OBSERVATION, ProbeObservation, Verdict, decide_by_verdicts
from ops.engine.context import Context
from ops.engine.runbook import ChangeState, ObservedState, Runbook, check_request_age
from ops.engine.signals import SignalHandler, unwrap_signal
from ops.probes.runner import ProbeRunner, ProbeSet

READ_BACK_PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds between reads until an answered write shows; the list of deployments may lag."""
SETTLE_PAUSE = 1.0
"""Seconds before an unclear write is looked for: it may still be on its way."""
LONGEST_RETRY_AFTER = 30.0
"""A provider that asks for more time than this has refused, at three in the morning."""
START_AGAIN_HINT = "Start the same command again once the API answers: it finds out, and does nothing twice."
ADD_YES_HINT = "Add --yes to make these changes, or --dry-run if the plan is all that you want."
PROBE_WAIT_WITHOUT_WRITE = 15.0
"""Real seconds that the probes may take where nothing is to be written."""


@dataclass(frozen=True)
class RunOptions:
    dry_run: bool
    """Whether to end with the plan: on request, or because nobody could confirm it (`is_implicit_dry_run`)."""
    confirm: Callable[[Plan[Any]], bool]
    """Asked after the plan was shown. True: a person was waited for, so compare again. Raises Refused on a no."""
    show_plan: Callable[[Plan[Any]], None]
    probe_wait: float
    """Real seconds to wait for the probes before a write: a moment; where a person is asked they see the answer."""
    is_implicit_dry_run: bool = False
    """A dry run without `--dry-run`: no `--yes`, and no terminal."""
    next_job_message: str = ""
    """What another job does with a plan that has changes, for people; this run then ends with the plan."""


@dataclass
class RunState:
    """What is known so far; complete enough at any moment to say how the run ended."""

    plan: Plan[Any] | None = None
    before: ProbeObservation = NO_OBSERVATION
    after: ProbeObservation | None = None
    wrote: bool = False
    progress: Progress = field(default_factory=Progress)
    unproved: str = ""
    """What reading back could not settle after an answered write."""
    lagging: "list[SentChange]" = field(default_factory=list)
    """Changes that the API does not show yet: the probes decide."""
    press: SuggestedCommand | None = None
    """What people press next, where the run ends with that."""


@dataclass
class SentChange:
    """One change from its first write on: how it is read, and whether an answer to it was unclear."""

    ctx: Context[Any]
    change: Change
    check: Callable[[], ObservedState]
    progress: Progress
    unclear: str = ""
    """The first answer that left open whether the change was made."""

    @property
    def doubt(self) -> str:
        return f"it is not known whether the change was made: {self.unclear}; then"

    def is_ours(self, world: ObservedState) -> bool:
        """Whether the change that is live was made by this run."""
        return bool(self.unclear) if world.made_by_run is None else world.made_by_run

    def overtaken(self, world: ObservedState, *, answered: bool) -> ProviderError:
        """Something else is live: the end of the run, and what became of the change."""
        made = (
            answered or (None if self.unclear else False)
            if world.made_by_run is None
            else world.made_by_run or answered
        )
        if made:
            self.progress.settle_change(self.change, self.progress.replaced)
            if not answered:
                self.ctx.timeline.record(EventKind.WRITTEN, f"applied, and then replaced: {world.text}")
        elif made is False:
            self.progress.drop_change(verified=True)
        return replaced_error(world.text, made=bool(made))


@dataclass(frozen=True)
class Engine:
    """The tools of a run, besides the Context that the runbook sees."""

    prober: ProbeRunner
    writing: Callable[[], AbstractContextManager[None]]
    """Lets writes through; entered around the one write of a change."""
    signals: SignalHandler = field(default_factory=SignalHandler)
    """Watched by whoever starts the run, from before its first step until its result is shown."""

    def execute(self, runbook: Runbook[Any, Any], ctx: Context[Any], options: RunOptions) -> RunResult:
        """Run to a decision. Every OpsError becomes a result; anything else is a bug and passes through."""
        run = RunState()
        hint, press = "", None
        try:
            decision, reason, message = self._phases(runbook, ctx, options, run)
            self.signals.stop_raising()  # the record of the end is not to be cut short
            code, press = exit_code_for(decision, reason), run.press
            hint = run.after.hint if run.after and decision == Decision.NO_EVIDENCE else ""
            hint = ADD_YES_HINT if reason == Reason.IMPLICIT_DRY_RUN else hint
        except (OpsError, RuntimeError) as raised:
            error = unwrap_signal(raised)
            if not isinstance(error, OpsError):
                raise
            self.signals.stop_raising()
            decision, reason, code = error.decision or Decision.FAILED, error.reason, error.exit_code
            hint, press, has_written = error.hint, error.suggested_command, run.progress.may_have_written
            message = failure_message(error, unchanged=not has_written)
            if decision == Decision.REFUSED and has_written:  # one of several changes was refused
                decision, code = Decision.FAILED, EXIT_CODES[Decision.FAILED]
            if so_far := run.progress.describe(run.plan):
                message = f"{message}; {so_far}"
            suggested = command_to_json("press", press)
            ctx.timeline.record(EventKind.FAILED, message, reason=reason.value, hint=hint, **suggested)
        ended = {"reason": reason.value, "message": message, **command_to_json("press", run.press)}
        ctx.timeline.record(EventKind.ENDED, decision.value, **ended)
        is_proved = run.after is not None and run.after.verdict == Verdict.HEALTHY
        return RunResult(
            decision=decision,
            reason=reason,
            exit_code=code,
            message=message,
            hint=hint,
            suggested_command=press,
            runbook=runbook.name,
            environment=ctx.environment.name,
            service=runbook.service(ctx.params, ctx.environment),
            run=ctx.run_id,
            incident=ctx.request.incident,
            plan=run.plan,
            timeline=tuple(ctx.timeline.events),
            before=run.before,
            after=run.after,
            durations=measure_durations(ctx.timeline.first, is_proved=is_proved),
            wrote=ctx.timeline.first(EventKind.WRITTEN) is not None,
            outcome=run.progress.outcome(run.plan),
        )

    def _phases(
        self, runbook: Runbook[Any, Any], ctx: Context[Any], options: RunOptions, run: RunState
    ) -> tuple[Decision, Reason, str]:
        failing = runbook.probes(ctx, None)
        before = start_call(lambda: self.prober.run_round(failing))
        plan = run.plan = runbook.preflight(ctx)
        ctx.timeline.record(EventKind.PLANNED, plan.summary, plan=plan_to_json(plan))
        options.show_plan(plan)
        ends_here = options.dry_run or (options.next_job_message and plan.changes)
        will_write = plan.changes and not ends_here
        run.before = _observed(before, wait=options.probe_wait if will_write else PROBE_WAIT_WITHOUT_WRITE)
        ctx.timeline.record(EventKind.PROBED, f"before: {run.before.detail}", verdict=run.before.verdict.value)
        if ends_here:
            return planned_outcome(options.next_job_message, requested=not options.is_implicit_dry_run)
        if plan.changes:
            compare = options.confirm(plan)
            check_request_age(ctx)
            ctx.timeline.record(EventKind.CONFIRMED, "by the service's name" if compare else "by --yes")
            compare = runbook.prepare(ctx, plan) or compare
            for change in plan.changes:
                self._make(runbook, ctx, run, plan, change, compare=compare)
                compare = True
        if (outcome := runbook.decide_outcome(ctx, plan)) is not None:
            run.press = outcome.suggested_command
            return outcome.decision, outcome.reason, outcome.message
        probes = runbook.probes(ctx, plan)
        run.after = self._verify(ctx, probes)
        for sent in run.lagging:
            self._settle_lagging(sent, seen_by=_seen_by(probes, run.after))
        if run.wrote and runbook.compares_at_end and not run.unproved:
            self._compare_at_end(runbook, ctx, run, plan)
        run.unproved = run.unproved or probes.unproved
        for change in plan.final_changes if run.after.verdict == Verdict.HEALTHY else ():
            self._make(runbook, ctx, run, plan, change, compare=True)
        decision, reason = decide_by_verdicts(run.before.verdict, wrote=run.wrote, after=run.after.verdict)
        if run.unproved:
            text = f"it is not proved that the change is live: {run.unproved}; the probes are {run.after.verdict.value}"
            proved_nothing = decision in {Decision.RECOVERED, Decision.HEALTHY_AS_BEFORE}
            return (Decision.NO_EVIDENCE, Reason.NO_EVIDENCE, text) if proved_nothing else (decision, reason, text)
        if decision == Decision.NOTHING_TO_DO:
            reason = plan.reason or (Reason.ALREADY_LIVE if plan.changes else reason)
        said = describe_decision(decision, run.before.verdict, plan, wrote=run.wrote)
        return decision, reason, f"{said}; {plan.remaining_message}" if plan.remaining_message and run.wrote else said

    def _make(
        self,
        runbook: Runbook[Any, Any],
        ctx: Context[Any],
        run: RunState,
        plan: Plan[Any],
        change: Change,
        *,
        compare: bool,
    ) -> None:
        """Make one change, unless it is found done. `compare` False: the plan's last read was a moment ago."""
        progress, check = run.progress, partial(runbook.check, ctx, plan, change)
        if compare:
            world = check()
            ctx.timeline.record(EventKind.COMPARED, world.text, state=world.state.value)
            if world.state == ChangeState.DONE:
                progress.settle_change(change, progress.done_by_others)
                return
            if world.state == ChangeState.CHANGED_ELSEWHERE:
                raise changed_elsewhere_error(world.text, progress)
        sent = SentChange(ctx, change, check, progress)
        progress.begin_change(change)
        if not self._write(sent, partial(runbook.apply, ctx, plan, change)):
            progress.settle_change(change, progress.done_by_others)
            return
        run.wrote = True
        world = self._read_back(sent)
        if world.state == ChangeState.DONE or world.is_uncertain:
            run.unproved = world.text if world.is_uncertain else run.unproved
            progress.settle_change(change, progress.changed)
        else:
            run.lagging.append(sent)
            progress.settle_change(change, progress.unconfirmed if sent.unclear else progress.changed)

    def _write(self, sent: "SentChange", apply: Callable[[], str]) -> bool:
        """Send the write; once more only where reading shows that the first one was not applied.

        False where another run or person turns out to have made the same change.
        """
        record = sent.ctx.timeline.record
        for last in (False, True):
            record(EventKind.WRITING, f"{sent.change.target}: {sent.change.before} → {sent.change.after}")
            try:
                with self.signals.hold(), self.writing():
                    answer = apply()
                    record(EventKind.WRITTEN, answer)
            except Interrupted:
                raise
            except OpsError as error:
                if isinstance(error, UnclearWrite):
                    sent.unclear = sent.unclear or error.message
                elif not isinstance(error, NotApplied) and not sent.unclear:
                    sent.progress.drop_change(verified=isinstance(error, Refused))
                    raise
                record(EventKind.WARNING, error.message, reason=error.reason.value)
                self.signals.raise_pending()
                world = self._settle(sent, error, last=last)
                if world is not None:
                    return sent.is_ours(world)
            else:
                return True
        raise AssertionError("the last try is settled")

    def _settle(self, sent: "SentChange", error: OpsError, *, last: bool) -> ObservedState | None:
        """After an answer that settles nothing: the World with the change live, or one that is left to the probes.

        None where it may be sent once more.

        A refusal of a later try says nothing about an earlier try whose answer was unclear.
        """
        asked = error.retry_after if isinstance(error, NotApplied) else 0.0
        ends = last or asked > LONGEST_RETRY_AFTER or not isinstance(error, (NotApplied, UnclearWrite))
        sent.ctx.clock.sleep(max(SETTLE_PAUSE, asked) if asked <= LONGEST_RETRY_AFTER else SETTLE_PAUSE)
        try:
            world = self._look(sent, sent.doubt, patient=ends and bool(sent.unclear))
        except UnknownOutcome:
            if sent.unclear:
                raise
            raise _not_applied(sent, error, None, last=last) from None
        sent.ctx.timeline.record(EventKind.COMPARED, world.text, state=world.state.value)
        if world.is_uncertain and sent.unclear:
            raise UnknownOutcome(f"{sent.doubt} {world.text}", reason=Reason.UNCLEAR, hint=START_AGAIN_HINT)
        if world.is_uncertain:
            raise _not_applied(sent, error, None, last=last)
        if world.state == ChangeState.DONE:
            if sent.is_ours(world):
                sent.ctx.timeline.record(EventKind.WRITTEN, f"applied after all: {world.text}")
            return world
        if world.may_lag and sent.unclear and (ends or world.state == ChangeState.CHANGED_ELSEWHERE):
            return world
        if world.state == ChangeState.CHANGED_ELSEWHERE:
            raise sent.overtaken(world, answered=False)
        if ends:
            raise _not_applied(sent, error, world, last=last)
        return None

    def _look(self, sent: "SentChange", doubt: str, *, patient: bool) -> ObservedState:
        """Read after a write, and again while that settles nothing; `patient`: also while our change does not show.

        So is an answer that cannot be read, and a history that lacks ours after an unclear answer: it may lag.
        Raises UnknownOutcome.
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
                        f"{doubt} {error.message}", reason=Reason.UNCLEAR, hint=START_AGAIN_HINT
                    ) from None
            else:
                waits = patient and world.state == ChangeState.PLANNED and not world.may_lag
                lacks_ours = (
                    bool(sent.unclear) and world.state == ChangeState.CHANGED_ELSEWHERE and world.made_by_run is False
                )
                settled = not (world.is_uncertain or waits or lacks_ours)
                if settled or (pause := next(pauses, None)) is None:
                    return world
            sent.ctx.clock.sleep(pause)

    def _read_back(self, sent: "SentChange") -> ObservedState:
        """The World with the change live, or uncertain; or another one that the probes have to settle."""
        record = sent.ctx.timeline.record
        world = self._look(sent, "the write was answered, but reading it back failed:", patient=True)
        if world.is_uncertain:
            record(EventKind.WARNING, f"not proved: {world.text}")
            return world
        if world.may_lag and world.state != ChangeState.DONE:
            record(EventKind.COMPARED, f"the API may lag: {world.text}", state=world.state.value)
            return world
        if world.state == ChangeState.CHANGED_ELSEWHERE:
            raise sent.overtaken(world, answered=True)
        if world.state == ChangeState.DONE:
            record(EventKind.READ_BACK, world.text)
            for text in (
                *world.notes,
                *(f"slipped in between the plan and the write: {it}" for it in world.concurrent_changes),
            ):
                record(EventKind.WARNING, text)
            return world
        raise UnknownOutcome(
            f"the write was answered, but {format_duration(sum(READ_BACK_PAUSES))} later it does not show",
            reason=Reason.UNCLEAR,
            hint="Start the same command again in a minute: it finds out, and does nothing twice.",
        )

    def _compare_at_end(self, runbook: Runbook[Any, Any], ctx: Context[Any], run: RunState, plan: Plan[Any]) -> None:
        """Compare what serves after the last probe round. Raises ProviderError if somebody replaced our change."""
        for change in plan.changes:
            sent = SentChange(ctx, change, partial(runbook.check, ctx, plan, change), run.progress)
            try:
                world = self._look(sent, "what serves could not be compared once more:", patient=True)
            except UnknownOutcome as error:
                ctx.timeline.record(EventKind.WARNING, error.message)
                continue
            ctx.timeline.record(EventKind.COMPARED, world.text, state=world.state.value)
            if world.is_uncertain:
                run.unproved = world.text
            elif world.state != ChangeState.DONE:
                run.progress.settle_change(change, run.progress.replaced)
                is_back = world.state == ChangeState.PLANNED
                raise replaced_error(f"{change.before} is live again" if is_back else world.text, made=True)

    def _settle_lagging(self, sent: "SentChange", *, seen_by: str) -> None:
        """A change that the API did not show: live where the deciding probe saw it; otherwise read once more."""
        doubt = sent.doubt if sent.unclear else "the write was answered, but neither the API nor a probe shows it:"
        if seen_by:
            world = ObservedState(ChangeState.DONE, f"{sent.change.target}: the probe {seen_by} shows it")
        else:
            world = self._look(sent, doubt, patient=False)
        if world.state == ChangeState.CHANGED_ELSEWHERE:
            raise sent.overtaken(world, answered=not sent.unclear)
        if world.state != ChangeState.DONE:
            raise UnknownOutcome(f"{doubt} {world.text}", reason=Reason.UNCLEAR, hint=START_AGAIN_HINT)
        sent.progress.settle_change(sent.change, sent.progress.changed)
        record = sent.ctx.timeline.record
        if sent.unclear:
            record(EventKind.WRITTEN, f"applied after all: {world.text}")
        record(EventKind.READ_BACK, world.text)

    def _verify(self, ctx: Context[Any], probes: ProbeSet) -> ProbeObservation:
        wanted = probes.verify.successes

        def on_round(in_a_row: int, seen: ProbeObservation) -> None:
            said = f"after, {in_a_row} of {wanted} in a row: {seen.detail}"
            ctx.timeline.record(EventKind.PROBED, said, verdict=seen.verdict.value)

        after = self.prober.run_until_healthy(probes, on_round=on_round)
        ctx.timeline.record(EventKind.VERIFIED, after.verdict.value, rounds=after.rounds)
        for note in after.notes:
            ctx.timeline.record(EventKind.WARNING, f"not proved: {note}")
        return after


def _not_applied(sent: SentChange, error: OpsError, world: ObservedState | None, *, last: bool) -> OpsError:
    """The end of a run whose change was not made; `world` is as it was read since, None where it could not be."""
    sent.progress.drop_change(verified=world is not None)
    if isinstance(error, Refused):
        return error
    read = f"As read at {format_utc(sent.ctx.clock.now())}, {world.text}. " if world else ""
    asked = error.retry_after if isinstance(error, NotApplied) else 0.0
    if asked > LONGEST_RETRY_AFTER:
        wait = format_duration(asked)
        hint = f"{read}The limit holds for the whole account: start again in {wait}."
        return ProviderError(f"{error.message}; it asks for {wait} of patience", reason=Reason.RATE_LIMITED, hint=hint)
    tries = ", at two tries" if last else ""
    hint = f"{read}Start the same command again."
    return ProviderError(f"the change was not applied{tries}: {error.message}", reason=Reason.NOT_APPLIED, hint=hint)


def _seen_by(probes: ProbeSet, after: ProbeObservation) -> str:
    """The name of the deciding probe, where it saw the change."""
    healthy = any(each.probe == probes.deciding and each.verdict == Verdict.HEALTHY for each in after.results)
    return probes.deciding if healthy else ""


def _observed(before: "Future[ProbeObservation]", *, wait: float) -> ProbeObservation:
    """The probes' answer where it is there; a probe without one counts as inconclusive."""
    try:
        return before.result(timeout=wait)
    except TimeoutError:
        return NO_OBSERVATION
