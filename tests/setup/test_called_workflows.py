"""Files that others call: the jobs of all recoveries, whose text does not grow with the services."""

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from ops.app.registry import CALLED_WORKFLOWS, discover_runbooks, runbook_job_id
from ops.app.scope import fitting_environments
from ops.config import Config, check_config
from ops.setup import workflows
from tests.setup.test_workflows import (
    CALLED,
    CONFIGURATIONS,
    config,
    expected_secrets,
    files,
    folder,
    parse_file,
    recovery_jobs,
    secrets_of,
    workflow,
)
from tests.support import plain_yaml

NAMES = re.compile(r"(?<=\n)( +options:(?:\n +- .*)+| +default: .*)\n")
"""List of names in an input, and the name that a list of one has as a default."""
ACCOUNTS = {"production": "a" * 32, "staging": "b" * 32}


def shop(services: int) -> Config:
    """Return a shop with so many Workers, sites and databases in two environments, and a label for each Worker."""
    environments: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    for place, account in ACCOUNTS.items():
        parts: dict[str, Any] = {}
        databases: dict[str, Any] = {}
        for number in range(services):
            source = {"repository": f"shop/part-{number}"}
            parts[f"api-{number}"] = {"worker": f"api-{number}", "url": f"https://api-{number}.example"}
            build = {"command": ["npm", "run", "build"], "output": "dist"}
            site = {"pages": f"site-{number}", "url": f"https://site-{number}.example"}
            parts[f"site-{number}"] = {**site, "build": build, **source}
            databases[f"orders-{number}"] = {
                "id": str(uuid.UUID(int=number)),
                "services": [f"api-{number}"],
                "migrations": "migrations",
                **source,
            }
            labels[f"recover:{place}-api-{number}"] = {
                "runbook": "rollback-worker",
                "environment": place,
                "params": {"service": f"api-{number}"},
            }
        environments[place] = {"account_id": account, "services": parts, "databases": databases}
    text = json.dumps({"environments": environments, "labels": labels})
    accepted, _ = check_config(text).require_valid("ops.yml")
    return accepted


def test_called_files_do_not_grow_with_the_services() -> None:
    one, forty = (dict(workflows.render_workflows(shop(number), discover_runbooks())) for number in (1, 40))

    assert one.keys() == forty.keys()
    for name in one:
        small, large = (NAMES.sub("", each[name].partition("# digest:")[2][18:]) for each in (one, forty))
        assert small == large, name
    assert {"fetch-migrations", "recovery-production"} <= {*plain_yaml.load(forty["recover"])["jobs"]}


@pytest.mark.parametrize(
    ("runbook", "params"), [("redeploy-pages", {"service": "site"}), ("propose-limits", {"reason": "launch"})]
)
def test_label_of_a_runbook_that_fits_nothing_calls_no_missing_file(runbook: str, params: dict[str, Any]) -> None:
    """Else GitHub would refuse incident.yml, and with it each label of each recovery."""
    place = {"account_id": ACCOUNTS["production"], "services": {"site": {"pages": "s", "url": "https://s.example"}}}
    label = {"runbook": runbook, "environment": "production", "params": params}
    text = json.dumps({"environments": {"production": place}, "labels": {"recover:x": label}})
    accepted, _ = check_config(text).require_valid("ops.yml")

    files = dict(workflows.render_workflows(accepted, discover_runbooks()))

    called = {Path(job["uses"]).stem for job in plain_yaml.load(files["incident"])["jobs"].values() if "uses" in job}
    assert called == {"recover"}
    assert called <= files.keys()


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_job_of_a_pair_has_the_secrets_of_its_runbooks(path: Path) -> None:
    of = config(path)
    for key, job, step in recovery_jobs("recover", path):
        place = job["concurrency"]["group"].removeprefix("recover-")
        runbooks = [
            name
            for name, each in discover_runbooks().items()
            if runbook_job_id(each, place) == key and of.environments[place] in fitting_environments(of, each)
        ]
        assert {discover_runbooks()[name].github_environment for name in runbooks} == {job["environment"]}
        probes = {name for probe in of.environments[place].probes for name in probe.variables}
        assert secrets_of(step) - probes == expected_secrets(of, runbooks, place) - probes


def test_called_file_names_itself_to_the_gate() -> None:
    """Else the gate would start a runbook whose jobs are in another file, and no job would run."""
    files = dict(workflows.render_workflows(shop(1), discover_runbooks()))
    steps = {
        name: plain_yaml.load(files[name])["jobs"]["gate"]["steps"][-1]
        for name in CALLED_WORKFLOWS
        if name in files and "on: workflow_call" in files[name]
    }

    assert "recover" in steps
    assert {name: step["with"]["called"] for name, step in steps.items()} == {name: name for name in steps}


@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_caller_grants_what_the_jobs_of_the_called_file_ask_for(path: Path) -> None:
    """GitHub starts no job if one of them asks for more, even one that would be skipped."""
    called, checked = {}, 0
    for name in CALLED:
        if (folder(path) / f"{name}.yml").exists():
            asked = [job["permissions"].items() for job in workflow(name, path)["jobs"].values()]
            called[name] = {
                scope: max(right for each in asked for key, right in each if key == scope)
                for scope in {key for each in asked for key, _ in each}
            }
    for file in files(path):
        for job in (each for each in parse_file(file)["jobs"].values() if "uses" in each):
            name = Path(job["uses"]).stem
            assert job["permissions"] == called[name], file.name
            assert (job["secrets"], job["uses"], job["if"][:8]) == (
                "inherit",
                f"./{workflows.FOLDER}/{name}.yml",
                "always()",
            )
            assert "with" not in job  # nothing that decides is an input
            checked += 1
    assert checked > 1


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_files_are_short_enough_to_read(path: Path) -> None:
    texts = {file.name: NAMES.sub("", file.read_text()) for file in files(path)}
    buttons = {name: text for name, text in texts.items() if name.removesuffix(".yml") in discover_runbooks()}

    assert {name: len(text.splitlines()) for name, text in buttons.items() if text.count("\n") > 70} == {}
    assert {name: len(text.splitlines()) for name, text in texts.items() if text.count("\n") > 1300} == {}
    assert [(name, line) for name, text in texts.items() for line in text.splitlines() if len(line) > 120] == []
