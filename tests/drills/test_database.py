"""Databases that a drill cannot use."""

import re

import pytest

from tests.conftest import World
from tests.support.configurations import SHOPDESK


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--edge", "workerd"], r"\bshop\b.*\bcharts\b"),
        (["--service", "desk"], r"\bdesk\b.*\blive\b"),
    ],
)
def test_drill_needs_a_database(world: World, arguments: list[str], says: str) -> None:
    where = ["--config", str(SHOPDESK), "--environment", "live"]

    outcome = world.ops("drill", "restore-database", *where, *arguments)

    assert outcome.code == 2
    assert re.search(says, outcome.err)


def test_revert_drill_needs_the_folder_of_migrations(world: World) -> None:
    text = SHOPDESK.read_text().replace("        migrations: db/changes\n", "")
    world.config.write_text(text)

    outcome = world.ops("drill", "revert-migration", "--config", str(world.config), "--environment", "live")

    assert outcome.code == 2
    assert re.search(r"\borders\b.*`migrations`", outcome.err)


@pytest.mark.parametrize(("expect", "says"), [("7", "1, and 7 is"), ("'1'", '1, and text "1" is')])
def test_query_that_no_rows_pass_is_explained(world: World, expect: str, says: str) -> None:
    world.config.write_text(SHOPDESK.read_text().replace("expect: true", f"expect: {expect}"))

    outcome = world.ops("drill", "restore-database", "--config", str(world.config), "--environment", "live")

    assert outcome.code == 2
    assert f"vouchers of ops.yml: {says}" in outcome.err
