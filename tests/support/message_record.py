"""Observe which messages the tests of a run make, and compare them at its end with `tests/messages.json`.

The classes of messages get an `__init__` that calls the real one, and then notes the callers and the text. It changes
nothing. Only this process is observed: a message that only a program started by a test makes does not occur here.
"""

import dataclasses
import functools
import getpass
import re
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import click
import pytest

from ops.app import registry
from ops.core.errors import OpsError
from ops.core.plan import Change, Plan, PlanSection, RunOutcome
from ops.core.run import EndedRun
from ops.core.timeline import RunEvent
from ops.gate.outcomes import RefusedRequest
from ops.setup.doctor.check import Finding
from tests.support import message_sheet, parts
from tests.support.message_sheet import Judgment, Record
from tests.support.messages import BETWEEN_LINES, FIELDS, ROOT, Position

OBSERVED: tuple[type[Any], ...] = (
    OpsError,
    click.UsageError,
    RefusedRequest,
    Finding,
    RunOutcome,
    Change,
    PlanSection,
    Plan,
    RunEvent,
)
RUNBOOKS = {*registry.runbook_names(), *registry.scheduled_files()}
"""Tests run others too."""
OPS = f"{ROOT}/ops/"
CALLERS = 7
"""A function that passes a text on, the class's own `__init__` and the like are between the message and its place."""
BETWEEN = 3
"""Callers elsewhere before the first one in `ops`: of click, or of `dataclasses.replace`."""
EXAMPLES = 8
CHOICES = ("file_or_dir", "markexpr", "keyword", "deselect", "ignore", "collectonly", "--runbook", "--lf", "--part")
"""Options that leave tests out."""
MAX_LENGTH = 600
"""Of an example; tests also make messages of very long hostile names."""
Calls = list[tuple[CodeType, int]]
"""Code and instruction of each caller in `ops`."""


def normalized(text: str) -> str:
    """Return the text without what differs by run and machine: times, ports, ids, folders, users, package indexes."""
    text = text.encode(errors="replace").decode()
    text = re.sub(r"/[\w./-]*?pytest-of-\w+/pytest-\d+/(popen-gw\d+/)?[\w-]*?\d+(?=[/\s:,;'\"`)]|$)", "/FOLDER", text)
    text = text.replace(f"{ROOT}/", "").replace(str(ROOT), ".")
    user = re.escape(getpass.getuser())
    text = re.sub(rf"(\bby |\blocal user |\(){user}\b|\b{user}(?= acts alone)", r"\1USER", text)
    text = re.sub(r"https?://[^\s/]+(?=/simple/)", "https://INDEX", text)
    text = re.sub(r"\b(127\.0\.0\.1|localhost):\d+", r"\1:PORT", text)
    text = re.sub(r"\b\d{8}T\d{6}-[0-9a-f]{4}\b", "RUN", text)
    text = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "ID", text)
    text = re.sub(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,64}\b", "ID", text)
    text = re.sub(r"\bID-[0-9a-f]{6}\b", "ID-ID", text)  # the revision of a switch
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00)?", "TIME", text)
    text = re.sub(r"\b\d\d:\d\d(:\d\d)?\b", "TIME", text)
    text = re.sub(r"\d{4}-\d\d-\d\d", "DATE", text)
    return re.sub(r"\b\d+\.\d s\b", "N s", text)


class MessageObserver:
    """Notes the messages of this process while it observes."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, ...], tuple[Calls, str, dict[str, str]]] = {}
        self._results: dict[str, dict[str, None]] = {}
        self._headings: dict[str, list[str]] = {}
        self._undo: list[Callable[[], None]] = []

    def observe(self) -> None:
        for name in RUNBOOKS:
            registry.find_runbook_file(name).load()  # with the kinds of steps that it has
        for observed in OBSERVED:
            note = functools.partial(self._note, observed.__name__, tuple(FIELDS[observed.__name__]))
            self._undo += [_after_each(each, note) for each in (observed, *_with_own_init(observed))]
        self._undo.append(_after_each(EndedRun, self._note_result))

    def stop(self) -> None:
        while self._undo:
            self._undo.pop()()

    def record(self) -> Record:
        """Return what was made so far.

        A message stands at its place, and at the calls of the functions that passed it on.
        """
        record = Record(results={name: list(found) for name, found in self._results.items()}, headings=self._headings)
        found_at: dict[tuple[int, int], Position] = {}
        for calls, kind, texts in self._seen.values():
            is_short = max(map(len, texts.values()), default=MAX_LENGTH) < MAX_LENGTH
            example = {name: normalized(text) for name, text in texts.items()} if is_short else {}
            for code, instruction in calls:
                if (at := (id(code), instruction)) not in found_at:
                    found_at[at] = _position(code, instruction)
                found = record.places.setdefault((kind, found_at[at]), [])
                if example and len(found) < EXAMPLES:
                    found.append(example)
        return record

    def _note(self, kind: str, fields: tuple[str, ...], made: object) -> None:
        frames = _callers()
        key = tuple([part for each in frames for part in (id(each.f_code), each.f_lasti)])
        if key not in self._seen:
            calls = [(each.f_code, each.f_lasti) for each in frames]
            texts = {each: getattr(made, each, None) for each in fields}
            self._seen[key] = calls, kind, {name: _as_text(value) for name, value in texts.items() if value}

    def _note_result(self, result: EndedRun) -> None:
        if result.runbook not in RUNBOOKS:
            return
        name = f"{result.runbook}, {result.decision.value}"
        if name not in self._headings:
            self._headings[name] = [normalized(each) for each in message_sheet.headings(result)]
        self._results.setdefault(name, {})[normalized(result.message)] = None


class MessageRecorder:
    """Observes each process of a run that has all tests, or that writes a file; the first one compares or writes."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._observer = MessageObserver()
        self._record = Record()
        self._is_complete = True
        self._has_skipped = False
        self._judgment: Judgment | None = None
        if self._is_needed:
            self._observer.observe()

    @property
    def _is_needed(self) -> bool:
        if hasattr(self._config, "workerinput"):
            return bool(self._config.workerinput["observes_messages"])
        return self._has_all_tests or any(map(self._config.getoption, ("--update-golden", "--messages-to")))

    @property
    def _has_all_tests(self) -> bool:
        return not any(self._config.getoption(name) for name in CHOICES)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of xdist, which does not know the command line."""
        node.workerinput["observes_messages"] = self._is_needed

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Add the record of a worker of xdist."""
        found = getattr(node, "workeroutput", {}).get("messages")
        self._is_complete = self._is_complete and bool(found)
        if found:
            self._record.add(found)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a skipped test, such as one that needs a browser: its messages are missing without a fault."""
        self._has_skipped = self._has_skipped or report.skipped

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if not self._is_needed:
            return
        self._record.add(self._observer.record().to_json())
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["messages"] = self._record.to_json()
            return
        is_complete = self._is_complete and not session.shouldstop and not session.shouldfail
        is_whole = self._has_all_tests and is_complete
        if self._config.getoption("--update-golden"):
            message_sheet.update(self._record, is_whole=is_whole)
        if exitstatus not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
            return
        if is_complete and (path := self._config.getoption("--messages-to")):
            parts.write(Path(path), self._config.getoption("--part"), self._record, has_skipped=self._has_skipped)
        elif is_whole:
            self._judgment = message_sheet.judge(self._record, has_skipped=self._has_skipped)
            if self._judgment.is_failure:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._judgment:
            for title, lines in self._judgment.sections():
                terminalreporter.section(title, red=self._judgment.is_failure)
                terminalreporter.write_line("\n".join(lines))


def _with_own_init(observed: type[Any]) -> Iterator[type[Any]]:
    """Yield the subclasses whose generated `__init__` does not call that of `observed`."""
    for each in observed.__subclasses__():
        if dataclasses.is_dataclass(each) and "__init__" in vars(each):
            yield each
        yield from _with_own_init(each)


def _after_each(observed: type[Any], note: Callable[[Any], None]) -> Callable[[], None]:
    """Let `note` see each new object that this `__init__` makes; return a function that ends it."""
    make: Callable[..., None] = observed.__init__

    @functools.wraps(make)
    def init(self: Any, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        note(self)

    observed.__init__ = init
    return lambda: setattr(observed, "__init__", make)


def _callers() -> list[FrameType]:
    """Return the callers in `ops` of the observed `__init__`, the innermost first, up to the first one elsewhere."""
    frame: FrameType | None = sys._getframe(3)
    for _ in range(BETWEEN):
        if frame and not frame.f_code.co_filename.startswith(OPS):
            frame = frame.f_back
    found: list[FrameType] = []
    while frame and len(found) < CALLERS and frame.f_code.co_filename.startswith(OPS):
        found.append(frame)
        frame = frame.f_back
    return found


def _position(code: CodeType, instruction: int) -> Position:
    _, line, _, column = next(islice(code.co_positions(), instruction // 2, None))
    return Position(code.co_filename.removeprefix(f"{ROOT}/"), line or 0, column or 0)


def _as_text(value: object) -> str:
    return BETWEEN_LINES.join(map(str, value)) if isinstance(value, tuple) else str(value)
