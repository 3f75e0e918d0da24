"""A guard that is killed at any request, or that runs beside another one: the next guard finishes the work."""

import os
import signal
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import ACCOUNT, ROOT, World
from tests.support.deployment import ID, SECOND, Deployment, open_repository
from tests.support.forked_ops import ForkedOps

ALL = ["0001_customers.sql", "0002_orders.sql", "0003_clean.sql"]
CLEAN = "-- backout: accepts orders\nDELETE FROM orders;\nINSERT INTO customers (email) VALUES ('b');\n"
REQUESTS = 18
"""Two reads, two checks, the reads again, bookmark, record, table, three migrations, a read, two counts, two checks.

The last one reads the migrations once more.
"""
PATH = f"/client/v4/accounts/{ACCOUNT}/d1/database/{ID}/**"


@pytest.fixture
def shop(world: World, tmp_path: Path) -> Deployment:
    made = open_repository(world, tmp_path / "application")
    made.write("0002_orders.sql", SECOND)
    made.write("0003_clean.sql", CLEAN)
    return made


@dataclass
class Process:
    """The guard as a process of its own."""

    shop: Deployment
    pid: int = 0
    started: threading.Event = field(default_factory=threading.Event)

    def kill(self, number: int) -> None:
        self.started.wait()
        os.kill(self.pid, number)

    def run(self) -> tuple[int, str]:
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "CLOUDFLARE_ACCOUNT_ID": ACCOUNT}
        with tempfile.TemporaryFile("w+") as out, Path(os.devnull).open() as none:
            files = none.fileno(), out.fileno(), out.fileno()
            environ |= self.shop.world.sandbox.environ()
            with ForkedOps(["hold", "migrate"], environ=environ, folder=self.shop.folder, files=files) as process:
                self.pid = process.pid
                self.started.set()
                code = process.wait(timeout=60)
            out.seek(0)
            return code, out.read()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("nth", range(REQUESTS))
def test_killed_guard_is_finished_by_the_next(shop: Deployment, nth: int, moment: str) -> None:
    process = Process(shop)
    shop.world.sandbox.fault(path=PATH, skip=nth, **{moment: lambda: process.kill(signal.SIGKILL)})

    code, out = process.run()

    assert code == -signal.SIGKILL, out
    shop.world.sandbox.faults.clear()
    done = shop.guard()
    assert done.code == 0, done.err
    assert shop.applied == ALL
    assert shop.rows("SELECT count(*), (SELECT count(*) FROM orders) FROM customers") == [[2, 0]]
    assert "bookmark before the first write" in out + done.out


def test_interrupted_guard_gets_its_answer_first(shop: Deployment) -> None:
    process = Process(shop)
    first = f"/client/v4/accounts/{ACCOUNT}/d1/database/{ID}/query"
    shop.world.sandbox.fault(
        path=first, sends="CREATE TABLE customers", before=lambda: process.kill(signal.SIGTERM), delay=0.2
    )

    code, out = process.run()

    assert code == 130
    assert "applied before: 0001_customers.sql" in out
    assert "time-travel restore orders --bookmark" in out
    assert shop.applied == ALL[:1]
    assert shop.guard().code == 0


def test_two_guards_at_once_apply_each_migration_once(shop: Deployment) -> None:
    with ThreadPoolExecutor(2) as both:
        ended = [each.result() for each in [both.submit(Process(shop).run) for _ in range(2)]]

    assert 0 in [code for code, _ in ended], ended
    assert all(code in {0, 3, 4} for code, _ in ended), ended
    assert shop.applied == ALL
    assert shop.rows("SELECT count(*) FROM customers") == [[2]]
    assert shop.guard().code == 0


def test_every_request_is_killed_once(shop: Deployment) -> None:
    assert shop.guard().code == 0

    assert len(shop.world.sandbox.requests) == REQUESTS
