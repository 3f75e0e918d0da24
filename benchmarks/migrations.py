"""Measure the plan of `ops database guard` against its limits: seconds and memory for a database of many tables.

    ./run benchmarks.migrations [--tables N] [--megabytes N]

Each table refers to the one before it, so that a deletion reaches all of them. Runs a whole process on the sandbox.
Prints each figure with its limit, and fails if one is above it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from sandbox import Sandbox

ACCOUNT, ID = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "5c0ffee0-0000-4000-8000-0000000000db"
MOST_SECONDS, MOST_MEGABYTES = 30.0, 100.0
ROWS = 20
"""Rows of each table."""
MEASURE = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
    "print('kilobytes', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)
"""A small process between: the memory of a child counts from that of its parent."""
MIGRATION = """\
CREATE TABLE new (id INTEGER PRIMARY KEY, up INTEGER, body BLOB NOT NULL);
INSERT INTO new (id, up, body) SELECT id, up, body FROM t{last};
DROP TABLE t{last};
ALTER TABLE new RENAME TO t{last};
DELETE FROM t0 WHERE id > 10;
"""


@click.command()
@click.option("--tables", default=100, help="Tables of the database (default: 100)")
@click.option("--megabytes", default=200, help="Size of the database (default: 200)")
def main(tables: int, megabytes: int) -> None:
    with Sandbox(account_id=ACCOUNT) as sandbox, tempfile.TemporaryDirectory() as folder:
        fill(sandbox, tables, megabytes)
        seconds, memory, out = plan(sandbox, Path(folder), tables)
    print(out)
    print("| figure | measured | limit | ratio |\n| --- | ---: | ---: | ---: |")
    print(
        f"| plan, {tables} tables, {megabytes} MB | {seconds:.1f} s | {MOST_SECONDS} s | {seconds / MOST_SECONDS:.2f} |"
    )
    print(f"| its memory | {memory:.0f} MB | {MOST_MEGABYTES:.0f} MB | {memory / MOST_MEGABYTES:.2f} |")
    if seconds > MOST_SECONDS or memory > MOST_MEGABYTES:
        sys.exit("above its limit")


def fill(sandbox: Sandbox, tables: int, megabytes: int) -> None:
    """Make the tables with rows of equal size."""
    sandbox.d1.add("orders", ID)
    size = megabytes * 1_000_000 // (tables * ROWS)
    for number in range(tables):
        up = f"REFERENCES t{number - 1} (id) ON DELETE CASCADE" if number else ""
        sandbox.d1.query(ID, f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY, up INTEGER {up}, body BLOB)")
        rows = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {ROWS})"
        insert = f"INSERT INTO t{number} {rows} SELECT i, i, zeroblob({size}) FROM n"
        sandbox.d1.query(ID, insert)


def plan(sandbox: Sandbox, folder: Path, tables: int) -> tuple[float, float, str]:
    """Plan a migration; return seconds, megabytes at most, and what it printed."""
    binding = {"binding": "DB", "database_name": "orders", "database_id": ID}
    (folder / "wrangler.json").write_text(json.dumps({"name": "shop", "d1_databases": [binding]}))
    (folder / "migrations").mkdir()
    (folder / "migrations/0001_change.sql").write_text(MIGRATION.format(last=tables - 1))
    environ = {**os.environ, **sandbox.environ(), "CLOUDFLARE_ACCOUNT_ID": ACCOUNT}
    command = [sys.executable, "-m", "ops", "database", "guard", "--dry-run"]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command],
        env={**environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    assert done.returncode == 3, done.stdout  # a deletion that the file does not accept
    text, _, kilobytes = done.stdout.rpartition("kilobytes ")
    return seconds, int(kilobytes) / 1000, text


if __name__ == "__main__":
    main()
