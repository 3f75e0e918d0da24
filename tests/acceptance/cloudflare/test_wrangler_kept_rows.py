"""Rows that a restore loses, read and put back by the real wrangler on workerd's D1."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from ops.core.clock import parse_utc
from ops.database.kept_rows import (
    ForeignKey,
    KeptFile,
    Row,
    TableShape,
    measure_sql,
    page_sql,
    parse_batches,
    render_kept_rows,
)
from sandbox import Sandbox
from tests.support.wrangler import run_wrangler

AUTHORS = TableShape("authors", ("id", "value"), ("id",), "rowid")
BOOKS = TableShape("books", ("a", "b", "author"), ("a", "b"), parents=(ForeignKey("authors", ("author",), ("id",)),))
SCHEMA = """\
CREATE TABLE authors (id INTEGER PRIMARY KEY, value);
CREATE TABLE books (a TEXT, b BLOB, author INTEGER REFERENCES authors, PRIMARY KEY (a, b)) WITHOUT ROWID;
"""
VALUES = """\
INSERT INTO authors VALUES (1, NULL), (2, 9007199254740993), (3, -9223372036854775808), (4, 0.1), (5, 9e999), (6, -9e999),
 (7, 1e300), (8, 'it''s -- no; comment'), (9, CAST(x'610a620d0a00c3a9' AS TEXT)), (10, x'00ff27'), (11, '漢字😀'),
 (12, CAST(x'ff00fe' AS TEXT)), (13, 'BEGIN ' || 'TRANSACTION;' || ' COMMIT;'), (14, ''), (9223372036854775807, 'last');
INSERT INTO books VALUES ('it''s', x'00ff', 9223372036854775807), ('b', x'', NULL);
"""
EXACT = "SELECT quote(id) AS k, typeof(value) AS t, hex(value) AS h FROM authors ORDER BY id"
HEAD = KeptFile(
    "library", "library", "RUN", "a point", parse_utc("2026-01-01T00:00:00Z"), parse_utc("2026-02-01T00:00:00Z")
)


def test_every_value_goes_back_through_wrangler(sandbox: Sandbox, tmp_path: Path) -> None:
    binding = {"binding": "DB", "database_name": "library", "database_id": "1b0a0da8-0000-4000-8000-00000000b00c"}
    config = {"name": "library", "compatibility_date": "2026-09-01", "d1_databases": [binding]}
    (tmp_path / "wrangler.json").write_text(json.dumps(config))
    run = partial(run_wrangler, sandbox, tmp_path, "d1", "execute", "library", "--local", home=tmp_path)

    def execute(text: str) -> list[list[dict[str, Any]]]:
        (tmp_path / "file.sql").write_text(text)
        said = run("--json", "--file", "file.sql")
        return [each["results"] for each in json.loads(said[said.index("[") :])]

    *_, before, authors, books = execute(
        f"{SCHEMA}{VALUES}{EXACT};\n{measure_sql(AUTHORS, '').sql};\n{measure_sql(BOOKS, '').sql};"
    )
    assert [(each["n"], each["large"]) for (each,) in (authors, books)] == [(15, 0), (2, 0)]
    rows: dict[TableShape, list[Row]] = {BOOKS: [], AUTHORS: []}
    after = dict.fromkeys(rows, Row())
    for exact in (False, True):  # as after a sign that may stand for bytes
        pages = execute("".join(f"{page_sql(each, '', after[each], 10, exact=exact).sql};\n" for each in rows))
        for shape, page in zip(rows, pages, strict=True):
            rows[shape] += [tuple(row[f"c{n}"] for n in range(len(shape.columns))) for row in page]
            after[shape] = (page[-1]["place"],) if shape.rowid and page else shape.key_of(rows[shape][-1])
    assert [len(each) for each in rows.values()] == [2, 15]
    execute("DELETE FROM books; DELETE FROM authors WHERE id <> 4;")

    text = render_kept_rows(HEAD, rows)
    compare = [each.compare_sql(("id", "value", "a", "b", "author")).sql for each in parse_batches(text)]
    assert len(compare) == 2
    for _ in range(2):
        execute(text)
        assert execute(";\n".join([EXACT, *compare, "PRAGMA foreign_key_check;"])) == [before, [], [], []]
