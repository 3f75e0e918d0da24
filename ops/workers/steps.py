"""Deploy a version or split of a Worker, and rehearse that: the target without traffic.

The version override asks for the target.
developers.cloudflare.com/workers/versions-and-deployments/version-overrides: an override works only for a version of
the current deployment. Where it does not apply, the live version answers, so a response counts only if it names the
target. The live deployment is restored before the traffic moves: so Cloudflare checks the target for changed secrets
as it does without a rehearsal.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare.marks import DeploymentMark
from ops.cloudflare.types.workers import (
    Displacement,
    Split,
    WorkerDeployment,
    describe_deployment,
    describe_split,
    is_same_split,
    leave_out_rehearsals,
    list_displacements,
    short_id,
    traffic_of,
)
from ops.config.probes import Probe, ProbeSet
from ops.core.clock import format_duration
from ops.core.errors import OpsError, ProviderError, Reason, Refused, SecretsChanged
from ops.core.plan import PlanSection
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState, Rehearsal, Step

if TYPE_CHECKING:
    from ops.config import Service
    from ops.workers.history import WorkerHistory

REHEARSAL_SECTION = "Rehearsal"


@dataclass(frozen=True, kw_only=True, eq=False)
class DeploySplit(Step):
    """Give the traffic of a Worker to a split of its versions."""

    worker: str
    live: WorkerDeployment
    """The live deployment when the plan was made."""
    find_split: Callable[[], Split]
    """Returns the split; the run itself may upload its version before."""
    mark: DeploymentMark
    accepted_secrets: frozenset[str] = frozenset()
    """Secrets that may return to their previous values."""
    refuse_secrets: Callable[[tuple[str, ...]], OpsError] | None = None
    """Makes the error for changed secrets that are not accepted."""
    rehearsal: "Callable[[DeploySplit], Rehearsal] | str | None" = None
    """Plans the rehearsal; or the reason why there is none; None if nobody wants one."""

    def check(self, ctx: Context[Any]) -> ObservedState:
        # A repair has the mark of a rehearsal.
        deployments = ctx.cloudflare.workers.list_deployments(self.worker, rehearsals=bool(self.mark.rehearsed))
        return self.observe(deployments, self.live)

    def apply(self, ctx: Context[Any]) -> str:
        return self.deploy(ctx, self.find_split(), self.mark)

    def deploy(self, ctx: Context[Any], split: Split, mark: DeploymentMark) -> str:
        """Deploy with one write, and once more with force if the changed secrets are accepted. Raises OpsError."""
        deploy = partial(ctx.cloudflare.workers.deploy, self.worker, split, mark=mark)
        try:
            return f"deployment {deploy()}"
        except SecretsChanged as changed:
            if changed.names and self.accepted_secrets.issuperset(changed.names):
                return f"deployment {deploy(force=True)}; accepted the previous values of {', '.join(changed.names)}"
            if self.refuse_secrets is None:
                raise
            raise self.refuse_secrets(changed.names) from None

    def plan_rehearsal(self, ctx: Context[Any]) -> Rehearsal | str | None:  # noqa: ARG002
        return self.rehearsal(self) if callable(self.rehearsal) else self.rehearsal

    def observe(
        self, deployments: tuple[WorkerDeployment, ...], live: WorkerDeployment, *, label: str = ""
    ) -> ObservedState:
        """Return whether a deployment of the split is live, or still the planned one, `live`.

        `label`: a name of the split for people. Another run's deployment counts as done if it deploys the same split.
        Raises ProviderError if Cloudflare lists no deployment.
        """
        if not deployments:
            raise no_deployments_error(self.worker)
        first, split, mark = deployments[0], self.find_split(), self.mark
        called = label or describe_split(split)
        ours = [d for d in deployments if d.mark and d.mark.run == mark.run and is_same_split(d.split, split)]
        if not ours and first.id == live.id:
            return ObservedState(ChangeState.PLANNED, f"{describe_split(live.split)} is live, as planned")
        if ours and first.id == ours[0].id:
            before_us = deployments[deployments.index(ours[-1]) + 1 :]
            slipped = [d for d in before_us if d.created_on > live.created_on and d.id != live.id]
            return ObservedState(ChangeState.DONE, f"{called} is live", tuple(describe_deployment(d) for d in slipped))
        if _is_same_change(first, live, split, mark):
            also = (f"the same change was made again: {describe_deployment(first)}",) if ours else ()
            text = f"{called} is live{'' if ours else f', by another run or person: {describe_deployment(first)}'}"
            return ObservedState(ChangeState.DONE, text, notes=also, made_by_run=bool(ours))
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, describe_deployment(first), made_by_run=bool(ours))


def _is_same_change(first: WorkerDeployment, live: WorkerDeployment, split: Split, mark: DeploymentMark) -> bool:
    """Return whether another deployment makes the same change. With an unchanged split, only an equal mark shows it."""
    if not is_same_split(first.split, split):
        return False
    theirs = first.mark
    facts = ("blames", "rotated", "restored", "revoked", "reset")
    is_equal = theirs is not None and all(getattr(theirs, name) == getattr(mark, name) for name in facts)
    return is_equal or not is_same_split(split, live.split)


def no_deployments_error(worker: str) -> ProviderError:
    """Return the error for an empty list, although the plan read at least one deployment."""
    return ProviderError(
        f"Cloudflare no longer lists any deployment of {worker}",
        reason=Reason.MALFORMED_ANSWER,
        hint="Check in the dashboard whether the Worker exists, and check https://www.cloudflarestatus.com/.",
    )


MIN_ROUNDS, MAX_ROUNDS, MAX_INTERVAL = 2, 5, 1.0
"""Of `verify`: one bad response refuses no target, and the rounds fit into MAX_SECONDS."""
MAX_SECONDS = 15.0
"""Time after which no round starts; a round takes up to 10 s.

A new deployment reaches all locations after "up to a couple of seconds".
"""
_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
"""Key of a structured-field dictionary, rfc-editor.org/rfc/rfc9651."""


def find_new_version(live: Split, target: Split) -> str:
    """Return the version that gets traffic only by the rollback; empty if there is none, the first one of two."""
    return next((version for version, percent in target if percent > 0 and version not in dict(live)), "")


def find_obstacle(service: "Service", history: "WorkerHistory", target: Split, *, is_checked: bool) -> str:
    """Return why the target cannot be rehearsed; empty if it can.

    `is_checked`: whether Cloudflare still has to check the target for changed secrets. It is not documented whether a
    rehearsal counts as the deployment after which it checks no more [unsure: secrets-after-rehearsal].
    """
    live, version = history.live.split, find_new_version(history.live.split, target)
    if len(live) > 1:
        return f"two versions are deployed already ({describe_split(live)}), and Cloudflare allows no third one"
    if any(other not in {version, live[0][0]} for other, _ in target):
        return "the target has two new versions, and Cloudflare allows no third one beside them"
    if not _KEY.fullmatch(service.worker):
        return f"the version override cannot name {service.worker}, because its first character is no small letter"
    if not _rehearsal_probes(service):
        return "no probe sees which version answers. Set `version` of an `http` probe in ops.yml"
    edited = (v for v in history.versions.values() if v.triggered_by == "secret" and history.is_older(version, v.id))
    if is_checked and any(edited):
        return f"a secret was edited after {short_id(version)} was uploaded, and Cloudflare has to check that first"
    return ""


def rehearsal_sections(service: "Service", live: Split, target: Split, obstacle: str | None) -> tuple[PlanSection, ...]:
    """Return the plan section; none if nobody asks for a rehearsal."""
    if obstacle is None:
        return ()
    if obstacle:
        return (PlanSection(REHEARSAL_SECTION, (f"none: {obstacle}",)),)
    alone, name = describe_split(live), short_id(find_new_version(live, target))
    probes = ", ".join(probe.name for probe in _rehearsal_probes(service))
    steps = (
        f"deploy {name} at 0 % beside {alone}, and send it the probes: {probes}",
        f"deploy {alone} alone again, and stop if {name} is unhealthy",
    )
    return (PlanSection(REHEARSAL_SECTION, steps),)


def _rehearsal_probes(service: "Service") -> tuple[Probe, ...]:
    return tuple(probe for probe in service.probes if probe.http is not None and probe.http.version)


def plan_rehearsal(service: "Service", refuse: Callable[[str, str], Refused], step: DeploySplit) -> Rehearsal:
    """Return the rehearsal of the version that gets traffic only by the step.

    `refuse`: makes the refusal of the version from the result of the probes.
    """
    rehearsed = WorkerRehearsal(step, find_new_version(step.live.split, step.find_split()))
    target = f"Worker {step.worker}, rehearsal"
    alone, both = describe_split(step.live.split), describe_split(rehearsed.split)
    verify = service.verify
    probes = ProbeSet(
        service.url,
        _rehearsal_probes(service),
        verify.model_copy(
            update={
                "successes": min(max(verify.successes, MIN_ROUNDS), MAX_ROUNDS),
                "interval": min(verify.interval, MAX_INTERVAL),
                "deadline": min(verify.deadline, MAX_SECONDS),
            }
        ),
        frozenset({rehearsed.version}),
        override=f'{step.worker}="{rehearsed.version}"',
    )
    return Rehearsal(
        _StartRehearsal(target, alone, both, f"Cloudflare lists {both} first", None, rehearsal=rehearsed),
        _EndRehearsal(target, both, alone, f"Cloudflare lists {alone} first", None, rehearsal=rehearsed),
        probes,
        partial(refuse, rehearsed.version),
        rehearsed.describe_moved_traffic,
    )


@dataclass
class WorkerRehearsal:
    """A rehearsal of one version beside the live deployment."""

    step: DeploySplit
    version: str
    replaced: Split = ()
    """Split that the rehearsal replaced, as last read: the live one, unless somebody deployed right before it."""
    restored: Split = ()
    """Split of the last restoration that was sent."""
    listed: tuple[WorkerDeployment, ...] = ()
    """Deployments as last read, newest first."""

    @property
    def split(self) -> Split:
        return (*self.step.live.split, (self.version, 0.0))

    @property
    def mark(self) -> DeploymentMark:
        return replace(self.step.mark, blames=None, rehearsed=self.version)

    def describe_moved_traffic(self) -> str:
        """Return whom the rehearsal replaced by accident, as last read, and for how long; empty if nobody."""
        moved = [
            each
            for each in list_displacements(self.listed)
            if any(accident.mark and accident.mark.run == self.mark.run for accident in each.accidents)
        ]
        return "; ".join(_describe_displacement(each, self.listed[0]) for each in moved)

    def is_own(self, deployment: WorkerDeployment) -> bool:
        """Return whether it belongs to this rehearsal, or to an equal one of another run."""
        mark = deployment.mark
        is_equal = is_same_split(deployment.split, self.split)
        return mark is not None and mark.rehearsed == self.version and (mark.run == self.mark.run or is_equal)

    def read(self, ctx: Context[Any]) -> tuple[WorkerDeployment, WorkerDeployment, bool]:
        """Return the newest deployment, the newest one without rehearsals, and whether this run started one."""
        worker = self.step.worker
        deployments = self.listed = ctx.cloudflare.workers.list_deployments(worker, rehearsals=True)
        if not deployments:
            raise no_deployments_error(worker)
        others = [each for each in deployments if not self.is_own(each)]
        made = any(each.mark and each.mark.run == self.mark.run for each in deployments if self.is_own(each))
        before = leave_out_rehearsals(others)[0] if others else self.step.live
        return deployments[0], before.displaced or before, made


def _describe_displacement(over: Displacement, newest: WorkerDeployment) -> str:
    """Return what served in place of a deployment, for how long, and what is live since; `newest`: of the list."""
    served, since = describe_split(over.traffic), f"{over.since:%H:%M:%S}"
    replaced = describe_deployment(over.displaced)
    if over.ended_at is None:
        return f"{served} has been live since {since} UTC in place of {replaced}"
    seconds, until = format_duration((over.ended_at - over.since).total_seconds()), f"{over.ended_at:%H:%M:%S}"
    live = describe_split(traffic_of(newest))
    return f"{served} served for {seconds}, from {since} to {until} UTC, in place of {replaced}; {live} is live now"


@dataclass(frozen=True, kw_only=True, eq=False)
class _StartRehearsal(Step):
    """Deploy the version at 0 % beside the live ones."""

    rehearsal: WorkerRehearsal

    def check(self, ctx: Context[Any]) -> ObservedState:
        """Return DONE if the version is at 0 %, also if another run of ours left it there."""
        rehearsal, live = self.rehearsal, self.rehearsal.step.live
        first, before, made = rehearsal.read(ctx)
        moved = describe_deployment(before) if before.id != live.id else ""
        if rehearsal.is_own(first) and is_same_split(first.split, rehearsal.split):
            by = "" if made else f", left by another run: {describe_deployment(first)}"
            text = f"{describe_split(rehearsal.split)} are deployed{by}"
            return ObservedState(ChangeState.DONE, text, (moved,) if moved else (), made_by_run=made)
        if moved:
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, moved, made_by_run=made)
        return ObservedState(ChangeState.PLANNED, f"{describe_split(live.split)} is live, as planned")

    def apply(self, ctx: Context[Any]) -> str:
        return self.rehearsal.step.deploy(ctx, self.rehearsal.split, self.rehearsal.mark)


@dataclass(frozen=True, kw_only=True, eq=False)
class _EndRehearsal(Step):
    """Deploy what the rehearsal replaced."""

    rehearsal: WorkerRehearsal

    def check(self, ctx: Context[Any]) -> ObservedState:
        """Return PLANNED while the rehearsal replaces something, and DONE if nothing of it is left."""
        rehearsal, live = self.rehearsal, self.rehearsal.step.live
        first, before, _ = rehearsal.read(ctx)
        if not rehearsal.is_own(first):
            state = ChangeState.DONE if before.id == live.id else ChangeState.CHANGED_ELSEWHERE
            return ObservedState(state, f"{describe_split(before.split)} is live, without the rehearsal")
        rehearsal.replaced = before.split
        if is_same_split(first.split, rehearsal.replaced):
            return ObservedState(ChangeState.DONE, f"{describe_split(first.split)} is deployed as before")
        if rehearsal.restored and is_same_split(first.split, rehearsal.restored):
            rehearsal.restored, text = (), f"{describe_split(first.split)} is deployed"
            return ObservedState(ChangeState.DONE, text, (describe_deployment(before),))
        moved = () if before.id == live.id else (describe_deployment(before),)
        return ObservedState(ChangeState.PLANNED, f"{describe_split(first.split)} are deployed", moved)

    def apply(self, ctx: Context[Any]) -> str:
        worker, rehearsal = self.rehearsal.step.worker, self.rehearsal
        rehearsal.restored = rehearsal.replaced
        return f"deployment {ctx.cloudflare.workers.deploy(worker, rehearsal.restored, mark=rehearsal.mark)}"
