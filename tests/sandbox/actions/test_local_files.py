"""Files in place of checkout and artifacts: a whole repository, and files for a later job."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from sandbox.actions.local_files import DOWNLOAD, UPLOAD, write_artifact_actions, write_files


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_checkout_is_a_repository_with_one_pack(tmp_path: Path) -> None:
    files = {f"data/{number}.txt": f"content {number}\n".encode() for number in range(200)}
    folder = tmp_path / "repository"

    write_files({**files, "go": b"#!/bin/sh\n", "empty": b"", ".gitignore": b"data\n"}, folder)

    git(folder, "fsck", "--strict")
    assert git(folder, "status", "--porcelain") == ""
    assert git(folder, "show", "HEAD:data/7.txt") == "content 7\n"
    assert git(folder, "ls-files", "--stage", "go").startswith("100755")
    assert len(git(folder, "ls-files").splitlines()) == 203
    assert len([path for path in (folder / ".git").rglob("*") if path.is_file()]) < 20


def run(action: Path, run_id: str, **inputs: str) -> "subprocess.CompletedProcess[str]":
    """Run the only step of an action, with its expressions filled as act does."""
    (step,) = json.loads((action / "action.yml").read_text())["runs"]["steps"]
    environ: dict[str, Any] = dict(os.environ)
    for name, value in step["env"].items():
        filled = value.replace("${{ github.run_id }}", run_id)
        for given in ("name", "path", "if-no-files-found"):
            filled = filled.replace(f"${{{{ inputs.{given} }}}}", inputs.get(given.replace("-", "_"), ""))
        environ[name] = filled
    return subprocess.run(["sh", "-e", "-c", step["run"]], env=environ, capture_output=True, text=True, check=False)


def test_file_and_folder_are_handed_on_within_a_run(tmp_path: Path) -> None:
    actions = write_artifact_actions(tmp_path / "actions")
    (tmp_path / "built" / "assets").mkdir(parents=True)
    (tmp_path / "built" / "assets" / "app.js").write_text("app")

    for name, path in (("file", "built/assets/app.js"), ("folder", "built")):
        assert run(actions[UPLOAD], "7", name=name, path=str(tmp_path / path)).returncode == 0
        assert run(actions[DOWNLOAD], "7", name=name, path=str(tmp_path / "got" / name)).returncode == 0

    assert (tmp_path / "got" / "file" / "app.js").read_text() == "app"
    assert (tmp_path / "got" / "folder" / "assets" / "app.js").read_text() == "app"
    other = run(actions[DOWNLOAD], "8", name="file", path=str(tmp_path / "other"))
    assert (other.returncode, other.stdout) == (1, "Artifact not found for name: file\n")


def test_missing_file_fails_only_if_asked(tmp_path: Path) -> None:
    upload = write_artifact_actions(tmp_path / "actions")[UPLOAD]
    missing = str(tmp_path / "missing")

    assert run(upload, "7", name="x", path=missing).returncode == 0
    assert run(upload, "7", name="x", path=missing, if_no_files_found="error").returncode == 1
