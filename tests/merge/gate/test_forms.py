"""Accept the form of every button of every configuration with its default answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ops.app.configuration import read_config
from ops.app.registry import button_runbooks, runbook_names
from ops.app.scope import fitting_environments
from tests.conftest import REFERENCE
from tests.gate.support import Job
from tests.support import plain_yaml
from tests.support.configurations import CONFIGURATIONS
from tests.support.workflows import generated

BUTTONS = [
    (config, name)
    for config in (REFERENCE / "ops.yml", *CONFIGURATIONS)
    for name, runbook in button_runbooks().items()
    if fitting_environments(read_config(config, labels=None)[0], runbook)
]
"""By the rule, because to write the files takes each process half a second."""


def fill_form(form: Mapping[str, Any], incident: int) -> dict[str, Any]:
    """Choose the first option of each list, and type a word into required text fields. Keep the other defaults."""
    typed = {"incident": str(incident), "reason": "it is slow"}
    return {"dry_run": True} | {
        name: (rules.get("options") or [typed.get(name, "a word")])[0]
        for name, rules in form.items()
        if rules.get("required") and "default" not in rules
    }


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("config", "name"), BUTTONS, ids=[f"{config.parent.name} {name}" for config, name in BUTTONS])
def test_default_form_requests_dry_run(job: Job, config: Path, name: str) -> None:
    folder = generated(config) / ".github/workflows"
    written = {path.stem for path in folder.glob("*.yml")} & {*runbook_names()}
    assert written == {each for where, each in BUTTONS if where == config}
    button = folder / f"{name}.yml"
    job.world.config.write_text(config.read_text())
    file = f".github/workflows/{button.name}"
    job.github.add_commit("Add the button", "alice", files={file: button.read_text()})
    form = plain_yaml.load(button.read_text())[True]["workflow_dispatch"]["inputs"]  # YAML 1.1 reads `on` as true
    people = plain_yaml.load(config.read_text()).get("responders") or ["alice"]
    job.github.add_user(people[0])

    run = job.github.dispatch(button.name, fill_form(form, job.incident), by=people[0])
    done = job.gate(run.payload, "workflow_dispatch", GITHUB_RUN_ID=str(run.id))

    job.assert_accepted(done)
    assert (job.outputs["runbook"], job.outputs["dry_run"]) == (name, "true")
    assert job.outputs["environment"] in plain_yaml.load(config.read_text())["environments"]
