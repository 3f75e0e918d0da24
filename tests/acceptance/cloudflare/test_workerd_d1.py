"""D1 of Workers on workerd: the data of the API, and the refusals of workerd itself."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ops.database.local_copy import LocalCopy, SqlRejectedError
from sandbox import Sandbox, Switches
from tests.sandbox.cloudflare.d1.conftest import TABLE, Database
from tests.sandbox.conftest import Api

CODE = """
import { DurableObject } from "cloudflare:workers";

/** SQLite of workerd itself, on which D1 runs. Each call is a transaction. */
export class Plain extends DurableObject {
  run(sql, params) {
    const { storage } = this.ctx;
    const rows = storage.transactionSync(() => [...storage.sql.exec(sql, ...params).raw()]);
    return rows.map((row) => row.map((value) => (value instanceof ArrayBuffer ? [...new Uint8Array(value)] : value)));
  }
}

async function runAll(request, run) {
  const results = [];
  for (const [sql, params] of await request.json()) {
    try {
      results.push(await run(sql, params));
    } catch (error) {
      results.push(error.message.replace("D1_ERROR: ", ""));
    }
  }
  return Response.json(results);
}

const pages = {
  "/plain": (env, request) => runAll(request, (sql, params) => env.PLAIN.getByName("one").run(sql, params)),
  "/d1": (env, request) => runAll(request, (sql, params) => env.DB.prepare(sql).bind(...params).raw()),
  "/bake": async (env) => {
    const made = await env.DB.prepare("INSERT INTO loaves (flour) VALUES (?) RETURNING id").bind("rye").first();
    return Response.json(made.id);
  },
  "/count": async (env) => Response.json(await env.DB.prepare("SELECT count(*) AS n FROM loaves").first("n")),
  "/session": async (env) => {
    const session = env.DB.withSession("first-unconstrained");
    const counted = await session.prepare("SELECT count(*) AS n FROM loaves").all();
    return Response.json([counted.results[0].n, counted.meta.served_by_primary, session.getBookmark()]);
  },
  "/many": async (env) => {
    const run = await env.DB.exec("INSERT INTO loaves (flour) VALUES ('oat')\\nINSERT INTO loaves (flour) VALUES ('corn')");
    const [read] = await env.DB.batch([env.DB.prepare("SELECT flour FROM loaves ORDER BY id")]);
    return Response.json([run.count, read.results]);
  },
};
export default { fetch: (request, env) => pages[new URL(request.url).pathname](env, request) };
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(edge="workerd", virtual_clock=True, switches=Switches(propagation_seconds=0)) as running:
        yield running


@pytest.fixture
def database(api: Api, edge: httpx.Client) -> Database:
    sandbox = api.sandbox
    made = Database(api, sandbox.d1.add("bakery"))
    sandbox.d1.query(made.id, TABLE)
    bindings = [
        {"type": "d1", "name": "DB", "id": made.id},
        {"type": "durable_object_namespace", "name": "PLAIN", "class_name": "Plain"},
    ]
    sandbox.deploy("bakery", sandbox.upload("bakery", code=CODE, bindings=bindings))
    return made


def test_worker_and_api_share_rows_and_a_restore(database: Database, edge: httpx.Client) -> None:
    clock = database.api.sandbox.clock
    assert edge.get("/bake").json() == 1
    clock.advance(60)
    bookmark = database.bookmark()
    database.bake("spelt")
    assert edge.get("/many").json() == [2, [{"flour": name} for name in ("rye", "spelt", "oat", "corn")]]
    latest = database.bookmark()
    assert latest > bookmark

    database("PATCH", json={"read_replication": {"mode": "auto"}})
    assert edge.get("/session").json() == [1, False, latest]

    restored = database.restore(bookmark=bookmark).result
    assert edge.get("/count").json() == 1
    assert edge.get("/bake").json() == 2
    database.restore(bookmark=restored["previous_bookmark"])
    assert edge.get("/count").json() == 4
    assert database.rows()[-1] == ["corn"]


DOWN = (
    *(
        "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
        "CREATE TEMP VIEW x AS SELECT 1",
        "DROP TABLE nowhere",
    ),
    *(
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
        "DROP TRIGGER x",
        "CREATE VIEW v AS SELECT * FROM missing",
    ),
    *("DROP VIEW v", "ALTER TABLE t ADD COLUMN u TEXT", "ALTER TABLE t DROP COLUMN u", "ALTER TABLE t DROP COLUMN id"),
    *("ALTER TABLE t RENAME TO _cf_t", "ALTER TABLE t RENAME COLUMN s TO r", "CREATE VIRTUAL TABLE f USING fts5 (a)"),
    *("DROP TABLE f", "DROP TABLE sqlite_sequence", "DELETE FROM sqlite_master", "DROP INDEX i", "DROP TABLE t"),
)
"""Further statements that a down file may have."""

ORPHAN = "INSERT INTO c VALUES (99)"
"""Only the rows of a database tell whether this refers to one."""
STATEMENTS: list[tuple[str, list[Any]]] = [
    *((sql, []) for sql in ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a", "RELEASE a")),
    *((sql, []) for sql in ("ATTACH ':memory:' AS x", "DETACH x", "VACUUM", "REINDEX", "ANALYZE", "SELEC 1")),
    *(
        (f"PRAGMA {pragma}", [])
        for pragma in (
            *("journal_mode", "journal_mode = delete", "user_version", "user_version = 3", "integrity_check"),
            *("page_count", "page_size", "compile_options", "database_list", "function_list", "writable_schema = 1"),
            *("foreign_keys", "foreign_keys = off", "defer_foreign_keys = true", "case_sensitive_like = on"),
            *("quick_check", "quick_check(t)", "foreign_key_check", "foreign_key_check(c)", "foreign_key_list(c)"),
            *("table_info(t)", "table_xinfo(t)", "table_info", "index_list(t)", "index_info(i)", "index_xinfo(i)"),
            *("recursive_triggers", "recursive_triggers = on", "optimize", "ignore_check_constraints = on", "nothing"),
        )
    ),
    *((sql, []) for sql in ("CREATE TEMP TABLE x (a)", "CREATE TABLE temp.x (a)", "CREATE TABLE _cf_x (a)")),
    *((sql, []) for sql in ("SELECT sqlite_version()", "SELECT sqlite_source_id()", "SELECT * FROM nowhere")),
    *((sql, []) for sql in ("SELECT * FROM t", "SELECT * FROM sqlite_temp_master", "UPDATE sqlite_master SET sql = 1")),
    ("INSERT INTO t (id) VALUES (1)", []),
    (ORPHAN, []),
    ("INSERT INTO t (s) VALUES (?) RETURNING id, s", ["b"]),
    ("SELECT x'0102', 1.5, 9007199254740993, NULL, ?, ?", ["x", 2]),
    ("SELECT ?", []),
    (f"SELECT {','.join('?' * 101)}", [1] * 101),
    (f"SELECT s FROM t WHERE s LIKE '{'a' * 60}'", []),
    (f"SELECT '{'a' * 100_001}'", []),
    (f"CREATE TABLE w ({','.join(f'c{number}' for number in range(101))})", []),
    (" UNION ".join(["SELECT 1"] * 6), []),
    ("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3) SELECT * FROM n", []),
    ("SELECT * FROM pragma_table_info('t')", []),
    *((f"ALTER TABLE t {change}", []) for change in ("RENAME COLUMN s TO text", "RENAME TO u")),
    *((f"ALTER TABLE u {change}", []) for change in ("ADD COLUMN n INTEGER", "DROP COLUMN n", "DROP COLUMN text")),
    *((sql, []) for sql in ("UPDATE u SET text = CAST(unhex(hex(text)) AS TEXT)", "SELECT * FROM u")),
    *((sql, []) for sql in ("UPDATE temp.sqlite_master SET sql = 1", "DELETE FROM sqlite_temp_master")),
    ("SELECT type, name, sql FROM sqlite_master WHERE name IN ('c', 'i', 'u')", []),
]


SCHEMA = (
    *("CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT)", "INSERT INTO t (s) VALUES ('a')"),
    *("CREATE TABLE c (t INTEGER REFERENCES t (id))", "CREATE INDEX i ON t (s)"),
)


def test_local_copy_refuses_what_workerd_refuses(database: Database, edge: httpx.Client) -> None:
    statements = [*SCHEMA, *(sql for sql, params in STATEMENTS if not params), *DOWN]

    plain = edge.post("/plain", json=[(sql, []) for sql in statements]).json()

    with LocalCopy([]) as copy:
        refused = [_is_refused(copy, sql) for sql in statements]
    both = zip(statements, plain, refused, strict=True)
    differ = {sql[:60]: answer for sql, answer, here in both if isinstance(answer, str) != here}
    assert differ.keys() == {ORPHAN}
    assert sum(refused) > 25


def _is_refused(copy: LocalCopy, sql: str) -> bool:
    try:
        copy.run([sql])
    except SqlRejectedError:
        return True
    return False


def test_statements_are_answered_and_refused_as_by_workerd(database: Database, edge: httpx.Client) -> None:
    statements = [*((sql, []) for sql in SCHEMA), *STATEMENTS, *((sql, []) for sql in DOWN)]

    plain, d1 = (edge.post(path, json=statements).json() for path in ("/plain", "/d1"))

    differ = {
        sql[:60]: (one, other)
        for (sql, _), one, other in zip(statements, plain, d1, strict=True)
        if _comparable(one) != _comparable(other)
    }
    assert differ == {}
    assert sum(isinstance(each, str) for each in d1) > 25


def _comparable(answer: Any) -> Any:
    """Leave out the offset of an error, which Python does not know, and the advice in the text about transactions."""
    if isinstance(answer, str):
        return re.sub(r" at offset \d+", "", answer).partition("SAVEPOINT statements.")[0]
    return answer
