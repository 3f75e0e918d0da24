"""`ops status` lists what must not be deployed again: commits and migrations, until they are lifted or fixed."""

from typing import Any

from ops.database import migration_holds
from ops.database.migration_holds import MigrationHold
from tests.conftest import World
from tests.support import databases
from tests.support.databases import ID
from tests.support.held_lifts import Operations, bury_hold, open_operations


def held(operations: Operations, **environ: Any) -> tuple[list[dict[str, Any]], str]:
    """Return the holds in the JSON result, and the lines for people."""
    world, where = operations.world, ["--environment", "live", "--config", str(operations.world.config)]
    given = {"SHOP_TOKEN": world.sandbox.token, "CLOUDFLARE_API_TOKEN": None, **operations.hub.environ(), **environ}
    shown, listed = world.ops("status", *where, **given), world.ops("status", *where, "--json", **given)
    section = shown.out.partition("  held: ")[2].partition("  open incidents")[0]
    assert ("held" in listed.result["unknown"]) == ("! unknown, " in section)
    return [each for each in listed.result["held"] if each["kind"] == "hold"], shown.out


def test_held_commit_is_listed_until_it_is_lifted(world: World) -> None:
    operations = open_operations(world)

    (hold,), lines = held(operations)
    assert operations.shop.shas["B"][:12] in hold["what"]
    assert f"hold lift --environment live --incident {operations.incident}" in hold["release"]
    assert operations.shop.shas["B"][:12] in lines
    (again,), lines = held(operations, GITHUB_TOKEN=None)
    assert again["what"] == hold["what"]
    assert "whether holds were lifted" in lines

    assert operations.lift().code == 0
    assert held(operations)[0] == []
    world.sandbox.clock.advance(600)
    operations.shop.deploy(["B", {"rollback": "A", "blames": "B", "incident": operations.incident}])
    assert held(operations)[0][0]["what"] == hold["what"]


def test_mark_of_an_unknown_incident_hides_no_lift(world: World) -> None:
    """Everyone who may deploy can write a mark."""
    operations = open_operations(world)
    operations.shop.deploy([{"rollback": "A", "blames": "B", "incident": 999}])
    assert operations.lift().code == 0

    (hold,), lines = held(operations)
    assert "--incident 999" in hold["release"]
    assert "unknown, whether holds were lifted in incident 999" in lines


def test_unread_deployments_leave_the_holds_unknown(world: World) -> None:
    operations = open_operations(world)
    world.sandbox.fault(method="GET", path="**/shop-web/deployments", status=400, times=None)

    found, lines = held(operations)
    assert found == []
    assert "    none\n" not in lines


def test_hold_below_many_deployments_is_listed_or_unknown(world: World) -> None:
    operations = open_operations(world)

    bury_hold(operations, 20)
    assert len(held(operations)[0]) == 1
    bury_hold(operations, 20)
    found, lines = held(operations)
    assert found == []
    assert "    none\n" not in lines


def test_service_that_does_not_run_the_check_holds_nothing(world: World) -> None:
    operations = open_operations(world)
    world.config.write_text(world.config.read_text().replace("        hold_check: true\n", ""))

    assert held(operations)[0] == []


def test_held_migration_is_listed(world: World) -> None:
    library = databases.prepared(world)
    at = "2026-11-24T03:05:00Z"
    rows = [
        MigrationHold("0002_price.sql", "", "41", "run-1", at),
        MigrationHold("0003_tax.sql", "aa", "", "run-2", at),
    ]
    world.sandbox.d1.store(ID).run([(each.sql, each.params) for each in migration_holds.replace_migration_holds(rows)])
    where = ["--environment", "production", "--config", str(world.config), "--json"]

    def listed(**environ: Any) -> Any:
        outcome = world.ops("status", *where, **environ)
        return [each["what"] for each in outcome.result["held"] if each["kind"] == "hold"], outcome.result["unread"]

    assert listed(CLOUDFLARE_API_TOKEN=library.token)[0] == []
    world.edit_config(f"        id: {ID}\n", f"        id: {ID}\n        guard: true\n")
    found, _ = listed(CLOUDFLARE_API_TOKEN=library.token)
    assert sorted(found) == ["migration 0002_price.sql of lib", "migration 0003_tax.sql of lib"]
