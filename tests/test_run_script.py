"""`run` before it has an environment: messages where it may not write, and on Windows."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

WITHOUT_RIGHTS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
"""root without the capabilities that let it read and write everywhere (capabilities(7))."""


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    shutil.copy(ROOT / "run", tmp_path)
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "sandbox.txt").write_text("")
    yield tmp_path
    for path in [tmp_path, *tmp_path.iterdir()]:
        path.chmod(0o755)


def run(checkout: Path) -> "subprocess.CompletedProcess[str]":
    argv = [*(WITHOUT_RIGHTS if os.getuid() == 0 else ()), sys.executable, str(checkout / "run"), "ops", "--help"]
    done = subprocess.run(argv, cwd=checkout, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done


def test_a_folder_without_write_permission_is_named(checkout: Path) -> None:
    checkout.chmod(0o555)

    done = run(checkout)

    assert done.returncode == 1
    assert f"has no permission for {checkout}, which belongs to user {os.getuid()}. Clone the" in done.stderr
    assert "apt install" not in done.stderr


def test_an_environment_of_another_user_is_named(checkout: Path) -> None:
    venv = checkout / ".venv"
    venv.mkdir()
    owner = os.getuid() or 4711
    os.chown(venv, owner, -1)
    venv.chmod(0o000 if os.getuid() else 0o700)

    done = run(checkout)

    assert done.returncode == 1
    assert f"has no permission for {venv}, which belongs to user {owner}. Clone the" in done.stderr


def test_windows_is_refused_with_a_way_out(checkout: Path) -> None:
    """Windows has no module fcntl."""
    without = f"import runpy, sys; sys.modules['fcntl'] = None; runpy.run_path({str(checkout / 'run')!r})"

    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("run: Windows is not supported. Install WSL (`wsl --install`)")
