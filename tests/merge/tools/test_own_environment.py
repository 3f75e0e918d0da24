"""Child processes cannot read secrets from the environment of their parent."""

import inspect
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from ops.tools.own_program import ENV_END, ENV_START, PR_SET_DUMPABLE, hide_environment
from tests.conftest import World
from tests.support.commands import Command, ended

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
NOBODY = 65534
SYSTEM = "/usr/bin/python3"
"""A Python that every user can run; the current one may be in a home folder."""
PROGRAM = f"""
import os, subprocess, sys
from pathlib import Path
PR_SET_DUMPABLE, ENV_START, ENV_END = {PR_SET_DUMPABLE}, {ENV_START}, {ENV_END}
{inspect.getsource(hide_environment)}
if sys.argv[1] == "hide_environment":
    hide_environment()
child = "tr '\\\\0' '\\\\n' </proc/$PPID/environ; head -c 1 /proc/$PPID/mem >/dev/null && echo readable"
done = subprocess.run(["sh", "-c", child], env={{"PATH": os.environ["PATH"]}}, capture_output=True, text=True)
print(done.stdout + done.stderr)
print("own:", os.environ["SHOP_TOKEN"], subprocess.run(["sh", "-c", "echo $SHOP_TOKEN"], capture_output=True, text=True).stdout)
"""


def visible_environment(how: str, user: int | None) -> str:
    # Another user may not reach the folders of this one's PATH.
    path = os.environ["PATH"] if user is None else "/usr/bin:/bin"
    environ = {"PATH": path, "SHOP_TOKEN": "s3cret", "LANG": "C.UTF-8"}
    argv = [sys.executable if user is None else SYSTEM, "-c", PROGRAM, how]
    done = subprocess.run(argv, env=environ, cwd="/", capture_output=True, text=True, check=True, user=user)
    return done.stdout


@linux
@pytest.mark.parametrize("user", [None, NOBODY], ids=["this user", "nobody"])
def test_child_cannot_read_the_parent_environment(user: int | None) -> None:
    if user is not None and (os.geteuid() != 0 or not Path(SYSTEM).exists()):
        pytest.skip(f"only root can become another user, and that needs {SYSTEM}")

    assert visible_environment("leave", user).count("SHOP_TOKEN=s3cret") == 1
    shown, _, own = visible_environment("hide_environment", user).partition("own: ")

    assert "s3cret" not in shown
    assert own.split() == ["s3cret", "s3cret"]
    if user is not None or os.geteuid() != 0:
        assert "Permission denied" in shown


@linux
def test_command_probe_finds_no_token_in_any_process(world: World) -> None:
    """Neither `ops` nor the shells that start the probe have it. A fork would show the variables of its parent."""
    token = world.sandbox.add_token("k4n4ry-of-this-test-alone", ["Workers Scripts Write"])
    world.release(timedelta(hours=2), code="good")
    world.release(timedelta(minutes=10), code="bad", behaviour={"status": 500})
    search = r"""grep -las "k4n4ry-of-this-test-al[o]ne" /proc/[0-9]*/environ | grep . && exit 1; exit 0"""
    here = "          # A program can be a probe too."
    probe = f"          - name: search\n            command:\n              run: [sh, -c, {search!r}]\n"
    world.edit_config(here, probe + here)

    outcome = Command(world, program=("-m", "ops"), environ={"CLOUDFLARE_API_TOKEN": token}).run()

    assert ended(outcome) == (0, "recovered", "verified"), outcome.err
