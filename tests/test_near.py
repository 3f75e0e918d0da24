"""`./run tests.near` begins with the tests near a change, and says what it did not run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.near import fast_files, sort_by_nearness


@pytest.mark.parametrize(
    ("changed", "first"),
    [
        (["ops/gate/attempts.py"], "tests/gate/test_attempts.py"),
        (["ops/runbooks/rollback_pages.py"], "tests/runbooks/test_rollback_pages.py"),
        (["ops/gate/attempts.py", "tests/limits/test_diff.py"], "tests/limits/test_diff.py"),
        (["ops/render/__init__.py"], "tests/render/test_markdown.py"),
    ],
)
def test_nearest_file_is_first(changed: list[str], first: str) -> None:
    assert sort_by_nearness(fast_files(), changed)[0] == first


def test_slow_files_are_left_out() -> None:
    files = fast_files()

    assert "tests/test_near.py" in files
    assert not any(file.startswith(("tests/merge/", "tests/static/", "tests/acceptance/")) for file in files)


CONFTEST = """
from pathlib import Path
ROOT = Path(__file__).parent.parent
SLOW_FOLDERS, collect_ignore = ("merge",), ["static"]
"""
SETTINGS = """
[tool.pytest.ini_options]
addopts = ["--disable-plugin-autoload", "-pxdist", "-n2", "--import-mode=importlib"]
pythonpath = ["."]
markers = ["slow: takes seconds"]
"""
TEST = """
import time
import pytest
from ops import {0}
@pytest.mark.parametrize("number", range(20))
def test_{0}(number):
    time.sleep(0.02)
    assert {0}.COUNT == 1
@pytest.mark.slow
def test_slow():
    raise AssertionError
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with two modules and their tests."""
    files = {"tests/conftest.py": CONFTEST, "tests/__init__.py": "", "pyproject.toml": SETTINGS}
    for name in ("ferries", "pets"):
        files |= {f"ops/{name}.py": "COUNT = 1\n", f"tests/{name}/test_{name}.py": TEST.format(name)}
    files["tests/near.py"] = (ROOT / "tests" / "near.py").read_text()
    files["tests/merge/test_pets.py"] = "raise AssertionError\n"
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@ferry.example"]
        subprocess.run(["git", *who, *command], cwd=tmp_path, check=True)
    return tmp_path


def near(tree: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-B", "-m", "tests.near", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(tree)}
    return subprocess.run(argv, cwd=tree, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_first_failure_near_a_change_ends_the_run(tree: Path) -> None:
    (tree / "ops/pets.py").write_text("COUNT = 2\n")

    done = near(tree)

    assert done.returncode in {1, 2}, done.stdout + done.stderr  # pytest-xdist: interrupted by the first failure
    assert "FAILED tests/pets/test_pets.py::test_pets[0]" in done.stdout
    assert re.search(r"(3[5-9]) of 40 fast tests in the 2 nearest of 2 files did not run", done.stdout)


def test_run_ends_when_the_time_is_over(tree: Path) -> None:
    (tree / "ops/boats.py").touch()

    done = near(tree, "--seconds", "0")

    assert done.returncode == 2, done.stdout + done.stderr
    assert "the time is over" in done.stdout
    assert "38 of 40 fast tests in the 2 nearest of 2 files did not run" in done.stdout


def test_all_near_tests_pass(tree: Path) -> None:
    (tree / "ops/pets.py").write_text("COUNT = 1  # changed\n")

    done = near(tree, "HEAD")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of 40 fast tests in the 2 nearest of 2 files did not run" in done.stdout


@pytest.mark.parametrize(("arguments", "named"), [([], "HEAD~1"), (["HEAD~7"], "HEAD~7")])
def test_nothing_to_compare_is_an_error(tree: Path, arguments: list[str], named: str) -> None:
    done = near(tree, *arguments)

    assert done.returncode == 1
    assert named in done.stderr
