"""`ops rollback-pages` while the edge still serves the previous deployment, as custom domains do for minutes."""

import json
import os
import re
import signal
from collections.abc import Callable
from datetime import timedelta

import pytest

from sandbox.edge.places import EdgePlaces
from sandbox.switches import Switches
from tests.conftest import Incident, Outcome, World
from tests.support.commands import ended, texts

pytestmark = pytest.mark.usefixtures("one_machine")
HOST, PROJECT = "www.bakery.example", "bakery"
CONFIG = f"""
environments:
  live:
    account_id: 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
    token: BAKERY_TOKEN
    services:
      shop:
        pages: {PROJECT}
        url: https://{HOST}
        compare: [/, /new.txt]
        verify: {{successes: 1, deadline: 2m}}
        probes:
          - name: home
            http: {{path: /, status: 200, body: Bread}}
"""
WAITS = "Cloudflare answered; waiting for the site to show it (until "
WAYS = ("command", "job")
Press = Callable[..., Outcome]


class Bakery:
    """A site with a good and a bad release, and an incident."""

    def __init__(self, incident: Incident) -> None:
        self.incident, self.world, self.sandbox = incident, incident.world, incident.world.sandbox
        self.world.config.write_text(CONFIG)
        self.sandbox.pages.add_project(PROJECT, domains=[HOST])
        self.sandbox.switches.pages_propagation_seconds = Switches().pages_propagation_seconds

    def deploy(self, ago: timedelta, home: str, **files: bytes) -> str:
        own = {"index.html": home.encode(), "404.html": b"nothing", **files}
        return self.sandbox.pages.add_deployment(PROJECT, files=own, at=self.sandbox.clock.now() - ago)

    def press(self, way: str = "command", *more: str, number: int | None = None) -> Outcome:
        """Start the command of a person, or that of the job behind a label and a button."""
        params = json.dumps({"service": "shop"})
        first = {
            "command": ("rollback-pages", "--service", "shop"),
            "job": ("recover", "--runbook", "rollback-pages", "--params", params),
        }[way]
        where = ("--environment", "live", "--config", str(self.world.config), "--yes", "--json")
        on = () if number == 0 else ("--incident", str(number or self.incident.number))
        return self.incident.ops(*first, *where, *on, *more, BAKERY_TOKEN=self.sandbox.token)

    @property
    def live(self) -> str | None:
        return self.sandbox.pages.live(PROJECT)

    @property
    def writes(self) -> int:
        return len(self.world.writes())


@pytest.fixture
def bakery(incident: Incident) -> Bakery:
    return Bakery(incident)


@pytest.fixture
def released(bakery: Bakery) -> tuple[str, str]:
    good = bakery.deploy(timedelta(hours=2), "Bread")
    return good, bakery.deploy(timedelta(minutes=10), "an error")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_rollback_waits_thirty_seconds_for_the_site(bakery: Bakery, released: tuple[str, str], way: str) -> None:
    assert bakery.sandbox.switches.pages_propagation_seconds == 30

    outcome = bakery.press(way)

    assert ended(outcome) == (0, "recovered", "not_seen_failing"), outcome.err  # before, the cache answered the probe
    assert any(text.startswith(WAITS) and " UTC)" in text for text in texts(outcome, "compared"))
    assert (bakery.live, bakery.writes) == (released[0], 1)
    again = bakery.press(way)
    assert ended(again) == (0, "nothing_to_do", "already_stepped_back"), again.err
    assert bakery.writes == 1


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("follows", [False, True])
def test_later_presses_wait_for_the_accepted_rollback(
    bakery: Bakery, released: tuple[str, str], way: str, follows: bool
) -> None:
    """The site lags longer than the deadline of the probes."""
    bakery.sandbox.switches.pages_propagation_seconds = 270
    bakery.sandbox.switches.pages_canonical_follows_rollbacks = follows

    outcomes = [bakery.press(way) for _ in range(4)]

    assert bakery.writes == 1
    assert [outcome.result["wrote"] for outcome in outcomes] == [True, False, False, False]
    assert "recovered" not in {outcome.result["decision"] for outcome in outcomes}
    assert outcomes[-1].result["decision"] == "nothing_to_do"
    assert bakery.live == released[0]
    if not follows:
        first, second = outcomes[:2]
        assert ended(first) == ended(second) == (5, "unknown_outcome", "unclear")
        for outcome in (first, second):
            assert re.search(rf" 2 min \(.* {released[1][:8]}\).*\binconclusive$", outcome.result["message"])
        assert any("this run sends nothing" in warning for warning in second.result["plan"]["warnings"])


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_rollback_that_no_path_can_show_is_sent_once(bakery: Bakery, way: str) -> None:
    """The edge still serves the page that only the bad release has."""
    bakery.sandbox.switches.pages_propagation_seconds = 0
    good = bakery.deploy(timedelta(hours=2), "Bread")
    bakery.deploy(timedelta(minutes=10), "Bread", **{"new.txt": b"new"})

    for _ in range(3):
        outcome = bakery.press(way)
        bakery.sandbox.clock.advance(600)
        assert ended(outcome) == (8, "no_evidence", "no_evidence"), outcome.err
        assert "no compared path distinguishes" in outcome.result["message"]

    assert (bakery.live, bakery.writes) == (good, 1)


def test_press_after_an_interrupted_wait_sends_nothing(bakery: Bakery, released: tuple[str, str]) -> None:
    slept: list[int] = []

    def interrupt() -> None:
        slept.append(1)
        if len(slept) == 7:  # in the second long pause
            os.kill(os.getpid(), signal.SIGTERM)

    bakery.sandbox.clock.on_sleep = interrupt
    first = bakery.press()
    second, third = bakery.press(), bakery.press()

    assert ended(first)[:2] == (130, "interrupted"), first.err
    assert second.result["decision"] == third.result["decision"] == "nothing_to_do", second.err
    assert any(text.startswith(WAITS) for text in texts(second, "compared"))
    assert (bakery.live, bakery.writes) == (released[0], 1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [None, 0], ids=["known from the incident", "known from this machine"])
def test_accepted_rollback_is_sent_again_after_five_minutes(
    bakery: Bakery, released: tuple[str, str], number: int | None
) -> None:
    """Somebody restored the bad release in the dashboard, which leaves no entry in the history."""
    bakery.sandbox.switches.pages_propagation_seconds = 200
    assert bakery.press(number=number).code == 5
    bakery.sandbox.pages.rollback(PROJECT, released[1])
    bakery.sandbox.clock.advance(300)
    bakery.sandbox.switches.pages_propagation_seconds = 30

    outcome = bakery.press(number=number)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert (bakery.live, bakery.writes) == (released[0], 2)


def test_restored_release_is_rolled_back_after_five_minutes(bakery: Bakery, released: tuple[str, str]) -> None:
    """Until then a machine that is late shows the same as one after a rollback in the dashboard."""
    bakery.sandbox.switches.pages_propagation_seconds = 0
    assert bakery.press().code == 0
    bakery.sandbox.pages.rollback(PROJECT, released[1])

    waiting = bakery.press()
    bakery.sandbox.clock.advance(300)
    again = bakery.press()

    assert not waiting.result["wrote"], waiting.err
    assert any("somebody restored" in text for text in waiting.result["plan"]["warnings"])
    assert ended(again)[:2] == (0, "recovered"), again.err
    assert (bakery.live, bakery.writes) == (released[0], 2)


def test_new_bad_deployment_is_rolled_back_at_once(bakery: Bakery, released: tuple[str, str]) -> None:
    """The earlier rollback does not explain it."""
    bakery.sandbox.switches.pages_propagation_seconds = 200
    assert bakery.press().code == 5
    bakery.deploy(timedelta(seconds=1), "worse")
    bakery.sandbox.switches.pages_propagation_seconds = 0

    outcome = bakery.press()

    assert outcome.result["wrote"], outcome.err
    assert bakery.writes == 2


def test_undo_of_a_rollback_that_the_site_does_not_show_is_refused(bakery: Bakery, released: tuple[str, str]) -> None:
    bakery.sandbox.switches.pages_propagation_seconds = 200
    assert bakery.press().code == 5

    outcome = bakery.press("command", "--to", released[1])

    assert ended(outcome) == (3, "refused", "live_unknown"), outcome.err
    assert re.search(r" 20\d\d-\d\d-\d\d \d\d:\d\d", outcome.result["hint"])
    assert bakery.writes == 1


@pytest.mark.parametrize("killed", [False, True])
def test_rollback_without_a_comment_is_sent_once_from_this_machine(
    bakery: Bakery, released: tuple[str, str], killed: bool
) -> None:
    bakery.sandbox.switches.pages_propagation_seconds = 200
    first = bakery.press(number=0)
    if killed:
        (path,) = bakery.world.folder.glob(".ops/runs/*/timeline.jsonl")
        lines = path.read_text().splitlines(keepends=True)
        last = next(number for number, line in enumerate(lines) if json.loads(line)["kind"] == "written")
        path.write_text("".join(lines[: last + 1]))

    second = bakery.press(number=None if killed else 0)

    assert ended(first) == (5, "unknown_outcome", "unclear"), first.err
    assert (
        "within 5 min of the write it waits for the site, and sends nothing again from this machine. From"
        in first.result["hint"]
    )
    assert not second.result["wrote"], second.err
    assert any("this run sends nothing, and waits" in each for each in second.result["plan"]["warnings"])
    assert second.result["decision"] == "nothing_to_do"
    assert (bakery.live, bakery.writes) == (released[0], 1)


@pytest.mark.slow
def test_record_from_a_machine_whose_clock_is_ahead_holds_no_rollback_back(
    bakery: Bakery, released: tuple[str, str]
) -> None:
    bakery.sandbox.switches.pages_propagation_seconds = 200
    bakery.sandbox.clock.advance(3600)
    assert bakery.press(number=0).code == 5
    bakery.sandbox.clock.advance(-3600)

    assert bakery.press(number=0).result["wrote"]


@pytest.mark.slow
def test_unreadable_state_after_an_answer_is_read_until_the_deadline(bakery: Bakery, released: tuple[str, str]) -> None:
    """Cloudflare's API fails for half a minute after it accepted the rollback."""
    write = {"method": "POST", "path": "/accounts/*/pages/projects/*/deployments/*/rollback"}
    project = {"method": "GET", "path": "/accounts/*/pages/projects/*"}
    bakery.sandbox.fault(**write, after=lambda: bakery.sandbox.fault(**project, status=503, times=12))

    outcome = bakery.press()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert (bakery.live, bakery.writes) == (released[0], 1)


@pytest.mark.slow
def test_worker_rollback_waits_until_the_deadline_of_the_probes(world: World) -> None:
    """The list of deployments shows the new one after more reads than 8 seconds allow."""
    world.edit_config("deadline: 10s", "deadline: 1m")
    good = world.release(timedelta(hours=2), code="good")
    world.release(timedelta(minutes=10), code="bad", behaviour={"status": 500})
    world.sandbox.switches.deployments_lag_reads = 9

    outcome = world.rollback()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert world.live == {good: 100}
    assert len(world.writes()) == 1
    assert any("waiting for the API to show it (until " in text for text in texts(outcome, "compared"))


@pytest.mark.parametrize("seed", range(6))
def test_later_presses_send_nothing_while_machines_differ(bakery: Bakery, released: tuple[str, str], seed: int) -> None:
    """One machine showed the target, and another one of the same place still serves the bad release."""
    bakery.sandbox.switches.edge_machines_differ = True
    bakery.sandbox.switches.pages_propagation_seconds = 1.0
    bakery.sandbox.edge.places = EdgePlaces({"FRA": (0.0, 0.0, 0.0, 200.0)}, seed)

    outcomes = [bakery.press() for _ in range(4)]

    assert outcomes[0].result["wrote"]
    assert (bakery.live, bakery.writes) == (released[0], 1), [ended(each) for each in outcomes]
