"""Files that `ops init` writes, and what it does with existing ones."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.setup.test_init import MOST_FILES, PLACE, config, shop
from tests.support.adoption import (
    ACTIONS,
    READER,
    Team,
)

__all__ = ["shop"]


@pytest.fixture
def written(shop: Team) -> Team:
    outcome = shop.init("--owner", "@shopdesk/on-call", "--token-location", PLACE)
    assert outcome.code == 0, outcome.err
    return shop


def test_repository_is_small_and_valid(written: Team) -> None:
    assert len(written.files()) <= MOST_FILES
    checked = written.ops("config", "check")
    assert (checked.code, "token_location" in checked.err) == (0, False)
    assert written.ops("workflows", "sync", "--check").code == 0
    assert {"ops.yml", "README.md", ".gitignore", ".github/CODEOWNERS", ".github/dependabot.yml"} < {*written.files()}
    assert "schedule:" not in "".join(text for name, text in written.files().items() if "workflows/" in name)
    assert "\n* @shopdesk/on-call\n" in written.files()[".github/CODEOWNERS"]
    assert "limits.yml" not in written.files()


def test_token_is_refused_as_its_place(shop: Team) -> None:
    outcome = shop.init("--token-location", "x" * 40)
    assert (outcome.code, "1Password: " in outcome.err) == (2, True)
    assert "x" * 40 not in outcome.out + outcome.err


@pytest.mark.slow
def test_readme_fits_on_a_screen(written: Team) -> None:
    readme = written.files()["README.md"]

    assert len(readme.splitlines()) <= 40
    for text in ("or type the command", "rollback-worker", "`CLOUDFLARE_API_TOKEN`: 1Password: cloudflare-recovery"):
        assert text in readme
    assert config(written)["environments"]["production"]["token_location"] == "1Password: cloudflare-recovery"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["actionlint", "-no-color", "-oneline"],
        ["zizmor", "--offline", "--no-progress", "-q", ".github"],
    ],
    ids=lambda command: command[0],
)
def test_files_pass_linters(written: Team, command: list[str]) -> None:
    (written.folder / ".git").mkdir()  # actionlint looks for the root of a repository
    program = Path(sys.executable).parent / command[0]

    done = subprocess.run([program, *command[1:]], cwd=written.folder, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_second_run_changes_nothing(written: Team) -> None:
    before = {path: path.stat().st_mtime_ns for path in written.folder.rglob("*")}

    outcome = written.init()

    assert (outcome.code, outcome.out.splitlines()[-1]) == (0, "Every file is up to date.")
    assert {path: path.stat().st_mtime_ns for path in written.folder.rglob("*")} == before


@pytest.mark.slow
def test_changed_file_is_shown_and_kept(written: Team) -> None:
    written.config.write_text(written.config.read_text().replace("status: 200", "status: 204"))
    (written.folder / "README.md").write_text("Ours\n")
    (written.folder / ".gitignore").unlink()

    outcome = written.init()

    assert outcome.code == 2
    assert "kept: ops.yml" in outcome.out
    assert "kept: README.md" in outcome.out
    assert "written: .gitignore" in outcome.out
    assert "-              status: 204" in outcome.out
    assert "To overwrite: --force ops.yml --force README.md" in outcome.out
    assert "status: 204" in written.config.read_text()
    assert (written.folder / "README.md").read_text() == "Ours\n"


@pytest.mark.slow
def test_force_overwrites_only_the_named_file(written: Team) -> None:
    written.config.write_text(written.config.read_text().replace("status: 200", "status: 204"))
    (written.folder / "README.md").write_text("Ours\n")

    outcome = written.init("--force", "README.md")

    assert "overwritten: README.md" in outcome.out
    assert "rollback-worker" in written.files()["README.md"]
    assert "status: 204" in written.config.read_text()


def test_other_files_follow_the_kept_configuration(written: Team) -> None:
    """A service that the team removed from ops.yml is in no other file."""
    text = written.config.read_text()
    kept = text[: text.index("      shop-api:")] + text[text.index("\ngithub:") :]
    written.config.write_text(kept)
    (written.folder / "README.md").unlink()

    assert written.init().code == 2
    assert "shop-api" not in written.files()["README.md"]


@pytest.mark.slow
def test_broken_configuration_is_not_overwritten(written: Team) -> None:
    written.config.write_text("environments: 1\n")

    outcome = written.init()

    assert outcome.code == 2
    assert "ops.yml has 1 problem" in outcome.err
    assert written.config.read_text() == "environments: 1\n"


@pytest.mark.sampled
@pytest.mark.parametrize("link", [".github", ".github/workflows", ".github/workflows/incident.yml"])
def test_link_out_of_the_folder_is_refused(shop: Team, tmp_path: Path, link: str) -> None:
    (shop.folder / link).parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (shop.folder / link).symlink_to(tmp_path / "elsewhere" / ("new.yml" if link.endswith(".yml") else ""))

    outcome = shop.init()

    assert outcome.code == 2
    assert re.match(rf"error: {re.escape(link)}\S* .*{re.escape(str(shop.folder))}", outcome.err)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.slow
def test_copy_of_backout_keeps_its_own_files(shop: Team) -> None:
    for name in ("ops/__init__.py", "templates/workflows/x.j2", "README.md"):
        (shop.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (shop.folder / name).write_text("Ours\n")

    arguments = ["init", str(shop.folder), "--owner", "@shopdesk/on-call"]
    outcome = shop.world.ops(*arguments, CLOUDFLARE_API_TOKEN=READER, CLOUDFLARE_ACCOUNT_ID=None)

    assert outcome.code == 0, outcome.err
    assert "actions" not in config(shop).get("github", {})
    assert "`./run ops config check`" in shop.config.read_text()
    assert "uses: ./.github/actions/run" in shop.files()[".github/workflows/recover.yml"]
    assert {name for name in shop.files() if not name.startswith((".github/", "ops/", "templates/"))} == {
        "README.md",
        "ops.yml",
    }


def test_result_as_json(shop: Team) -> None:
    result = shop.init("--json").result

    assert result["environments"]["production"]["services"]["shop-web"] == {
        "worker": "shop-web",
        "url": "https://www.shopdesk.example",
        "probe": "/health",
    }
    assert result["files"]["ops.yml"] == "written"
    assert result["exit_code"] == 0
    assert any(line.startswith("shop-mailer:") for line in result["unchecked"])


@pytest.mark.slow
def test_reads_only(shop: Team) -> None:
    assert shop.init().code == 0
    assert {request.method for request in shop.world.sandbox.requests} == {"GET"}
    assert shop.world.sandbox.unknown_requests == []


def test_folder_in_place_of_a_file_is_refused(shop: Team) -> None:
    (shop.folder / ".gitignore").mkdir(parents=True)

    outcome = shop.init()

    assert outcome.code == 2
    assert ".gitignore" in outcome.err


def test_file_in_place_of_a_folder_is_refused(shop: Team) -> None:
    shop.folder.mkdir()
    (shop.folder / ".github").write_text("ours")

    outcome = shop.init()

    assert outcome.code == 2
    assert ".github/" in outcome.err


def test_folder_that_cannot_be_written_is_named(shop: Team) -> None:
    outcome = shop.world.ops("init", "/proc/operations", "--actions", ACTIONS, CLOUDFLARE_API_TOKEN=READER)

    assert outcome.code == 2
    assert "/proc/operations/" in outcome.err
