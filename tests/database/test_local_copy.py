"""Local copy of a D1 database: its schema, refusals of D1, and the split of a text into statements."""

import re
import sqlite3
import time
from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest
from hypothesis import assume

from ops.database.local_copy import LocalCopy, SqlRejectedError, split_statements
from sandbox.cloudflare.d1.sqlite import D1Sqlite
from tests.support.properties import holds_for

OBJECTS = (
    "CREATE TABLE customers (id INTEGER PRIMARY KEY AUTOINCREMENT, mail TEXT UNIQUE)",
    'CREATE TABLE "odd; name" (a, b AS (a + 1))',
    "CREATE TABLE orders (customer INTEGER REFERENCES customers (id) ON DELETE CASCADE)",
    "CREATE VIEW zz AS SELECT * FROM aa",
    "CREATE VIEW aa AS SELECT customer FROM orders",
    "CREATE INDEX by_customer ON orders (customer)",
    "CREATE TRIGGER closed INSTEAD OF DELETE ON aa BEGIN SELECT raise(abort, 'no'); END",
    "CREATE VIRTUAL TABLE notes USING fts5 (text)",
)


def schema_of(*statements: str) -> frozenset[tuple[object, ...]]:
    """Return the schema as plain SQLite has it after these statements."""
    plain = sqlite3.connect(":memory:")
    for sql in statements:
        plain.execute(sql)
    rows = frozenset(
        plain.execute("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'")
    )
    plain.close()
    return rows


def test_copy_has_the_schema_of_the_database() -> None:
    schema = schema_of(*OBJECTS)
    with LocalCopy(schema) as copy:
        assert copy.read_schema() == schema


def test_statements_change_the_schema_together_or_not_at_all() -> None:
    with LocalCopy(schema_of(*OBJECTS)) as copy:
        with pytest.raises(SqlRejectedError, match=r'statement 2: no such table: ovens: "?DROP TABLE ovens') as refused:
            copy.run(["DROP TABLE orders", "DROP TABLE ovens", "DROP TABLE customers"])
        assert "\n" not in str(refused.value)
        assert copy.read_schema() == schema_of(*OBJECTS)
        copy.run(["DROP VIEW zz"])
        assert copy.read_schema() == schema_of(*(each for each in OBJECTS if " zz " not in each))


def test_object_that_this_sqlite_cannot_make_is_named() -> None:
    with pytest.raises(
        SqlRejectedError, match="of this machine cannot create maps: statement 1: no such module: geopoly9"
    ):
        LocalCopy([("table", "maps", "CREATE VIRTUAL TABLE maps USING geopoly9 (a)")])


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("BEGIN TRANSACTION", "D1 runs a query as one transaction"),
        ("COMMIT", "D1 runs a query as one transaction"),
        ("SAVEPOINT a", "D1 runs a query as one transaction"),
        ("CREATE TEMP TABLE x (a)", "temporary objects"),
        ("CREATE TABLE temp.x (a)", "temporary objects"),
        ("ATTACH ':memory:' AS x", "D1 refuses ATTACH"),
        ("VACUUM", "within a transaction"),
        ("PRAGMA journal_mode = delete", "D1 refuses PRAGMA journal_mode"),
        ("PRAGMA Writable_Schema = 1", "D1 refuses PRAGMA writable_schema"),
        ("PRAGMA table_info", "D1 refuses PRAGMA table_info"),
        ("SELECT sqlite_version()", r"D1 refuses sqlite_version\(\)"),
        ("CREATE TABLE _cf_mine (a)", "belong to D1"),
        ("INSERT INTO orders VALUES (?)", "Incorrect number of bindings|binding"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        (f"SELECT '{'a' * 100_000}'", "longer than 100000 bytes"),
        (f"CREATE TABLE wide ({', '.join(f'c{n}' for n in range(101))})", "too many columns"),
        ("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT * FROM n", "takes longer than 0 s"),
        (
            "CREATE TABLE x AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT zeroblob(1900000) FROM n",
            "is full|takes longer than 0 s",
        ),
    ],
)
def test_statement_that_d1_refuses(sql: str, why: str) -> None:
    with LocalCopy(schema_of(*OBJECTS), time_limit=0.2) as copy:
        with pytest.raises(SqlRejectedError, match=why):
            copy.run([sql])
        assert copy.read_schema() == schema_of(*OBJECTS)


def test_row_may_refer_to_a_row_that_only_the_database_has() -> None:
    line = "CREATE TABLE lines (id INTEGER PRIMARY KEY, of INTEGER REFERENCES orders (id), upper INTEGER REFERENCES lines (id))"
    orders = "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers (id)) WITHOUT ROWID"
    with LocalCopy(schema_of(OBJECTS[0], orders, line)) as copy:
        copy.run(["INSERT INTO orders VALUES (1, 1)", "INSERT INTO lines VALUES (1, 1, NULL), (2, 2, 1)"])
        copy.run(["PRAGMA defer_foreign_keys = on", "INSERT INTO orders VALUES (2, 2)", "CREATE TABLE new (a)"])
        assert copy.losses == ()
        assert "new" in {name for _, name, _ in copy.read_schema()}


def test_pragma_ends_with_its_transaction() -> None:
    with LocalCopy(schema_of("CREATE TABLE t (a CHECK (a > 0))")) as copy:
        copy.run(["PRAGMA ignore_check_constraints = on", "INSERT INTO t VALUES (0)"])
        with pytest.raises(SqlRejectedError, match="CHECK constraint failed"):
            copy.run(["INSERT INTO t VALUES (0)"])


def test_dropped_parent_deletes_its_children_in_sqlite_too() -> None:
    live = D1Sqlite(lambda: datetime.now(UTC))
    live.run([(sql, ()) for sql in (OBJECTS[0], OBJECTS[2], "INSERT INTO customers (id) VALUES (1)")])
    live.run([("INSERT INTO orders VALUES (1)", ())])
    live.run([("PRAGMA defer_foreign_keys = on", ()), ("DROP TABLE customers", ()), (OBJECTS[0], ())])
    assert live.run([("SELECT count(*) FROM orders", ())])[0].rows == [[0]]
    live.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("-- nothing; at all\n/* ; */ ; ;\n", 0),
        ("DROP TABLE a; DROP TABLE b", 2),
        ("INSERT INTO t VALUES ('a;b', \"c;d\", [e;f], `g;h`) -- ; end\n; /* last; */", 1),
        (
            "CREATE TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = CASE WHEN 1 THEN 2 END; SELECT 1; END; DROP TABLE b",
            2,
        ),
        ("-- a;b\nDROP TABLE a;\r\n-- c;", 1),
    ],
)
def test_text_is_split_into_statements(text: str, count: int) -> None:
    assert len(list(split_statements(text))) == count


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("DROP TABLE a; create trigger x after insert on t begin select 1; end;", "statement 2: .*BEGIN in capital"),
        ("/* why */ CREATE TRIGGER x AFTER INSERT ON t begin SELECT 1; END", "statement 1: .*BEGIN in capital"),
        ("DROP TABLE a\0; DROP TABLE b", "null character"),
    ],
)
def test_text_that_d1_does_not_split(text: str, why: str) -> None:
    with pytest.raises(SqlRejectedError, match=why):
        list(split_statements(text))


def split_seconds(text: str) -> float:
    """Return the CPU time of a split: the least of three tries, without the allocations of the first."""
    tries = []
    for _ in range(3):
        began = time.process_time()
        list(split_statements(text))
        tries.append(time.process_time() - began)
    return min(tries)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "repeated", "after"),
    [
        ("SELECT '", ";", "'"),
        ("SELECT /*", ";", "*/ 1"),
        ("SELECT 1 --", ";", ""),
        ("", "SELECT 1;", ""),
        ("CREATE TRIGGER x AFTER INSERT ON t BEGIN ", "SELECT 1;", "END;"),
        ("CREATE TRIGGER x AFTER INSERT ON t BEGIN ", "; END ", ";"),
        ("CREATE TRIGGER x AFTER INSERT ON t BEGIN ", ";END /**/ --", ""),
    ],
)
def test_split_takes_time_in_proportion_to_the_size(before: str, repeated: str, after: str) -> None:
    small, large = (before + repeated * (size // len(repeated)) + after for size in (24_000, 96_000))

    assert split_seconds(large) < 8 * split_seconds(small) + 0.001  # a split with a square would take 16 times


PIECES = (
    "DROP TABLE a",
    "'",
    '"',
    "`",
    "[",
    "]",
    ";",
    ";;",
    "--",
    "\n",
    "/*",
    "*/",
    " ",
    "CREATE TRIGGER x AFTER DELETE ON a BEGIN SELECT 1; END",
)


@pytest.mark.slow
@holds_for(50, 1500, pieces=st.lists(st.sampled_from(PIECES), max_size=12))
def test_split_runs_what_sqlite_runs(pieces: list[str]) -> None:
    """The statements together do what the whole text does on plain SQLite, or both fail."""
    text = "".join([*pieces, "\n/**/"])  # ends a comment, which executescript does not
    tables = ["CREATE TABLE a (x)", "CREATE TABLE b (y)"]
    plain = sqlite3.connect(":memory:", isolation_level=None)
    try:
        plain.executescript(";".join([*tables, "BEGIN"]))
        plain.executescript(text)
        expected = frozenset(plain.execute("SELECT type, name, sql FROM sqlite_schema"))
    except sqlite3.Error:
        expected = None
    plain.close()
    with LocalCopy(schema_of(*tables)) as copy:
        try:
            copy.run([*split_statements(text)])
            found = copy.read_schema()
        except SqlRejectedError:
            found = None
    assert found == expected


WORDS = (
    *("create", "trigger", "temp", "TEMPORARY", "EXPLAIN", "BEGIN", "END", "end", "x"),
    *(";", " ", "\n", "\v", "/*", "*/", "--", "-", "/", "*", "'", '"', "`", "[", "]", "$", "\u00e9", "1"),
    *("CREATE TRIGGER BEGIN ", ";END;", "EXPLAIN QUERY PLAN ", "/* ; */", "-- ;\n"),
)


def split_by_sqlite(text: str) -> list[str]:
    """Return the parts of a text: each is the shortest one, up to a semicolon, that SQLite calls complete."""
    parts = [""]
    for piece in re.findall("[^;]*;|[^;]+", text):
        parts[-1] += piece
        if piece.endswith(";") and sqlite3.complete_statement(parts[-1]):
            parts.append("")
    return parts


@pytest.mark.slow
@holds_for(200, 5000, words=st.lists(st.sampled_from(WORDS), max_size=20))
def test_statement_ends_where_sqlite_ends_it(words: list[str]) -> None:
    text = "".join(["SELECT BEGIN", *words])
    blank = re.compile(r"(?>[ \t\n\f\r;]|--[^\n]*|/\*.*?(?:\*/|\Z))*+", re.DOTALL)

    try:
        found = [*split_statements(text)]
    except SqlRejectedError:
        assume(False)

    assert found == [part.strip() for part in split_by_sqlite(text) if not blank.fullmatch(part)]
