"""A library's database whose last migration is taken back."""

from tests.conftest import World
from tests.support import databases
from tests.support.databases import Library
from tests.support.scenarios import Given, Scenario, deploy_hotfix


def _prepare(world: World, _given: Given) -> None:
    databases.prepared(world)
    world.edit_config("      lib:\n", "      fortunet:\n")


SCENARIOS = {
    "": Scenario(
        _prepare,
        lambda world: Library(world).migrations == ["0001_first.sql"],
        (deploy_hotfix, lambda world: Library(world).lend()),
        options={"to": "-8m"},
    )
}
