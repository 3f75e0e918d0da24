"""Lift the hold of a migration, so that deployments may apply it again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.core.errors import Decision, Reason, Refused
from ops.core.plan import Change, Plan, PlanSection, RunOutcome
from ops.core.suggestions import did_you_mean, quote_name
from ops.database.holds import Hold, lift_holds, read_holds
from ops.database.steps import DatabaseRunbook
from ops.engine.context import Context
from ops.engine.runbook import TokenPermissions, param
from ops.engine.step import ChangeState, ObservedState

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.databases import Database


class LiftHold(DatabaseRunbook["LiftHold.Params", "LiftHold.Details"]):
    """Lift the hold of a migration, so that deployments may apply it again."""

    @dataclass(frozen=True)
    class Params:
        database: str = param("Database in ops.yml")
        name: str = param("File name of the held migration")
        reason: str = param("Reason, shown in the timeline", default="")

    @dataclass(frozen=True)
    class Details:
        database: "Database"

    name = "lift-hold"
    when = "The guard refuses a migration that was taken back, and it is good now"
    menu_rank = 8
    by_label = False
    params = Params
    example = Params(database="fortunet", name="0002_compact_charts.sql")
    writes = (("POST", "/accounts/*/d1/database/*/query"),)
    permissions = TokenPermissions(cloudflare=("D1 Write",))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:
        return [{"database": name, "name": "FILE"} for name in environment.databases_of(service)]

    def is_watched(self, params: Params) -> bool:  # noqa: ARG002
        """Return False: the services are unchanged."""
        return False

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        database = ctx.environment.database(ctx.params.database)
        name, migration = ctx.params.database, ctx.params.name
        held = read_holds(ctx.cloudflare.d1, database.id)
        lifted, others = _split(held, migration)
        if not lifted:
            _refuse_wrong_name(migration, name, held)
        change = Change(
            target=f"Hold of {migration} in D1 database {name}",
            before="held",
            after="lifted",
            done_when="the database does not list it as held",
            undo=None,
        )
        sections = (PlanSection("Lifted", tuple(map(str, lifted))), PlanSection("Still held", tuple(map(str, others))))
        return Plan(
            summary=f"D1 database {name}: {'lift the hold of' if lifted else 'no hold of'} {migration}",
            changes=(change,) if lifted else (),
            sections=tuple(each for each in sections if each.lines),
            consequences=(f"the next deployment may apply {migration} as it is",) if lifted else (),
            reason=None if lifted else Reason.ALREADY_SET,
            done_message=f"Lifted the hold of {migration} in {name}",
            proved_claim=f"{migration} is no longer held in {name}",
            details=LiftHold.Details(database),
        )

    def decide_outcome(self, ctx: Context[Params], plan: Plan[Details]) -> RunOutcome:  # noqa: ARG002  it read it back
        """Return that the hold is lifted: the services do not show it, and may be failing or in maintenance."""
        if plan.changes:
            return RunOutcome(Decision.HEALTHY_AS_BEFORE, Reason.VERIFIED, plan.proved_claim)
        held = ", ".join(each for section in plan.sections for each in section.lines) or "no migration"
        return RunOutcome(Decision.NOTHING_TO_DO, Reason.ALREADY_SET, f"{plan.summary}; still held: {held}")

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:  # noqa: ARG002  one change
        lifted, _ = _split(read_holds(ctx.cloudflare.d1, plan.details.database.id), ctx.params.name)
        if lifted:
            return ObservedState(ChangeState.PLANNED, f"{ctx.params.name} is held")
        return ObservedState(ChangeState.DONE, f"{ctx.params.database} has no hold of {ctx.params.name}")

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:  # noqa: ARG002  one change
        ctx.cloudflare.d1.run_batch(plan.details.database.id, [lift_holds(ctx.params.name)])
        return f"lifted the hold of {ctx.params.name}"


def _refuse_wrong_name(migration: str, database: str, held: Sequence[Hold]) -> None:
    """Raise Refused if another hold is meant. Any other file name may be one whose hold was lifted before."""
    known = dict.fromkeys(each.migration for each in held)
    typed = migration.casefold().removesuffix(".sql")
    if known and (not migration.endswith(".sql") or any(each.casefold().startswith(typed) for each in known)):
        raise Refused(
            f'no migration "{quote_name(migration)}" is held in {database}{did_you_mean(migration, known)}',
            reason=Reason.UNKNOWN_NAME,
            hint="Copy the name of the file from the plan or from the message of the guard.",
        )


def _split(held: Sequence[Hold], migration: str) -> tuple[list[Hold], list[Hold]]:
    """Return the holds of a migration, and those of others."""
    lifted = [each for each in held if each.migration == migration]
    return lifted, [each for each in held if each not in lifted]
