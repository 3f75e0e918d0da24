"""`ops rollback-worker` in a shop that deploys an old upload for the first time: a release, and no rollback."""

from datetime import timedelta

import pytest

from tests.conftest import Incident, Outcome, World
from tests.support.shop import WORKER, Shop, open_shop

COMMAND = ("rollback-worker", "--service", "web", "--environment", "live", "--yes", "--json")


def stage(world: World) -> tuple[Shop, str]:
    """Return a shop whose bad release was taken back yesterday, and a version that was uploaded before all of that."""
    shop = open_shop(world)
    ago = world.sandbox.clock.now() - timedelta(hours=40)
    staged = world.sandbox.upload(WORKER, code="staged", behaviour={"status": 500}, author="mai@shop.example", at=ago)
    hours_ago = world.sandbox.clock.now() - timedelta(minutes=50)
    world.sandbox.deploy(WORKER, shop.good, author="mai@shop.example", at=hours_ago)
    world.sandbox.clock.advance(24 * 3600)
    return shop, staged


def incident_of(world: World) -> Incident:
    world.sandbox.github.add_user("mai")
    return Incident(world, world.sandbox.github.open_issue("Cart fails", "", ["incident"], "mai"))


def press(shop: Shop, incident: Incident, *more: str) -> Outcome:
    return shop.ops(*COMMAND, "--incident", str(incident.number), *more, **incident.github.environ())


@pytest.mark.parametrize("share", [100, 10], ids=["release", "canary"])
@pytest.mark.parametrize("later", [10, 40], ids=["at once", "after 40 min"])
def test_old_upload_is_rolled_back_once(world: World, share: int, later: int) -> None:
    shop, staged = stage(world)
    split = {staged: share, shop.good: 100 - share}
    world.sandbox.deploy(WORKER, {version: percent for version, percent in split.items() if percent})
    world.sandbox.clock.advance(later * 60)
    incident = incident_of(world)

    presses = [press(shop, incident) for _ in range(3)]

    assert shop.live == {shop.good: 100}
    assert [(each.code, each.result["wrote"]) for each in presses] == [(0, True), (0, False), (0, False)]
    assert [each.result["reason"] for each in presses[1:]] == ["already_stepped_back"] * 2


def test_old_upload_that_a_person_names_holds_in_its_incident(world: World) -> None:
    """Its mark alone proves nothing, because it never served; the record of the run confirms it."""
    shop, staged = stage(world)
    incident = incident_of(world)

    first = press(shop, incident, "--to", staged)
    second = press(shop, incident)

    assert first.result["wrote"], first.err
    assert second.result["plan"]["summary"].startswith("already rolled back: ")
    assert f"it replaced {shop.good[:8]}" in second.result["plan"]["summary"]
    assert shop.live == {staged: 100}
