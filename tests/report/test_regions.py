"""A report that people and a program write together: nothing that people wrote is ever lost, and nothing breaks out."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import strategies as st

from ops.cloudflare.types.workers import WorkerDeployment
from ops.core.clock import parse_utc
from ops.core.errors import Decision
from ops.core.run_record import RecordRow, RunRecord
from ops.core.timeline import EventKind
from ops.gate.form import IncidentForm
from ops.github.issues import IssueRecord
from ops.report import markdown
from ops.report.evidence import Act, Commit, Evidence, Job, Served, WorkflowRun
from ops.report.moments import Name, moments, spans
from ops.report.regions import incident_of, region, renewed
from ops.report.rows import WORDS
from tests.support.hostile import HOSTILE, skeleton
from tests.support.properties import holds_for

NOW = parse_utc("2026-11-24T03:20:00Z")
URL = "https://github.test/acme/operations/issues/1"
RUN = "1001.1-abcd"


def evidence(text: str = "x", *, decision: str = "recovered", **more: object) -> Evidence:
    """Everything that other people can write, is `text`."""
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
    whole = Evidence(
        number=1,
        title=text,
        url=URL,
        opened_at=NOW - timedelta(minutes=5),
        opened_by=text,
        opened_by_team=True,
        closed_at=None,
        labels=("incident", text),
        stated=IncidentForm(NOW - timedelta(minutes=9), impact=text),
        acts=tuple(Act(NOW, kind, text, text, URL) for kind in ("labeled", "commented", "renamed", "closed")),
        recorded=(IssueRecord(block, text, is_edited=False, url=URL),),
        left_out=3,
        read_at=NOW,
        runs=(WorkflowRun(1001, 1, URL, text, text, NOW, text, (Job(text, NOW, NOW),)),),
        served=(Served(text, text, URL, (deployment,), ()),),
        commits=(Commit(text, text, text, URL),),
        compare_url=URL,
        unasked=(text,),
    )
    return replace(whole, **more)  # type: ignore[arg-type]


PLAIN = skeleton(markdown.new(evidence()))


OF_OTHERS = HOSTILE.filter(lambda text: text not in {*EventKind, *Decision, *WORDS})
"""No word of our own closed lists: a row of kind "requested" is a request, and shows as one."""


@holds_for(20, 300, text=OF_OTHERS)
def test_whatever_people_wrote_is_inert_in_the_report(text: str) -> None:
    """The page has the structure that it has with harmless text: no mention, link, tag or cell is added."""
    assert skeleton(markdown.new(evidence(text))) == PLAIN


BEFORE, AFTER = markdown.new(evidence(decision="failed")), evidence(decision="recovered")
LINES = st.text(st.characters(exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=40)


@holds_for(12, 500, added=st.lists(st.tuples(st.integers(0, BEFORE.count("\n")), LINES), max_size=6))
def test_no_line_that_somebody_added_is_ever_lost(added: list[tuple[int, str]]) -> None:
    lines = BEFORE.split("\n")
    for number, (at, text) in enumerate(sorted(added, reverse=True)):
        lines.insert(at, f"people {number}: {text}")
    body = "\n".join(lines)
    for _ in range(2):
        body = markdown.renew(body, AFTER)
    for number, (_, text) in enumerate(sorted(added, reverse=True)):
        assert f"people {number}: {text}" in body.split("\n")
    assert incident_of(body) == 1


@holds_for(12, 500, gone=st.sets(st.integers(0, BEFORE.count("\n"))))
def test_no_line_that_somebody_took_out_breaks_the_rest(gone: set[int]) -> None:
    body = "\n".join(line for number, line in enumerate(BEFORE.split("\n")) if number not in gone)
    once = markdown.renew(body, AFTER)
    assert markdown.renew(once, AFTER) == once
    kept = [line for line in body.split("\n") if line.startswith(("#", "**", "- [ ]", "| _TODO_"))]
    assert [line for line in once.split("\n") if line in set(kept)].count("_TODO_") == kept.count("_TODO_")


def test_a_region_that_was_taken_out_stays_out() -> None:
    body = f"mine\n{region('summary', 1, 'old')}\nmine too"
    assert renewed(body, 1, {"summary": "new", "timing": "never asked for"}) == body.replace(
        region("summary", 1, "old"), region("summary", 1, "new")
    )


@pytest.mark.parametrize(
    "decision", ["failed", "unknown_outcome", "still_unhealthy", "interrupted", "refused", "", "nonsense"]
)
def test_only_what_was_recovered_is_mitigated(decision: str) -> None:
    found = {moment.name: moment for moment in moments(evidence(decision=decision))}
    assert found[Name.MITIGATED].at is None
    assert "nonsense" not in found[Name.MITIGATED].source


def test_a_span_without_both_ends_or_backwards_is_unknown() -> None:
    late = evidence(stated=IncidentForm(parse_utc("2026-11-24 04:00")), closed_at=NOW + timedelta(hours=1))
    found = {span.name: span.seconds for span in spans(moments(late))}
    assert found["felt by users, as far as known"] is None
    assert found["until it was resolved"] == 20 * 60
    assert found["until it was noticed"] is None


@pytest.mark.slow
def test_the_page_stays_within_its_budget_and_says_what_found_no_room() -> None:
    acts = tuple(Act(NOW + timedelta(seconds=n), "commented", "bob", "@" * 300, URL) for n in range(2000))
    page = markdown.new(evidence(acts=acts))
    assert len(page) <= markdown.BUDGET
    assert "found no room here" in page
