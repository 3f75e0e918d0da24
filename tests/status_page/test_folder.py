"""A build replaces the page as a whole, or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest

from ops.core.errors import ConfigError
from ops.status_page.folder import replace_folder
from tests.conftest import ROOT
from tests.status_page import killed_builds
from tests.status_page.killed_builds import NEW, OLD


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_killed_build_leaves_the_former_page_whole(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", killed_builds.__name__, str(tmp_path)], cwd=ROOT, check=True)
    for number in range(len(NEW) + 1):
        folder = tmp_path / str(number) / "public"
        assert read(folder) == OLD, number
        replace_folder(folder, NEW)
        assert read(folder) == NEW


def test_files_that_the_new_page_lacks_are_gone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "public"
    replace_folder(folder, NEW)

    replace_folder(folder, OLD)

    assert read(folder) == OLD
    assert [each.name for each in folder.parent.iterdir()] == ["public"]
    assert folder.stat().st_mode & 0o005 == 0o005  # a web server reads it


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "public"
    folder.mkdir()

    replace_folder(folder, OLD)

    assert read(folder) == OLD


@pytest.mark.parametrize("name", ["public/notes.txt", "public"])
def test_a_folder_with_other_files_is_refused_and_kept(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")

    with pytest.raises(ConfigError):
        replace_folder(tmp_path / "public", OLD)

    assert path.read_text() == "mine"
    assert len([*tmp_path.iterdir()]) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    with pytest.raises(ConfigError, match="file/public"):
        replace_folder(tmp_path / "file" / "public", OLD)


def test_a_link_to_the_page_stays(tmp_path: Path) -> None:
    replace_folder(tmp_path / "real", OLD)
    (tmp_path / "public").symlink_to("real")

    replace_folder(tmp_path / "public", NEW)

    assert (tmp_path / "public").is_symlink()
    assert read(tmp_path / "real") == NEW
