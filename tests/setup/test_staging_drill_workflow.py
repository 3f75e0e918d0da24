"""The generated workflow of the staging drill: only with its section, always with an undo, never with production."""

from pathlib import Path

import pytest

from ops.app.configuration import read_config
from ops.setup import workflow_jobs
from tests.setup.test_workflows import folder, workflow
from tests.support.configurations import CONFIGURATIONS, STAGED_SHOP

NAME = "staging-drill"


def test_only_a_configuration_with_the_section_has_the_file() -> None:
    assert (folder(STAGED_SHOP) / f"{NAME}.yml").is_file()
    assert not any((folder(path) / f"{NAME}.yml").exists() for path in CONFIGURATIONS)


def test_jobs_have_no_token_of_production() -> None:
    text = (folder(STAGED_SHOP) / f"{NAME}.yml").read_text()

    assert "TEASHOP_TOKEN" not in text
    assert "secrets.TEASHOP_STAGING_TOKEN" in text
    assert "secrets.TEASHOP_ACCESS_ID" in text, "a probe of production needs it"


def test_undo_runs_after_each_end_and_blocks_no_recovery() -> None:
    jobs = workflow(NAME, STAGED_SHOP)["jobs"]

    assert jobs["undo"]["if"] == "always()"
    assert jobs["undo"]["needs"] == "drill"
    assert not any("recover-" in each["concurrency"]["group"] for each in jobs.values())
    assert {each["environment"]["name"] for each in jobs.values()} == {"recovery"}


@pytest.mark.parametrize(
    ("schedule", "resume"),
    [("7 9 28 * *", "47 * 28,29 * *"), ("0 9 1 * *", "47 * 1,2 * *"), ("5 6 * * 6", "47 * * * 6,0")],
)
def test_drills_that_died_are_undone_every_hour_of_two_days(schedule: str, resume: str) -> None:
    assert workflow_jobs.resume_cron(schedule) == resume


def test_crons_of_the_file_select_the_jobs() -> None:
    data = workflow(NAME, STAGED_SHOP)

    crons = [each["cron"] for each in data[True]["schedule"]]
    assert crons == ["7 9 28 * *", "47 * 28,29 * *"]
    assert crons[0] in data["jobs"]["drill"]["if"]
    assert crons[1] not in data["jobs"]["drill"]["if"]


def test_drill_without_a_schedule_has_a_button_alone(tmp_path: Path) -> None:
    path = tmp_path / "ops.yml"
    path.write_text(STAGED_SHOP.read_text().replace('  schedule: "7 9 28 * *"\n', ""))

    data = workflow(NAME, path)

    assert list(data[True]) == ["workflow_dispatch"]
    assert "schedule" not in data["jobs"]["drill"]["if"]
    assert workflow_jobs.staging_drill_minutes(read_config(path)[0]) == 0


def test_minutes_of_the_schedule_are_counted() -> None:
    assert workflow_jobs.staging_drill_minutes(read_config(STAGED_SHOP)[0]) == 84
