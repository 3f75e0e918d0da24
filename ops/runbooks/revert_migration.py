"""Take back one migration of a D1 database with its hand-written down file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ops.cloudflare.types.d1 import Migration
from ops.core.approval import LossLimit
from ops.core.clock import format_duration, format_utc
from ops.core.errors import Decision, Reason, Refused
from ops.core.names import count_of
from ops.core.plan import PlanSection, RunOutcome
from ops.core.timeline import EventKind
from ops.core.verdict import Verdict
from ops.database import checks, migration_holds, plan_text, revert, terms
from ops.database.losses import describe_losses
from ops.database.migration_holds import refuse_second_step_back
from ops.database.restore import describe_loss
from ops.database.revert import LAST, MigrationRevert, RevertRejectedError, check_revert, describe_schema, send_revert
from ops.database.runbook_base import DatabaseRunbook
from ops.database.time_travel import BEFORE_MIGRATION
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, JobNeeds, LabelUse, TokenPermissions, param
from ops.engine.step import ChangeState, ObservedState, Step, StepPlan

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.sections import Database

SCHEMA_SECTION = "Schema after the revert"
MIGRATION_SECTION = "Migration to revert"

T = TypeVar("T")
NOT_UNDONE = (
    "rows and columns that the down file deletes",
    "anything outside this database: other stores, mails, payments",
)
CODE_FIRST = "code that needs the migration fails afterwards: roll it back before"
UNDO_LOSES = "the undo is a restore: it loses every write after the revert"
LOCAL_COPY = "the down file runs on a local copy: schema only, data not tested"
ONE_TRANSACTION = "one transaction of at most 30 s; other queries wait for it"


class RevertMigration(DatabaseRunbook["RevertMigration.Params"]):
    """Take back the last migration of a D1 database with its down file."""

    @dataclass(frozen=True)
    class Params:
        database: str = param(
            "Database in ops.yml",
            choices=lambda environment: (name for name, each in environment.databases.items() if each.migrations),
        )
        name: str = param("File name of the migration, or last")
        one_person: bool = param(
            "Revert without a second person; the incident says so", default=False, laptop_only=True
        )
        reason: str = param("Reason, shown in the timeline", default="")

    name = "revert-migration"
    when = "A migration broke the application, and the data written since must stay"
    setting = "a database with `migrations`"
    incident_use = IncidentUse(menu_rank=6, needs_approval=True)
    label_use = LabelUse(only={"name": LAST})
    job = JobNeeds(reads_source=True)
    example = Params(database="fortunet", name=LAST, one_person=True)
    writes = (("POST", "/accounts/*/d1/database/*/query"),)
    permissions = TokenPermissions(cloudflare=("D1 Write", "Workers Scripts Read"))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:
        databases = environment.databases_of(service).items()
        return [{"database": name, "name": LAST} for name, each in databases if each.migrations]

    def plan(self, ctx: Context[Params]) -> StepPlan:
        return _build_plan(ctx, ctx.environment.database(ctx.params.database))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Revert(Step):
    revert: MigrationRevert
    limit: LossLimit

    def prepare(self, ctx: Context[Any]) -> bool:  # noqa: ARG002
        """Return True, so that state and bookmark are read right before the batch."""
        return True

    def check(self, ctx: Context[Any]) -> ObservedState:
        observed = check_revert(ctx, self.revert)
        if observed.state == ChangeState.PLANNED and not self.revert.sent:
            terms.refuse_growth(ctx, self.limit.find_more_rows(terms.revert_rows(self.revert)))
        return observed

    def apply(self, ctx: Context[Any]) -> str:
        return _suggesting_restore(ctx, self.revert.migration, lambda: send_revert(ctx, self.revert))

    def settled(self, ctx: Context[Any]) -> Step:
        """Return the step with the bookmark right before the batch as its undo."""
        return replace(self, undo=terms.suggest_restore(ctx, ctx.params.database, self.revert.bookmark))


def _decide_revert(
    ctx: Context[Any], name: str, database: "Database", revert: MigrationRevert | None, remaining: str
) -> RunOutcome | None:
    """Return the outcome of checks that are not healthy; None if probes decide.

    `revert` is None if the migration was taken back already; `remaining` is what the report must say.
    """
    if remaining:
        ctx.timeline.record(EventKind.WARNING, remaining)
    results = checks.run_checks(ctx.cloudflare.d1, database, ctx.clock)
    ctx.timeline.record(EventKind.COMPARED, f"checks of {name}: {results}", verdict=results.verdict.value)
    if results.verdict == Verdict.HEALTHY:
        return None
    decision, reason = Decision.NO_EVIDENCE, Reason.NO_EVIDENCE
    if results.verdict == Verdict.UNHEALTHY:
        decision, reason = Decision.STILL_UNHEALTHY, Reason.STILL_UNHEALTHY
    text = f"the checks of {name} are {results.verdict.value}: {results}"
    if revert is None:
        return RunOutcome(decision, reason, text)
    lost = f"a restore to the state before loses all writes since {format_utc(ctx.clock.now())}"
    back = terms.suggest_restore(ctx, ctx.params.database, revert.bookmark)
    return RunOutcome(decision, reason, f"{text}; {lost}", back)


def _suggesting_restore(ctx: Context[RevertMigration.Params], migration: Migration, act: Callable[[], T]) -> T:
    """Call `act`, and add to its refusal the restore that takes the migration back, with the writes that it loses."""
    try:
        return act()
    except (Refused, RevertRejectedError) as error:
        error.suggested_command = terms.suggest_restore(ctx, ctx.params.database, f"{BEFORE_MIGRATION}{migration.name}")
        error.hint += f" It loses {describe_loss(migration.applied_at, ctx.clock.now())} of writes."
        raise


def _build_plan(ctx: Context[RevertMigration.Params], database: "Database") -> StepPlan:
    name = ctx.params.database
    reads = revert.read_sources(ctx, name, database)
    if ctx.params.name == LAST:
        hint = "Name the migration with --name, which takes back nothing else if it is repeated."
        refuse_second_step_back(reads.holds, LAST, hint, incident=ctx.request.incident, now=reads.at)
    migration = revert.find_migration(ctx.params.name, reads.state.migrations, reads.holds)
    if migration is None:
        return StepPlan(
            summary=f"D1 database {name}: {ctx.params.name} was taken back already, and is held",
            reason=Reason.ALREADY_LIVE,
            decide=partial(_decide_revert, ctx, name, database, None, ""),
        )
    planned = _suggesting_restore(ctx, migration, lambda: revert.plan_revert(ctx, name, database, reads, migration))
    remaining = plan_text.describe_next_deployment(database, [planned.hold])
    loss = terms.revert_terms(planned, ctx.params.reason)
    return StepPlan(
        summary=f"D1 database {name}: revert {migration}",
        changes=(_revert_step(ctx, planned, loss.limit),),
        sections=(*_revert_sections(planned), *(terms.limit_section(ctx, loss) if planned.down.all_losses else ())),
        not_undone=NOT_UNDONE,
        consequences=(ONE_TRANSACTION, CODE_FIRST, UNDO_LOSES),
        warnings=(
            *plan_text.sharing_warnings(ctx.config.environments, ctx.environment.name, database),
            *_revert_warnings(planned),
        ),
        remaining_message=remaining,
        done_message=f"Reverted {migration.name} of {name}",
        proved_claim=f"{migration.name} of {name} is reverted; its checks and the probes are healthy",
        healthy_before_message="the migration is reverted and checked. No probe failed before: check the data",
        terms=loss,
        decide=partial(_decide_revert, ctx, name, database, planned, remaining),
    )


def _revert_step(ctx: Context[RevertMigration.Params], planned: MigrationRevert, limit: LossLimit) -> _Revert:
    return _Revert(
        target=f"Migration {planned.migration.name} of D1 database {planned.name}",
        before="applied",
        after="reverted and held",
        done_when="its row is gone, and its hold names this run",
        undo=terms.suggest_restore(ctx, ctx.params.database, planned.bookmark),
        revert=planned,
        limit=limit,
    )


def _revert_sections(planned: MigrationRevert) -> Iterator[PlanSection]:
    down, count = planned.down, len(planned.down.statements)
    how_many = count_of(count, "statement")
    file = f"down file: {down.path}, {how_many}, {down.source}"
    page = (down.page,) if down.page else ()
    yield PlanSection(MIGRATION_SECTION, (str(planned.migration), file, *page, f"now: bookmark {planned.bookmark}"))
    yield PlanSection("Statements of the down file", tuple(plan_text.statement_lines(down.statements, down.page)))
    schema = tuple(describe_schema(planned.before, down.schema)) or ("unchanged",)
    yield PlanSection(SCHEMA_SECTION, (*schema, LOCAL_COPY))
    if down.all_losses:
        yield PlanSection("Rows lost", tuple(describe_losses(down.all_losses, down.counts)))
    yield PlanSection("Hold after the revert", (f"{planned.migration.name}: {migration_holds.HELD_UNTIL}",))
    limit = format_duration(checks.TIME_LIMIT)
    yield PlanSection(
        "Checks after the revert", (f"{', '.join(checks.check_names(planned.database))}; at most {limit} together",)
    )


def _revert_warnings(planned: MigrationRevert) -> Iterator[str]:
    for service, newer in planned.uploads.items():
        if newer:
            yield f"versions of {service} that were uploaded after the migration may need it: {len(newer)}"
    for loss in describe_losses(planned.down.losses.losses, planned.down.counts):
        yield f"accepted by the down file: {loss}"
    if planned.down.failure:
        yield f"D1 refuses the down file if rows refer to others: {planned.down.failure}"
    if not planned.database.guard:
        yield plan_text.APPLIED_AGAIN
    if not planned.hold.hash:
        yield f"{planned.migration.name} is not on the default branch, so each file of that name is held"
