"""Lift the holds of rolled back commits of an incident, so that they may be deployed again.

It writes nothing to Cloudflare: a mark can be forged. The record is the label that the bot adds to the incident, after
the gate has authorized the requester. On a laptop it therefore requests the label of ops.yml, and waits for the bot.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet, VerificationRule, join_probes
from ops.core.clock import format_utc
from ops.core.errors import ConfigError, Decision, Reason, Refused
from ops.core.names import quote_name
from ops.core.plan import PlanSection, RunOutcome
from ops.core.standing_rollback import LIFTED, CommitHoldLift
from ops.core.threads import run_parallel
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, RequestEffect, Runbook, TokenPermissions, WatchedState, param
from ops.engine.step import ChangeState, ObservedState, ReadBackWords, Step, StepPlan
from ops.workers.commit_holds import CommitHold, read_commit_holds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.config import Environment, Service

LIFTED_SECTION = "Commit holds lifted"

BOT_WAIT = "5m"
"""Longest wait on a laptop for the workflow that a label starts."""
BY_BOT = ReadBackWords(
    "the label was added", "the incident", "it adds the label again, unless the hold is lifted. The answer is on it."
)


class LiftCommitHold(Runbook["LiftCommitHold.Params"]):
    """Lift the holds of rolled back commits of an incident, so that they may be deployed again."""

    @dataclass(frozen=True)
    class Params:
        reason: str = param("Reason, shown in the timeline", default="")

    name = "lift-commit-hold"
    when = "`hold check` refuses a commit that was rolled back, and it is good now"
    kinds = ("worker",)
    setting = "`hold_check: true`"
    example = Params()
    incident_use = IncidentUse(menu_rank=8, is_required=True, may_be_closed=True)
    writes = (("POST", "/repos/*/*/issues/*/labels"), ("DELETE", "/repos/*/*/issues/*/labels/*"))
    permissions = TokenPermissions(cloudflare=("Workers Scripts Read",), github=("issues: write",))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:
        return [{}] if environment.services[service].hold_check else []

    def service(self, params: Params, environment: "Environment") -> str:  # noqa: ARG002
        """Return the first service whose holds an incident may have."""
        return next((each.name for each in _checked_services(environment)), "")

    def written_services(self, params: "Mapping[str, Any]", environment: "Environment") -> Iterable[str]:  # noqa: ARG002
        """Return all services whose holds one incident may have."""
        return [each.name for each in _checked_services(environment)]

    def effect(self, params: "Mapping[str, Any]", environment: "Environment") -> RequestEffect:  # noqa: ARG002
        """Return that nothing is watched: the services are unchanged."""
        return RequestEffect(WatchedState.NOTHING)

    def probes(self, ctx: Context[Params]) -> ProbeSet:
        """Probe the services for the record only: no probe sees a hold."""
        services = _checked_services(ctx.environment)
        if not services:
            text = f"no Worker in {ctx.environment.name} has `hold_check: true` in ops.yml"
            raise ConfigError(text, hint="Add it to each service whose deployments run `ops hold check`.")
        return join_probes(ProbeSet(each.url, each.probes, each.verify, name=each.name) for each in services)

    def plan(self, ctx: Context[Params]) -> StepPlan:
        incident = ctx.request.require_incident()
        services = _checked_services(ctx.environment)
        read = run_parallel([partial(read_commit_holds, ctx.cloudflare.workers, each) for each in services])
        holds = [hold for found, _ in read for hold in found]
        limits = {each.name: limit for each, (_, limit) in zip(services, read, strict=True) if limit}
        mine = [each for each in holds if each.incident == incident]
        others = [each for each in holds if each.incident != incident]
        lift = ctx.github.lift_labels.read_lift(incident) if mine else None
        newest = max((each.since for each in mine), default=None)
        if newest is None or (lift and lift.ends(newest)):
            names = [f"{each.name} ({limits[each.name]})" if each.name in limits else each.name for each in services]
            return _ended_lift_plan(incident, lift, mine, others, names)
        _check_not_superseded(incident, newest, ctx.request.requested_at)
        wanted = _WantedLift(incident, newest)
        warnings = tuple(f"{name}: {limit}" for name, limit in limits.items())
        return replace(_lift_plan(ctx, wanted, lift, mine, others), warnings=warnings)


@dataclass(frozen=True)
class _WantedLift:
    incident: int
    newest: datetime
    """Time of the newest rollback that it lifts; the lift must be later."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _RemoveLabel(Step):
    """Remove a label that lifts nothing: GitHub records no event if a present label is added."""

    wanted: _WantedLift

    def check(self, ctx: Context[Any]) -> ObservedState:
        lift = ctx.github.lift_labels.read_lift(self.wanted.incident)
        is_there = lift is not None and not lift.ends(self.wanted.newest)
        text = f"incident {self.wanted.incident} has {'the' if is_there else 'no'} old label {LIFTED}"
        return ObservedState(ChangeState.PLANNED if is_there else ChangeState.DONE, text)

    def apply(self, ctx: Context[Any]) -> str:
        ctx.github.lift_labels.remove_lift(self.wanted.incident)
        return f"removed the label {LIFTED}"


@dataclass(frozen=True, kw_only=True, eq=False)
class _AddLabel(Step):
    wanted: _WantedLift
    label: str
    """LIFTED, or on a laptop the label that requests the run of the bot."""

    def check(self, ctx: Context[Any]) -> ObservedState:
        lift = ctx.github.lift_labels.read_lift(self.wanted.incident)
        if lift and lift.ends(self.wanted.newest):
            return ObservedState(ChangeState.DONE, f"incident {self.wanted.incident} has the label {LIFTED} of the bot")
        return ObservedState(ChangeState.PLANNED, f"the bot has not added {LIFTED} to incident {self.wanted.incident}")

    def apply(self, ctx: Context[Any]) -> str:
        labels = ctx.github.lift_labels
        if self.label == LIFTED:
            labels.add(self.wanted.incident, self.label)
        else:
            labels.request(self.wanted.incident, self.label)
        return f"added the label {self.label}"


def _checked_services(environment: "Environment") -> "list[Service]":
    return [each for each in environment.services.values() if each.worker and each.hold_check]


def _check_not_superseded(incident: int, newest: datetime, requested_at: datetime | None) -> None:
    """Refuse if a rollback is newer than the request, which may have waited. GitHub's times have whole seconds."""
    if requested_at is not None and newest.replace(microsecond=0) > requested_at:
        raise Refused(
            f"incident {incident} has a rollback at {format_utc(newest)}, after this request "
            f"({format_utc(requested_at)})",
            reason=Reason.WORLD_MOVED,
            hint="Check why it was made. If its commit may be deployed, send the request again.",
        )


def _ended_lift_plan(
    incident: int,
    lift: CommitHoldLift | None,
    mine: Sequence[CommitHold],
    others: Sequence[CommitHold],
    services: Iterable[str],
) -> StepPlan:
    """Return the plan that changes nothing. `services`: those whose deployments were read, and how far."""
    at = f" at {format_utc(lift.at)}" if lift else ""
    names = ", ".join(services)
    text = f"the holds of incident {incident} were lifted{at}"
    if not mine:
        text = f"incident {incident} holds no commit of {names}"
    reason = Reason.ALREADY_SET if mine else Reason.NOTHING_LEFT
    ending = RunOutcome(Decision.NOTHING_TO_DO, reason, text)
    return StepPlan(summary=text, sections=_lift_sections((), others), reason=reason, decide=lambda: ending)


def _lift_plan(
    ctx: Context[LiftCommitHold.Params],
    wanted: _WantedLift,
    lift: CommitHoldLift | None,
    mine: Sequence[CommitHold],
    others: Sequence[CommitHold],
) -> StepPlan:
    is_bot = ctx.github.lift_labels.is_bot()
    step = _AddLabel(
        target=f"Holds of incident {wanted.incident}",
        before="held",
        after="lifted",
        done_when=f"the bot has added the label {LIFTED}",
        undo=None,
        wanted=wanted,
        label=LIFTED if is_bot else _find_lift_label(ctx),
        words=BY_BOT,
    )
    claim = f"the holds of incident {wanted.incident} are lifted"
    ending = RunOutcome(Decision.HEALTHY_AS_BEFORE, Reason.VERIFIED, claim)
    return StepPlan(
        summary=f"lift the holds of incident {wanted.incident}: {'; '.join(map(str, mine))}",
        changes=(*([_remove_outdated(wanted, lift)] if lift and is_bot else []), step),
        sections=_lift_sections(mine, others),
        consequences=tuple(_lift_consequences(ctx, wanted.incident, mine)),
        done_message=f"Lifted the holds of incident {wanted.incident}",
        proved_claim=claim,
        probes=None if is_bot else partial(ProbeSet, "", (), VerificationRule.model_validate({"deadline": BOT_WAIT})),
        decide=lambda: ending,
    )


def _remove_outdated(wanted: _WantedLift, lift: CommitHoldLift) -> Step:
    return _RemoveLabel(
        target=f"Label {LIFTED} on incident {wanted.incident}",
        before=f"added by {quote_name(lift.by)} at {format_utc(lift.at)}, and lifts nothing",
        after="removed",
        done_when="the incident has no such label",
        undo=None,
        wanted=wanted,
    )


def _lift_consequences(ctx: Context[Any], incident: int, mine: Iterable[CommitHold]) -> Iterable[str]:
    services = dict.fromkeys(each.service for each in mine)
    yield f"the next deployment of {', '.join(services)} may ship these commits again"
    yield f"another rollback in incident {incident}, or removing the label {LIFTED}, holds them again"
    if len(ctx.config.environments) > 1:
        yield f"it lifts the holds of incident {incident} in all environments; this plan reads {ctx.environment.name}"


def _lift_sections(mine: Iterable[CommitHold], others: Iterable[CommitHold]) -> tuple[PlanSection, ...]:
    sections = (
        PlanSection(LIFTED_SECTION, tuple(map(str, mine))),
        PlanSection("Commits still held", tuple(map(str, others))),
    )
    return tuple(each for each in sections if each.lines)


def _find_lift_label(ctx: Context[Any]) -> str:
    """Return the label of ops.yml that requests this run. Raises Refused: a person's own label lifts nothing."""
    for name, label in ctx.config.labels.items():
        if (label.runbook, label.environment) == (LiftCommitHold.name, ctx.environment.name):
            return name
    raise Refused(
        "a laptop cannot lift a hold: only the label that a workflow adds counts, and ops.yml has no label for it",
        reason=Reason.UNKNOWN_LABEL,
        hint=f"Press the button: `gh workflow run {LiftCommitHold.name}.yml -f environment={ctx.environment.name} "
        f"-f incident={ctx.request.incident}`.",
    )
