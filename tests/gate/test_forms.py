"""Accept the form of every button of every configuration with its default answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ops.app.registry import runbook_names
from tests.conftest import REFERENCE
from tests.gate.support import Job
from tests.support import plain_yaml
from tests.support.configurations import CONFIGURATIONS
from tests.support.workflows import generated

CONFIGS = (REFERENCE / "ops.yml", *CONFIGURATIONS)
BUTTONS = [
    (config, path)
    for config in CONFIGS
    for path in sorted((generated(config) / ".github/workflows").glob("*.yml"))
    if path.stem in runbook_names()
]


def fill_form(form: Mapping[str, Any], incident: int) -> dict[str, Any]:
    """Choose the first option of each list, and type a word into required text fields. Keep the other defaults."""
    typed = {"incident": str(incident), "reason": "it is slow"}
    return {"dry_run": True} | {
        name: (rules.get("options") or [typed.get(name, "a word")])[0]
        for name, rules in form.items()
        if rules.get("required") and "default" not in rules
    }


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("config", "button"), BUTTONS, ids=[f"{config.parent.name} {button.stem}" for config, button in BUTTONS]
)
def test_default_form_requests_dry_run(job: Job, config: Path, button: Path) -> None:
    job.world.config.write_text(config.read_text())
    file = f".github/workflows/{button.name}"
    job.github.add_commit("Add the button", "alice", files={file: button.read_text()})
    form = plain_yaml.load(button.read_text())[True]["workflow_dispatch"]["inputs"]  # YAML 1.1 reads `on` as true
    people = plain_yaml.load(config.read_text()).get("responders") or ["alice"]
    job.github.add_user(people[0])

    run = job.github.dispatch(button.name, fill_form(form, job.incident), by=people[0])
    done = job.gate(run.payload, "workflow_dispatch", GITHUB_RUN_ID=str(run.id))

    job.assert_accepted(done)
    assert (job.outputs["runbook"], job.outputs["dry_run"]) == (button.stem, "true")
    assert job.outputs["environment"] in plain_yaml.load(config.read_text())["environments"]
