"""Choose the target of a Pages rollback by the rules for the versions of a Worker.

Cloudflare lists no rollback of a site. So in its history each successful deployment has all of the traffic until the
next one, and the history ends with the deployment that serves.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ops.cloudflare.types.pages import PagesDeployment
from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion
from ops.core.run_record import RunRecord
from ops.workers import rollback_target
from ops.workers.history import WorkerHistory
from ops.workers.rollback_target import TargetChoice
from ops.workers.warning_signs import find_warning_sign

EARLIER_ROLLBACK = "already rolled back: "
"""Start of the summary of a run that found a rollback; `blamed_deployments` reads it from records."""
_SEEN_ROLLBACK = re.compile(rf"{EARLIER_ROLLBACK}([0-9a-f]{{8}}) is live instead of the newer ([0-9a-f]{{8}})\b")


@dataclass(frozen=True)
class TargetFacts:
    """What the choice needs besides the deployments."""

    now: datetime
    min_served: float
    digests: Mapping[str, str | None]
    """Deployment → digest of its compared paths; None or missing: unknown."""
    blamed: frozenset[str] = frozenset()
    """Deployments that earlier runs took out of service, or saw out of service."""
    incident_opened_at: datetime | None = None
    incident_began: datetime | None = None
    """Stated start of the incident."""


@dataclass(frozen=True)
class PagesTargetChoice:
    candidates: tuple[PagesDeployment, ...]
    """Best first, one per release, all older than the live one."""
    is_rolled_back: bool
    """A newer deployment is not live: without an explicit `to` there is nothing to do."""
    history: WorkerHistory
    """Releases up to the live deployment, which comes first."""
    choice: TargetChoice

    @property
    def target(self) -> PagesDeployment | None:
        """Return the deployment that the rules choose; None if they allow none."""
        return next(iter(self.candidates), None)

    @property
    def bad_commits(self) -> frozenset[str]:
        """Return the commits that were rolled back or reverted, or have another strong sign against them."""
        return frozenset(each.tag for each in self.history.versions.values() if self._is_bad(each.id))

    def _is_bad(self, deployment: str) -> bool:
        if deployment in self.history.blamed or self.history.was_removed_by_run(deployment):
            return True
        sign = find_warning_sign(self.history, self.choice.suspect, deployment)
        return sign is not None and not sign.weak


def choose_target(
    deployments: Sequence[PagesDeployment], serving: PagesDeployment, facts: TargetFacts
) -> PagesTargetChoice:
    """Choose among the older deployments that can serve. `deployments` are newest first, here and below."""
    able = [d for d in deployments if d.can_serve_production]
    listed = [serving, *(d for d in able if d.id != serving.id and d.created_on < serving.created_on)]
    history = WorkerHistory(
        tuple(WorkerDeployment(d.id, d.created_on, ((d.id, 100.0),)) for d in listed),
        {version.id: version for version in _as_versions(listed, facts.digests)},
        frozenset(d.id for d in listed),
        facts.now,
        facts.min_served,
        incident_opened_at=facts.incident_opened_at,
        incident_began=facts.incident_began,
        removed_by_runs=facts.blamed.intersection(d.id for d in listed),
    )
    choice = rollback_target.choose_target(history, incident=None)
    by_id = {d.id: d for d in listed}
    is_rolled_back = not able or able[0].id != serving.id
    return PagesTargetChoice(tuple(by_id[each] for each in choice.candidates), is_rolled_back, history, choice)


def _as_versions(listed: Sequence[PagesDeployment], digests: Mapping[str, str | None]) -> Iterator[WorkerVersion]:
    """Yield each deployment as a version whose code is its release: its commit, or a content that came back."""
    releases: dict[str, str] = {}
    older: list[PagesDeployment] = []
    for each in reversed(listed):
        same = [other for other in older if each.commit and other.commit == each.commit]
        before = same[0] if same else _find_returned(each, older, digests)
        releases[each.id] = releases[before.id] if before else each.id
        older.append(each)
    for each in listed:
        yield WorkerVersion(
            each.id,
            created_on=each.created_on,
            message=each.message,
            tag=each.commit,
            is_detailed=True,
            etag=releases[each.id],
        )


def _find_returned(
    each: PagesDeployment, older: Sequence[PagesDeployment], digests: Mapping[str, str | None]
) -> PagesDeployment | None:
    """Return the newest older deployment, oldest first in `older`, with equal content and another one between them.

    Without another content between them, the compared paths may be equal in all releases.
    """
    own, has_differed = digests.get(each.id), False
    for other in reversed(older):
        digest = digests.get(other.id)
        if own is None or digest is None:
            return None
        if digest == own and has_differed:
            return other
        has_differed = has_differed or digest != own
    return None


def blamed_deployments(
    runs: Iterable[RunRecord], deployments: Sequence[PagesDeployment], *, service: str, environment: str
) -> frozenset[str]:
    """Return the deployments that runs of any runbook replaced, or saw rolled back, and no later run restored.

    Oldest run first. A rollback blames the deployment that it replaced. So does a redeployment, of an older or a newer
    commit. A deployment that was newer than the live one had been rolled back by somebody, such as in the dashboard.
    """
    blamed: set[str] = set()
    for run in runs:
        if (run.service, run.environment) != (service, environment):
            continue
        seen = [_SEEN_ROLLBACK.match(row.text) for row in run.rows if row.kind == "planned"]
        blamed |= {d.id for match in seen if match and (d := find_by_prefix(match[2], deployments))}
        if not any(row.kind == "written" for row in run.rows):
            continue
        planned_at = next((row.at for row in run.rows if row.kind == "planned"), None)
        for _, before, after in run.versions:
            left, taken = (find_by_prefix(name, deployments) for name in (before, after))
            if left and planned_at:
                newer = (d for d in deployments if d.can_serve_production and left.created_on < d.created_on)
                blamed |= {d.id for d in newer if d.created_on < planned_at}
            if left and (is_site_redeployment(after) or (taken and left.created_on > taken.created_on)):
                blamed.add(left.id)
            if taken:
                blamed.discard(taken.id)
    return frozenset(blamed)


def is_site_redeployment(after: str) -> bool:
    """Return whether a plan of redeploy-pages wrote this text: its deployment has no ID yet."""
    return re.fullmatch("commit [0-9a-f]{7,40}", after) is not None


def find_by_prefix(name: str, deployments: Collection[PagesDeployment]) -> PagesDeployment | None:
    """Return the deployment whose ID begins with these eight digits."""
    if not re.fullmatch("[0-9a-f]{8}", name):
        return None
    return next((deployment for deployment in deployments if deployment.id.startswith(name)), None)
