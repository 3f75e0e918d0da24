"""Windows is refused in one sentence, before a module that it lacks is imported."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

AS_ON_WINDOWS = """
import runpy, signal, sys

sys.platform = "win32"
for name in ("fcntl", "pwd", "resource", "termios"):
    sys.modules[name] = None
del signal.pthread_sigmask, signal.SIGHUP
sys.argv = sys.argv[1:]
"""
MODULE = "runpy.run_module('ops', run_name='__main__', alter_sys=True)"
SCRIPT = "from ops.__main__ import main; main()"  # of pipx


@pytest.mark.parametrize("start", [MODULE, SCRIPT])
@pytest.mark.parametrize("arguments", [("--help",), ("rollback-worker", "--service", "till", "--yes")])
def test_windows_is_refused(start: str, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AS_ON_WINDOWS + start, "ops", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: Windows is not supported. Install WSL (`wsl --install`), and run the same command in its shell.\n"
    )
