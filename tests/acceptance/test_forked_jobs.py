"""Forked commands of jobs: what they show is that of Python itself, and another program starts Python."""

import json
import os
import select
import subprocess
from contextlib import suppress
from pathlib import Path

from ops.tools import own_program
from tests.support.forked_jobs import packages_in

SETUP, RUN = ".github/actions/setup/install.py", ".github/actions/run/command.py"
STARTED = "import time:"
"""Python shows it at its start with PYTHONPROFILEIMPORTTIME."""


def test_job_of_this_program_is_forked_and_of_another_is_not(pip_cache: Path, tmp_path: Path) -> None:
    python, program = pip_cache / "ops-programs" / "python3", tmp_path / "program"
    own_program.write_program(program)
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OPS_WHEELS": str(pip_cache / "ops-wheels")}
    packages = tmp_path / "packages"
    lock = ("--lock", str(program / "locks" / "runtime.txt"))
    setup = [str(python), "-I", str(program / SETUP), "install", *lock, "--target", str(packages)]

    def run(command: str) -> tuple[int, str, bool]:
        paths = {"PYTHONPATH": f"{packages}:{program}", "GITHUB_WORKSPACE": str(tmp_path)}
        more = {"OPS_COMMAND": command, "OPS_INPUTS": "{}", "PYTHONPROFILEIMPORTTIME": "1"}
        argv = [str(python), "-P", "-B", str(program / RUN)]
        done = subprocess.run(
            argv,
            env={**environ, **paths, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        lines = [line for line in done.stderr.splitlines() if not line.startswith(STARTED)]
        return done.returncode, "\n".join([done.stdout, *lines]), STARTED in done.stderr

    subprocess.run(setup, env=environ, check=True)
    forked = run("config check"), run("nothing")
    (program / "ops" / "added.py").write_text("")
    started = run("config check"), run("nothing")

    assert packages.is_symlink()
    assert [each[2] for each in (*forked, *started)] == [False, False, True, True]
    assert [each[:2] for each in forked] == [each[:2] for each in started]
    assert (forked[0][0], forked[1][0]) == (2, 1)
    assert "ops.yml" in forked[0][1]
    assert 'no command of this name: "nothing"' in forked[1][1]


def test_command_ends_with_its_step(pip_cache: Path, plain_pip_cache: Path, tmp_path: Path) -> None:
    """A runner is lost while the command writes to the summary of its job."""
    program, summary = pip_cache / "program", tmp_path / "summary"
    os.mkfifo(summary)
    reader = os.open(summary, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(summary, os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while os.write(writer, bytes(4096)):
            pass
    path = f"{packages_in(plain_pip_cache)}:{program}"
    environ = {"PYTHONPATH": path, "GITHUB_WORKSPACE": str(tmp_path), "PATH": os.environ["PATH"]}
    environ |= {"OPS_COMMAND": "config check", "OPS_INPUTS": json.dumps({"generated-by": "0.0.1"})}
    argv = [str(pip_cache / "ops-programs" / "python3"), "-P", "-B", str(program / RUN)]
    asked = {**environ, "GITHUB_STEP_SUMMARY": str(summary), "PYTHONPROFILEIMPORTTIME": "1"}

    with subprocess.Popen(argv, env=asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0) as client:
        assert client.stdout
        said = client.stdout.readline()
        client.kill()
        is_over = bool(select.select([client.stdout], [], [], 20)[0]) and not client.stdout.read()
        os.close(reader)  # else a command that goes on never ends
        os.close(writer)

    assert said.startswith(b"::notice")  # a fork: Python itself would show its imports first
    assert is_over
