"""Take back one migration of a D1 database with its hand-written down file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ops.cloudflare.types.d1 import Migration
from ops.core.clock import format_duration, format_utc
from ops.core.errors import Decision, Reason, Refused
from ops.core.plan import Change, Plan, PlanSection, RunOutcome
from ops.core.suggestions import count_of
from ops.core.timeline import EventKind
from ops.core.verdict import Verdict
from ops.database import acceptance, checks, plan_text, restored_holds, revert, terms
from ops.database.holds import refuse_second_step_back
from ops.database.restore import describe_loss
from ops.database.revert import LAST, MigrationRevert, RevertRejectedError, check_revert, describe_schema, send_revert
from ops.database.steps import DatabaseRunbook
from ops.database.target import BEFORE_MIGRATION
from ops.engine.context import Context
from ops.engine.runbook import TokenPermissions, param
from ops.engine.step import ObservedState

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.databases import Database

T = TypeVar("T")
NOT_UNDONE = (
    "rows and columns that the down file deletes",
    "anything outside this database: other stores, mails, payments",
)
CODE_FIRST = "code that needs the migration fails afterwards: roll it back before"
UNDO_LOSES = "the undo is a restore: it loses every write after the revert"
LOCAL_COPY = "the down file runs on a local copy: schema only, data not tested"
ONE_TRANSACTION = "one transaction of at most 30 s; other queries wait for it"


class RevertMigration(DatabaseRunbook["RevertMigration.Params", "RevertMigration.Details"]):
    """Take back the last migration of a D1 database with its down file."""

    @dataclass(frozen=True)
    class Params:
        database: str = param("Database in ops.yml")
        name: str = param("File name of the migration, or last")
        one_person: bool = param(
            "Revert without a second person; the incident says so", default=False, laptop_only=True
        )
        reason: str = param("Reason, shown in the timeline", default="")

    @dataclass(frozen=True)
    class Details:
        name: str
        """Name of the database in ops.yml."""
        database: "Database"
        revert: MigrationRevert | None = None
        """None if the migration was taken back already."""

    name = "revert-migration"
    when = "A migration broke the application, and the data written since must stay"
    menu_rank = 6
    needs_approval = True
    label_values = (("name", LAST),)
    reads_source = True
    params = Params
    example = Params(database="fortunet", name=LAST, one_person=True)
    writes = (("POST", "/accounts/*/d1/database/*/query"),)
    permissions = TokenPermissions(cloudflare=("D1 Write", "Workers Scripts Read"))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:
        found = environment.databases_of(service).items()
        return [{"database": name, "name": LAST} for name, each in found if each.migrations]

    def parameter_choices(self, environment: "Environment") -> Mapping[str, Sequence[str]]:
        return {"database": tuple(name for name, each in environment.databases.items() if each.migrations)}

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        return _build_plan(ctx, ctx.environment.database(ctx.params.database))

    def prepare(self, ctx: Context[Params], plan: Plan[Details]) -> bool:  # noqa: ARG002
        """Return True, so that state and bookmark are read right before the batch."""
        return True

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:  # noqa: ARG002  one change
        return check_revert(ctx, _require(plan))

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:  # noqa: ARG002  one change
        planned = _require(plan)
        return _suggesting_restore(ctx, planned.migration, lambda: send_revert(ctx, planned))

    def update_plan(self, ctx: Context[Params], plan: Plan[Details]) -> Plan[Details]:
        """Return the plan with the bookmark right before the batch as its undo."""
        undo = terms.suggest_restore(ctx, ctx.params.database, _require(plan).bookmark)
        return replace(plan, changes=tuple(replace(each, undo=undo) for each in plan.changes))

    def decide_outcome(self, ctx: Context[Params], plan: Plan[Details]) -> RunOutcome | None:
        """Return the outcome of checks that are not healthy; else probes decide."""
        details = plan.details
        if details.revert and plan.remaining_message:
            ctx.timeline.record(EventKind.WARNING, plan.remaining_message)  # for the report
        found = checks.run_checks(ctx.cloudflare.d1, details.database, ctx.clock)
        ctx.timeline.record(EventKind.COMPARED, f"checks of {details.name}: {found}", verdict=found.verdict.value)
        if found.verdict == Verdict.HEALTHY:
            return None
        is_unhealthy = found.verdict == Verdict.UNHEALTHY
        decision, reason = (
            (Decision.STILL_UNHEALTHY, Reason.STILL_UNHEALTHY)
            if is_unhealthy
            else (Decision.NO_EVIDENCE, Reason.NO_EVIDENCE)
        )
        text = f"the checks of {details.name} are {found.verdict.value}: {found}"
        if details.revert is None:
            return RunOutcome(decision, reason, text)
        lost = f"a restore to the state before loses all writes since {format_utc(ctx.clock.now())}"
        return RunOutcome(
            decision,
            reason,
            f"{text}; {lost}",
            terms.suggest_restore(ctx, ctx.params.database, details.revert.bookmark),
        )


def _require(plan: Plan[RevertMigration.Details]) -> MigrationRevert:
    assert plan.details.revert is not None
    return plan.details.revert


def _suggesting_restore(ctx: Context[RevertMigration.Params], migration: Migration, act: Callable[[], T]) -> T:
    """Call `act`, and add to its refusal the restore that takes the migration back, with the writes that it loses."""
    try:
        return act()
    except (Refused, RevertRejectedError) as error:
        error.suggested_command = terms.suggest_restore(ctx, ctx.params.database, f"{BEFORE_MIGRATION}{migration.name}")
        error.hint += f" It loses {describe_loss(migration.applied_at, ctx.clock.now())} of writes."
        raise


def _build_plan(ctx: Context[RevertMigration.Params], database: "Database") -> Plan[RevertMigration.Details]:
    name = ctx.params.database
    reads = revert.read_sources(ctx, name, database)
    if ctx.params.name == LAST:
        hint = "Name the migration with --name, which takes back nothing else if it is repeated."
        refuse_second_step_back(reads.holds, LAST, hint, incident=ctx.request.incident, now=reads.at)
    migration = revert.find_migration(ctx.params.name, reads.state.migrations, reads.holds)
    if migration is None:
        return Plan(
            summary=f"D1 database {name}: {ctx.params.name} was taken back already, and is held",
            reason=Reason.ALREADY_LIVE,
            details=RevertMigration.Details(name, database),
        )
    planned = _suggesting_restore(ctx, migration, lambda: revert.plan_revert(ctx, name, database, reads, migration))
    return Plan(
        summary=f"D1 database {name}: revert {migration}",
        changes=(_change(ctx, planned),),
        sections=tuple(_sections(planned)),
        not_undone=NOT_UNDONE,
        consequences=(ONE_TRANSACTION, CODE_FIRST, UNDO_LOSES),
        warnings=tuple(_warnings(planned)),
        remaining_message=plan_text.describe_next_deployment(database, [planned.hold]),
        done_message=f"Reverted {migration.name} of {name}",
        proved_claim=f"{migration.name} of {name} is reverted; its checks and the probes are healthy",
        healthy_before_message="the migration is reverted and checked. No probe failed before: check the data",
        terms=terms.revert_terms(planned, ctx.params.reason),
        details=RevertMigration.Details(name, database, planned),
    )


def _change(ctx: Context[RevertMigration.Params], planned: MigrationRevert) -> Change:
    return Change(
        target=f"Migration {planned.migration.name} of D1 database {planned.name}",
        before="applied",
        after="reverted and held",
        done_when="its row is gone, and its hold names this run",
        undo=terms.suggest_restore(ctx, ctx.params.database, planned.bookmark),
    )


def _sections(planned: MigrationRevert) -> Iterator[PlanSection]:
    down, count = planned.down, len(planned.down.statements)
    how_many = count_of(count, "statement")
    file = f"down file: {down.path}, {how_many}, {down.source}"
    page = (down.page,) if down.page else ()
    yield PlanSection("Migration", (str(planned.migration), file, *page, f"now: bookmark {planned.bookmark}"))
    yield PlanSection("Statements", tuple(plan_text.statement_lines(down.statements, down.page)))
    schema = tuple(describe_schema(planned.before, down.schema)) or ("unchanged",)
    yield PlanSection("Schema afterwards", (*schema, LOCAL_COPY))
    yield PlanSection("Holds", (f"{planned.migration.name}: {restored_holds.CONSEQUENCE}",))
    limit = format_duration(checks.TIME_LIMIT)
    yield PlanSection("Checks", (f"{', '.join(checks.check_names(planned.database))}; at most {limit} together",))


def _warnings(planned: MigrationRevert) -> Iterator[str]:
    for service, newer in planned.uploads.items():
        if newer:
            yield f"versions of {service} that were uploaded after the migration may need it: {len(newer)}"
    for loss in acceptance.describe_losses(planned.down.losses.losses, planned.before.counts):
        yield f"accepted by the down file: {loss}"
    if not planned.database.guard:
        yield plan_text.APPLIED_AGAIN
    if not planned.hold.hash:
        yield f"{planned.migration.name} is not on the default branch, so each file of that name is held"
