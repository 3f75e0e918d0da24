"""Run all drills in parallel, each in its own process, and score them."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import read_config
from ops.core.clock import SystemClock, format_duration
from ops.core.errors import EXIT_CODES, EXIT_CODES_BY_URGENCY, ConfigError, Decision, Reason
from ops.core.names import did_you_mean, quote_name
from ops.drills import DEFAULT_ENVIRONMENT, REFERENCE, names, support, unsupported
from ops.drills.command import NO_RESULT
from ops.drills.measured_platform import PlatformProfile
from ops.drills.scorecard import PlannedDrill, Scorecard, ScoredDrill, score_result
from ops.drills.settings import DrillSettings, require_sandbox
from ops.drills.support import EDGES, TRIGGERS, Edge, Trigger
from ops.tools import own_program, process

if TYPE_CHECKING:
    from ops.config import Config

ALL = "all"
"""Name of the suite on the command line. No drill has it."""
LONGEST = 900.0
"""Seconds after which a drill is ended: it hangs."""
GRACE = 40.0
"""Seconds that a drill has after SIGTERM to end its own programs, before it is killed."""
DRILLS_PER_CORE = 3
"""A drill also waits: for a program that it starts, and with workerd for the next round of probes or a minute of KV."""
WAIT = ("lying-probe", "feature", "ai-failover", "ai-off", "limits")
"""Drills that wait for minutes. They start first, so that the others run meanwhile."""
POLL = 0.05
"""Seconds between two looks at the running drills."""


@dataclass(frozen=True)
class SuiteSettings:
    """The settings of all drills of a suite."""

    config: Path
    environment: str
    edges: Sequence[Edge] = EDGES
    triggers: Sequence[Trigger] = TRIGGERS
    only: Collection[str] = ()
    """Names of drills; empty for all."""
    switches: tuple[str, ...] = ()
    faults: Path | None = None
    jobs: int = 0
    """Drills in parallel; 0 for DRILLS_PER_CORE."""
    platform: PlatformProfile | None = None
    """Measured answers that each drill plays too."""

    def drill(self, planned: PlannedDrill) -> DrillSettings:
        return DrillSettings(planned.edge, self.config, self.environment, "", self.switches, planned.trigger)


def plan_drills(settings: SuiteSettings) -> tuple[PlannedDrill, ...]:
    """Return each drill by each trigger on the first edge, and by command on each other edge.

    A trigger only starts the commands, so that the edges need no label and no button each. A drill that has none of
    these edges and triggers is returned with the reasons. Raises ConfigError.
    """
    require_sandbox()
    if unknown := next((each for each in settings.only if each not in names()), ""):
        similar = did_you_mean(unknown, names())
        raise ConfigError(f'no drill "{quote_name(unknown)}"{similar}', reason=Reason.UNKNOWN_NAME)
    config, _ = read_config(settings.config)
    config.environment(settings.environment)
    wanted = [
        PlannedDrill(name, edge, trigger)
        for name in names()
        for edge in settings.edges
        for trigger in settings.triggers
        if (edge == settings.edges[0] or trigger == "command") and (name in settings.only or not settings.only)
    ]
    offered = {each.name for each in wanted if _is_offered(each)}
    planned = [
        _examine_drill(each, settings, config) for each in wanted if _is_offered(each) or each.name not in offered
    ]
    return tuple(sorted(planned, key=lambda each: each.name not in WAIT))


def _is_offered(planned: PlannedDrill) -> bool:
    """Return whether the drill has this edge and trigger in any configuration."""
    return unsupported(planned.name).keys().isdisjoint({planned.edge, planned.trigger})


def _examine_drill(planned: PlannedDrill, settings: SuiteSettings, config: "Config") -> PlannedDrill:
    """Return the drill with its runbook, and with the reason if it does not fit the configuration."""
    try:
        declared = support(planned.name, settings.drill(planned), config)
    except ConfigError as error:
        return replace(planned, unfit=error.message)
    return replace(
        planned, runbook=declared.runbook, unfit=declared.describe_gap(config, planned.edge, planned.trigger)
    )


OnStart = Callable[[Sequence[PlannedDrill], int, int], object]
"""Gets the running drills, the number of ended ones, and of all."""
OnScore = Callable[[ScoredDrill, int, int], object]
"""Gets the drill that ended, the number of ended ones, and of all."""


def run_suite(settings: SuiteSettings, *, on_start: OnStart, on_score: OnScore) -> Scorecard:
    """Run all drills that fit, and return the scorecard. A signal ends the drills that still run, not the scorecard.

    Raises ConfigError.
    """
    planned, clock, scored = plan_drills(settings), SystemClock(), dict[PlannedDrill, ScoredDrill]()
    fit, started = [each for each in planned if not each.unfit], clock.now()
    running = _run_drills(fit, settings, lambda running: on_start(running, len(scored), len(fit)))
    with suppress(KeyboardInterrupt), closing(running):
        for drill in running:
            scored[drill.planned] = drill
            on_score(drill, len(scored), len(fit))
    return Scorecard(
        settings.environment,
        started.replace(microsecond=0),
        (clock.now() - started).total_seconds(),
        scored=tuple(scored[each] for each in fit if each in scored),
        unfit=tuple(each for each in planned if each.unfit),
        not_run=tuple(each for each in fit if each not in scored),
    )


def _run_drills(
    planned: Sequence[PlannedDrill], settings: SuiteSettings, on_start: Callable[[Sequence[PlannedDrill]], object]
) -> Generator[ScoredDrill]:
    """Run the drills, and yield each score as soon as its drill ends. An exception ends every drill that still runs.

    `on_start` gets the drills that run, after each start.
    """
    waiting, running = deque(enumerate(planned)), list[_RunningDrill]()
    jobs = settings.jobs or DRILLS_PER_CORE * (os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(dir=process.memory_folder()) as scratch, _end_at_exit(running):
        while waiting or running:
            while waiting and len(running) < jobs:
                number, drill = waiting.popleft()
                running.append(_RunningDrill(drill, settings, Path(scratch, str(number))))
                on_start([each.planned for each in running])
            ended = [each for each in running if each.has_ended]
            for each in ended:
                running.remove(each)
                yield each.score(settings.environment)
            if not ended:
                time.sleep(POLL)


@contextmanager
def _end_at_exit(running: "Sequence[_RunningDrill]") -> Iterator[None]:
    try:
        yield
    finally:
        _end_drills(running)


@dataclass
class _RunningDrill:
    """A drill in its own process. Its output goes to files: a pipe could fill up. Its temporary files are beside it."""

    planned: PlannedDrill
    settings: SuiteSettings
    folder: Path
    started: datetime = field(init=False)
    process: "subprocess.Popen[bytes]" = field(init=False)
    is_hung: bool = False

    def __post_init__(self) -> None:
        self.started, self._since = SystemClock().now(), time.monotonic()
        self._out, self._err = self.folder / "out", self.folder / "err"
        self.folder.mkdir()
        argv = [sys.executable, "-m", "ops", *command_words(self.planned, self.settings), "--json"]
        environ = {**os.environ, "PYTHONPATH": str(own_program.OPS.parent), "TMPDIR": str(self.folder)}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(argv, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    @property
    def has_ended(self) -> bool:
        self.is_hung = self.process.poll() is None and time.monotonic() - self._since > LONGEST
        if self.is_hung:
            _end_drills([self])
        return self.process.poll() is not None

    def score(self, environment: str) -> ScoredDrill:
        seconds, started = time.monotonic() - self._since, self.started.replace(microsecond=0)
        return score_result(self.planned, environment, self._read_drill_result(), started, seconds)

    def _read_drill_result(self) -> Mapping[str, Any]:
        """Return the printed result; if there is none, one with the error of the command."""
        if self.is_hung:
            message = f"it did not end within {format_duration(LONGEST)}"
            return {**NO_RESULT, "message": message, "exit_code": EXIT_CODES[Decision.UNKNOWN_OUTCOME]}
        with suppress(ValueError):
            result = json.loads(self._out.read_bytes())
            if isinstance(result, dict):
                return {**NO_RESULT, **result}
        code, text = self.process.returncode, self._err.read_text(encoding="utf-8", errors="replace")
        lines = [line for line in text.splitlines() if line.strip()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        message = (errors or lines[-1:] or ["the drill printed no result"])[0]
        if code < 0:
            message = f"{signal.Signals(-code).name} ended the drill; the last line of its output: {message}"
        return {**NO_RESULT, "message": message, "exit_code": code if code in EXIT_CODES_BY_URGENCY and code else 1}


def command_words(planned: PlannedDrill, settings: SuiteSettings) -> list[str]:
    """Return the words of the command that runs the drill alone, without the program and defaults."""
    words = ["drill", planned.name, "--edge", planned.edge, "--trigger", planned.trigger]
    if (settings.environment, settings.config) != (DEFAULT_ENVIRONMENT, REFERENCE):
        words += ["--environment", settings.environment, "--config", str(settings.config)]
    for switch in settings.switches:
        words += ["--switch", switch]
    if settings.platform is not None:
        words += ["--platform", str(settings.platform.path)]
    return words if settings.faults is None else [*words, "--faults", str(settings.faults)]


def _end_drills(running: "Sequence[_RunningDrill]") -> None:
    """End the drills, and wait until each has ended its own programs."""
    for each in running:
        each.process.terminate()
    until = time.monotonic() + GRACE
    for each in running:
        with suppress(subprocess.TimeoutExpired):
            each.process.wait(max(0.0, until - time.monotonic()))
        each.process.kill()
        each.process.wait()
