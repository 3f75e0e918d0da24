"""Maintenance mode of a service with many routes: kills, other actors, and the limits of Cloudflare's API."""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import pytest

from ops.core.run_record import read_record
from ops.maintenance.plan_text import CALLS_SECTION
from tests.merge.test_interleavings import check_interleavings
from tests.support.bakery import PERSON, TOKEN
from tests.support.commands import ended, texts
from tests.support.many_routes import ManyRoutes, many_routes
from tests.support.offline import MAINTENANCE_WORKER
from tests.support.scenes import Scene

ROUTE = {"method": "PUT", "path": "/zones/*/workers/routes/*"}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[ManyRoutes]:
    with many_routes(tmp_path, 20) as found:
        yield found


def take_real_time(shop: ManyRoutes) -> None:
    """Let time pass for the run during a call too; a wait of its own still takes none."""
    shop.world.sandbox.clock.virtual, shop.world.sandbox.clock.longest_sleep = False, 0.0


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("sent", [0, 10, 19])
@pytest.mark.parametrize("then", ["on", "off"])
def test_kill_between_routes_is_finished_by_the_same_command_and_undone_by_name(
    shop: ManyRoutes, sent: int, then: str
) -> None:
    before = shop.routes
    shop.world.sandbox.fault(**ROUTE, skip=sent, after=interrupt)
    killed = shop.ops("on")
    assert ended(killed)[:2] == (130, "interrupted")
    led = [each for each in shop.routes.values() if each == MAINTENANCE_WORKER]
    assert len(led) == sent + 1
    assert len(killed.result["outcome"]["changed"]) == 2  # the stored state, which was read back
    assert len(killed.result["outcome"]["unknown"]) == sent + 1

    for _ in range(2):
        assert shop.ops(then).code == 0
    assert shop.run(then).reached()
    assert shop.ops("off").code == 0
    assert shop.routes == before


def test_kill_while_reopening_is_finished_by_the_same_command(shop: ManyRoutes) -> None:
    before = shop.routes
    assert shop.ops("on").code == 0
    shop.world.sandbox.fault(**ROUTE, skip=7, after=interrupt)
    assert ended(shop.ops("off"))[:2] == (130, "interrupted")

    for _ in range(2):
        assert shop.ops("off").code == 0
    assert shop.routes == before


@pytest.mark.parametrize("lost", ["before", "after"])
def test_lost_answer_between_routes_is_settled_by_a_read(shop: ManyRoutes, lost: Any) -> None:
    before = shop.routes
    for state in ("on", "off"):
        shop.world.sandbox.fault(**ROUTE, skip=9, lost=lost)
        assert shop.ops(state).code == 0
        assert shop.run(state).reached()
    assert shop.routes == before


def test_rejected_write_names_what_is_live(shop: ManyRoutes) -> None:
    shop.world.sandbox.fault(**ROUTE, skip=5, status=403, code=10000, times=None)

    outcome = shop.ops("on")

    assert ended(outcome) == (4, "failed", "not_authorised")
    led = {f"Route {pattern}" for pattern, script in shop.routes.items() if script == MAINTENANCE_WORKER}
    assert len(led) == 5
    assert led < set(outcome.result["outcome"]["changed"])
    assert "not changed: " in outcome.result["message"]
    assert outcome.result["message"].endswith("and 5 more")
    assert [e["kind"] for e in outcome.result["timeline"]].count("read_back") == 7


def test_route_that_somebody_changed_meanwhile_is_not_overwritten(shop: ManyRoutes) -> None:
    last = list(shop.routes)[-1]
    shop.world.sandbox.upload("ops-other")
    limited = {"status": 429, "headers": {"retry-after": "6"}}
    shop.world.sandbox.fault(**ROUTE, skip=9, **limited, after=lambda: shop.lead(last, "ops-other"))

    outcome = shop.ops("on")

    assert ended(outcome) == (4, "failed", "world_moved")
    assert shop.routes[last] == "ops-other"


def test_route_is_compared_at_most_a_second_before_its_write(shop: ManyRoutes) -> None:
    take_real_time(shop)
    last = list(shop.routes)[-1]
    shop.world.sandbox.upload("bread-blog")

    def change_meanwhile() -> None:
        shop.lead(last, "bread-blog")
        sleep(1.1)

    shop.world.sandbox.fault(**ROUTE, skip=9, after=change_meanwhile)

    outcome = shop.ops("on")

    assert ended(outcome) == (4, "failed", "world_moved")
    assert shop.routes[last] == "bread-blog"
    assert f"{last} → bread-blog" in outcome.result["message"]


def test_plan_shows_the_calls_of_writes_that_take_time(tmp_path: Path) -> None:
    with many_routes(tmp_path, 8) as shop:
        take_real_time(shop)
        written: list[float] = []
        for method, path in (("PUT", ROUTE["path"]), ("GET", "/zones/*/workers/routes")):
            shop.world.sandbox.fault(method=method, path=path, times=None, after=lambda: sleep(0.3))
        shop.world.sandbox.fault(**ROUTE, times=None, before=lambda: written.append(perf_counter()))

        (line,) = shop.ops("on").result["plan"]["sections"][CALLS_SECTION]

        shown, made = int(re.findall(r"about (\d+)", line)[0]), len(shop.calls)
        further = 2 * int(max(0.0, written[-1] - written[0] - 5.0))  # a busy machine takes longer, and compares again
        assert made - 2 - further <= shown <= made + 3


def test_written_route_that_somebody_changed_is_named(shop: ManyRoutes) -> None:
    first = next(iter(shop.routes))
    shop.world.sandbox.upload("ops-other")
    shop.world.sandbox.fault(**ROUTE, skip=9, after=lambda: shop.lead(first, "ops-other"))

    outcome = shop.ops("on")

    assert ended(outcome) == (4, "failed", "world_moved")
    assert outcome.result["outcome"]["replaced"] == [f"Route {first}"]
    assert len(outcome.result["outcome"]["changed"]) == 2 + 19


@pytest.mark.parametrize(("first", "second"), [("on", "off"), ("off", "on"), ("on", "on"), ("off", "off")])
def test_two_actors_close_and_open_at_once(tmp_path: Path, first: str, second: str) -> None:
    folders = (tmp_path / str(number) for number in count())

    @contextmanager
    def begin() -> Iterator[Scene]:
        with many_routes(next(folders), 6) as shop:
            commands = {state: shop.run(state) for state in ("on", "off")}
            if first == "off":
                assert commands["on"].run(shop.world).exit_code == 0
                shop.world.sandbox.requests.clear()
            yield Scene(shop.world, commands, heal=second)

    assert check_interleavings(begin, first, second) > 20


def test_batch_that_cannot_be_read_back_is_unknown(shop: ManyRoutes) -> None:
    listed = {"method": "GET", "path": "/zones/*/workers/routes", "status": 500, "times": None}
    refuse = {"status": 403, "code": 10000, "times": None}
    shop.world.sandbox.fault(**ROUTE, skip=5, **refuse, before=lambda: shop.world.sandbox.fault(**listed))

    outcome = shop.ops("on")

    assert outcome.result["decision"] in {"failed", "unknown_outcome"}
    assert len(outcome.result["outcome"]["unknown"]) == 5
    assert "nothing was changed" not in outcome.result["message"]
    shop.world.sandbox.faults.clear()
    assert shop.ops("off").code == 0
    assert shop.run("off").reached()


@pytest.fixture
def large(tmp_path: Path) -> Iterator[ManyRoutes]:
    with many_routes(tmp_path, 200) as found:
        yield found


def test_200_routes_close_and_reopen(large: ManyRoutes) -> None:
    before = large.routes
    for state in ("on", "off"):
        large.world.sandbox.requests.clear()
        began = perf_counter()
        for _ in range(2):
            assert ended(large.ops(state))[0] == 0
            assert large.run(state).reached()
        print(state, len(large.calls), perf_counter() - began)
    assert large.routes == before


def test_200_routes_are_stored_in_variables_that_fit(large: ManyRoutes) -> None:
    assert large.ops("on").code == 0

    stored = large.stored
    assert stored["BLOCK_00"]["closed"] == [name for name in stored if name.startswith("ROUTES_")]
    assert sum(len(stored[name]) for name in stored["BLOCK_00"]["closed"]) == 200
    assert all(len(json.dumps(value)) <= 5000 for value in stored.values())


def test_kill_between_200_routes_keeps_what_another_run_may_still_close(large: ManyRoutes) -> None:
    before = large.routes
    large.world.sandbox.fault(**ROUTE, skip=99, after=interrupt)
    assert ended(large.ops("on"))[:2] == (130, "interrupted")

    assert large.ops("off").code == 0

    assert large.routes == before
    assert "BLOCK_00" not in large.stored
    assert large.stored["OPENED_00"]["closed"][0] == "ROUTES_00"
    for state in ("on", "off"):
        assert large.ops(state).code == 0
    assert large.routes == before


@pytest.mark.parametrize("state", ["on", "off"])
def test_window_of_release_0_1_1_is_finished(shop: ManyRoutes, state: str) -> None:
    """It stored all routes in the window's own variable, and was killed after 7 of them."""
    before, sandbox = shop.routes, shop.world.sandbox
    (zone,) = sandbox.zones.all.values()
    routes = [[zone.id, each.pattern, each.id, "shop-web"] for each in zone.routes.values()]
    since = f"{sandbox.clock.now():%Y-%m-%dT%H:%M:%SZ}"
    window = {
        "service": "shop",
        "worker": "shop-web",
        "path": "",
        "message": "back soon",
        "until": "",
        "since": since,
        "run": "20261129T010203-0001",
        "incident": None,
        "closed": routes,
        "subdomain": None,
        "reopen_at_end": False,
        "reopened_by": "",
    }
    variables = [{"type": "json", "name": "BLOCK_00", "json": window}]
    texts = {"RUN": "20261129T010203-0001", "BASE": ""}
    sandbox.deploy(MAINTENANCE_WORKER, sandbox.upload(MAINTENANCE_WORKER, vars=texts, bindings=variables))
    for pattern in list(before)[:7]:
        shop.lead(pattern, MAINTENANCE_WORKER)

    for _ in range(2):
        assert shop.ops(state).code == 0
    assert shop.run(state).reached()
    assert shop.ops("off").code == 0
    assert shop.routes == before


def test_run_waits_before_it_uses_up_the_rate_limit(tmp_path: Path) -> None:
    with many_routes(tmp_path, 1000) as shop:
        outcome = shop.ops("on")

        assert ended(outcome)[0] == 0
        assert shop.run("on").reached()
        assert any("wait about" in line for line in outcome.result["plan"]["warnings"])
        assert [text for text in texts(outcome, "warning") if text.startswith("waiting until")]
        moments = sorted(each.at for each in shop.calls)
        assert len(moments) > 1000
        assert all(
            later - moment >= timedelta(minutes=5) for moment, later in zip(moments, moments[900:], strict=False)
        )


def test_route_that_changes_during_a_wait_is_not_overwritten(tmp_path: Path) -> None:
    with many_routes(tmp_path, 1000) as shop:
        last = list(shop.routes)[-1]
        shop.world.sandbox.upload("ops-other")
        shop.world.sandbox.clock.on_sleep = lambda: shop.lead(last, "ops-other")

        outcome = shop.ops("on")

        assert ended(outcome) == (4, "failed", "world_moved")
        assert shop.routes[last] == "ops-other"


def test_kill_during_a_wait_is_finished_by_the_same_command(tmp_path: Path) -> None:
    with many_routes(tmp_path, 1000) as shop:
        shop.world.sandbox.clock.on_sleep = interrupt
        killed = shop.ops("on")
        assert ended(killed)[:2] == (130, "interrupted")
        assert not shop.run("on").reached()
        shop.world.sandbox.clock.on_sleep = lambda: None

        assert shop.ops("on").code == 0
        assert shop.run("on").reached()


def test_record_of_many_routes_has_its_beginning_and_its_end(tmp_path: Path) -> None:
    with many_routes(tmp_path, 300) as shop:
        hub = shop.made.sandbox.github
        incident = hub.open_issue("The shop leaks", labels=["incident"], author="dana")
        variables = {**hub.environ(), "GITHUB_TOKEN": PERSON, "BAKERY_TOKEN": TOKEN}

        outcome = shop.ops("on", "--incident", str(incident), **variables)

        assert outcome.code == 0
        record = next(filter(None, (read_record(each.body) for each in hub.issue(incident).comments)))
        assert record.decision == "recovered"
        kinds = [row.kind for row in record.rows]
        assert kinds[0] == "requested"
        assert kinds[-1] == "ended"
        assert "Worker ops-maintenance" in [target for target, _, _ in record.versions]
