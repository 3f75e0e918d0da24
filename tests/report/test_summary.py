"""What the report says first: three sentences, the picture, marks of the timeline, and ticked steps."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.cloudflare.types.workers import WorkerDeployment
from ops.core.clock import parse_utc
from ops.core.incident_state import IncidentForm, IssueAction, IssueRecord
from ops.core.run_record import RecordRow, RunRecord
from ops.report import issue
from ops.report.checklist import CHECKS, list_checklist_steps
from ops.report.evidence import IncidentEvidence, ReportedHistory
from ops.report.pictures import draw_incident
from ops.report.summary import describe_incident
from ops.report.timeline import build_rows
from ops.watch.state import WatchState, new_watch_owner
from tests.support.hostile import WORDS
from tests.support.properties import holds_for

START = parse_utc("2026-11-24T03:11:00Z")
URL = "https://github.test/acme/shop/issues/7"
BOT = "github-actions[bot]"


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def recorded(source: str, minutes: float, *rows: tuple[str, str], **more: Any) -> IssueRecord:
    """Return a record of the shop with rows of kind and text, a second apart."""
    times = (at(minutes) + timedelta(seconds=number) for number in range(len(rows)))
    kept = tuple(RecordRow(when, *row) for when, row in zip(times, rows, strict=True))
    run = more.pop("run", f"{source}-{minutes:g}")
    return IssueRecord(RunRecord(run, source=source, rows=kept, **more), more.pop("author", BOT), False, URL)


def ran(runbook: str, service: str, minutes: float, decision: str = "recovered") -> IssueRecord:
    """Return the record of a run of a job, which ended after six seconds."""
    said = {"requested": f"{runbook} (mai)", "planned": "p", "writing": "w", "written": "d1", "read_back": "live"}
    said |= {"verified": "healthy"} if decision == "recovered" else {"warning": "bad"}
    run = f"{int(1000 + minutes)}.1-abcd"
    rows = (*said.items(), ("ended", decision))
    where = {"environment": "live", "service": service, "runbook": runbook, "decision": decision, "run": run}
    return recorded("run", minutes, *rows, **where)


def evidence(*records: IssueRecord, service: str = "web", started: float | None = 0, **more: Any) -> IncidentEvidence:
    whole = IncidentEvidence(
        number=7,
        title="Cart is down",
        url=URL,
        opened_at=at(4),
        opened_by="mai",
        opened_by_team=True,
        closed_at=None,
        labels=("incident",),
        form=IncidentForm(None if started is None else at(started), service=service),
        actions=(),
        records=records,
        skipped=0,
        read_at=at(120),
        places=(("live", "web"), ("live", "docs")),
    )
    return replace(whole, **more)


NOTE = recorded("note", 90, ("note", "root cause: a tax rule without a test"))
AGAIN = recorded("note", 60, ("note", "broken web: 500 again"))
CASES: dict[str, tuple[IncidentEvidence, tuple[str, str, str]]] = {
    "one recovery": (
        evidence(ran("rollback-worker", "web", 9)),
        (
            "web in live .*2026-11-24 03:11 UTC.*“Cart is down”",
            "not recorded",
            "rollback-worker .*web at 03:20 UTC.* 9 min",
        ),
    ),
    "two services": (
        evidence(ran("rollback-worker", "web", 9), ran("rollback-pages", "docs", 19)),
        (
            "docs and web in live broke from 2026-11-24 03:11 UTC on",
            "not recorded",
            "rollback-worker .*web at 03:20.*rollback-pages .*docs at 03:30.* 19 min",
        ),
    ),
    "a failed and a good recovery": (
        evidence(ran("rollback-worker", "web", 9, "still_unhealthy"), ran("feature", "web", 12)),
        ("web in live", "not recorded", "^feature recovered web at 03:23"),
    ),
    "still broken": (
        evidence(ran("rollback-worker", "web", 9, "still_unhealthy")),
        ("web in live", "not recorded", "web is still broken: .*unknown without recovery"),
    ),
    "broken again, says a note": (
        evidence(ran("rollback-worker", "web", 9), AGAIN, ran("rollback-worker", "web", 70)),
        ("web in live broke at 2026-11-24 03:11 UTC", "not recorded", "recovered web at 04:21 UTC; .* 1 h 10 min"),
    ),
    "unknown start": (
        evidence(ran("rollback-worker", "web", 9), started=None),
        ("unknown time, reported at 2026-11-24 03:15", "not recorded", "03:20.*unknown without start"),
    ),
    "no service and no run": (
        evidence(service=""),
        ("no record names a service", "not recorded: add it with `ops incident note 7", "^No runbook ran; "),
    ),
    "refused": (
        evidence(recorded("gate", 5, ("refused", "no")), service=""),
        ("no record names", "not recorded", "^Every request was refused, and Backout changed nothing"),
    ),
    "a note of the cause": (
        evidence(ran("rollback-worker", "web", 9), NOTE),
        ("web", "“a tax rule without a test”", "rollback-worker"),
    ),
    "over midnight": (
        evidence(ran("rollback-worker", "web", 21 * 60), read_at=at(22 * 60)),
        ("2026-11-24 03:11", "not recorded", "2026-11-25 00:11 UTC.* 21 h"),
    ),
    "recovered by a note": (
        evidence(recorded("note", 30, ("note", "recovered web: the provider is back"))),
        ("web", "not recorded", "web works since 03:41 UTC: note by .* 30 min"),
    ),
    "reopened": (
        evidence(
            ran("rollback-worker", "web", 9),
            actions=(IssueAction(at(20), "closed", "mai", "", URL), IssueAction(at(40), "reopened", "ben", "", URL)),
        ),
        ("web", "not recorded", "web is in an unknown state: ben .*reopened at 03:51"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_three_sentences_tell_what_happened(case: str) -> None:
    found, expected = describe_incident(CASES[case][0]), CASES[case][1]

    assert len(found) == len(expected)
    for said, pattern in zip(found, expected, strict=True):
        assert re.search(pattern, said), said
        assert said.endswith((".", '…"`.'))


@pytest.mark.parametrize(("before", "is_named"), [("60", False), ("60aaaaaa", True), ("60aaaaaa (50 %)", True)])
def test_a_value_is_no_version(before: str, *, is_named: bool) -> None:
    """A limit goes from 60 to 30, and the id of one version starts with 60. The run recovers nothing."""
    run = ran("rollback-worker", "web", 9, "still_unhealthy")
    run = replace(run, record=replace(run.record, versions=(("web", before, "30"),)))
    deployment = WorkerDeployment("d1", at(-60), (("60" + "a" * 30, 100.0),), "mai", "", "")
    history = ReportedHistory("live", "web", URL, (deployment,), ())

    _, cause, _ = describe_incident(evidence(run, histories=(history,)))

    assert ("60aaaaaa" in cause) == is_named
    assert "recovery" not in cause


@pytest.mark.parametrize("case", CASES)
def test_report_opens_with_the_sentences(case: str) -> None:
    page = issue.render_report(CASES[case][0])

    assert page.startswith("## What happened\n")
    assert page.index("## Times") < page.index("## Impact") < page.index("## Timeline") < page.index("## Root Cause")


def test_start_by_a_note_counts_for_sentence_times_and_duration() -> None:
    broken = recorded("note", 20, ("note", "broken docs: no images"))
    page = issue.render_report(evidence(broken, ran("rollback-pages", "docs", 30), service="", started=None))

    assert "docs in live broke at 2026-11-24 03:31 UTC" in page
    assert "10 min from the start to the last recovery" in page
    assert "| 03:31:00 | **Started**: " in page
    assert "Duration **10 min**" in page


@pytest.mark.parametrize("case", CASES)
def test_no_sentence_ends_an_incident_that_is_open(case: str) -> None:
    assert CASES[case][0].closed_at is None

    for sentence in describe_incident(CASES[case][0]):
        assert not re.search(r"incident (lasted|ended|is over|was over)", sentence)


def test_record_that_does_not_count_is_shown_as_such() -> None:
    forged = replace(ran("rollback-worker", "web", 9), doubt="@eve edited it")
    page = issue.render_report(evidence(forged))

    assert re.search("web is still broken", page)
    assert page.count("does not count") > 2
    assert "`works`" not in page
    assert steps_of(page)["Execute rollback"] == " "


@holds_for(30, 500, words=st.lists(WORDS, min_size=1, max_size=3))
def test_picture_has_no_text_that_could_break_it(words: list[str]) -> None:
    records = [ran(word, word, number) for number, word in enumerate(words, 1)]

    picture = draw_incident(evidence(*records, service="", title=words[0]))

    assert not picture or picture[1] == "gantt"
    for line in picture[2:]:
        assert re.fullmatch(r"  +[A-Za-z][A-Za-z0-9 %:-]*…?( :(crit|active|milestone), [0-9T:-]+, [0-9]+s)?", line), (
            line
        )


def test_picture_shows_each_service_with_its_runs() -> None:
    picture = draw_incident(CASES["two services"][0])

    sections = [line.split()[1] for line in picture if line.startswith("  section")]
    bars = [line.partition(" :")[0].strip() for line in picture if " :" in line and "Format" not in line]
    assert sections == ["docs", "web"]
    assert bars == ["rollback-pages", "works", "broken", "rollback-worker", "works"]  # nobody says when docs broke
    assert all(f"{at(0):%Y-%m-%dT%H:%M:%S}" in line for line in picture if " :crit" in line)


@pytest.mark.parametrize("name", ["gantt", "topAxis", "inclusiveEndDates", "gantt-1", "title x", "click x"])
def test_picture_has_no_keyword_of_mermaid(name: str) -> None:
    assert any(line.startswith("    run :active") for line in draw_incident(evidence(ran(name, "web", 9))))


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        ((), [(0, 9)]),
        ((AGAIN,), [(0, 9), (60, 70)]),
    ],
)
def test_picture_shows_no_time_as_broken_after_a_recovery(
    between: tuple[IssueRecord, ...], expected: list[tuple[int, int]]
) -> None:
    """The second recovery says when the service works, but not since when it was broken again."""
    picture = draw_incident(evidence(ran("rollback-worker", "web", 9), *between, ran("rollback-worker", "web", 70)))

    bars = [re.findall(r"crit, (\S+), (\d+)s", line) for line in picture if " :crit" in line]
    starts = [(parse_utc(f"{start}Z") - START) // timedelta(minutes=1) for ((start, _),) in bars]
    assert [(at, at + int(length) // 60) for at, ((_, length),) in zip(starts, bars, strict=True)] == expected


def test_order_within_a_second_is_claimed_for_one_source_only() -> None:
    acts = (IssueAction(at(9), "labeled", "mai", "sev1", URL), IssueAction(at(30), "labeled", "mai", "x", URL))
    rows = build_rows(evidence(ran("rollback-worker", "web", 9), actions=(*acts, acts[1])))

    marked = {(row.event, row.is_unordered) for row in rows if row.at in {at(9), at(30)}}
    assert marked == {("labeled", True), ("requested", True), ("labeled", False)}
    ours = [row.event for row in rows if row.source == "1009.1-abcd"]
    assert ours == ["requested", "plan", "write answered", "live", "probes", "run ended"]


def watched_for_long(rounds: str) -> IssueRecord:
    """Return a watch of 30 minutes that ended well, with a letter for each round."""
    state = WatchState(owner=new_watch_owner(at(10)), started_at=at(10), until=at(40), rounds=rounds)
    where = {"environment": "live", "service": "web", "decision": "mitigated"}
    watch = recorded("watch", 10, ("requested", "watch"), **where, watch=state.to_json())
    ends = (RecordRow(at(10), "verified", "v"), RecordRow(at(40), "ended", "mitigated"))
    return replace(watch, record=replace(watch.record, rows=(*watch.record.rows, *ends)))


LONG_WATCH, WATCH_WITH_GAP = watched_for_long("h" * 60), watched_for_long("h" * 5 + "." * 50 + "h" * 5)


def test_each_run_has_the_watch_before_the_next_write() -> None:
    """The watch of the first run sees a relapse. Somebody presses again before each watch, and nothing is left."""
    where = {"environment": "live", "service": "web"}

    def press(minutes: float) -> IssueRecord:
        rows = (("requested", "rollback-worker (ben)"), ("planned", "p"), ("ended", "nothing_to_do"))
        more = {"runbook": "rollback-worker", "decision": "nothing_to_do", "run": f"{int(3000 + minutes)}.1-abcd"}
        return recorded("run", minutes, *rows, **where, **more)

    def watched(minutes: float, decision: str) -> IssueRecord:
        rows = (("requested", "watch"), ("verified", "v"), ("ended", decision))
        return recorded("watch", minutes, *rows, **where, decision=decision, watch={"started_at": "x"})

    firsts = (ran("rollback-worker", "web", 9), press(10), watched(11, "relapsed"))
    page = issue.render_report(
        evidence(*firsts, ran("rollback-worker", "web", 20), press(21), watched(22, "mitigated"))
    )

    done = re.findall(r"^- .*rollback-worker .*$", page.partition("## What was done")[2], re.MULTILINE)
    assert [re.findall(r"after it ended \*\*(\w+)\*\*", line) for line in done] == [
        ["relapsed"],
        [],
        ["mitigated"],
        [],
    ]


def steps_of(page: str) -> dict[str, str]:
    """Return the mark of each step: x, or a space; with `recorded` if a check ticked it."""
    found = re.findall(r"^- \[([ x])\] (.+?)( \(recorded\))?$", page, re.MULTILINE)
    return {step: mark + (recorded and "recorded") for mark, step, recorded in found}


@pytest.mark.parametrize(
    ("records", "proved"),
    [
        ((), {"Identify the issue clearly", "Create post-mortem"}),
        ((ran("rollback-worker", "web", 9, "still_unhealthy"),), {"Execute rollback", "Document incident"}),
        ((ran("rollback-worker", "web", 9), NOTE), {"Verify recovery", "Determine root cause (if possible)"}),
        ((ran("rollback-worker", "web", 9), LONG_WATCH), {"Verify recovery", "Monitor for 30 minutes"}),
        ((ran("rollback-worker", "web", 9), WATCH_WITH_GAP), {"Verify recovery"}),
    ],
)
def test_steps_are_ticked_by_the_records(records: tuple[IssueRecord, ...], proved: set[str]) -> None:
    steps = steps_of(issue.render_report(evidence(*records)))

    assert set(steps) == set(list_checklist_steps())
    assert {step for step in proved if steps[step] == "xrecorded"} == proved
    assert steps["Review user feedback"] == steps["Plan proper fix"] == " "
    watched = LONG_WATCH in records
    assert (steps["Monitor for 30 minutes"] == "xrecorded") == watched


def test_note_that_the_cause_is_unknown_is_no_cause() -> None:
    denied = evidence(ran("rollback-worker", "web", 9), recorded("note", 90, ("note", "root cause is not known yet")))

    page = issue.render_report(denied)

    assert steps_of(page)["Determine root cause (if possible)"] == " "
    assert "The cause is not recorded" in page


def test_every_check_is_of_a_step() -> None:
    assert set(CHECKS) <= set(list_checklist_steps())


def test_tick_of_people_stays_and_a_recorded_one_follows_the_records() -> None:
    good, bad = (evidence(ran("rollback-worker", "web", 9, each)) for each in ("recovered", "still_unhealthy"))
    page = issue.render_report(good).replace("- [ ] Plan proper fix", "- [x] Plan proper fix")

    after = issue.update_report(page, bad)

    steps = steps_of(after)
    assert (steps["Plan proper fix"], steps["Verify recovery"]) == ("x", " ")
    assert "edited by hand" not in after
    assert issue.update_report(after, bad) == after
