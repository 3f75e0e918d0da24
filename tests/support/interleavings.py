"""Two runs at once: one stops before one of its requests, while another one runs from start to end."""

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from ops.app import registry
from ops.app import run as app
from ops.core.redaction import Redactor
from ops.core.result import RunResult
from ops.engine.engine import RunOptions
from ops.engine.signals import SignalHandler
from sandbox.faults import Fault
from tests.conftest import World

WRITES = ("POST", "PUT", "PATCH", "DELETE")
READ_BY_POST = ("/bulk/get", "/observability/telemetry/query", "/graphql")
LONGEST = 60.0
"""Real seconds for the second run."""


@dataclass(frozen=True)
class Asked:
    """A run as a person asks for it, and how the world looks where it reached its goal."""

    name: str
    params: Mapping[str, Any]
    reached: Callable[[], bool]
    incident: int | None = None
    environ: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.name, *(str(value) for value in self.params.values() if value and value != "api")])

    def run(self, world: World, *, dry_run: bool = False) -> RunResult:
        """In this thread, without signals and without output; each run has its own id, record and client."""
        runbook = registry.load_runbook(self.name)
        options = RunOptions(dry_run=dry_run, confirm=lambda _: False, show_plan=lambda _: None, probe_wait=30.0)
        request = app.RunRequest(
            runbook, runbook.params(**self.params), "production", world.config, incident=self.incident
        )
        environ = {**world.sandbox.environ(), **self.environ}
        return app.run(request, environ, Redactor(), sink=lambda _: None, options=options, signals=SignalHandler())[0]


@dataclass
class Meeting:
    """What came of two runs: `first` stopped before request number `nth`, and `second` ran there as a whole."""

    nth: int
    first: RunResult
    second: RunResult
    second_reached: bool
    """Whether the world was as the second one asked for at its end."""
    was_proved: bool
    """Whether the first one stopped in its probes, with the world as it asked for: parallel ones may have passed."""
    first_wrote: list[str]
    second_wrote: list[str]
    """Writes that were answered with success."""

    @property
    def story(self) -> str:
        """For the message of an assert."""
        return (
            f"before request {self.nth}; first: {_told(self.first)}, wrote {self.first_wrote}; "
            f"second: {_told(self.second)}, wrote {self.second_wrote}"
        )


def meet(world: World, first: Asked, second: Asked, nth: int, *, only_writes: bool = False) -> Meeting | None:
    """None where the first run has fewer requests: to Cloudflare, GitHub and the edge, in the order they come.

    Requests to the edge in a row count as one, the first of them.
    """
    stop = _Stop(world, first, second, nth)
    with ExitStack() as ending:
        for faults in (world.sandbox.faults, world.sandbox.github.faults):
            for method in WRITES if only_writes else ("*",):
                ending.callback(faults.add(_fault(method, stop)).remove)
        if not only_writes:
            ending.callback(world.sandbox.edge_faults.add(_fault("*", stop.at_the_edge)).remove)
        done = first.run(world)
        stop.wait()
    if stop.error is not None:
        raise stop.error
    if stop.result is None:
        return None
    assert stop.began is not None
    everything = _successful_writes(world, 0, None)
    own = _successful_writes(world, stop.began, stop.ended)
    rest = list(everything)
    for each in own:
        rest.remove(each)
    return Meeting(nth, done, stop.result, stop.reached, stop.was_proved, rest, own)


class _Stop:
    """Counts the first run's requests, and lets the second one run before the nth."""

    def __init__(self, world: World, first: Asked, second: Asked, nth: int) -> None:
        self._world, self._first, self._second, self._left = world, first, second, nth
        self._lock = threading.Lock()
        self._is_running = False
        self._ended = threading.Event()
        self._was_edge = False
        self.result: RunResult | None = None
        self.error: BaseException | None = None
        self.reached = self.was_proved = False
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
            self.was_proved = is_edge and self._first.reached()
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
        """The first run does not wait for every read: it may end while the second one still runs."""
        with self._lock:
            is_running = self._is_running
        if is_running:
            assert self._ended.wait(LONGEST)


def _fault(method: str, stop: Callable[[], None]) -> Fault:
    return Fault(method=method, path="**", times=None, before=stop)


def _successful_writes(world: World, begin: int, end: int | None) -> list[str]:
    return [
        f"{each.method} {each.path.partition('/workers/')[2] or each.path}"
        for each in world.sandbox.requests[begin:end]
        if each.method in WRITES and not each.path.endswith(READ_BY_POST) and 200 <= (each.status or 0) < 300
    ]


def _told(result: RunResult) -> str:
    return f"{result.runbook} → {result.exit_code} {result.decision} {result.reason}: {result.message}"


def assert_consistent(world: World, first: Asked, second: Asked, heal: Asked, meeting: Meeting) -> None:
    """No result contradicts the state at its end, and one more run reaches what the later command asked for.

    `heal`: that run, where the world is not as the second one asked for.
    """
    assert meeting.second.exit_code != 0 or meeting.second_reached, meeting.story
    assert meeting.first.exit_code != 0 or meeting.was_proved or first.reached(), meeting.story
    for result, wrote in ((meeting.first, meeting.first_wrote), (meeting.second, meeting.second_wrote)):
        said = f"{result.message} {result.hint}".lower()
        assert not wrote or result.wrote, meeting.story
        assert not (wrote and "nothing was changed" in said), meeting.story
        assert "check the names" not in said, meeting.story
    if second.reached():
        return
    healed = heal.run(world)
    assert healed.exit_code == 0, f"{meeting.story}; then {_told(healed)}"
    assert heal.reached(), f"{meeting.story}; then {_told(healed)}"
