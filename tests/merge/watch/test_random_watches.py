"""A watch in a random world: outages, deployments, faults, kills and a second runner. Its word is always true."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest

from ops.app.scope import Place
from ops.core.errors import Decision, OpsError
from ops.core.redaction import Redactor
from ops.core.run_record import read_record
from ops.watch.judgment import WatchResult
from ops.watch.start import WatchPlace, watch_services
from sandbox.faults import Fault
from tests.conftest import Incident, World, job_environ
from tests.support.claims import case_world
from tests.support.properties import holds_for
from tests.support.shop import WORKER, Shop, open_shop
from tests.support.users import send_requests
from tests.test_claims import REFUSED, UNCLEAR
from tests.watch.test_watch import RIGHTS, Killed

ROUND = timedelta(seconds=30)
MOST_RUNNERS = 12
"""Runners that go on with one watch, each after the last one was killed."""
ACT = 0.25
"""Share of the rounds in which something happens."""


@dataclass
class WatchedWorld:
    """A shop that was rolled back just now, and what happens to it."""

    shop: Shop
    incident: Incident
    random: Random
    story: list[Any] = field(default_factory=list)
    truth: list[tuple[datetime, bool]] = field(default_factory=list)
    """Time of each round, and whether the service failed then."""
    outages: list[Fault] = field(default_factory=list)
    is_dying: bool = False
    """Whether the runner is killed after the write that it sent."""
    deployed_by_others: bool = False

    @property
    def is_failing(self) -> bool:
        return bool(self.outages) or bool(self.shop.live.get(self.shop.bad))

    def begin_or_end_outage(self) -> None:
        if self.outages:
            self.outages.pop().remove()
        else:
            status = self.random.choice([500, 503, 404])
            self.outages.append(self.shop.world.sandbox.edge_fault(path="/cart", status=status, times=None))

    def deploy_by_colleague(self) -> None:
        self.deployed_by_others = True
        version = self.random.choice([self.shop.bad, self.shop.good, self.shop.old])
        self.shop.world.sandbox.deploy(WORKER, version, author="bot@shop.example")

    def disturb_github(self) -> None:
        rule = dict(self.random.choice([*UNCLEAR, *REFUSED]))
        if rule.pop("code", None):
            rule["status"] = 403
        self._disturb(self.incident.github.fault, "/repos/**", rule)

    def disturb_cloudflare(self) -> None:
        self._disturb(self.shop.world.sandbox.fault, "/client/v4/**", self.random.choice([*UNCLEAR, *REFUSED]))

    def _disturb(self, fault: Callable[..., Fault], path: str, rule: dict[str, Any]) -> None:
        given: dict[str, Any] = {"path": path, "method": self.random.choice(["*", "GET", "POST", "PATCH"])}
        given |= {"times": self.random.choice([1, 2, 5]), **rule}
        self.story.append(given)
        fault(**given)

    def suspend(self) -> None:
        self.shop.world.sandbox.clock.advance(self.random.choice([20, 45, 200, 900]))

    def close_or_open_incident(self) -> None:
        issue = self.incident.github.issue(self.incident.number)
        issue.state = "closed" if issue.state == "open" else "open"

    def copy_comment_by_stranger(self) -> None:
        self.incident.github.add_user("zoe", "read")
        if self.incident.bodies:
            self.incident.github.comment(self.incident.number, self.random.choice(self.incident.bodies), "zoe")

    def send_users(self) -> None:
        send_requests(self.shop.world.sandbox.edge_url, "web.shop.example", "/cart", 40)

    def kill(self) -> None:
        raise Killed

    def kill_at_next_write(self) -> None:
        method, lost = self.random.choice(["PATCH", "POST"]), self.random.choice(["before", "after"])

        def die() -> None:
            self.is_dying = True

        self.incident.github.fault(path="/repos/**", method=method, lost=lost, before=die)

    def begin_second_runner(self) -> None:
        """Start another runner, which dies after some rounds."""
        rounds = iter(range(self.random.randint(1, 12)))

        def count_round(_: WatchResult) -> None:
            self.truth.append((self.shop.world.sandbox.clock.now(), self.is_failing))
            if next(rounds, None) is None:
                raise Killed

        self.shop.world.sandbox.clock.advance(1)
        try:
            self.watch(count_round)
        except (Killed, OpsError) as error:
            self.story.append(repr(error))

    def act(self, result: WatchResult) -> None:
        """Do something at random after a round."""
        if result.decision is not None:
            return
        self.truth.append((self.shop.world.sandbox.clock.now(), self.is_failing))
        if self.is_dying:
            self.is_dying = False
            raise Killed
        if self.random.random() < ACT:
            action = self.random.choice(ACTIONS)
            self.story.append((len(result.state.rounds), action.__name__))
            action(self)

    def watch(self, on_round: Callable[[WatchResult], object]) -> WatchResult:
        sandbox, hub = self.shop.world.sandbox, self.incident.github
        environ = {**sandbox.environ(), **job_environ(hub), "SHOP_TOKEN": sandbox.add_token("watcher", RIGHTS)}
        place, duration = WatchPlace(Place("live", "web"), self.incident.number), timedelta(minutes=20)
        (result,) = watch_services(
            [place], self.shop.world.config, environ, Redactor(), duration=duration, on_round=on_round
        )
        return result

    def watch_to_end(self) -> WatchResult | None:
        """Watch with one runner after the other. Return None if each of them was killed, or could not begin."""
        for _ in range(MOST_RUNNERS):
            try:
                return self.watch(self.act)
            except Killed:
                self.shop.world.sandbox.clock.advance(self.random.choice([0, 5, 40, 200, 400]))
            except OpsError as error:
                self.story.append(error.message)
                self.incident.github.faults.clear()
        return None


ACTIONS: list[Callable[[WatchedWorld], None]] = [
    WatchedWorld.begin_or_end_outage,
    WatchedWorld.begin_or_end_outage,
    WatchedWorld.deploy_by_colleague,
    WatchedWorld.disturb_github,
    WatchedWorld.disturb_github,
    WatchedWorld.disturb_cloudflare,
    WatchedWorld.suspend,
    WatchedWorld.close_or_open_incident,
    WatchedWorld.copy_comment_by_stranger,
    WatchedWorld.send_users,
    WatchedWorld.kill,
    WatchedWorld.kill_at_next_write,
    WatchedWorld.begin_second_runner,
]


def open_watched_world(world: World, random: Random) -> WatchedWorld:
    shop, sandbox = open_shop(world), world.sandbox
    sandbox.switches.propagation_seconds = 0
    sandbox.switches.analytics_delay_seconds = random.choice([0, 240])
    sandbox.deploy(WORKER, shop.good, author="mai@shop.example")
    sandbox.clock.advance(60)
    sandbox.github.add_user("mai")
    number = sandbox.github.open_issue("Cart fails", "", ["incident"], "mai")
    return WatchedWorld(shop, Incident(world, number), random)


def assert_word_is_true(place: WatchedWorld, result: WatchResult) -> None:
    """Compare the end of the watch with what happened to the service."""
    story = [*place.story, result.state.rounds, result.decision]
    if not any(failed for _, failed in place.truth):
        assert result.decision not in {Decision.RELAPSED, Decision.STILL_UNHEALTHY}, story
    if result.decision == Decision.MITIGATED and result.judgment.green_since and not place.deployed_by_others:
        since = result.judgment.green_since + ROUND  # an outage may begin or end within a round
        assert sum(failed for at, failed in place.truth if at > since) < 3, story


def assert_published_once(place: WatchedWorld, result: WatchResult) -> None:
    """Check the comments of an end that was published; nobody watches an ended watch again."""
    hub, number = place.incident.github, place.incident.number
    ours = [read_record(each.body) for each in hub.issue(number).comments if each.user.login != "zoe"]
    ends = [record.decision for record in ours if record is not None]
    notices = ours.count(None)

    place.shop.world.sandbox.clock.advance(331)
    again = place.shop.ops("watch", "--stopped", **hub.environ())

    assert ends == [result.decision], [ends, *place.story]
    assert notices == (result.decision == Decision.RELAPSED), place.story
    assert again.out == "No watch has lost its runner.\n", [again.out, *place.story]


@pytest.mark.slow
@holds_for(fast=4, slow=40, random=st.randoms(use_true_random=False))
def test_watch_in_a_random_world_says_what_is_true(random: Random) -> None:
    with case_world(None) as world:
        place = open_watched_world(world, random)

        result = place.watch_to_end()

        if result is None:
            return
        assert_word_is_true(place, result)
        place.shop.world.sandbox.faults.clear()
        hub = place.incident.github
        hub.faults.clear()
        if result.is_published:
            assert_published_once(place, result)
            assert result.decision != Decision.RELAPSED or hub.issue(place.incident.number).state == "open"
