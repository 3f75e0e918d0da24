"""`ops workflows sync` in a repository with the files of release 0.1.1. Real jobs: tests/acceptance/test_upgrade.py."""

from pathlib import Path

import pytest

from tests.conftest import Outcome, World
from tests.support.former_release import read_workflows
from tests.support.workflows import add_actions

RELEASE, FOLDER = "0.1.1", Path(".github", "workflows")


@pytest.fixture
def former(world: World) -> World:
    """Return the folder of a ferry company, as the former release wrote it."""
    add_actions(world.folder)
    for path, text in read_workflows(RELEASE).items():
        (world.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (world.folder / path).write_text(text)
    return world


def sync(world: World, *options: str) -> Outcome:
    return world.ops("workflows", "sync", "--config", str(world.config), *options)


def read_folder(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_of_the_former_release_are_replaced_without_force(former: World) -> None:
    """All changes are in .github, so that the reversal of one commit takes all of them back."""
    before = read_folder(former.folder)

    done = sync(former)

    after = read_folder(former.folder)
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert (done.code, sync(former, "--check").code) == (0, 0), done.out
    assert "kept:" not in done.out
    assert "`git revert`" in done.out
    assert {path for path in changed if not path.startswith(".github/")} == set()
    assert f"{FOLDER}/incident.yml" in changed


def test_edited_file_of_the_former_release_is_kept_and_named(former: World) -> None:
    edited = former.folder / FOLDER / "rollback-worker.yml"
    edited.write_text(edited.read_text().replace("timeout-minutes: 15", "timeout-minutes: 20"))

    done = sync(former)

    assert done.code == 2
    assert "kept: .github/workflows/rollback-worker.yml (was edited since the last sync)" in done.out
    assert "written: .github/workflows/incident.yml" in done.out
    assert sync(former, "--force").code == 0
    assert "timeout-minutes: 20" not in edited.read_text()
