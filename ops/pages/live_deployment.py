"""Which deployment of a Pages project serves production, and which one a rollback goes to. Pure.

That `canonical_deployment` follows a rollback is not known for sure, so it is believed only where the site looks like
it: one path is read at the site's address and at the deployments' own, and what came back is compared.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ops.cloudflare.types.pages import PagesDeployment, PagesProject
from ops.core.clock import format_utc
from ops.core.errors import Reason, Refused
from ops.core.run_record import RunRecord
from ops.core.suggestions import did_you_mean, quote_name

MAX_COMPARED = 8
"""How many of the newest successful deployments of production the site is compared with, where canonical is not it."""


@dataclass(frozen=True)
class ContentDigests:
    """What one path held, as a digest of it: equal digests, equal content. None where it could not be read."""

    site: str | None
    own: Mapping[str, str | None]
    """Deployment → what its own address held."""
    compares_assets: bool = False
    """Whether hashed assets were compared, since no content was equal."""


@dataclass(frozen=True)
class LiveDeployment:
    deployment: PagesDeployment | None
    """None where it is not proven: refuse before a change, and after one it is inconclusive."""
    why: str
    """For people."""
    is_canonical: bool = False
    """Whether it is the canonical one. False with a deployment: canonical does not follow rollbacks here."""
    indistinguishable: tuple[str, ...] = ()
    """Other compared deployments that held the same: the path could not tell them apart."""


def select_compared(deployments: Sequence[PagesDeployment]) -> tuple[PagesDeployment, ...]:
    """Those whose own address is to be read beside canonical's. `deployments` are newest first, here and below."""
    return tuple(d for d in deployments if d.can_serve_production)[:MAX_COMPARED]


def identify_live(
    project: PagesProject, deployments: Sequence[PagesDeployment], digests: ContentDigests
) -> LiveDeployment:
    canonical = project.canonical
    if canonical is None:
        return LiveDeployment(None, f"Cloudflare names no canonical deployment of {project.name}")
    if digests.site is None:
        return LiveDeployment(None, "the site itself could not be read")
    compared = {d.id: d for d in select_compared(deployments)}
    equal = [compared[name] for name in compared if digests.own.get(name) == digests.site]
    if digests.own.get(canonical.id) == digests.site:
        indistinguishable = tuple(d.id for d in equal if d.id != canonical.id)
        how = "names the hashed assets of" if digests.compares_assets else "looks like"
        return LiveDeployment(
            canonical,
            f"the site {how} the canonical deployment",
            is_canonical=True,
            indistinguishable=indistinguishable,
        )
    # What could not be read may look like the site too.
    unread = sum(digests.own.get(name) is None for name in {*compared, canonical.id})
    if unread:
        return LiveDeployment(None, f"{unread} of the deployments to compare the site with could not be read")
    if len(equal) != 1:
        found = f"{len(equal)} deployments look like it" if equal else "no deployment looks like it"
        return LiveDeployment(
            None, f"the site does not look like the canonical deployment, {canonical.id[:8]}, and {found}"
        )
    how = "names the hashed assets of" if digests.compares_assets else "looks like"
    return LiveDeployment(equal[0], f"the site {how} {equal[0].id[:8]} alone: canonical does not follow rollbacks here")


def include_canonical(
    deployments: Sequence[PagesDeployment], canonical: PagesDeployment | None
) -> tuple[PagesDeployment, ...]:
    """The list, and the canonical one where that came, or was built to the end, after the list was read.

    The project and the list are two reads: a deployment that comes between them stands in one of the two alone.
    """
    if canonical is None or any(d.id == canonical.id and d.can_serve_production for d in deployments):
        return tuple(deployments)
    if deployments and canonical.created_on < deployments[-1].created_on:  # it is older than all that is listed
        return tuple(deployments)
    others = (d for d in deployments if d.id != canonical.id)
    return tuple(sorted((canonical, *others), key=lambda deployment: deployment.created_on, reverse=True))


def newly_available(before: Sequence[PagesDeployment], now: Sequence[PagesDeployment]) -> tuple[PagesDeployment, ...]:
    """Those that can serve now and could not before: made since, or built to the end since.

    What only moved up into the list, since another one was deleted, is older than all that it held.
    """
    could = {d.id for d in before if d.can_serve_production}
    oldest = before[-1].created_on
    return tuple(d for d in now if d.can_serve_production and d.id not in could and d.created_on >= oldest)


@dataclass(frozen=True)
class RejectedDeployment:
    deployment: str
    why: str


@dataclass(frozen=True)
class PagesTargetChoice:
    target: PagesDeployment | None
    """None: there is nothing to go back to by the rules."""
    rejected: tuple[RejectedDeployment, ...]
    """Those between the live one and the target; all of them where there is none."""
    is_rolled_back: bool
    """Somebody rolled back already: without an explicit `to` nothing is to be done."""


def choose_target(
    deployments: Sequence[PagesDeployment], serving: PagesDeployment, *, blamed: Collection[str] = ()
) -> PagesTargetChoice:
    """The newest that may serve, was made before the live one, and is neither blamed nor of the live one's commit."""
    candidates = [d for d in deployments if d.can_serve_production]
    rejected = []
    target = None
    for deployment in candidates:
        if deployment.id == serving.id or deployment.created_on >= serving.created_on:
            continue
        if why := rejection_reason(deployment, serving, blamed):
            rejected.append(RejectedDeployment(deployment.id, why))
        else:
            target = deployment
            break
    newest = candidates[0].id if candidates else None
    return PagesTargetChoice(target, tuple(rejected), is_rolled_back=newest != serving.id)


def blamed_deployments(
    runs: Iterable[RunRecord], deployments: Sequence[PagesDeployment], *, service: str, environment: str
) -> frozenset[str]:
    """What earlier runs took out of service, by whatever runbook; the last word on each counts. Oldest run first.

    A step back blames what it left. So does a redeployment, whose commit may be older or newer: what it replaced was
    bad enough to build another one.
    """
    found: set[str] = set()
    for run in runs:
        ours = (run.service, run.environment) == (service, environment)
        if not ours or not any(row.kind == "written" for row in run.rows):
            continue
        for _, before, after in run.versions:
            left, taken = (_deployment_by_prefix(name, deployments) for name in (before, after))
            if left and (_is_redeployment(after) or (taken and left.created_on > taken.created_on)):
                found.add(left.id)
            if taken:
                found.discard(taken.id)
    return frozenset(found)


def _is_redeployment(after: str) -> bool:
    """As the plan of redeploy-pages names what comes: the new deployment has no id yet."""
    return re.fullmatch("commit [0-9a-f]{7,40}", after) is not None


def _deployment_by_prefix(name: str, deployments: Sequence[PagesDeployment]) -> PagesDeployment | None:
    if not re.fullmatch("[0-9a-f]{8}", name):
        return None
    return next((deployment for deployment in deployments if deployment.id.startswith(name)), None)


def rejection_reason(deployment: PagesDeployment, serving: PagesDeployment, blamed: Collection[str]) -> str | None:
    """Why it is no target; None where it is one. A commit that is not known equals nothing."""
    if deployment.id in blamed:
        return "it was taken out of service before"
    if deployment.commit and deployment.commit == serving.commit:
        return f"it is of the same commit as the live one, {quote_name(deployment.commit[:12])}"
    return None


def parse_target(text: str, deployments: Sequence[PagesDeployment], *, project: str) -> PagesDeployment:
    """A deployment's id, its first eight characters where they are unique, or its own address. Raises Refused."""
    name = text.strip().lower().rstrip("/")
    found = [d for d in deployments if name in {d.id, d.url.lower().rstrip("/")}]
    found = found or [d for d in deployments if len(name) >= 8 and d.id.startswith(name)]
    if not found:
        raise Refused(
            f'no deployment of {project} in production "{quote_name(text)}"'
            f"{did_you_mean(name, [d.id for d in deployments])}",
            reason=Reason.UNKNOWN_NAME,
            hint=f"See them with `wrangler pages deployment list --project-name {project} --environment production`.",
        )
    if len(found) > 1:
        listed = ", ".join(d.id for d in found)
        raise Refused(
            f'"{name}" begins {len(found)} deployments of {project}',
            reason=Reason.UNKNOWN_NAME,
            hint=f"Name: {listed}.",
        )
    if not found[0].can_serve_production:
        stage = " ".join(filter(None, (found[0].stage, found[0].status))) or "unknown"
        raise Refused(
            f"deployment {found[0].id[:8]} of {project}, created {format_utc(found[0].created_on)}, cannot serve: "
            f"its last stage is {stage}",
            reason=Reason.NOT_DEPLOYABLE,
            hint="Name one that was deployed with success.",
        )
    return found[0]
