"""Artifacts of the local runner: files and folders go from one job to a later one of the same run."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from sandbox.actions.local_files import DOWNLOAD, UPLOAD, write_artifact_actions


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
