"""The job `tell` for a run that was killed in its middle."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ops.core.plan import LiveState
from ops.core.run_record import RecordRow, RunRecord, embed_record, is_edited, read_record
from tests.templates.scripts import COMMENT
from tests.templates.test_tell import FAILED, GONE, LabeledRun, kill_run, labeled_run, unfinished_comment

__all__ = ["labeled_run"]


@pytest.mark.slow
def test_killed_run_is_reported_above_its_last_report(labeled_run: LabeledRun) -> None:
    done, body = kill_run(labeled_run)

    job = labeled_run.github.urls.html
    said, _, last = body.partition(f"<!-- backout:answered run={labeled_run.run} attempt=1 -->\n\n")
    title, step, end = said.split("\n\n")
    assert re.sub(r"/runs/\d+/job/\d+", "/runs/N", title) == (
        "**Unknown whether anything was changed, because the run stopped in its middle:** `recover:api` from "
        f"`@alice` · job `recovery-production` lost its runner in step `Recover` · [log]({job}/acme/operations/actions/runs/N)"
    )
    assert re.findall("`(.+?)`", step) == [
        "./run ops status --environment production",
        f"./run ops label recover:api --incident {labeled_run.workflow.incident}",
    ]
    assert (step.startswith("**Next step:** "), end) == (True, "")
    assert last.startswith("#### Last report of the run: Writing\n\nrollback-worker on api in production")
    assert "the run stopped in its middle" in done.summary
    assert "::error title=request::Unknown whether anything was changed" in done.out


@pytest.mark.slow
def test_killed_run_keeps_its_hidden_record(labeled_run: LabeledRun) -> None:
    """`ops incident import` can then complete the comment, and the report does not mark it as edited."""
    _, body = kill_run(labeled_run)

    found, before = read_record(body), read_record(unfinished_comment(labeled_run.run))
    assert found is not None
    assert before is not None
    assert replace(found, digest="") == replace(before, digest="")
    assert not is_edited(body)
    assert is_edited(body.replace("production", "staging"))


REHEARSAL = "writing: Worker shop-web, rehearsal: 0ffae05a → 0ffae05a at 100 % and 2c8b7e91 at 0 %"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "is_left"),
    [
        ([("rehearsed", REHEARSAL)], True),
        ([("rehearsed", REHEARSAL), ("rehearsed", "probed, 1 of 2 in a row: cart healthy")], True),
        ([("rehearsed", REHEARSAL), ("rehearsed", "result: healthy")], False),
        ([("rehearsed", "skipped: two versions are deployed already")], False),
        ([("writing", "Worker shop-web: 0ffae05a → 2c8b7e91")], False),
    ],
    ids=["begun", "probed", "over", "skipped", "none"],
)
def test_run_that_was_killed_in_its_rehearsal_says_what_is_left(
    labeled_run: LabeledRun, rows: list[tuple[str, str]], is_left: bool
) -> None:
    at = datetime(2026, 11, 24, 3, 12, tzinfo=UTC)
    _, body = kill_run(labeled_run, rows=tuple(RecordRow(at, kind, text) for kind, text in rows))

    said, _, _ = body.partition("<!-- ")
    assert (
        "Its rehearsal may have left a version at 0 %, which gets no traffic. The next run removes it." in said
    ) == (is_left)
    assert "run on a laptop: `./run ops label recover:api --incident" in said


@pytest.mark.slow
def test_run_that_was_killed_after_an_accident_of_its_rehearsal_says_so(labeled_run: LabeledRun) -> None:
    at = datetime(2026, 11, 24, 3, 12, tzinfo=UTC)
    moved = "moved: 0ffae05a has been live since 03:12:00 UTC in place of 9f1c2d3e, deployed by dana"
    rows = tuple(RecordRow(at, "rehearsed", text) for text in (REHEARSAL, moved))
    _, body = kill_run(labeled_run, rows=rows)

    said, _, _ = body.partition("<!-- ")
    assert "Its rehearsal replaced a deployment that came in between, and the version before may be live again" in said
    assert "the next run deploys theirs again" in said


@pytest.mark.sampled
@pytest.mark.parametrize("rows", ["7", "[1]", '[["x"]]', '[[0, "rehearsed", 1]]', "null"])
def test_killed_run_with_a_malformed_record_is_reported(labeled_run: LabeledRun, rows: str) -> None:
    """A person with write access can edit our comment."""
    (comment,) = labeled_run.github.issue(labeled_run.workflow.incident).comments
    whole = unfinished_comment(labeled_run.run)
    comment.body = re.sub(r'"rows":\[\[.*?\]\]', f'"rows":{rows}', whole)
    assert comment.body != whole

    labeled_run.tell(needs={"gate": GONE, "recovery-production": FAILED})

    assert "run stopped in its middle" in labeled_run.workflow.bodies[0]


@pytest.mark.slow
def test_killed_run_is_reported_once(labeled_run: LabeledRun) -> None:
    labeled_run.github.fault(method="PATCH", path=COMMENT, lost="after")

    _, body = kill_run(labeled_run)

    assert body.count("the run stopped in its middle") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        ((), "Unknown whether anything was changed"),
        (("writing",), "Unknown whether anything was changed"),
        (("writing", "written"), "Written, not seen live"),
        (("writing", "written", "read_back"), "Written and live, not proved"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_killed_run_leads_with_what_its_comment_shows(
    labeled_run: LabeledRun, kinds: tuple[str, ...], state: str
) -> None:
    """The comment may lag behind, so that nothing written there does not mean that nothing was changed."""
    at = datetime(2026, 11, 24, 3, 12, tzinfo=UTC)

    _, body = kill_run(labeled_run, rows=tuple(RecordRow(at, kind, "x") for kind in ("requested", *kinds)))

    assert body.startswith(f"**{state}, because the run stopped in its middle:** ")


@pytest.mark.slow
def test_several_changes_are_live_only_if_each_was_read_back(labeled_run: LabeledRun) -> None:
    (comment,) = labeled_run.github.issue(labeled_run.workflow.incident).comments
    kill_run(labeled_run)
    at = datetime(2026, 11, 24, 3, 12, tzinfo=UTC)
    rows = tuple(RecordRow(at, kind, "x") for kind in ("requested", "writing", "written", "read_back", "writing"))
    changes = tuple((f"Worker {name}", "a", "b") for name in ("basket", "stock"))
    record = RunRecord(run=f"{labeled_run.run}.1-00ab", runbook="rotate-secrets", rows=rows, versions=changes)
    comment.body = embed_record("### Writing", record)

    labeled_run.tell(needs={"gate": GONE, "recovery-production": FAILED})

    assert comment.body.startswith("**Partly changed, the rest is unknown, because the run stopped in its middle:** ")


@pytest.mark.slow
@pytest.mark.parametrize("live", list(LiveState))
def test_ended_run_that_could_not_report_leads_with_its_state(labeled_run: LabeledRun, live: LiveState) -> None:
    message = f"{live.words}: SIGTERM ended the run"

    _, body = kill_run(labeled_run, {"run": "7.1-00ab", "decision": "interrupted", "message": message})

    assert body.startswith(
        f"**{live.words[0].upper()}{live.words[1:]}. Ended as `interrupted`, and could not report here:**"
    )
    assert "**Why:** SIGTERM ended the run\n" in body
