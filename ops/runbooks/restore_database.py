"""Restore a D1 database to an earlier state with Time Travel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet
from ops.core.approval import ApprovalTerms
from ops.core.errors import Decision, NoEvidence, Reason, StillUnhealthy
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Progress, RunOutcome
from ops.core.run_record import PreviousRuns, RunRecord, merge_runs
from ops.core.threads import run_parallel_mixed, start_call
from ops.core.timeline import EventKind
from ops.core.verdict import Verdict
from ops.database import checks, keep_steps, plan_text, state, terms, time_travel
from ops.database.checks import DatabaseChecks
from ops.database.earlier_restores import (
    describe_acceptance,
    describe_restores,
    find_repeated_restore,
    find_same_intent,
    newest_restore_record,
    refuse_concurrent_restore,
    refuse_step_back_after_restore,
    refuse_unnamed_migration,
)
from ops.database.migration_holds import (
    MigrationHold,
    RestoredHolds,
    find_lost_migration_holds,
    make_migration_hold,
    read_migration_holds,
    refuse_second_step_back,
)
from ops.database.restore import DatabaseRestore, check_restore, check_taken_back, leave_row, send_restore
from ops.database.runbook_base import DatabaseRunbook, WorkerReads, describe_use, hash_if_known, read_database_worker
from ops.database.state import DatabaseState
from ops.database.time_travel import (
    BEFORE_LAST_MIGRATION,
    BEFORE_MIGRATION,
    RestorePoint,
    last_apply,
    parse_restore_point,
)
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, JobNeeds, LabelUse, TokenPermissions, param
from ops.engine.step import ChangeState, ObservedState, Step, StepPlan
from ops.maintenance import closure
from ops.maintenance.closure import Closure
from ops.maintenance.ownership import SameIntent
from ops.maintenance.writes import PATTERNS, PERMISSIONS, required_permissions

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.sections import Database

MESSAGE = "We are restoring data. Please try again in a few minutes."


def _choose_restore_permissions(environment: "Environment") -> tuple[str, ...]:
    used = {name for each in environment.databases.values() for name in each.services}
    closed = required_permissions(environment.services[name] for name in sorted(used))
    stored = ("Workers R2 Storage Write",) if environment.kept_rows_store else ()
    return tuple(dict.fromkeys(("D1 Write", "Workers Scripts Read", *closed, *stored)))


class RestoreDatabase(DatabaseRunbook["RestoreDatabase.Params"]):
    """Restore a D1 database to an earlier state."""

    @dataclass(frozen=True)
    class Params:
        database: str = param("Database in ops.yml", choices=lambda environment: environment.databases)
        to: str = param("Point: -15m, UTC time, bookmark, before-migration:NAME or before-last-migration")
        one_person: bool = param(
            "Restore without a second person; the incident says so", default=False, laptop_only=True
        )
        reason: str = param("Reason, shown in the timeline", default="")
        accept_loss_since: str = param(
            "Time of an earlier restore (UTC): restore again, and lose the later writes", default=""
        )
        accept_not_kept: str = param("Tables with `keep` whose rows may be lost, comma-separated", default="")

    name = "restore-database"
    when = "A migration or a bug damaged the data in D1"
    incident_use = IncidentUse(
        menu_rank=6,
        needs_approval=True,
        records_wait=15.0,  # without the records, `before-last-migration` is refused
    )
    label_use = LabelUse(only={"to": BEFORE_LAST_MIGRATION})
    job = JobNeeds(reads_source=True)
    example = Params(database="fortunet", to="-15m", one_person=True)
    writes = (
        ("POST", "/accounts/*/d1/database/*/time_travel/restore"),
        ("POST", "/accounts/*/d1/database/*/query"),  # holds of migrations
        ("PUT", "/accounts/*/r2/buckets/*/objects/*"),  # rows that it loses
        *PATTERNS,
    )
    permissions = TokenPermissions(
        cloudflare=("D1 Write", "Workers KV Storage Write", *PERMISSIONS, "Workers R2 Storage Write"),
        choose=_choose_restore_permissions,
    )

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:
        return [{"database": name, "to": BEFORE_LAST_MIGRATION} for name in environment.databases_of(service)]

    def plan(self, ctx: Context[Params]) -> StepPlan:
        return _build_plan(ctx, ctx.environment.database(ctx.params.database))


@dataclass
class _Restoration:
    """What the steps of a restore know together."""

    name: str
    """Name of the database in ops.yml."""
    database: "Database"
    restore: DatabaseRestore | None = None
    """None if there is nothing to take back."""
    closure: Closure = field(default_factory=Closure)
    """Maintenance of its services."""
    holds: RestoredHolds | None = None
    checked: DatabaseChecks | None = None
    undo: str = ""
    """Bookmark that undoes an earlier restore, which this run only checks."""
    terms: ApprovalTerms | None = None
    """Loss of the plan, and its limit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Restore(Step):
    whole: _Restoration
    restore: DatabaseRestore

    def prepare(self, ctx: Context[Any]) -> bool:
        """Count the loss again before a service is closed. Return True, so that state and undo are read again, too."""
        if self.whole.terms:
            terms.refuse_restore_growth(ctx, self.restore, self.whole.terms, is_closed=False)
        return True

    def find_awaited_probes(self, ctx: Context[Any]) -> ProbeSet | None:
        """Return the probes that prove that maintenance is in effect."""
        return self.whole.closure.closed_probes(ctx)

    def check(self, ctx: Context[Any]) -> ObservedState:
        return _check_restore(ctx, self.whole, self.restore)

    def apply(self, ctx: Context[Any]) -> str:
        return _send_restore(ctx, self.whole.holds, self.restore)

    def settled(self, ctx: Context[Any]) -> Step:
        """Return the step with the bookmark right before the restore as its undo."""
        return replace(self, undo=_suggest_undo(ctx, self.whole))


@dataclass(frozen=True, kw_only=True, eq=False)
class _AfterRestore(Step):
    """A step that follows the restore, whose lost answer left no row."""

    whole: _Restoration
    then: Step
    is_reopening: bool

    @classmethod
    def of(cls, whole: _Restoration, then: Step, *, is_reopening: bool = False) -> "_AfterRestore":
        given = {each.name: getattr(then, each.name) for each in fields(Step)}
        return cls(**given, whole=whole, then=then, is_reopening=is_reopening)

    @property
    def batch(self) -> object | None:
        return self.then.batch

    def find_pause(self, ctx: Context[Any]) -> float:
        return self.then.find_pause(ctx)

    def prepare(self, ctx: Context[Any]) -> bool:  # noqa: ARG002
        return True

    def check(self, ctx: Context[Any]) -> ObservedState:
        if self.is_reopening:
            _require_healthy_checks(ctx, self.whole)
        return self.then.check(ctx)

    def apply(self, ctx: Context[Any]) -> str:
        if (restore := self.whole.restore) and restore.sent:
            leave_row(ctx, restore)
        return self.then.apply(ctx)


def _find_probes(ctx: Context[RestoreDatabase.Params], closed: Closure) -> ProbeSet:
    """Return the probes of the database and each service that uses it, and that maintenance is off."""
    return closed.reopened_probes(ctx, ctx.environment.database_probes(ctx.params.database))


def _decide_restore(ctx: Context[Any], whole: _Restoration, remaining: str) -> RunOutcome | None:
    """Return the outcome of unhealthy checks, or of a service that stays in maintenance; None if probes decide.

    `remaining`: what the report must say of a run that changes something.
    """
    if remaining:
        ctx.timeline.record(EventKind.WARNING, remaining)
    name, results = whole.name, _run_checks(ctx, whole)
    press = _suggest_after_checks(ctx, whole)
    if results.verdict == Verdict.UNHEALTHY:
        text = f"the checks of {name} fail: {results}"
        return RunOutcome(Decision.STILL_UNHEALTHY, Reason.STILL_UNHEALTHY, text, press)
    if results.verdict == Verdict.INCONCLUSIVE:
        text = f"the checks of {name} are inconclusive: {results}"
        return RunOutcome(Decision.NO_EVIDENCE, Reason.NO_EVIDENCE, text, press)
    kept, command = whole.closure.describe_kept(ctx)
    if not kept:
        return None
    text = f"the checks of {name} are healthy, and no probe can prove more: {kept}"
    return RunOutcome(Decision.NO_EVIDENCE, Reason.NO_EVIDENCE, text, command)


def _check_restore(
    ctx: Context[RestoreDatabase.Params], whole: _Restoration, restore: DatabaseRestore
) -> ObservedState:
    """Check the restore. Counts are a minimum if maintenance did not last until its end."""
    if whole.holds and not restore.sent:
        whole.holds.read_again(ctx)
    observed = check_restore(ctx, restore)
    if whole.terms and not restore.sent and observed.state == ChangeState.PLANNED:
        terms.refuse_restore_growth(ctx, restore, whole.terms, is_closed=True)
    if restore.sent and restore.is_closed and (gone := whole.closure.services - whole.closure.find_closed(ctx)):
        restore.is_closed = False
        text = f"maintenance of {', '.join(sorted(gone))} ended during the restore: writes went on"
        ctx.timeline.record(EventKind.WARNING, text)
        return check_restore(ctx, restore)
    return observed


def _send_restore(ctx: Context[RestoreDatabase.Params], kept: RestoredHolds | None, restore: DatabaseRestore) -> str:
    """Record the earlier holds, and send the restore. The new holds name its undo."""
    if kept:
        kept.record(ctx)
    try:
        return send_restore(ctx, restore)
    finally:
        if kept:
            kept.undo = restore.undo_bookmark


def _suggest_after_checks(ctx: Context[RestoreDatabase.Params], whole: _Restoration) -> SuggestedCommand | None:
    """Return the command after checks that are not healthy: the undo, or the restore once more."""
    if whole.restore and whole.restore.applied_again:
        return terms.suggest_restore(ctx, whole.name, f"{BEFORE_MIGRATION}{whole.restore.applied_again}")
    return _suggest_undo(ctx, whole)


def _suggest_undo(ctx: Context[RestoreDatabase.Params], whole: _Restoration) -> SuggestedCommand | None:
    bookmark = whole.restore.undo_bookmark if whole.restore else whole.undo
    return terms.suggest_restore(ctx, ctx.params.database, bookmark) if bookmark else None


@dataclass(frozen=True)
class _Reads:
    """State that a plan starts from."""

    at: datetime
    """By D1's clock."""
    state: DatabaseState
    bookmark: str
    """Current one."""
    retention: str
    closing: Callable[[], Closure]
    """Plan of the maintenance, which takes more rounds of calls than the rest."""
    holds: tuple[MigrationHold, ...]
    workers: tuple[tuple[str, WorkerReads], ...]
    """Service and reads of each Worker that uses the database."""

    @property
    def closure(self) -> Closure:
        return self.closing()


def _read_before_restore(
    ctx: Context[RestoreDatabase.Params], database: "Database", find_records: Callable[[], Sequence[RunRecord]]
) -> _Reads:
    d1, name, now = ctx.cloudflare.d1, ctx.params.database, ctx.clock.now()
    services = ctx.environment.services_of(name)
    own = [each.name for each in services if len(ctx.environment.databases_of(each.name)) == 1]
    intent = SameIntent.of(ctx, lambda: find_same_intent(find_records(), name, ctx.environment.name, now), own)
    workers = [each for each in services if each.worker]
    closing = start_call(lambda: closure.plan_closure(ctx, services, MESSAGE, intent)).result
    database_state, at, bookmark, retention, held, *reads = run_parallel_mixed(
        [
            lambda: state.read_state(d1, database),
            lambda: state.read_database_clock(d1, database.id),
            lambda: d1.read_bookmark(database.id),
            lambda: time_travel.describe_retention(d1, database.id, ctx.clock.now()),
            lambda: read_migration_holds(d1, database.id),
            *(partial(read_database_worker, ctx, each) for each in workers),
        ]
    )
    names = [each.name for each in workers]
    return _Reads(at, database_state, bookmark, retention, closing, held, tuple(zip(names, reads, strict=True)))


def _plan_restore(
    ctx: Context[RestoreDatabase.Params], database: "Database", reads: _Reads, point: RestorePoint
) -> DatabaseRestore:
    d1, migrations = ctx.cloudflare.d1, reads.state.migrations
    located, taken_back = run_parallel_mixed(
        [
            lambda: time_travel.locate_restore_point(d1, database.id, point, reads.bookmark, reads.at),
            lambda: time_travel.find_taken_back(d1, database.id, point, migrations, reads.at),
        ]
    )
    target, rows_at_target = run_parallel_mixed(
        [
            lambda: time_travel.read_target(d1, database.id, located),
            lambda: state.count_rows_at(d1, database, reads.state, located.moment) if located.moment else {},
        ]
    )
    return DatabaseRestore(
        name=ctx.params.database,
        database=database,
        point=located,
        bookmark=target,
        before=reads.state,
        planned_at=reads.at,
        undo_bookmark=reads.bookmark,
        taken_back=taken_back,
        rows_at_target=rows_at_target,
    )


def _build_plan(ctx: Context[RestoreDatabase.Params], database: "Database") -> StepPlan:
    runs = start_call(ctx.previous_runs()).result
    find_records = start_call(lambda: _list_records(ctx, runs() if ctx.request.incident else None)).result
    reads = _read_before_restore(ctx, database, find_records)
    name = ctx.params.database
    previous, records = runs() if ctx.request.incident else None, find_records()
    refuse_concurrent_restore(ctx, records, ctx.clock.now())
    refuse_step_back_after_restore(ctx, previous.runs if previous else ())
    if ctx.params.to == BEFORE_LAST_MIGRATION:
        hint = f"Name the migration with {BEFORE_MIGRATION}NAME, which takes back nothing else if it is repeated."
        refuse_second_step_back(reads.holds, BEFORE_LAST_MIGRATION, hint, incident=ctx.request.incident, now=reads.at)
    point = parse_restore_point(ctx.params.to, ctx.request.requested_at or reads.at, reads.state.migrations)
    if point is None:
        migration = ctx.params.to.removeprefix(BEFORE_MIGRATION)
        return _plan_proof(ctx, database, reads, records, why="that migration is not applied", named=[migration])
    if ctx.params.to == BEFORE_LAST_MIGRATION and not (previous and previous.opened_at):
        refuse_unnamed_migration(ctx, last_apply(reads.state.migrations))
    restore, closed = _plan_restore(ctx, database, reads, point), reads.closure
    if earlier := find_repeated_restore(ctx, restore, records, ctx.params.accept_loss_since):
        undo = next(iter(earlier.undos), "")
        plan = _plan_proof(ctx, database, reads, records, why=earlier.describe(name), undo=undo)
        return replace(plan, warnings=(*plan.warnings, describe_acceptance(ctx, restore, earlier)))
    return _plan_changes(ctx, reads, restore, closed, describe_restores(previous, name, ctx.clock.now()))


def _plan_changes(
    ctx: Context[RestoreDatabase.Params], reads: _Reads, restore: DatabaseRestore, closed: Closure, recent: str
) -> StepPlan:
    name, database, point = restore.name, restore.database, restore.point
    uses = [describe_use(service, read, point) for service, read in reads.workers]
    restore.is_closed = closed.services == {*database.services} and not any(use.writers for use in uses)
    held = _plan_holds(ctx, database, reads, [each.name for each in restore.taken_back], restore.bookmark)
    whole = _Restoration(name, database, restore, closed, held)
    kept = keep_steps.plan_keeping(ctx, restore, ctx.params.accept_not_kept)
    undo = terms.suggest_restore(ctx, ctx.params.database, restore.undo_bookmark)
    words = (f"D1 database {name}", f"bookmark {restore.undo_bookmark}", f"state of {point}")
    done = "schema, migrations and rows show the state of the target"
    step = _Restore(*words, done, undo, whole=whole, restore=restore)
    holding = (_AfterRestore.of(whole, each) for each in held.steps)
    opening = (_AfterRestore.of(whole, each, is_reopening=True) for each in closed.turn_off)
    before, after = keep_steps.wrap_steps(kept, closed.closed_probes)
    changes = (*closed.turn_on, *before, step, *holding, *opening, *after)
    advice = (plan_text.describe_next_deployment(database, held.new), kept.advice if kept else "")
    remaining = "; ".join(filter(None, advice))
    sections = (*held.sections, *closed.describe_calls(ctx), *([kept.section] if kept else []))
    whole.terms = terms.restore_terms(restore, _given_options(ctx.params), changes, uses, reads.at)
    sections = (*sections, *terms.limit_section(ctx, whole.terms))
    return StepPlan(
        summary=f"D1 database {name}: restore {point}",
        changes=changes,
        sections=plan_text.restore_sections(restore, uses, checks.check_names(database), reads.at, sections),
        not_undone=plan_text.NOT_UNDONE,
        consequences=(plan_text.CANCELED, plan_text.REUSED_IDS, plan_text.KEEP_CODE_ORDER, reads.retention, recent),
        warnings=(
            *plan_text.sharing_warnings(ctx.config.environments, ctx.environment.name, database),
            *plan_text.restore_warnings(restore, uses),
            *plan_text.clock_warnings(reads.at, ctx.clock.now()),
            *closed.warnings(ctx),
        ),
        remaining_message=remaining,
        done_message=f"Restored {name} to {point}",
        proved_claim=f"{name} is restored to {point}; its checks and the probes are healthy",
        healthy_before_message="the data is restored and checked. No probe failed before, so check the data itself",
        terms=whole.terms,
        probes=partial(_find_probes, ctx, closed),
        decide=partial(_decide_restore, ctx, whole, remaining),
        describe_remains=partial(_describe_remains, ctx, closed, kept),
        repeat=terms.suggest_restore(ctx, name, restore.bookmark, accept_not_kept=ctx.params.accept_not_kept),
    )


def _describe_remains(
    ctx: Context[RestoreDatabase.Params], closed: Closure, kept: keep_steps.RowKeeping | None, progress: Progress
) -> str:
    """Describe the maintenance and the file that a run leaves behind that ends now; empty if there is none."""
    left = (closed.describe_remains(ctx, progress), keep_steps.describe_left_rows(kept, progress))
    return ". ".join(filter(None, left))


def _plan_holds(
    ctx: Context[RestoreDatabase.Params], database: "Database", reads: _Reads, taken_back: list[str], target: str
) -> RestoredHolds:
    name, hashes = ctx.params.database, hash_if_known(ctx, ctx.params.database, database, taken_back)
    new = (
        make_migration_hold(each, content, incident=ctx.request.incident, run=ctx.run_id, now=reads.at)
        for each, content in hashes.items()
    )
    return RestoredHolds(name, database.id, reads.holds, tuple(new), target)


def _list_records(ctx: Context[RestoreDatabase.Params], previous: PreviousRuns | None) -> tuple[RunRecord, ...]:
    here = [each for each in ctx.local_runs() if each.environment == ctx.environment.name]
    return merge_runs(previous.runs if previous else (), here)


def _given_options(params: RestoreDatabase.Params) -> dict[str, str]:
    """Return the parameters of an approved run, besides the database and the point."""
    names = ("reason", "accept_loss_since", "accept_not_kept")
    return {name: value for name in names if (value := getattr(params, name))}


def _plan_proof(
    ctx: Context[RestoreDatabase.Params],
    database: "Database",
    reads: _Reads,
    records: Sequence[RunRecord],
    *,
    why: str,
    named: Sequence[str] = (),
    undo: str = "",
) -> StepPlan:
    """Return the plan that only writes missing holds and runs the checks, as after a run that ended after its restore.

    `named` are migrations that the request itself takes back. `undo`: bookmark before an earlier restore.
    """
    name, closed = ctx.params.database, reads.closure.only_standing()
    known = {*(each.migration for each in reads.holds), *(each.name for each in reads.state.migrations)}
    missing = [
        each
        for each in dict.fromkeys((*named, *find_lost_migration_holds(newest_restore_record(records, name), name)))
        if each not in known
    ]
    held = _plan_holds(ctx, database, reads, missing, "")
    whole = _Restoration(name, database, closure=closed, holds=held, undo=undo)
    holding = tuple(_AfterRestore.of(whole, each) for each in held.steps) if missing else ()
    opening = tuple(_AfterRestore.of(whole, each, is_reopening=True) for each in closed.turn_off)
    changes, opened = (*holding, *opening), ", ".join(sorted({*closed.resumed}))
    done = [*([f"Held {', '.join(missing)} in {name}"] if missing else []), *([f"Reopened {opened}"] if opened else [])]
    remaining = plan_text.describe_next_deployment(database, held.new)
    return StepPlan(
        summary=f"D1 database {name}: nothing to restore, because {why}",
        changes=changes,
        sections=held.sections,
        warnings=(*closed.warnings(ctx), *keep_steps.describe_earlier(newest_restore_record(records, name))),
        remaining_message=remaining,
        proved_claim=f"the checks of {name} and the probes are healthy",
        healthy_before_message="what the earlier run did not finish is done, and the data is checked",
        reason=Reason.ALREADY_LIVE,
        done_message="; ".join(done),
        probes=partial(_find_probes, ctx, closed),
        decide=partial(_decide_restore, ctx, whole, remaining if holding else ""),
        describe_remains=partial(closed.describe_remains, ctx),
    )


def _require_healthy_checks(ctx: Context[RestoreDatabase.Params], whole: _Restoration) -> None:
    """Keep maintenance on unless the checks are healthy. Raises StillUnhealthy, NoEvidence."""
    results = _run_checks(ctx, whole)
    if results.verdict == Verdict.HEALTHY:
        return
    kind = StillUnhealthy if results.verdict == Verdict.UNHEALTHY else NoEvidence
    next_step = "restore once more" if whole.restore and whole.restore.applied_again else "undo the restore"
    raise kind(
        f"{whole.name} is restored, but its checks are {results.verdict.value}: {results}",
        hint=f"Check the data. Then turn maintenance off, or {next_step} with the command below.",
        suggested_command=_suggest_after_checks(ctx, whole),
    )


def _run_checks(ctx: Context[RestoreDatabase.Params], whole: _Restoration) -> DatabaseChecks:
    """Run the checks once, and record them."""
    if whole.checked is None:
        results = checks.run_checks(ctx.cloudflare.d1, whole.database, ctx.clock)
        taken_back = check_taken_back(ctx, whole.restore) if whole.restore else ()
        whole.checked = DatabaseChecks((*results.results, *taken_back))
        text = f"checks of {whole.name}: {whole.checked}"
        ctx.timeline.record(EventKind.COMPARED, text, verdict=whole.checked.verdict.value)
    return whole.checked
