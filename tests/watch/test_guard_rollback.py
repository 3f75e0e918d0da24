"""`ops guard --on-bad rollback`: two sources, one source, others who act meanwhile, kills, and GitHub down."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from threading import Event, Lock
from typing import Any

import pytest

from ops.core.run_record import read_record
from sandbox.faults import Fault
from tests.conftest import Outcome
from tests.support.shop import WORKER, Shop
from tests.watch.test_guard import RIGHTS, count, guard, release, shop

__all__ = ["shop"]
HOST = "web.shop.example"
ROLLBACK = [*RIGHTS, "Workers Scripts Write", "Analytics Read", "Zone Read"]


class Killed(BaseException):
    """The runner is gone."""


@pytest.fixture
def bad(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bad version that was deployed just now; requests of others fail too while it is live.

    The variables stay: a command that ends would take them from one that began meanwhile, and lasts longer.
    """
    for name, value in (shop.world.sandbox.environ() | shop.world.sandbox.github.environ()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SHOP_TOKEN", shop.world.sandbox.add_token("guard-writes", ROLLBACK))
    zone = shop.world.sandbox.zones.all[shop.world.sandbox.zones.add(HOST)]
    shop.world.sandbox.zones.add_domain(zone, HOST, WORKER)
    version = release(shop, "broken", 500)
    send(shop, {version})
    return version


def send(shop: Shop, failing: set[str], act: Callable[[], object] = lambda: None) -> None:
    """Let others send requests at the end of each pause. They fail while a failing version is live."""
    sandbox = shop.world.sandbox
    zone = sandbox.zones.find(HOST)
    assert zone is not None

    def pass_time() -> None:
        status = 500 if failing & shop.live.keys() else 200
        for number in range(9):
            address = f"198.51.100.{number}"
            sandbox.analytics.add_requests(zone.id, HOST, "/cart", address, at=sandbox.clock.now(), status=status)
        act()

    sandbox.clock.on_sleep = pass_time


def fail(shop: Shop, figures: str, version: str, *, at: timedelta = timedelta(0)) -> None:
    """Add failed requests of others to the figures of the host, or of the Worker."""
    analytics, zone = shop.world.sandbox.analytics, shop.world.sandbox.zones.find(HOST)
    if figures == "Worker":
        count(shop, version, 200, failed=200, at=at)
    elif zone is not None:
        moment = shop.world.sandbox.clock.now() + at
        analytics.add_requests(zone.id, HOST, "/cart", "198.51.100.1", at=moment, status=500, count=9)


def roll_back(shop: Shop, *arguments: str, **environ: str | None) -> Outcome:
    token = shop.world.sandbox.add_token("guard-writes", ROLLBACK)
    return guard(shop, "--on-bad", "rollback", *arguments, **{"SHOP_TOKEN": token, **environ})


def incidents(shop: Shop) -> list[Any]:
    return [each for each in shop.world.sandbox.github.issues if each.state == "open"]


def test_two_sources_roll_the_deployment_back_once(shop: Shop, bad: str) -> None:
    first, second = roll_back(shop), roll_back(shop, "--version", bad)

    assert (first.code, first.result["reason"]) == (6, "bad_deployment"), first.err
    assert first.result["rollback"]["decision"] == "recovered"
    assert shop.live == {shop.good: 100}
    mark = shop.world.sandbox.deployments(WORKER)[0].annotations["workers/message"]
    assert f"incident=1 run={first.result['rollback']['run']} blames={bad}" in mark
    (issue,) = incidents(shop)
    (run,) = [read for each in issue.comments if (read := read_record(each.body)) and read.source == "run"]
    assert (run.runbook, run.decision) == ("rollback-worker", "recovered")
    assert run.durations["write"] == 0, "the time begins when the guard starts the rollback"
    assert (second.code, second.result["reason"]) == (8, "already_stepped_back")
    assert len(shop.world.writes()) == 1


def test_default_in_ops_yml_rolls_back(shop: Shop, bad: str) -> None:
    shop.world.edit_config(
        "        probes:\n          - name: cart",
        "        guard: {on_bad: rollback}\n        probes:\n          - name: cart",
    )

    done = guard(shop, SHOP_TOKEN=shop.world.sandbox.add_token("guard-writes", ROLLBACK))

    assert (done.code, shop.live) == (6, {shop.good: 100})


def test_probes_alone_open_the_incident_and_roll_nothing_back(shop: Shop, bad: str) -> None:
    """The network of the runner can make all probes fail, while others are served."""
    send(shop, set())

    done = roll_back(shop)

    assert (done.code, done.result["incident"], done.result["rollback"]) == (6, 1, None)
    assert f"{HOST} failed 0 of" in done.result["actions"][-1]
    assert shop.live == {bad: 100}
    assert shop.world.writes() == []


@pytest.mark.parametrize("figures", ["host", "Worker"])
def test_deployment_is_kept_if_requests_failed_before_it(shop: Shop, bad: str, figures: str) -> None:
    """Something else is broken, such as a database."""
    rights = ROLLBACK if figures == "host" else [*RIGHTS, "Workers Scripts Write"]
    for minutes in range(2, 10):
        fail(shop, figures, shop.good, at=-timedelta(minutes=minutes))
    shop.world.sandbox.clock.on_sleep = lambda: fail(shop, figures, bad)

    done = roll_back(shop, SHOP_TOKEN=shop.world.sandbox.add_token("guard-writes", rights))

    assert (done.code, done.result["incident"], done.result["rollback"]) == (6, 1, None), done.result
    assert "before the deployment too" in done.result["actions"][-1]
    assert "rollback-worker" not in done.result["next"]
    assert shop.live == {bad: 100}


@pytest.mark.parametrize("before", [[5], range(12, 20)], ids=["one minute", "outage that was over"])
def test_too_few_failures_right_before_it_keep_no_deployment(shop: Shop, bad: str, before: Iterable[int]) -> None:
    for minutes in before:
        fail(shop, "host", shop.good, at=-timedelta(minutes=minutes))

    assert roll_back(shop).result["rollback"]["decision"] == "recovered"


def test_figures_alone_roll_nothing_back(shop: Shop, bad: str) -> None:
    healthy = release(shop, "healthy")
    sandbox = shop.world.sandbox

    send(shop, {healthy}, lambda: count(shop, healthy, 50, failed=20))
    done = roll_back(shop)

    assert (done.code, done.result["incident"], done.result["rollback"]) == (6, 1, None)
    assert (shop.live, sandbox.github.issues[0].state) == ({healthy: 100}, "open")


@pytest.mark.parametrize("what", ["probes recover", "incident closed", "newer deployment", "rolled back by hand"])
def test_nothing_is_rolled_back_if_it_changed_during_the_wait(shop: Shop, bad: str, what: str) -> None:
    sandbox, done = shop.world.sandbox, list[str]()

    def change() -> None:
        if not incidents(shop) or done:
            return
        done.append(what)
        if what == "probes recover":
            sandbox.edge_fault(path="/cart", status=200, body=f'{{"version": "{bad}"}}', times=None)
        elif what == "incident closed":
            sandbox.github.close(1, "mai")
        elif what == "newer deployment":
            release(shop, "newer", 500)
        else:
            sandbox.deploy(WORKER, shop.old, author="mai@shop.example")

    send(shop, {bad}, change)
    ended = roll_back(shop)

    assert (ended.code, ended.result["rollback"], done) == (6, None, [what]), ended.result
    assert shop.world.writes() == []
    assert ended.result["actions"][-1].startswith("No rollback: ")
    is_replaced = what in {"newer deployment", "rolled back by hand"}
    assert ("rollback-worker" in ended.result["next"]) != is_replaced, "it would undo the other deployment"


def test_stop_of_all_recoveries_keeps_the_deployment_until_it_is_lifted(shop: Shop, bad: str) -> None:
    hub = shop.world.sandbox.github
    number = hub.open_issue("A release is under way", "", [], "mai")
    hub.label(number, "ops:stopped", "github-actions[bot]")

    stopped = roll_back(shop)
    hub.unlabel(number, "ops:stopped", "github-actions[bot]")
    lifted = roll_back(shop)

    assert (stopped.code, stopped.result["rollback"], stopped.result["incident"]) == (6, None, 2)
    assert "recoveries are stopped until" in stopped.result["actions"][-1]
    assert (lifted.code, lifted.result["rollback"]["decision"], shop.live) == (6, "recovered", {shop.good: 100})


def test_stop_holds_although_the_incident_cannot_be_read(shop: Shop, bad: str) -> None:
    hub = shop.world.sandbox.github
    hub.label(hub.open_issue("A release is under way", "", [], "mai"), "ops:stopped", "github-actions[bot]")
    hub.fault(method="GET", path="/repos/*/*/issues/2", status=502, times=None)

    done = roll_back(shop)

    assert (done.code, done.result["rollback"], done.result["incident"]) == (6, None, 2), done.result


def test_rollback_does_not_wait_for_github(shop: Shop, bad: str) -> None:
    shop.world.sandbox.github.fault(path="/**", status=503, times=None)

    done = roll_back(shop)

    assert (done.code, done.result["incident"]) == (6, None)
    assert done.result["rollback"]["decision"] == "recovered"
    assert shop.live == {shop.good: 100}


def test_refusal_of_the_runbook_holds(shop: Shop, bad: str) -> None:
    sandbox = shop.world.sandbox
    sandbox.fault(method="POST", path="/accounts/*/workers/scripts/*/deployments", status=400, code=10220, times=None)

    done = roll_back(shop)

    assert (done.code, done.result["rollback"]["decision"]) == (6, "refused"), done.result
    assert "--current-secrets" in done.result["next"], "the same command again is refused again"
    assert shop.live == {bad: 100}


MOMENTS = range(1, 51)
"""Requests to Cloudflare after the incident was opened; a guard that rolls back sends fewer."""


class Moment:
    """The moment right before the nth request to Cloudflare after the incident was opened, at which others act.

    A request that the guard no longer waits for may come late. After `finish` it starts no act, which would last
    into the next test.
    """

    def __init__(self, shop: Shop, nth: int, act: Callable[[], object]) -> None:
        self._shop, self._nth, self._act = shop, nth, act
        self._lock, self._acted, self._sent, self._is_over = Lock(), Event(), 0, False
        shop.world.sandbox.faults.add(Fault(path="/**", times=None, is_prompt=True, before=self._before))

    def _before(self) -> None:
        with self._lock:
            if self._is_over or not self._shop.world.sandbox.github.issues:
                return
            self._sent += 1
            is_nth = self._sent == self._nth
        if is_nth:
            try:
                self._act()
            finally:
                self._acted.set()

    def finish(self) -> None:
        """Start no act from now on, and wait for the end of one that began."""
        with self._lock:
            self._is_over, has_begun = True, self._sent >= self._nth
        assert not has_begun or self._acted.wait(60), "the act of the others has not ended"
        assert not has_begun or self._nth < MOMENTS[-1], "a guard sends more requests than are tried"


@pytest.mark.sampled(9)
@pytest.mark.parametrize("who", ["newer deployment", "rollback by hand", "second guard"])
@pytest.mark.parametrize("nth", MOMENTS)
def test_change_of_another_is_never_undone_without_its_name(shop: Shop, bad: str, who: str, nth: int) -> None:
    others: list[Any] = []
    acts: dict[str, Callable[[], object]] = {
        "newer deployment": lambda: release(shop, "newer", 500),
        "rollback by hand": lambda: (shop.world.sandbox.deploy(WORKER, shop.old, author="mai@shop.example"), shop.old)[
            1
        ],
        "second guard": lambda: roll_back(shop, "--version", bad),
    }

    moment = Moment(shop, nth, lambda: others.append(acts[who]()))
    done = roll_back(shop)
    moment.finish()

    assert done.code == 6, done.err
    assert len(incidents(shop)) == 1
    if not others or who == "second guard":
        assert shop.live == {shop.good: 100}
    elif shop.live != {others[0]: 100}:
        assert shop.live == {shop.good: 100}
        told = done.out + done.err + "".join(each.body for each in incidents(shop)[0].comments)
        assert others[0][:8] in told, "the change of the other is named"


@pytest.mark.sampled(4)
@pytest.mark.parametrize("nth", MOMENTS[::4])
def test_two_guards_of_two_bad_deployments_name_what_they_undo(shop: Shop, bad: str, nth: int) -> None:
    """A person deploys a second bad version while the first one is guarded, and guards it too."""
    others: list[Outcome] = []
    newer: list[str] = []

    def act() -> None:
        newer.append(release(shop, "newer", 500))
        send(shop, {bad, newer[0]})
        others.append(roll_back(shop, "--version", newer[0]))

    moment = Moment(shop, nth, act)
    done = roll_back(shop)
    moment.finish()

    assert done.code == 6, done.err
    assert len(incidents(shop)) == 1 + len(others)
    undone = [each for each in (bad, *newer) if each not in shop.live]
    marks = [each.annotations.get("workers/message", "") for each in shop.world.sandbox.deployments(WORKER)]
    told = "".join([done.out, done.err, *(each.out + each.err for each in others), *marks])
    assert all(each[:8] in told for each in undone)
    assert shop.live.keys() <= {shop.good, *newer}, "no guard deploys a version that a guard found bad"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # threads of the killed one
@pytest.mark.sampled(9)
@pytest.mark.parametrize("nth", MOMENTS)
def test_guard_after_a_kill_finishes_the_rollback(shop: Shop, bad: str, nth: int) -> None:
    dead: list[Fault] = []

    def gone() -> None:
        raise Killed

    def die() -> None:
        every = Fault(path="/**", times=None, is_prompt=True, before=gone)
        dead.extend(each.add(every) for each in (shop.world.sandbox.faults, shop.world.sandbox.github.faults))
        raise Killed

    moment = Moment(shop, nth, die)
    with suppress(Killed):
        roll_back(shop)
    moment.finish()
    for each in (shop.world.sandbox.faults, shop.world.sandbox.github.faults):
        each.clear()

    again = roll_back(shop, "--version", bad)

    assert again.code in {6, 8}, again.err
    assert shop.live == {shop.good: 100}
    assert len(incidents(shop)) == 1
    applied = [each for each in shop.world.writes() if each.effect == 200]
    assert len(applied) == 1, "it was rolled back once"
