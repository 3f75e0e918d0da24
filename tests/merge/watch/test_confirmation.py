"""No watch confirms what it saw once: its looks span at least 30 seconds, for each kind. Runners sleep at random."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.app.scope import Place
from ops.core.errors import Decision
from ops.core.redaction import Redactor
from ops.watch.start import WatchPlace, watch_services
from tests.conftest import World, job_environ
from tests.support import offline
from tests.support.claims import case_world
from tests.support.properties import holds_for
from tests.support.shop import SITE, WORKER, open_shop
from tests.watch.test_closure import READS
from tests.watch.test_watch import RIGHTS, at_round

CONFIRMED = {Decision.MITIGATED, Decision.NOTHING_TO_DO}
LENGTHS = [timedelta(minutes=minutes) for minutes in (2, 5, 20)]
NAPS = st.dictionaries(st.integers(1, 40), st.sampled_from([20, 45, 100, 400, 1500]), max_size=3)
"""Number of rounds → seconds for which the machine then sleeps."""
LAST_ROUND = 40
"""Of a watch of 20 minutes."""


def confirm(world: World, place: Place, token: str, length: timedelta, naps: dict[int, int], **more: Any) -> None:
    """Watch, and require of a confirmation that the first and the last look are 30 seconds apart."""
    sandbox = world.sandbox
    begun, requests = len(sandbox.edge.served), len(sandbox.requests)
    environ = {**sandbox.environ(), **job_environ(sandbox.github), "SHOP_TOKEN": token, "CLOUDFLARE_API_TOKEN": token}
    actions: dict[int, Callable[[], object]] = {
        number: partial(sandbox.clock.advance, seconds) for number, seconds in naps.items()
    }

    (result,) = watch_services(
        [WatchPlace(place, None, **more)],
        world.config,
        environ,
        Redactor(),
        duration=length,
        on_round=at_round(actions),
    )

    reads = [each.at for each in sandbox.requests[requests:]]
    looks: list[datetime] = [each.at for each in list(sandbox.edge.served)[begun:]] or reads
    assert result.ended_at is not None
    if result.decision in CONFIRMED:
        assert looks[-1] - looks[0] >= timedelta(seconds=30), (result.state.rounds, looks[0], looks[-1])
        assert result.ended_at - looks[-1] <= timedelta(seconds=90), (result.state.rounds, looks[-1])


@pytest.mark.parametrize("nap", [100, 1500])
def test_machine_that_wakes_up_after_the_end_looks_once_more(nap: int) -> None:
    with case_world(None) as world:
        shop = open_shop(world)
        world.sandbox.deploy(WORKER, shop.good)

        token = world.sandbox.add_token("watcher", RIGHTS)
        confirm(world, Place("live", "web"), token, timedelta(minutes=20), {LAST_ROUND: nap})


@holds_for(fast=4, slow=60, kind=st.sampled_from(["web", "docs"]), length=st.sampled_from(LENGTHS), naps=NAPS)
def test_health_is_confirmed_over_half_a_minute(kind: str, length: timedelta, naps: dict[int, int]) -> None:
    with case_world(None) as world:
        shop = open_shop(world)
        world.sandbox.deploy(WORKER, shop.good)
        world.sandbox.pages.rollback(SITE, world.sandbox.pages.deployments(SITE)[-1].id)

        confirm(world, Place("live", kind), world.sandbox.add_token("watcher", RIGHTS), length, naps)


@holds_for(fast=2, slow=20, length=st.sampled_from(LENGTHS), naps=NAPS)
def test_closed_service_is_confirmed_over_half_a_minute(length: timedelta, naps: dict[int, int]) -> None:
    with case_world(None) as world, offline.prepared(world) as place:
        assert place.on().code == 0

        token = world.sandbox.add_token("reading", READS)
        confirm(world, Place("production", "api"), token, length, naps, is_closed=True)
