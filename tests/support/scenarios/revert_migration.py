"""A library's database whose last migration has a down file."""

from tests.conftest import World
from tests.support import databases
from tests.support.databases import Library
from tests.support.scenarios import Given, Scenario, deploy_hotfix


def _prepare(world: World, _given: Given) -> None:
    library = databases.prepared(world)
    library.commit({"db/down/0002_b.sql": "ALTER TABLE books DROP COLUMN tags;"})
    world.edit_config("      lib:\n", "      fortunet:\n")


SCENARIOS = {
    "": Scenario(
        _prepare,
        lambda world: Library(world).migrations == ["0001_first.sql"],
        (deploy_hotfix, lambda world: Library(world).lend()),
        options={"name": "0002_b.sql"},
        sends="INSERT INTO backout_holds",
        environ=lambda world: {"OPS_SOURCE": "app"},
    )
}
