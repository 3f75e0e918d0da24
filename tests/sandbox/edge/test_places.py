"""Data centers of the edge: a client reaches one, whose machines change one after the other."""

from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from sandbox import Sandbox
from sandbox.edge.places import PLACES, EdgePlaces
from tests.conftest import WORKER

PROJECT, SITE_HOST, WORKER_HOST = "shop-docs", "docs.shop.example", "web.shop.example"


@pytest.fixture
def ask(sandbox: Sandbox) -> Callable[..., tuple[str, str]]:
    """Return a function that returns the text of an answer and its place."""
    sandbox.switches.edge_machines_differ = True

    def ask(host: str, **headers: str) -> tuple[str, str]:
        answer = httpx.get(f"{sandbox.edge_url}/", headers={"host": host, **headers})
        return answer.text, answer.headers["cf-ray"][-3:]

    return ask


def release(sandbox: Sandbox, text: str, at: timedelta) -> None:
    when = sandbox.clock.now() - at
    sandbox.deploy(WORKER, sandbox.upload(WORKER, behaviour={"status": 200, "body": text}, at=when), at=when)
    if PROJECT not in sandbox.pages.projects:
        sandbox.pages.add_project(PROJECT, domains=[SITE_HOST])
    sandbox.pages.add_deployment(PROJECT, files={"index.html": text.encode()}, at=when)


@pytest.mark.parametrize(("host", "lag"), [(WORKER_HOST, 4.0), (SITE_HOST, 40.0)], ids=["Worker", "site"])
def test_machines_of_one_place_change_one_after_the_other(
    sandbox: Sandbox, ask: Callable[..., tuple[str, str]], host: str, lag: float
) -> None:
    sandbox.switches.propagation_seconds, sandbox.switches.pages_propagation_seconds = 4, 40
    release(sandbox, "old", timedelta(hours=1))
    release(sandbox, "new", timedelta(0))

    seen = []
    for _ in range(4):
        seen.append({ask(host)[0] for _ in range(60)})
        sandbox.clock.advance(lag / 4 + 0.001)
    seen.append({ask(host)[0] for _ in range(60)})

    assert seen == [{"old"}, {"old", "new"}, {"old", "new"}, {"old", "new"}, {"new"}]


def test_places_change_one_after_the_other(sandbox: Sandbox, ask: Callable[..., tuple[str, str]]) -> None:
    release(sandbox, "old", timedelta(hours=1))
    release(sandbox, "new", timedelta(0))
    sandbox.clock.advance(3.5)

    seen = {place: {ask(WORKER_HOST, **{"sandbox-location": place})[0] for _ in range(40)} for place in PLACES}

    assert seen == {
        "FRA": {"new"},
        "AMS": {"new"},
        "LHR": {"new"},
        "IAD": {"old", "new"},
        "SIN": {"old"},
        "SYD": {"old"},
    }


def test_switch_names_the_place_and_another_stops_the_difference(
    sandbox: Sandbox, ask: Callable[..., tuple[str, str]]
) -> None:
    sandbox.switches.edge_place, sandbox.switches.edge_machines_differ = "AMS", False
    release(sandbox, "old", timedelta(hours=1))
    release(sandbox, "new", timedelta(0))
    sandbox.clock.advance(1.9)
    before = {ask(WORKER_HOST) for _ in range(40)}
    sandbox.clock.advance(0.2)

    assert (before, {ask(WORKER_HOST) for _ in range(40)}) == ({("old", "AMS")}, {("new", "AMS")})


def test_nth_request_to_a_path_always_reaches_the_same_machine() -> None:
    first, second = (EdgePlaces({"FRA": [1, 2, 3, 4]}, seed=7) for _ in range(2))
    chosen = [first.choose("FRA", "a", "/x") for _ in range(50)]
    _ = [second.choose("FRA", "a", "/other") for _ in range(9)]

    assert [second.choose("FRA", "a", "/x") for _ in range(50)] == chosen
    assert len({*chosen}) == 4


def test_served_requests_name_their_machine(sandbox: Sandbox, ask: Callable[..., tuple[str, str]]) -> None:
    release(sandbox, "old", timedelta(hours=1))
    ask(WORKER_HOST, **{"sandbox-location": "SIN"})

    (served,) = sandbox.edge.served
    assert (served.machine.place, served.version, served.at) == ("SIN", sandbox.latest(WORKER), sandbox.clock.now())
