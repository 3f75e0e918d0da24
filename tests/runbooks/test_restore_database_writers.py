"""Restore a database while users, cron triggers and queues write to it: the counts that a run states are true."""

import re
from collections.abc import Callable

import pytest

from ops.drills.scenario_database import EdgeClient, Writer
from tests.conftest import WORKER, Outcome, World
from tests.support import databases, switches
from tests.support.commands import texts
from tests.support.databases import ID, RESTORE, Library

BEFORE_LAST = "before-migration:0002_b.sql"
LEND = "INSERT INTO loans (book, lent_at) VALUES (1, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))"
COUNTED = re.compile(r"loans: (\d+) → (\d+) rows, (at least )?(\d+) rows removed")


@pytest.fixture
def library(world: World) -> Library:
    """The API lends a book on each request, and has maintenance by its switch."""
    made = databases.with_switched_maintenance(databases.prepared(world))
    deploy(made)
    return made


def deploy(library: Library, *handlers: str) -> None:
    sandbox = library.world.sandbox
    bindings = [
        {"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": switches.NAMESPACE},
        {"type": "d1", "name": "DB", "id": ID},
    ]
    behaviour = {"runtime": switches.DECLARED, "paths": {"/lend": {"sql": LEND}}}
    version = sandbox.upload(WORKER, behaviour=behaviour, bindings=bindings, handlers=("fetch", *handlers))
    sandbox.deploy(WORKER, version)
    sandbox.clock.advance(60)


def users(library: Library) -> Callable[[], bool]:
    edge = EdgeClient(library.world.sandbox.edge_url, f"https://{switches.HOST}")
    return lambda: edge.post("/lend").status == 200


def inside(library: Library) -> Callable[[], bool]:
    """Return a writer that passes no edge, as a cron trigger or a queue consumer."""

    def write() -> bool:
        library.world.sandbox.d1.query(ID, LEND)
        return True

    return write


def restore_while(library: Library, write: Callable[[], bool]) -> tuple[Outcome, Writer]:
    """Restore, which takes half a second, while a writer adds 20 rows a second."""
    library.world.sandbox.fault(**RESTORE, delay=0.5)
    with Writer(write) as writer:
        assert writer.wait_for(10, seconds=20)
        return library.restore(BEFORE_LAST), writer


def stated(done: Outcome) -> tuple[int, int, bool, int]:
    """Return the rows before and after, whether their difference is a minimum, and the difference."""
    (found,) = [each for text in texts(done, "read_back") for each in COUNTED.findall(text)]
    return int(found[0]), int(found[1]), bool(found[2]), int(found[3])


def actual(library: Library) -> tuple[int, int]:
    """Return the rows right before and after the restore, by the sandbox's history."""
    store = library.world.sandbox.d1.store(ID)
    (restored,) = [each for each in store.history.states if each.restored is not None]
    found = []
    for state in (store.history.states[restored.number - 1], restored):
        answer = store.read([("SELECT count(*) FROM loans", ())], state)
        assert answer is not None
        found.append(int(answer.results[0].rows[0][0]))
    return found[0], found[1]


@pytest.mark.parametrize("stale", [0, 3])
def test_counts_are_exact_if_maintenance_stops_all_writers(library: Library, stale: int) -> None:
    library.world.sandbox.switches.d1_stale_reads = stale

    done, writer = restore_while(library, users(library))

    assert done.code == 0, done.err
    before, after = actual(library)
    assert stated(done) == (before, after, False, before - after)
    assert before - after >= 13
    assert writer.refused > 0
    assert any("updated and deleted rows are not counted" in text for text in texts(done, "read_back"))


def cron(library: Library) -> None:
    library.world.sandbox.account.workers[WORKER].schedules = [{"cron": "* * * * *"}]


def queue(library: Library) -> None:
    deploy(library, "queue")


@pytest.mark.parametrize(("add_writer", "named"), [(cron, "cron triggers of api"), (queue, "queue handler of api")])
def test_counts_are_a_minimum_if_a_writer_goes_on(
    library: Library, add_writer: Callable[[Library], None], named: str
) -> None:
    add_writer(library)

    done, writer = restore_while(library, inside(library))

    assert done.code == 0, done.err
    assert any(text.startswith(f"writes go on: {named}") for text in done.result["plan"]["warnings"])
    before, after = actual(library)
    _, _, is_minimum, rows = stated(done)
    assert is_minimum
    assert 0 < rows <= before - after
    assert writer.refused == 0


@pytest.mark.slow
def test_unknown_writer_that_is_noticed_makes_counts_a_minimum(library: Library) -> None:
    """A write arrives between all reads, also while the application is in maintenance."""
    query = {"method": "POST", "path": "/accounts/*/d1/database/*/query"}
    library.world.sandbox.fault(**query, times=None, before=inside(library))

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert stated(done)[2]
    assert any(text.startswith("lib ") for text in texts(done, "warning"))


@pytest.mark.slow
def test_updates_and_deletes_are_named_as_not_counted(library: Library) -> None:
    """Since the target a row was added, one was updated and one was deleted: the number of rows is equal."""
    library.world.sandbox.clock.advance(60)
    library.write("UPDATE loans SET book = 2 WHERE id = 1", minutes=0)
    library.write("DELETE FROM loans WHERE id = 2", minutes=0)
    library.write(LEND, minutes=0)
    library.world.sandbox.clock.advance(30)

    done = library.restore("-1m")

    assert done.code == 0, done.err
    differs = "no table has another number of rows; updated and deleted rows are not counted"
    assert any(differs in text for text in texts(done, "read_back"))
    assert library.rows("SELECT book FROM loans WHERE id = 1") == [{"book": 1}]


@pytest.mark.slow
def test_table_that_takes_over_5_seconds_is_not_counted_in_the_result(library: Library) -> None:
    query = {"method": "POST", "path": "/accounts/*/d1/database/*/query", "sends": "count(*) AS n"}
    library.world.sandbox.fault(**query, times=None, delay=60)

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert any("books: not counted; loans: not counted" in text for text in texts(done, "read_back"))
    counts = [each for each in library.world.sandbox.requests if "count(*) AS n" in str(each.body)]
    assert len(counts) == 2  # D1 still runs a count that took too long, and runs nothing else meanwhile
