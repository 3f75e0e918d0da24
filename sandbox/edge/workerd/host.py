"""The Node process that runs a miniflare for each version (host.mjs)."""

import json
import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from ops.tools import node

_PROGRAM = Path(__file__).parent / "host.mjs"
_EXIT_SECONDS = 5.0
"""Seconds that Node gets to end by itself."""


class MiniflareError(Exception):
    """An error message from miniflare."""


class MiniflareHost:
    """Starts Node with the first command. Runs one command at a time."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def send_command(self, command: str, **rest: Any) -> dict[str, Any]:
        with self._lock:
            process = self._process = self._process or self._start_node()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"command": command, **rest}) + "\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline() or '{"error": "Node ended"}')
        if "error" in answer:
            raise MiniflareError(answer["error"])
        return answer

    def close(self) -> None:
        """Stop Node by closing its stdin, then kill its process group.

        Node also ends if this process ends, because its stdin is closed then too.
        """
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()

    def _start_node(self) -> subprocess.Popen[str]:
        """Start Node with its own home and only PATH of the environment, so that uploaded code sees no secrets."""
        return subprocess.Popen(
            [str(node.find_node()), str(_PROGRAM)],
            cwd=node.install_packages(),
            env={"PATH": os.environ.get("PATH", ""), "HOME": self._home, "TMPDIR": self._home},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
