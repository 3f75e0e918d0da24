"""Rehearse a change: run its target without traffic, probe it, and undo that in every case.

The rehearsal never decides that a target is good. It only stops a run whose target is unhealthy.
"""

from typing import Any

from ops.core.end_message import MOVED, MOVED_TRAFFIC
from ops.core.errors import OpsError, ProviderError, Reason, UnknownOutcome
from ops.core.plan import Progress
from ops.core.timeline import EventKind
from ops.core.verdict import ProbeObservation, Verdict
from ops.engine.change_writer import ChangeWriter, SentChange
from ops.engine.context import Context
from ops.engine.step import ChangeState, Rehearsal, Step
from ops.probes.runner import ProbeRunner

FAILURES = 4
"""Fewest unhealthy rounds in a row that refuse a target.

It refuses few targets whose probes fail now and then: docs/explanation/watch.md says how few.
"""
MAX_RESTORATIONS = 2
"""The second one is for a deployment that the first one replaced, because it came in between compare and write."""


def run_rehearsal(
    ctx: Context[Any], planned: Rehearsal, progress: Progress, writer: ChangeWriter, prober: ProbeRunner
) -> None:
    """Start the rehearsal, probe the target and restore the deployment.

    `progress` is that of the run. A rehearsal that cannot start or has no clear result does not stop the run.

    Raises:
        Refused: the target is unhealthy, or the provider refuses it for a reason that a person must decide.
        Interrupted: a signal; the deployment is restored.
    """
    started, seen = _sent_rehearsal(ctx, planned.start), None
    try:
        if _start_rehearsal(started, writer):
            seen = _probe_rehearsal(ctx, planned, prober)
    except BaseException:
        writer.signals.stop_raising()  # a second signal must not prevent the restoration
        _undo_rehearsal(ctx, planned, started, writer, progress)
        raise
    with writer.signals.delay():
        _undo_rehearsal(ctx, planned, started, writer, progress)
    if seen is None:
        return
    ending = f", so the run goes on without a result: {seen.detail}" if seen.verdict == Verdict.INCONCLUSIVE else ""
    _record_rehearsal(ctx, f"result: {seen.verdict.value}{ending}", verdict=seen.verdict.value)
    if seen.verdict == Verdict.UNHEALTHY:
        raise planned.refusal(seen.detail)


def record_skipped(ctx: Context[Any], why: str) -> None:
    _record_rehearsal(ctx, f"skipped: {why}")


def _sent_rehearsal(ctx: Context[Any], step: Step) -> SentChange:
    return SentChange(ctx, step, Progress(), is_rehearsal=True)


def _start_rehearsal(sent: SentChange, writer: ChangeWriter) -> bool:
    """Compare, write and read back. Return False if the rehearsal cannot start, also because somebody else deployed."""
    world = sent.check()
    sent.record(EventKind.COMPARED, world.text, state=world.state.value)
    if world.state != ChangeState.PLANNED:
        sent.progress.done_by_others.append(sent.step.target)
        return world.state == ChangeState.DONE
    sent.progress.begin_change(sent.step)
    try:
        alone = not writer.write(sent) or not writer.read_back(sent).concurrent_changes
    except (ProviderError, UnknownOutcome) as error:  # either way, the restoration reads what is live
        sent.record(EventKind.WARNING, f"the rehearsal did not start, so the run goes on without it: {error.message}")
        return False
    sent.progress.settle_change(sent.step, sent.progress.changed)
    return alone


def _probe_rehearsal(ctx: Context[Any], planned: Rehearsal, prober: ProbeRunner) -> ProbeObservation:
    def on_round(in_a_row: int, needed: int, seen: ProbeObservation) -> None:
        _record_rehearsal(ctx, f"probed, {in_a_row} of {needed} in a row: {seen.detail}", verdict=seen.verdict.value)

    return prober.run_until_decided(planned.probes, on_round=on_round, failures=FAILURES)


def _undo_rehearsal(
    ctx: Context[Any], planned: Rehearsal, started: SentChange, writer: ChangeWriter, progress: Progress
) -> None:
    """Restore what the start replaced, if it may be live, and note in the run's `progress` what is known."""
    known = started.progress
    if known.pending_target or known.changed or known.done_by_others or known.replaced:
        progress.has_rehearsed = True
        if moved := planned.describe_moved_traffic():  # for the record, in case the run dies in the next moment
            _record_rehearsal(ctx, MOVED + moved)
        is_restored = _restore_start(ctx, planned.restore, started, writer)
        if moved := planned.describe_moved_traffic():
            progress.note_moved_traffic(f"{MOVED_TRAFFIC}: {moved}")
            _record_rehearsal(ctx, MOVED + moved)
        progress.may_have_written |= not is_restored


def _restore_start(ctx: Context[Any], step: Step, started: SentChange, writer: ChangeWriter) -> bool:
    """Return whether nothing of the start is left; a failure is a warning, also of traffic that the start moved."""
    sent = _sent_rehearsal(ctx, step)
    moved: tuple[str, ...] = ()
    try:
        if started.progress.pending_target:  # its end was not seen: the list of deployments may lag
            world = writer.look(started, "the rehearsal may have started, but", patient=True)
            if world.state == ChangeState.PLANNED and not started.unclear:
                raise UnknownOutcome("the rehearsal is not visible yet", reason=Reason.UNCLEAR)
        for _ in range(MAX_RESTORATIONS):
            world = step.check(ctx)
            moved = world.concurrent_changes
            if world.state != ChangeState.PLANNED:
                sent.record(EventKind.COMPARED, world.text, state=world.state.value)
                return True
            sent = _sent_rehearsal(ctx, step)
            sent.progress.begin_change(step)
            if not writer.write(sent) or not writer.read_back(sent).concurrent_changes:
                return True
    except OpsError as error:
        if error.reason == Reason.WORLD_MOVED:
            sent.record(EventKind.COMPARED, error.message)
            return True
        left = f"{step.before} may still be deployed: it moved the traffic if somebody deployed just before"
        if moved:
            left = f"{step.before} replaced {'; '.join(moved)}. The same command deploys that again"
        sent.record(EventKind.WARNING, f"the rehearsal was not undone: {error.message}. {left}")
    return False


def _record_rehearsal(ctx: Context[Any], text: str, **data: Any) -> None:
    ctx.timeline.record(EventKind.REHEARSED, text, **data)
