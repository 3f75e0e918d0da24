"""Lift the hold of a migration."""

from typing import Any

import pytest

from ops.database import migration_holds
from ops.database.migration_holds import MigrationHold
from ops.runbooks.lift_hold import LIFTED_SECTION, STILL_HELD_SECTION
from tests.conftest import World
from tests.support import databases
from tests.support.commands import ended
from tests.support.databases import ID, Library

NAME = 'it\'s "1"; DROP TABLE books.sql'
AT = "2026-11-24T03:05:00Z"
HELD = (
    MigrationHold(NAME, "aa", "41", "run-1", AT, "b1"),
    MigrationHold(NAME, "bb", "", "run-2", AT),
    MigrationHold("0009_x.sql", "", "", "run-3", AT),
)
WRITE = {"method": "POST", "path": "/accounts/*/d1/database/*/query", "sends": "DELETE FROM backout_holds"}


@pytest.fixture
def library(world: World) -> Library:
    found = databases.prepared(world)
    world.sandbox.d1.store(ID).run([(each.sql, each.params) for each in migration_holds.replace_migration_holds(HELD)])
    return found


def lift(library: Library, name: str, *more: str) -> Any:
    options = ["--database", "lib", "--name", name, "--environment", "production", "--yes", "--json", *more]
    config = ["--config", str(library.world.config)]
    return library.world.ops("lift-hold", *options, *config, CLOUDFLARE_API_TOKEN=library.token)


def names(library: Library) -> list[str]:
    return [row["migration"] for row in library.rows("SELECT migration FROM backout_holds")]


def test_all_holds_of_the_migration_are_lifted(library: Library) -> None:
    done = lift(library, NAME, "--incident", "42")

    assert ended(done)[1] == "healthy_as_before", done.err
    assert names(library) == ["0009_x.sql"]
    assert library.count("books") == 2
    sections = done.result["plan"]["sections"]
    assert (len(sections[LIFTED_SECTION]), len(sections[STILL_HELD_SECTION])) == (2, 1)
    assert any(NAME in line for line in done.result["plan"]["follows"])


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["0009_x", "0009_X.SQL", "0009.sql", "*"])
def test_name_that_is_not_held_is_refused_with_those_that_are(library: Library, name: str) -> None:
    refused = lift(library, name)

    assert ended(refused) == (3, "refused", "unknown_name")
    assert f'"{name}"' in refused.result["message"]
    assert "0009_x.sql" in refused.result["message"]
    assert len(names(library)) == 3


@pytest.mark.parametrize("service", ["failing", "in maintenance"])
def test_read_back_of_the_hold_decides_and_not_the_service(library: Library, service: str) -> None:
    status = {"status": 500} if service == "failing" else {"status": 503, "headers": {"ops-maintenance": "run-1"}}
    library.world.sandbox.edge_fault(times=None, body="{}", **status)

    assert ended(lift(library, NAME)) == (0, "healthy_as_before", "verified")
    assert names(library) == ["0009_x.sql"]
    for _ in range(2):
        assert ended(lift(library, NAME)) == (0, "nothing_to_do", "already_set")


def test_migration_without_hold_leaves_nothing_to_do(library: Library) -> None:
    done = lift(library, "0001_first.sql")

    assert ended(done) == (0, "nothing_to_do", "already_set")
    assert len(done.result["plan"]["sections"][STILL_HELD_SECTION]) == 3
    library.write("DROP TABLE backout_holds")
    assert ended(lift(library, NAME))[1] == "nothing_to_do"


@pytest.mark.parametrize("answer", [{"lost": "after"}, {"lost": "before"}, {"status": 500, "applied": True}])
def test_lost_answer_is_settled(library: Library, answer: dict[str, Any]) -> None:
    library.world.sandbox.fault(**WRITE, **answer)
    assert lift(library, NAME).code == 0
    assert names(library) == ["0009_x.sql"]
