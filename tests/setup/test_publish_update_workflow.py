"""The generated workflow of public updates: only with a status page, with the fewest rights, one job at a time."""

from pathlib import Path

from ops.app.configuration import read_config
from ops.setup.labels import desired_labels
from tests.setup.test_workflows import folder, workflow
from tests.support.configurations import BAKERY, CONFIGURATIONS, STAGED_SHOP

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
