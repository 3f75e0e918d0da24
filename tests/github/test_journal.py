"""The run's comment on the incident issue: what it says, and that no fault of GitHub's changes a recovery."""

import threading
from pathlib import Path
from typing import Any

import pytest

from ops.model.block import is_edited, read_block
from tests.commands import LIST, WRITE
from tests.conftest import Releases
from tests.github.conftest import COMMENT, COMMENTS, Incident
from tests.render.test_markdown import without_what_differs

GOLDEN = Path(__file__).parent / "golden"


def shown(body: str) -> str:
    return without_what_differs(body.partition("<!-- backout")[0])


def assert_golden(name: str, body: str, *, update: bool) -> None:
    path = GOLDEN / f"{name}.md"
    if update:
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown(body))
    assert shown(body) == path.read_text()


def heard_before_the_first_read(incident: Incident) -> None:
    """Hold Cloudflare's first answer back until the first comment is there."""
    heard = threading.Event()
    incident.github.fault(method="POST", path=COMMENTS, after=heard.set)
    incident.world.sandbox.fault(**LIST, before=lambda: heard.wait(5))


def test_the_first_comment_says_received(incident: Incident, releases: Releases, update_golden: bool) -> None:
    seen: list[str] = []
    heard_before_the_first_read(incident)
    incident.world.sandbox.fault(**WRITE, before=lambda: seen.extend(incident.bodies))
    incident.rollback()
    assert_golden("received", seen[0], update=update_golden)
    assert len(incident.bodies) == 1
    assert incident.bodies[0].startswith("### Recovered\n")


def test_a_recovery_is_told_in_one_comment(incident: Incident, releases: Releases, update_golden: bool) -> None:
    outcome = incident.rollback("--reason", "checkout fails @acme/all #1")
    (body,) = incident.bodies
    block = read_block(body)
    assert_golden("recovered", body, update=update_golden)
    assert block
    assert (block.run, block.decision) == (outcome.result["run"], "recovered")
    assert block.durations["verified"] is not None
    assert not is_edited(body)
    assert is_edited(body.replace("Recovered", "Recovered by me"))
    assert incident.github.token not in body
    assert outcome.result["links"]["journal"].startswith("http")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("failed", {**WRITE, "code": 10021, "message": "no"}),
        ("refused", {**WRITE, "code": 10220, "message": "changed: A"}),
    ],
)
def test_a_run_that_ended_badly_says_what_to_do(
    incident: Incident, releases: Releases, update_golden: bool, name: str, fault: dict[str, Any]
) -> None:
    incident.world.sandbox.fault(**fault)
    incident.rollback()
    (body,) = incident.bodies
    assert_golden(name, body, update=update_golden)


FAULTS: dict[str, dict[str, Any]] = {
    "create lost before it was heard": {"method": "POST", "lost": "before"},
    "create lost after it was heard": {"method": "POST", "lost": "after"},
    "create fails, and was heard": {"method": "POST", "status": 502, "applied": True},
    "every create fails": {"method": "POST", "status": 500, "times": None},
    "edits fail": {"method": "PATCH", "status": 500, "times": None},
    "forbidden": {"status": 403, "times": None},
    "rate limit": {"method": "POST", "status": 429, "times": None, "headers": {"retry-after": "60"}},
    "nothing is read back": {"method": "GET", "status": 404, "times": None},
}


@pytest.mark.parametrize("early", [True, False], ids=["while it runs", "at its end"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_run_recovers_whatever_github_does(
    incident: Incident, releases: Releases, fault: dict[str, Any], early: bool
) -> None:
    if early:
        heard_before_the_first_read(incident)  # first, so that it also hears of what the fault then swallows
    incident.github.fault(**{"path": "/repos/**", **fault})
    outcome = incident.rollback()
    assert (outcome.code, outcome.result["decision"]) == (0, "recovered")
    runs = [block.run for body in incident.bodies if (block := read_block(body))]
    assert len(runs) == len(set(runs))
    assert sum("journal" in event["text"] for event in outcome.events) <= 1


@pytest.mark.parametrize(
    "fault", ["create lost before it was heard", "create lost after it was heard", "create fails, and was heard"]
)
def test_an_answer_that_was_lost_gives_one_comment_that_tells_all(
    incident: Incident, releases: Releases, fault: str
) -> None:
    incident.github.fault(path=COMMENTS, **FAULTS[fault])
    outcome = incident.rollback()
    (body,) = incident.bodies
    assert body.startswith("### Recovered\n")
    assert len([e for e in outcome.events if "journal on the incident issue failed" in e["text"]]) == 1


def test_an_edit_that_silently_does_nothing_becomes_a_new_comment(incident: Incident, releases: Releases) -> None:
    heard_before_the_first_read(incident)
    incident.github.fault(method="PATCH", path=COMMENT, status=200, body="{}", content_type="application/json")
    incident.rollback()
    (body,) = incident.bodies
    assert body.startswith("### Recovered\n")


def test_github_cannot_be_reached(incident: Incident, releases: Releases) -> None:
    outcome = incident.rollback(GITHUB_API_URL="http://127.0.0.1:9")
    assert (outcome.code, outcome.result["decision"]) == (0, "recovered")
    assert [e["text"] for e in outcome.events if e["kind"] == "warning"] == [
        "the journal on the incident issue failed (ConnectionError)"
    ]


def test_two_runs_on_one_issue_have_a_comment_each(incident: Incident, releases: Releases) -> None:
    runs = [incident.rollback().result["run"] for _ in range(2)]
    assert [block.run for body in incident.bodies if (block := read_block(body))] == runs


def test_a_run_that_wrote_and_had_no_incident_opens_one(incident: Incident, releases: Releases) -> None:
    outcome = incident.world.rollback(**incident.github.environ())
    opened = incident.github.issues[-1]
    assert outcome.result["links"]["incident"].endswith(f"/issues/{opened.number}")
    assert [label.name for label in opened.labels] == ["incident"]
    assert len(opened.comments) == 1
    assert f"--incident {opened.number}\n" in (opened.body or "")


def test_a_dry_run_opens_no_incident(incident: Incident, releases: Releases) -> None:
    incident.world.rollback("--dry-run", **incident.github.environ())
    assert len(incident.github.issues) == 1


def test_an_incident_that_cannot_be_opened_does_not_fail_the_run(incident: Incident, releases: Releases) -> None:
    incident.github.fault(method="POST", status=500, times=None)
    outcome = incident.world.rollback(**incident.github.environ())
    assert (outcome.code, outcome.result["links"]) == (0, {})
