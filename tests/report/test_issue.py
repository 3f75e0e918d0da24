"""Regions of the report: text of people survives updates, and untrusted text stays text."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import strategies as st

from ops.cloudflare.types.records import HostMinute, HostTraffic
from ops.cloudflare.types.workers import WorkerDeployment
from ops.core.clock import Period, parse_utc
from ops.core.errors import Decision
from ops.core.incident_state import IncidentForm, IssueAction, IssueRecord
from ops.core.run_record import RecordRow, RunRecord
from ops.core.timeline import EventKind
from ops.github.comments import MAX_TEXT
from ops.report import issue
from ops.report.evidence import IncidentEvidence, ListedCommit, ReportedHistory, WorkflowJob, WorkflowRun
from ops.report.impact import ServiceImpact, ServiceWrite
from ops.report.issue import build_report_region, incident_of_report, update_report_regions
from ops.report.timeline import EVENT_NAMES, MomentName, find_moments, measure_spans
from tests.support.hostile import HOSTILE, skeleton
from tests.support.properties import holds_for

NOW = parse_utc("2026-11-24T03:20:00Z")
URL = "https://github.test/acme/operations/issues/1"
RUN = "1001.1-abcd"


def evidence_with(text: str = "x", *, decision: str = "recovered", **more: object) -> IncidentEvidence:
    """Return evidence with `text` in every field that other people can write."""
    kinds = ("requested", "planned", "writing", "written", "read_back", "verified", "ended", text)
    rows = tuple(RecordRow(NOW + timedelta(seconds=n), kind, text) for n, kind in enumerate(kinds))
    durations = {"plan": 1.0, "write": 2.0, "read back": 3.0, "verified": 4.0, "total": 6.0}
    block = RunRecord(
        RUN,
        runbook=text,
        environment=text,
        service=text,
        decision=decision,
        durations=durations,
        versions=((text, "aaaaaaaa", "bbbbbbbb"),),
        rows=rows,
    )
    deployment = WorkerDeployment(text, NOW - timedelta(hours=1), (("a" * 32, 100.0),), text, text, text)
    whole = IncidentEvidence(
        number=1,
        title=text,
        url=URL,
        opened_at=NOW - timedelta(minutes=5),
        opened_by=text,
        opened_by_team=True,
        closed_at=None,
        labels=("incident", text),
        form=IncidentForm(NOW - timedelta(minutes=9), impact=text),
        actions=tuple(
            IssueAction(NOW, kind, text, text, URL) for kind in ("labeled", "commented", "renamed", "closed")
        ),
        records=(IssueRecord(block, text, is_edited=False, url=URL),),
        skipped=3,
        read_at=NOW,
        runs=(WorkflowRun(1001, 1, URL, text, text, NOW, text, (WorkflowJob(text, NOW, NOW),)),),
        histories=(ReportedHistory(text, text, URL, (deployment,), ()),),
        commits=(ListedCommit(text, text, text, URL),),
        compare_url=URL,
        unavailable=(text,),
        impact=(impact(text),),
    )
    return replace(whole, **more)  # type: ignore[arg-type]


def impact(text: str) -> ServiceImpact:
    """Return numbers of a host, and a Worker that could not be read, with `text` in every name."""
    window = Period(NOW - timedelta(minutes=9), NOW)
    minutes = (HostMinute(window.since, 500, 7),)
    return ServiceImpact(
        text,
        text,
        window,
        window,
        writes=(ServiceWrite(NOW - timedelta(minutes=2), text), ServiceWrite(NOW - timedelta(minutes=1), text)),
        worker=text,
        traffic_problem=text,
        host=text,
        responses=HostTraffic({500: 7}, minutes, 3, False, 2, 1.0, window.until, may_be_cut=False),
        own_host=text,
        sharing=(text,),
    )


def test_only_writes_that_the_picture_shows_are_named_as_bars() -> None:
    early, late = ServiceWrite(NOW - timedelta(days=1), "early"), ServiceWrite(NOW - timedelta(minutes=1), "late")

    pages = [
        issue.render_report(evidence_with(impact=(replace(impact("web"), writes=writes),)))
        for writes in ((early, late), (early,))
    ]

    assert [re.findall(r"Bars: .*\.", page) for page in pages] == [["Bars: writes of runs, late at 03:19:00."], []]


PLAIN = skeleton(issue.render_report(evidence_with()))


OF_OTHERS = HOSTILE.filter(lambda text: text not in {*EventKind, *Decision, *EVENT_NAMES})
"""Texts without our own keywords: a row of kind "requested" is shown as a request."""


@pytest.mark.slow
@holds_for(20, 300, text=OF_OTHERS)
def test_text_of_people_is_escaped_in_the_report(text: str) -> None:
    """The structure equals that with harmless text: no mention, link, tag or cell is added."""
    assert skeleton(issue.render_report(evidence_with(text))) == PLAIN


BEFORE, AFTER = issue.render_report(evidence_with(decision="failed")), evidence_with(decision="recovered")
LINES = st.text(st.characters(exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=40)


@pytest.mark.slow
@holds_for(12, 500, added=st.lists(st.tuples(st.integers(0, BEFORE.count("\n")), LINES), max_size=6))
def test_added_lines_are_never_lost(added: list[tuple[int, str]]) -> None:
    lines = BEFORE.split("\n")
    for number, (at, text) in enumerate(sorted(added, reverse=True)):
        lines.insert(at, f"people {number}: {text}")
    body = "\n".join(lines)
    for _ in range(2):
        body = issue.update_report(body, AFTER)
    for number, (_, text) in enumerate(sorted(added, reverse=True)):
        assert f"people {number}: {text}" in body.split("\n")
    assert incident_of_report(body) == 1


@holds_for(12, 500, gone=st.sets(st.integers(0, BEFORE.count("\n"))))
def test_removed_lines_do_not_break_updates(gone: set[int]) -> None:
    body = "\n".join(line for number, line in enumerate(BEFORE.split("\n")) if number not in gone)
    once = issue.update_report(body, AFTER)
    assert issue.update_report(once, AFTER) == once
    kept = [line for line in body.split("\n") if line.startswith(("#", "**", "- [ ]", "| _TODO_"))]
    assert [line for line in once.split("\n") if line in set(kept)].count("_TODO_") == kept.count("_TODO_")


def test_removed_region_stays_removed() -> None:
    body = f"mine\n{build_report_region('summary', 1, 'old')}\nmine too"
    assert update_report_regions(body, 1, {"summary": "new", "timing": "never asked for"}) == body.replace(
        build_report_region("summary", 1, "old"), build_report_region("summary", 1, "new")
    )


@pytest.mark.sampled
@pytest.mark.parametrize(
    "decision", ["failed", "unknown_outcome", "still_unhealthy", "interrupted", "refused", "", "nonsense"]
)
def test_only_recovered_run_is_mitigation(decision: str) -> None:
    found = {moment.name: moment for moment in find_moments(evidence_with(decision=decision))}
    assert found[MomentName.MITIGATED].at is None
    assert "nonsense" not in found[MomentName.MITIGATED].source


def test_incomplete_or_reversed_span_is_unknown() -> None:
    late = evidence_with(form=IncidentForm(parse_utc("2026-11-24 04:00")), closed_at=NOW + timedelta(hours=1))
    found = {span.name: span.seconds for span in measure_spans(find_moments(late))}
    assert found["start to mitigation (users affected)"] is None
    assert found["start to resolution"] == 20 * 60
    assert found["start to detection"] is None


@pytest.mark.slow
def test_report_stays_within_budget() -> None:
    acts = tuple(IssueAction(NOW + timedelta(seconds=n), "commented", "bob", "@" * 300, URL) for n in range(2000))
    page = issue.render_report(evidence_with(actions=acts))
    assert len(page) <= MAX_TEXT
    assert "rows do not fit" in page
