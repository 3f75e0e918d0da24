"""The deployment mark: it parses back unchanged and records secret changes."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st

from ops.cloudflare.marks import ANY_NAME, MAX_MESSAGE_BYTES, DeploymentMark, parse_mark
from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion
from ops.workers.history import WorkerHistory
from tests.support.properties import holds_for

NAMES = st.lists(st.text(min_size=1, max_size=40), max_size=6).map(tuple)
OLD, ROTATED, LATER = (f"{number}0000000-0000-4000-8000-000000000000" for number in (1, 2, 3))
BEGINNING = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.slow
@holds_for(
    40,
    2000,
    names=NAMES,
    what=st.integers(0, 2),
    text=st.text(max_size=40),
    incident=st.none() | st.integers(1, 10**9),
)
def test_deployment_mark_round_trips(names: tuple[str, ...], what: int, text: str, incident: int | None) -> None:
    rotated, revoked, reset = (names if each == what else () for each in range(3))
    mark = DeploymentMark(incident, "77.1-abcd", OLD, " ".join(text.split()), rotated, revoked, reset)

    assert parse_mark(str(mark)) == mark


@pytest.mark.slow
@holds_for(50, 1000, count=st.integers(0, 60), length=st.integers(1, 60), text=st.text(max_size=300))
def test_names_beyond_the_limit_become_the_wildcard(count: int, length: int, text: str) -> None:
    names = tuple(f"{'N' * length}_{number}" for number in range(count))

    message = str(DeploymentMark(42, "77.1-abcd", None, text, revoked=names))

    read = parse_mark(message)
    assert len(message.encode()) <= MAX_MESSAGE_BYTES
    assert read
    if read.revoked != names:
        *kept, last = read.revoked
        assert (last, tuple(kept)) == (ANY_NAME, names[: len(kept)])
        assert len(",".join(names)) > MAX_MESSAGE_BYTES - 70


def history(*deployed: tuple[str, str]) -> WorkerHistory:
    """Deploy each version with its message for an hour, oldest first; versions are uploaded in name order."""
    rows = [
        WorkerDeployment(f"d{hour}", BEGINNING + timedelta(days=1, hours=hour), ((version, 100.0),), message=message)
        for hour, (version, message) in enumerate(deployed)
    ]
    uploaded = enumerate((OLD, ROTATED, LATER), start=1)
    versions = {v: WorkerVersion(v, number, BEGINNING + timedelta(hours=number)) for number, v in uploaded}
    now = BEGINNING + timedelta(days=3)
    return WorkerHistory(tuple(reversed(rows)), versions, frozenset(versions), now, min_served=600)


FINISHED = "ops1 incident=42 run=r blames=- revoked=KEY,OTHER; done"


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("deployed", "version", "names"),
    [
        ([(OLD, ""), (ROTATED, ""), (ROTATED, FINISHED)], OLD, {"KEY", "OTHER"}),
        ([(ROTATED, FINISHED), (LATER, "")], OLD, {"KEY", "OTHER"}),
        ([(OLD, ""), (ROTATED, ""), (ROTATED, FINISHED), (LATER, "")], LATER, set()),
        ([(OLD, ""), (ROTATED, FINISHED)], ROTATED, set()),
        ([(OLD, ""), (ROTATED, FINISHED.replace("revoked", "rotated"))], OLD, set()),
        ([(OLD, ""), (ROTATED, f"ops1 incident=42 run=r blames={OLD} revoked=KEY")], OLD, {"KEY"}),
        ([(OLD, ""), (ROTATED, f"ops1 incident=42 run=r blames={LATER} revoked=KEY")], OLD, set()),
    ],
    ids=[
        "uploaded before the rotation",
        "the oldest deployment that is listed",
        "uploaded after the rotation",
        "the rotated version itself",
        "rotated and not revoked",
        "a blame that is borne out",
        "a blame that is not borne out",
    ],
)
def test_revoked_values_affect_only_earlier_uploads(
    deployed: list[tuple[str, str]], version: str, names: set[str]
) -> None:
    assert history(*deployed).revoked(version).keys() == names
