"""Two concurrent runs: one pauses before a request while the other runs completely."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.app import registry
from ops.app import run as app
from ops.core.redaction import Redactor
from ops.core.run import EndedRun
from ops.core.timeline import EventKind
from ops.engine.engine import RunOptions
from ops.engine.signals import SignalHandler
from sandbox import Sandbox
from sandbox.faults import Fault
from tests.conftest import ACCOUNT, REFERENCE, World
from tests.support.in_process import answered_in_process

WRITES = ("POST", "PUT", "PATCH", "DELETE")
READ_BY_POST = ("/bulk/get", "/query", "/graphql")
LONGEST = 60.0
"""Timeout of the second run in real seconds."""


@dataclass(frozen=True)
class RequestedRun:
    """A requested run, and a check that the world has reached its goal."""

    name: str
    params: Mapping[str, Any]
    reached: Callable[[], bool]
    incident: int | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    environment: str = "production"
    acts_each_time: bool = False
    """Whether it also writes if the world has its goal already: it sets values again, or restarts again."""

    def __str__(self) -> str:
        return " ".join([self.name, *(str(value) for value in self.params.values() if value and value != "api")])

    def run(self, world: World, *, dry_run: bool = False) -> EndedRun:
        """Run in this thread without signals and output; each run has its own ID, record and client."""
        runbook = registry.load_runbook(self.name)
        options = RunOptions(dry_run=dry_run, confirm=lambda _: False, show_plan=lambda _: None, probe_wait=30.0)
        request = app.RunRequest(
            runbook=runbook,
            params=runbook.params(**self.params),
            environment=self.environment,
            config=world.config,
            incident=self.incident,
        )
        environ = {**world.sandbox.environ(), **self.environ}
        return app.run(request, environ, Redactor(), sink=lambda _: None, options=options, signals=SignalHandler())[0]


@dataclass
class Interleaving:
    """Results of two runs: `first` paused before request number `nth`, and `second` ran completely."""

    nth: int
    first: EndedRun
    second: EndedRun
    second_reached: bool
    """Whether the world had the second run's goal at its end."""
    was_proved: bool
    """Whether the first run paused in its probes, with its goal reached: parallel probes may have passed."""
    first_wrote: list[str]
    second_wrote: list[str]
    """Writes with a successful response."""
    awaited: str = ""
    """Method and path of the request that the first run sent when the second one had ended."""
    was_done: bool = False
    """Whether the first run paused after its last write, with its goal reached."""

    @property
    def story(self) -> str:
        """Summary for the message of an assertion."""
        return (
            f"before request {self.nth}; first: {_told(self.first)}, wrote {self.first_wrote}; "
            f"second: {_told(self.second)}, wrote {self.second_wrote}"
        )


@contextmanager
def fresh_world(folder: Path) -> Iterator[World]:
    """Make one of many worlds of a test, reached without sockets."""
    config = (REFERENCE / "ops.yml").read_text().replace("deadline: 2m", "deadline: 10s")
    (folder / "ops.yml").write_text(config.replace("successes: 3", "successes: 1"))
    with answered_in_process(), Sandbox(account_id=ACCOUNT, virtual_clock=True) as sandbox:
        yield World(sandbox, folder)


def interleave(
    world: World, first: RequestedRun, second: RequestedRun, nth: int, *, only_writes: bool = False
) -> Interleaving | None:
    """Run both. Return None if the first run has fewer requests to Cloudflare, GitHub and the edge.

    Consecutive requests to the edge count as one.
    """
    stop = _Stop(world, first, second, nth)
    with ExitStack() as ending:
        for method in WRITES if only_writes else ("*",):
            ending.callback(world.sandbox.github.faults.add(_fault(method, stop)).remove)
            for path in ("/accounts/**", "/zones/**"):  # not /graphql: the first run goes on while it reads that
                ending.callback(world.sandbox.faults.add(_fault(method, stop, path)).remove)
        if not only_writes:
            ending.callback(world.sandbox.edge_faults.add(_fault("*", stop.at_the_edge)).remove)
        done = first.run(world)
        stop.wait()
    if stop.error is not None:
        raise stop.error
    if stop.result is None:
        return None
    assert stop.began is not None
    assert stop.ended is not None
    everything = successful_writes(world, 0, None)
    own = successful_writes(world, stop.began, stop.ended)
    rest = list(everything)
    for each in own:
        rest.remove(each)
    awaited = next((f"{each.method} {each.path}" for each in world.sandbox.requests[: stop.began][-1:]), "")
    was_done = stop.had_reached and bool(rest) and not successful_writes(world, stop.ended, None)
    return Interleaving(nth, done, stop.result, stop.reached, stop.was_proved, rest, own, awaited, was_done)


class _Stop:
    """Counts the first run's requests, and starts the second run before the nth."""

    def __init__(self, world: World, first: RequestedRun, second: RequestedRun, nth: int) -> None:
        self._world, self._first, self._second, self._left = world, first, second, nth
        self._lock = threading.Lock()
        self._is_running = False
        self._ended = threading.Event()
        self._was_edge = False
        self.result: EndedRun | None = None
        self.error: BaseException | None = None
        self.reached = self.had_reached = self.was_proved = False
        self.began: int | None = None
        self.ended: int | None = None

    def at_the_edge(self) -> None:
        self(is_edge=True)

    def __call__(self, *, is_edge: bool = False) -> None:
        with self._lock:
            if self._is_running or self.result is not None:
                return
            is_same, self._was_edge = is_edge and self._was_edge, is_edge
            if is_same:
                return
            self._left -= 1
            if self._left > 0:
                return
            self._is_running = True
        try:
            requests = self._world.sandbox.requests
            self.had_reached = self._first.reached()
            self.was_proved = is_edge and self.had_reached
            self.began = len(requests)
            self.result = self._second.run(self._world)
            self.ended = len(requests)
            self.reached = self._second.reached()
        except BaseException as error:  # noqa: BLE001  raised again in the test's own thread
            self.error = error
        finally:
            self._is_running = False
            self._ended.set()

    def wait(self) -> None:
        """Wait for the second run. The first run may end earlier because it does not wait for every read."""
        with self._lock:
            is_running = self._is_running
        if is_running:
            assert self._ended.wait(LONGEST)


def _fault(method: str, stop: Callable[[], None], path: str = "**") -> Fault:
    return Fault(method=method, path=path, times=None, before=stop, is_prompt=True)


def successful_writes(world: World, begin: int, end: int | None) -> list[str]:
    return [
        f"{each.method} {each.path.partition('/workers/')[2] or each.path}"
        for each in world.sandbox.requests[begin:end]
        if each.method in WRITES and not each.path.endswith(READ_BY_POST) and 200 <= (each.status or 0) < 300
    ]


def _told(result: EndedRun) -> str:
    return f"{result.runbook} → {result.exit_code} {result.decision} {result.reason}: {result.message}"


def assert_consistent(
    world: World, first: RequestedRun, second: RequestedRun, heal: RequestedRun, meeting: Interleaving
) -> None:
    """Check that no result contradicts the final state, and that a further run can reach the later goal.

    `heal` is that run, used if the world does not have the second run's goal.
    """
    assert meeting.second.exit_code != 0 or meeting.second_reached, meeting.story
    assert meeting.first.exit_code != 0 or meeting.was_proved or first.reached(), meeting.story
    for result, wrote in ((meeting.first, meeting.first_wrote), (meeting.second, meeting.second_wrote)):
        said = f"{result.message} {result.hint}".lower()
        has_rehearsed = any(event.kind == EventKind.REHEARSED for event in result.events)
        assert not wrote or result.wrote or has_rehearsed, meeting.story
        assert not (wrote and "nothing was changed" in said), meeting.story
        assert "check the names" not in said, meeting.story
    if second.reached():
        return
    healed = heal.run(world)
    assert healed.exit_code == 0, f"{meeting.story}; then {_told(healed)}"
    assert heal.reached(), f"{meeting.story}; then {_told(healed)}"
