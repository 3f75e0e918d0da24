"""A restore that gets a signal at any call: its result is true, and the second and third press finish it."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.faults import Fault
from tests.conftest import World
from tests.runbooks.test_restore_database_resumed import (
    BEFORE_LAST,
    assert_finished,
    assert_tells_what_is_closed,
    command,
)
from tests.runbooks.test_restore_database_taken_over import make_place
from tests.support import shopdesk
from tests.support.claims import assert_statements_true
from tests.support.commands import Command, ended
from tests.support.interleavings import effects_since, fresh_world
from tests.support.properties import is_hunt

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MOST = 1000
"""Upper limit of the moments of one restore: before and after each of its calls to Cloudflare and the edge."""
EVERY = 151
"""The merge set sends a signal at each nth moment, the weekly tests at each."""
SHOP_TARGET = "before-migration:0002_currency.sql"
WAYS = ("edge", "switch", "shop")


def make_run(world: World, way: str) -> tuple[Command, Callable[[str], None], Callable[[str], None]]:
    """Return the restore, the check of what it tells when it is interrupted, and the two presses that finish it."""
    if way == "shop":
        return make_shop_run(world)
    place = make_place(world, way)

    def check_told(message: str) -> None:
        assert_tells_what_is_closed(place, message)

    def finish(story: str) -> None:
        lost = len(place.library.restores) if place.library.migrations != ["0001_first.sql"] else 0
        again = place.library.restore(BEFORE_LAST)
        assert again.code == 0, f"{story}; {again.err}"
        assert_finished(place, again, lost=lost)

    return command(place), check_told, finish


def make_shop_run(world: World) -> tuple[Command, Callable[[str], None], Callable[[str], None]]:
    shop = shopdesk.prepared(world)
    before = dict(shop.routes)
    given = ("--database", "orders", "--to", SHOP_TARGET, "--one-person")
    run = Command(world, "restore-database", "", environ={"SHOP_TOKEN": "shop"}, more=given, environment="live")

    def check_told(message: str) -> None:
        is_closed = shop.routes != before
        assert "web stays in maintenance" not in message or is_closed, message
        assert not is_closed or any(f"web {word}" in message for word in ("stays", "is stored", "may stay")), message

    def finish(story: str) -> None:
        again, third = shop.restore(SHOP_TARGET), shop.restore(SHOP_TARGET)
        assert again.code == 0, f"{story}; {again.err}"
        assert ended(third)[:2] == (0, "nothing_to_do"), f"{story}; {third.err}"
        assert shop.routes == before, story
        assert [row["name"] for row in shop.content()["schema_log"]] == ["0001_start.sql"], story

    return run, check_told, finish


def at_moment(world: World, nth: int, send: Callable[[], None]) -> list[str]:
    """Send once, before or after a call to Cloudflare or to the edge. Return a list that gets the call then."""
    left, sent, lock = [nth], list[str](), threading.Lock()

    def count(moment: str) -> Callable[[], None]:
        def act() -> None:
            with lock:
                left[0] -= 1
                if left[0]:
                    return
            sent.append(f"{moment} call {(nth + 1) // 2}")
            send()

        return act

    for place in (world.sandbox.faults, world.sandbox.edge_faults):
        place.add(Fault(times=None, before=count("before"), after=count("after")))
    return sent


def check_signal(world: World, way: str, number: int, nth: int) -> bool:
    """Send the signal at the nth moment, and press twice more. Return whether the restore had so many moments."""
    run, check_told, finish = make_run(world, way)
    begin = len(world.sandbox.requests)
    sent = at_moment(world, nth, run.send(number))
    first = run.run()
    for place in (world.sandbox.faults, world.sandbox.edge_faults):
        place.clear()
    if not sent:
        return False
    story = f"{way}: {signal.Signals(number).name} {sent[0]}: {first.code} {first.err[-400:]}"
    if first.out:
        assert_statements_true(first.result, effects_since(world, begin), story)
    assert first.code in {0, 130}, story
    world.sandbox.clock.advance(90)  # until KV shows it
    if first.out and first.result["decision"] == "interrupted":
        check_told(first.result["message"])
    finish(story)
    return True


@pytest.mark.hypothesis
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: signal.Signals(number).name)
@pytest.mark.parametrize("way", WAYS)
def test_restore_that_gets_a_signal_at_any_call_is_finished(tmp_path: Path, way: str, number: int) -> None:
    """With --hypothesis-profile=hunt it gets one before and after each call."""
    first = 1 if is_hunt() else 5 + 17 * (WAYS.index(way) + len(WAYS) * SIGNALS.index(number))
    for nth in range(first, MOST, 1 if is_hunt() else EVERY):
        with fresh_world(tmp_path) as world:
            if not check_signal(world, way, number, nth):
                assert nth > first
                return
    raise AssertionError(f"the restore has more than {MOST} moments")
