"""`./run check`, with stand-ins for its tools."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "check", tmp_path / "check", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("ruff", "mypy", "ops", "pytest"):
        (tmp_path / f"{name}.py").write_text(f"import sys\nprint('{name} ran', *sys.argv[1:])\n")
    return tmp_path


def check(tree: Path) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "check"]
    return subprocess.run(argv, cwd=tree, capture_output=True, text=True, timeout=60, check=False)


def test_passed_checks_return_zero(tree: Path) -> None:
    done = check(tree)

    assert (done.returncode, done.stderr) == (0, "")


def test_every_check_runs_and_the_first_failed_one_decides(tree: Path) -> None:
    for name, code in (("mypy", 2), ("pytest", 1)):
        (tree / f"{name}.py").write_text(f"import sys\nprint('{name} failed')\nsys.exit({code})\n")

    done = check(tree)

    assert done.returncode == 2
    assert [word for word in ("ruff ran check", "ops ran workflows", "pytest failed") if word not in done.stdout] == []
    assert done.stderr.splitlines() == [
        "check: failed. Repeat it: ./run mypy",
        "check: failed. Repeat it: ./run pytest -q -n2 tests/static",
    ]
