"""`ops setup template`: a repository from the template works after two files were edited, without another command."""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sandbox import Sandbox
from tests.conftest import ROOT, World
from tests.support.adoption import ACTIONS, EVERY_READ, READER, Team, release

ACCOUNT = "9d" * 16
EDITS = {
    "0a" * 16: ACCOUNT,
    "worker: my-worker": "worker: ferry-tickets",
    "https://my-worker.example.com": "https://tickets.ferry.example",
}


@pytest.fixture
def ferry(tmp_path: Path) -> Iterator[Team]:
    """A ferry company with a template repository, and a Worker whose newest release fails."""
    with Sandbox(account_id=ACCOUNT, virtual_clock=True) as sandbox:
        zone = sandbox.zones.all[sandbox.zones.add("ferry.example")]
        sandbox.zones.add_domain(zone, "tickets.ferry.example", "ferry-tickets")
        for hours, status in ((40, 200), (20, 200), (1, 500)):
            release(sandbox, "ferry-tickets", timedelta(hours=hours), code=f"{hours}", behaviour={"status": status})
        found = Team(World(sandbox, tmp_path))
        written = found.world.ops("setup", "template", str(found.folder), "--actions", ACTIONS)
        assert written.code == 0, written.err
        assert sandbox.requests == []
        yield found


def edit(team: Team) -> None:
    text = team.config.read_text()
    for old, new in EDITS.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    team.config.write_text(text)
    owners = team.folder / ".github/CODEOWNERS"
    owners.write_text(owners.read_text().replace("#* @OWNER/TEAM", "* @ferry/on-call"))


@pytest.mark.parametrize("is_edited", [False, True], ids=["as written", "edited"])
def test_template_is_valid_and_its_workflows_fit(ferry: Team, is_edited: bool) -> None:
    if is_edited:
        edit(ferry)

    assert ferry.ops("config", "check").code == 0
    assert "Every file is as ops.yml has it." in ferry.ops("workflows", "sync", "--check").out
    assert len(ferry.files()) <= 20


def test_edited_template_recovers_the_worker_of_the_team(ferry: Team) -> None:
    edit(ferry)
    where = ("--service", "app", "--environment", "production", "--yes", "--json")

    outcome = ferry.ops("rollback-worker", *where, CLOUDFLARE_API_TOKEN=ferry.world.sandbox.token)

    assert outcome.result["decision"] == "recovered", outcome.err


def test_init_replaces_the_example_as_the_readme_says(ferry: Team) -> None:
    ferry.world.sandbox.add_token(READER, EVERY_READ)
    (names,) = re.findall(r"`rm (.*?)`, then `ops init .`", ferry.files()["README.md"])
    for name in names.split():
        (ferry.folder / name).unlink()

    assert ferry.init().code == 0

    assert re.findall(r"account_id: (\S+)|worker: (\S+)", ferry.config.read_text()) == [
        (ACCOUNT, ""),
        ("", "ferry-tickets"),
    ]
    assert "template" not in ferry.files()["README.md"]
    assert "Every file is as ops.yml has it." in ferry.ops("workflows", "sync", "--check").out


def test_each_place_to_edit_is_marked_and_named(ferry: Team) -> None:
    files = ferry.files()

    marked = [line for line in files["ops.yml"].splitlines() if "# EDIT: " in line]
    assert [any(value in line for line in marked) for value in EDITS] == [True] * len(EDITS)
    assert len(marked) == len(EDITS)
    section = files["README.md"].partition("## Made from this template? Edit two files")[2].partition("\n## ")[0]
    assert re.findall(r"^\d\. `(\S+)`", section, re.MULTILINE) == ["ops.yml", ".github/CODEOWNERS"]


def test_second_press_changes_nothing_and_an_edited_file_is_kept(ferry: Team) -> None:
    again = ferry.world.ops("setup", "template", str(ferry.folder), "--actions", ACTIONS)
    assert (again.code, again.out) == (0, "Every file is up to date.\n")

    edit(ferry)
    before = ferry.files()
    kept = ferry.world.ops("setup", "template", str(ferry.folder), "--actions", ACTIONS, "--json")
    assert (kept.code, set(kept.result["files"].values())) == (2, {"kept"})
    assert ferry.files() == before


def test_checkout_of_backout_is_refused(ferry: Team) -> None:
    refused = ferry.world.ops("setup", "template", str(ROOT), "--actions", ACTIONS)

    assert (refused.code, "checkout of Backout" in refused.err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["actionlint", "-no-color"], ["zizmor", "--offline", "--no-progress", "-q", ".github"]]
)
def test_template_passes_linters(ferry: Team, words: list[str]) -> None:
    (ferry.folder / ".git").mkdir()  # actionlint looks for the root of a repository
    program = Path(sys.executable).parent / words[0]

    done = subprocess.run([program, *words[1:]], cwd=ferry.folder, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
