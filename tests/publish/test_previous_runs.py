"""Versions that earlier runs on the incident replaced are rejected as targets."""

from datetime import UTC, datetime, timedelta

import github  # noqa: F401  loaded here, so that a run does not spend its two seconds on it
import pytest

from ops.core.run_record import RecordRow, RunRecord, embed_record, read_record
from ops.github.comments import BOT
from ops.pages.plan_text import REJECTED_SECTION
from tests.conftest import Incident, Releases
from tests.support.commands import COMMENTS, texts
from tests.support.in_process import held

PASSED = "an earlier run replaced it, or found it rolled back"


@pytest.fixture
def rolled_back(incident: Incident, sites: Releases) -> Incident:
    """Roll back a bad site on the incident, then deploy another bad one."""
    assert incident.rollback_pages().code == 0
    incident.world.site(timedelta(), "bad again", commit="c" * 40)
    incident.world.sandbox.clock.advance(60)
    return incident


@pytest.mark.slow
def test_version_replaced_by_an_earlier_run_is_skipped(rolled_back: Incident, sites: Releases) -> None:
    outcome = rolled_back.rollback_pages()

    assert outcome.code == 0, outcome.err
    assert rolled_back.world.served == sites.good
    assert outcome.result["plan"]["sections"][REJECTED_SECTION] == [f"{sites.bad[:8]}: {PASSED}"]


@pytest.mark.slow
def test_explicit_target_replaced_earlier_is_a_warning(rolled_back: Incident, sites: Releases) -> None:
    outcome = rolled_back.rollback_pages("--to", sites.bad)

    assert rolled_back.world.served == sites.bad
    assert any("by an earlier run for this incident" in warning for warning in outcome.result["plan"]["warnings"])


@pytest.mark.slow
def test_replaced_version_is_skipped_only_on_its_incident(rolled_back: Incident, sites: Releases) -> None:
    number = rolled_back.github.open_issue("Another", "", ["incident"], "alice")

    Incident(rolled_back.world, number).rollback_pages()

    assert rolled_back.world.served == sites.bad


@pytest.mark.slow
def test_record_by_a_reader_is_ignored(rolled_back: Incident, sites: Releases) -> None:
    """Otherwise anybody could steer a rollback past the good site."""
    oldest = rolled_back.world.site(timedelta(days=9), "oldest")
    moment = rolled_back.world.sandbox.clock.now()
    forged = RunRecord(
        "9",
        runbook="rollback-pages",
        environment="production",
        service="frontend",
        versions=(("Pages fortunet-frontend", sites.good[:8], oldest[:8]),),
        rows=(RecordRow(moment, "written", "x"),),
    )
    rolled_back.github.comment(rolled_back.number, embed_record("forged", forged), "zoe")

    rolled_back.rollback_pages()

    assert rolled_back.world.served == sites.good


@pytest.mark.slow
def test_release_replaced_by_a_redeployment_is_skipped(incident: Incident, sites: Releases) -> None:
    """The redeployed commit is bad too, and a later rollback must not restore the deployment that it replaced."""
    incident.world.site(timedelta(minutes=5), "redeployed, and bad", commit="c" * 40)
    redeployed = RunRecord(
        f"{incident.github.add_run('redeploy-pages.yml')}.1-abcd",
        runbook="redeploy-pages",
        environment="production",
        service="frontend",
        versions=(("Pages fortunet-frontend", sites.bad[:8], f"commit {'c' * 12}"),),
        rows=(RecordRow(incident.world.sandbox.clock.now(), "written", "x"),),
    )
    incident.github.comment(incident.number, embed_record("redeployed", redeployed), BOT)

    outcome = incident.rollback_pages()

    assert outcome.code == 0, outcome.err
    assert incident.world.served == sites.good
    assert outcome.result["plan"]["sections"][REJECTED_SECTION] == [f"{sites.bad[:8]}: {PASSED}"]


@pytest.mark.slow
def test_record_by_a_writer_is_trusted(rolled_back: Incident, sites: Releases) -> None:
    """A run imported from a laptop has such a record."""
    oldest = rolled_back.world.site(timedelta(days=9), "oldest")
    rolled_back.github.add_user("dana", "write")
    told = RunRecord(
        "9",
        runbook="rollback-pages",
        environment="production",
        service="frontend",
        versions=(("Pages fortunet-frontend", sites.good[:8], oldest[:8]),),
        rows=(RecordRow(rolled_back.world.sandbox.clock.now(), "written", "x"),),
    )
    rolled_back.github.comment(rolled_back.number, embed_record("told", told), "dana")

    rolled_back.rollback_pages()

    assert rolled_back.world.served == oldest


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        {"status": 500},
        *(pytest.param(rule, marks=pytest.mark.slow) for rule in ({"status": 403}, {"lost": "before"}, {"body": "<"})),
    ],
)
def test_github_failure_is_a_warning(rolled_back: Incident, sites: Releases, rule: dict[str, str | int]) -> None:
    rolled_back.github.fault(method="GET", path=COMMENTS, times=None, **rule)

    outcome = rolled_back.rollback_pages()

    assert outcome.code in {0, 6}, outcome.err
    assert rolled_back.world.served == sites.bad
    assert any("cannot read the earlier runs of the incident" in text for text in texts(outcome, "warning"))


@pytest.mark.slow
def test_pages_rollback_does_not_wait_for_github(rolled_back: Incident, sites: Releases) -> None:
    with held(rolled_back.github.faults, path="/**"):
        rolled_back.rollback_pages()

    assert rolled_back.world.served == sites.bad


def test_version_live_at_incident_start_is_skipped(
    incident: Incident,
) -> None:
    world = incident.world
    good = world.release(timedelta(days=3), code="good")
    first = world.release(timedelta(hours=2), code="bad")
    world.sandbox.clock.advance(600)
    world.release(timedelta(), code="no fix", behaviour={"status": 500})
    world.sandbox.clock.advance(60)

    outcome = incident.rollback()

    assert world.live == {good: 100}, outcome.err
    (warning,) = (w for w in outcome.result["plan"]["warnings"] if "without proof" in w)
    assert "it was live when the incident began" in warning
    assert f"`--to {first}`" in warning


@pytest.mark.slow
def test_worker_rollback_does_not_wait_for_github(incident: Incident, releases: Releases) -> None:
    with held(incident.github.faults, path="/**"):
        incident.rollback()

    assert incident.world.live == {releases.good: 100}


@pytest.mark.slow
def test_version_live_for_a_day_before_the_incident_is_kept(incident: Incident) -> None:
    world = incident.world
    world.release(timedelta(days=9), code="older")
    good = world.release(timedelta(days=3), code="good")
    world.sandbox.clock.advance(600)
    world.release(timedelta(), code="no fix", behaviour={"status": 500})
    world.sandbox.clock.advance(60)

    incident.rollback()

    assert world.live == {good: 100}


@pytest.mark.slow
def test_mark_of_a_recorded_run_is_trusted(incident: Incident) -> None:
    """A new upload never served, so its mark counts only because the record of the run names it."""
    world = incident.world
    world.release(timedelta(days=9), code="older", secrets={"KEY": "0"})
    world.release(timedelta(hours=3), code="good", secrets={"KEY": "1"})
    world.release(timedelta(minutes=10), code="bad", secrets={"KEY": "2"}, behaviour={"status": 500})
    assert incident.rollback("--current-secrets").code == 0
    world.sandbox.clock.advance(7200)

    known = incident.rollback()
    unknown = world.rollback("--incident", str(incident.number), "--dry-run")

    assert known.result["reason"] == "already_stepped_back"
    assert unknown.result["decision"] == "planned"


def test_long_record_keeps_the_rows_that_later_runs_need() -> None:
    """A restore behind maintenance has more rows than fit; without its undo, a second run would not be refused."""
    at = datetime(2026, 11, 26, 10, tzinfo=UTC)
    kinds = ["requested", "planned", "approved", *["compared", "writing", "written", "read_back"] * 6, "prepared"]
    kinds += ["writing", "written", "read_back"] * 9
    rows = tuple(RecordRow(at, kind, f"{kind} {number}: {'x' * 120}") for number, kind in enumerate(kinds))

    record = read_record(embed_record("A run.", RunRecord("20261126T100000-abcd", rows=rows)))

    assert record is not None
    found = [row.kind for row in record.rows]
    assert len(found) < len(kinds)
    assert (found[0], found.count("approved"), found.count("prepared")) == ("requested", 1, 1)
