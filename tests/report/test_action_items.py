"""`ops incident actions`: each written row of a report becomes one issue, once, and its state is read back."""

from typing import Any

import pytest

from sandbox.github.issues.state import FakeIssue
from sandbox.server import HttpRequest
from tests.conftest import Outcome, World, job_environ
from tests.support.hostile import skeleton
from tests.support.incident_days import IncidentDays
from tests.support.long_incidents import parse_time
from tests.support.shop import OPS_YML, open_shop

PLACEHOLDER = "| _TODO_ | detect | | | |"
ROWS = (
    "| Alert on an empty table | detect | alice | 2026-12-24 | |",
    "| Refuse an empty table | prevent | zoe | soon | |",
    "| Page two people \\| always | process | | | |",
)
INCIDENT = {"day": "11-18", "opened": "03:00", "began": "03:00", "acts": [{"at": "03:30", "close": "mai"}]}


class Review:
    """A closed incident of the shop with its report. Mai edits the report; jobs run as the bot."""

    def __init__(self, world: World, section: str = "action_items: {}\n") -> None:
        world.sandbox.clock.set(parse_time("11-18 12:00"))
        self.shop = open_shop(world)
        world.config.write_text(OPS_YML + section)
        self.hub = world.sandbox.github
        for login in ("mai", "alice"):
            self.hub.add_user(login)
        self.hub.add_user("zoe", None)
        self.incident = IncidentDays(self.hub).play(INCIDENT)
        done = self.shop.ops("incident", "report", str(self.incident), **job_environ(self.hub))
        assert done.code == 0, done.err
        (self.report,) = (each for each in self.hub.issues if each.find_label("post-incident"))

    @property
    def body(self) -> str:
        return self.report.body or ""

    def write(self, *rows: str) -> None:
        self.replace(PLACEHOLDER, "\n".join((*rows, PLACEHOLDER)))

    def replace(self, old: str, new: str) -> None:
        assert old in self.body
        self.hub.edit_issue(self.report.number, self.body.replace(old, new), "mai")

    def row(self, beginning: str) -> str:
        (row,) = (line for line in self.body.splitlines() if line.startswith(f"| {beginning}"))
        return row

    def actions(self, *arguments: str, number: int = 0, **environ: Any) -> Outcome:
        where = ("incident", "actions", str(number or self.report.number), "--json", *arguments)
        return self.shop.ops(*where, **{**job_environ(self.hub), **environ})

    def create(self, **environ: Any) -> dict[str, Any]:
        done = self.actions("--create", **environ)
        assert done.code == 0, done.err
        return done.result

    def kill(self, write: int, moment: Any) -> None:
        """Let nothing of a run arrive any more from before or after this write on."""
        is_dead: list[bool] = []
        self.hub.fault(when=is_write, skip=write, lost=moment, before=lambda: is_dead.append(True))
        self.hub.fault(when=lambda _: bool(is_dead), times=None, lost="before")

    @property
    def issues(self) -> list[FakeIssue]:
        return [each for each in self.hub.issues if each.find_label("action-item")]

    @property
    def comments(self) -> list[str]:
        return [each.body for each in self.report.comments]


@pytest.fixture
def review(world: World) -> Review:
    return Review(world)


def states(result: dict[str, Any]) -> list[str]:
    return [each["state"] for each in result["items"]]


@pytest.mark.parametrize(("length", "title"), [(120, "x" * 120), (121, "x" * 119 + "…")])
def test_title_of_an_issue_has_at_most_120_characters(review: Review, length: int, title: str) -> None:
    review.write(f"| {'x' * length} | detect | | | |")

    review.create()

    assert [each.title for each in review.issues] == [title]


def test_each_row_becomes_one_issue_that_is_linked_both_ways(review: Review) -> None:
    review.write(*ROWS)

    result = review.create()

    alert, refuse, page = review.issues
    assert result["created"] == [alert.number, refuse.number, page.number]
    assert review.row("Alert") == f"| Alert on an empty table | detect | alice | 2026-12-24 | #{alert.number} |"
    assert review.row("Page").endswith(f"\\| always | process | | | #{page.number} |")
    assert [each.title for each in review.issues] == [
        "Alert on an empty table",
        "Refuse an empty table",
        "Page two people | always",
    ]
    for each in review.issues:
        assert f"#{review.report.number}, incident #{review.incident}" in (each.body or "")
        assert each.user.login == "github-actions[bot]"
    assert [[user.login for user in each.assignees] for each in review.issues] == [["alice"], [], []]
    assert "2026-12-24" in (alert.body or "")
    assert "zoe" in (refuse.body or "")
    assert len(review.comments) == 1


@pytest.mark.parametrize(
    ("owner", "assigned", "named"),
    [("alice, @mai", ["alice", "mai"], ""), ("alice, zoe", ["alice"], "zoe"), ("the shop team", [], "the shop team")],
)
def test_owners_are_assigned_or_named(review: Review, owner: str, assigned: list[str], named: str) -> None:
    review.write(f"| Alert | detect | {owner} | | |")

    review.create()

    (issue,) = review.issues
    assert [each.login for each in issue.assignees] == assigned
    assert ("cannot assign" in (issue.body or "")) is bool(named)
    assert f"cannot assign {named}" in (issue.body or "") or not named


def test_second_and_third_press_create_nothing(review: Review) -> None:
    review.write(*ROWS)
    review.create()
    body = review.body

    again = [review.create(), review.create(GITHUB_TOKEN=review.hub.add_token("ghp_alice", "alice"))]

    assert [each["created"] for each in again] == [[], []]
    assert (len(review.issues), review.body) == (3, body)


def test_states_of_issues_are_read_back(review: Review) -> None:
    review.write(*ROWS)
    review.create()
    review.hub.close(review.issues[0].number, "alice")
    review.hub.requests.clear()

    by_report, by_incident = review.actions().result, review.actions(number=review.incident).result

    assert by_report == by_incident
    assert states(by_report) == ["closed", "open", "open"]
    assert by_report["open"] == 2
    assert not [each for each in review.hub.requests if each.method in {"PATCH", "DELETE"}]


def test_renewed_report_counts_open_items(review: Review) -> None:
    review.write(*ROWS)
    review.create()
    review.hub.close(review.issues[0].number, "alice")

    done = review.shop.ops("incident", "report", str(review.incident), **job_environ(review.hub))

    assert done.code == 0, done.err
    assert "\n- 2 of 3 action items open\n" in review.body
    assert states(review.create()) == ["closed", "open", "open"]


@pytest.mark.parametrize(
    ("row", "state"),
    [
        ("| Ask the provider | process | | | PROJ-12 |", "elsewhere"),
        ("| Ask the provider | process | | | acme/shop#1 |", "elsewhere"),
        ("| Ask the provider | process | | | #4000 |", "missing"),
        ("| Ask the provider | process | | | done |", "done"),
        ("| ~~Ask the provider~~ | process | | | |", "done"),
    ],
)
def test_row_that_says_its_state_gets_no_issue(review: Review, row: str, state: str) -> None:
    review.write(row)

    assert states(review.create()) == [state]
    assert review.issues == []
    assert row in review.body


def test_equal_rows_share_one_issue(review: Review) -> None:
    review.write("| Alert  on it | detect | | | |", "| alert on it | detect | alice | | |")

    assert states(review.create()) == ["open", "duplicate"]
    assert len(review.issues) == 1
    assert states(review.create()) == ["open", "duplicate"]


def test_renamed_row_keeps_its_issue_by_its_link(review: Review) -> None:
    review.write(ROWS[0])
    review.create()
    review.replace("Alert on an empty table", "Alert on a table without rows")

    result = review.create()

    assert (states(result), result["created"], len(review.issues)) == (["open"], [], 1)


def test_row_with_the_former_text_of_a_renamed_row_gets_its_own_issue(review: Review) -> None:
    review.write(ROWS[0])
    review.create()
    review.replace("Alert on an empty table", "Alert on a table without rows")
    review.write(ROWS[0])

    result = review.create()

    first, second = review.issues
    assert [each["issue"] for each in result["items"]] == [first.number, second.number]
    assert [each.state for each in review.issues] == ["open", "open"]
    review.replace(f"| #{second.number} |", "| |")
    assert [each["issue"] for each in review.create()["items"]] == [each.number for each in review.issues]


def test_row_that_lost_its_link_gets_it_back(review: Review) -> None:
    review.write(ROWS[0])
    review.create()
    review.replace(f"| #{review.issues[0].number} |", "| |")

    result = review.create()

    assert (result["created"], len(review.issues)) == ([], 1)
    assert review.row("Alert").endswith(f"| #{review.issues[0].number} |")


def test_row_that_lost_its_link_finds_its_issue_without_label(review: Review) -> None:
    """The comment on the report names it."""
    review.write(ROWS[0])
    review.create()
    review.replace(f"| #{review.issues[0].number} |", "| |")
    (number,) = (each.number for each in review.issues)
    review.hub.issue(number).labels.clear()

    assert review.create()["items"][0]["issue"] == number


@pytest.mark.parametrize("ending", ["linked", "closed"])
def test_renamed_row_without_link_waits_for_a_person(review: Review, ending: str) -> None:
    review.write(ROWS[0])
    review.create()
    (number,) = (each.number for each in review.issues)
    review.replace(review.row("Alert"), "| Alert on a table without rows | detect | | | |")

    held = review.create()

    assert (states(held), len(review.issues)) == (["held"], 1)
    if ending == "linked":
        review.replace("rows | detect | | | |", f"rows | detect | | | #{number} |")
    else:
        review.hub.close(number, "mai")
    assert states(review.create()) == ["open"]
    assert len(review.issues) == (1 if ending == "linked" else 2)


def test_deleted_row_leaves_its_issue_and_is_named(review: Review) -> None:
    review.write(*ROWS)
    review.create()
    review.replace(review.row("Refuse") + "\n", "")

    result = review.create()

    assert (states(result), result["created"]) == (["open", "open"], [])
    assert str(review.issues[1].number) in result["notes"][0]
    assert review.issues[1].state == "open"


def test_lost_answer_of_the_creation_makes_no_second_issue(review: Review) -> None:
    review.write(*ROWS)
    review.hub.fault(method="POST", path="/repos/*/*/issues", lost="after", skip=1)

    result = review.create()

    assert [each["issue"] for each in result["items"]] == [each.number for each in review.issues]
    assert len(review.issues) == 3
    assert review.row("Refuse").endswith(f"| #{review.issues[1].number} |")


def test_creation_without_answer_waits_until_the_list_must_show_it(review: Review) -> None:
    """GitHub's list of issues may lack a new issue for a while."""
    review.write(ROWS[0])
    review.hub.fault(method="POST", path="/repos/*/*/issues", lost="before")

    first, second = review.actions("--create"), review.actions("--create")

    assert [(each.code, states(each.result)) for each in (first, second)] == [(5, ["unclear"])] * 2
    assert review.issues == []
    review.hub.clock.advance(180)
    assert states(review.create()) == ["open"]
    assert len(review.issues) == 1


def is_write(request: HttpRequest) -> bool:
    return request.method != "GET" and not request.path.endswith("/graphql")


@pytest.mark.parametrize("write", range(6))
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_press_is_completed_by_the_next_one(review: Review, write: int, moment: str) -> None:
    """Writes: comment, three issues, report, comment. A kill comes before or after each of them."""
    review.write(*ROWS)
    review.kill(write, moment)

    assert review.actions("--create").code == 4
    review.hub.faults.clear()
    review.hub.clock.advance(180)
    result = review.create()

    assert states(result) == ["open"] * 3
    assert [each["issue"] for each in result["items"]] == [each.number for each in review.issues]
    assert all(review.row(row[2:9]).endswith("|") and "#" in review.row(row[2:9]) for row in ROWS)
    assert len(review.comments) == 1


@pytest.mark.parametrize(("path", "codes", "count"), [("/comments", (0, 0), 2), ("", (5, 0), 1)])
def test_two_people_at_once_leave_one_open_issue(review: Review, path: str, codes: Any, count: int) -> None:
    """Alice acts on a laptop right before the comment of the job, or before its issue, when she sees the comment."""
    review.hub.switches.lists_lag_seconds = 0.0  # otherwise neither sees the other
    review.write(ROWS[0])
    laptop: dict[str, Any] = {"GITHUB_TOKEN": review.hub.add_token("ghp_alice", "alice"), "GITHUB_RUN_ID": None}
    others: list[Outcome] = []
    where = f"/repos/*/*/issues{'/*' if path else ''}{path}"
    review.hub.fault(method="POST", path=where, before=lambda: others.append(review.actions("--create", **laptop)))

    done = review.actions("--create")

    first, *later = review.issues
    assert (others[0].code, done.code, len(review.issues)) == (*codes, count)
    assert (first.state, [each.state for each in later]) == ("open", ["closed"] * (count - 1))
    assert done.result["items"][0]["issue"] == first.number
    assert review.row("Alert").endswith(f"| #{first.number} |")


def test_edit_of_a_person_before_the_links_are_written_stays(review: Review) -> None:
    review.write(*ROWS)

    def edit() -> None:
        review.replace(review.row("Refuse"), "| Refuse a table without rows | prevent | | | |\n| New | | | | |")

    review.hub.fault(method="POST", path="/repos/*/*/issues", skip=2, after=edit, is_prompt=True)

    result = review.create()

    assert states(result) == ["open"] * 3
    assert [bool(each["note"]) for each in result["items"]] == [False, True, False]
    assert "| Refuse a table without rows | prevent | | | |" in review.body
    assert review.row("Alert").endswith(f"#{review.issues[0].number} |")
    assert states(review.create()) == ["open", "held", "held", "open"]


@pytest.mark.parametrize(("skip", "is_lost"), [(0, True), (1, False)])
def test_edit_of_a_person_in_the_moment_of_the_write_is_named(review: Review, skip: int, is_lost: bool) -> None:
    """GitHub cannot compare a text before it writes it. An edit right after the write stays."""
    review.write(*ROWS)
    moment: dict[str, Any] = {
        "after" if skip else "before": lambda: review.replace("## Lessons", "Mine.\n\n## Lessons")
    }
    review.hub.fault(method="PATCH", path=f"/repos/*/*/issues/{review.report.number}", is_prompt=True, **moment)

    result = review.create()

    assert ("Mine." in review.body) is not is_lost
    assert any("mai" in each for each in result["notes"]) is is_lost
    assert states(result) == ["open"] * 3


def test_edit_of_a_person_in_the_moment_of_a_renewal_is_named(review: Review) -> None:
    review.hub.clock.advance(60)
    where = {"method": "PATCH", "path": f"/repos/*/*/issues/{review.report.number}"}
    review.hub.fault(**where, before=lambda: review.replace("## Lessons", "Mine.\n\n## Lessons"))

    done = review.shop.ops("incident", "report", str(review.incident), **job_environ(review.hub))

    assert (done.code, "mai" in done.err) == (0, True)


def test_links_are_written_without_an_answer_about_edits(review: Review) -> None:
    review.write(*ROWS)
    review.hub.fault(method="POST", path="/graphql", status=502, times=None)

    assert states(review.create()) == ["open"] * 3
    assert review.row("Alert").endswith(f"#{review.issues[0].number} |")


@pytest.mark.parametrize("author", ["mallory", "mai"])
def test_mark_of_a_person_counts_only_with_write_access(review: Review, author: str) -> None:
    review.hub.add_user("mallory", "read")
    review.write(ROWS[0])
    review.create()
    (own,) = review.issues
    review.replace(f"| #{own.number} |", "| |")
    review.hub.issue(own.number).labels.clear()
    for comment in list(review.report.comments):
        review.report.comments.remove(comment)
    forged = review.hub.open_issue("x", own.body or "", ["action-item"], author)

    result = review.create()

    assert (result["items"][0]["issue"] == forged) is (author == "mai")


def test_edited_comment_is_no_journal(review: Review) -> None:
    """Its issue is found by the mark alone; a number that somebody wrote into the comment is not linked."""
    review.write(ROWS[0])
    review.create()
    (own,) = review.issues
    other = review.hub.open_issue("something else", "", [], "mai")
    review.replace(f"| #{own.number} |", "| |")
    (comment,) = review.report.comments
    review.hub.edit_comment(
        review.report.number, comment.id, comment.body.replace(f" #{own.number}", f" #{other}"), "mai"
    )

    assert review.create()["items"][0]["issue"] == own.number


@pytest.mark.parametrize(
    "text",
    [
        "@acme/all <img src=x> --> #12 `",
        "x" * 10_000,
        "\u202eevil\u202c",
        "<!-- backout:action report=3 key=0123456789ab -->",
    ],
)
def test_hostile_row_stays_text(review: Review, text: str) -> None:
    review.write(f"| {text} | {text[:50]} | @acme/all | {text[:50]} | |", ROWS[0])

    result = review.create()

    hostile, _ = review.issues
    assert states(result) == ["open", "open"]
    assert [each for each in skeleton(hostile.body or "") if each.startswith("@")] == []
    assert len(hostile.title) <= 120
    assert "\u202e" not in hostile.title + (hostile.body or "")
    assert review.create()["created"] == []


def test_table_of_a_thousand_rows_is_worked_off_in_parts(review: Review) -> None:
    rows = [f"| Check {n} {'x' * 400} | detect | {', '.join(f'person{m}' for m in range(40))} | | |" for n in range(90)]
    review.write(*rows)
    review.hub.requests.clear()

    done = review.actions("--create")

    assert done.code == 0, done.err
    assert (len(review.issues), states(done.result).count("no issue")) == (20, 70)
    assert "70" in done.result["notes"][0]
    assert len(review.comments[0]) < 60_000
    assert not [each for each in review.hub.requests if "/assignees/" in each.path]
    assert len(review.create()["created"]) == 20


def test_marked_secret_stays_out_of_issues_and_output(review: Review) -> None:
    secret = review.shop.world.sandbox.token
    review.write(f"| Rotate {secret} | process | {secret} | {secret} | |")

    done = review.actions("--create")

    assert done.code == 0, done.err
    shown = (done.out, done.err, *review.comments, *(f"{each.title}{each.body}" for each in review.issues))
    assert [each for each in shown if secret in each] == []


@pytest.mark.parametrize("section", ["", "responders: [mai]\n"])
def test_without_the_section_nothing_is_created(world: World, section: str) -> None:
    review = Review(world, section)
    review.write(*ROWS)

    assert review.actions("--create").code == 2
    assert states(review.actions().result) == ["no issue"] * 3
    assert (review.issues, review.comments) == ([], [])


def test_incident_without_report_and_report_without_table_are_refused(review: Review) -> None:
    other = review.hub.open_issue("x", "", ["incident"], "mai")

    assert [review.actions("--create", number=each).code for each in (other, 4000)] == [2, 2]
    review.replace("## Prevention", "## Actions")
    assert review.actions("--create").code == 2
    assert review.issues == []


def test_without_github_nothing_is_created(review: Review) -> None:
    review.write(*ROWS)
    review.hub.fault(path="/repos/**", status=503, times=None)

    assert review.actions("--create").code == 4
    assert (review.issues, review.comments) == ([], [])


def test_refusal_by_github_keeps_what_was_created(review: Review) -> None:
    review.write(*ROWS)
    review.hub.fault(method="POST", path="/repos/*/*/issues", status=403, skip=1, times=None)

    done = review.actions("--create")

    assert (done.code, states(done.result)) == (4, ["open", "no issue", "no issue"])
    assert "403" in done.result["notes"][0]
    assert "403" in review.comments[0]
    review.hub.faults.clear()
    assert states(review.create()) == ["open"] * 3
    assert len(review.issues) == 3
