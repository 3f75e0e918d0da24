"""The `run` script without an environment: installation and error messages."""

import os
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.app.registry import button_runbooks, runbook_job_id
from tests.conftest import ROOT
from tests.support import plain_yaml
from tests.support.workflows import generated

WITHOUT_RIGHTS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
"""root without the capabilities to read and write everywhere (capabilities(7))."""


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    shutil.copy(ROOT / "run", tmp_path)
    (tmp_path / "locks").mkdir()
    for name in ("crypto", "dev", "runtime", "sandbox"):
        (tmp_path / "locks" / f"{name}.txt").write_text("")
    yield tmp_path
    for path in [tmp_path, *tmp_path.iterdir()]:
        path.chmod(0o755)


def run(checkout: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    words = arguments or ("ops", "--help")
    argv = [*(WITHOUT_RIGHTS if os.getuid() == 0 else ()), sys.executable, str(checkout / "run"), *words]
    done = subprocess.run(argv, cwd=checkout, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done


def test_folder_without_write_permission_is_named(checkout: Path) -> None:
    checkout.chmod(0o555)

    done = run(checkout)

    assert done.returncode == 1
    assert f"has no permission for {checkout}, which belongs to user {os.getuid()}. Clone the" in done.stderr
    assert "apt install" not in done.stderr


def test_environment_of_another_user_is_named(checkout: Path) -> None:
    venv = checkout / ".venv"
    venv.mkdir()
    owner = os.getuid() or 4711
    os.chown(venv, owner, -1)
    venv.chmod(0o000 if os.getuid() else 0o700)

    done = run(checkout)

    assert done.returncode == 1
    assert f"has no permission for {venv}, which belongs to user {owner}. Clone the" in done.stderr


def test_windows_is_refused_with_a_hint(checkout: Path) -> None:
    """Windows has no module fcntl."""
    without = f"import runpy, sys; sys.modules['fcntl'] = None; runpy.run_path({str(checkout / 'run')!r})"

    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("run: Windows is not supported. Install WSL (`wsl --install`)")


@pytest.mark.parametrize(
    "words", [("init", "operations"), ("rollback-worker", "--service", "shop web"), ("sandbox",), ("--version",)]
)
def test_forgotten_ops_is_named_before_any_installation(checkout: Path, words: tuple[str, ...]) -> None:
    done = run(checkout, *words)

    assert done.returncode == 1
    assert f"run: there is no tool '{words[0]}'. Did you mean: {checkout}/run ops {shlex.join(words)}" in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    "name", ["ops", "check", "pytest", "ruff", "mypy", "pip", "json.tool", "benchmarks.rollback", "venv"]
)
def test_tools_are_known(name: str) -> None:
    assert runpy.run_path(str(ROOT / "run"))["may_be_module"](name)


def test_adopt_needs_node_for_its_drill_but_recovery_does_not(checkout: Path) -> None:
    def installed() -> set[str]:
        return {path.name for path in (checkout / ".venv").glob(".*.sha256")}

    (checkout / "ops.py").write_text("")
    first = run(checkout, "ops", "rollback-worker", "--dry-run")
    assert "setting up .venv from locks/runtime.txt (once)" in first.stderr
    assert installed() == {".runtime.sha256"}
    assert "setting up" not in run(checkout, "ops", "status").stderr
    assert "setting up .venv from locks/crypto.txt (once)" in run(checkout, "ops", "rotate-secrets").stderr

    assert "setting up .venv from locks/sandbox.txt (once)" in run(checkout, "ops", "adopt").stderr
    (checkout / ".venv" / ".runtime.sha256").unlink()
    assert "setting up" not in run(checkout, "ops", "status").stderr


def test_node_is_installed_for_runbooks_that_need_it() -> None:
    """The jobs that act with Node are those of the same runbooks."""
    jobs = plain_yaml.load((generated() / ".github/workflows/recover.yml").read_text())["jobs"]
    with_node = {name for name, job in jobs.items() if "'locks': 'sandbox'" in str(job)}
    runbooks = {
        name: each for name, each in button_runbooks().items() if runbook_job_id(each, "production") in with_node
    }

    assert set(runpy.run_path(str(ROOT / "run"))["NODE"]) == {*runbooks, "adopt", "drill", "sandbox"}
    assert len(runbooks) == 1
