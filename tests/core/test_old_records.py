"""Records of older program versions are read with current names."""

from pathlib import Path

import pytest

from tests.conftest import Incident

RECORDS = Path(__file__).parent / "old_records"


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("old", "new"),
    [("ambiguous", "unknown_outcome"), ("unverified", "still_unhealthy"), ("inconclusive", "no_evidence")],
)
def test_comment_with_old_decision_gets_the_current_name(incident: Incident, old: str, new: str) -> None:
    incident.github.comment(incident.number, (RECORDS / f"{old}.md").read_text(), "alice")

    shown = incident.timeline
    reported = incident.ops("incident", "report", str(incident.number), "--config", str(incident.world.config))

    assert [line.split()[2:4] for line in shown] == [
        ["requested", "rollback-worker"],
        ["probed", "before:"],
        ["ended", new],
    ]
    assert "before: inconclusive" in shown[1]  # a verdict keeps its name
    assert "edited" not in "".join(shown)  # the digest covers the old name
    assert reported.code == 0, reported.err
    report = incident.github.issues[-1].body or ""
    assert f"no run recovered it; last result: {new.replace('_', ' ')}" in report
    assert old not in report.replace("before: inconclusive", "")


def test_timeline_with_old_decision_gets_the_current_name(incident: Incident) -> None:
    config = ("--config", str(incident.world.config))
    done = incident.ops("incident", "import", str(RECORDS / "timeline.jsonl"), "--incident", "1", *config)

    assert done.code == 0, done.err
    (body,) = incident.bodies
    assert body.startswith("### ⚠️ rollback-worker for api: outcome unknown")
    assert '"decision":"unknown_outcome"' in body
    assert "mbiguous" not in body
