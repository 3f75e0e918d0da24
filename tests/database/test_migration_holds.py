"""Holds of migrations: in the database, over a restore, and for the guard."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.d1 import D1Api
from ops.cloudflare.types.d1 import SqlStatement
from ops.core.clock import SandboxClock
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.redaction import Secret
from ops.database import migration_holds
from ops.database.migration_holds import MigrationHold
from sandbox import Sandbox
from tests.conftest import ACCOUNT
from tests.support.properties import holds_for

AT = "2026-11-24T03:05:00Z"
OLD = MigrationHold("0001_a.sql", "aa", "41", "laptop-1", AT, "bookmark-1")
NEW = MigrationHold("0002_it's.sql", "bb", "", "run-2", AT, "bookmark-2")
TABLE = "past migrations"


@pytest.fixture
def database(sandbox: Sandbox) -> str:
    made = sandbox.d1.add("orders")
    sandbox.d1.query(made, f'CREATE TABLE "{TABLE}" (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE)')
    sandbox.d1.query(made, f'INSERT INTO "{TABLE}" (name) VALUES (?), (?)', OLD.migration, NEW.migration)
    return made


@pytest.fixture
def d1(sandbox: Sandbox) -> Iterator[D1Api]:
    secret = Secret(sandbox.token)
    client = CloudflareClient(sandbox.api_url, secret, token_name="TOKEN", clock=SandboxClock(sandbox.clock_url))
    with client.writing():
        yield D1Api(client, ACCOUNT)
    client.close()


@pytest.mark.slow
def test_holds_are_read_and_replaced(d1: D1Api, database: str) -> None:
    assert migration_holds.read_migration_holds(d1, database) == ()
    d1.run_batch(database, [*migration_holds.replace_migration_holds([OLD, NEW])])
    assert migration_holds.read_migration_holds(d1, database) == (OLD, NEW)
    d1.run_batch(database, [*migration_holds.replace_migration_holds([NEW])])
    assert migration_holds.read_migration_holds(d1, database) == (NEW,)
    d1.run_batch(database, [migration_holds.lift_migration_holds(NEW.migration)])
    assert migration_holds.read_migration_holds(d1, database) == ()


def test_holds_that_cannot_be_read_are_not_none(d1: D1Api, database: str, sandbox: Sandbox) -> None:
    sandbox.d1.query(database, f"CREATE VIEW {migration_holds.TABLE} AS SELECT 1 AS migration")
    with pytest.raises(Refused, match=migration_holds.TABLE) as refused:
        migration_holds.read_migration_holds(d1, database)
    assert refused.value.reason == Reason.UNKNOWN_VALUE


@pytest.mark.slow
def test_only_the_last_migration_is_held(d1: D1Api, database: str, sandbox: Sandbox) -> None:
    def take_back(hold: MigrationHold) -> None:
        row = SqlStatement(f'DELETE FROM "{TABLE}" WHERE name = ?', (hold.migration,))
        d1.run_batch(database, [*migration_holds.hold_last_migration(hold, TABLE), row])

    for _ in range(2):
        with pytest.raises(ProviderError, match=r"NOT NULL constraint failed: backout_holds\.migration"):
            take_back(OLD)
    assert migration_holds.read_migration_holds(d1, database) == ()
    take_back(NEW)
    with pytest.raises(ProviderError, match="NOT NULL"):
        take_back(NEW)
    assert migration_holds.read_migration_holds(d1, database) == (NEW,)
    assert [row["name"] for row in sandbox.d1.query(database, f'SELECT name FROM "{TABLE}"')] == [OLD.migration]


def test_hold_refuses_its_content_only() -> None:
    assert migration_holds.find_migration_hold([OLD, NEW], OLD.migration, "aa") is OLD
    assert migration_holds.find_migration_hold([OLD, NEW], OLD.migration, "mended") is None
    assert migration_holds.find_migration_hold([OLD, NEW], "0003_c.sql", "aa") is None
    each = MigrationHold(OLD.migration, "", "", "run-3", AT)
    assert migration_holds.find_migration_hold([each], OLD.migration, "mended") is each


def test_hold_is_described() -> None:
    made = migration_holds.make_migration_hold(
        "0002_b.sql", "", incident=42, run="run-1", now=datetime(2026, 11, 24, 3, 5, 9, tzinfo=UTC), undo=""
    )
    assert re.fullmatch(r"0002_b\.sql, .* 2026-11-24T03:05:09Z \(.*#42\)", str(made))
    assert re.fullmatch(rf"0002_it's\.sql, .* {AT} \(.*run-2\)", str(NEW))


def _hold(name: str, undo: str) -> MigrationHold:
    return MigrationHold(name, "aa", "", "run", AT, undo)


each_hold = st.builds(_hold, st.sampled_from("abc"), st.sampled_from(["", "1", "2"]))


@pytest.mark.slow
@holds_for(30, 2000, before=st.lists(each_hold), new=st.lists(each_hold), target=st.sampled_from(["1", "2"]))
def test_restore_keeps_all_holds_but_those_that_it_undoes(
    before: list[MigrationHold], new: list[MigrationHold], target: str
) -> None:
    after = migration_holds.migration_holds_after_restore(before, target, new)
    names = [each.migration for each in after]
    assert len(set(names)) == len(names)
    assert {each.migration for each in new} <= set(names)
    assert {each.migration for each in before if each.undo != target} <= set(names)
    assert all(each in new or each.undo != target for each in after)
