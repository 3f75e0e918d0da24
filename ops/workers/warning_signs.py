"""Find signs that an earlier version of a Worker was bad too.

They rest on timing and on texts that everyone who deploys can write. So they only reject a version and warn; they never
blame a version and never stop a run.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ops.cloudflare.marks import without_schema_marks
from ops.cloudflare.types.records import format_request_share, sum_version_requests_by_day
from ops.cloudflare.types.workers import WorkerVersion, short_id
from ops.core.clock import format_duration, format_utc
from ops.core.names import is_sha
from ops.core.plan import PROBABLY_NOT_THE_CAUSE
from ops.core.sequential_test import MAX_ERROR_RATE
from ops.workers.history import ALL_TRAFFIC, WorkerHistory

BARELY_PROVEN_FACTOR = 6
"""A release that served less than this many times `min_served` is barely proven."""
MAX_MESSAGE_LENGTH = 1000
_QUOTED = re.compile(r'Revert "(.{1,200})"')
_COMMIT = re.compile(r"This reverts commit ([0-9a-f]{7,40})\b")


@dataclass(frozen=True)
class WarningSign:
    why: str
    weak: bool = False
    """Whether the version is still better than no target."""


def find_warning_sign(history: WorkerHistory, suspect: str, version: str) -> WarningSign | None:
    """Return the first sign against `version`; None if there is none."""
    opened, began = (_in_incident(history, version, at) for at in (history.incident_opened_at, history.incident_began))
    strong = (*_same_commit(history, suspect, version), *_later_revert_signs(history, version), *opened)
    if strong:
        return WarningSign(strong[0])
    if failing := _failing_requests(history, suspect, version):
        return failing
    weak = (*began, *_briefly_followed(history, suspect, version), *_since_start(history, version))
    return WarningSign(weak[0], weak=True) if weak else None


def _failing_requests(history: WorkerHistory, suspect: str, version: str) -> WarningSign | None:
    """Return a sign for a release with a high error rate; a weak one unless the suspect's was lower."""
    figures, suspect_figures = (
        sum_version_requests_by_day(history.traffic, history.versions_of_release(history.releases[each]))
        for each in (version, suspect)
    )
    if figures is None or not figures.is_high:
        return None
    numbers = f"{figures.days}: {figures.text}"
    why = f"its error rate was above {format_request_share(MAX_ERROR_RATE)} while it was live, by estimate ({numbers})"
    rate, suspect_rate = figures.rate, suspect_figures.rate if suspect_figures else None
    return WarningSign(why, weak=rate is None or suspect_rate is None or rate < suspect_rate)


def is_barely_proven(history: WorkerHistory, version: str) -> bool:
    return history.seconds_served(version) < BARELY_PROVEN_FACTOR * history.min_served


def _same_commit(history: WorkerHistory, suspect: str, version: str) -> Iterator[str]:
    """Yield a sign for another build of a bad commit. A time stamp in the code changes its digest."""
    own = history.version(version)
    if not history.is_same_release(version, suspect) and _is_same_worker_build(own, history.version(suspect)):
        yield f"it was built from the same commit as the live version, {own.tag}"
    for blamed, step in history.blamed.items():
        if not history.is_same_release(blamed, version) and _is_same_worker_build(own, history.version(blamed)):
            when = format_utc(step.deployment.created_on)
            yield f"it was built from the same commit as {short_id(blamed)}, which was rolled back at {when}"


def _is_same_worker_build(one: WorkerVersion, other: WorkerVersion) -> bool:
    settings = [version.code_and_settings and version.code_and_settings[1:] for version in (one, other)]
    commits = is_sha(one.tag) and is_sha(other.tag)
    same = one.tag.startswith(other.tag) or other.tag.startswith(one.tag)
    return commits and same and None not in settings and settings[0] == settings[1]


def _later_revert_signs(history: WorkerHistory, version: str) -> Iterator[str]:
    """Yield a sign if a later version's message reverts this one, unless this one served well since."""
    own, versions_of_release = history.version(version), history.versions_of_release(history.releases[version])
    subject = without_schema_marks(own.message[:MAX_MESSAGE_LENGTH]).partition("\n")[0].strip()
    for index, deployment in enumerate(history.deployments):
        for serving in deployment.serving_versions:
            if serving in versions_of_release or not history.is_older(version, serving):
                continue
            if _is_revert_of_version(history.version(serving).message[:MAX_MESSAGE_LENGTH], subject, own.tag):
                if not history.has_served_well(versions_of_release, before=index):
                    yield f"{short_id(serving)} reverts it, by its message"
                return


def _is_revert_of_version(message: str, subject: str, tag: str) -> bool:
    quoted, commit = _QUOTED.match(message.partition("\n")[0].strip()), _COMMIT.search(message)
    if quoted and subject and quoted[1] == subject:
        return True
    return bool(commit) and is_sha(tag) and (commit[1].startswith(tag) or tag.startswith(commit[1]))  # type: ignore[index]


def _in_incident(history: WorkerHistory, version: str, start: datetime | None) -> Iterator[str]:
    """Yield a sign for a version that was live when the incident began and was replaced during it."""
    if start is None:
        return
    index = next((i for i, d in enumerate(history.deployments) if d.created_on <= start), None)
    if index is None or version not in history.deployments[index].serving_versions:
        return
    versions_of_release = history.versions_of_release(history.releases[version])
    is_new = start - history.first_served_at(version) < PROBABLY_NOT_THE_CAUSE
    if (
        is_new
        and not versions_of_release & set(history.live.serving_versions)
        and not history.has_served_well(versions_of_release, before=index)
    ):
        yield f"it was live when the incident began at {format_utc(start)}, and was replaced during it"


def _since_start(history: WorkerHistory, version: str) -> Iterator[str]:
    """Yield a weak sign for a barely proven version that first served after the incident began."""
    start = history.incident_start
    if start is None or not history.has_served(version) or not is_barely_proven(history, version):
        return
    if (first := history.first_served_at(version)) > start:
        yield f"it first served at {format_utc(first)}, after the incident began at {format_utc(start)}"


def _briefly_followed(history: WorkerHistory, suspect: str, version: str) -> Iterator[str]:
    """Yield a weak sign for a barely proven version whose short-lived successor may have reverted it."""
    versions_of_release = history.versions_of_release(history.releases[version])
    last = next((i for i, d in enumerate(history.deployments) if versions_of_release & set(d.serving_versions)), 0)
    if last == 0 or not is_barely_proven(history, version):
        return
    after = history.deployments[last - 1]
    follower = after.serving_versions[0] if after.serving_versions else None
    if follower is None or after.combined_share({follower}) < ALL_TRAFFIC or history.is_same_release(follower, suspect):
        return
    is_blamed = follower in history.blamed or history.was_removed_by_run(follower)
    if history.seconds_served(follower) < history.min_served and not is_blamed:
        yield (
            f"it served for only {format_duration(history.seconds_served(version))}, "
            f"and "
            f"{short_id(follower)} replaced it for only "
            f"{format_duration(history.seconds_served(follower))}, which may have been its revert"
        )
