"""Texts in the plan of a Worker rollback: sections, warnings, consequences, leftovers."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ops.cloudflare.marks import ANY_NAME, DeploymentMark, without_schema_marks
from ops.cloudflare.types.inventory import WorkerTriggers
from ops.cloudflare.types.records import describe_traffic
from ops.cloudflare.types.workers import (
    Split,
    WorkerDeployment,
    WorkerVersion,
    describe_accident,
    describe_deployment,
    describe_version_changes,
    short_id,
)
from ops.core.clock import format_age, format_duration, format_utc
from ops.core.names import is_sha
from ops.core.plan import DRILL_SECTION, NOT_THE_CAUSE, PROBABLY_NOT_THE_CAUSE, PlanSection, list_names
from ops.core.standing_rollback import describe_next_merge
from ops.workers.commit_holds import CommitFinder
from ops.workers.history import PastRollback, WorkerHistory
from ops.workers.rollback_target import TargetChoice, list_rejected
from ops.workers.secret_values import (
    describe_doubtful_values,
    find_doubtful_in_split,
    find_revoked_values,
    may_have_old_values,
)
from ops.workers.warning_signs import find_warning_sign, is_barely_proven

if TYPE_CHECKING:
    from ops.config import Service
    from ops.config.staging_drill import StagingDrillConfig

REJECTED_SECTION = "Rejected versions"
TARGET_SECTION = "Target"
HISTORY_SECTION = "History"
REQUESTS_SECTION = "Requests"

REPAIR = "A rollback without `--to` deploys that again"
ONLY_SECRETS_DIFFER = "The live version differs from the one before it only by a secret edit"

SETTINGS_NOT_UNDONE = (
    "the workers.dev and preview switches",
    "script settings: logpush, observability, tail consumers",
    "caches: entries of the current version stay until they are purged",
)
"""developers.cloudflare.com/workers/versions-and-deployments (what a version holds) and …/rollbacks."""
DATA_BINDINGS = {
    "d1": "D1",
    "durable_object_namespace": "Durable Objects",
    "hyperdrive": "Hyperdrive",
    "kv_namespace": "KV",
    "queue": "Queues",
    "r2_bucket": "R2",
    "vectorize": "Vectorize",
}
"""Type of a binding → the product that holds its data: developers.cloudflare.com/workers/runtime-apis/bindings."""
MIGRATED = {"D1": "database", "Hyperdrive": "database", "Durable Objects": "Durable Object"}


def rollback_not_undone(history: WorkerHistory, split: Split) -> tuple[str, ...]:
    """Return what a rollback leaves as it is, of the things that the live version or the target has."""
    versions = [history.version(name) for name in (*history.live.serving_versions, *dict(split))]
    return (*_list_data(versions), *_list_triggers(history.triggers, versions), *SETTINGS_NOT_UNDONE)


def _list_data(versions: Sequence[WorkerVersion]) -> Iterator[str]:
    if not all(each.is_detailed for each in versions):
        yield "data in KV, R2, D1, Durable Objects, Queues and Vectorize"
        yield "database and Durable Object migrations"
        return
    bound = {(DATA_BINDINGS[kind], name) for each in versions for kind, name in each.bindings if kind in DATA_BINDINGS}
    if bound:
        yield list_names("data", [f"{product} {name}" for product, name in sorted(bound)])
    if migrated := sorted({MIGRATED[product] for product, _ in bound if product in MIGRATED}, reverse=True):
        yield f"{' and '.join(migrated)} migrations"


def _list_triggers(triggers: WorkerTriggers, versions: Sequence[WorkerVersion]) -> Iterator[str]:
    if triggers.crons:
        yield list_names("cron triggers, which stay and run the older code", triggers.crons)
    if triggers.routes:
        yield list_names("routes", triggers.routes)
    if triggers.domains:
        yield list_names("custom domains", triggers.domains)
    may_have_crons = any("scheduled" in each.handlers or not each.handlers for each in versions)
    unread = [
        *(["cron triggers"] if triggers.crons is None and may_have_crons else []),
        *(["routes"] if triggers.routes is None else []),
        *(["custom domains"] if triggers.domains is None else []),
    ]
    if unread:
        yield f"{', '.join(unread)} (names not read)"


def describe_rollback(step: PastRollback) -> str:
    return f"{describe_deployment(step.deployment)}; it replaced {short_id(step.removed_version)}"


def combine_asset_answers(*, reported: bool | None, configured: bool | None) -> bool | None:
    """Return whether the Worker has static assets, from Cloudflare or ops.yml; None if both do not say."""
    return configured if reported is None else reported or bool(configured)


def build_drill_section(
    drill: "StagingDrillConfig | None", environment: str, service: str, live: WorkerDeployment
) -> tuple[PlanSection, ...]:
    """Return the section that says that only a drill broke the Worker. A mark elsewhere than in its place is none."""
    is_place = drill is not None and (drill.environment, drill.service) == (environment, service)
    if not is_place or not live.is_drill:
        return ()
    return (PlanSection(DRILL_SECTION, ("the live version is the harmless bad one of a drill",)),)


def rollback_sections(
    history: WorkerHistory, choice: TargetChoice, split: Split, *, repository: str | None, by_rule: bool
) -> tuple[PlanSection, ...]:
    suspect, main = history.version(choice.suspect), history.version(split[0][0])
    listed = [PlanSection("Live", tuple(_describe_live_version(history, v, p) for v, p in history.live.split))]
    if split != history.live.split:
        listed.append(PlanSection(TARGET_SECTION, tuple(_describe_live_version(history, v, p) for v, p in split)))
        listed.append(
            PlanSection(
                "What changes",
                tuple(describe_version_changes(suspect, main)) or ("no difference that Cloudflare shows",),
            )
        )
        listed.append(PlanSection("Commits removed", tuple(_list_commits(main, suspect, repository))))
    if history.traffic is not None:
        shown = [version for version, _ in (*history.live.split, *split)]
        listed.append(PlanSection(REQUESTS_SECTION, tuple(describe_traffic(history.traffic, shown))))
    if by_rule:
        listed.append(PlanSection(REJECTED_SECTION, tuple(list_rejected(choice))))
    listed.append(PlanSection(HISTORY_SECTION, (history.coverage, history.horizon)))
    return tuple(section for section in listed if section.lines)


def _describe_live_version(history: WorkerHistory, version: str, percent: float) -> str:
    known = history.version(version)
    parts = [f"{version} at {percent:g} %"]
    if known.created_on is not None:
        parts.append(f"uploaded {format_age(history.now - known.created_on)}")
    parts += [f"by {known.author}"] if known.author else []
    parts += [f"tag {known.tag}"] if known.tag else []
    message = without_schema_marks(known.message)
    parts += [f'"{message}"'] if message else []
    return ", ".join(parts)


def _list_commits(older: WorkerVersion, newer: WorkerVersion, repository: str | None) -> Iterator[str]:
    """Yield the commit range, if both version tags are commits. Cloudflare has no other link from a version to code."""
    if is_sha(older.tag) and is_sha(newer.tag) and older.tag != newer.tag:
        yield f"{older.tag}..{newer.tag}"
        if repository:
            yield f"https://github.com/{repository}/compare/{older.tag}...{newer.tag}"


def rollback_consequences(
    service: "Service", history: WorkerHistory, split: Split, mark: DeploymentMark, *, rebuilt: bool, repair: str = ""
) -> tuple[str, ...]:
    """Return what follows from the rollback. `rebuilt`: the version is uploaded again and becomes the latest.

    `repair`: the command that makes it the latest afterwards; empty if only a deployment of the pipeline can.
    """
    live = [history.version(version) for version, _ in history.live.split]
    target = [history.version(version) for version, _ in split]
    classes = sorted({name for version in (*live, *target) for name in version.durable_object_classes})
    newest = history.version(history.latest_upload)
    lines = []
    if classes:
        lines.append(
            f"Durable Objects ({', '.join(classes)}) restart at once: WebSockets and memory are lost, storage is kept"
        )
    if stored := [short_id(version.id) for version in live if version.caches_answers]:
        lines.append(
            f"Workers Caching is on in {', '.join(stored)}: with `cross_version_cache` the target may answer with what "
            "it stored, until the code calls `ctx.cache.purge`"
        )
    if rebuilt:
        lines.append("the new upload is both the latest and the live version, so secrets can be edited afterwards")
    elif newest.id not in dict(split):
        lines.append(
            f"the latest version {short_id(newest.id)} is not live: Cloudflare refuses secret edits (10214, 10215), "
            "and `wrangler versions secret put` builds on the removed code. To repair it, "
            + (f"upload the target again: `{repair}`" if repair else "deploy the reverted commit")
        )
    if newest.id not in dict(split):
        key = str(mark.incident or mark.run) if mark.blames else ""
        commit = CommitFinder(history.versions).find(mark.blames or newest.id)
        lines += describe_next_merge(service.hold_setup, commit, key)
    return tuple(lines)


def rollback_warnings(
    history: WorkerHistory, choice: TargetChoice, split: Split, *, began: datetime | None, by_rule: bool, rebuilt: bool
) -> tuple[str, ...]:
    warnings = list(_incident_warnings(history, choice.suspect, split, began)) if began else []
    warnings += list_doubts(history, choice, split[0][0])
    if by_rule:
        warnings += _split_warnings(history, choice.suspect)
    warnings += _secret_edit_warnings(history, choice.suspect)
    warnings += _unread_warnings(history)
    warnings += leftover_split_warnings(history.live, end="This run removes it")
    if not by_rule:
        warnings += _target_warnings(history, split)
    live_tag = history.version(choice.suspect).migration_tag
    if any((history.version(version).migration_tag is None) != (live_tag is None) for version, _ in split):
        warnings.append("only one version names its Durable Object migration: Cloudflare may refuse the rollback")
    declared = history.version(choice.suspect).declared_objects
    if any((history.version(version).declared_objects is None) != (declared is None) for version, _ in split):
        warnings.append("only one version declares Durable Objects in `exports`: Cloudflare may refuse the rollback")
    if not rebuilt:
        warnings.append(
            "Cloudflare reports changed secrets only when the deployment is created. If any changed, the run stops and "
            "lists them"
        )
        warnings += list_secret_warnings(history, split)
    return tuple(warnings)


def list_version_proof_warnings(service: "Service") -> Iterator[str]:
    """Yield the warning about a proof that takes long, or is impossible, because no probe reads the version."""
    verify, needed = service.verify, service.verify.successes_without_version
    if not service.hides_version:
        return
    rounds = f"no probe reads the version, so a proof takes {needed} healthy rounds in a row"
    if needed <= verify.most_rounds:
        yield f"{rounds}, at least {(needed - 1) * verify.interval:g} s"
    else:
        fit = f"only {verify.most_rounds} fit before `verify.deadline`"
        yield f"{rounds}, and {fit}: this run cannot prove that the service recovered"


def leftover_split_warnings(live: WorkerDeployment, *, end: str) -> tuple[str, ...]:
    """Return the warning about what an unfinished rehearsal left. `end`: how a version at 0 % is removed."""
    if accident := describe_accident(live):
        return (f"{accident}. {REPAIR}",)
    return (f"an unfinished rehearsal left {short_id(live.rehearsed)} at 0 %. {end}",) if live.rehearsed else ()


def _incident_warnings(history: WorkerHistory, suspect: str, split: Split, began: datetime) -> Iterator[str]:
    """Compare the stated start with the suspect and the target. It may be wrong, so it never clears the suspect."""
    first = history.first_served_at(suspect)
    live_then = next((d for d in history.deployments if d.created_on <= began), None)
    if first > began:
        then = f"; {describe_deployment(live_then)} was live then" if live_then else ""
        yield f"{short_id(suspect)} first served {format_utc(first)}, after the stated start: {NOT_THE_CAUSE}{then}"
    elif began - first > PROBABLY_NOT_THE_CAUSE:
        served = format_duration((began - first).total_seconds())
        yield f"{short_id(suspect)} had served for {served} before the stated start, so it is probably not the cause"
    if live_then and set(live_then.serving_versions) & {version for version, _ in split}:
        yield f"the target was live at the stated start, {format_utc(began)}"


def list_doubts(history: WorkerHistory, choice: TargetChoice, target: str) -> Iterator[str]:
    """Yield doubts about rejected versions and about the target, each with its command."""
    for over in choice.doubtful:
        if over.version != target:
            way = "" if may_have_old_values(history, over.version) else f" To use it: `--to {over.version}`."
            yield (
                f"{short_id(over.version)} was rejected without proof: {over.why}.{way} This plan uses `--to {target}`"
            )
    if sign := find_warning_sign(history, choice.suspect, target):
        yield f"{short_id(target)} may be bad: {sign.why}"
    elif is_barely_proven(history, target) and any(target in d.serving_versions for d in history.deployments):
        yield f"{short_id(target)} was live for only {format_duration(history.seconds_served(target))}"


def _split_warnings(history: WorkerHistory, suspect: str) -> Iterator[str]:
    if len(history.live.serving_versions) > 1:
        yield (
            f"traffic is split, and this plan removes {short_id(suspect)} at "
            f"{dict(history.live.split)[suspect]:g} %. If "
            f"{short_id(suspect)} is the fix in a gradual rollout, do not roll back: give it all traffic"
        )


def _unread_warnings(history: WorkerHistory) -> Iterator[str]:
    if history.static_assets is None:
        yield (
            "Cloudflare did not report whether this Worker has static assets. Equal code counts as another release, "
            "except after a secret edit. Set `static_assets: true` or `false` in ops.yml"
        )
    for deployment in history.deployments:
        if deployment.problem:
            name = f" {short_id(deployment.id)}" if deployment.id else ""
            yield (
                f"deployment{name} of {format_utc(deployment.created_on)} was ignored, because it has "
                f"{deployment.problem}. "
                "Its versions are unknown"
            )


def _secret_edit_warnings(history: WorkerHistory, suspect: str) -> Iterator[str]:
    older = [v for v in history.versions if v != suspect and history.is_older(v, suspect)]
    before = max(older, key=lambda v: history.version(v).number or 0, default=None)
    if before is None or not history.is_same_release(before, suspect) or before in history.blamed:
        return
    live = history.version(suspect)
    if live.triggered_by == "secret" or live.secret_names != history.version(before).secret_names:
        if history.has_rotated_in_incident or may_have_old_values(history, before):
            way = "If the new value fails, rotate again"
        else:
            way = f"Correct the secret (`wrangler secret put NAME`), or roll back to that version (`--to {before}`)"
        yield f"{ONLY_SECRETS_DIFFER}, {short_id(before)}. {way}."


def _target_warnings(history: WorkerHistory, split: Split) -> Iterator[str]:
    for version, _ in split:
        if step := history.blamed.get(version):
            yield f"{short_id(version)} was rolled back: {describe_deployment(step.deployment)}"
        elif not any(version in d.serving_versions for d in history.deployments):
            yield f"{short_id(version)} served no traffic in the listed history, so it is untested there"


def describe_accepted_values(history: WorkerHistory, split: Split) -> str:
    """Return what the plan and the result say about accepted values from before a rotation; empty if there are none."""
    if not (doubtful := find_doubtful_in_split(history, split)):
        return ""
    names = ", ".join(dict.fromkeys(name for found in doubtful.values() for name in found))
    known = "; ".join(describe_doubtful_values(version, found) for version, found in doubtful.items())
    return f"{known}. You accepted that: rotate {names} again"


def list_secret_warnings(history: WorkerHistory, split: Split) -> Iterator[str]:
    """Yield the plan's warnings about the earlier values of secrets that the split has."""
    if revoked := find_revoked_values(history, split):
        yield _revoked_secrets_warning(revoked)
    if accepted := describe_accepted_values(history, split):
        yield accepted


def _revoked_secrets_warning(revoked: Mapping[str, WorkerDeployment]) -> str:
    names = ", ".join("any secret" if name == ANY_NAME else name for name in revoked)
    latest = max(revoked.values(), key=lambda deployment: deployment.created_on)
    return (
        f"previous values of {names} were revoked after the target was uploaded "
        f"({describe_deployment(latest)}). They cannot be accepted; if one of them changed, use --current-secrets"
    )
