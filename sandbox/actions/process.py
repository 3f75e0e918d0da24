"""Run act in a runner's environment, read its log, and cancel it as GitHub does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CANCEL_SIGNALS = ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5), (signal.SIGKILL, 5.0))
"""docs.github.com/actions/reference/workflows-and-actions/workflow-cancellation"""

_SETTLE_SECONDS = 5.0
"""Seconds that act gets to end after a signal between two steps, including the steps that it still runs."""


class ActNotFound(Exception):
    """The program act is not installed."""


def find_act() -> Path:
    """Return the path of act, next to this Python or on the PATH.

    Raises:
        ActNotFound: act is not installed.
    """
    beside = Path(sys.executable).parent / "act"
    found = beside if beside.exists() else shutil.which("act")
    if found is None:
        raise ActNotFound("act, which runs the workflow files, is not installed: install the extra backout[sandbox]")
    return Path(found)


@dataclass(frozen=True, kw_only=True)
class ActInvocation:
    """Input of one job. The environment of its steps has these variables and few others."""

    event: str
    workflow: Path
    actions: Mapping[str, Path]
    """`owner/name@ref` → folder used instead of a download."""
    payload: Mapping[str, Any]
    actor: str
    environ: Mapping[str, str]
    secrets: Mapping[str, str]
    variables: Mapping[str, str]

    def arguments(self, payload: Path, secrets: Path) -> list[str]:
        """Return the arguments of act, without secret values: any process can read the arguments of another."""
        pairs = [("--env", self.environ), ("--var", self.variables)]
        if self.event == "workflow_dispatch":
            pairs.append(("--input", self.payload["inputs"]))
        given = [word for flag, values in pairs for name, value in values.items() for word in (flag, f"{name}={value}")]
        files = ["-W", str(self.workflow), "-e", str(payload), "--secret-file", str(secrets)]
        fixed = ["--json", "--no-cache-server", "-P", "ubuntu-latest=-self-hosted", "-a", self.actor]
        given += [word for uses, at in self.actions.items() for word in ("--local-repository", f"{uses}={at}")]
        return [self.event, *files, *fixed, *given]


class ActProcess:
    """One running job, started in `repository`; its home directory is in `folder`."""

    def __init__(self, invocation: ActInvocation, folder: Path, repository: Path, pip_cache: Path) -> None:
        payload, self._secrets = folder / "event.json", folder / "secrets.yml"
        payload.write_text(json.dumps(invocation.payload))
        self._secrets.touch(mode=0o600)
        self._secrets.write_text(json.dumps(dict(invocation.secrets), ensure_ascii=False))
        home = folder / "home"
        _share_compiled_modules(home, pip_cache / "ops-compiled")
        path = f"{Path(sys.base_prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        environ = {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "PIP_CACHE_DIR": str(pip_cache)}
        environ["OPS_WHEELS"] = str(pip_cache / "ops-wheels")  # used by the setup action of our workflows
        environ["PIP_ROOT_USER_ACTION"] = "ignore"  # steps on a GitHub runner do not run as root
        self._process = subprocess.Popen(
            [str(find_act()), *invocation.arguments(payload, self._secrets)],
            cwd=repository,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._ended, self._first_step = threading.Event(), threading.Event()

    def follow(self, on_line: Callable[[Mapping[str, Any]], object]) -> int:
        """Pass each line of the log to `on_line` until act ends, and return its exit code. Only `msg` is masked."""
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                try:
                    read = json.loads(line)
                except ValueError:
                    read = {"msg": line}
                if "jobID" in read:  # act has read the secrets
                    self._secrets.unlink(missing_ok=True)
                if read.get("stage"):
                    self._first_step.set()
                on_line(read)
        self._first_step.set()
        code = self._process.wait()
        self._ended.set()
        return code

    def cancel(self) -> None:
        """Send SIGINT to the program of the step, later SIGTERM, then SIGKILL. act itself continues to the last step.

        Between two steps, act gets the SIGINT. During a step it would kill the program at once, which GitHub does not.
        Before the first step, act runs a short program of its own, whose end would cancel nothing.
        """
        self._first_step.wait(_SETTLE_SECONDS)
        targets = child_processes(self._process.pid)
        if not targets:
            _send_signal(self._process.pid, signal.SIGINT)
            if self._ended.wait(_SETTLE_SECONDS):
                return
            targets = child_processes(self._process.pid)  # act started the next step all the same
        for number, seconds in _CANCEL_SIGNALS:
            for pid in targets if number != signal.SIGKILL else self._descendants():
                _send_signal(pid, number)
            if _wait_for_end(targets, seconds, self._ended):
                return

    def kill(self) -> None:
        """Kill act and all its descendants at once. act comes first: it would log the end of its step as a failure."""
        _send_signal(self._process.pid, signal.SIGSTOP)  # it starts nothing more
        for pid in (self._process.pid, *self._descendants()):
            _send_signal(pid, signal.SIGKILL)

    def _descendants(self) -> list[int]:
        found, waiting = [], [self._process.pid]
        while waiting:
            below = child_processes(waiting.pop())
            found += below
            waiting += below
        return found


def _share_compiled_modules(home: Path, compiled: Path) -> None:
    """Make the home directory of a job. Its Python programs keep compiled modules in the folder `compiled`."""
    site = home / f".local/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    site.mkdir(parents=True)
    compiled.mkdir(parents=True, exist_ok=True)
    (site / "compiled").symlink_to(compiled.resolve())
    shutil.copyfile(Path(__file__).with_name("compiled_modules.py"), site / "usercustomize.py")


def child_processes(parent: int) -> list[int]:
    """Return the process IDs of the children; empty if `ps` is not available."""
    try:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    pairs = (line.split() for line in listed.splitlines())
    return [int(pid) for pid, of in pairs if int(of) == parent]


def _send_signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_any_running(pids: list[int]) -> bool:
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        return True
    return False


def _wait_for_end(pids: list[int], seconds: float, ended: threading.Event) -> bool:
    """Return whether the processes ended in time."""
    return any(ended.wait(0.1) or not _is_any_running(pids) for _ in range(int(seconds * 10)))
