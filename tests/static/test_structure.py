"""Figures of `./run benchmarks.structure`, for this tree and one above the limits."""

import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.structure import count_structure
from tests.conftest import ROOT


def test_this_tree_meets_every_limit() -> None:
    figures = count_structure(ROOT)

    assert [figure for figure in figures if not figure.is_met] == []
    assert len([figure for figure in figures if figure.limit is not None]) == 6


def test_import_cycle_and_long_module_exceed_limits(tmp_path: Path) -> None:
    tree = {
        "benchmarks/structure.py": (ROOT / "benchmarks" / "structure.py").read_text(),
        "sandbox/__init__.py": "",
        "ops/__init__.py": "",
        "ops/core/__init__.py": "from ops.config import models\n",
        "ops/config/__init__.py": "",
        "ops/config/models.py": "def read():\n    from ops.config import checks\n",
        "ops/config/checks.py": "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import ops.config.names\n",
        "ops/config/names.py": "from ops.config.models import read\n" + "# one more line\n" * 500,
    }
    for name, text in tree.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.structure", "--no-trips"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "| children of ops | 2 | 33 |" in done.stdout
    assert "| ordered pairs of children of ops that import each other | 1 | 206 |" in done.stdout
    assert "ops.config.checks ↔ ops.config.models ↔ ops.config.names" in done.stdout
    assert "ops.config.names (501)" in done.stdout
    assert done.stderr.strip() == "Above the limit: file circles in ops and sandbox, modules over 500 lines"


def test_architecture_page_names_functions_of_the_package() -> None:
    text = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    rows = re.findall(r"^\| \d+ \| `(\w+)` \|.*\| ((?:`\w+` ?)+)\|$", text, re.MULTILINE)

    wrong = [
        f"{package} has no function {name}"
        for package, names in rows
        for name in re.findall(r"\w+", names)
        if not any(f"def {name}(" in path.read_text() for path in (ROOT / "ops" / package).rglob("*.py"))
    ]
    assert wrong == []
    assert len(rows) > 20


def test_one_module_decides_whether_a_response_is_evidence() -> None:
    """A second place that reads these headers would judge a response by rules of its own."""
    deciding = re.compile(r"[\"'](cf-ray|cf-mitigated|cf-cache-status|age)[\"']")
    packages = ("drills", "engine", "limits", "maintenance", "pages", "probes", "runbooks", "switches", "watch")
    files = [path for each in packages for path in (ROOT / "ops" / each).rglob("*.py")]

    assert [path.name for path in files if deciding.search(path.read_text())] == ["edge_answer.py"]
