"""Weekly tests: each step prints what repeats it, and a failed one is in the issue."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support import plain_yaml, team_files

COMMANDS = {
    "order": "./run pytest --randomly-seed={}",
    "properties": "./run pytest -m hypothesis --hypothesis-profile=hunt --hypothesis-seed={}",
    "schedules": "./run benchmarks.schedules --seed {} --count 500",
    "faults": "./run benchmarks.former_faults",
    "fixes": "./run benchmarks.security_fixes",
    "verdicts": "./run benchmarks.verdicts",
    "edges": "./run benchmarks.edges",
    "mutation": "./run benchmarks.mutation --seed {} --count 60 --until merge",
}
LINES = {
    "order": "FAILED tests/a.py::test_a - assert 1 == 2",
    "properties": "ERROR tests/b.py",
    "schedules": "FAILED restores: on runs before its write 1 of restore\nweekly: repeat it with ./run x --only 7",
    "faults": "survived     9 s  already-off",
    "fixes": "survived     9 s  own-review  tests/a.py::test_a\ntoo wide     9 s  host-of-token  tests/a.py::test_a",
    "verdicts": "Error: no requests (healthy): relapse 2.0 %",
    "edges": "Error: half of the machines need 10 s: asked 9 %, recorded 0 %",
    "mutation": "survived     9 s  ops/a.py\nError: tests/a.py::test_a fails without a mutant too.",
}


def workflow() -> dict[Any, Any]:
    with team_files.allowed():  # a team changes this file in no copy
        parsed: dict[Any, Any] = plain_yaml.load((ROOT / ".github/workflows/weekly.yml").read_text())
    return parsed


def write_program(path: Path, *lines: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_program(tmp_path / ".ci/chromium")
    shutil.copy(ROOT / ".ci/weekly", tmp_path / ".ci")
    return tmp_path


def weekly(tree: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    argv = [str(tree / ".ci/weekly"), *arguments]
    given = {**os.environ, **environ}
    return subprocess.run(argv, cwd=tree, env=given, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("step", COMMANDS)
def test_step_runs_and_prints_the_command_with_a_fresh_seed(tree: Path, step: str) -> None:
    write_program(tree / "run", 'echo "./run $*" >> ran.txt')

    done = [weekly(tree, step) for _ in range(2)]

    assert [each.returncode for each in done] == [0, 0]
    shown = [re.findall(rf"^weekly: {step} with seed (\d+): (.+)$", each.stdout, re.MULTILINE) for each in done]
    ((first, _),), ((second, _),) = shown
    assert first != second
    assert shown == [[(seed, COMMANDS[step].format(seed))] for seed in (first, second)]
    assert (tree / "ran.txt").read_text().splitlines() == [command for ((_, command),) in shown]
    assert not (tree / "weekly.md").exists()


@pytest.mark.parametrize("step", COMMANDS)
def test_failed_step_writes_what_failed_and_how_to_repeat_it(tree: Path, step: str) -> None:
    write_program(tree / "run", "echo . . .", f"echo '{LINES[step]}'", "exit 3")

    done = weekly(tree, step, "42")

    assert done.returncode == 3
    assert f"Repeat it: {COMMANDS[step].format(42)}" in done.stderr
    written = (tree / "weekly.md").read_text()
    assert f"### {step}, seed 42" in written
    assert f"```\n{COMMANDS[step].format(42)}\n```" in written
    assert f"~~~\n{LINES[step]}\n~~~" in written


def test_step_without_an_end_is_reported(tree: Path) -> None:
    write_program(tree / "run", "exec sleep 30")

    done = weekly(tree, "order", "42", LONGEST="0.2s")

    assert done.returncode == 124
    assert "no end after 0.2s" in (tree / "weekly.md").read_text()


def test_unknown_step_is_refused(tree: Path) -> None:
    assert [weekly(tree).returncode, weekly(tree, "hunt").returncode] == [2, 2]


def test_workflow_runs_three_orders_and_every_other_step() -> None:
    steps = [each["step"] for each in workflow()["jobs"]["tests"]["strategy"]["matrix"]["include"]]

    assert sorted(steps) == [
        "edges",
        "faults",
        "fixes",
        "mutation",
        "order",
        "order",
        "order",
        "properties",
        "schedules",
        "verdicts",
    ]


@pytest.mark.parametrize(("title", "written"), [("# Backout", "is_own=true\n"), ("# Shopdesk operations", "")])
def test_copy_of_a_team_runs_no_weekly_tests(tmp_path: Path, title: str, written: str) -> None:
    script = workflow()["jobs"]["place"]["steps"][-1]["run"]
    (tmp_path / "README.md").write_text(f"{title}\n")
    output = tmp_path / "output"
    output.touch()
    environ = {**os.environ, "GITHUB_OUTPUT": str(output)}

    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=environ, check=True)

    assert output.read_text() == written
    for name in ("tests", "report"):
        assert "needs.place.outputs.is_own == 'true'" in workflow()["jobs"][name]["if"]


@pytest.mark.parametrize("reports", [("order", "mutation"), ()], ids=["two failed", "one was stopped"])
def test_issue_has_the_report_of_each_failed_step(tmp_path: Path, reports: tuple[str, ...]) -> None:
    script = workflow()["jobs"]["report"]["steps"][-1]["run"]
    write_program(tmp_path / "bin/gh", 'for each in "$@"; do echo "$each"; done > asked.txt')
    for step in reports:
        folder = tmp_path / "failed" / f"failed-{step}-1"
        folder.mkdir(parents=True)
        (folder / "weekly.md").write_text(f"### {step}, seed 42\n")
    environ = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "RUN": "https://x.example/runs/7", "NUMBER": "3"}

    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=environ, check=True)

    asked = (tmp_path / "asked.txt").read_text().splitlines()
    assert asked == ["issue", "create", "--title", "Weekly tests 3 failed", "--body-file", "body.md"]
    body = (tmp_path / "body.md").read_text()
    assert body.startswith("Steps of the [weekly tests](https://x.example/runs/7) failed.")
    assert sorted(re.findall(r"### (\w+), seed 42", body)) == sorted(reports)
