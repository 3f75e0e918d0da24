"""Steps of a Pages project: roll it back, or build and deploy a commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.pages import PRODUCTION, PagesDeployment, PagesProject
from ops.core.clock import format_duration
from ops.core.errors import OpsError
from ops.core.names import GitCommit, count_of
from ops.core.timeline import EventKind
from ops.core.verdict import WantedContent
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState, ReadBackWords, Step
from ops.pages import live_deployment, snapshot
from ops.pages.live_deployment import PROPAGATION, ObservedPages, SiteObservation
from ops.pages.plan_text import UNFINISHED_STATUSES, describe_site_deployment, short_deployment_id

if TYPE_CHECKING:
    from ops.config import Service

MARK = "redeployed by ops"
"""Text in the message of each deployment of a built commit; persisted."""


def site_read_back_words(repeat: str) -> ReadBackWords:
    """Return the words for a site that may lag. `repeat`: what the same command does meanwhile."""
    lag = format_duration(PROPAGATION.total_seconds())
    return ReadBackWords("Cloudflare answered", "the site", f"within {lag} of the write {repeat}")


DEPLOYED_WORDS = site_read_back_words("it sends nothing, and is refused while the site does not show the change.")


@dataclass(frozen=True, kw_only=True, eq=False)
class SiteStep(Step):
    """A write that puts another deployment live."""

    service: "Service"
    live: PagesDeployment | None
    """None if it could not be identified and a person named the target."""
    observed: SiteObservation
    is_compared_at_end: bool = True

    def find_new(self, deployments: Sequence[PagesDeployment]) -> tuple[PagesDeployment, ...]:
        return live_deployment.newly_available_deployments(self.observed.deployments, deployments)


@dataclass(frozen=True, kw_only=True, eq=False)
class RollBackSite(SiteStep):
    """Let an earlier deployment serve production again."""

    chosen: PagesDeployment

    def find_content(self) -> WantedContent:
        canonical = self.observed.project.canonical
        replaced = self.live or (canonical if canonical != self.chosen else None)
        return live_deployment.wanted_content(self.service, self.observed.deployments, self.chosen, replaced)

    def check(self, ctx: Context[Any]) -> ObservedState:
        """Compare the site with the deployments; where that is not clear, use Cloudflare's canonical deployment."""
        project, deployments, site = snapshot.read_current_state(ctx, self.service)
        new = self.find_new(deployments)
        if new:  # deployed after the site was read
            site = snapshot.read_compared_paths(ctx, self.service, self.service.url)
        newer = tuple(map(describe_site_deployment, new))
        if self.live is None:
            return self._observe_without_live(project.canonical_id, newer, site)
        return self._observe_site(self.live, project.canonical_id, newer, site)

    def apply(self, ctx: Context[Any]) -> str:
        ctx.cloudflare.pages.roll_back(self.service.pages, self.chosen.id)
        return f"Cloudflare accepted the rollback to {self.chosen.id}"

    def _observe_site(
        self, previous: PagesDeployment, canonical: str, newer: tuple[str, ...], site: ObservedPages
    ) -> ObservedState:
        if live_deployment.site_digest(site) is None:
            text = f"the site could not be read: {live_deployment.first_read_failure(site)}"
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, text, is_uncertain=True)
        chosen, matches = self.chosen, self.observed.matching_deployments(site)
        is_canonical = canonical == chosen.id != self.observed.project.canonical_id
        if chosen.id in matches and previous.id not in matches:
            named = canonical[:8] or "none"
            lags = f"Cloudflare still names {named} as canonical: it does not follow rollbacks, or lags"
            notes = () if canonical == chosen.id else (lags,)
            return ObservedState(ChangeState.DONE, f"{short_deployment_id(chosen)} is live", newer, notes)
        if newer:  # the site still shows the previous one, so either deployment may appear next
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, newer[0], is_uncertain=previous.id in matches)
        if is_canonical and (previous.id in matches) == (chosen.id in matches):
            return self._done_without_proof()
        if previous.id in matches:
            return self._observe_previous(previous, canonical, is_equal=chosen.id in matches, is_canonical=is_canonical)
        others = sorted(name[:8] for name in matches)
        text = f"the site matches {' or '.join(others)}" if others else "the site matches no deployment that was read"
        return ObservedState(ChangeState.CHANGED_ELSEWHERE, text, is_uncertain=not others)

    def _observe_previous(
        self, live: PagesDeployment, canonical: str, *, is_equal: bool, is_canonical: bool
    ) -> ObservedState:
        """Return the state while the site still shows the previous deployment."""
        previous, chosen = short_deployment_id(live), short_deployment_id(self.chosen)
        if is_canonical:
            text = f"{chosen} is canonical, but the site still matches {previous}"
            return ObservedState(ChangeState.PLANNED, text, is_uncertain=True)
        if canonical not in {self.observed.project.canonical_id, live.id}:
            text = f"{canonical[:8] or 'nothing'} became canonical"
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, text, is_uncertain=True)
        if is_equal:
            text = f"no compared path distinguishes {previous} from {chosen}"
            return ObservedState(ChangeState.PLANNED, text, is_uncertain=True, is_provable=False)
        return ObservedState(ChangeState.PLANNED, f"the site still shows {previous}", may_lag=True)

    def _observe_without_live(self, canonical: str, newer: tuple[str, ...], site: ObservedPages) -> ObservedState:
        """Return whether the target is live, if the plan could not identify the live deployment."""
        chosen, before = self.chosen, self.observed.project.canonical_id
        if self.observed.has_switched_to(chosen.id, site):
            return ObservedState(ChangeState.DONE, f"{short_deployment_id(chosen)} is live", newer)
        if newer:
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, newer[0], is_uncertain=True)
        if canonical == chosen.id != before:
            return self._done_without_proof()
        if canonical != before:
            text = f"{canonical[:8] or 'nothing'} became canonical"
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, text, is_uncertain=True)
        why = live_deployment.first_read_failure(site) or "the site does not match it"
        own = self.observed.own.get(chosen.id, ())
        return ObservedState(
            ChangeState.PLANNED,
            f"no compared path proves that {short_deployment_id(chosen)} is live: {why}",
            is_uncertain=True,
            is_provable=bool(own) and live_deployment.site_digest(own) is not None,
        )

    def _done_without_proof(self) -> ObservedState:
        name = short_deployment_id(self.chosen)
        note = f"no compared path proves that {name} is live; Cloudflare names it as canonical"
        return ObservedState(ChangeState.DONE, f"{name} is canonical", notes=(note,))


@dataclass(frozen=True, kw_only=True, eq=False)
class DeployCommit(SiteStep):
    """Build a commit and deploy it to production."""

    commit: GitCommit
    branch: str
    words: ReadBackWords = DEPLOYED_WORDS

    def prepare(self, ctx: Context[Any]) -> bool:
        count = ctx.site.prepare(self.service, self.commit, self.branch)
        how = "built by another job" if ctx.site.is_prebuilt else "built here, with a clean environment"
        files = count_of(count, "file")
        ctx.timeline.record(EventKind.PREPARED, f"commit {self.commit.short}: {files}, {how}")
        return True

    def find_content(self, ctx: Context[Any]) -> WantedContent | None:
        """Return our new deployment; None if it cannot be read."""
        try:
            _, deployments = snapshot.read_project_with(ctx, self.service, [])
        except OpsError:
            return None
        ours = self._find_ours(deployments)
        replaced = self.live or self.observed.project.canonical
        return live_deployment.wanted_content(self.service, deployments, ours, replaced) if ours else None

    def check(self, ctx: Context[Any]) -> ObservedState:
        project, deployments, site = snapshot.read_current_state(ctx, self.service)
        ours = self._find_ours(deployments)
        if ours is None:
            return self._observe_without_ours(project, deployments, site)
        others = [d for d in self.find_new(deployments) if d.commit != ours.commit]
        if over := [d for d in others if d.created_on > ours.created_on or d.id == project.canonical_id]:
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, describe_site_deployment(over[0]))
        own = snapshot.read_compared_paths(ctx, self.service, ours.url)
        slipped = tuple(describe_site_deployment(d) for d in others)
        return self._observe_ours(project, ours, slipped, look=(own, site))

    def apply(self, ctx: Context[Any]) -> str:
        ctx.site.check_file_limit(ctx.cloudflare.pages.read_file_limit(self.service.pages), self.commit)
        message = f"{self.commit.subject or self.commit.sha} ({MARK} {ctx.run_id})"
        return ctx.site.deploy(self.service, self.commit, self.branch, message)

    def _find_ours(self, deployments: Sequence[PagesDeployment]) -> PagesDeployment | None:
        return next((d for d in self.find_new(deployments) if d.commit == self.commit.sha), None)

    def _observe_without_ours(
        self, project: PagesProject, deployments: Sequence[PagesDeployment], site: ObservedPages
    ) -> ObservedState:
        """Return the state while no deployment of ours is deployable."""
        observed, canonical = self.observed, project.canonical_id
        if new := self.find_new(deployments):
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, describe_site_deployment(new[0]))
        if canonical != observed.project.canonical_id:
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, f"{canonical[:8] or 'nothing'} became canonical")
        by_assets, matches = observed.compares_assets, sorted(name[:8] for name in observed.matching_deployments(site))
        whole = live_deployment.site_digest(site, compares_assets=by_assets)
        previous = observed.own[self.live.id] if self.live else ()
        if previous and live_deployment.deployment_digest(previous, site, compares_assets=by_assets) not in {
            None,
            whole,
        }:
            text = f"the site matches {' or '.join(matches) or 'no deployment that was read'}"
            # A deployment after the list was read may be ours.
            return ObservedState(ChangeState.CHANGED_ELSEWHERE, text, is_uncertain=not matches)
        known = {d.id for d in observed.deployments}
        fresh = [d for d in deployments if d.id not in known and d.environment == PRODUCTION]
        if under_way := [d for d in fresh if d.commit == self.commit.sha and d.status in UNFINISHED_STATUSES]:
            text = f"{short_deployment_id(under_way[0])} (ours) is being deployed"
            return ObservedState(ChangeState.PLANNED, text, is_uncertain=True)
        live = short_deployment_id(self.live) if self.live else "what was live"
        text = f"{live} is live, as planned, and no newer deployment is of {self.commit.short}"
        return ObservedState(ChangeState.PLANNED, text)

    def _observe_ours(
        self,
        project: PagesProject,
        ours: PagesDeployment,
        slipped: tuple[str, ...],
        *,
        look: tuple[ObservedPages, ObservedPages],
    ) -> ObservedState:
        """Return whether our successful deployment is live."""
        canonical, live = project.canonical_id, self.live
        name, (own, site) = f"{short_deployment_id(ours)} of commit {self.commit.short}", look
        if canonical != ours.id:
            text = f"{name} is deployed, and Cloudflare's canonical deployment is {canonical[:8] or 'none'}"
            return ObservedState(ChangeState.PLANNED, text, is_uncertain=True)
        if not self.observed.serves_new_deployment(own, site):
            text = f"{name} is canonical, but the site does not match it"
            return ObservedState(ChangeState.PLANNED, text, slipped, is_uncertain=True)
        notes: tuple[str, ...] = ()
        if live and None not in {live.has_functions, ours.has_functions} and live.has_functions != ours.has_functions:
            has = "Functions" if ours.has_functions else "no Functions"
            notes = (f"{short_deployment_id(ours)} has {has}, unlike {short_deployment_id(live)}",)
        return ObservedState(ChangeState.DONE, f"{name} is live: {ours.url}", slipped, notes)
