"""Lift the hold of a migration, so that deployments may apply it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.core.errors import Decision, Reason, Refused
from ops.core.names import did_you_mean, quote_name
from ops.core.plan import PlanSection, RunOutcome
from ops.database.migration_holds import MigrationHold, lift_migration_holds, read_migration_holds
from ops.database.runbook_base import DatabaseRunbook
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, RequestEffect, TokenPermissions, WatchedState, param
from ops.engine.step import ChangeState, ObservedState, Step, StepPlan

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.sections import Database

STILL_HELD_SECTION = "Migrations still held"
LIFTED_SECTION = "Migration holds lifted"


class LiftHold(DatabaseRunbook["LiftHold.Params"]):
    """Lift the hold of a migration, so that deployments may apply it again."""

    @dataclass(frozen=True)
    class Params:
        database: str = param("Database in ops.yml", choices=lambda environment: environment.databases)
        name: str = param("File name of the held migration")
        reason: str = param("Reason, shown in the timeline", default="")

    name = "lift-hold"
    when = "`hold migrate` refuses a migration that was taken back, and it is good now"
    incident_use = IncidentUse(menu_rank=8)
    label_use = None
    example = Params(database="fortunet", name="0002_compact_charts.sql")
    writes = (("POST", "/accounts/*/d1/database/*/query"),)
    permissions = TokenPermissions(cloudflare=("D1 Write",))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:
        return [{"database": name, "name": "FILE"} for name in environment.databases_of(service)]

    def effect(self, params: Mapping[str, Any], environment: "Environment") -> RequestEffect:  # noqa: ARG002
        """Return that nothing is watched: the services are unchanged."""
        return RequestEffect(WatchedState.NOTHING)

    def plan(self, ctx: Context[Params]) -> StepPlan:
        database = ctx.environment.database(ctx.params.database)
        name, migration = ctx.params.database, ctx.params.name
        held = read_migration_holds(ctx.cloudflare.d1, database.id)
        lifted, others = _split_holds(held, migration)
        if not lifted:
            _refuse_wrong_name(migration, name, held)
        step = _LiftMigrationHold(
            target=f"Hold of {migration} in D1 database {name}",
            before="held",
            after="lifted",
            done_when="the database does not list it as held",
            undo=None,
            database=database,
        )
        sections = (
            PlanSection(LIFTED_SECTION, tuple(map(str, lifted))),
            PlanSection(STILL_HELD_SECTION, tuple(map(str, others))),
        )
        summary = f"D1 database {name}: {'lift the hold of' if lifted else 'no hold of'} {migration}"
        claim = f"{migration} is no longer held in {name}"
        # The services do not show it, and may be failing or in maintenance, so no probe decides.
        ending = RunOutcome(Decision.HEALTHY_AS_BEFORE, Reason.VERIFIED, claim)
        if not lifted:
            still = ", ".join(map(str, others)) or "no migration"
            ending = RunOutcome(Decision.NOTHING_TO_DO, Reason.ALREADY_SET, f"{summary}; still held: {still}")
        return StepPlan(
            summary=summary,
            changes=(step,) if lifted else (),
            sections=tuple(each for each in sections if each.lines),
            consequences=(f"the next deployment may apply {migration} as it is",) if lifted else (),
            reason=None if lifted else Reason.ALREADY_SET,
            done_message=f"Lifted the hold of {migration} in {name}",
            proved_claim=claim,
            decide=lambda: ending,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _LiftMigrationHold(Step):
    database: "Database"

    def check(self, ctx: Context[LiftHold.Params]) -> ObservedState:
        lifted, _ = _split_holds(read_migration_holds(ctx.cloudflare.d1, self.database.id), ctx.params.name)
        if lifted:
            return ObservedState(ChangeState.PLANNED, f"{ctx.params.name} is held")
        return ObservedState(ChangeState.DONE, f"{ctx.params.database} has no hold of {ctx.params.name}")

    def apply(self, ctx: Context[LiftHold.Params]) -> str:
        ctx.cloudflare.d1.run_batch(self.database.id, [lift_migration_holds(ctx.params.name)])
        return f"lifted the hold of {ctx.params.name}"


def _refuse_wrong_name(migration: str, database: str, held: Sequence[MigrationHold]) -> None:
    """Raise Refused if another hold is meant. Any other file name may be one whose hold was lifted before."""
    known = dict.fromkeys(each.migration for each in held)
    typed = migration.casefold().removesuffix(".sql")
    if known and (not migration.endswith(".sql") or any(each.casefold().startswith(typed) for each in known)):
        raise Refused(
            f'no migration "{quote_name(migration)}" is held in {database}{did_you_mean(migration, known)}',
            reason=Reason.UNKNOWN_NAME,
            hint="Copy the name of the file from the plan or from the refusal.",
        )


def _split_holds(held: Sequence[MigrationHold], migration: str) -> tuple[list[MigrationHold], list[MigrationHold]]:
    """Return the holds of a migration, and those of others."""
    lifted = [each for each in held if each.migration == migration]
    return lifted, [each for each in held if each not in lifted]
