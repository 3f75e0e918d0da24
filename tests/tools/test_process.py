"""Child processes: environment, exit code and end with their parent."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from ops.core.redaction import Redactor
from ops.core.threads import start_call
from ops.tools import process
from tests.conftest import ROOT
from tests.support.commands import has_ended

RUN = """
import signal, sys, threading
from pathlib import Path
from ops.core.redaction import Redactor
from ops.tools import process

def run(program):
    here = Path.cwd()
    process.run_program(["sh", "-c", program], environ={}, timeout=60, redactor=Redactor(), folder=here)

def busy():
    while True:
        pass
"""
SLOWLY = """
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where the tests were started
sys.setswitchinterval(0.05)
threading.Thread(target=busy, daemon=True).start()
"""
"""Each time that it waits for anything it goes on 50 ms later: a program has begun long before anything is noted of it."""
LATE = """
with process.end_programs():
    pass
threading.Thread(target=run, args=[sys.argv[1]], daemon=True).start()
while not Path("pid").exists():
    pass
"""
"""A probe's thread that comes to its program when the run has ended."""


def run_in_python(script: str, program: str, folder: Path) -> int:
    """Run a process that runs the shell program, and return its exit code; the program writes its PID to `pid`."""
    argv = [sys.executable, "-c", RUN + script, program]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, cwd=folder, env=environ, capture_output=True, timeout=60, check=False).returncode


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_program_that_kills_its_parent_ends(number: signal.Signals, tmp_path: Path) -> None:
    program = f"echo $$ >pid; kill -{number.value} $PPID; exec sleep 600"

    code = run_in_python(SLOWLY + "run(sys.argv[1])", program, tmp_path)

    assert code == -number
    assert has_ended(int((tmp_path / "pid").read_text()))


@pytest.mark.slow
def test_program_started_by_a_late_thread_ends(tmp_path: Path) -> None:
    assert run_in_python(LATE, "echo $$ >new; mv new pid; exec sleep 600", tmp_path) == 0

    assert has_ended(int((tmp_path / "pid").read_text()))


@pytest.mark.slow
def test_end_of_one_run_leaves_the_programs_of_another(tmp_path: Path) -> None:
    """Two runs of one process, each with a program in a thread and with scratch folders."""
    pid, other = tmp_path / "pid", tmp_path / "other"

    def start(name: Path) -> Future[process.FinishedProcess]:
        argv = ["sh", "-c", f"echo $$ >{name}.new; mv {name}.new {name}; exec sleep 600"]
        ended = start_call(
            lambda: process.run_program(argv, environ={}, timeout=60, redactor=Redactor(), folder=tmp_path)
        )
        while not name.exists():
            time.sleep(0.01)
        return ended

    folders = process.scratch_folder(), process.scratch_folder()
    with process.end_programs():
        mine, folder = start(pid), folders[0].__enter__()
        with process.end_programs():
            ended, left = start(other), folders[1].__enter__()
        assert (ended.result(timeout=60).code, left.exists()) == (-signal.SIGKILL, False)
        assert (mine.done(), has_ended(int(pid.read_text())), folder.exists()) == (False, False, True)
    assert (mine.result(timeout=60).code, folder.exists()) == (-signal.SIGKILL, False)


@pytest.mark.slow
def test_program_gets_folder_environment_and_empty_input(tmp_path: Path) -> None:
    environ = {"LC_ALL": "C.UTF-8", "NAME": "two  words\n'$x'", "PATH": os.environ["PATH"]}
    script = "import os, sys; print(sorted(os.environ.items()), os.getcwd(), sys.stdin.read(), sys.argv[1:])"
    argv = [sys.executable, "-c", script, "", "-x", "$0 *\n"]

    done = process.run_program(argv, environ=environ, timeout=60, redactor=Redactor(), folder=tmp_path)

    assert done == process.FinishedProcess(0, f"{sorted(environ.items())} {tmp_path}  {argv[3:]}\n")


@pytest.mark.slow
@pytest.mark.parametrize(("end", "code"), [("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM), ("exit 127", 127)])
def test_exit_code_is_passed_through(end: str, code: int, tmp_path: Path) -> None:
    done = process.run_program(["sh", "-c", end], environ={}, timeout=60, redactor=Redactor(), folder=tmp_path)

    assert done == process.FinishedProcess(code, "")


@pytest.mark.slow
def test_program_is_found_in_its_folder_or_path(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "here"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)

    for argv, path in (["bin/here"], ""), ([str(program)], ""), (["here"], "bin"), (["here"], str(program.parent)):
        done = process.run_program(argv, environ={"PATH": path}, timeout=60, redactor=Redactor(), folder=tmp_path)

        assert done == process.FinishedProcess(0, "found\n")


@pytest.mark.slow
def test_missing_interpreter_is_reported_as_in_a_shell(tmp_path: Path) -> None:
    program = tmp_path / "script"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)

    done = process.run_program([str(program)], environ={}, timeout=60, redactor=Redactor(), folder=tmp_path)

    assert done.code in {126, 127}
    assert str(program) in done.output


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("argv", "path", "error"),
    [
        ("bin/none", "", FileNotFoundError),
        ("none", "bin", FileNotFoundError),
        ("./bin", "", PermissionError),
        ("bin/text", "", PermissionError),
    ],
)
def test_start_failure_names_the_program(argv: str, path: str, error: type[OSError], tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "text").write_text("text")

    with pytest.raises(error) as caught:
        process.run_program([argv], environ={"PATH": path}, timeout=60, redactor=Redactor(), folder=tmp_path)

    assert caught.value.filename == argv
