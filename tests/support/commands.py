"""Helpers for tests of runs: common calls, results, and the command as a process."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

from sandbox.cloudflare.workers.state import FakeWorkerDeployment
from sandbox.records import RequestRecord
from sandbox.server import HttpRequest
from tests.conftest import ROOT, WORKER, Outcome, World
from tests.support.forked_ops import ForkedOps

T = TypeVar("T")
WRITE = {"method": "POST", "path": "/accounts/*/workers/scripts/*/deployments"}
LIST = {"method": "GET", "path": "/accounts/*/workers/scripts/*/deployments"}
LISTED_VERSIONS = {"method": "GET", "path": "/accounts/*/workers/scripts/*/versions"}
ONE_VERSION = {"method": "GET", "path": "/accounts/*/workers/scripts/*/versions/*"}
COMMENTS = "/repos/*/*/issues/*/comments"
BESIDE = ("/schedules", "/domains")
"""Ends of the paths that a rollback reads beside the others, and that no write waits for."""
COMMENT = "/repos/*/*/issues/comments/*"
JSON = {"content_type": "application/json"}
PROMISE = re.compile("same command again", re.IGNORECASE)
"""The words of a text that asks people to start the command of the run again."""


def unwrapped(text: str) -> str:
    """Return a text with each command on one line, as a shell reads it."""
    return re.sub(r"'\\\n'|\\\n(?! )", "", re.sub(r" \\\n +", " ", text))


UNCLEAR_RESPONSES: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "502": {"status": 502, "body": "<html>bad gateway</html>"},
    "504": {"status": 504, "body": "gateway time-out", "content_type": "text/plain"},
    "524": {"status": 524, "body": ""},
    "internal error 10013": {"code": 10013},
    "HTML with 200": {"body": "<html>one moment, please</html>"},
    "a challenge": {"status": 403, "body": "<html>", "headers": {"cf-mitigated": "challenge"}},
    "a redirect": {"status": 302, "body": "", "headers": {"location": "https://dash.example.com/login"}},
    "an empty body": {"body": ""},
    "a list": {"body": "[]", **JSON},
    "no envelope": {"body": '{"ok": true}', **JSON},
    "a success that is no boolean": {"body": '{"success": "true", "errors": [], "result": {"id": "1"}}', **JSON},
    "a result of another shape": {"body": '{"success": true, "errors": [], "result": ["x"]}', **JSON},
    "no result": {"body": '{"success": true, "errors": [], "result": null}', **JSON},
    "bytes that are no JSON": {"body": b"\xff\xfe\x00{", **JSON},
    "a broken encoding": {"body": b"no gzip at all", "headers": {"content-encoding": "gzip"}},
}
"""Responses to a write that do not show whether it took effect."""
QUICK = {"500", "HTML with 200", "a result of another shape", "a broken encoding"}
"""Those that the fast tests use around whole runs."""


HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def endings(moments: Iterable[T]) -> list[tuple[signal.Signals, T]]:
    """Return each moment with SIGKILL, and with one of HANDLED in turn, because one handler serves them."""
    pairs = zip(cycle(HANDLED), moments, strict=False)
    return [(number, moment) for handled, moment in pairs for number in (signal.SIGKILL, handled)]


def interruptions(requests: int) -> list[tuple[signal.Signals, int, str]]:
    """Return signal, request number and time: before the request reaches Cloudflare, or after it took effect.

    Each request gets SIGKILL, and SIGINT or SIGTERM alternately, because one handler serves both.
    """
    moments = [(nth, moment) for nth in range(1, requests + 1) for moment in ("before", "after")]
    friendly = [(signal.SIGINT, signal.SIGTERM)[at // 2 % 2 ^ at % 2] for at in range(len(moments))]
    return [(signal.SIGKILL, *one) for one in moments] + [
        (number, *one) for number, one in zip(friendly, moments, strict=True)
    ]


def is_awaited(request: HttpRequest | RequestRecord) -> bool:
    """Return whether a run of `rollback-worker` waits for this request to Cloudflare."""
    return "/accounts/" in request.path and not request.path.endswith(BESIDE)


def ours(world: World) -> list[FakeWorkerDeployment]:
    deployments = world.sandbox.deployments(WORKER)
    return [d for d in deployments if d.annotations.get("workers/message", "").startswith("ops1 ")]


def hotfix_by_colleague(world: World) -> Callable[[], str]:
    """Return a function that deploys a hotfix as another person."""
    hotfix = world.sandbox.upload(WORKER, code="hotfix", author="dana@example.com")
    return lambda: world.sandbox.deploy(WORKER, hotfix, author="dana@example.com")


def ended(outcome: Outcome) -> tuple[int, str, str]:
    return outcome.code, outcome.result["decision"], outcome.result["reason"]


def texts(outcome: Outcome, kind: str) -> list[str]:
    return [event["text"] for event in outcome.events if event["kind"] == kind]


def timeline(world: World) -> list[dict[str, Any]]:
    """Return the events on disk of the only run. Checks that lines are whole JSON, numbered without a gap."""
    (path,) = (world.folder / ".ops" / "runs").glob("*/timeline.jsonl")
    text = path.read_text()
    assert text.endswith("\n")
    events = [json.loads(line) for line in text.splitlines()]
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    return events


def is_running(pid: int) -> bool:
    """Return whether the process runs. A zombie has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def has_ended(pid: int) -> bool:
    """Return whether the process has ended, after at most 10 seconds."""
    waited = subprocess.run(["timeout", "10", "tail", f"--pid={pid}", "-f", "/dev/null"], check=False)
    return waited.returncode == 0 or not is_running(pid)


Process = ForkedOps | subprocess.Popen[Any]


@dataclass
class Command:
    """A runbook's command as its own process, in the folder of ops.yml."""

    world: World
    runbook: str = "rollback-worker"
    service: str = "api"
    pid: int = 0
    environ: dict[str, str] = field(default_factory=dict)
    more: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    """Arguments of Python for another program than `ops`."""
    environment: str = "production"
    _started: threading.Event = field(default_factory=threading.Event)

    def send(self, *signals: int) -> Callable[[], None]:
        """Return a hook for a fault that sends the signals while the process waits for the response."""

        def now() -> None:
            self._started.wait()
            for number in signals:
                os.kill(self.pid, number)

        return now

    def run(self) -> Outcome:
        """Run the command with --yes and --json."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, Path(os.devnull).open() as none:
            with self._start("--yes", "--json", files=(none.fileno(), out.fileno(), err.fileno())) as process:
                code = process.wait(timeout=60)
            return Outcome(code, *((file.seek(0), file.read())[1] for file in (out, err)))

    @contextmanager
    def on_terminal(self) -> Iterator["Terminal"]:
        ours, its = pty.openpty()
        try:
            with self._start(files=(its, its, its)) as process:
                os.close(its)
                yield Terminal(process, ours)
        finally:
            os.close(ours)

    def _start(self, *arguments: str, files: tuple[int, int, int]) -> Process:
        service = ["--service", self.service] if self.service else []
        environment = ["--environment", self.environment] if self.environment else []
        words = [*self.runbook.split(), *service, *environment, *self.more, *arguments]
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.world.sandbox.environ()} | self.environ
        process: Process
        if self.program:
            argv, (stdin, stdout, stderr) = [sys.executable, *self.program, *words], files
            process = subprocess.Popen(
                argv,
                env=environ,
                cwd=self.world.folder,
                start_new_session=True,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
            )
        else:
            process = ForkedOps(words, environ=environ, folder=self.world.folder, files=files)
        self.pid = process.pid
        self._started.set()
        return process


@dataclass
class Terminal:
    """A person at a terminal: waits for a text, types, and reads the rest."""

    process: Process
    descriptor: int
    shown: str = ""

    def until(self, text: str) -> None:
        while text not in self.shown:
            assert self._read(), self.shown

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C until there is a reaction: a signal just before Python reads a line has no effect."""
        reacted: list[int] = []
        while not reacted:
            os.kill(self.process.pid, signal.SIGINT)
            reacted, _, _ = select.select([self.descriptor], [], [], 0.3)

    def end(self) -> int:
        while self._read():
            pass
        return self.process.wait(timeout=60)

    def _read(self) -> bool:
        ready, _, _ = select.select([self.descriptor], [], [], 60)
        if not ready:
            os.kill(self.process.pid, signal.SIGKILL)  # else the test waits for its end
        assert ready, f"nothing more was shown within a minute: {self.shown}"
        try:
            data = os.read(self.descriptor, 4096)
        except OSError:  # on Linux, the end of the output
            data = b""
        self.shown += data.decode(errors="replace")
        return bool(data)


def set_origin(folder: Path, address: str) -> None:
    """Make the folder a git checkout with this remote origin."""
    git = shutil.which("git")
    assert git
    for arguments in (["init", "-q"], ["remote", "add", "origin", address]):
        subprocess.run([git, "-C", str(folder), *arguments], check=True)
