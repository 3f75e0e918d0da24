"""Measure `ops restore-database` against its limits: rounds of calls, seconds of a run, and checks of a large database.

    ./run benchmarks.database [--gigabytes N]

Runs whole processes on the drill's database. D1 runs one query after the other: the large database is a SQLite file on
this machine, and the sandbox answers each check as late as that file does, or later than D1 allows. Prints each figure
with its limit, and fails if one is above it.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import click

from ops.app.configuration import read_config
from ops.database.checks import TIME_LIMIT
from ops.drills import scenario_database
from ops.drills.database_content import BAD
from ops.drills.scenario_maintenance import PERMISSIONS
from sandbox import Sandbox, Switches

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "examples" / "fortunet" / "ops.yml"
DATABASE, ACCOUNT = "fortunet", "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
MOST_ROUNDS, MOST_SECONDS, MOST_OWN_SECONDS = 3, 120.0, 5.0
MOST_LOCATING = 4
"""More rounds for a bookmark: D1 does not tell its time, so the plan searches for it."""
BEFORE_BAD = f"before-migration:{BAD}"
SLACK = 2.0
"""Seconds that a run may need beside its checks."""
PER_CALL = 0.1
ROUND = 1.0
"""Seconds of each call while rounds are counted."""
QUERY = {"method": "POST", "path": "/client/v4/accounts/*/d1/database/*/query"}
CHECKS = ("foreign_key_check", "quick_check", 'count(*) FROM \\"charts\\"', "json_valid")
"""Text of the statement of each check."""
D1_LIMIT = 30.0
"""Seconds that D1 gives to a query: developers.cloudflare.com/d1/platform/limits"""
ROWS_PER_GIGABYTE = 1_000_000
PROBE_PAUSES = 2.0
"""Seconds between the three probe rounds that prove that maintenance is in effect."""


@dataclass
class Figures:
    failed: list[str] = field(default_factory=list)

    def show(self, name: str, value: float, limit: float, unit: str = "s") -> None:
        shown, most = (f"{each:.0f}" if unit == "rounds" else f"{each:.1f} {unit}" for each in (value, limit))
        print(f"| {name} | {shown} | {most} | {value / limit:.2f} |", flush=True)
        if value > limit:
            self.failed.append(name)


@click.command()
@click.option("--gigabytes", default=1.0, help="Size of the large database (default: 1)")
def main(gigabytes: float) -> None:
    figures = Figures()
    print("| figure | measured | limit | ratio |\n| --- | ---: | ---: | ---: |")
    for method in ("edge", "switch"):
        with broken_database(method) as world:
            figures.show(f"plan, maintenance: {method}", world.count_rounds(BEFORE_BAD), MOST_ROUNDS, "rounds")
    with broken_database("edge") as world:
        most = MOST_ROUNDS + MOST_LOCATING
        figures.show("plan to a bookmark", world.count_rounds(world.bookmark()), most, "rounds")
    with broken_database("switch") as world:
        world.sandbox.fault(path="/client/**", times=None, delay=PER_CALL)
        run = world.restore()
        figures.show("start to restored and checked, with 90 s of settling", run.until_checked, MOST_SECONDS)
        figures.show(f"its real time at {PER_CALL * 1000:.0f} ms per call", run.own_seconds, MOST_OWN_SECONDS)
    measured = measure_file(gigabytes)
    for name, seconds in (
        (f"checks of {gigabytes:g} GB, as measured here ({', '.join(f'{each:.1f}' for each in measured)} s)", measured),
        ("checks that each take as long as D1 allows", [D1_LIMIT] * len(CHECKS)),
    ):
        with broken_database("switch") as world, slow_database(world.sandbox, seconds):
            figures.show(name, world.restore().check_seconds, TIME_LIMIT + SLACK)
    if figures.failed:
        sys.exit(f"above its limit: {', '.join(figures.failed)}")


@dataclass(frozen=True)
class Run:
    until_checked: float
    """By the sandbox's clock."""
    own_seconds: float
    """Real seconds until checked, without the pauses between the probes of maintenance."""
    check_seconds: float


@dataclass(frozen=True)
class World:
    sandbox: Sandbox
    config: Path

    def bookmark(self) -> str:
        """Return the bookmark of a minute ago."""
        clock, database = self.sandbox.clock, read_config(self.config)[0].environment("production").database(DATABASE)
        return str(self.sandbox.d1.store(database.id).history.at(clock.now() - timedelta(minutes=1)).bookmark)

    def count_rounds(self, to: str) -> int:
        """Return the number of calls of a plan that had to wait for earlier ones."""
        arrivals: list[float] = []
        slow = {"times": None, "delay": ROUND, "before": lambda: arrivals.append(time.perf_counter())}
        self.sandbox.fault(path="/client/**", **slow)
        for _ in self._events(to, "--dry-run"):
            pass
        rounds: list[float] = []
        for at in sorted(arrivals):
            if not rounds or at - rounds[-1] > ROUND / 2:
                rounds.append(at)
        return len(rounds)

    def restore(self) -> Run:
        began = time.perf_counter()
        requested = checked = None
        real = dict[str, float]()
        for kind, text, at in self._events(BEFORE_BAD, "--yes"):
            requested = requested or at
            if kind == "read_back" and "shows the restored state" in text:
                real["read_back"] = time.perf_counter()
            if text.startswith("checks of "):
                checked, real["checked"] = at, time.perf_counter()
                break
        assert requested, "the run did not start"
        assert checked, "the run was not checked"
        own = real["checked"] - began - PROBE_PAUSES
        return Run((checked - requested).total_seconds(), own, real["checked"] - real["read_back"])

    def _events(self, to: str, *more: str) -> Iterator[tuple[str, str, datetime]]:
        """Yield kind, text and time of each event of a run."""
        where = ["--database", DATABASE, "--to", to, "--environment", "production"]
        argv = ["restore-database", *where, "--one-person", "--config", str(self.config), "--json", *more]
        with subprocess.Popen(
            [sys.executable, "-m", "ops", *argv],
            env=self._environ(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("{"):
                    event = json.loads(line)
                    yield event["kind"], event["text"], datetime.fromisoformat(event["at"])
            process.wait()

    def prepare_maintenance(self) -> None:
        argv = [sys.executable, "-m", "ops", "maintenance", "prepare", "--environment", "production", "--yes"]
        argv += ["--config", str(self.config)]
        subprocess.run(argv, env=self._environ(), check=True, capture_output=True)

    def _environ(self) -> Mapping[str, str]:
        token = self.sandbox.add_token("benchmark", ("D1 Write", "Workers KV Storage Write", *PERMISSIONS))
        home = {"PATH": os.environ["PATH"], "HOME": str(self.config.parent), "PYTHONPATH": str(ROOT)}
        return {**home, **self.sandbox.environ(), "CLOUDFLARE_API_TOKEN": token}


@contextmanager
def broken_database(method: str) -> Iterator[World]:
    """Yield the drill's application with a bad migration that is ten minutes old."""
    switches = Switches(propagation_seconds=0, kv_staleness_seconds=0)
    with Sandbox(account_id=ACCOUNT, switches=switches) as sandbox, tempfile.TemporaryDirectory() as folder:
        path, worker = Path(folder, "ops.yml"), "        worker: fortunet-api"
        path.write_text(REFERENCE.read_text().replace(worker, f"        maintenance: {method}\n{worker}"))
        config, _ = read_config(path)
        environment = config.environment("production")
        service = environment.service("api")
        assert scenario_database.RESTORE.configure
        scenario = scenario_database.RESTORE.configure(environment, service)
        sandbox.clock.advance(-timedelta(hours=2).total_seconds())
        scenario.prepare(sandbox, environment, service)
        scenario.release(sandbox, service, "good", "embedded", path.parent)
        sandbox.clock.advance(timedelta(minutes=110).total_seconds())
        scenario.release(sandbox, service, "bad", "embedded", path.parent)
        sandbox.clock.advance(timedelta(minutes=10).total_seconds())
        world = World(sandbox, path)
        if method == "edge":
            world.prepare_maintenance()
        yield world


@contextmanager
def slow_database(sandbox: Sandbox, seconds: Sequence[float]) -> Iterator[None]:
    """Answer each check after that many seconds, one after the other."""
    one_by_one, ended = threading.Lock(), threading.Event()

    def wait(each: float) -> None:
        with one_by_one:
            ended.wait(each)

    for text, each in zip(CHECKS, seconds, strict=True):
        sandbox.fault(**QUERY, sends=text, times=None, before=lambda each=each: wait(each))
    try:
        yield
    finally:
        ended.set()


def measure_file(gigabytes: float) -> list[float]:
    """Return the seconds of each check on a SQLite file of this size."""
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder, "large.sqlite"))) as large:
        large.execute("PRAGMA journal_mode = off")
        large.execute("PRAGMA synchronous = off")
        large.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)")
        large.execute("CREATE TABLE charts (id INTEGER PRIMARY KEY, user INTEGER REFERENCES users (id), chart TEXT)")
        large.execute("CREATE INDEX charts_of_user ON charts (user, id)")
        numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?)"
        large.execute(f"{numbers} INSERT INTO users SELECT i FROM n", (1000,))
        chart = "json_object('chart', printf('%.*c', 950, 'x'))"
        rows = int(gigabytes * ROWS_PER_GIGABYTE)
        large.execute(f"{numbers} INSERT INTO charts SELECT i, i % 1000 + 1, {chart} FROM n", (rows,))
        large.commit()
        size = Path(folder, "large.sqlite").stat().st_size
        assert size >= 0.95e9 * gigabytes, size
        statements = ("PRAGMA foreign_key_check", "PRAGMA quick_check", "SELECT count(*) FROM charts")
        readable = "SELECT count(*) FROM charts WHERE NOT json_valid(chart)"
        return [_seconds(large, sql) for sql in (*statements, readable)]


def _seconds(database: sqlite3.Connection, sql: str) -> float:
    began = time.perf_counter()
    database.execute(sql).fetchall()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
