"""Scenario 2 of the rollback procedure: a bad release of a site. The choice is made in `pages/live_deployment.py`.

Nothing of ours stands in a project's history afterwards, so what is live is seen at the site itself.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.cloudflare.types.pages import PagesDeployment, PagesProject
from ops.core.errors import Reason, Refused
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan
from ops.engine.context import Context
from ops.engine.runbook import ChangeState, ObservedState, TokenPermissions, param, service_of
from ops.pages import live_deployment as target
from ops.pages import observed_content, plan_text, steps
from ops.pages.live_deployment import Choice
from ops.pages.observed_content import Look, Seen
from ops.pages.plan_text import Past, deployed, short
from ops.pages.steps import Found, SiteRunbook

if TYPE_CHECKING:
    from ops.config import Service


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
    target: PagesDeployment
    live: PagesDeployment | None
    """None if it could not be identified, and a person named the target."""
    seen: Seen


class RollbackPages(SiteRunbook[Params, Details]):
    """Let an earlier deployment of a Pages site serve production again."""

    name = "rollback-pages"
    when = "A new release of the frontend breaks the UI, its assets or its build"
    params = Params
    example = Params(service="frontend")
    writes = (("POST", "/accounts/*/pages/projects/*/deployments/*/rollback"),)
    permissions = TokenPermissions(cloudflare=("Pages Write",))

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        service = service_of(ctx, self.kind)
        found = steps.find(ctx, service, ctx.params.to)
        past = found.past
        if past is None:
            return _plan_without_live(ctx, service, found)
        choice = past.choice
        if nothing := plan_text.nothing_to_do(past, choice, found.named):
            return _plan_of_nothing(ctx, past, choice, *nothing)
        steps.check_not_superseded(ctx, past.deployments)
        chosen = found.named or choice.target
        if chosen is None:
            raise _no_target(ctx, service, choice)
        return _plan(ctx, past, choice, Details(service, chosen, past.serving, found.seen))

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:  # noqa: ARG002  one change
        details = plan.details
        project, deployments, site = steps.now(ctx, details.service)
        if target.came(details.seen.deployments, deployments):  # it may have come after the site was read
            site = steps.look(ctx, details.service, details.service.url)
        return _standing(details, project, deployments, site)

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:  # noqa: ARG002  one change
        details = plan.details
        ctx.cloudflare.pages.roll_back(details.service.pages, details.target.id)
        return f"Cloudflare took the rollback to {details.target.id}"


def _standing(
    details: Details, project: PagesProject, deployments: tuple[PagesDeployment, ...], site: Look
) -> ObservedState:
    """What the site looks like, and what Cloudflare calls canonical where the site alone does not tell."""
    former, wanted, canonical = details.live, details.target, project.canonical_id
    newer = tuple(deployed(d) for d in target.came(details.seen.deployments, deployments))
    if former is None:
        return _standing_without_live(details, canonical, newer, site)
    if observed_content.of_site(site) is None:
        return ObservedState(
            ChangeState.CHANGED_ELSEWHERE,
            f"the site could not be read: {observed_content.unread(site)}",
            uncertain=True,
        )
    looks = details.seen.like(site)
    said = canonical == wanted.id != details.seen.project.canonical_id
    if wanted.id in looks and former.id not in looks:
        lags = f"Cloudflare's canonical deployment is still {canonical[:8] or 'none'}: it does not follow, or it lags"
        return ObservedState(
            ChangeState.DONE, f"{short(wanted)} is live", newer, () if canonical == wanted.id else (lags,)
        )
    if newer:  # while the site looks like the former one, theirs and ours are both on their way to it
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, newer[0], uncertain=former.id in looks)
    if said and (former.id in looks) == (wanted.id in looks):
        note = f"no compared path shows that {short(wanted)} is live: it is Cloudflare's word"
        return ObservedState(ChangeState.DONE, f"{short(wanted)} is canonical", notes=(note,))
    if former.id in looks:
        return _not_yet(details, former, canonical, same=wanted.id in looks, said=said)
    others = sorted(name[:8] for name in looks)
    text = f"the site looks like {' or '.join(others)}" if others else "the site looks like no deployment that was read"
    return ObservedState(ChangeState.CHANGED_ELSEWHERE, text, uncertain=not others)


def _standing_without_live(details: Details, canonical: str, newer: tuple[str, ...], site: Look) -> ObservedState:
    """Whether the target serves, where it is not known what served when the plan was made."""
    wanted, before = details.target, details.seen.project.canonical_id
    if details.seen.turned_to(wanted.id, site):
        return ObservedState(ChangeState.DONE, f"{short(wanted)} is live", newer)
    if newer:
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, newer[0], uncertain=True)
    if canonical == wanted.id != before:
        note = f"no compared path shows that {short(wanted)} is live: it is Cloudflare's word"
        return ObservedState(ChangeState.DONE, f"{short(wanted)} is canonical", notes=(note,))
    if canonical != before:
        return ObservedState(
            ChangeState.CHANGED_ELSEWHERE, f"{canonical[:8] or 'nothing'} became canonical", uncertain=True
        )
    why = observed_content.unread(site) or "the site does not look like it"
    return ObservedState(
        ChangeState.PLANNED, f"no compared path shows that {short(wanted)} is live: {why}", uncertain=True
    )


def _not_yet(details: Details, live: PagesDeployment, canonical: str, *, same: bool, said: bool) -> ObservedState:
    """The site looks like the former one."""
    former, wanted = short(live), short(details.target)
    if said:
        text = f"{wanted} is canonical, and the site still looks like {former}"
        return ObservedState(ChangeState.PLANNED, text, uncertain=True)
    if canonical not in {details.seen.project.canonical_id, live.id}:
        return ObservedState(
            ChangeState.CHANGED_ELSEWHERE, f"{canonical[:8] or 'nothing'} became canonical", uncertain=True
        )
    if same:
        return ObservedState(
            ChangeState.PLANNED,
            f"whether {former} or {wanted} is live does not show: they look the same",
            uncertain=True,
        )
    return ObservedState(ChangeState.PLANNED, f"{former} is live, as planned")


def _plan_of_nothing(ctx: Context[Params], past: Past, choice: Choice, summary: str, reason: Reason) -> Plan[Details]:
    """Nothing to change: verify what is live, and say what to press if that is not well."""
    return Plan(
        summary=summary,
        sections=plan_text.sections(past, choice, past.serving, by_rule=True),
        reason=reason,
        next_step=_press(ctx, choice.target.id) if choice.target else None,
    )


def _plan_without_live(ctx: Context[Params], service: "Service", found: Found) -> Plan[Details]:
    """A person named the target: that decides, with a warning. Raises Refused if nobody did."""
    chosen, project = found.named, found.seen.project
    if chosen is None:
        raise steps.live_unknown(ctx, service, found)
    steps.check_not_superseded(ctx, found.seen.deployments)
    why = steps.why_unknown(service, found)
    change = Change(
        target=f"Pages {service.pages}",
        before="not known",
        after=short(chosen),
        done_when=f"the site looks like {short(chosen)}, or Cloudflare calls it canonical",
        undo=None,
    )
    named = f"the live deployment could not be identified, so `to` decides: {short(chosen)} is deployed over it. {why}"
    return Plan(
        summary=f"Pages {service.pages}: not known → {short(chosen)}",
        changes=(change,),
        sections=plan_text.sections_if_unknown(chosen, ctx.clock.now(), why),
        not_undone=plan_text.NOT_UNDONE,
        consequences=plan_text.follows_if_unknown(project),
        warnings=(named,),
        done_message=f"Rolled back {ctx.params.service} to {short(chosen)}",
        details=Details(service, chosen, None, found.seen),
    )


def _plan(ctx: Context[Params], past: Past, choice: Choice, details: Details) -> Plan[Details]:
    chosen, live, sees = details.target, past.serving, details.seen.sighting
    by_rule = not ctx.params.to
    change = Change(
        target=f"Pages {details.service.pages}",
        before=short(live),
        after=short(chosen),
        done_when=f"the site looks like {short(chosen)}, and no longer like {short(live)}",
        undo=_press(ctx, live.id),
    )
    older = target.choose(past.deployments, chosen, blamed=past.blamed).target
    return Plan(
        summary=f"Pages {details.service.pages}: {short(live)} → {short(chosen)}",
        changes=(change,),
        sections=plan_text.sections(past, choice, chosen, by_rule=by_rule),
        not_undone=plan_text.NOT_UNDONE,
        consequences=plan_text.follows(past),
        warnings=plan_text.warnings(
            past,
            chosen,
            began=ctx.request.began,
            provable=sees.own.get(chosen.id) not in {None, sees.site},
            by_rule=by_rule,
        ),
        next_step=_press(ctx, older.id) if older else None,
        done_message=f"Rolled back {ctx.params.service} to {short(chosen)}",
        details=details,
    )


def _no_target(ctx: Context[Params], service: "Service", choice: Choice) -> Refused:
    """The way on is to build an earlier commit, where ops.yml says how."""
    passed = "; ".join(f"{over.deployment[:8]}: {over.why}" for over in choice.passed_over)
    return Refused(
        f"no deployment to go back to: {passed or 'no older one succeeded'}; the newest {steps.LISTED} are read",
        reason=Reason.NO_TARGET,
        hint=(
            "Build the commit before the live one and deploy that, which takes some minutes. Or name a deployment "
            "yourself: start rollback-pages again with `to`."
            if service.build
            else "Choose one yourself, and put its id in the place of DEPLOYMENT. To build an earlier commit instead, "
            f"{service.name} needs a `build` in ops.yml."
        ),
        suggested_command=ctx.press("redeploy-pages", service=service.name)
        if service.build
        else _press(ctx, "DEPLOYMENT"),
    )


def _press(ctx: Context[Params], to: str) -> SuggestedCommand:
    return ctx.press("rollback-pages", service=ctx.params.service, to=to)
