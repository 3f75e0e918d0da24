"""The menu of an incident: each link opens a button, each label exists, and each command runs."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.app.configuration import read_config
from ops.app.menu import build_menu
from ops.config import Config
from sandbox import Sandbox
from tests.conftest import REFERENCE, Incident, World
from tests.support import plain_yaml
from tests.support.commands import unwrapped
from tests.support.configurations import CONFIGURATIONS
from tests.support.workflows import generated

COMMAND = re.compile(r"^```\n(.+)\n```$", re.MULTILINE)
LINK = re.compile(r"\[([a-z-]+)(?:: ([^\]]+))?\]\((http[^)]+)\)((?:, \w+ `[^`]+`)*)")
PATHS = {path.parent.name: path for path in CONFIGURATIONS}
ALL = ["Workers Scripts Write", "Pages Write", "Workers Routes Write", "Zone Read", "Workers KV Storage Write"]
LONGEST_TYPED = 8
"""Characters that a person types into one field on a phone."""


@dataclass(frozen=True)
class Team:
    """An operations repository of a team, with its Workers and sites on the sandbox."""

    incident: Incident
    config: Config
    workflows: Path
    tokens: dict[str, str]

    def menu(self, service: str) -> str:
        options = ("--severity", "sev1", "--title", "It fails", "--config", str(self.incident.world.config))
        opened = self.incident.ops("incident", "open", "--service", service, *options)
        assert opened.code == 0, opened.err
        (menu,) = self.incident.github.issues[-1].comments
        return menu.body

    def form(self, workflow: str) -> dict[str, Any]:
        """Return the fields of the button."""
        data: dict[Any, Any] = plain_yaml.load((self.workflows / f"{workflow}.yml").read_text())
        fields: dict[str, Any] = data[True]["workflow_dispatch"]["inputs"]
        return fields


@pytest.fixture(params=PATHS)
def team(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Team]:
    path = PATHS[request.param]
    config, _ = read_config(path)
    (tmp_path / "ops.yml").write_text(path.read_text())
    first = next(iter(config.environments.values()))
    with Sandbox(account_id=first.account_id, virtual_clock=True) as sandbox:
        now = sandbox.clock.now()
        for service in first.services.values():
            if service.pages:
                sandbox.pages.add_project(service.pages)
                for hours in (2, 1):
                    sandbox.pages.add_deployment(service.pages, files={}, at=now - timedelta(hours=hours))
            else:
                for hours in (2, 1):
                    at = now - timedelta(hours=hours)
                    sandbox.deploy(service.worker, sandbox.upload(service.worker, at=at), at=at)
        if first.runtime:
            sandbox.kv.add(first.runtime.namespace)
        token = sandbox.add_token("all-of-it", permissions=ALL)
        tokens = {each.token: token for each in config.environments.values()}
        yield Team(Incident(World(sandbox, tmp_path), 0), config, generated(path) / ".github/workflows", tokens)


def test_rows_without_a_label_begin_with_the_quickest_recovery() -> None:
    config, _ = read_config(REFERENCE / "ops.yml")
    unlabeled = config.model_copy(update={"labels": {}})

    menu = build_menu(unlabeled, ("ops",), "1", "https://github.example/acme/operations")

    order = dict.fromkeys(found[1] for found in LINK.finditer(menu.render(["api"])))
    assert next(iter(order)) == "rollback-worker"
    assert [name for name in order if name in {"feature", "maintenance", "restore-database"}] == [
        *("feature", "maintenance", "restore-database")
    ]
    assert next(reversed(order)) == "all-clear"


def test_menus_name_every_label_and_the_values_of_every_button(team: Team) -> None:
    """Each label is in one menu. A label without a service belongs to the service that reads the switches."""
    menus = [team.menu(service) for service in team.config.service_names]

    labels = [label for menu in menus for label in re.findall(r"\*\*`(recover:[^`]+)`\*\*", menu)]
    assert sorted(labels) == sorted(team.config.labels)
    for menu in menus:
        assert ("Add a label here." in menu) == bool(team.config.labels)
        assert_links(team, menu)
        assert_tokens(team, menu)


def assert_links(team: Team, menu: str) -> None:
    """A link names the fields with several options. Only a row with a label may need a longer text in a field."""
    for line in menu.splitlines():
        for workflow, values, address, typed in LINK.findall(line):
            form = team.form(workflow)
            chosen = dict(each.split(" ", 1) for each in values.split(", ")) if values else {}
            options = {name: field["options"] for name, field in form.items() if field["type"] == "choice"}
            assert address.endswith(f"/acme/operations/actions/workflows/{workflow}.yml")
            assert chosen.keys() == {name for name, several in options.items() if len(several) > 1}
            assert all(value in options[name] for name, value in chosen.items())
            assert all(form[name]["default"] == only[0] for name, only in options.items() if len(only) == 1)
            long = [text for text in re.findall(r"`([^`]+)`", typed) if len(text) > LONGEST_TYPED]
            assert not long or line.lstrip().startswith("- **`recover:")


def assert_tokens(team: Team, menu: str) -> None:
    (named,) = re.findall("Set first: (.+)", menu)
    acting = [shlex.split(command) for command in COMMAND.findall(unwrapped(menu)) if "propose-limits" not in command]
    environments = {words[words.index("--environment") + 1] for words in acting}
    assert {team.config.environments[name].token for name in environments} <= set(re.findall("`([^`]+)`", named))


def test_menu_commands_run(team: Team) -> None:
    """A refusal is an answer too: no route leads to the Worker, or a new value is missing."""
    first = next(iter(team.config.environments))
    for service in team.config.service_names:
        for command in COMMAND.findall(unwrapped(team.menu(service))):
            _, *arguments = shlex.split(command)
            done = team.incident.ops(*arguments, "--dry-run", **team.tokens)
            assert done.code in ({0, 3} if f"--environment {first} " in command else {0, 3, 4}), command + done.err
