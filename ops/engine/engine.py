"""The order of every run: plan, confirm, compare, write, read back, verify and decide.

A dry run ends with the plan. Compare, write and read back repeat for each change.

No product is known here. Only the engine waits, retries and permits writes. Each step is a timed event, also if it
fails. Reading the live state settles an unclear write; nothing is sent again before that.
"""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

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
from ops.core.plan import Change, Plan, Progress, RunOutcome, changed_elsewhere_error, replaced_error
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
from ops.probes.runner import ProbeRunner

if TYPE_CHECKING:
    from ops.config.probes import ProbeSet

READ_BACK_PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds between reads until an answered write is visible; the list of deployments may lag."""
SETTLE_PAUSE = 1.0
"""Seconds to wait before reading after an unclear write, which may still be in progress."""
LONGEST_RETRY_AFTER = 30.0
"""Longest Retry-After in seconds that a run waits for. A longer one ends the run."""
START_AGAIN_HINT = "Start the same command again when the API answers: it reads the state and repeats nothing."
ADD_YES_HINT = "Add --yes to make these changes, or --dry-run to see only the plan."
PROBE_WAIT_WITHOUT_WRITE = 15.0
"""Real seconds to wait for the probes if the run writes nothing."""


@dataclass(frozen=True)
class RunOptions:
    """How to run: dry run, confirmation, display and waits."""

    dry_run: bool
    """Whether to end with the plan, on request or because of `is_implicit_dry_run`."""
    confirm: Callable[[Plan[Any]], bool]
    """Called after the plan is displayed. True: a person took time to confirm, so compare again.

    Raises Refused if the person declines.
    """
    show_plan: Callable[[Plan[Any]], None]
    probe_wait: float
    """Real seconds to wait for the probes before a write; longer if a person confirms and sees their results."""
    is_implicit_dry_run: bool = False
    """Whether the dry run has another reason than `--dry-run`: no `--yes`, and no terminal."""
    approve: Callable[[Plan[Any]], RunOutcome | None] = lambda _: None
    """Called with a plan that changes something. Return the end of a run that waits for a second person.

    Raises Refused if the plan may not be executed.
    """
    next_job_message: str = ""
    """Message about the job that makes the planned changes; this run then ends with the plan. Empty: no such job."""


@dataclass
class RunState:
    """State of a run, from which its end can be reported at any moment."""

    plan: Plan[Any] | None = None
    before: ProbeObservation = NO_OBSERVATION
    after: ProbeObservation | None = None
    wrote: bool = False
    progress: Progress = field(default_factory=Progress)
    unproved: str = ""
    """Why an answered write is not proved to be live; empty if it is."""
    lagging: "list[SentChange]" = field(default_factory=list)
    """Sent changes that the API does not show yet: the probes decide."""
    suggested_command: SuggestedCommand | None = None
    """Command that people run next, if the run ends with one."""


@dataclass
class SentChange:
    """One change from its first write on, with its check and the first unclear answer."""

    ctx: Context[Any]
    change: Change
    check: Callable[[], ObservedState]
    progress: Progress
    unclear: str = ""
    """Message of the first unclear answer; empty if there was none."""

    @property
    def doubt(self) -> str:
        return f"it is unknown whether the change was made: {self.unclear}; then"

    def is_ours(self, world: ObservedState) -> bool:
        """Return whether this run made the live change."""
        return bool(self.unclear) if world.made_by_run is None else world.made_by_run

    def overtaken(self, world: ObservedState, *, answered: bool) -> ProviderError:
        """Return the error for another live change, and record what happened to ours."""
        made = (
            answered or (None if self.unclear else False)
            if world.made_by_run is None
            else world.made_by_run or answered
        )
        if made:
            self.progress.settle_change(self.change, self.progress.replaced)
            if not answered:
                self.ctx.timeline.record(EventKind.WRITTEN, f"applied, then replaced: {world.text}")
        elif made is False:
            self.progress.drop_change(verified=True)
        return replaced_error(world.text, made=bool(made))


@dataclass(frozen=True)
class Engine:
    """Executes runbooks. It holds what a runbook must not use: probes, write permission and signals."""

    prober: ProbeRunner
    writing: Callable[[], AbstractContextManager[None]]
    """Context manager that permits writes; entered around the write of one change."""
    signals: SignalHandler = field(default_factory=SignalHandler)
    """Signal handler that the caller activates for the whole run."""

    def execute(self, runbook: Runbook[Any, Any], ctx: Context[Any], options: RunOptions) -> RunResult:
        """Execute the runbook and return its result. An OpsError becomes a result; other exceptions are bugs."""
        run = RunState()
        hint, press = "", None
        try:
            decision, reason, message = self._phases(runbook, ctx, options, run)
            self.signals.stop_raising()  # a signal must not interrupt the record of the end
            code, press = exit_code_for(decision, reason), run.suggested_command
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
            if run.plan and (remains := runbook.describe_remains(ctx, run.plan, run.progress)):
                message = f"{message}. {remains}"
            suggested = command_to_json("press", press)
            ctx.timeline.record(EventKind.FAILED, message, reason=reason.value, hint=hint, **suggested)
        ended = {"reason": reason.value, "message": message, **command_to_json("press", run.suggested_command)}
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
            if (waiting := options.approve(plan)) is not None:
                run.suggested_command = waiting.suggested_command
                return waiting.decision, waiting.reason, waiting.message
            compare = _confirm(ctx, options, plan)
            compare = runbook.prepare(ctx, plan) or compare
            for change in plan.changes:
                self._make(runbook, ctx, run, plan, change, compare=compare)
                run.plan, compare = runbook.update_plan(ctx, plan), True
                if change.wait_after and change.target in run.progress.changed:
                    ctx.clock.sleep(change.wait_after)
        if (outcome := runbook.decide_outcome(ctx, plan)) is not None:
            run.suggested_command = outcome.suggested_command
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
            text = f"the change is not proved to be live: {run.unproved}; the probes are {run.after.verdict.value}"
            proved_nothing = decision in {Decision.RECOVERED, Decision.HEALTHY_AS_BEFORE}
            return (Decision.NO_EVIDENCE, Reason.NO_EVIDENCE, text) if proved_nothing else (decision, reason, text)
        if decision == Decision.NOTHING_TO_DO:
            reason = plan.reason or (Reason.ALREADY_LIVE if plan.changes else reason)
        message = describe_decision(decision, run.before.verdict, plan, wrote=run.wrote)
        return (
            decision,
            reason,
            f"{message}; {plan.remaining_message}" if plan.remaining_message and run.wrote else message,
        )

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
        """Make one change, unless it is already done. `compare` is False right after the plan's last read."""
        progress, check = run.progress, partial(runbook.check, ctx, plan, change)
        if (awaited := runbook.awaited_probes(ctx, plan, change)) is not None:
            self._await(ctx, change, awaited)
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
        """Send the write, and once more only if a read shows that the first one was not applied.

        Return False if another run or person made the same change.
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
        """Return the state that settles an unclear or rejected write, or one that the probes must settle.

        Return None if the write may be sent once more. A rejected second attempt does not settle an unclear first one.
        """
        retry_after = error.retry_after if isinstance(error, NotApplied) else 0.0
        ends = last or retry_after > LONGEST_RETRY_AFTER or not isinstance(error, (NotApplied, UnclearWrite))
        sent.ctx.clock.sleep(max(SETTLE_PAUSE, retry_after) if retry_after <= LONGEST_RETRY_AFTER else SETTLE_PAUSE)
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
        """Return the state with our change live or uncertain, or a state that the probes must settle."""
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
                *(f"happened between the plan and the write: {it}" for it in world.concurrent_changes),
            ):
                record(EventKind.WARNING, text)
            return world
        raise UnknownOutcome(
            f"the write was answered, but it is not visible after {format_duration(sum(READ_BACK_PAUSES))}",
            reason=Reason.UNCLEAR,
            hint="Start the same command again in a minute: it reads the state and repeats nothing.",
        )

    def _compare_at_end(self, runbook: Runbook[Any, Any], ctx: Context[Any], run: RunState, plan: Plan[Any]) -> None:
        """Compare the live state after the last probe round. Raises ProviderError if our change was replaced."""
        for change in plan.changes:
            sent = SentChange(ctx, change, partial(runbook.check, ctx, plan, change), run.progress)
            try:
                world = self._look(sent, "the live state could not be compared again:", patient=True)
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
        """Settle a change that the API did not show: by the deciding probe, else by one more read."""
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

    def _await(self, ctx: Context[Any], change: Change, probes: "ProbeSet") -> None:
        """Probe until the change may be made. Raises ProviderError if the probes do not become healthy in time."""
        seen = self._probe(ctx, probes, f"before {change.target}")
        if seen.verdict != Verdict.HEALTHY:
            raise ProviderError(
                f"{change.target} is unchanged, because the probes before it are {seen.verdict.value}: {seen.detail}",
                reason=Reason.NO_EVIDENCE,
                hint="Start the same command again in a minute.",
            )

    def _probe(self, ctx: Context[Any], probes: "ProbeSet", when: str) -> ProbeObservation:
        """Run rounds of probes until enough are healthy, or the deadline, and record each."""
        needed = probes.verify.successes

        def on_round(in_a_row: int, observed: ProbeObservation) -> None:
            text = f"{when}, {in_a_row} of {needed} in a row: {observed.detail}"
            ctx.timeline.record(EventKind.PROBED, text, verdict=observed.verdict.value)

        return self.prober.run_until_healthy(probes, on_round=on_round)

    def _verify(self, ctx: Context[Any], probes: "ProbeSet") -> ProbeObservation:
        after = self._probe(ctx, probes, "after")
        ctx.timeline.record(EventKind.VERIFIED, after.verdict.value, rounds=after.rounds)
        for note in after.notes:
            ctx.timeline.record(EventKind.WARNING, f"not proved: {note}")
        return after


def _confirm(ctx: Context[Any], options: RunOptions, plan: Plan[Any]) -> bool:
    """Return whether a person took time to confirm. Raises Refused."""
    compare = options.confirm(plan)
    check_request_age(ctx)
    ctx.timeline.record(EventKind.CONFIRMED, "by the service's name" if compare else "by --yes")
    return compare


def _not_applied(sent: SentChange, error: OpsError, world: ObservedState | None, *, last: bool) -> OpsError:
    """Return the error for a change that was not made. `world` is the state read since; None if it was unreadable."""
    sent.progress.drop_change(verified=world is not None)
    if isinstance(error, Refused):
        return error
    read = f"As read at {format_utc(sent.ctx.clock.now())}, {world.text}. " if world else ""
    retry_after = error.retry_after if isinstance(error, NotApplied) else 0.0
    if retry_after > LONGEST_RETRY_AFTER:
        wait = format_duration(retry_after)
        hint = f"{read}The rate limit counts for the whole account: start the same command again in {wait}."
        return ProviderError(f"{error.message}; retry after {wait}", reason=Reason.RATE_LIMITED, hint=hint)
    tries = " in two attempts" if last else ""
    hint = f"{read}Start the same command again."
    return ProviderError(f"the change was not applied{tries}: {error.message}", reason=Reason.NOT_APPLIED, hint=hint)


def _seen_by(probes: "ProbeSet", after: ProbeObservation) -> str:
    """Return the name of the deciding probe if it saw the change, else an empty text."""
    healthy = any(each.probe == probes.deciding and each.verdict == Verdict.HEALTHY for each in after.results)
    return probes.deciding if healthy else ""


def _observed(before: "Future[ProbeObservation]", *, wait: float) -> ProbeObservation:
    """Return the probes' results if they arrive in time, else an inconclusive observation."""
    try:
        return before.result(timeout=wait)
    except TimeoutError:
        return NO_OBSERVATION
