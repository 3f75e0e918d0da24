"""Plan sections, warnings and refusals of a Worker rollback."""

import shlex
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Protocol

from ops.cloudflare.marks import ANY_NAME, ON_THE_WORD, without_schema_marks
from ops.cloudflare.types.workers import (
    Split,
    WorkerDeployment,
    WorkerVersion,
    describe_accident,
    describe_deployment,
    describe_split,
    describe_version_changes,
    short_id,
)
from ops.core.clock import format_duration, format_utc
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.names import first_of, is_sha
from ops.core.next_step import SuggestedCommand
from ops.core.plan import NOT_THE_CAUSE, PROBABLY_NOT_THE_CAUSE, PlanSection
from ops.workers.history import PastRollback, WorkerHistory, find_warning_sign, is_barely_proven
from ops.workers.request_figures import describe_traffic
from ops.workers.rollback_target import RejectedTarget, TargetChoice
from ops.workers.secret_values import (
    DoubtfulValue,
    ValueAge,
    describe_doubtful_values,
    find_doubtful_in_split,
    find_revoked_values,
    may_have_old_values,
)

REPAIR = "A rollback without `--to` deploys that again"
ONLY_SECRETS_DIFFER = "The live version differs from the one before it only by a secret edit"

NOT_UNDONE = (
    "data in KV, R2, D1, Durable Objects, Queues and Vectorize",
    "database and Durable Object migrations",
    "routes, custom domains, and the workers.dev and preview switches",
    "cron triggers: the current ones stay and run the older code",
    "script settings: logpush, observability, tail consumers",
    "caches: entries of the current version stay until they are purged",
)
"""developers.cloudflare.com/workers/versions-and-deployments (what a version holds) and …/rollbacks."""


def describe_rollback(step: PastRollback) -> str:
    return f"{describe_deployment(step.deployment)}; it replaced {short_id(step.removed_version)}"


def combine_asset_answers(*, reported: bool | None, configured: bool | None) -> bool | None:
    """Return whether the Worker has static assets, from Cloudflare or ops.yml; None if both do not say."""
    return configured if reported is None else reported or bool(configured)


def build_sections(
    history: WorkerHistory, choice: TargetChoice, split: Split, *, repository: str | None, by_rule: bool
) -> tuple[PlanSection, ...]:
    suspect, main = history.version(choice.suspect), history.version(split[0][0])
    listed = [PlanSection("Live", tuple(_describe_version(history, v, p) for v, p in history.live.split))]
    if split != history.live.split:
        listed.append(PlanSection("Target", tuple(_describe_version(history, v, p) for v, p in split)))
        listed.append(
            PlanSection(
                "What changes",
                tuple(describe_version_changes(suspect, main)) or ("no difference that Cloudflare shows",),
            )
        )
        listed.append(PlanSection("Commits removed", tuple(_list_commits(main, suspect, repository))))
    if history.traffic is not None:
        shown = [version for version, _ in (*history.live.split, *split)]
        listed.append(PlanSection("Requests", tuple(describe_traffic(history.traffic, shown))))
    if by_rule:
        listed.append(PlanSection("Rejected versions", tuple(_list_rejected(choice))))
    listed.append(PlanSection("History", (history.coverage,)))
    return tuple(section for section in listed if section.lines)


def _describe_version(history: WorkerHistory, version: str, percent: float) -> str:
    known = history.version(version)
    parts = [f"{version} at {percent:g} %"]
    if known.created_on is not None:
        parts.append(f"uploaded {format_duration((history.now - known.created_on).total_seconds())} ago")
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


def list_consequences(history: WorkerHistory, split: Split, *, rebuilt: bool) -> tuple[str, ...]:
    """Return what follows from the rollback. `rebuilt`: the version is uploaded again and becomes the latest."""
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
            "and `wrangler versions secret put` builds on the removed code"
        )
    if newest.id not in dict(split):
        bad = f" (commit {newest.tag})" if is_sha(newest.tag) else ""
        lines.append(f"the next merge deploys the removed code again: revert it first{bad}")
    return tuple(lines)


def list_warnings(
    history: WorkerHistory, choice: TargetChoice, split: Split, *, began: datetime | None, by_rule: bool, rebuilt: bool
) -> tuple[str, ...]:
    warnings = list(_incident_warnings(history, choice.suspect, split, began)) if began else []
    warnings += _doubt_warnings(history, choice, split)
    if by_rule:
        warnings += _split_warnings(history, choice.suspect)
    warnings += _secret_edit_warnings(history, choice.suspect)
    warnings += _unread_warnings(history)
    warnings += list_leftovers(history.live, end="This run removes it")
    if not by_rule:
        warnings += _target_warnings(history, split)
    live_tag = history.version(choice.suspect).migration_tag
    if any((history.version(version).migration_tag is None) != (live_tag is None) for version, _ in split):
        warnings.append("only one version names its Durable Object migration: Cloudflare may refuse the rollback")
    if not rebuilt:
        warnings.append(
            "Cloudflare reports changed secrets only when the deployment is created. If any changed, the run stops and "
            "lists them"
        )
    return tuple(warnings)


def list_leftovers(live: WorkerDeployment, *, end: str) -> tuple[str, ...]:
    """Return the warning about what an unfinished rehearsal left. `end`: how a version at 0 % is removed."""
    if accident := describe_accident(live):
        return (f"{accident}. {REPAIR}",)
    return (f"an unfinished rehearsal left {short_id(live.rehearsed)} at 0 %. {end}",) if live.rehearsed else ()


def _incident_warnings(history: WorkerHistory, suspect: str, split: Split, began: datetime) -> Iterator[str]:
    """Compare the stated start with the history. It never selects a version, since people often state it wrongly."""
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


def _doubt_warnings(history: WorkerHistory, choice: TargetChoice, split: Split) -> Iterator[str]:
    """Yield doubts about rejected versions and about the target, each with its command."""
    target = split[0][0]
    for over in choice.doubtful:
        if over.version != target:
            way = "" if may_have_old_values(history, over.version) else f" To use it: `--to {over.version}`."
            yield (
                f"{short_id(over.version)} was rejected without proof: {over.why}.{way} This plan uses `--to {target}`"
            )
    if found := find_warning_sign(history, choice.suspect, target):
        yield f"{short_id(target)} may be bad: {found.why}"
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


class RollbackOptions(Protocol):
    """Parameters of rollback-worker that exclude each other."""

    @property
    def accept_changed_secrets(self) -> tuple[str, ...]: ...
    @property
    def current_secrets(self) -> bool: ...
    @property
    def inherit_latest(self) -> tuple[str, ...]: ...
    @property
    def relapsed(self) -> str: ...


def check_options(to: Split | None, given: RollbackOptions) -> None:
    """Raise ConfigError for options that exclude each other."""
    if given.relapsed and to is not None:
        hint = "Omit one of them."
        raise ConfigError("--relapsed chooses the next older version, but --to names one", hint=hint)
    if given.current_secrets and to is not None and len(to) > 1:
        hint = "Pass one version ID to --to, or omit --current-secrets."
        raise ConfigError("--current-secrets needs a single version, but --to names a split", hint=hint)
    if given.current_secrets and given.accept_changed_secrets:
        hint = "Omit one of them."
        raise ConfigError(
            "--accept-changed-secrets restores the previous values, but --current-secrets keeps the current ones",
            hint=hint,
        )
    if given.inherit_latest and not given.current_secrets:
        raise ConfigError(
            "--inherit-latest needs --current-secrets", hint="Add --current-secrets, or omit --inherit-latest."
        )


MAX_LISTED = 5


def no_target_refusal(
    history: WorkerHistory,
    choice: TargetChoice,
    ways: tuple[RejectedTarget, ...],
    *,
    press: SuggestedCommand,
    listing: str,
) -> Refused:
    """Return the refusal without a target.

    `ways`: versions that a person may choose, best first. `listing`: the command that lists all versions.
    """
    passed = "; ".join(_list_rejected(choice))
    return Refused(
        f"no known good version: {passed or 'no other version has served all traffic'}; {history.coverage}",
        reason=Reason.NO_TARGET,
        hint=f"Choose a version. {_list_fallbacks(ways, listing)}"
        if ways
        else "Deploy the reverted commit. If you know a good version, replace VERSION in the command with its ID. "
        f"List them with `{listing}`.",
        suggested_command=press,
    )


def _list_rejected(choice: TargetChoice) -> list[str]:
    """Return the newest rejected versions, each with the reason."""
    return first_of([f"{short_id(over.version)}: {over.why}" for over in choice.rejected])


def _list_fallbacks(ways: tuple[RejectedTarget, ...], listing: str) -> str:
    more = f" For {len(ways) - MAX_LISTED} more, see `{listing}`." if len(ways) > MAX_LISTED else ""
    return " ".join(f"`--to {way.version}`: {way.why}." for way in ways[:MAX_LISTED]) + more


def check_not_superseded(live: WorkerDeployment, requested_at: datetime | None) -> None:
    """Refuse if a deployment is newer than the request: it may already be the fix."""
    if requested_at is not None and live.created_on > requested_at:
        raise Refused(
            f"a deployment is newer than this request ({format_utc(requested_at)}): {describe_deployment(live)}",
            reason=Reason.WORLD_MOVED,
            hint="Check whether it fixed the problem. If not, send the request again.",
        )


def check_no_migration(history: WorkerHistory, suspect: str, split: Split) -> None:
    """Refuse a Durable Object migration between the versions (…/versions-and-deployments/rollbacks)."""
    live_tag = history.version(suspect).migration_tag
    for version, _ in split:
        tag = history.version(version).migration_tag
        if live_tag and tag and tag != live_tag:
            raise Refused(
                f"a Durable Object migration separates {short_id(suspect)} ({live_tag}) "
                f"from {short_id(version)} ({tag})",
                reason=Reason.MIGRATION_BETWEEN,
                hint="Cloudflare cannot roll back across a migration. Revert the code, keep the migration, and deploy.",
            )


def secrets_changed_refusal(
    split: Split,
    names: tuple[str, ...],
    accepted: Collection[str],
    *,
    why: str,
    accept: SuggestedCommand | None,
    keep: SuggestedCommand | None,
) -> Refused:
    """Return the refusal for changed secrets.

    `why`: what the plan knows about it. `accept` restores the previous values, `keep` keeps the current ones. Without
    `accept` a rotation of the incident may have replaced them because they leaked.
    """
    open_names = [name for name in names if name not in accepted]
    message = f"secrets changed after {describe_split(split)} was uploaded: {', '.join(open_names) or 'names unknown'}"
    if not names:
        hint = "Cloudflare did not name them, so they cannot be accepted. Check the Worker's secrets in the dashboard."
        keeping = " Or roll back and keep the current values: --current-secrets." if keep else ""
        return Refused(message, reason=Reason.SECRETS_CHANGED, hint=f"{hint}{keeping}", suggested_command=keep)
    if accept is None:
        leaked = "A rotation ran for this incident, so the previous values may have leaked."
        return Refused(message, reason=Reason.SECRETS_CHANGED, hint=f"{leaked} {_keep(keep)}", suggested_command=keep)
    instead = (
        "Roll back and keep the current values (recommended): --current-secrets. Only if no previous value leaked, "
        f"restore them: --accept-changed-secrets {shlex.quote(','.join(names))}."
        if keep
        else "If every previous value is known to be good, accept them by name."
    )
    hint = f"{why} {instead}".strip()
    return Refused(message, reason=Reason.SECRETS_CHANGED, hint=hint, suggested_command=keep or accept)


def failed_rehearsal_refusal(version: str, result: str, *, press: SuggestedCommand, listing: str) -> Refused:
    """Return the refusal of a target that is unhealthy without traffic. `listing`: the command that lists versions."""
    return Refused(
        f"{short_id(version)} failed its rehearsal: {result}",
        reason=Reason.TARGET_UNHEALTHY,
        hint=f"Choose another version: `{listing}` lists them. To roll back to {short_id(version)} all the same, add "
        "--no-rehearsal.",
        suggested_command=press,
    )


def rotated_secrets_refusal(
    doubtful: Mapping[str, Mapping[str, DoubtfulValue]],
    *,
    keep: SuggestedCommand | None,
    others: tuple[str, ...],
    other: SuggestedCommand | None,
    rotate: SuggestedCommand,
) -> Refused:
    """Return the refusal of a target that may bring back a leaked value.

    `doubtful`: version → secrets. `keep` keeps the current values. `others`: versions with the new ones, and `other`
    rolls back to the first of them.
    """
    if keep:
        hint = "Roll back the code and keep the current values (recommended): --current-secrets."
    elif others:
        ways = ", ".join(f"`--to {version}`" for version in others[:MAX_LISTED])
        hint = f"These versions do not have the old values: {ways}."
    else:
        hint = "Rotate again: that gives the live version new values. Then roll back with --current-secrets."
    unknown = [name for found in doubtful.values() for name in _unknown_among(found)]
    return Refused(
        "; ".join(describe_doubtful_values(version, found) for version, found in doubtful.items()),
        reason=Reason.SECRET_ROTATED,
        hint=hint + _accept_unknown("--accept-changed-secrets", unknown),
        suggested_command=keep or other or rotate,
    )


def latest_secrets_refusal(latest: str, doubtful: Mapping[str, DoubtfulValue], *, rotate: SuggestedCommand) -> Refused:
    """Return the refusal to inherit values that may have leaked from the latest upload."""
    hint = "Rotate again: that gives the live version new values. Then run this rollback again."
    return Refused(
        f"{', '.join(doubtful)} would come from the latest upload: {describe_doubtful_values(latest, doubtful)}",
        reason=Reason.INHERIT_NOT_ACCEPTED,
        hint=hint + _accept_unknown("--inherit-latest", _unknown_among(doubtful)),
        suggested_command=rotate,
    )


def _unknown_among(doubtful: Mapping[str, DoubtfulValue]) -> list[str]:
    return [name for name, value in doubtful.items() if value.age == ValueAge.UNKNOWN]


def _accept_unknown(option: str, names: list[str]) -> str:
    """Return how a person accepts secrets whose value is unknown. A value that is known to be old is no way."""
    if not names:
        return ""
    named = shlex.quote(",".join(dict.fromkeys(names)))
    return f" If you know that it has the new values, accept them by name: {option} {named}."


def describe_accepted_values(history: WorkerHistory, split: Split) -> str:
    """Return what the plan and the result say about accepted values from before a rotation; empty if there are none."""
    if not (doubtful := find_doubtful_in_split(history, split)):
        return ""
    names = ", ".join(dict.fromkeys(name for found in doubtful.values() for name in found))
    known = "; ".join(describe_doubtful_values(version, found) for version, found in doubtful.items())
    return f"{known}. You accepted that: rotate {names} again"


def secrets_revoked_refusal(revoked: Mapping[str, WorkerDeployment], *, keep: SuggestedCommand | None) -> Refused:
    since = max(deployment.created_on for deployment in revoked.values())
    texts = dict.fromkeys(
        each.mark.text for each in revoked.values() if each.mark and each.mark.text.startswith(ON_THE_WORD)
    )
    words = f" ({'; '.join(texts)})" if texts else ""
    return Refused(
        f"the target has old values of {', '.join(revoked)} that were marked as revoked at {format_utc(since)}{words}",
        reason=Reason.SECRET_REVOKED,
        hint=_keep(keep),
        suggested_command=keep,
    )


def _keep(keep: SuggestedCommand | None) -> str:
    """Return how to keep the current values. A split cannot be uploaded again, so `keep` is None for it."""
    if keep:
        return "Roll back the code and keep the current values: `--current-secrets`."
    return "Pass one version with `--to`, and add `--current-secrets` to keep the current values."


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
