"""Kill a command in this process before and after each write: to the APIs, to its folder, and by another program."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from sandbox import Sandbox
from sandbox.faults import Fault
from sandbox.github.git.push import PATH
from sandbox.records import parse_body
from sandbox.server import HttpRequest
from tests.conftest import READS_BY_POST, Outcome
from tests.support.in_process import answered_in_process

LOCAL = ("os.rename", "subprocess.Popen")
"""Audit events: a file is put in its place, and a program starts."""
PUSH = "git push"
_VARYING = re.compile(r"[0-9a-f]{6,}|\d+")
_killer: "list[WriteKills]" = []


class Killed(BaseException):
    """The end of the command, as by SIGKILL."""


class WriteKills:
    """Presses of one command. Each of them is killed at the first write at which none was before.

    A write to the folder, and the start of a program, is killed before it; the next write comes after it.
    A push cannot be killed in this process: its answer is lost.
    """

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._sandbox, self._folder = sandbox, f"{folder}"
        self.moments: set[tuple[str, str]] = set()
        """Moment and write of each kill."""

    def press_to_the_end(self, command: Callable[[], Outcome], limit: int = 500) -> Outcome:
        """Give the command until it ends without a kill and with success. Returns its outcome."""
        places = (self._sandbox.faults, self._sandbox.github.faults)
        for _ in range(limit):
            known = len(self.moments)
            for place in places:
                for moment in ("before", "after"):
                    place.add(self._make_fault(moment))
                    place.add(self._make_loss(moment))
            done = None
            _killer.append(self)
            try:
                with answered_in_process():  # a kill is an exception of the server
                    done = command()
            except Killed:
                pass
            finally:
                _killer.pop()
                for place in places:
                    place.clear()
            if len(self.moments) == known:
                assert done is not None
                return done
        raise AssertionError(f"more than {limit} kills: {sorted(self.moments)[-9:]}")

    def check_local(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Raise Killed before a file of the folder is put in its place, and before a program starts there."""
        words = arguments[1] if event == "subprocess.Popen" else arguments[:2]
        write = " ".join(map(str, words))
        if self._folder in write:
            self._kill("before", _VARYING.sub("…", f"{event} {write}"))

    def _kill(self, moment: str, write: str) -> None:
        mark = (moment, write)
        if mark not in self.moments:
            self.moments.add(mark)
            raise Killed(*mark)

    def _is_next(self, moment: str, write: str) -> bool:
        is_due = moment == "before" or ("before", write) in self.moments
        return bool(write) and is_due and (moment, write) not in self.moments

    def _make_fault(self, moment: Literal["before", "after"]) -> Fault:
        sent: list[str] = []

        def is_next(request: HttpRequest) -> bool:
            sent.append(name_write(request.method, request.path, parse_body(request)))
            return sent[-1] != PUSH and self._is_next(moment, sent[-1])

        end: dict[str, Any] = {moment: lambda: self._kill(moment, sent[-1]), "is_prompt": True}
        return Fault(when=is_next, **end)

    def _make_loss(self, moment: Literal["before", "after"]) -> Fault:
        def is_next(request: HttpRequest) -> bool:
            write = name_write(request.method, request.path, None)
            is_next = write == PUSH and self._is_next(moment, write)
            if is_next:
                self.moments.add((moment, write))
            return is_next

        return Fault(lost=moment, when=is_next)


def name_write(method: str, path: str, body: Any) -> str:
    """Return a text that is the same in another sandbox; "" for a read. A sealed secret is never the same."""
    if method == "GET" or path.endswith(READS_BY_POST):
        return ""
    if PATH.fullmatch(path):
        return PUSH
    text = json.dumps(body) if isinstance(body, dict) and "encrypted_value" not in body else ""
    return _VARYING.sub("…", f"{method} {path} {text}")


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _killer and event in LOCAL:
        _killer[-1].check_local(event, arguments)


sys.addaudithook(_audit)
