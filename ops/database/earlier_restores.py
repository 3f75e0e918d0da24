"""Find earlier restores of a database, and refuse to restore again without consent.

A request that repeats an earlier restore only checks it. A person consents to a loss by the time since which it counts.
The evidence, the best first: the row that a restore leaves in the database; the records of runs, on the incident and on
this machine; and the session of the bookmark, which a restore changes. D1 may start a session for another reason.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NoReturn

from ops.cloudflare.client import LIMIT_PERIOD
from ops.cloudflare.types.d1 import Migration, is_bookmark, session_of
from ops.core.clock import format_duration, format_rfc3339, format_utc, parse_utc
from ops.core.errors import ConfigError, Decision, Reason, Refused
from ops.core.names import quote_name
from ops.core.run_record import ENDED_KIND, MAX_TEXT, PreviousRuns, RecordRow, RunRecord
from ops.core.timeline import EventKind
from ops.database import terms, time_travel
from ops.database.applies import TABLE
from ops.database.migration_holds import RECENT
from ops.database.restore import ANSWERED, NO_ROW, PLANNED_PREFIX, TARGET_PREFIX, UNDO_PREFIX, DatabaseRestore
from ops.database.state import DatabaseState
from ops.database.time_travel import (
    BEFORE_LAST_MIGRATION,
    BEFORE_MIGRATION,
    is_relative_time,
)
from ops.engine.change_writer import WAITING
from ops.engine.context import Context

MAX_RESTORES, RESTORES_WITHIN = 10, timedelta(minutes=10)
"""Limit of D1 per database: developers.cloudflare.com/d1/platform/limits"""
LONGEST_RESTORE = timedelta(minutes=1)
"""Time after which a restore without an answer has ended. Its request waits 35 s."""
_SETTLED = frozenset({EventKind.WRITTEN, EventKind.FAILED, ENDED_KIND})
"""Kinds of rows after which a restore is no longer under way."""
_NOT_MADE = frozenset({Decision.FAILED, Decision.REFUSED})
"""Decisions of a run that read, after it sent the restore, that D1 did not make it."""
_BOOKMARK = re.compile(": bookmark ([0-9a-f-]+)(?:; takes back (.+))?")


@dataclass(frozen=True)
class EarlierRestore:
    """A restore that a run sent, or that D1's bookmarks show."""

    at: datetime
    """UTC, in whole seconds."""
    run: str = ""
    """Empty if only D1's bookmarks show it."""
    target: str = ""
    """Bookmark; empty if it is unknown."""
    undos: tuple[str, ...] = ()
    """Bookmarks of the state right before it, the best first."""
    taken_back: str = ""
    """Last migration that it takes back; empty if there is none, or its name was cut."""
    evidence: str = ""
    """What shows that D1 made it; empty if that is unknown."""
    left_row: bool = False
    """Whether its record shows that it left a row in the database."""
    contradiction: str = ""
    """What shows that its state was changed back since; empty if nothing does."""

    @property
    def is_made(self) -> bool:
        return bool(self.evidence)

    def is_after(self, restore: DatabaseRestore) -> bool:
        """Return whether it came after the state that is wanted now; True if the time of that state is unknown."""
        return restore.point.moment is None or self.at >= restore.point.moment

    def describe(self, name: str) -> str:
        at = format_utc(self.at)
        if not self.run:
            return f"D1 shows a new session of {name} since {at}, as after a restore, and no run recorded one"
        to = f" to bookmark {self.target}" if self.target else ""
        run = quote_name(self.run)
        if self.is_made:
            since = f", but {self.contradiction}" if self.contradiction else ""
            return f"{name} was restored{to} at {at} (run {run}, known by {self.evidence}){since}"
        return f"run {run} sent a restore of {name}{to} at {at}, and nothing shows whether D1 made it"


def describe_restores(previous: PreviousRuns | None, name: str, now: datetime) -> str:
    """Describe the limit of D1, with our own restores on the incident; None: there is no incident."""
    limit = f"D1 allows {MAX_RESTORES} restores of a database in {format_duration(RESTORES_WITHIN.total_seconds())}"
    if previous is None:
        return f"{limit}; recent ones are unknown without an incident"
    recent = sum(now - restore.at <= RESTORES_WITHIN for restore, _ in _find_restores(previous.runs, name))
    return f"{limit}; {recent} recorded on the incident"


def refuse_concurrent_restore(ctx: Context[Any], records: Iterable[RunRecord], now: datetime) -> None:
    """Refuse while another run may restore this database, or close or reopen its services; also if it was killed."""
    name = ctx.params.database
    for record in records:
        sent = _find_restores([record], name)
        unsettled = (row.at for row, later in sent if not any(each.kind in _SETTLED for each in later))
        began = [(at, at + LONGEST_RESTORE) for at in unsettled]
        for since, end in [*began, *_find_unended_restore(record, name, ctx.environment.name)]:
            if now < end:
                target, _ = _find_target(record, name)
                command = "the command below" if target else "the same command again"
                raise Refused(
                    f"another run restores {name} since {format_rfc3339(since)}",
                    reason=Reason.WORLD_MOVED,
                    hint=f"Wait for its end. If it was killed, start {command} at {format_rfc3339(end)}.",
                    suggested_command=terms.suggest_restore(ctx, name, target) if target else None,
                )


def _find_unended_restore(record: RunRecord, name: str, environment: str) -> Iterator[tuple[datetime, datetime]]:
    """Yield the first write of a run without an end, and until when it may be alive."""
    writes = [row.at for row in record.rows if row.kind == EventKind.WRITING]
    if writes and not record.decision and _has_same_intent(record, name, environment):
        yield writes[0], _restore_may_run_until(record)


def _restore_may_run_until(record: RunRecord) -> datetime:
    """Return until when a run without an end may be alive: it adds a row each minute, unless it says that it waits."""
    newest = max(record.rows, key=lambda row: row.at)
    wait = timedelta(seconds=LIMIT_PERIOD) if newest.text.startswith(WAITING) else timedelta()
    return newest.at + wait + LONGEST_RESTORE


def refuse_step_back_after_restore(ctx: Context[Any], records: Iterable[RunRecord]) -> None:
    """Refuse to take back one more migration by the same words, as after a run that was interrupted."""
    name = ctx.params.database
    sent = newest_restore_record(records, name)
    if ctx.params.to != BEFORE_LAST_MIGRATION or not sent:
        return
    target, _ = _find_target(sent[0], name)
    first = "To check or finish that restore, run the command below. " if target else ""
    raise Refused(
        f"a restore on this incident may have taken the last migration back, so {BEFORE_LAST_MIGRATION} is not clear",
        reason=Reason.NO_TARGET,
        hint=f"{first}To take back one more, name the migration with {BEFORE_MIGRATION}NAME.",
        suggested_command=terms.suggest_restore(ctx, name, target) if target else None,
    )


def refuse_unnamed_migration(ctx: Context[Any], migrations: Sequence[Migration]) -> NoReturn:
    """Refuse `before-last-migration` without the record of an incident, which shows an earlier, interrupted run."""
    names = ", ".join(quote_name(each.name) for each in migrations)
    raise Refused(
        f"{BEFORE_LAST_MIGRATION} takes back {names}, and without the record of an incident a repeated run takes back "
        "one more",
        reason=Reason.NO_TARGET,
        hint="Name the migration, as in the command below: a repeated run then takes back nothing else.",
        suggested_command=terms.suggest_restore(ctx, ctx.params.database, f"{BEFORE_MIGRATION}{migrations[0].name}"),
    )


def find_repeated_restore(
    ctx: Context[Any], restore: DatabaseRestore, records: Iterable[RunRecord], accepted: str
) -> EarlierRestore | None:
    """Return the earlier restore that this request repeats, so that nothing is sent; None if it may be sent.

    `accepted` is the time of the earlier restore whose later writes a person agreed to lose; empty if nobody did. A
    migration that is named and applied is taken back: a request that repeats its restore finds it not applied.

    Raises:
        Refused: the request would undo an earlier restore, or it is unknown whether that restore was made.
        ConfigError: `accepted` is no time.
    """
    allowed = _parse_accepted_restore(accepted)
    if ctx.params.to.startswith(BEFORE_MIGRATION):
        return None
    newest = find_newest_restore(restore.name, restore.before, records, restore.undo_bookmark)
    if newest is None or not newest.is_after(restore):
        newest = _find_unrecorded(ctx, restore) or newest
    if newest is None or allowed == newest.at or _is_unmade(newest, restore):
        return None
    if newest.is_made and newest.target == restore.bookmark:
        newest = replace(newest, contradiction=_find_contradiction(newest, restore))
        if not newest.contradiction:
            return newest
    if newest.is_made and is_bookmark(ctx.params.to) and restore.bookmark in newest.undos:
        return None
    is_repeat = is_relative_time(ctx.params.to) and restore.planned_at - newest.at < RECENT
    if newest.is_after(restore) or is_repeat:
        raise _earlier_restore_refusal(ctx, restore, newest)
    return None


def find_newest_restore(
    name: str, state: DatabaseState, records: Iterable[RunRecord], current: str
) -> EarlierRestore | None:
    """Return the newest restore by row and records, made or perhaps made; None if there is none.

    An unanswered restore was made if the migration that it takes back is gone, or was applied again. If it takes back
    none, the `current` bookmark is of a later session than its undo.
    """
    restores = [restore for record in records if (restore := _read_restore(record, name))]
    if row := state.restored:
        undos = [undo for each in restores if each.run == row.run for undo in each.undos]
        undos = [state.restore_undo, *undos] if is_bookmark(state.restore_undo) else undos
        at, target = parse_utc(row.at).replace(microsecond=0), row.bookmark if is_bookmark(row.bookmark) else ""
        restores = [each for each in restores if each.run != row.run]
        restores.append(EarlierRestore(at, row.run, target, tuple(undos), evidence=f"its row in {TABLE}"))
    newest = max(restores, key=lambda each: (each.at, each.is_made), default=None)
    if newest is None or newest.is_made:
        return newest
    return replace(newest, evidence=_find_evidence(newest, state, current))


def _find_evidence(unanswered: EarlierRestore, state: DatabaseState, current: str) -> str:
    """Return what shows that D1 made a restore; empty if nothing does."""
    if name := unanswered.taken_back:
        applied = [each.applied_at for each in state.migrations if each.name == name]
        return "the migrations" if all(at >= unanswered.at for at in applied) else ""
    undo = next(iter(unanswered.undos), "")
    return "the session of D1's bookmark" if is_bookmark(undo) and session_of(current) > session_of(undo) else ""


def _find_contradiction(made: EarlierRestore, restore: DatabaseRestore) -> str:
    """Return what shows that the state of a restore to the wanted bookmark was changed back since; empty if nothing."""
    if restore.taken_back:
        return f"{quote_name(restore.taken_back[-1].name)} is applied, which that state does not have"
    row = restore.before.restored
    if made.left_row and (row is None or row.run != made.run):
        return f"something else probably restored {restore.name} since: {TABLE} no longer names that run"
    return ""


def newest_restore_record(records: Iterable[RunRecord], name: str) -> tuple[RunRecord, ...]:
    """Return the record of the run that sent a restore last; empty if there is none."""
    sent = [(row.at, n, record) for n, record in enumerate(records) for row, _ in _find_restores([record], name)]
    return (max(sent, key=lambda each: each[:2])[2],) if sent else ()


def find_same_intent(records: Iterable[RunRecord], name: str, environment: str, now: datetime) -> frozenset[str]:
    """Return the runs that planned a restore of this database, and have ended or were killed.

    Each may have closed its services. The record on an incident may lag, and lack the newest rows.
    """
    same = (record for record in records if _has_same_intent(record, name, environment))
    return frozenset(each.run for each in same if each.decision or not each.rows or now >= _restore_may_run_until(each))


def _has_same_intent(record: RunRecord, name: str, environment: str) -> bool:
    """Return whether the run planned a restore of this database.

    A long record keeps the changes of its plan, or the row before the restore, and may lack the row of the plan.
    """
    if (record.runbook, record.environment) != ("restore-database", environment):
        return False
    target = f"{PLANNED_PREFIX}{name}"
    starts, kinds = (f"{target}: ", f"{TARGET_PREFIX}{name}: "), {EventKind.PLANNED, EventKind.PREPARED}
    return any(changed == target for changed, _, _ in record.versions) or any(
        row.kind in kinds and row.text.startswith(starts) for row in record.rows
    )


def _read_restore(record: RunRecord, name: str) -> EarlierRestore | None:
    """Return the restore of a run; None if it sent none, or read afterwards that D1 did not make it."""
    sent = list(_find_restores([record], name))
    if not sent:
        return None
    (row, later), undos = sent[-1], [match[1] for each, _ in sent if (match := _BOOKMARK.search(each.text))]
    is_made = any(each.kind == EventKind.WRITTEN for each in later)
    if not is_made and record.decision in _NOT_MADE:
        return None
    at, evidence = row.at.replace(microsecond=0), "its record" if is_made else ""
    is_answered = any(each.kind == EventKind.WRITTEN and each.text.startswith(ANSWERED) for each in later)
    left_row = is_answered and not any(each.text.startswith(NO_ROW) for each in later)
    target, taken_back = _find_target(record, name)
    return EarlierRestore(at, record.run, target, tuple(reversed(undos)), taken_back, evidence, left_row)


def _find_target(record: RunRecord, name: str) -> tuple[str, str]:
    """Return the bookmark that a run restored last, and a migration that it takes back; each empty if unknown."""
    prefix = f"{TARGET_PREFIX}{name}: "
    texts = [row.text for row in record.rows if row.kind == EventKind.PREPARED and row.text.startswith(prefix)]
    match = _BOOKMARK.search(texts[-1]) if texts else None
    if match is None or not is_bookmark(match[1]):
        return "", ""
    return match[1], (match[2] or "") if len(texts[-1]) < MAX_TEXT else ""


def _find_restores(records: Iterable[RunRecord], name: str) -> Iterator[tuple[RecordRow, tuple[RecordRow, ...]]]:
    """Yield the row right before each restore that these runs sent, with the later rows of that run."""
    for run in records:
        for n, row in enumerate(run.rows):
            if row.kind == EventKind.PREPARED and row.text.startswith(f"{UNDO_PREFIX}{name}: "):
                yield row, run.rows[n + 1 :]


def _find_unrecorded(ctx: Context[Any], restore: DatabaseRestore) -> EarlierRestore | None:
    """Return a recent restore that only D1's bookmarks show: the target is of an earlier session than the present.

    A target that takes migrations back is none that was restored since.
    """
    current = restore.undo_bookmark
    if ctx.params.to == BEFORE_LAST_MIGRATION or restore.taken_back:
        return None
    if session_of(restore.bookmark) >= session_of(current):
        return None
    d1, now = ctx.cloudflare.d1, restore.planned_at
    at, before = time_travel.find_session_start(d1, restore.database.id, current, now)
    return EarlierRestore(at, undos=(before,)) if now - at < RECENT else None


def _is_unmade(earlier: EarlierRestore, restore: DatabaseRestore) -> bool:
    """Return whether D1 did not make an unanswered restore: the session is the same, and newer data is present."""
    counts = restore.before.counts
    has_newer = any(counts.get(table, 0) > then for table, then in restore.expected.items())
    return not earlier.is_made and earlier.target == restore.bookmark and (bool(restore.taken_back) or has_newer)


def _parse_accepted_restore(accepted: str) -> datetime | None:
    try:
        return parse_utc(accepted) if accepted else None
    except ValueError:
        raise ConfigError(
            f'"{quote_name(accepted)}" is no time of a restore', hint="Copy the time from the refusal, in UTC."
        ) from None


def describe_acceptance(ctx: Context[Any], restore: DatabaseRestore, earlier: EarlierRestore) -> str:
    """Return the command that restores all the same, and names the loss."""
    since = format_rfc3339(earlier.at)
    again = terms.suggest_restore(ctx, restore.name, restore.bookmark, accept_loss_since=since)
    button = f" (button: to = {restore.bookmark}; accept_loss_since = {since})" if again.button else ""
    return f"to restore {restore.point} and lose everything written since {since}: `{again.command}`{button}"


def _earlier_restore_refusal(ctx: Context[Any], restore: DatabaseRestore, earlier: EarlierRestore) -> Refused:
    """Return the refusal with both bookmarks, the next command, and the one that accepts the loss."""
    name, point = restore.name, restore.point
    means = f". {ctx.params.to} is now {point}" if is_relative_time(ctx.params.to) else ""
    undo = f". The state before it is bookmark {earlier.undos[0]}" if earlier.undos else ""
    to, first = "", "Look at the data first. "
    if earlier.target and earlier.target != restore.bookmark:
        verb = "check" if earlier.is_made else "finish"
        to, first = earlier.target, f"To {verb} that restore, run the command below. "
    elif earlier.contradiction and restore.taken_back:
        migration = restore.taken_back[0].name
        to, first = f"{BEFORE_MIGRATION}{migration}", f"To take back {migration}, run the command below. "
    acceptance = describe_acceptance(ctx, restore, earlier)
    return Refused(
        f"{earlier.describe(name)}. Another restore may lose what was written since{means}{undo}",
        reason=Reason.NO_TARGET if earlier.is_made else Reason.LIVE_UNKNOWN,
        hint=f"{first}{acceptance[0].upper()}{acceptance[1:]}",
        suggested_command=terms.suggest_restore(ctx, name, to) if to else None,
    )
