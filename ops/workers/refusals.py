"""Why a rollback of a Worker is refused, and what to do instead; commands come ready for pasting. Pure."""

import shlex
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from ops.cloudflare.deployment_mark import ANY
from ops.cloudflare.types.workers import Deployment, Split, short, split_prose
from ops.core.clock import utc_text
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.next_step import Press
from ops.workers.history import History
from ops.workers.plan_text import deployed
from ops.workers.rollback_target import Choice, PassedOver


class Params(Protocol):
    """Of the runbook: what contradicts something else."""

    @property
    def accept_changed_secrets(self) -> tuple[str, ...]: ...
    @property
    def current_secrets(self) -> bool: ...
    @property
    def inherit_latest(self) -> tuple[str, ...]: ...


def check_params(to: Split | None, given: Params) -> None:
    """Raises ConfigError."""
    if given.current_secrets and to is not None and len(to) > 1:
        hint = "Name one version, or leave --current-secrets out."
        raise ConfigError("--current-secrets uploads one version anew, and --to names a split", hint=hint)
    if given.current_secrets and given.accept_changed_secrets:
        hint = "Leave one of them out: which values are to serve?"
        raise ConfigError("--accept-changed-secrets takes the former values, --current-secrets keeps these", hint=hint)
    if given.inherit_latest and not given.current_secrets:
        raise ConfigError("--inherit-latest is for --current-secrets alone", hint="Add it, or leave this out.")


MOST_LISTED = 5


def no_target(history: History, choice: Choice, ways: tuple[PassedOver, ...], *, press: Press) -> Refused:
    """`ways` are those that a person may choose, best first; `press` goes to the first of them."""
    passed = "; ".join(f"{short(over.version)}: {over.why}" for over in choice.passed_over)
    return Refused(
        f"no version to go back to: {passed or 'nothing else ever had all of the traffic'}; {history.reach}",
        reason=Reason.NO_TARGET,
        hint=f"Choose a version. {_listed(ways)}"
        if ways
        else "No listed version is left to roll back to. Deploy the reverted commit. If you know a good version, put "
        "its id in the place of VERSION.",
        press=press,
    )


def _listed(ways: tuple[PassedOver, ...]) -> str:
    more = f" {len(ways) - MOST_LISTED} more are in the message above." if len(ways) > MOST_LISTED else ""
    return " ".join(f"`--to {way.version}`: {way.why}." for way in ways[:MOST_LISTED]) + more


def refuse_overtaken(live: Deployment, requested_at: datetime | None) -> None:
    """What was deployed after somebody asked may be the team's own fix, and is not what they saw failing."""
    if requested_at is not None and live.created_on > requested_at:
        raise Refused(
            f"something was deployed after this was asked for ({utc_text(requested_at)}): {deployed(live)}",
            reason=Reason.WORLD_MOVED,
            hint="Look whether that helped, and ask again if it did not.",
        )


def refuse_migration(history: History, suspect: str, split: Split) -> None:
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


def secrets_changed(
    split: Split, names: tuple[str, ...], accepted: Collection[str], *, why: str, accept: Press, keep: Press | None
) -> Refused:
    """`why`: what the plan knew of it. `accept` goes to the split, `keep` to its code with the current secrets."""
    open_names = [name for name in names if name not in accepted]
    message = f"secrets have changed since {split_prose(split)}: {', '.join(open_names) or 'Cloudflare names none'}"
    if not names:
        hint = "Look at the Worker's secrets in the dashboard; this tool does not force what it cannot name."
        keeping = " With --current-secrets the current values stay, whichever they are." if keep else ""
        return Refused(message, reason=Reason.SECRETS_CHANGED, hint=f"{hint}{keeping}", press=keep)
    instead = (
        "With --current-secrets those of now stay. Where every former value is known to be good, put "
        f"--accept-changed-secrets {shlex.quote(','.join(names))} in its place."
        if keep
        else "Where every former value is known to be good, accept them by name."
    )
    hint = f"{why} Going back may bring their former values back. {instead}".strip()
    return Refused(message, reason=Reason.SECRETS_CHANGED, hint=hint, press=keep or accept)


def dead(names: Collection[str], revoked: Mapping[str, Deployment]) -> dict[str, Deployment]:
    """Those of `names` whose former value was revoked."""
    found = {name: revoked.get(name) or revoked.get(ANY) for name in names}
    return {name: deployment for name, deployment in found.items() if deployment is not None}


def former_values_are_dead(found: Mapping[str, Deployment], *, keep: Press | None) -> Refused:
    since = max(deployment.created_on for deployment in found.values())
    return Refused(
        f"the former values of {', '.join(found)} were revoked, as of {utc_text(since)}: nobody can go back to them",
        reason=Reason.SECRET_REVOKED,
        hint="This cannot be accepted away. With --current-secrets that code gets the current values."
        if keep
        else "This cannot be accepted away, and a split cannot be uploaded anew: name one version.",
        press=keep,
    )


def revoked_line(revoked: Mapping[str, Deployment]) -> str:
    """For the plan."""
    names = ", ".join("any secret" if name == ANY else name for name in revoked)
    latest = max(revoked.values(), key=lambda deployment: deployment.created_on)
    return (
        f"former values were revoked since the target was uploaded, of {names} ({deployed(latest)}): if Cloudflare "
        "stops for one of them, it cannot be accepted, and --current-secrets is the way"
    )
