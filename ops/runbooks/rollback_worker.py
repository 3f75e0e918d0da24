"""Scenario 1 of the rollback procedure: a bad release of a Worker. The rules of the choice are in `model/target.py`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.model import target, worker_plan
from ops.model.clock import utc_text
from ops.model.errors import ProviderError, Reason, Refused, SecretsChanged
from ops.model.history import History
from ops.model.mark import Mark
from ops.model.plan import Change, Plan
from ops.model.press import Press
from ops.model.target import Choice
from ops.model.worker import Deployment, Split, Version, same_split, short, split_prose, split_text
from ops.model.worker_plan import deployed
from ops.probes.rounds import ProbeSet
from ops.runbook import Context, Runbook, State, World, param, service_of

if TYPE_CHECKING:
    from ops.model.config import Service

AT_ONCE = 16
"""Versions read beside each other; a further batch only while all so far were passed over."""


@dataclass(frozen=True)
class Params:
    service: str = param("the service of ops.yml to roll back")
    to: str = param("a version, or A@90,B@10 for a split; without it the rules choose", default="")
    reason: str = param("why, in a few words, for the deployment's message and the timeline", default="")
    accept_changed_secrets: tuple[str, ...] = param(
        "secrets whose former values may come back: the names that Cloudflare gave, with commas between", default=()
    )


@dataclass(frozen=True)
class Details:
    """What `check` and `apply` need of the plan."""

    worker: str
    live: Deployment
    split: Split
    mark: Mark


class RollbackWorker(Runbook[Params]):
    """Put an earlier version of a Worker back in front of all traffic."""

    name = "rollback-worker"
    when = "A new release of a Worker causes errors, is slow, or breaks the API"
    kind = "worker"
    params = Params

    def probes(self, ctx: Context[Params], plan: Plan | None) -> ProbeSet:
        service = service_of(ctx, self.kind)
        serving: frozenset[str] = frozenset()
        if plan is not None and isinstance(plan.details, Details):
            serving = frozenset(version for version, percent in plan.details.split if percent > 0)
        return ProbeSet(service.url, service.probes, service.verify, serving)

    def preflight(self, ctx: Context[Params]) -> Plan:
        service = service_of(ctx, self.kind)
        deployments, listed = ctx.in_parallel(
            [lambda: ctx.workers.deployments(service.worker), lambda: ctx.workers.deployable(service.worker)]
        )
        if not deployments:
            raise Refused(
                f"{service.worker} was never deployed",
                reason=Reason.NO_TARGET,
                hint="Deploy it first; nothing is live.",
            )
        to = target.parse_to(ctx.params.to, listed) if ctx.params.to else None
        history = _read(ctx, service, deployments, listed, wanted=to or ())
        choice = target.choose(history, incident=ctx.incident)
        if to is None and choice.standing is not None:
            summary = f"somebody stepped back already: {worker_plan.stepped_back(choice.standing)}"
            return _nothing(ctx, service, history, choice, summary=summary, reason=Reason.ALREADY_STEPPED_BACK)
        if to is not None and same_split(to, history.live.split):
            summary = f"{split_prose(to)} is live already"
            return _nothing(ctx, service, history, choice, summary=summary, reason=Reason.ALREADY_LIVE)
        _refuse_overtaken(ctx, history)
        if to is None and not choice.candidates:
            raise _no_target(ctx, history, choice)
        split = to or ((choice.candidates[0], 100.0),)
        _refuse_migration(history, choice.suspect, split)
        return _plan(ctx, service, history, choice, split, by_rule=to is None)

    def check(self, ctx: Context[Params], plan: Plan, change: Change) -> World:
        details = _details(plan)
        deployments = ctx.workers.deployments(details.worker)
        if not deployments:
            raise _none_listed(details.worker)
        ours = [d for d in deployments if d.mark and d.mark.run == ctx.run_id and same_split(d.split, details.split)]
        if not ours and deployments[0].id == details.live.id:
            return World(State.PLANNED, f"{change.before} is live, as planned")
        if not ours or deployments[0].id != ours[0].id:
            return World(State.MOVED, deployed(deployments[0]))
        before_us = deployments[deployments.index(ours[-1]) + 1 :]
        slipped = [d for d in before_us if d.created_on > details.live.created_on and d.id != details.live.id]
        return World(State.DONE, f"{change.after} is live", tuple(deployed(d) for d in slipped))

    def apply(self, ctx: Context[Params], plan: Plan, change: Change) -> str:  # noqa: ARG002  one change, in the details
        details, accepted = _details(plan), set(ctx.params.accept_changed_secrets)
        try:
            deployment = ctx.workers.deploy(details.worker, details.split, mark=details.mark)
        except SecretsChanged as changed:
            if not changed.names or not set(changed.names) <= accepted:
                raise _secrets_stop(ctx, changed.names, accepted, plan) from None
            deployment = ctx.workers.deploy(details.worker, details.split, mark=details.mark, force=True)
            return f"deployment {deployment}; the former values of {', '.join(changed.names)} were accepted"
        return f"deployment {deployment}"


def _details(plan: Plan) -> Details:
    assert isinstance(plan.details, Details)
    return plan.details


def _read(
    ctx: Context[Params],
    service: "Service",
    deployments: tuple[Deployment, ...],
    listed: Iterable[Version],
    wanted: Split,
) -> History:
    """Round 2: details in batches, the deployments read again beside each, so that the last read is the comparison."""
    versions = {version.id: version for version in listed}
    deployable = frozenset(versions)
    first = [v for v, _ in (*deployments[0].split, *wanted)]
    left = list(dict.fromkeys([*first, *(v for d in deployments for v, _ in d.split)]))
    while True:
        batch, left = left[:AT_ONCE], left[AT_ONCE:]
        again, *details = ctx.in_parallel(
            [lambda: ctx.workers.deployments(service.worker), *(_reading(ctx, service.worker, v) for v in batch)]
        )
        if not again:
            raise _none_listed(service.worker)
        if again[0] != deployments[0]:
            raise Refused(
                f"{service.worker} was deployed while the plan was made: {deployed(again[0])}",
                reason=Reason.WORLD_MOVED,
                hint="Look at what came in, then start again for a new plan.",
            )
        # A version that is gone is known to be gone: there is nothing more to be read of it.
        versions |= {v: found or Version(id=v, detailed=True) for v, found in zip(batch, details, strict=True)}
        history = History(
            deployments=deployments,
            versions=versions,
            deployable=deployable,
            now=ctx.clock.now(),
            min_served=service.min_served,
            static_assets=service.static_assets,
        )
        # In a split the suspect itself hangs on the ages of both releases, so there the whole history is read.
        found = len(deployments[0].serving) == 1 and target.choose(history, incident=ctx.incident).candidates
        if not left or wanted or found:
            return history


def _none_listed(worker: str) -> ProviderError:
    """It has some: the plan stands on them."""
    return ProviderError(
        f"Cloudflare no longer lists any deployment of {worker}",
        reason=Reason.MALFORMED_ANSWER,
        hint="Look in the dashboard whether the Worker is still there, and at https://www.cloudflarestatus.com/.",
    )


def _reading(ctx: Context[Params], worker: str, version: str) -> Callable[[], Any]:
    return lambda: ctx.workers.version(worker, version)


def _details_of(
    ctx: Context[Params], service: "Service", history: History, split: Split, *, blames: str | None
) -> Details:
    mark = Mark(incident=ctx.incident, run=ctx.run_id, blames=blames, text=ctx.params.reason)
    return Details(service.worker, history.live, split, mark)


def _plan(
    ctx: Context[Params], service: "Service", history: History, choice: Choice, split: Split, *, by_rule: bool
) -> Plan:
    blames = target.blames(history, choice.suspect, split, by_rule=by_rule)
    live = history.live.split
    change = Change(
        target=f"Worker {service.worker}",
        before=split_prose(live),
        after=split_prose(split),
        done_when=f"Cloudflare lists our deployment of {split_prose(split)} first",
        undo=_press(ctx, split_text(live)),
    )
    following = [c for c in choice.candidates if c not in dict(split) and (by_rule or history.is_older(c, split[0][0]))]
    return Plan(
        summary=f"Worker {service.worker}: {split_prose(live)} → {split_prose(split)}",
        changes=(change,),
        sections=worker_plan.sections(history, choice, split, repository=service.repository, by_rule=by_rule),
        not_undone=worker_plan.NOT_UNDONE,
        follows=worker_plan.follows(history, split),
        warnings=worker_plan.warnings(history, choice, split, began=ctx.incident_began, by_rule=by_rule),
        next_step=_press(ctx, following[0]) if following else None,
        done=f"Rolled back {ctx.params.service} to {split_prose(split)}",
        details=_details_of(ctx, service, history, split, blames=blames),
    )


def _nothing(
    ctx: Context[Params], service: "Service", history: History, choice: Choice, *, summary: str, reason: Reason
) -> Plan:
    """Nothing to change: verify what is live, and say what to press if that is not well."""
    return Plan(
        summary=summary,
        sections=worker_plan.sections(history, choice, history.live.split, repository=service.repository, by_rule=True),
        reason=reason,
        next_step=_press(ctx, choice.candidates[0]) if choice.candidates else None,
        details=_details_of(ctx, service, history, history.live.split, blames=None),
    )


def _no_target(ctx: Context[Params], history: History, choice: Choice) -> Refused:
    passed = "; ".join(f"{short(over.version)}: {over.why}" for over in choice.passed_over)
    return Refused(
        f"no version to go back to: {passed or 'nothing else ever had all of the traffic'}; {history.reach}",
        reason=Reason.NO_TARGET,
        hint="Choose one yourself, and put its id in the place of VERSION.",
        press=_press(ctx, "VERSION"),
    )


def _refuse_overtaken(ctx: Context[Params], history: History) -> None:
    """What was deployed after somebody asked may be the team's own fix, and is not what they saw failing."""
    if ctx.requested_at is not None and history.live.created_on > ctx.requested_at:
        raise Refused(
            f"something was deployed after this was asked for ({utc_text(ctx.requested_at)}): {deployed(history.live)}",
            reason=Reason.WORLD_MOVED,
            hint="Look whether that helped, and ask again if it did not.",
        )


def _refuse_migration(history: History, suspect: str, split: Split) -> None:
    """Cloudflare does not roll back across a Durable Object migration (…/versions-and-deployments/rollbacks)."""
    live_tag = history.version(suspect).migration_tag
    for version, _ in split:
        tag = history.version(version).migration_tag
        if live_tag and tag and tag != live_tag:
            raise Refused(
                f"a Durable Object migration lies between {short(suspect)} ({live_tag}) and {short(version)} ({tag})",
                reason=Reason.MIGRATION_BETWEEN,
                hint="Cloudflare cannot go back across it: deploy the reverted code with the migration kept.",
            )


def _secrets_stop(ctx: Context[Params], names: tuple[str, ...], accepted: set[str], plan: Plan) -> Refused:
    details = _details(plan)
    open_names = [name for name in names if name not in accepted]
    two_ways = next((w for w in plan.warnings if w.startswith(worker_plan.ONLY_SECRETS_DIFFER)), "")
    return Refused(
        f"secrets have changed since {split_prose(details.split)}: {', '.join(open_names) or 'Cloudflare names none'}",
        reason=Reason.SECRETS_CHANGED,
        hint=(
            f"{two_ways + ' ' if two_ways else ''}Going back may bring their former values back. Where one was leaked "
            "or revoked, set a new value first. Where all of them are known to be good, accept them by name."
            if names
            else "Look at the Worker's secrets in the dashboard; this tool does not force what it cannot name."
        ),
        press=_press(ctx, split_text(details.split), accept_changed_secrets=names) if names else None,
    )


def _press(ctx: Context[Params], to: str, **further: tuple[str, ...]) -> Press:
    return ctx.press("rollback-worker", service=ctx.params.service, to=to, **further)
