"""Commit of the actions in the workflows of a small operations repository."""

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from ops.core.version import __version__
from ops.setup import workflows
from ops.tools import own_program
from ops.tools.git import parse_github_remote, parse_remote
from tests.conftest import ROOT, Outcome, World
from tests.support.configurations import SMALL_REPOSITORY

ACTIONS = "backout-tools/backout"
OLD, NEW = "a" * 40, "b" * 40
Sync = Callable[..., Outcome]


@pytest.fixture
def sync(world: World) -> Sync:
    world.config.write_text(SMALL_REPOSITORY.read_text())
    return lambda *options: world.ops("workflows", "sync", "--config", str(world.config), *options)


def files(world: World) -> dict[str, str]:
    return {path.stem: path.read_text() for path in (world.folder / ".github/workflows").glob("*.yml")}


def using(world: World, commit: str) -> list[str]:
    """Return the files that use the actions of this commit; one that only calls another file uses none."""
    return [name for name, text in files(world).items() if commit in text]


def pins(world: World) -> set[str]:
    found = (re.findall(rf"{ACTIONS}/\.github/actions/\w+@(.*)", text) for text in files(world).values())
    return {pin for each in found for pin in each}


def change(world: World, name: str, old: str, new: str, *, count: int = -1) -> None:
    path = world.folder / f".github/workflows/{name}.yml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, count))


def test_sync_pins_the_given_commit_and_keeps_it(world: World, sync: Sync) -> None:
    unknown = sync()
    first, second, check = sync("--actions", f"{ACTIONS}@{OLD}"), sync(), sync("--check")

    assert (unknown.code, f" {ACTIONS} " in unknown.err) == (2, True)
    assert f"--actions {ACTIONS}@SHA" in unknown.err
    assert (first.code, second.code, check.code) == (0, 0, 0)
    assert "Every file is as ops.yml has it." in second.out
    assert pins(world) == {f"{OLD} # v{__version__}"}
    assert not [text for text in files(world).values() if "./run" in re.sub("such as `./run ops`", "", text)]


@pytest.mark.slow
def test_sync_keeps_the_commit_of_a_dependency_update(world: World, sync: Sync) -> None:
    sync("--actions", f"{ACTIONS}@{OLD}")
    for name in using(world, OLD):
        change(world, name, f"{OLD} # v{__version__}", f"{NEW} # v0.2.7")

    assert (sync("--check").code, sync().code, pins(world)) == (0, 0, {f"{NEW} # v0.2.7"})


def test_sync_writes_nothing_beside_actions_of_another_minor_version(world: World, sync: Sync) -> None:
    sync("--actions", f"{ACTIONS}@{OLD}")
    for name in using(world, OLD):
        change(world, name, f"{OLD} # v{__version__}", f"{NEW} # v0.9.2")
    (world.folder / ".github/workflows/incident.yml").unlink()

    refused = sync()

    assert (refused.code, pins(world)) == (2, {f"{NEW} # v0.9.2"})
    assert "v0.9.2" in refused.err
    assert f"--actions {ACTIONS}@SHA" in refused.err
    assert not (world.folder / ".github/workflows/incident.yml").exists()
    assert (sync("--actions", f"{ACTIONS}@{OLD}").code, pins(world)) == (0, {f"{OLD} # v{__version__}"})


@pytest.mark.slow
def test_actions_moves_every_workflow_to_one_commit(world: World, sync: Sync) -> None:
    sync("--actions", f"{ACTIONS}@{OLD}")
    moved = sync("--actions", f"{ACTIONS}@{NEW}")

    assert (moved.code, pins(world)) == (0, {f"{NEW} # v{__version__}"})
    assert "written: .github/workflows/recover.yml (uses other commits of the actions)" in moved.out


@pytest.mark.parametrize("name", ["own.yml", "own.yaml"])
@pytest.mark.parametrize("uses", ["{}@" + NEW, '"{}@' + NEW + '"', "'{}@main'"])
def test_other_commit_in_a_workflow_of_the_team_is_refused(world: World, sync: Sync, name: str, uses: str) -> None:
    sync("--actions", f"{ACTIONS}@{OLD}")
    own = uses.format(f"{ACTIONS.title()}/.github/actions/run")
    (world.folder / ".github/workflows" / name).write_text(f"jobs:\n  own:\n    steps:\n      - uses: {own}\n")

    done = sync("--check")

    assert done.code == 2
    assert f" {ACTIONS}: " in done.err
    assert name in done.err


def test_branch_of_our_actions_is_refused(world: World, sync: Sync) -> None:
    (world.folder / ".github/workflows").mkdir(parents=True)
    (world.folder / ".github/workflows/own.yml").write_text(f"uses: {ACTIONS}/.github/actions/run@main\n")

    done = sync()

    assert (done.code, f" {ACTIONS}@main" in done.err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--check",)])
@pytest.mark.parametrize("count", [1, -1], ids=["step", "file"])
def test_several_commits_are_refused(world: World, sync: Sync, count: int, options: tuple[str, ...]) -> None:
    sync("--actions", f"{ACTIONS}@{OLD}")
    change(world, "recover", OLD, NEW, count=count)

    done = sync(*options)

    assert done.code == 2
    assert f" {ACTIONS}: " in done.err
    assert {"recover.yml", NEW[:8], "evidence.yml", OLD[:8]} <= set(re.findall(r"[\w.]+", done.err))
    assert sync("--actions", f"{ACTIONS}@{NEW}").code == 0
    assert len(pins(world)) == 1


def test_own_workflow_of_the_team_counts(world: World, sync: Sync) -> None:
    sync("--actions", f"{ACTIONS}@{OLD}")
    own = f"jobs:\n  a:\n    steps:\n      - uses: {ACTIONS}/.github/actions/setup@{NEW}\n"
    (world.folder / ".github/workflows/own.yml").write_text(own)

    done = sync("--check")

    assert (done.code, "own.yml" in done.err) == (2, True)


@pytest.mark.sampled
@pytest.mark.parametrize("given", [f"acme/other@{OLD}", f"{ACTIONS}@main", f"{ACTIONS}@{OLD[:8]}", ACTIONS])
def test_other_repository_and_short_commit_are_refused(sync: Sync, given: str) -> None:
    done = sync("--actions", given)

    assert (done.code, f"{ACTIONS}@SHA " in done.err) == (2, True)


def test_copy_of_the_program_takes_no_commit(world: World) -> None:
    done = world.ops("workflows", "sync", "--config", str(world.config), "--actions", f"{ACTIONS}@{OLD}")

    assert (done.code, f"github: {{actions: {ACTIONS}}}" in done.err) == (2, True)


def generated_by(world: World, version: str, name: str = "*") -> None:
    """Let the workflows be unchanged files of another version, with one line that this version writes otherwise."""
    for path in (world.folder / ".github/workflows").glob(f"{name}.yml"):
        head, digest, *lines = path.read_text().splitlines(keepends=True)
        body = "".join(lines).replace(f"generated-by: {__version__}", f"generated-by: {version}")
        body = body.replace("timeout-minutes: 5", "timeout-minutes: 6")
        new = sha256(workflows.USES.sub(r"\g<head>\g<action>", body).encode()).hexdigest()[:16]
        path.write_text(f"{head}{digest[:10]}{new}\n{body}")


@pytest.mark.parametrize(("version", "code"), [("0.1.1", 0), ("0.2.7", 0), ("0.3.0", 2), ("1.0.0", 2)])
def test_check_accepts_files_of_the_previous_minor_version(world: World, sync: Sync, version: str, code: int) -> None:
    assert __version__.startswith("0.2."), "write the versions of this test for the new one"
    sync("--actions", f"{ACTIONS}@{OLD}")
    generated_by(world, version)

    done = sync("--check")

    is_due = f"These workflows were generated by {version}, and {__version__} still runs them. Sync is due:" in done.out
    assert (done.code, is_due) == (code, code == 0), done.out[-500:]
    assert "would write: .github/workflows/recover.yml" in done.out
    assert (sync().code, sync("--check").code) == (0, 0)


def test_edited_file_of_the_previous_version_fails(world: World, sync: Sync) -> None:
    sync("--actions", f"{ACTIONS}@{OLD}")
    generated_by(world, "0.1.1")
    change(world, "recover", "contents: read", "contents: write", count=1)

    assert sync("--check").code == 2


@pytest.mark.slow
@pytest.mark.parametrize("address", ["/home/alice/backout", "file:///srv/acme/backout.git", "../acme/backout"])
def test_clone_of_a_folder_has_no_repository_on_a_server(address: str) -> None:
    assert parse_remote(address) is None


def test_program_of_another_server_names_no_repository_on_github() -> None:
    address = "https://git.parcel.example/parcel/backout.git"

    assert parse_github_remote(address, {}) == ""
    assert parse_github_remote("git@github.com:parcel/backout.git", {}) == "parcel/backout"
    assert parse_github_remote(address, {"GITHUB_SERVER_URL": "https://git.parcel.example"}) == "parcel/backout"


@pytest.mark.slow
def test_new_files_use_the_commit_of_the_checkout_or_installation(tmp_path: Path) -> None:
    """The commit is from git in a checkout, and from direct_url.json after an installation of a tag."""
    program, team = tmp_path / "program", tmp_path / "team"
    own_program.write_program(program)
    origin = f"https://token@github.com/{ACTIONS}.git"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "-q"], ["remote", "add", "origin", origin], ["add", "ops"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=program, check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], cwd=program, check=True, capture_output=True, text=True).stdout
    argv = [sys.executable, "-m", "ops", "workflows", "sync"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(program)}

    def sync_in(folder: Path) -> str:
        folder.mkdir()
        (folder / "ops.yml").write_text(SMALL_REPOSITORY.read_text())
        subprocess.run(argv, cwd=folder, env=environ, check=True, capture_output=True)
        return (folder / ".github/workflows/recover.yml").read_text()

    assert f"{ACTIONS}/.github/actions/run@{head.strip()} # v{__version__}\n" in sync_in(team)
    installed = program / f"backout-{__version__}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: backout\nVersion: {__version__}\n")
    vcs = {"vcs": "git", "requested_revision": "v0.1.0", "commit_id": NEW}
    (installed / "direct_url.json").write_text(json.dumps({"url": origin, "vcs_info": vcs}))
    assert f"/run@{NEW} # v{__version__}\n" in sync_in(tmp_path / "other")


def recorded(root: Path, target: str) -> dict[str, dict[str, str]]:
    """Return path → content of the files that the build hook adds."""
    found: dict[str, dict[str, str]] = {"force_include": {}}
    hook = runpy.run_path(str(ROOT / ".ci/build_hook.py"))["CustomBuildHook"]
    hook(str(root), {}, None, None, "", target).initialize("standard", found)
    return {name: json.loads(Path(path).read_text()) for path, name in found["force_include"].items()}


def test_build_in_a_job_of_another_repository_records_no_commit_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip builds the source archive, or a clone, in a folder of its own, beside the checkout of the job."""
    own, clone, archive = (tmp_path / name for name in ("own", "clone", "archive"))
    for folder in (own, clone, archive):
        folder.mkdir()
    release = {"repository": ACTIONS, "sha": OLD}
    (archive / "release.json").write_text(json.dumps(release))
    job = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/operations", "GITHUB_SHA": NEW}
    for name, value in (job | {"GITHUB_WORKSPACE": str(own)}).items():
        monkeypatch.setenv(name, value)

    assert recorded(archive, "wheel") == {"ops/program/release.json": release}
    assert recorded(clone, "wheel") == {}
    assert recorded(own, "sdist") == {"release.json": {"repository": "acme/operations", "sha": NEW}}
