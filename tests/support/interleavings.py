"""Two concurrent runs: one pauses at a request while the other runs, and each may be killed at a write."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from ops.app import database_guard, registry
from ops.app import run as app
from ops.app.database_guard import GuardOptions
from ops.core.errors import EXIT_CODES, Decision, OpsError, Reason
from ops.core.redaction import Redactor
from ops.core.run import EndedRun
from ops.core.timeline import EventKind, RunEvent
from ops.database.guard_result import MigrationGuardResult
from ops.engine.engine import RunOptions
from ops.engine.runbook import params_type
from ops.engine.signals import SignalHandler
from sandbox import Sandbox
from sandbox.faults import Fault, Faults
from sandbox.records import RequestRecord, parse_body, sender_of
from sandbox.server import HttpRequest
from tests.conftest import ACCOUNT, REFERENCE, World
from tests.support.claims import is_write
from tests.support.in_process import answered_in_process

WRITES = ("POST", "PUT", "PATCH", "DELETE")
LONGEST = 60.0
"""Timeout of the second run in real seconds."""
NO_PROOF = EXIT_CODES[Decision.NO_EVIDENCE]
"""A service that another one keeps closed, or without an admin token, proves nothing."""
VISIBLE_AFTER = 120.0
"""Seconds after which every read shows the last write."""


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
    stops_for: frozenset[str] = frozenset()
    """Reasons for which it may stop for good, because the other run wants the opposite."""
    kept: Callable[[], object] = lambda: None
    """State that a further press must leave as it is, once the world has its goal."""

    def with_own_token(self, world: World) -> "RequestedRun":
        """Return the run with tokens of its own, by which its requests are known."""
        given = {**world.sandbox.environ(), **self.environ}
        own = {name: copy for name, value in given.items() if (copy := world.sandbox.copy_token(value)) != value}
        return replace(self, environ={**self.environ, **own})

    def senders(self, world: World) -> frozenset[str]:
        """Return the senders of its requests to Cloudflare."""
        return frozenset(sender_of(f"Bearer {each}") for each in {**world.sandbox.environ(), **self.environ}.values())

    @property
    def writes_to_github(self) -> bool:
        return any(path.startswith("/repos/") for _, path in registry.load_runbook(self.name).writes)

    def __str__(self) -> str:
        return " ".join([self.name, *(str(value) for value in self.params.values() if value and value != "api")])

    def run(
        self, world: World, *, dry_run: bool = False, at_event: Callable[[object], None] = lambda _: None
    ) -> EndedRun:
        """Run in this thread without signals and output; each run has its own ID, record and client."""
        runbook = registry.load_runbook(self.name)
        options = RunOptions(dry_run=dry_run, confirm=lambda _: False, show_plan=lambda _: None, probe_wait=30.0)
        request = app.RunRequest(
            runbook=runbook,
            params=params_type(runbook)(**self.params),
            environment=self.environment,
            config=world.config,
            incident=self.incident,
        )
        environ = {**world.sandbox.environ(), **self.environ}
        return app.run_runbook(request, environ, Redactor(), sink=at_event, options=options, signals=SignalHandler())[0]


@dataclass(frozen=True)
class RequestedGuard(RequestedRun):
    """The guard of a deployment, which is no runbook. Its parameter is the wrangler file."""

    @property
    def writes_to_github(self) -> bool:
        return False

    def run(
        self, world: World, *, dry_run: bool = False, at_event: Callable[[object], None] = lambda _: None
    ) -> EndedRun:
        environ = {**world.sandbox.environ(), **self.environ}
        database, account = database_guard.describe_database(GuardOptions(**self.params), environ)
        known = MigrationGuardResult(database)
        error: OpsError | None = None
        try:
            database_guard.run_guard(known, account, environ, dry_run=dry_run, say=at_event, keep=lambda: None)
        except OpsError as raised:
            error = raised
        decision = Decision.RECOVERED if known.applied else Decision.NOTHING_TO_DO
        ended: dict[str, Any] = {"reason": Reason.VERIFIED}
        if error:
            decision = error.decision or Decision.FAILED
            ended = {"reason": error.reason, "message": error.message, "hint": error.hint}
        now = world.sandbox.clock.now()
        events = (
            RunEvent(1, now, 0.0, EventKind.REQUESTED, self.name, {"runbook": self.name}),
            RunEvent(2, now, 0.0, EventKind.ENDED, decision, ended),
        )
        return EndedRun(
            id="",
            events=events,
            exit_code=error.exit_code if error else 0,
            full_plan=None,
            before=None,
            after=None,
            outcome={},
            has_moved_traffic=bool(known.bookmark),
        )


class Killed(BaseException):
    """The machine of the run is gone: it sends nothing more, also not at its end."""


@dataclass(frozen=True)
class Moment:
    """A moment of a run: before or after its request, or its write, with this number from 1."""

    nth: int
    when: str = "before"
    is_write: bool = False

    def __str__(self) -> str:
        return f"{self.when} its {'write' if self.is_write else 'request'} {self.nth}"


class Actor:
    """One of two runs in a world, and what became of it.

    Requests to Cloudflare are known by its token. Of those to GitHub and the edge, it has all while it `is_active`.
    """

    def __init__(self, world: World, asked: RequestedRun, at_end: Callable[["Actor"], object] = lambda _: None) -> None:
        self._at_end = at_end
        self.asked = asked.with_own_token(world)
        self._world, self.senders = world, self.asked.senders(world)
        self._since = len(world.sandbox.requests)
        self.is_active = self.is_dead = False
        self.result: EndedRun | None = None
        """None: it was killed, or did not run."""
        self.reached = False
        """Whether the world had its goal at its end."""
        self.marks = list[int]()
        """Number of requests to Cloudflare before each of its events and of its requests to GitHub and the edge."""
        self._goes_on = threading.Event()
        self._goes_on.set()

    def run(self) -> None:
        """Run it; one that is killed has no result."""
        self.is_active = True
        try:
            self.result = self.asked.run(self._world, at_event=self._wait)
        except Killed:  # also a request to the edge that it sent in the moment of the other run's death
            self.is_dead = True
        except BaseException:
            if not self.is_dead:
                raise
        finally:
            self.is_active = False
        self.reached = self.asked.reached()
        if self.result is not None:
            self._at_end(self)

    def _wait(self, _event: object) -> None:
        self.mark()
        self._goes_on.wait(LONGEST)

    def mark(self) -> None:
        self.marks.append(len(self._world.sandbox.requests))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the run back: its requests by the caller's thread, which is one of them, and the rest at its next event."""
        self.is_active = False
        self._goes_on.clear()
        try:
            yield
        finally:
            self.is_active = True
            self._goes_on.set()

    @property
    def effects(self) -> list[RequestRecord]:
        """Its writes that took effect."""
        return [each for each in effects_since(self._world, self._since) if each.sender in self.senders]

    @contextmanager
    def at(self, moment: Moment, call: Callable[[bool], object]) -> Iterator[None]:
        """Call this once at the moment, with whether that is a request to the edge.

        Consecutive ones to the edge count as one, and queries of analytics as none.
        """
        count = _Count(moment.nth)
        cloudflare = _is_write if moment.is_write else lambda _: True

        def act(*, is_edge: bool = False) -> None:
            if self.is_active and not self.is_dead and count(is_edge=is_edge):
                call(is_edge)

        with self._hooks(act, moment.when, cloudflare, only_writes=moment.is_write):
            yield

    @contextmanager
    def killed(self, moment: Moment, first: Callable[[bool], object] = lambda _: None) -> Iterator[None]:
        """Let the run die at the moment, after the call of `first`."""

        def die(is_edge: bool) -> None:
            first(is_edge)
            self.is_dead = True
            raise Killed

        def gone(*, is_edge: bool = False) -> None:
            if self.is_dead and self.is_active:
                raise Killed

        with self._hooks(gone, "before", lambda _: True), self.at(moment, die):
            yield

    @contextmanager
    def _hooks(
        self,
        call: Callable[..., None],
        when: str,
        cloudflare: Callable[[HttpRequest], bool],
        *,
        only_writes: bool = False,
    ) -> Iterator[None]:
        sandbox = self._world.sandbox

        def fault(of: Faults, call: Callable[[], None], **which: Any) -> None:
            before, after = (call, None) if when == "before" else (None, call)
            rule = Fault(times=None, is_prompt=True, before=before, after=after, **which)
            ending.callback(of.add(rule).remove)

        with ExitStack() as ending:
            for path in ("/accounts/**", "/zones/**"):  # not /graphql: the run goes on while it reads that
                fault(sandbox.faults, call, path=path, when=lambda each: self._is_own(each) and cloudflare(each))
            fault(sandbox.github.faults, self._marked(call), when=lambda each: not only_writes or each.method in WRITES)
            if not only_writes:
                fault(sandbox.edge_faults, self._marked(partial(call, is_edge=True)))
            yield

    def _marked(self, call: Callable[[], None]) -> Callable[[], None]:
        def marked() -> None:
            if self.is_active:
                self.mark()
            call()

        return marked

    def _is_own(self, request: HttpRequest) -> bool:
        return sender_of(request.headers.get("authorization", "")) in self.senders


class _Count:
    """Counts calls, and is true for the nth. Consecutive ones at the edge are one."""

    def __init__(self, nth: int) -> None:
        self._left, self._was_edge, self._lock = nth, False, threading.Lock()

    def __call__(self, *, is_edge: bool) -> bool:
        with self._lock:
            is_same, self._was_edge = is_edge and self._was_edge, is_edge
            self._left -= not is_same
            return not is_same and self._left == 0


def _is_write(request: HttpRequest) -> bool:
    return is_write(request.method, request.path, parse_body(request))


def effects_since(world: World, begin: int) -> list[RequestRecord]:
    """Return the writes to Cloudflare that took effect, from this request on."""
    sent = [each for each in world.sandbox.requests[begin:] if is_sent_write(each)]
    return [each for each in sent if each.effect is not None and 200 <= each.effect < 300]


class Pause:
    """Runs `second` completely while `first` waits at a moment."""

    def __init__(self, world: World, first: Actor, second: Actor) -> None:
        self._world, self._first, self._second = world, first, second
        self._ended = threading.Event()
        self.began: int | None = None
        """Number of requests before it."""
        self.ended_at = world.sandbox.clock.now()
        """Time at which the first run goes on."""
        self.error: BaseException | None = None
        self.had_reached = False
        """Whether the first run paused with its goal reached."""
        self.was_proved = False
        """Whether that was in its probes: parallel probes may have passed."""
        self.written = 0
        """Writes of the first run before."""

    def __call__(self, is_edge: bool) -> None:
        self.began = len(self._world.sandbox.requests)
        with self._first.paused():
            self.had_reached, self.written = self._first.asked.reached(), len(self._first.effects)
            self.was_proved = is_edge and self.had_reached
            try:
                self._second.run()
            except BaseException as error:  # noqa: BLE001  raised again in the test's own thread
                self.error = error
            self.ended_at = self._world.sandbox.clock.now()
        self._ended.set()

    def wait(self) -> bool:
        """Wait for the second run, and return whether it ran. The first one does not wait for every read."""
        if self.began is None:
            return False
        assert self._ended.wait(LONGEST)
        if self.error is not None:
            raise self.error
        return True


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
    first_wrote: list[RequestRecord]
    second_wrote: list[RequestRecord]
    """Writes to Cloudflare that took effect."""
    awaited: str = ""
    """Method and path of the request that the first run sent when the second one had ended."""
    was_done: bool = False
    """Whether the first run paused after its last write, with its goal reached."""
    had_written: bool = False
    """Whether the first run paused after a write to Cloudflare."""
    had_reached: bool = False
    """Whether the first run paused with its goal reached."""
    alike: int = 0
    """Number of next meetings, before the following requests of the first run, that would be the same."""

    @property
    def story(self) -> str:
        """Summary for the message of an assertion."""
        return (
            f"before request {self.nth} ({self.awaited}); first: {tell(self.first, self.first_wrote)}; "
            f"second: {tell(self.second, self.second_wrote)}"
        )


def tell(result: EndedRun | None, wrote: list[RequestRecord]) -> str:
    """Return a run's end and writes for the message of an assertion."""
    said = (
        f"{result.runbook} → {result.exit_code} {result.decision} {result.reason}: {result.message}" if result else "-"
    )
    paths = [f"{each.method} {each.path.partition('/accounts/')[2].partition('/')[2] or each.path}" for each in wrote]
    return f"{said}, wrote {paths}"


@contextmanager
def fresh_world(folder: Path) -> Iterator[World]:
    """Make one of many worlds of a test, reached without sockets."""
    folder.mkdir(exist_ok=True)
    config = (REFERENCE / "ops.yml").read_text().replace("deadline: 2m", "deadline: 10s")
    (folder / "ops.yml").write_text(config.replace("successes: 3", "successes: 1"))
    with answered_in_process(), Sandbox(account_id=ACCOUNT, virtual_clock=True) as sandbox:
        yield World(sandbox, folder)


def interleave(
    world: World,
    first: RequestedRun,
    second: RequestedRun,
    nth: int,
    *,
    only_writes: bool = False,
    at_end: Callable[[Actor], object] = lambda _: None,
) -> Interleaving | None:
    """Run both. Return None if the first run has fewer requests to Cloudflare, GitHub and the edge.

    `at_end` is called at the end of the second one.
    """
    one, other = Actor(world, first), Actor(world, second, at_end)
    pause = Pause(world, one, other)
    with one.at(Moment(nth, is_write=only_writes), pause):
        one.run()
        if not pause.wait():
            return None
    return describe_meeting(world, one, other, pause, nth)


def describe_meeting(world: World, one: Actor, other: Actor, pause: Pause, nth: int) -> Interleaving:
    """Return what two runs that both ended did."""
    assert one.result is not None
    assert other.result is not None
    awaited = next((f"{each.method} {each.path}" for each in world.sandbox.requests[: pause.began][-1:]), "")
    was_done = pause.had_reached and 0 < len(one.effects) == pause.written
    return Interleaving(
        nth,
        one.result,
        other.result,
        other.reached,
        pause.was_proved,
        one.effects,
        other.effects,
        awaited,
        was_done,
        pause.written > 0,
        pause.had_reached,
        count_alike(world, one, other, pause),
    )


def count_alike(world: World, one: Actor, other: Actor, pause: Pause) -> int:
    """Count the next meetings that would be this one, because only reads of the first run lie between.

    A read of a product that the second run does not change gives the same before and after it. A write, a wait, an
    event and a request elsewhere of the first run end the row. Before the first write there is none: a plan reads
    several products at once, in an order that varies.
    """
    if not pause.written:
        return 0
    began, requests = pause.began or 0, world.sandbox.requests
    end = min((each for each in one.marks if each >= began), default=len(requests))
    row = [each for each in requests[began - 1 : end] if each.sender in one.senders and each.at <= pause.ended_at]
    written = {product_of(each) for each in requests if each.sender in other.senders and is_sent_write(each)}
    reads = takewhile(lambda each: not is_sent_write(each) and product_of(each) not in written, row[:-1])
    return len(list(reads))


def is_sent_write(request: RequestRecord) -> bool:
    return is_write(request.method, request.path, request.body)


def product_of(request: RequestRecord) -> str:
    """Return the product of Cloudflare that a request reads or changes."""
    return next((each for each in ("d1", "kv") if f"/{each}/" in request.path), "")


def must_last(meeting: Interleaving, second: RequestedRun) -> bool:
    """Return whether the second run's change must last: both succeed, and it came amid the writes of the first.

    A service that it found closed must stay closed too.
    No provider compares a write with the state before, so a change right between a comparison and its write is unseen.
    """
    is_amid = meeting.had_written and not (meeting.was_proved or meeting.was_done)
    method, _, path = meeting.awaited.partition(" ")
    is_unseen = method in WRITES and not path.endswith(("/query", "/bulk/get"))
    is_unseen |= any(each.path.endswith("/time_travel/restore") for each in meeting.first_wrote) and "/d1/" in path
    if "/d1/" in path and not any("/d1/" in each.path for each in meeting.second_wrote):
        is_unseen = False  # a restore of the database overwrites no other change
    both_succeed = meeting.first.exit_code == meeting.second.exit_code == 0
    holds = bool(meeting.second_wrote) or second.params.get("state") == "on"
    return is_amid and meeting.second_reached and holds and both_succeed and not is_unseen
