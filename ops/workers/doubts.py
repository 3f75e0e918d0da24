"""Signs that a version is bad although no step back blames it. Pure.

They rest on texts that anyone who deploys can write, and on timing. So they only pass a version over, and a warning
names both ways; they never blame a version, and never stop a run.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from ops.cloudflare.types.workers import Version, is_commit, short
from ops.core.clock import span_text, utc_text
from ops.workers.history import WHOLE, History

BARELY = 6
"""A release that served for less than so many times `min_served` is barely proven."""
PROBABLY_NOT_THE_CAUSE = timedelta(hours=24)
"""A release that served for so long before an incident was opened is probably not its cause."""
LONGEST_MESSAGE = 1000
_QUOTED = re.compile(r'Revert "(.{1,200})"')
_COMMIT = re.compile(r"This reverts commit ([0-9a-f]{7,40})\b")


@dataclass(frozen=True)
class Doubt:
    why: str
    weak: bool = False
    """True: better than no target at all."""


def doubt(history: History, suspect: str, version: str) -> Doubt | None:
    """Return the first sign against `version`; None if there is none."""
    strong = (*_same_commit(history, suspect, version), *_reverted(history, version), *_in_incident(history, version))
    if strong:
        return Doubt(strong[0])
    return next((Doubt(why, weak=True) for why in _briefly_followed(history, suspect, version)), None)


def is_barely_proven(history: History, version: str) -> bool:
    return history.served(version) < BARELY * history.min_served


def _same_commit(history: History, suspect: str, version: str) -> Iterator[str]:
    """The same commit and settings in another build: with a time stamp in it, even the same code has another digest."""
    own = history.version(version)
    if _is_same_build(own, history.version(suspect)):
        yield f"it was built from the same commit as the live one, {own.tag}"
    for blamed, step in history.blamed.items():
        if blamed != version and _is_same_build(own, history.version(blamed)):
            when = utc_text(step.deployment.created_on)
            yield f"it was built from the same commit as {short(blamed)}, which was taken out of service at {when}"


def _is_same_build(one: Version, other: Version) -> bool:
    settings = [version.code_and_settings and version.code_and_settings[1:] for version in (one, other)]
    commits = is_commit(one.tag) and is_commit(other.tag)
    same = one.tag.startswith(other.tag) or other.tag.startswith(one.tag)
    return commits and same and None not in settings and settings[0] == settings[1]


def _reverted(history: History, version: str) -> Iterator[str]:
    """A later deployed version says in its message that it reverts this one, and this one did not serve well since."""
    own, members = history.version(version), history.members(history.releases[version])
    subject = own.message[:LONGEST_MESSAGE].partition("\n")[0].strip()
    for index, deployment in enumerate(history.deployments):
        for serving in deployment.serving:
            if serving in members or not history.is_older(version, serving):
                continue
            if _says_revert(history.version(serving).message[:LONGEST_MESSAGE], subject, own.tag):
                if not history.served_well(members, before=index):
                    yield f"{short(serving)} says that it reverts it"
                return


def _says_revert(message: str, subject: str, tag: str) -> bool:
    quoted, commit = _QUOTED.match(message.partition("\n")[0].strip()), _COMMIT.search(message)
    if quoted and subject and quoted[1] == subject:
        return True
    return bool(commit) and is_commit(tag) and (commit[1].startswith(tag) or tag.startswith(commit[1]))  # type: ignore[index]


def _in_incident(history: History, version: str) -> Iterator[str]:
    """It was live when the incident was opened, was replaced during it, and did not serve well since."""
    opened = history.incident_opened
    if opened is None:
        return
    index = next((i for i, d in enumerate(history.deployments) if d.created_on <= opened), None)
    if index is None or version not in history.deployments[index].serving:
        return
    members = history.members(history.releases[version])
    is_new = opened - history.first_served(version) < PROBABLY_NOT_THE_CAUSE
    if is_new and not members & set(history.live.serving) and not history.served_well(members, before=index):
        yield f"it was live when the incident was opened at {utc_text(opened)}, and was replaced during it"


def _briefly_followed(history: History, suspect: str, version: str) -> Iterator[str]:
    """It is barely proven, and the release that replaced it was itself replaced before `min_served`: maybe a revert."""
    members = history.members(history.releases[version])
    last = next((i for i, d in enumerate(history.deployments) if members & set(d.serving)), 0)
    if last == 0 or not is_barely_proven(history, version):
        return
    after = history.deployments[last - 1]
    follower = after.serving[0] if after.serving else None
    if follower is None or after.share({follower}) < WHOLE or history.same_release(follower, suspect):
        return
    if history.served(follower) < history.min_served and follower not in history.blamed:
        yield (
            f"it served for only {span_text(history.served(version))}, and {short(follower)} replaced it for only "
            f"{span_text(history.served(follower))}: that may have been its revert"
        )
