"""Only records act that a workflow of ours wrote, and that nobody else edited."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ops.core.redaction import Redactor
from ops.core.run_record import RecordRow, RecordRules, RunRecord, embed_record
from ops.github.client import connect
from ops.github.comments import BOT
from ops.github.records import Trust, acting_records, judge_records, read_previous_runs
from sandbox import Sandbox
from sandbox.github import GitHub

RULES = RecordRules({".github/workflows/rollback-worker.yml", ".github/workflows/incident.yml"}, ("mai",))
GRAPHQL = "/graphql"
DAY = 24 * 60 * 60


@dataclass(frozen=True)
class Board:
    """An incident of a shop, and a run of its workflow."""

    hub: GitHub
    incident: int
    run: int

    def post(self, record: RunRecord, by: str = BOT) -> int:
        return self.hub.comment(self.incident, embed_record("A run.", record), by)

    def edit(self, comment: int, *by: str) -> None:
        for each in self.hub.issue(self.incident).comments:
            for login in by if each.id == comment else ():
                self.hub.edit_comment(self.incident, comment, each.body + " ", login)

    def judge(self) -> list[tuple[Trust, str]]:
        issue = connect(self.hub.environ(), Redactor()).get_issue(self.incident)
        return [(each.trust, each.doubt) for each in judge_records(issue, RULES)]


@pytest.fixture
def board(world: object) -> Board:
    sandbox: Sandbox = world.sandbox  # type: ignore[attr-defined]
    hub = sandbox.github
    for login in ("mai", "dana", "mallory"):
        hub.add_user(login)
    hub.add_user("zoe", "read")
    return Board(hub, hub.open_issue("Cart fails", "", ["incident"], "mai"), hub.add_run("rollback-worker.yml"))


def records(run: int) -> dict[str, RunRecord]:
    """Return a record of each kind that acts, as a job of that run writes it."""
    job = f"{run}.1"
    use = {"uses": "1.1-abcd", "digest": "0" * 32, "event": str(run), "login": "mai", "id": 1, "at": "2026-11-24"}
    return {
        "run": RunRecord(f"{job}-abcd", runbook="rollback-worker"),
        "request of a second person": RunRecord(f"{job}-abcd", approval={"run": f"{job}-abcd"}),
        "use of an approval": RunRecord("approval-0", source="approval", approval=use),
        "watch": RunRecord("watch-20261124T031500-abcd", source="watch", watch={"owner": "x"}, job=job),
        "step": RunRecord("step-0", source="step", job=job),
        "opening": RunRecord("opening-0", source="opening", job=job),
    }


FORGERIES: dict[str, tuple[Callable[[Board, RunRecord], object], str]] = {
    "edited by a maintainer": (lambda board, it: board.edit(board.post(it), "mallory"), "@mallory edited it"),
    "edited by a responder": (lambda board, it: board.edit(board.post(it), "mai"), "@mai edited it"),
    "edited, and edited back by the bot": (
        lambda board, it: board.edit(board.post(it), "mallory", BOT),
        "@mallory edited it",
    ),
    "posted by another bot": (lambda board, it: board.post(it, "other[bot]"), "@other[bot] wrote it"),
    "posted by a writer": (lambda board, it: board.post(it, "dana"), "no responder"),
    "posted by a reader": (lambda board, it: board.post(it, "zoe"), "may not write here"),
}
RUNS: dict[str, tuple[dict[str, Any], str]] = {
    "of another workflow": ({"workflow": "triage.yml"}, "is of .github/workflows/triage.yml, which"),
    "on a branch": ({"workflow": "rollback-worker.yml", "branch": "mallory/fix"}, "is of branch mallory/fix, not of"),
    "of a pull request": ({"workflow": "rollback-worker.yml", "event": "pull_request"}, "started by pull_request"),
}


@pytest.mark.parametrize("kind", records(1))
def test_record_of_our_workflow_may_act(board: Board, kind: str) -> None:
    board.edit(board.post(records(board.run)[kind]), BOT)

    assert board.judge() == [(Trust.OURS, "")]


@pytest.mark.sampled(6)
@pytest.mark.parametrize("kind", records(1))
@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_record_does_not_act(board: Board, kind: str, forgery: str) -> None:
    board.hub.add_user("other[bot]", kind="Bot")
    forge, said = FORGERIES[forgery]
    forge(board, records(board.run)[kind])

    ((trust, doubt),) = board.judge()

    assert trust == Trust.NONE
    assert said in doubt


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", records(1))
@pytest.mark.parametrize("run", RUNS)
def test_record_of_another_run_does_not_act(board: Board, kind: str, run: str) -> None:
    """Every workflow of the repository comments as the same bot, also one that a writer pushed to a branch."""
    given, said = RUNS[run]
    board.post(records(board.hub.add_run(**given))[kind])

    ((trust, doubt),) = board.judge()

    assert trust == Trust.NONE
    assert said in doubt


@pytest.mark.parametrize("kind", records(1))
def test_record_of_no_run_does_not_act(board: Board, kind: str) -> None:
    board.post(records(4711)[kind])

    assert board.judge() == [(Trust.NONE, "GitHub shows no workflow run 4711")]


@pytest.mark.parametrize("kind", records(1))
def test_record_of_a_deleted_run_is_shown_and_does_not_act(board: Board, kind: str) -> None:
    """GitHub deletes a run after the retention of the repository: 90 days by default, and one at least."""
    board.post(records(board.run)[kind])
    board.post(records(4711)[kind])
    board.hub.clock.advance(DAY * 91)
    board.post(records(4712)[kind])
    issue = connect(board.hub.environ(), Redactor()).get_issue(board.incident)

    judged = judge_records(issue, RULES)

    assert [(each.trust, each.is_unverified) for each in judged] == [
        (Trust.NONE, True),
        (Trust.NONE, True),
        (Trust.NONE, False),
    ]
    assert judged[0].doubt == f"GitHub no longer shows workflow run {board.run}"
    assert judged[2].doubt == "GitHub shows no workflow run 4712"


@pytest.mark.parametrize("date", ["today", "Wed, 02 Dec 2026 10:00:00 -0000", "Mon, 00 Nov 10000 25:00:00 GMT"])
def test_answer_with_a_strange_date_proves_no_deletion(board: Board, date: str) -> None:
    """A proxy writes the header."""
    board.post(records(4711)["run"])
    board.hub.fault(path="/repos/*/*/actions/runs/4711", status=404, times=None, body="{}", headers={"date": date})

    assert board.judge() == [(Trust.NONE, "GitHub shows no workflow run 4711")]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "rule",
    [
        {"status": 403},
        {"status": 502},
        {"body": '{"errors": [{"message": "x", "type": "FORBIDDEN"}]}'},
        {"lost": "before"},
    ],
)
def test_unreadable_edit_history_is_not_trusted(board: Board, rule: dict[str, str | int]) -> None:
    board.post(records(board.run)["run"])
    board.hub.fault(method="POST", path=GRAPHQL, times=None, **rule)

    assert board.judge() == [(Trust.NONE, "GitHub does not say who edited it")]


def test_token_without_actions_read_is_named_as_the_reason(board: Board) -> None:
    """The workflows of release 0.1.1 gave it to few jobs, and `ops workflows sync` adds it."""
    board.post(records(board.run)["run"])
    token = board.hub.add_workflow_token("ghs_former", {"contents": "read", "issues": "write"})
    issue = connect({**board.hub.environ(), "GITHUB_TOKEN": token}, Redactor()).get_issue(board.incident)

    (judged,) = judge_records(issue, RULES)

    assert (judged.trust, judged.is_denied) == (Trust.NONE, True)
    assert "Actions: read" in judged.doubt
    assert "`ops workflows sync`" in judged.doubt


def test_record_of_a_laptop_by_a_responder_counts_and_acts_only_there(board: Board) -> None:
    """Its own token wrote it, so that its own laptop may continue a watch; a job may not."""
    comment = board.post(records(1)["watch"], "mai")
    board.edit(comment, "mai")
    board.hub.add_token("ghp_mai", "mai")

    assert board.judge() == [(Trust.LAPTOP, "")]
    for token, acts in (("ghp_mai", 1), (board.hub.token, 0)):
        issue = connect({**board.hub.environ(), "GITHUB_TOKEN": token}, Redactor()).get_issue(board.incident)
        assert len(acting_records(issue, RULES)) == acts


def test_removed_responder_has_no_record_that_counts(board: Board) -> None:
    board.post(records(1)["run"], "mai")
    issue = connect(board.hub.environ(), Redactor()).get_issue(board.incident)

    assert [each.trust for each in judge_records(issue, RecordRules((), ("dana",)))] == [Trust.NONE]
    assert [each.trust for each in judge_records(issue, RecordRules((), ()))] == [Trust.LAPTOP]


def test_comment_with_many_edits_and_many_comments_are_read_to_their_end(board: Board) -> None:
    """The first edit is the one by somebody else, and the last page has the comment."""
    for _ in range(101):
        board.hub.comment(board.incident, "talk", "mai")
    comment = board.post(records(board.run)["watch"])
    board.edit(comment, "mallory")
    for _ in range(205):
        board.edit(comment, BOT)

    assert board.judge() == [(Trust.NONE, "@mallory edited it")]
    assert sum(request.path == GRAPHQL for request in board.hub.requests) == 4


def test_long_histories_of_several_comments_are_read_together(board: Board) -> None:
    """Each watch of two hours has three pages, and a plan waits two seconds: read in turn they would be unread."""
    for _ in range(3):
        comment = board.post(records(board.run)["watch"])
        for _ in range(101):
            board.edit(comment, BOT)
    together = threading.Barrier(3, timeout=30)
    board.hub.fault(method="POST", path=GRAPHQL, skip=1, times=3, before=together.wait)

    assert board.judge() == [(Trust.OURS, "")] * 3


def test_previous_runs_name_the_records_that_do_not_count(board: Board) -> None:
    at = board.hub.clock.now()
    own = RunRecord(f"{board.run}.1-abcd", rows=(RecordRow(at, "written", "x"),))
    board.post(own)
    board.post(RunRecord(f"{board.run}.1-beef"), "dana")
    board.post(RunRecord("20261124T031500-abcd"), "mai")
    board.post(RunRecord("20261124T041500-abcd"), "zoe")  # a stranger cannot fill the timeline with warnings

    runs = read_previous_runs(connect(board.hub.environ(), Redactor()), board.incident, RULES)

    assert [each.run for each in runs.runs] == [own.run, "20261124T031500-abcd"]
    assert [each.run for each in runs.confirmed] == [own.run]
    assert f"{board.run}.1-beef: @dana wrote it" in runs.doubts
    assert "zoe" not in runs.doubts
