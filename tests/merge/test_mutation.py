"""`./run benchmarks.mutation`, in a small repository with one function."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCE = """\
def price(size):
    if size < 2:
        return 1
    return size * 3
"""
TESTS = """\
import os
import pytest
from ops.shop import price

@pytest.mark.parametrize("size", [1, 4], ids=["one bread", "four breads"])
def test_price(size):
    assert price(size) == {1: 1, 4: 12}[size]

@pytest.mark.slow
def test_price_of_two():
    assert price(2) == 6
    assert "BROKEN" not in os.environ
"""
CONFIG = """\
[pytest]
pythonpath = .
markers = slow
addopts = --disable-plugin-autoload -pxdist -ppytest_randomly -nauto
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=ignored)
    for name, text in {
        "ops/shop.py": SOURCE,
        "tests/test_shop.py": TESTS,
        "pytest.ini": CONFIG,
        ".gitignore": ".mutation/\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "all")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    program = shutil.which("git")
    assert program
    subprocess.run([program, "-C", str(folder), *arguments], check=True)


def mutation(tree: Path, until: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "benchmarks.mutation", "--until", until]
    given = {"PATH": os.environ["PATH"], "PYTEST_XDIST_AUTO_NUM_WORKERS": "1", **environ}
    return subprocess.run(argv, cwd=tree, env=given, capture_output=True, text=True, timeout=120, check=False)


def test_survivors_go_on_to_the_next_set_and_other_answers_are_kept(tree: Path) -> None:
    near, merge, again = mutation(tree, "near"), mutation(tree, "merge"), mutation(tree, "near")

    assert near.returncode == 1, near.stderr
    answers = [line.split()[0] for line in near.stdout.splitlines()[:-2]]
    assert set(answers) == {"near", "survived"}
    assert (merge.returncode, again.returncode) == (0, 0), merge.stdout + merge.stderr
    assert [line.split()[0] for line in merge.stdout.splitlines()[:-2]] == [
        "merge" if answer == "survived" else answer for answer in answers
    ]
    assert again.stdout == merge.stdout
    assert "running the fast set once" in near.stderr
    assert "running the fast set once" not in merge.stderr
    assert (tree / "ops/shop.py").read_text() == SOURCE


def test_test_that_fails_without_a_mutant_notices_none(tree: Path) -> None:
    done = mutation(tree, "merge", BROKEN="1")

    assert done.returncode == 1
    assert "tests/test_shop.py::test_price_of_two fails without a mutant too" in done.stderr
