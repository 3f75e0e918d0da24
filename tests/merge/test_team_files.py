"""Tests pass in a copy whose ops.yml, limits.yml, README and changelog a team replaced."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.actions import tracked_files
from sandbox.actions.local_files import write_files
from tests.conftest import ROOT
from tests.support import team_files
from tests.support.configurations import ONE_WORKER
from tests.support.tracked import copy_compiled

README = "# Shopdesk operations\n\nSee the [wiki](../../wiki), and `| 0 | all is well |`.\n"
START_PROGRAMS = [
    "tests/cli",
    "tests/drills",
    "tests/setup",
    "tests/static/test_docs.py",
    "tests/sandbox/test_command.py",
]
"""Tests of programs that are started in the copy, and of the README."""
ONLY_GIT = [
    f"--ignore=tests/setup/test_{name}.py"
    for name in (
        *("account_targets", "adopt", "adopt_label_drill", "adopt_removal", "called_workflows", "doctor"),
        *("doctor_jobs", "github_reviewers", "github_setup", "init", "init_files", "init_probes", "init_questions"),
        *("measured_platform", "on_call_card", "publish_update_workflow", "release", "upgrade", "workflow_sync"),
    )
]
"""The longest files that start no program but Git, which gets the paths of folders of their own."""
IN_PROCESS = ["--deselect=tests/static/test_docs.py::test_reference_pages_are_generated_from_the_code"]
"""It starts no program, and reads every page."""


@pytest.mark.parametrize("name", sorted(team_files.REPLACED | {".github/workflows/incident.yml"}))
def test_tests_cannot_read_files_that_teams_replace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    for path in (ROOT / name, Path(name)):
        with pytest.raises(AssertionError, match="not the same in every copy"):
            path.read_bytes()
        with pytest.raises(AssertionError, match="not the same in every copy"):
            subprocess.run(["true", str(path)], check=True)
    with team_files.allowed():
        subprocess.run(["true", name], check=True)


def test_tests_pass_in_a_copy_of_a_team(tmp_path: Path) -> None:
    """Only this test covers programs that tests start; the hook above covers the test process."""
    with team_files.allowed():
        files = tracked_files(ROOT, is_excluded=team_files.REPLACED.__contains__)
    files |= {"ops.yml": ONE_WORKER.read_bytes(), "README.md": README.encode(), "CHANGELOG.md": b"# Ours\n"}
    copy = tmp_path / "copy"
    write_files(files, copy)
    copy_compiled(copy)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-pno:cacheprovider",
        "-m",
        "not slow",
        *START_PROGRAMS,
        *ONLY_GIT,
        *IN_PROCESS,
    ]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GITHUB_")}
    environ["PYTHONPATH"] = str(copy)

    done = subprocess.run(argv, cwd=copy, env=environ, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
