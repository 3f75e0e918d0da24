"""Choose the version that a rollback deploys, and name the reason for each rejected version.

The rules, and the histories that explain them, are in docs/explanation/rollback-targets.md;
tests/runbooks/test_rollback_worker_target.py runs them row by row. A person may name a version, also by a commit from
which it was built, or by its tag.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile

from ops.cloudflare.types.workers import Split, WorkerVersion, describe_deployment, short_id
from ops.core.clock import format_seconds, format_utc
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.names import did_you_mean, first_of, is_same_commit, is_sha, leading_commit, quote_name
from ops.workers.history import PastRollback, WorkerHistory
from ops.workers.secret_values import may_have_old_values
from ops.workers.warning_signs import find_warning_sign

ROLLBACK_HOLDS = timedelta(minutes=30)
"""A second request within this time counts as the same emergency, also from another person."""

OURS_WITHOUT_INCIDENT_HOLDS = timedelta(hours=24)

SHORTEST_ID = 8
"""Characters of a version or deployment ID that are enough to name it."""
BEGAN_TOGETHER = "two releases that began to serve at once share the traffic, and nothing tells which one is bad"
NOT_READ = "the part of the history that could blame it was not read"


@dataclass(frozen=True)
class RejectedTarget:
    version: str
    why: str


@dataclass(frozen=True)
class TargetChoice:
    suspect: str
    """The newest live version; a rollback removes its release."""
    candidates: tuple[str, ...]
    """Best first, one per release. Empty: the rules allow no version."""
    rejected: tuple[RejectedTarget, ...]
    """Versions that were rejected before the first candidate; all of them if there is no candidate."""
    doubtful: tuple[RejectedTarget, ...] = ()
    """Versions that were rejected without proof."""
    is_undecided: bool = False
    """Whether two equally good targets share the traffic, so that only a person can choose."""
    active_rollback: PastRollback | None = None
    """A rollback that is still in effect: without an explicit `to` there is nothing to do."""


def list_rejected(choice: TargetChoice) -> list[str]:
    """Return the newest rejected versions, each with the reason."""
    return first_of([f"{short_id(over.version)}: {over.why}" for over in choice.rejected])


def choose_target(history: WorkerHistory, *, incident: int | None, only_older: bool = False) -> TargetChoice:
    """Choose among the versions that served all traffic, most recent first, after the other live versions.

    `only_older`: only among versions that served before the newest live one.
    """
    suspect = history.newest_version(history.live.serving_versions)
    candidates: list[str] = []
    weak: list[str] = []
    rejected: list[RejectedTarget] = []
    doubtful: list[RejectedTarget] = []
    for version in dict.fromkeys([*history.live.serving_versions, *history.served_all_traffic]):
        if version == suspect:
            continue
        why = rejection_reason(history, suspect, version)
        if why is None and only_older and not history.served_before(version, suspect):
            why = "it is newer than the live version"
        sign = find_warning_sign(history, suspect, version) if why is None else None
        if why is None and sign is None:
            candidates.append(version)
        elif not candidates:
            rejected.append(RejectedTarget(version, why or (sign.why if sign else "")))
            doubtful += [rejected[-1]] if sign else []
            weak += [version] if sign and sign.weak else []
    if not candidates:  # a barely proven release is better than the suspect
        candidates, weak_ones = weak, set(weak)
        rejected = [over for over in rejected if over.version not in weak_ones]
        doubtful = [over for over in doubtful if over.version not in weak_ones]
    if history.has_equal_members:
        live = history.live.serving_versions
        others = [version for version in candidates if version not in live]
        candidates, rejected, doubtful = [], [RejectedTarget(version, BEGAN_TOGETHER) for version in live], []
        rejected += [RejectedTarget(version, "it served before both of them") for version in others[:1]]
    return TargetChoice(
        suspect,
        _one_per_release(history, candidates),
        tuple(rejected),
        tuple(doubtful),
        history.has_equal_members,
        find_active_rollback(history, incident=incident),
    )


def _one_per_release(history: WorkerHistory, versions: list[str]) -> tuple[str, ...]:
    first: dict[str, str] = {}
    for version in versions:
        first.setdefault(history.releases[version], version)
    return tuple(first.values())


def list_fallbacks(history: WorkerHistory, choice: TargetChoice) -> tuple[RejectedTarget, ...]:
    """Return the rejected versions that a person may choose, best first.

    They are deployable, not blamed, not the suspect, and have no value that may have leaked.
    """
    usable = [
        over
        for over in choice.rejected
        if over.version in history.deployable
        and over.version not in history.blamed
        and (choice.is_undecided or not history.is_same_release(over.version, choice.suspect))
        and not may_have_old_values(history, over.version)
    ]
    first = _one_per_release(history, [over.version for over in usable])
    longest = sorted(first, key=history.seconds_served, reverse=True)
    return tuple(over for version in longest for over in usable if over.version == version)


def rejection_reason(history: WorkerHistory, suspect: str, version: str) -> str | None:
    """Return why `version` is no candidate; None if it is one."""
    if history.is_same_release(suspect, version) and version not in history.live.serving_versions:
        return "it is the live release"  # but beside a canary, such as a secret edit, it gets all traffic back
    if step := history.blamed.get(version):
        return f"it was rolled back at {format_utc(step.deployment.created_on)} by {_describe_author(step)}"
    if history.was_removed_by_run(version):
        return "an earlier run replaced it, or found it rolled back"
    if (served := history.seconds_served(version)) < history.min_served:
        return f"its release served only {format_seconds(served)}, less than {format_seconds(history.min_served)}"
    if version not in history.deployable:
        return "Cloudflare no longer lists it as deployable"
    if not history.is_proven(version) and has_unread_history(history):
        return NOT_READ
    return None


def explain_rejection(history: WorkerHistory, choice: TargetChoice, version: str) -> str | None:
    """Return why a version is not chosen, also one that is older than the target; None if it could be."""
    if why := {over.version: over.why for over in choice.rejected}.get(version):
        return why
    if version not in (*history.live.serving_versions, *history.served_all_traffic):
        return "it never served all traffic"
    sign = find_warning_sign(history, choice.suspect, version)
    return rejection_reason(history, choice.suspect, version) or (sign.why if sign else None)


def has_unread_history(history: WorkerHistory) -> bool:
    """Return whether versions or older deployments are still unread."""
    return not history.is_read_to_end or any(
        not history.version(v).is_detailed for d in history.deployments for v, _ in d.split
    )


def find_active_rollback(history: WorkerHistory, *, incident: int | None) -> PastRollback | None:
    """Return the rollback that is still in effect, which makes another request do nothing.

    It is a recent one by anyone, ours for this incident, or ours without an incident within a day.
    """
    return next(
        (step for step in history.active_rollbacks() if _is_rollback_standing(history, step, incident=incident)), None
    )


def _is_rollback_standing(history: WorkerHistory, step: PastRollback, *, incident: int | None) -> bool:
    age = history.now - step.deployment.created_on
    if age < ROLLBACK_HOLDS:
        return True
    mark = step.deployment.mark
    if mark is None or not step.is_ours:
        return False
    return age < OURS_WITHOUT_INCIDENT_HOLDS if mark.incident is None else mark.incident == incident


def find_next_rollback(history: WorkerHistory, relapsed: str, *, incident: int | None) -> PastRollback | None:
    """Return our live rollback that already replaced the relapsed deployment; None if the relapsed one is live.

    `relapsed`: ID of a rollback of ours, or its first characters. Someone else's deployment may be the fix, so only our
    rollbacks may follow it.

    Raises:
        Refused: another deployment is live.
    """
    ours = {step.deployment.id: step for step in reversed(history.rollbacks) if _is_of_incident(step, incident)}
    chain = [*takewhile(ours.__contains__, (each.id for each in history.deployments))]
    place = next((place for place, name in enumerate(chain) if name.startswith(relapsed)), None)
    if place is None or len(relapsed) < SHORTEST_ID:
        raise Refused(
            f"deployment {quote_name(relapsed)} is no live rollback of this incident: "
            f"{describe_deployment(history.live)} is live",
            reason=Reason.WORLD_MOVED,
            hint="Check what was deployed. If it did not fix the problem, request the rollback without `--relapsed`.",
        )
    return ours[chain[0]] if place > 0 else None


def _is_of_incident(step: PastRollback, incident: int | None) -> bool:
    """Return whether the rollback is ours, and for this incident. One without an incident may have opened it."""
    mark = step.deployment.mark
    return step.is_ours and mark is not None and mark.incident in {None, incident}


def decide_rollback_target(
    history: WorkerHistory, relapsed: str, *, incident: int | None
) -> tuple[TargetChoice, PastRollback | None]:
    """Return the choice, and the rollback that leaves nothing to do; None if there is none.

    Raises:
        Refused: `relapsed` is given, and another deployment is live.
    """
    choice = choose_target(history, incident=incident, only_older=bool(relapsed))
    active = find_next_rollback(history, relapsed, incident=incident) if relapsed else choice.active_rollback
    return choice, active


def version_to_blame(history: WorkerHistory, suspect: str, split: Split, *, by_rule: bool) -> str | None:
    """Return the version that our mark blames; None for an undo, a restored split or a newer target."""

    def is_before(version: str) -> bool:
        return history.served_before(version, suspect) or (
            not history.has_served(version) and history.is_older(version, suspect)
        )

    steps_back = by_rule or all(is_before(version) for version, percent in split if percent > 0)
    serves_suspect = any(version == suspect for version, _ in split)
    return suspect if steps_back and not serves_suspect else None


def _describe_author(step: PastRollback) -> str:
    author = step.deployment.author or "an unknown author"
    return f"{author} ({step.deployment.source})" if step.deployment.source else author


def parse_version_target(text: str, known: Iterable[WorkerVersion]) -> Split:
    """Parse `VERSION` or `A@90,B@10`. The first eight characters of a version are enough if they are unique.

    Raises:
        ConfigError: the text is malformed.
        Refused: Cloudflare does not list the version as deployable.
    """
    versions = list(known)
    shares = [part.strip().partition("@") for part in text.split(",")]
    if len(shares) > 2:
        raise _malformed_split(text, "a deployment has at most two versions")
    if len(shares) == 1 and not shares[0][1]:
        return ((_resolve_version(shares[0][0], versions), 100.0),)
    split = [(_resolve_version(name, versions), _parse_percent(text, share)) for name, _, share in shares]
    if len(dict(split)) < len(split):
        raise _malformed_split(text, "both shares name the same version")
    if abs(sum(percent for _, percent in split) - 100) > 0.001:
        raise _malformed_split(text, f"the shares add up to {sum(percent for _, percent in split):g}, not 100")
    return tuple(sorted(split, key=lambda share: -share[1]))


def _parse_percent(text: str, share: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?%?", share):
        raise _malformed_split(text, f'"{quote_name(share)}" is not a percentage')
    return float(share.rstrip("%"))


def _malformed_split(text: str, why: str) -> ConfigError:
    hint = "Pass one version ID, or two with percentages: --to A@90,B@10."
    return ConfigError(f'--to "{quote_name(text)}" is not valid: {why}', reason=Reason.UNKNOWN_NAME, hint=hint)


def _resolve_version(name: str, versions: list[WorkerVersion]) -> str:
    name = name.strip().lower()
    if any(version.id == name for version in versions):
        return name
    matching = [version.id for version in versions if len(name) >= SHORTEST_ID and version.id.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    if len(matching) > 1:
        raise Refused(
            f'"{name}" matches {len(matching)} versions',
            reason=Reason.UNKNOWN_NAME,
            hint=f"Pass one of: {', '.join(matching)}.",
        )
    raise Refused(
        f'no deployable version "{quote_name(name)}"{did_you_mean(name, [version.id for version in versions])}',
        reason=Reason.UNKNOWN_NAME,
        hint="Pass the ID of one of the 100 newest versions, or its first 8 characters: `ops versions` lists them.",
    )


def parse_wanted_split(to: str, to_commit: str, versions: Iterable[WorkerVersion]) -> Split | None:
    """Return the requested split; None without a request. Raises as `parse_version_target`."""
    check_one_target(to, to_commit)
    versions = list(versions)
    if not to_commit:
        return parse_version_target(to, versions) if to else None
    names = {each.id: (each.tag, "" if is_sha(each.tag) else named_commit(each)) for each in versions}
    times = {each.id: format_utc(each.created_on) if each.created_on else "" for each in versions}
    return ((resolve_commit(to_commit, names, times, "deployable version"), 100.0),)


def check_one_target(to: str, to_commit: str) -> None:
    if to and to_commit:
        raise ConfigError("--to and --to-commit both name a target", hint="Omit one of them.")


def resolve_commit(text: str, names: Mapping[str, tuple[str, ...]], times: Mapping[str, str], kind: str) -> str:
    """Return the only version with a commit or tag. `names`: version → commits and tags, as its deployer wrote them.

    Raises:
        Refused: none has it, or several do.
    """
    wanted = text.strip()
    matching = [version for version, own in names.items() if any(is_same_commit(wanted, name) for name in own)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        ways = first_of([f"`--to {version}` ({times[version]})" for version in matching])
        raise Refused(
            f'{len(matching)} {kind}s have the commit or tag "{quote_name(wanted)}"',
            reason=Reason.UNKNOWN_NAME,
            hint=f"Choose one: {', '.join(ways)}.",
        )
    known = [(version, next(filter(None, own), "")) for version, own in names.items()]
    listed = first_of([f"{_shorten_reference(name)} ({short_id(version)})" for version, name in known if name])
    short = "Pass at least 7 digits of a SHA. " if re.fullmatch("[0-9a-f]{1,6}", wanted.lower()) else ""
    raise Refused(
        f'no {kind} has the commit or tag "{quote_name(wanted)}"',
        reason=Reason.UNKNOWN_NAME,
        hint=f"{short}There are: {', '.join(listed)}." if listed else f"No {kind} names one. Pass its ID with `--to`.",
    )


def _shorten_reference(name: str) -> str:
    """Return a commit or tag so that it can be passed again: the first digits name a commit, but no tag."""
    return quote_name(name[:12] if is_sha(name) else name)


def named_commit(version: WorkerVersion) -> str:
    """Return the tag if it is a commit, else the commit that the message begins with, as some pipelines write it."""
    return version.tag if is_sha(version.tag) else leading_commit(version.message)
