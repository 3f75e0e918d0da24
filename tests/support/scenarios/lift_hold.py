"""A library's database with a held migration."""

from ops.database import migration_holds
from ops.database.migration_holds import MigrationHold
from tests.conftest import World
from tests.support import databases
from tests.support.databases import ID, Library
from tests.support.scenarios import Given, Scenario, deploy_hotfix

HELD = MigrationHold("0002_compact_charts.sql", "", "41", "run-1", "2026-11-24T03:05:00Z", "bookmark")


def _prepare(world: World, _given: Given) -> None:
    databases.prepared(world)
    world.sandbox.d1.store(ID).run(
        [(each.sql, each.params) for each in migration_holds.replace_migration_holds([HELD])]
    )
    world.edit_config("      lib:\n", "      fortunet:\n")


SCENARIOS = {
    "": Scenario(
        _prepare,
        lambda world: Library(world).rows("SELECT * FROM backout_holds") == [],
        (deploy_hotfix, lambda world: Library(world).lend()),
        sends="DELETE FROM backout_holds",
        proves_by_probes=False,
    )
}
