"""Refusals of a Worker rollback: options, newer deployment, migration, no target, secrets."""

import shlex
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from ops.cloudflare.marks import ON_THE_WORD
from ops.cloudflare.types.workers import (
    Split,
    WorkerDeployment,
    WorkerVersion,
    describe_deployment,
    describe_split,
    is_same_split,
    short_id,
)
from ops.core.clock import format_utc
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.next_step import SuggestedCommand
from ops.workers.history import WorkerHistory
from ops.workers.rollback_target import RejectedTarget, TargetChoice, list_rejected
from ops.workers.secret_values import (
    DoubtfulValue,
    ValueAge,
    describe_doubtful_values,
)


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


def check_rollback_options(to: Split | None, given: RollbackOptions) -> None:
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
    passed = "; ".join(list_rejected(choice))
    return Refused(
        f"no known good version: {passed or 'no other version has served all traffic'}; {history.coverage}",
        reason=Reason.NO_TARGET,
        hint=f"Choose a version. {_list_fallbacks(ways, listing)}"
        if ways
        else "Deploy the reverted commit. If you know a good version, replace VERSION in the command with its ID. "
        f"List them with `{listing}`.",
        suggested_command=press,
    )


def _list_fallbacks(ways: tuple[RejectedTarget, ...], listing: str) -> str:
    more = f" For {len(ways) - MAX_LISTED} more, see `{listing}`." if len(ways) > MAX_LISTED else ""
    return " ".join(f"`--to {way.version}`: {way.why}." for way in ways[:MAX_LISTED]) + more


def unconfirmed_marks_refusal(
    history: WorkerHistory,
    believed: Split,
    other: Split,
    *,
    commands: tuple[SuggestedCommand, SuggestedCommand],
    listing: str,
) -> Refused:
    """Return the refusal where messages of deployments decide that no record confirms: everyone who deploys writes one.

    `believed`, `other`: what serves then with and without them; empty if nothing qualifies. `listing`: the command that
    lists all versions.
    """
    live = history.live.split
    ways = [
        f"{'stay with' if is_same_split(split, live) else 'deploy'} {describe_split(split)}: `{command.command}`"
        for split, command in zip((believed, other), commands, strict=True)
        if split
    ]
    return Refused(
        "messages of earlier deployments decide which version is good, and no record confirms them, neither on this "
        "machine, nor on this incident or one that they name",
        reason=Reason.UNCONFIRMED_MARK,
        hint=f"Look at the versions (`{listing}`), then choose: {', or '.join(ways)}",
    )


def check_not_superseded(live: WorkerDeployment, requested_at: datetime | None, deployment: str = "") -> None:
    """Refuse if a deployment is newer than the request, or another one than the request names is live.

    It may already be the fix.
    """
    if requested_at is not None and live.created_on > requested_at:
        raise Refused(
            f"a deployment is newer than this request ({format_utc(requested_at)}): {describe_deployment(live)}",
            reason=Reason.WORLD_MOVED,
            hint="Check whether it fixed the problem. If not, send the request again.",
        )
    if deployment and not live.id.startswith(deployment):
        raise Refused(
            f"another deployment than {short_id(deployment)} is live: {describe_deployment(live)}",
            reason=Reason.WORLD_MOVED,
            hint="Check whether it fixed the problem. If not, run the command without `--deployment`.",
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
        _check_same_objects(history.version(suspect), history.version(version))


def _check_same_objects(live: WorkerVersion, target: WorkerVersion) -> None:
    """Refuse a change of Durable Object classes that `exports` declares, which takes the place of a migration."""
    ours, theirs = live.declared_objects, target.declared_objects
    if ours is None or theirs is None or ours == theirs:
        return
    changes = [f"only {short_id(live.id)} has {name}" for name in sorted(ours - theirs)]
    changes += [f"only {short_id(target.id)} has {name}" for name in sorted(theirs - ours)]
    raise Refused(
        f"the Durable Object classes in `exports` changed between {short_id(target.id)} and {short_id(live.id)}: "
        f"{', '.join(changes)}",
        reason=Reason.MIGRATION_BETWEEN,
        hint="Cloudflare cannot roll back across a change of classes. Revert the code, keep `exports`, and deploy.",
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
        return Refused(
            message, reason=Reason.SECRETS_CHANGED, hint=f"{leaked} {_way_to_keep_values(keep)}", suggested_command=keep
        )
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


def secrets_revoked_refusal(revoked: Mapping[str, WorkerDeployment], *, keep: SuggestedCommand | None) -> Refused:
    since = max(deployment.created_on for deployment in revoked.values())
    texts = dict.fromkeys(
        each.mark.text for each in revoked.values() if each.mark and each.mark.text.startswith(ON_THE_WORD)
    )
    words = f" ({'; '.join(texts)})" if texts else ""
    return Refused(
        f"the target has old values of {', '.join(revoked)} that were marked as revoked at {format_utc(since)}{words}",
        reason=Reason.SECRET_REVOKED,
        hint=_way_to_keep_values(keep),
        suggested_command=keep,
    )


def _way_to_keep_values(keep: SuggestedCommand | None) -> str:
    """Return how to keep the current values. A split cannot be uploaded again, so `keep` is None for it."""
    if keep:
        return "Roll back the code and keep the current values: `--current-secrets`."
    return "Pass one version with `--to`, and add `--current-secrets` to keep the current values."
