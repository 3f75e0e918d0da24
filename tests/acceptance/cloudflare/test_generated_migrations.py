"""Migrations that real tools generated lose on workerd's SQLite, on which D1 runs, what was written by hand."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sandbox import Sandbox, Switches
from tests.sandbox.conftest import Api
from tests.support.generated_migrations import GENERATED

CODE = """
import { DurableObject } from "cloudflare:workers";

export class Plain extends DurableObject {
  readRows() {
    const { sql } = this.ctx.storage;
    const named = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE '!_cf%' ESCAPE '!'";
    const tables = [...sql.exec(named)].map((row) => row.name);
    return Object.fromEntries(tables.map((name) => [name, [...sql.exec(`SELECT * FROM "${name}"`)]]));
  }
  /** Each list of statements is a transaction, as in D1. */
  migrate(start, statements) {
    const { storage } = this.ctx;
    const run = (texts) => storage.transactionSync(() => texts.forEach((text) => [...storage.sql.exec(text)]));
    run(start);
    const before = this.readRows();
    run(statements);
    return [before, this.readRows()];
  }
}
export default {
  async fetch(request, env) {
    const [name, start, statements] = await request.json();
    return Response.json(await env.PLAIN.getByName(name).migrate(start, statements));
  },
};
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(edge="workerd", virtual_clock=True, switches=Switches(propagation_seconds=0)) as running:
        yield running


def test_generated_migrations_lose_what_their_table_says(api: Api, edge: httpx.Client) -> None:
    binding = {"type": "durable_object_namespace", "name": "PLAIN", "class_name": "Plain"}
    api.sandbox.deploy("shop", api.sandbox.upload("shop", code=CODE, bindings=[binding]))

    for migration in GENERATED:
        answer = edge.post("/", json=[migration.name, migration.start, migration.statements])
        assert answer.status_code == 200, (migration.name, answer.text)
        before, after = answer.json()
        lost = {table: found for table, rows in before.items() if (found := losses(rows, after.get(table)))}
        assert lost.keys() == migration.losses.keys(), (migration.name, lost)
        for table, words in migration.losses.items():
            assert is_within(lost[table], words, len(before[table])), (migration.name, table, lost[table], words)


def losses(rows: list[dict[str, Any]], after: list[dict[str, Any]] | None) -> dict[str, int]:
    """Return how many rows are deleted or changed, and how many values of columns are removed."""
    key = next(iter(rows[0]))
    now = {row[key]: row for row in after or []}
    left = [(row, _with_old_names(row, now[row[key]])) for row in rows if row[key] in now]
    found = {
        "deleted": len(rows) - len(left),
        "changed": sum(any(new.get(name, value) != value for name, value in row.items()) for row, new in left),
        "removed": sum(value is not None for row, new in left for name, value in row.items() if name not in new),
    }
    return {effect: number for effect, number in found.items() if number}


def _with_old_names(row: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return a row by the names that its columns had: a renamed one keeps its place."""
    return dict(zip(row, new.values(), strict=True)) if len(row) == len(new) else new


def is_within(lost: dict[str, int], words: str, total: int) -> bool:
    share, _, effect = words.rpartition(" ")
    assert share.endswith(f"of {total}")
    if share.startswith("unknown"):
        return True
    number = int(share.removeprefix("at most ").split()[0])
    return lost.keys() == {effect} and (
        0 < lost[effect] <= number if share.startswith("at most") else lost[effect] == number
    )
