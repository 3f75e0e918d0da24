"""Scenario 2 of the rollback procedure: a bad release of a site. The choice is made in `model/pages_target.py`.

Nothing of ours stands in a project's history afterwards, so what is live is seen at the site itself.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.model import pages_plan, pages_seen
from ops.model import pages_target as target
from ops.model.clock import utc_text
from ops.model.errors import Reason, Refused
from ops.model.pages import PRODUCTION, Deployment, Project
from ops.model.pages_plan import Past, deployed, short
from ops.model.pages_seen import Look, Page, Seen
from ops.model.pages_target import Choice
from ops.model.plan import Change, Plan
from ops.probes.rounds import ProbeSet
from ops.runbook import Context, Runbook, State, World, param, service_of

if TYPE_CHECKING:
    from ops.model.config import Service

LISTED = 25
"""Deployments that are read: one page, so that the list takes one round."""
WHOLE_ID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@dataclass(frozen=True)
class Params:
    service: str = param("the service of ops.yml to roll back")
    to: str = param(
        "a deployment: its id, the first eight characters, or its address; without it the rules choose", default=""
    )
    reason: str = param("why, in a few words, for the timeline", default="")


@dataclass(frozen=True)
class Details:
    """What `check` and `apply` need of the plan."""

    service: "Service"
    target: Deployment
    live: Deployment
    canonical: str
    known: tuple[Deployment, ...]
    """All that the list held."""
    own: Mapping[str, Look]
    """Deployment → what its own address held."""


class RollbackPages(Runbook[Params]):
    """Let an earlier deployment of a Pages site serve production again."""

    name = "rollback-pages"
    when = "A new release of the frontend breaks the UI, its assets or its build"
    kind = "pages"
    params = Params

    def probes(self, ctx: Context[Params], plan: Plan | None) -> ProbeSet:  # noqa: ARG002  whatever serves
        service = service_of(ctx, self.kind, otherwise="rollback-worker")
        return ProbeSet(service.url, service.probes, service.verify)

    def preflight(self, ctx: Context[Params]) -> Plan:
        service = service_of(ctx, self.kind, otherwise="rollback-worker")
        earlier = ctx.earlier()
        listed = _round_1(ctx, service)
        seen = _round_2(ctx, service, listed)
        live = target.live(seen.project, seen.deployments, seen.sighting)
        if live.deployment is None:
            raise _live_unknown(service, live.why, pages_seen.unread(seen.site, *seen.own.values()))
        blamed = target.blamed(earlier(), seen.deployments, service=service.name, environment=ctx.environment_name)
        past = Past(seen.project, seen.deployments, live, live.deployment, ctx.clock.now(), service.repository, blamed)
        choice = target.choose(seen.deployments, live.deployment, blamed=blamed)
        if nothing := pages_plan.nothing_to_do(past, choice, listed.named):
            return _plan_of_nothing(ctx, past, choice, *nothing)
        _refuse_overtaken(ctx, seen.deployments)
        chosen = listed.named or choice.target
        if chosen is None:
            raise _no_target(ctx, choice)
        canonical = seen.project.canonical.id if seen.project.canonical else ""
        details = Details(service, chosen, live.deployment, canonical, seen.deployments, seen.own)
        return _plan(ctx, past, choice, details, seen)

    def check(self, ctx: Context[Params], plan: Plan, change: Change) -> World:  # noqa: ARG002  one change
        details = _details(plan)
        project, deployments, *site = ctx.in_parallel(
            [*_project_and_list(ctx, details.service), *_looks(ctx, details.service.url, details.service.compare)]
        )
        return _standing(details, project, deployments, tuple(site))

    def apply(self, ctx: Context[Params], plan: Plan, change: Change) -> str:  # noqa: ARG002  one change
        details = _details(plan)
        ctx.pages.rollback(details.service.pages, details.target.id)
        return f"Cloudflare took the rollback to {details.target.id}"


def _details(plan: Plan) -> Details:
    assert isinstance(plan.details, Details)
    return plan.details


def _project_and_list(ctx: Context[Params], service: "Service") -> list[Callable[[], Any]]:
    return [lambda: ctx.pages.project(service.pages), lambda: ctx.pages.deployments(service.pages, most=LISTED)]


def _looks(ctx: Context[Params], address: str, paths: tuple[str, ...]) -> list[Callable[[], Page]]:
    return [_looking(ctx, address.rstrip("/") + path) for path in paths]


def _looking(ctx: Context[Params], url: str) -> Callable[[], Page]:
    return lambda: ctx.look(url)


@dataclass(frozen=True)
class Listed:
    """What the first round read."""

    project: Project
    deployments: tuple[Deployment, ...]
    named: Deployment | None
    """The one that `to` names; it may be older than all of them."""


def _round_1(ctx: Context[Params], service: "Service") -> Listed:
    to = ctx.params.to.strip().lower()
    calls = _project_and_list(ctx, service)
    if re.fullmatch(WHOLE_ID, to):
        calls.append(lambda: ctx.pages.deployment(service.pages, to))
    project, deployments, *further = ctx.in_parallel(calls)
    if not deployments:
        raise Refused(
            f"{service.pages} was never deployed to production",
            reason=Reason.NO_TARGET,
            hint="Deploy it first; nothing is live.",
        )
    found = [d for d in further if d is not None and d not in deployments]
    if found and found[0].environment != PRODUCTION:
        raise Refused(
            f"deployment {short(found[0])} of {utc_text(found[0].created_on)} is a preview: it cannot serve production",
            reason=Reason.NOT_DEPLOYABLE,
            hint="Name one of production.",
        )
    return Listed(project, deployments, target.parse_to(to, (*deployments, *found)) if to else None)


def _round_2(ctx: Context[Params], service: "Service", listed: Listed) -> Seen:
    further = (listed.project.canonical, listed.named)
    compared = {d.id: d for d in (*target.to_compare(listed.deployments), *further) if d is not None}
    addresses = [service.url, *(d.url for d in compared.values())]
    looks = [look for address in addresses for look in _looks(ctx, address, service.compare)]
    project, deployments, *pages = ctx.in_parallel([*_project_and_list(ctx, service), *looks])
    if came := target.came(listed.deployments, deployments):
        raise Refused(
            f"{service.pages} was deployed while the plan was made: {deployed(came[0])}",
            reason=Reason.WORLD_MOVED,
            hint="Nothing was changed. Look at what came in, then start again for a new plan.",
        )
    each = len(service.compare)
    site, *own = (tuple(pages[start : start + each]) for start in range(0, len(pages), each))
    return Seen(project, deployments, site, dict(zip(compared, own, strict=True)))


def _standing(details: Details, project: Project, deployments: tuple[Deployment, ...], site: Look) -> World:
    """What the site looks like, and what Cloudflare calls canonical where the site alone does not tell."""
    whole, former, wanted = pages_seen.of_site(site), details.live, details.target
    canonical = project.canonical.id if project.canonical else ""
    newer = tuple(deployed(d) for d in target.came(details.known, deployments))
    if whole is None:
        return World(State.MOVED, f"the site could not be read: {pages_seen.unread(site)}", uncertain=True)
    looks = {name for name, look in details.own.items() if pages_seen.of_deployment(look, site) == whole}
    said = canonical == wanted.id != details.canonical
    if wanted.id in looks and former.id not in looks:
        lags = f"Cloudflare's canonical deployment is still {canonical[:8] or 'none'}: it does not follow, or it lags"
        return World(State.DONE, f"{short(wanted)} is live", newer, () if canonical == wanted.id else (lags,))
    if newer:  # while the site looks like the former one, theirs and ours are both on their way to it
        return World(State.MOVED, newer[0], uncertain=former.id in looks)
    if said and (former.id in looks) == (wanted.id in looks):
        note = f"no compared path shows that {short(wanted)} is live: it is Cloudflare's word"
        return World(State.DONE, f"{short(wanted)} is canonical", notes=(note,))
    if former.id in looks:
        return _not_yet(details, canonical, same=wanted.id in looks, said=said)
    others = sorted(name[:8] for name in looks)
    text = f"the site looks like {' or '.join(others)}" if others else "the site looks like no deployment that was read"
    return World(State.MOVED, text, uncertain=not others)


def _not_yet(details: Details, canonical: str, *, same: bool, said: bool) -> World:
    """The site looks like the former one."""
    former, wanted = short(details.live), short(details.target)
    if said:
        text = f"{wanted} is canonical, and the site still looks like {former}"
        return World(State.PLANNED, text, uncertain=True)
    if canonical not in {details.canonical, details.live.id}:
        return World(State.MOVED, f"{canonical[:8] or 'nothing'} became canonical", uncertain=True)
    if same:
        return World(
            State.PLANNED, f"whether {former} or {wanted} is live does not show: they look the same", uncertain=True
        )
    return World(State.PLANNED, f"{former} is live, as planned")


def _plan_of_nothing(ctx: Context[Params], past: Past, choice: Choice, summary: str, reason: Reason) -> Plan:
    """Nothing to change: verify what is live, and say what to press if that is not well."""
    return Plan(
        summary=summary,
        sections=pages_plan.sections(past, choice, past.serving, by_rule=True),
        reason=reason,
        next_step=_next_step(ctx, choice.target) if choice.target else "",
    )


def _plan(ctx: Context[Params], past: Past, choice: Choice, details: Details, seen: Seen) -> Plan:
    chosen, live = details.target, details.live
    by_rule = not ctx.params.to
    alike = seen.sighting.own[chosen.id] if chosen.id in seen.own else None
    change = Change(
        target=f"Pages {details.service.pages}",
        before=short(live),
        after=short(chosen),
        done_when=f"the site looks like {short(chosen)}, and no longer like {short(live)}",
        undo=_command(ctx, live.id),
    )
    older = target.choose(past.deployments, chosen, blamed=past.blamed).target
    return Plan(
        summary=f"Pages {details.service.pages}: {short(live)} → {short(chosen)}",
        changes=(change,),
        sections=pages_plan.sections(past, choice, chosen, by_rule=by_rule),
        not_undone=pages_plan.NOT_UNDONE,
        follows=pages_plan.follows(past),
        warnings=pages_plan.warnings(
            past,
            chosen,
            began=ctx.incident_began,
            provable=alike not in {None, seen.sighting.site},
            by_rule=by_rule,
        ),
        next_step=_next_step(ctx, older) if older else "",
        details=details,
    )


def _live_unknown(service: "Service", why: str, unread: str) -> Refused:
    return Refused(
        f"which deployment of {service.pages} is live is not known: {why}{unread and f'; {unread}'}",
        reason=Reason.LIVE_UNKNOWN,
        hint=(
            f"Look at {service.url} and in the dashboard, and roll back there. If the site changes what it sends, give "
            f"{service.name} a path in `compare` that comes from a file."
        ),
    )


def _no_target(ctx: Context[Params], choice: Choice) -> Refused:
    passed = "; ".join(f"{over.deployment[:8]}: {over.why}" for over in choice.passed_over)
    return Refused(
        f"no deployment to go back to: {passed or 'no older one succeeded'}; the newest {LISTED} are read",
        reason=Reason.NO_TARGET,
        hint=f"Choose one yourself: {_command(ctx, 'DEPLOYMENT')}",
    )


def _refuse_overtaken(ctx: Context[Params], deployments: tuple[Deployment, ...]) -> None:
    """What was deployed after somebody asked may be the team's own fix, and is not what they saw failing."""
    newest = next((d for d in deployments if d.may_serve_production), None)
    if newest is not None and ctx.requested_at is not None and newest.created_on > ctx.requested_at:
        raise Refused(
            f"something was deployed after this was asked for ({utc_text(ctx.requested_at)}): {deployed(newest)}",
            reason=Reason.WORLD_MOVED,
            hint="Nothing was changed. Look whether that helped, and ask again if it did not.",
        )


def _command(ctx: Context[Params], to: str) -> str:
    return ctx.command_line("rollback-pages", service=ctx.params.service, to=to)


def _next_step(ctx: Context[Params], deployment: Deployment) -> str:
    return f"{_command(ctx, deployment.id)}   (button: to = {deployment.id})"
