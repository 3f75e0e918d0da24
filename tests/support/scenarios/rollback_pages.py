"""A site with a good deployment and a bad one."""

from datetime import timedelta

from tests.conftest import World
from tests.support.scenarios import Given, Scenario, refuse_bad_page, served_site


def _prepare(world: World, _given: Given) -> None:
    refuse_bad_page(world)
    world.site(timedelta(hours=2), "good", commit="a" * 40)
    world.site(timedelta(minutes=10), "bad", commit="b" * 40)


def _reached(world: World) -> bool:
    live = served_site(world)
    return live is not None and live.commit_hash == "a" * 40


def _hotfix(world: World) -> None:
    world.site(timedelta(0), "hotfix", commit="c" * 40)


SCENARIOS = {"": Scenario(_prepare, _reached, (_hotfix,))}
