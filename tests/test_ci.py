"""CI in several jobs: they have every part of the tests, and the last one passes only if all of them passed."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support import plain_yaml, team_files
from tests.support.parts import Part


def jobs() -> dict[str, Any]:
    with team_files.allowed():  # a team changes this file in no copy
        found: dict[str, Any] = plain_yaml.load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    return found


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "2/", "a/b", "-1/2"])
def test_part_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(pytest.UsageError, match=re.escape(text)):
        Part.parse(text)


def test_matrix_has_every_part() -> None:
    """`Part.has` gives each test to one part of a number of parts."""
    job = jobs()["tests"]
    count = len(job["strategy"]["matrix"]["part"])

    assert job["strategy"]["matrix"]["part"] == list(range(1, count + 1))
    assert job["name"] == f"tests ${{{{ matrix.part }}}} of {count}"
    assert job["steps"][1] == {"env": {"PART": "${{ matrix.part }}"}, "run": f'exec .ci/run tests "$PART/{count}"'}
    assert sum(Part(number, count).has("tests/test_ci.py::test_one") for number in range(1, count + 1)) == 1


PASSED = ("success", "success", "success")


@pytest.mark.parametrize(
    ("results", "commits", "code"),
    [
        (PASSED, "success pull_request", 0),
        (PASSED, "skipped push", 0),
        (PASSED, "skipped pull_request", 1),
        (PASSED, "failure pull_request", 1),
        (PASSED, "cancelled push", 1),
        *[((*PASSED[:n], bad, *PASSED[n + 1 :]), "skipped push", 1) for n in range(3) for bad in ("failure", "")],
        (("success", "cancelled", "success"), "success pull_request", 1),
        (("skipped", "success", "success"), "success pull_request", 1),
    ],
)
def test_last_job_passes_only_if_every_other_one_passed(results: tuple[str, ...], commits: str, code: int) -> None:
    job = jobs()["ci"]
    others = sorted(jobs().keys() - {"ci"})
    assert (sorted(job["needs"]), job["if"]) == (others, "always()")
    environ = {name: str(text) for name, text in job["steps"][0]["env"].items()}
    of_commits, event = commits.split()
    values = dict(zip(("check", "tests", "properties", "commits"), (*results, of_commits), strict=True))
    assert sorted(values) == others
    for name, text in environ.items():
        filled = re.sub(r"\$\{\{ needs\.(\w+)\.result }}", lambda found: values[found[1]], text)
        environ[name] = filled.replace("${{ github.event_name }}", event)

    done = subprocess.run(["bash", "-e", "-c", job["steps"][0]["run"]], env={**os.environ, **environ}, check=False)

    assert done.returncode == code


@pytest.mark.parametrize(
    ("arguments", "ran"),
    [
        ([], ["check", "pytest", "pytest --version", "pytest -q -n"]),
        (["check"], ["check"]),
        (["tests"], ["pytest"]),
        (["tests", "2/6"], ["pytest --part 2/6 --messages-to messages.json"]),
        (["properties"], ["pytest --version", "pytest -q -n"]),
    ],
)
def test_script_runs_all_or_one_step(tmp_path: Path, arguments: list[str], ran: list[str]) -> None:
    for name, text in (
        (".ci/run", (ROOT / ".ci" / "run").read_text()),
        (".ci/chromium", "#!/bin/sh"),
        ("run", '#!/bin/sh\necho "$*" >> ran.txt\n'),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    subprocess.run([tmp_path / ".ci" / "run", *arguments], env={**os.environ, "HYPOTHESIS_SEED": "42"}, check=True)

    found = (tmp_path / "ran.txt").read_text().splitlines()
    assert [line.partition("-n ")[0] + "-n" * ("-n " in line) for line in found] == ran
    assert all("--hypothesis-seed=42" in line for line in found if "-n " in line)
