"""`ops incident remind`: required action items are reminded of once a week, until none is open."""

from typing import Any

import pytest

from ops.report.action_reminder import RECENT, WOULD_POST
from tests.conftest import World, job_environ
from tests.report.test_action_items import ROWS, Review
from tests.setup.test_workflows import CONFIGURATIONS, config, folder

DAY = 24 * 3600
SECTION = "action_items: {required_from: sev2}\n"


class Weeks(Review):
    """The review, read by the scheduled job eight days after the incident was closed."""

    def __init__(self, world: World, section: str = SECTION, severity: str = "sev1") -> None:
        super().__init__(world, section)
        if severity:
            self.hub.label(self.incident, severity, "mai")
        self.pass_days(8)

    def pass_days(self, days: float) -> None:
        self.hub.clock.advance(days * DAY)

    def remind(self, *arguments: str) -> list[str]:
        done = self.shop.ops("incident", "remind", *arguments, **job_environ(self.hub))
        assert done.code == 0, done.err
        return [line for line in done.out.splitlines() if line.startswith("#")]

    @property
    def reminders(self) -> list[str]:
        return self.reminders_on(self.report.number)

    def reminders_on(self, number: int) -> list[str]:
        bodies = [each.body for each in self.hub.issue(number).comments]
        return [body for body in bodies if '"source":"reminder"' in body]


@pytest.fixture
def weeks(world: World) -> Weeks:
    made = Weeks(world)
    made.write(*ROWS)
    made.create()
    return made


def test_open_items_are_reminded_of_once_a_week_until_all_are_done(weeks: Weeks) -> None:
    assert len(weeks.remind()) == 1
    assert weeks.remind("--dry-run") != []
    weeks.pass_days(6)
    weeks.remind()
    (first,) = weeks.reminders

    weeks.pass_days(1)
    weeks.hub.close(weeks.issues[0].number, "mai")
    weeks.remind()

    (second,) = weeks.reminders
    assert (f"#{weeks.issues[0].number} " in first, f"#{weeks.issues[0].number} " in second) == (True, False)
    assert f"#{weeks.issues[1].number} " in second
    for each in weeks.issues:
        weeks.hub.close(each.number, "mai")
    weeks.pass_days(8)
    assert weeks.remind() == []
    assert weeks.reminders == [second]


def test_report_that_nobody_changed_for_long_still_counts(weeks: Weeks) -> None:
    for each in weeks.issues:
        weeks.hub.close(each.number, "mai")
    weeks.pass_days(190)
    weeks.hub.comment(weeks.incident, "A customer asked about this again.", "mai")

    assert weeks.remind() == []


def test_dry_run_says_whether_a_reminder_is_due(weeks: Weeks) -> None:
    dry_runs = [weeks.remind("--dry-run")]
    weeks.remind()
    dry_runs.append(weeks.remind("--dry-run"))

    assert [[WOULD_POST in line for line in lines] for lines in dry_runs] == [[True], [False]]
    assert RECENT in dry_runs[1][0]


def test_row_without_issue_and_empty_table_are_reminded_of(world: World) -> None:
    weeks = Weeks(world)

    weeks.remind()
    assert len(weeks.reminders) == 1
    weeks.write("| Alert | detect | | | |", "| Page | process | | | done |")
    weeks.pass_days(8)
    weeks.remind()

    (reminder,) = weeks.reminders
    assert "Alert" in reminder
    assert "Page" not in reminder


def test_incident_without_report_is_reminded_of(weeks: Weeks) -> None:
    weeks.report.labels.clear()

    weeks.remind()

    assert len(weeks.reminders_on(weeks.incident)) == 1


@pytest.mark.parametrize(
    ("section", "severity", "change"),
    [
        (SECTION, "sev3", ""),
        (SECTION, "", ""),
        ("action_items: {}\n", "sev1", ""),
        ("", "sev1", ""),
        (SECTION, "sev1", "drill"),
        (SECTION, "sev1", "open"),
        (SECTION, "sev1", "closed lately"),
    ],
)
def test_incident_that_is_not_required_is_left_alone(world: World, section: str, severity: str, change: str) -> None:
    weeks = Weeks(world, section, severity)
    weeks.write(*ROWS)
    if change == "drill":
        weeks.hub.label(weeks.incident, "drill", "mai")
    elif change:
        weeks.hub.reopen(weeks.incident, "mai")
        if change == "closed lately":
            weeks.hub.close(weeks.incident, "mai")

    assert weeks.remind() == []
    assert (weeks.reminders, weeks.reminders_on(weeks.incident)) == ([], [])


def test_dry_run_and_a_comment_of_a_person_change_nothing(weeks: Weeks) -> None:
    weeks.remind()
    (own,) = (each for each in weeks.report.comments if '"source":"reminder"' in each.body)
    weeks.hub.comment(weeks.report.number, own.body, "mai")
    weeks.pass_days(8)
    weeks.remind("--dry-run")
    assert own in weeks.report.comments

    weeks.remind()

    assert own not in weeks.report.comments
    assert len(weeks.reminders) == 2


def test_laptop_posts_no_second_reminder_within_the_week(weeks: Weeks) -> None:
    laptop = {**weeks.hub.environ(), "GITHUB_TOKEN": weeks.hub.add_token("ghp_mai", "mai")}
    weeks.remind()
    (first,) = weeks.reminders

    assert weeks.shop.ops("incident", "remind", **laptop).code == 0
    assert weeks.reminders == [first]

    weeks.pass_days(8)
    assert weeks.shop.ops("incident", "remind", **laptop).code == 0
    assert len(weeks.reminders) == 1
    assert weeks.reminders != [first]


def test_lost_answer_makes_no_second_reminder(weeks: Weeks) -> None:
    weeks.hub.fault(method="POST", path=f"/repos/*/*/issues/{weeks.report.number}/comments", lost="after")

    lost: Any = weeks.shop.ops("incident", "remind", **job_environ(weeks.hub))

    assert lost.code == 0, lost.err
    weeks.remind()
    assert len(weeks.reminders) == 1


@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_only_a_scheduled_doctor_reminds(path: Any) -> None:
    settings = config(path)
    is_due = bool(settings.action_items and settings.action_items.required_from)
    text = (folder(path) / "doctor.yml").read_text()

    assert ("command: incident remind\n" in text) is (is_due and "doctor" in settings.github.schedules)
