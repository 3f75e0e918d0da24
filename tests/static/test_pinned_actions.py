"""Pinned actions: each is fixed to a release whose runtime GitHub's runners support."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import plain_yaml
from tests.support.tracked import tracked
from tests.support.workflows import generated

PINNED = {
    "actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6": ("v4.2.2", "node24"),
    "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1": ("v7.0.1", "node24"),
    "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c": ("v8.0.1", "node24"),
    "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f": ("v7.0.0", "node24"),
}
"""Release tag, and `runs.using` of action.yml, by action and commit. Look both up for a new row."""
RUNTIMES = {"node24", "composite", "docker"}
"""Node 20 left GitHub's hosted runners in September 2026."""
USES = re.compile(r"^\s*(?:- )?uses:\s*(?P<action>[^\s#]+)\s*(?:#\s*(?P<version>\S+))?", re.MULTILINE)


def action_files() -> list[Path]:
    folder = generated() / ".github"
    return [*(folder / "workflows").glob("*.yml"), *(folder / "actions").glob("*/action.yml")]


def used_actions(text: str) -> Iterator[tuple[str, str]]:
    for found in USES.finditer(text):
        if not found["action"].startswith("./"):
            yield found["action"], found["version"] or ""


def wrong_pins(text: str) -> list[str]:
    return [
        action for action, version in used_actions(text) if PINNED.get(action, ("", ""))[0] != version or not version
    ]


def test_used_actions_are_in_table_with_version() -> None:
    wrong = {f"{path.parent.name}/{path.name}": wrong_pins(path.read_text()) for path in action_files()}

    assert {name: pins for name, pins in wrong.items() if pins} == {}


def test_table_lists_only_used_actions_and_supported_runtimes() -> None:
    assert {runtime for _, runtime in PINNED.values()} <= RUNTIMES
    assert {action for path in action_files() for action, _ in used_actions(path.read_text())} == set(PINNED)


@pytest.mark.parametrize(
    "line",
    [
        "- uses: actions/upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02 # v4.6.2",
        "- uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v5.0.0",
        "  uses: actions/checkout@v7",
    ],
)
def test_wrong_commit_or_version_is_reported(line: str) -> None:
    assert wrong_pins(f"      {line}\n")


def test_dependabot_groups_updates_and_waits_a_week() -> None:
    updates = plain_yaml.load((ROOT / ".github/dependabot.yml").read_text())["updates"]

    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "pip", "npm"}
    for update in updates:
        assert update["cooldown"]["default-days"] >= 7
        assert [group["patterns"] for group in update["groups"].values()] == [["*"]]


def test_dependabot_reads_every_folder_with_locked_versions() -> None:
    updates = plain_yaml.load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    folders = {update["package-ecosystem"]: set(update["directories"]) for update in updates}
    locks = [path for path in tracked() if path.name == "package-lock.json"]

    assert folders["npm"] == {f"/{path.parent.relative_to(ROOT)}" for path in locks}
    assert folders["pip"] == {"/", "/locks"}
