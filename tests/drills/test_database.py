"""Databases that a drill cannot use."""

import pytest

from tests.conftest import World
from tests.support.configurations import SHOPDESK


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--edge", "workerd"], "shop has no database with the example's table charts"),
        (["--service", "desk"], "desk has no database in live, which this drill breaks"),
    ],
)
def test_drill_needs_a_database(world: World, arguments: list[str], says: str) -> None:
    where = ["--config", str(SHOPDESK), "--environment", "live"]

    outcome = world.ops("drill", "restore-database", *where, *arguments)

    assert outcome.code == 2
    assert says in outcome.err


def test_revert_drill_needs_the_folder_of_migrations(world: World) -> None:
    text = SHOPDESK.read_text().replace("        migrations: db/changes\n", "")
    world.config.write_text(text)

    outcome = world.ops("drill", "revert-migration", "--config", str(world.config), "--environment", "live")

    assert outcome.code == 2
    assert "database orders has no `migrations` in ops.yml" in outcome.err


def test_query_that_no_rows_pass_is_explained(world: World) -> None:
    world.config.write_text(SHOPDESK.read_text().replace("expect: true", "expect: 7"))

    outcome = world.ops("drill", "restore-database", "--config", str(world.config), "--environment", "live")

    assert outcome.code == 2
    assert "the drill's rows do not pass the query vouchers of ops.yml: 1, and 7 is expected" in outcome.err
