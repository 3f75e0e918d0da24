"""Tell which versions of a Worker have the new value of a rotated secret.

Cloudflare never returns a value, so the marks in the deployment history tell (`rotated=`, `restored=`, `revoked=`).
Their silence proves nothing: a version that others uploaded after a rotation may have any value.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from ops.cloudflare.marks import ANY_NAME, DeploymentMark, parse_mark
from ops.cloudflare.types.workers import Split, WorkerDeployment, is_same_split, short_id
from ops.core.clock import format_utc
from ops.workers.history import WorkerHistory


class ValueAge(Enum):
    """Age of a secret's value in a version, relative to the newest rotation of the secret."""

    NEW = "new"
    OLD = "old"
    """The value from before the rotation, which leaked."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class DoubtfulValue:
    """A secret whose value in a version is not known to be the new one, while its rotation has not ended."""

    age: ValueAge
    rotation: WorkerDeployment


def find_rotation(history: WorkerHistory, secret: str) -> WorkerDeployment | None:
    """Return the newest deployment that the history confirms to rotate the secret; None if there is none."""
    return next((d for d, mark in history.confirmed_marks if _includes_secret(mark.rotated, secret)), None)


def age_of_value(history: WorkerHistory, version: str, secret: str) -> ValueAge:
    """Return the age of the secret's value in `version`; UNKNOWN without a rotation in the history.

    An upload of ours inherits its secrets from the upload before it.
    """
    rotation = find_rotation(history, secret)
    if rotation is None:
        return ValueAge.UNKNOWN
    for deployment, mark in history.confirmed_marks:
        if deployment.serving_versions == (version,):
            if _includes_secret(mark.restored, secret):
                return ValueAge.OLD
            if _includes_secret((*mark.rotated, *mark.revoked), secret):
                return ValueAge.NEW
        if deployment is rotation:
            break
    if all(history.was_uploaded_before(version, rotated) for rotated in rotation.serving_versions):
        return ValueAge.OLD
    before = _inherits_from(history, version)
    return age_of_value(history, before, secret) if before else ValueAge.UNKNOWN


def find_doubtful_values(history: WorkerHistory, version: str) -> Mapping[str, DoubtfulValue]:
    """Return the secrets whose rotation has not ended, and whose new value `version` is not known to have."""
    known = history.version(version)
    rotations = {name: find_rotation(history, name) for name in _rotated_names(history, version)}
    doubtful = {
        name: DoubtfulValue(age_of_value(history, version, name), rotation)
        for name, rotation in rotations.items()
        if rotation is not None
        and not _has_revocation_ended(history, name, rotation)
        and not (known.is_detailed and name not in known.secret_names)
    }
    return {name: value for name, value in doubtful.items() if value.age != ValueAge.NEW}


def find_doubtful_in_split(
    history: WorkerHistory, split: Split, *, accepted: Collection[str] = ()
) -> Mapping[str, Mapping[str, DoubtfulValue]]:
    """Return version with traffic → its doubtful secrets, without the accepted ones; empty if there are none."""
    doubtful = {version: find_doubtful_values(history, version) for version, percent in split if percent > 0}
    rest = {version: {n: v for n, v in values.items() if n not in accepted} for version, values in doubtful.items()}
    return {version: values for version, values in rest.items() if values}


def find_revoked_values(history: WorkerHistory, split: Split) -> Mapping[str, WorkerDeployment]:
    """Return secret → deployment whose mark says that the secret's value in the split is revoked.

    Between a rotation and its end, others may have uploaded the new value.
    """
    return {
        name: deployment
        for version, _ in split
        for name, deployment in history.revoked(version).items()
        if find_rotation(history, name) is None or age_of_value(history, version, name) == ValueAge.OLD
    }


def find_revoked_among(names: Collection[str], history: WorkerHistory, split: Split) -> Mapping[str, WorkerDeployment]:
    """Return the secrets of `names` whose value in the split is revoked, each with the deployment that says so."""
    revoked = find_revoked_values(history, split)
    revocations = {name: revoked.get(name) or revoked.get(ANY_NAME) for name in names}
    return {name: deployment for name, deployment in revocations.items() if deployment is not None}


def is_marked_revoked(history: WorkerHistory, split: Split, secret: str) -> bool:
    """Return whether a deployment of this split has the mark that earlier values of the secret are revoked."""
    return any(
        is_same_split(d.split, split) and _includes_secret(mark.revoked, secret) for d, mark in history.confirmed_marks
    )


def describe_doubtful_values(version: str, values: Mapping[str, DoubtfulValue]) -> str:
    """Return what is known about the values, for people."""
    return " and ".join(_describe_doubtful_values(version, values))


def _describe_doubtful_values(version: str, values: Mapping[str, DoubtfulValue]) -> Iterator[str]:
    for age in (ValueAge.OLD, ValueAge.UNKNOWN):
        named = {name: value.rotation for name, value in values.items() if value.age == age}
        if not named:
            continue
        names, at = ", ".join(named), format_utc(max(each.created_on for each in named.values()))
        if age == ValueAge.OLD:
            yield f"{short_id(version)} has the value from before the rotation of {names} at {at}"
        else:
            yield (
                f"it is unknown whether {short_id(version)} has the new value of {names}: others uploaded it after "
                f"the rotation at {at}"
            )


def has_unmarked_rotation(history: WorkerHistory) -> bool:
    """Return whether a rotation ran for the incident, and no mark tells which values it set.

    Release 0.1.0 left none after a secret edit, and a run that was killed before its mark leaves none either.
    """
    return history.has_rotated_in_incident and not any(
        mark.rotated or mark.revoked for _, mark in history.confirmed_marks
    )


def may_have_old_values(history: WorkerHistory, version: str) -> bool:
    """Return whether no text may name the version as a way, because it may have a leaked value."""
    edits = [each.id for each in history.versions.values() if each.triggered_by == "secret"]
    is_before = any(history.was_uploaded_before(version, edit) for edit in edits)
    return bool(find_doubtful_values(history, version)) or (is_before and has_unmarked_rotation(history))


def without_old_values(history: WorkerHistory, versions: Iterable[str]) -> list[str]:
    """Return the versions that a text may name as a way."""
    return [version for version in versions if not may_have_old_values(history, version)]


def _rotated_names(history: WorkerHistory, version: str) -> Iterator[str]:
    names = dict.fromkeys(name for _, mark in history.confirmed_marks for name in mark.rotated)
    yield from (name for name in names if name != ANY_NAME)
    if ANY_NAME in names:
        yield from sorted(history.version(version).secret_names - names.keys())


def _has_revocation_ended(history: WorkerHistory, secret: str, rotation: WorkerDeployment) -> bool:
    return any(
        d.created_on > rotation.created_on
        for d, mark in history.confirmed_marks
        if _includes_secret(mark.revoked, secret)
    )


def _includes_secret(names: Collection[str], secret: str) -> bool:
    return secret in names or ANY_NAME in names


def _inherits_from(history: WorkerHistory, version: str) -> str | None:
    """Return the upload before `version` if a run of ours made `version`; None if others did, or it is unknown."""
    own = history.version(version)
    marks = [mark for d, mark in history.confirmed_marks if d.serving_versions == (version,)]
    if own.number is None or not _is_our_upload(parse_mark(own.message), own.triggered_by, marks):
        return None
    return next((each.id for each in history.versions.values() if each.number == own.number - 1), None)


def _is_our_upload(uploaded: DeploymentMark | None, triggered_by: str, marks: list[DeploymentMark]) -> bool:
    """Return whether the upload and a deployment of it have marks of one run, or ours marked a secret edit."""
    if uploaded is None:
        return triggered_by == "secret" and any(mark.rotated or mark.restored for mark in marks)
    return any(mark.run == uploaded.run for mark in marks)
