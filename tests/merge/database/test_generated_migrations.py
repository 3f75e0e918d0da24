"""The guard names each loss of migrations that real tools generated, and refuses no harmless one."""

import re
from pathlib import Path

import pytest

from tests.conftest import World
from tests.support.deployment import Deployment, open_repository
from tests.support.generated_migrations import GENERATED, GeneratedMigration

NAME = "0003_generated.sql"


@pytest.fixture
def shop(world: World, tmp_path: Path) -> Deployment:
    return open_repository(world, tmp_path / "application")


def start(shop: Deployment, migration: GeneratedMigration) -> None:
    """Make the tables and rows before the migration, and its file."""
    for sql in migration.start:
        shop.rows(sql)
    (shop.files / "0001_customers.sql").unlink()
    shop.write(NAME, migration.text)


@pytest.mark.sampled(7)
@pytest.mark.parametrize("migration", GENERATED, ids=str)
def test_losses_are_named_before_the_write(shop: Deployment, migration: GeneratedMigration) -> None:
    start(shop, migration)
    refused = shop.guard()
    names = re.findall(r"`-- backout: accepts (.*)`", refused.err)
    if not migration.losses:
        assert refused.code == 0, refused.err
        assert shop.applied == [NAME]
        return

    assert refused.code == 3, refused.out
    assert sorted(names[0].split(", ")) == sorted(migration.losses)
    for table, share in migration.losses.items():
        assert re.search(migration.pattern(table), refused.err), (share, refused.err)
    assert shop.applied == []

    shop.write(NAME, f"{migration.text}\n-- backout: accepts {names[0]}\n")
    done = shop.guard("--json")
    again = shop.guard("--json")

    assert done.code == 0, done.err
    assert done.result["accepted"] == {NAME: names[0].split(", ")}
    assert [each for each in done.result["warnings"] if "expected" in each] == []
    assert (again.code, again.result["pending"]) == (0, [])


def test_half_of_them_lose_something() -> None:
    lossy = [each for each in GENERATED if each.losses]
    assert (len(GENERATED), len(lossy)) == (40, 20)
