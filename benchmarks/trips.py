"""Count the files and functions of `ops` that a recovery enters, for `./run benchmarks.structure`.

The person who follows a recovery through the code reads these. A job or command counts the functions that it enters
itself: Python imports `TRACE` at its start, as `usercustomize` in a job and as `sitecustomize` in an environment of its
own.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.label import ACCOUNT, LABEL, prepared
from sandbox import Sandbox
from sandbox.actions import Runner, tracked_files
from sandbox.github import GitHub
from sandbox.switches import Switches

ROOT = Path(__file__).parent.parent
TRACE = Path(__file__).with_name("trace_functions.py")
RECOVERY = ("gate", "recover", "incident report")
"""Commands of a label's recovery. The watch comes later, and has a trip of its own."""


@dataclass(frozen=True)
class Trip:
    """The files and functions that commands entered."""

    functions: frozenset[tuple[str, str]]
    """File and name within it, without lambdas and comprehensions."""

    @property
    def files(self) -> frozenset[str]:
        return frozenset(file for file, _ in self.functions)


def follow_label() -> Trip:
    """Return the trip of a label: gate, recovery and report, each in its job."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        site = (
            folder
            / "python"
            / Path(sysconfig.get_path("purelib", f"{os.name}_user")).relative_to(sysconfig.get_config_var("userbase"))
        )
        site.mkdir(parents=True)
        (site / "usercustomize.py").write_text(TRACE.read_text())
        hub, environ = _world(stack)
        environ |= {"PYTHONUSERBASE": str(folder / "python"), "ENTERED": _made(folder / "entered")}
        number = hub.open_issue("The API answers 500", labels=["incident"], author="alice")
        with Runner(hub, environ, pip_cache=folder / "pip") as runner:
            hub.label(number, LABEL, "alice")
            runner.wait()
            if hub.runs[-1].conclusion != "success":
                raise SystemExit("\n".join(runner.log(hub.runs[-1].id)))
        return _read(folder / "entered", RECOVERY)


def follow_command(*arguments: str) -> Trip:
    """Return the trip of a command of `ops` on a laptop without GitHub."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "sitecustomize.py").write_text(TRACE.read_text())
        (folder / "ops.yml").write_bytes((ROOT / "examples/fortunet/ops.yml").read_bytes())
        _, environ = _world(stack, with_token=True)
        environ = {name: value for name, value in environ.items() if not name.startswith("GITHUB_")}
        environ |= {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": f"{folder}:{ROOT}"}
        environ["ENTERED"] = _made(folder / "entered")
        done = subprocess.run(
            [sys.executable, "-m", "ops", *arguments],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        return _read(folder / "entered", (arguments[0],))


def _world(stack: ExitStack, *, with_token: bool = False) -> tuple[GitHub, dict[str, str]]:
    sandbox = stack.enter_context(Sandbox(account_id=ACCOUNT, switches=Switches(propagation_seconds=0)))
    hub = prepared(sandbox, tracked_files(ROOT))
    kept = sandbox.environ().items()
    return hub, {name: value for name, value in kept if with_token or name != "CLOUDFLARE_API_TOKEN"}


def _made(folder: Path) -> str:
    folder.mkdir()
    return str(folder)


def _read(folder: Path, commands: tuple[str, ...]) -> Trip:
    ran: Mapping[str, set[tuple[str, str]]] = {command: set() for command in commands}
    for path in folder.iterdir():
        entered = json.loads(path.read_text())
        for command in commands:
            if " ".join(entered["arguments"]).startswith(command):
                ran[command] |= {(file, name) for file, name in entered["functions"]}
    if missing := [command for command, functions in ran.items() if not functions]:
        raise SystemExit(f"no function of {', '.join(missing)} was seen")
    return Trip(frozenset().union(*ran.values()))
