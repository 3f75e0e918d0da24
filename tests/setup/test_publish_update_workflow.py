"""The generated workflow of public updates: only with a status page, with the fewest rights, one job at a time."""

from pathlib import Path

import pytest

from ops.app.configuration import read_config
from ops.app.registry import button_runbooks
from ops.setup.github_environments import needed_environments
from ops.setup.labels import desired_labels
from ops.setup.publish_update_job import monthly_minutes
from tests.conftest import World
from tests.setup.test_workflows import folder, workflow
from tests.support.configurations import BAKERY, CONFIGURATIONS, STAGED_SHOP, with_banner
from tests.support.workflows import add_actions

NAME = "publish-update"


def test_only_a_configuration_with_a_page_has_file_and_labels() -> None:
    assert (folder(BAKERY) / f"{NAME}.yml").is_file()
    others = [*CONFIGURATIONS, STAGED_SHOP]
    assert not any((folder(path) / f"{NAME}.yml").exists() for path in others)
    assert not any(name.startswith("status:") for path in others for name in desired_labels(read_config(path)[0]))
    labels = {name for name in desired_labels(read_config(BAKERY)[0]) if name.startswith("status:")}
    assert {"status:investigating", "status:in-progress", "status:completed"} < labels
    assert len(labels) == 7


def test_jobs_have_the_fewest_rights_and_block_no_recovery() -> None:
    data = workflow(NAME, BAKERY)
    job = data["jobs"]["publish"]
    assert data["permissions"] == {}
    assert job["permissions"] == {"contents": "read", "issues": "write", "actions": "read"}
    assert "environment" not in job
    assert job["concurrency"]["group"] == "publish-update"
    assert job["concurrency"]["cancel-in-progress"] is False


def test_fields_name_components_states_and_conditions() -> None:
    inputs = workflow(NAME, BAKERY)[True]["workflow_dispatch"]["inputs"]
    assert "Shop, Orders & delivery" in inputs["components"]["description"]
    assert "in progress" in inputs["state"]["options"]
    assert inputs["condition"]["default"] == inputs["condition"]["options"][0]


def test_key_of_a_provider_and_of_a_chat_is_in_that_job_alone(tmp_path: Path) -> None:
    path = tmp_path / "ops.yml"
    text = BAKERY.read_text().replace("name: Shop", "name: Shop\n      id: compshop1")
    text = text.replace("name: Orders & delivery", "name: Orders & delivery\n      id: comporders")
    keys = "status_page:\n  provider: instatus\n  page_id: pagebakery1\n  token: STATUS_PAGE_TOKEN\n"
    path.write_text(text.replace("status_page:\n", keys) + "notify: {slack: {webhook: BAKERY_CHAT}}\n")

    jobs = workflow(NAME, path)["jobs"]

    assert jobs["publish"]["environment"] == "report"
    given = jobs["publish"]["steps"][-1]["env"]
    assert {"STATUS_PAGE_TOKEN", "BAKERY_CHAT"} < given.keys()
    assert "STATUS_PAGE_TOKEN" not in str(jobs["answer"])


def test_only_the_job_that_deploys_may_write_pages_and_has_no_secret() -> None:
    jobs = workflow(NAME, BAKERY)["jobs"]

    assert jobs["deploy"]["permissions"] == {
        **dict.fromkeys(("contents", "issues", "actions"), "read"),
        **dict.fromkeys(("pages", "id-token"), "write"),
    }
    others = [job["permissions"] for name, job in jobs.items() if name != "deploy"]
    assert not [each for each in others if {"pages", "id-token"} & {*each}]
    assert jobs["compare"]["permissions"] == {"contents": "read"}
    assert "secrets." not in str([jobs["deploy"], jobs["compare"]])
    assert jobs["deploy"]["environment"]["name"] == "github-pages"
    assert "concurrency" not in jobs["compare"]


@pytest.mark.parametrize(
    ("interval", "cron", "minutes"),
    [("15m", "4-59/15 * * * *", 2880), ("1h", "4 * * * *", 720), ("6h", "4 */6 * * *", 120), ("24h", "4 0 * * *", 30)],
)
def test_regular_build_is_a_schedule_that_publishes_nothing(
    tmp_path: Path, interval: str, cron: str, minutes: int
) -> None:
    path = tmp_path / "ops.yml"
    path.write_text(BAKERY.read_text().replace("status_page:\n", f"status_page:\n  rebuilt: {interval}\n"))
    data = workflow(NAME, path)

    assert data[True]["schedule"] == [{"cron": cron}]
    assert "schedule" in data["jobs"]["deploy"]["if"]
    assert "schedule" not in workflow(NAME, BAKERY)[True]
    assert monthly_minutes(read_config(path)[0]) == minutes


def test_no_job_deploys_a_page_at_a_provider_or_on_an_enterprise_server(tmp_path: Path) -> None:
    text = BAKERY.read_text()
    hosted = text.replace("name: Shop", "name: Shop\n      id: compshop1").replace(
        "name: Orders & delivery", "name: Orders & delivery\n      id: comporders"
    )
    keys = "status_page:\n  provider: instatus\n  page_id: pagebakery1\n  token: STATUS_PAGE_TOKEN\n"
    for name, each in {
        "hosted": hosted.replace("status_page:\n", keys),
        "server": f"{text}\ngithub: {{enterprise_server: true}}\n",
    }.items():
        path = tmp_path / f"{name}.yml"
        path.write_text(each)
        assert {*workflow(NAME, path)["jobs"]} == {"publish", "answer"}


@pytest.mark.parametrize(("server", "shown"), [("false", "publish-update every 15m: 2,880 minutes"), ("true", "none")])
def test_sync_names_only_a_build_that_some_job_makes(world: World, server: str, shown: str) -> None:
    text = BAKERY.read_text().replace("status_page:\n", "status_page:\n  rebuilt: 15m\n")
    world.config.write_text(f"{text}\ngithub: {{enterprise_server: {server}, accept_minutes: 2880}}\n")
    add_actions(world.folder)

    done = world.ops("workflows", "sync", "--config", str(world.config))

    assert done.code == 0, done.err
    assert f"Schedules: {shown}" in done.out


def test_only_a_page_with_a_banner_has_the_job_that_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "ops.yml"
    path.write_text(with_banner(BAKERY.read_text()))
    jobs, former = workflow(NAME, path)["jobs"], workflow(NAME, BAKERY)["jobs"]

    assert jobs.keys() - former.keys() == {"remove-banner"}
    job = jobs["remove-banner"]
    assert (job["environment"], job["needs"]) == ("recovery", "publish")
    assert job["permissions"] == {"contents": "read", "issues": "write", "actions": "read"}
    assert job["steps"][-1]["with"]["environment"] == "live"
    assert [name for name, each in jobs.items() if "BAKERY_TOKEN" in str(each)] == ["remove-banner"]
    assert "remove-banner" in jobs["answer"]["needs"]
    assert {name: former[name] for name in ("deploy", "compare")} == {
        name: jobs[name] for name in ("deploy", "compare")
    }
    assert "over" not in former["publish"]["outputs"]


@pytest.mark.parametrize("has_banner", [False, True])
def test_environments_name_the_job_that_removes_a_banner(tmp_path: Path, *, has_banner: bool) -> None:
    path = tmp_path / "ops.yml"
    path.write_text(with_banner(BAKERY.read_text()) if has_banner else BAKERY.read_text())
    places = {each.name: each for each in needed_environments(read_config(path)[0], button_runbooks())}
    assert (NAME in places["recovery"].used_by) == has_banner
