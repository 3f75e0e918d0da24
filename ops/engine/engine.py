"""The order of every run: plan, confirm, compare, write, read back, verify and decide.

A dry run ends with the plan. Compare, write and read back repeat for each change.

No product is known here. Only the engine waits, retries and permits writes. Each step is a timed event, also if it
fails. Reading the live state settles an unclear write; nothing is sent again before that.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from ops.core.end_message import describe_decision, lead_with_state, planned_outcome, with_sentence
from ops.core.errors import (
    EXIT_CODES,
    PROVED,
    Decision,
    Interrupted,
    OpsError,
    ProviderError,
    Reason,
    UnknownOutcome,
    exit_code_for,
)
from ops.core.next_step import SuggestedCommand, command_to_json, refer_below
from ops.core.plan import LiveState, Plan, Progress, RunOutcome, changed_after_plan_error, replaced_error
from ops.core.run import EndedRun
from ops.core.threads import start_call
from ops.core.timeline import EventKind
from ops.core.verdict import NO_OBSERVATION, ProbeObservation, Verdict, add_place, decide_by_verdicts
from ops.engine.change_writer import ChangeWriter, SentChange, keep_rate
from ops.engine.context import Context
from ops.engine.rehearsal import record_skipped, run_rehearsal
from ops.engine.run_state import RunState
from ops.engine.runbook import Runbook, check_request_age
from ops.engine.signals import SignalHandler, unwrap_signal
from ops.engine.step import MAX_AGE, ChangeState, ObservedState, Rehearsal, Step, StepPlan
from ops.probes.runner import ProbeRunner

if TYPE_CHECKING:
    from ops.config.probes import ProbeSet

ADD_YES_HINT = "Add --yes to make these changes, or --dry-run to see only the plan."
NO_PROBES_HINT = "Look at the service yourself. With a probe of it in ops.yml, the next recovery can be proved."
NO_WAY_ON = "This runbook has no further step. See what is live, offline and held now, then choose another runbook."
PROBE_WAIT_WITHOUT_WRITE = 15.0
"""Real seconds to wait for the probes if the run writes nothing."""


@dataclass(frozen=True)
class RunOptions:
    """How to run: dry run, confirmation, display and waits."""

    dry_run: bool
    """Whether to end with the plan, on request or because of `is_implicit_dry_run`."""
    confirm: Callable[[Plan], bool]
    """Called after the plan is displayed. True: a person took time to confirm, so compare again.

    Raises Refused if the person declines.
    """
    show_plan: Callable[[Plan], None]
    probe_wait: float
    """Real seconds to wait for the probes before a write; longer if a person confirms and sees their results."""
    is_implicit_dry_run: bool = False
    """Whether the dry run has another reason than `--dry-run`: no `--yes`, and no terminal."""
    approve: Callable[[Plan], RunOutcome | None] = lambda _: None
    """Called with a plan that changes something. Return the end of a run that waits for a second person.

    Raises Refused if the plan may not be executed.
    """
    override: Callable[[str], bool] = lambda _: False
    """Called in place of `confirm` while recoveries are stopped, with a text about the stop. Raises Refused."""
    pause: Callable[[], RunOutcome | None] = lambda: None
    """Called before a change. Return the end of an automatic run that must not change anything now."""
    permit: Callable[[], object] = lambda: None
    """Called before the plan. Raises Refused or ProviderError if the run may not begin."""
    next_job_message: str = ""
    """Message about the job that makes the planned changes; this run then ends with the plan. Empty: no such job."""

    @property
    def has_next_job(self) -> bool:
        return bool(self.next_job_message)


@dataclass(frozen=True)
class Engine:
    """Executes runbooks. It holds what a runbook must not use: probes, write permission and signals."""

    prober: ProbeRunner
    writing: Callable[[], AbstractContextManager[None]]
    """Context manager that permits writes; entered around the write of one change."""
    signals: SignalHandler = field(default_factory=SignalHandler)
    """Signal handler that the caller activates for the whole run."""

    @cached_property
    def writer(self) -> ChangeWriter:
        return ChangeWriter(self.writing, self.signals)

    def execute(self, runbook: Runbook[Any], ctx: Context[Any], options: RunOptions) -> EndedRun:
        """Execute the runbook and return the ended run. An OpsError is an end too; other exceptions are bugs."""
        run = RunState()
        try:
            decision, reason, message = self._run_phases(runbook, ctx, options, run)
            message = with_sentence(message, run.progress.moved_traffic)
            self.signals.stop_raising()  # a signal must not interrupt the record of the end
            hint, press = _suggest_next_step(runbook, ctx, run, decision, reason)
            code, run.suggested_command = exit_code_for(decision, reason), press
        except Exception as raised:  # a signal can leave code as any exception
            error = unwrap_signal(raised)
            if not isinstance(error, OpsError):
                raise
            self.signals.stop_raising()
            decision, reason, code = error.decision or Decision.FAILED, error.reason, error.exit_code
            (hint, press), has_written = _advise_after_error(runbook, ctx, run, error), run.progress.may_have_written
            if decision == Decision.REFUSED and has_written:  # one of several changes was refused
                decision, code = Decision.FAILED, EXIT_CODES[Decision.FAILED]
            message = _describe_failure(run, error)
            suggested = command_to_json("press", press)
            ctx.timeline.record(EventKind.FAILED, message, reason=reason.value, hint=hint, **suggested)
        ended: dict[str, Any] = {"reason": reason.value, "live": run.live.value, "message": message}
        ended |= command_to_json("press", run.suggested_command) | {"hint": hint}
        ended["undo"] = [command_to_json("undo", each) for each in run.undo]
        ctx.timeline.record(EventKind.ENDED, decision.value, **ended)
        return EndedRun(
            ctx.run_id,
            tuple(ctx.timeline.events),
            exit_code=code,
            full_plan=run.plan,
            before=run.before,
            after=run.after,
            outcome=run.progress.outcome(run.plan),
            has_moved_traffic=bool(run.progress.moved_traffic),
        )

    def _run_phases(
        self, runbook: Runbook[Any], ctx: Context[Any], options: RunOptions, run: RunState
    ) -> tuple[Decision, Reason, str]:
        options.permit()
        began = ctx.clock.monotonic()
        symptoms = runbook.probes(ctx)
        before = start_call(partial(self.prober.run_round, symptoms))
        plan = run.plan = runbook.plan(ctx)
        find_probes = plan.probes or (lambda: symptoms)
        ctx.timeline.record(EventKind.PLANNED, plan.summary, plan=plan.to_json())
        options.show_plan(plan)
        ends_here = options.dry_run or (options.has_next_job and plan.changes)
        will_write = (plan.changes or plan.final_changes) and not ends_here
        run.before = _probes_before(before, wait=options.probe_wait if will_write else PROBE_WAIT_WITHOUT_WRITE)
        verdicts = {"verdict": run.before.verdict.value, "health": run.before.health.value}
        ctx.timeline.record(EventKind.PROBED, f"before: {run.before.detail}", **verdicts)
        if ends_here:
            return _end_with_plan(options, run, plan)
        if plan.changes or plan.final_changes:
            if (waiting := _pause_run(ctx, options) or options.approve(plan)) is not None:
                run.suggested_command = waiting.suggested_command
                return waiting.decision, waiting.reason, waiting.message
            compare = _confirm_plan(ctx, options, plan)
            prepared = [step.prepare(ctx) for step in plan.steps]
            compare = any(prepared) or compare or ctx.clock.monotonic() - began > MAX_AGE
            self._make_all(ctx, run, plan.changes, find_probes, compare=compare)
        if plan.decide and (outcome := plan.decide()) is not None:
            run.suggested_command = outcome.suggested_command
            is_proved = outcome.decision not in {Decision.STILL_UNHEALTHY, Decision.NO_EVIDENCE}
            message = outcome.message if is_proved else lead_with_state(outcome.message, run.live)
            return outcome.decision, outcome.reason, message
        return self._prove_recovery(ctx, run, plan, find_probes)

    def _prove_recovery(
        self, ctx: Context[Any], run: RunState, plan: StepPlan, find_probes: "Callable[[], ProbeSet]"
    ) -> tuple[Decision, Reason, str]:
        """Return the end of a run that its probes decide. Final and undo changes follow their verdict."""
        probes = find_probes()
        run.after = self._verify_plan(ctx, plan, probes)
        if run.after.former:
            run.unproved = f"the application still shows another value: {run.after.former}"
        for sent in run.lagging:
            self._settle_lagging(sent, seen_by=_seen_by(probes, run.after))
        run.lagging.clear()
        if (run.wrote or plan.is_resumed) and not run.unproved:
            self._compare_at_end(ctx, run, plan, probes)
        run.unproved = run.unproved or probes.unproved
        if run.after.verdict == Verdict.HEALTHY:
            self._make_all(ctx, run, plan.final_changes, find_probes, compare=True)
        if plan.if_undone and run.after.verdict == Verdict.UNHEALTHY and self._undo(ctx, run, plan, find_probes):
            run.suggested_command = plan.if_undone.suggested_command
            return plan.if_undone.decision, plan.if_undone.reason, plan.if_undone.message
        decision, reason, message = _judge_probes(run, plan, run.after, probes)
        return decision, reason, f"{message}{run.progress.describe_held_back(plan)}"

    def _undo(self, ctx: Context[Any], run: RunState, plan: StepPlan, find_probes: "Callable[[], ProbeSet]") -> bool:
        """Take back changes that had no effect, and return whether one was. Raises OpsError if that fails."""
        self._make_all(ctx, run, plan.undo_changes, find_probes, compare=True)
        settled = {*run.progress.changed, *run.progress.done_by_others}
        if not any(step.target in settled for step in plan.undo_changes):
            return False
        run.progress.note_undone({step.target for step in (*plan.changes, *plan.undo_changes)})
        return True

    def _rehearse_step(self, ctx: Context[Any], run: RunState, step: Step) -> bool:
        """Rehearse the change if its step plans it. Return whether that took a while."""
        planned = step.plan_rehearsal(ctx)
        if isinstance(planned, Rehearsal):
            run_rehearsal(ctx, planned, run.progress, self.writer, self.prober)
        elif planned:
            record_skipped(ctx, planned)
        return isinstance(planned, Rehearsal)

    def _make_all(
        self,
        ctx: Context[Any],
        run: RunState,
        steps: Sequence[Step],
        find_probes: "Callable[[], ProbeSet]",
        *,
        compare: bool,
    ) -> None:
        """Make the changes in order. Those of a batch are sent one after the other, and then read back together."""
        for step, following in zip_longest(steps, steps[1:]):
            try:
                compare = keep_rate(ctx, step) or compare
                self._make_step(ctx, run, step, find_probes, compare=compare)
                if step.batch is None or following is None or following.batch is not step.batch:
                    self._read_back_batch(run, find_probes)
            except Interrupted:
                raise
            except OpsError:
                run.look_at_unread()
                raise
            compare = True
            if run.plan is not None:
                run.plan = run.plan.settled(ctx, step)
            if step.wait_after and step.target in run.progress.changed:
                ctx.clock.sleep(step.wait_after)

    def _read_back_batch(self, run: RunState, find_probes: "Callable[[], ProbeSet]") -> None:
        """Read back the changes that wait for it, in the order of their writes."""
        while run.unread:
            sent = run.unread.pop(0)
            run.progress.begin_read_back(sent.step, is_answered=sent.is_accepted)
            self._settle_read_back(run, sent, self._read_back(sent, find_probes))

    def _make_step(
        self, ctx: Context[Any], run: RunState, step: Step, find_probes: "Callable[[], ProbeSet]", *, compare: bool
    ) -> None:
        """Make one change, unless it is already done. `compare` is False if the plan was made within MAX_AGE."""
        progress = run.progress
        if (awaited := step.find_awaited_probes(ctx)) is not None:
            self._await_step_probes(ctx, step, awaited, run.progress)
        if self._rehearse_step(ctx, run, step) or compare:
            world = step.check(ctx)
            ctx.timeline.record(EventKind.COMPARED, world.text, state=world.state.value)
            if world.state == ChangeState.DONE:
                progress.settle_change(step, progress.done_by_others)
                return
            if world.state == ChangeState.NOT_WANTED:
                return
            if world.state == ChangeState.CHANGED_ELSEWHERE:
                raise changed_after_plan_error(world.text, progress)
        if not run.unread:
            probes = find_probes()
            run.patience = 0.0 if probes.deciding else probes.verify.deadline
        sent = SentChange(ctx, step, progress, patience=run.patience)
        progress.begin_change(step)
        if step.accepted_before:
            ctx.timeline.record(EventKind.COMPARED, f"not sent again: {step.accepted_before}")
            sent.is_accepted = progress.is_answered = True
        elif self.writer.write(sent):
            run.wrote |= not step.is_aside
        else:
            progress.settle_change(step, progress.done_by_others)
            return
        if step.batch is not None:
            run.unread.append(sent)
            progress.settle_change(step, progress.unconfirmed)
            return
        self._settle_read_back(run, sent, self._read_back(sent, find_probes))

    def _settle_read_back(self, run: RunState, sent: SentChange, world: ObservedState) -> None:
        progress, step = run.progress, sent.step
        if world.state == ChangeState.DONE or world.is_uncertain:
            run.unproved = world.text if world.is_uncertain else run.unproved
            progress.settle_change(step, progress.done_by_others if step.accepted_before else progress.changed)
        else:
            run.lagging.append(sent)
            progress.settle_change(step, progress.unconfirmed if sent.unclear else progress.changed)

    def _read_back(self, sent: SentChange, probes: "Callable[[], ProbeSet]") -> ObservedState:
        """Read the change back. Raises UnknownOutcome, with the result of one more round of the probes."""
        try:
            return self.writer.read_back(sent)
        except UnknownOutcome as error:
            seen = self.prober.run_round(probes())
            sent.ctx.timeline.record(EventKind.PROBED, f"now: {seen.detail}", verdict=seen.verdict.value)
            message = f"{error.message}; the probes are {seen.verdict.value}"
            raise UnknownOutcome(message, reason=error.reason, hint=error.hint) from None

    def _compare_at_end(self, ctx: Context[Any], run: RunState, plan: StepPlan, probes: "ProbeSet") -> None:
        """Compare the live state after the last probe round. Raises ProviderError if our change was replaced."""
        for step in plan.changes:
            if not step.is_compared_at_end:
                continue
            sent = SentChange(ctx, step, run.progress, patience=probes.verify.deadline)
            try:
                world = self.writer.look(sent, "the live state could not be compared again:", patient=True)
            except UnknownOutcome as error:
                ctx.timeline.record(EventKind.WARNING, error.message)
                continue
            ctx.timeline.record(EventKind.COMPARED, world.text, state=world.state.value)
            if world.is_uncertain:
                run.unproved = world.text
            elif world.state != ChangeState.DONE:
                run.progress.settle_change(step, run.progress.replaced)
                is_back = world.state == ChangeState.PLANNED
                raise replaced_error(f"{step.before} is live again" if is_back else world.text, made=True)

    def _settle_lagging(self, sent: "SentChange", *, seen_by: str) -> None:
        """Settle a change that the API did not show: by the deciding probe, else by one more read."""
        doubt = sent.doubt if sent.unclear else "the write was answered, but neither the API nor a probe shows it:"
        if seen_by:
            world = ObservedState(ChangeState.DONE, f"{sent.step.target}: the probe {seen_by} shows it")
        else:
            world = self.writer.look(sent, doubt, patient=False)
        if world.state == ChangeState.CHANGED_ELSEWHERE:
            raise sent.overtaken(world)
        if world.state != ChangeState.DONE:
            raise UnknownOutcome(f"{doubt} {world.text}", reason=Reason.UNCLEAR, hint=sent.start_again_hint)
        sent.progress.settle_change(sent.step, sent.progress.changed)
        record = sent.ctx.timeline.record
        if not sent.is_accepted:
            sent.note_applied(world)
        record(EventKind.READ_BACK, world.text)

    def _await_step_probes(self, ctx: Context[Any], step: Step, probes: "ProbeSet", progress: Progress) -> None:
        """Probe until the change may be made. Raises ProviderError if the probes do not become healthy in time."""
        seen = self._probe(ctx, probes, f"before {step.target}")
        if seen.verdict != Verdict.HEALTHY:
            progress.is_doubtful = True
            raise ProviderError(
                f"{step.target} is unchanged, because the probes before it are {seen.verdict.value}: {seen.detail}",
                reason=Reason.NO_EVIDENCE,
                hint="Start the same command again in a minute.",
            )

    def _probe(self, ctx: Context[Any], probes: "ProbeSet", when: str, *, is_settled: bool = False) -> ProbeObservation:
        """Run rounds of probes until enough are healthy, or the deadline, and record each.

        `is_settled`: nothing that was written must spread first, so as many unhealthy rounds decide too. A browser
        starts only after healthy rounds, so with one they do not.
        """
        is_settled &= not any(probe.browser for _, probe in probes.all_probes)

        def on_round(in_a_row: int, needed: int, observed: ProbeObservation) -> None:
            text = f"{when}, {in_a_row} of {needed} in a row: {observed.detail}"
            ctx.timeline.record(EventKind.PROBED, text, verdict=observed.verdict.value)

        run_rounds = self.prober.run_until_decided if is_settled else self.prober.run_until_healthy
        return run_rounds(probes, on_round=on_round)

    def _verify_plan(self, ctx: Context[Any], plan: StepPlan, probes: "ProbeSet") -> ProbeObservation:
        after = self._probe(ctx, probes, "after", is_settled=plan.if_unproved is not None)
        is_claim = after.verdict == Verdict.HEALTHY and not plan.proves_health
        is_healthy = after.verdict == Verdict.HEALTHY
        text = plan.proved_claim if is_claim else after.verdict.value
        seen = {"seen_from": after.seen_from} if is_healthy and after.seen_from else {}
        text = add_place(text, after.seen_from) if is_healthy else text
        ctx.timeline.record(EventKind.VERIFIED, text, rounds=after.rounds, verdict=after.verdict.value, **seen)
        for note in after.notes:
            ctx.timeline.record(EventKind.WARNING, f"not proved: {note}")
        return after


def _end_with_plan(options: RunOptions, run: RunState, plan: StepPlan) -> tuple[Decision, Reason, str]:
    run.suggested_command = plan.repeat if plan.changes else None
    return planned_outcome(options.next_job_message, requested=not options.is_implicit_dry_run)


def _describe_failure(run: RunState, error: OpsError) -> str:
    """Return the message of an error that ended a run, with what is known about its changes."""
    progress, live = run.progress, run.live
    if live == LiveState.MOVED:
        message = with_sentence(progress.moved_traffic, error.message)
    else:
        message = with_sentence(lead_with_state(error.message, live), progress.moved_traffic)
    if so_far := progress.describe(run.plan):
        message = f"{message}; {so_far}"
    if run.plan and run.plan.describe_remains and (remains := run.plan.describe_remains(progress)):
        message = f"{message}. {remains}"
    return message


def _advise_after_error(
    runbook: Runbook[Any], ctx: Context[Any], run: RunState, error: OpsError
) -> tuple[str, SuggestedCommand | None]:
    """Return hint and command of the error. "The same command" becomes one with the absolute target of the plan."""
    below, press = refer_below(error.hint), error.suggested_command
    if press is None and run.plan is not None and run.plan.repeat and below != error.hint:
        return below, run.plan.repeat
    return error.hint, press or _same_command(runbook, ctx, error, run.live)


def _same_command(
    runbook: Runbook[Any], ctx: Context[Any], error: OpsError, live: LiveState
) -> SuggestedCommand | None:
    """Return the command of this run, if people should start it again as it is.

    A plan that was approved is not repeated after a write, because its target may be relative.
    """
    is_settled = error.reason in {Reason.WORLD_MOVED, Reason.PROVIDER_REFUSED}  # the same again would end the same
    may_repeat = isinstance(error, Interrupted | ProviderError | UnknownOutcome) and not is_settled
    return _suggest_same_command(runbook, ctx, live) if may_repeat else None


def _suggest_same_command(runbook: Runbook[Any], ctx: Context[Any], live: LiveState) -> SuggestedCommand | None:
    if runbook.name not in ctx.service_kinds() or (runbook.incident_use.needs_approval and not live.is_unchanged):
        return None
    given = {
        each.name: value for each in fields(ctx.params) if (value := getattr(ctx.params, each.name)) != each.default
    }
    return ctx.suggest(runbook.name, **given)


def _suggest_next_step(
    runbook: Runbook[Any], ctx: Context[Any], run: RunState, decision: Decision, reason: Reason
) -> tuple[str, SuggestedCommand | None]:
    """Return hint and command at the end of a run. One without success names a command, also if its plan has none."""
    press = run.suggested_command
    if reason == Reason.IMPLICIT_DRY_RUN:
        return ADD_YES_HINT, press
    if decision == Decision.NO_EVIDENCE and run.after and run.after.former and run.plan:
        return run.after.hint, press or run.plan.repeat or _suggest_same_command(runbook, ctx, run.live)
    if decision == Decision.NO_EVIDENCE and run.after and run.after.hint:
        return run.after.hint, press
    if decision == Decision.NO_EVIDENCE and run.after and run.after.is_empty:
        return NO_PROBES_HINT, press or ctx.status_command
    is_bad = decision in {Decision.STILL_UNHEALTHY, Decision.NO_EVIDENCE, Decision.FAILED}
    if not is_bad or press or run.undo or (run.plan and run.plan.next_step):
        return "", press
    return NO_WAY_ON, ctx.status_command


def _judge_probes(
    run: RunState, plan: StepPlan, after: ProbeObservation, probes: "ProbeSet"
) -> tuple[Decision, Reason, str]:
    """Return the end of a run after its probes."""
    decision, reason = decide_by_verdicts(run.before.verdict, wrote=run.wrote, after=after.verdict)
    if (failed := plan.if_unproved) is not None and _fails_a_proof(probes, after):
        run.suggested_command = failed.suggested_command
        return failed.decision, failed.reason, lead_with_state(f"{after.failure}. {failed.message}", run.live)
    if run.unproved:
        text = lead_with_state(f"{run.unproved}; the probes are {after.verdict.value}", run.live)
        proved_nothing = decision in PROVED or (plan.is_resumed and decision == Decision.NOTHING_TO_DO)
        return (Decision.NO_EVIDENCE, Reason.NO_EVIDENCE, text) if proved_nothing else (decision, reason, text)
    if decision == Decision.NOTHING_TO_DO:
        reason = plan.reason or (Reason.ALREADY_LIVE if plan.changes else reason)
    message = describe_decision(decision, run.before.verdict, plan, wrote=run.wrote, after=after)
    message = lead_with_state(message, run.live) if decision == Decision.NO_EVIDENCE else message
    if plan.remaining_message and run.wrote:
        message = f"{message}; {plan.remaining_message}"
    return decision, reason, message


def _pause_run(ctx: Context[Any], options: RunOptions) -> RunOutcome | None:
    """Return the end of a run that pauses, and record the warning."""
    paused = options.pause()
    if paused is not None:
        ctx.timeline.record(EventKind.WARNING, paused.message)
    return paused


def _confirm_plan(ctx: Context[Any], options: RunOptions, plan: Plan) -> bool:
    """Return whether a person took time to confirm. Raises Refused."""
    compare = options.confirm(plan)
    check_request_age(ctx)
    ctx.timeline.record(EventKind.CONFIRMED, "by the service's name" if compare else "by --yes")
    return compare


def _fails_a_proof(probes: "ProbeSet", after: ProbeObservation) -> bool:
    """Return whether a proof is unhealthy. A result has the name of its service before it if there are several."""
    sets = (probes, *probes.other_services)
    names = {f"{each.name}: {proof}" if each.name else proof for each in sets for proof in each.proofs}
    return any(result.probe in names and result.verdict == Verdict.UNHEALTHY for result in after.results)


def _seen_by(probes: "ProbeSet", after: ProbeObservation) -> str:
    """Return the name of the deciding probe if it saw the change, else an empty text."""
    healthy = any(each.probe == probes.deciding and each.verdict == Verdict.HEALTHY for each in after.results)
    return probes.deciding if healthy else ""


def _probes_before(before: "Future[ProbeObservation]", *, wait: float) -> ProbeObservation:
    """Return the probes' results if they arrive in time, else an inconclusive observation."""
    try:
        return before.result(timeout=wait)
    except TimeoutError:
        return NO_OBSERVATION
