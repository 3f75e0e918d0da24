"""D1 through the client: queries, batches, bookmarks and restores."""

from datetime import timedelta

import pytest

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.d1 import D1Api
from ops.cloudflare.response import CloudflareApiError
from ops.cloudflare.types.d1 import D1Database, SqlStatement
from ops.core.errors import ProviderError, Reason, Refused, UnclearWrite
from sandbox import Sandbox
from tests.conftest import ACCOUNT

BATCH = (
    SqlStatement("INSERT INTO loaves (flour, grams) VALUES (?, ?)", ("rye", "750")),
    SqlStatement("UPDATE loaves SET grams = grams + 50"),
)
COUNT = (SqlStatement("SELECT count(*) AS n FROM loaves"),)


@pytest.fixture
def database(sandbox: Sandbox) -> str:
    made = sandbox.d1.add("bakery")
    sandbox.d1.query(made, "CREATE TABLE loaves (id INTEGER PRIMARY KEY, flour TEXT, grams INTEGER, crumb BLOB)")
    return made


@pytest.fixture
def d1(client: CloudflareClient) -> D1Api:
    return D1Api(client, ACCOUNT)


def _count(d1: D1Api, database: str) -> object:
    return d1.query(database, COUNT)[0].rows[0]["n"]


def test_database_has_size_and_replication(d1: D1Api, database: str, sandbox: Sandbox) -> None:
    sandbox.d1.store(database).has_replicas = True
    found = d1.read_database(database)
    size = sandbox.d1.store(database).history.current.size
    assert found == D1Database(id=database, name="bakery", created_on=sandbox.clock.now(), size=size, has_replicas=True)
    with pytest.raises(CloudflareApiError) as missing:
        d1.read_database("0" * 36)
    assert missing.value.code == 7404


def test_batch_is_written_and_queried(d1: D1Api, client: CloudflareClient, database: str) -> None:
    with client.writing():
        results = d1.run_batch(database, BATCH)
    assert [each.changes for each in results] == [1, 1]
    select = SqlStatement("SELECT flour, grams, crumb, x'01ff' AS raw FROM loaves WHERE flour = ?", ("rye",))
    read, check = d1.query(database, [select, SqlStatement("PRAGMA quick_check")])
    assert read.rows == ({"flour": "rye", "grams": 800, "crumb": None, "raw": [1, 255]},)
    assert check.rows == ({"quick_check": "ok"},)
    assert (read.size_after or 0) > 0


@pytest.mark.parametrize("sql", ["DELETE FROM loaves", "SELECT 1; DELETE FROM loaves", "PRAGMA optimize"])
def test_query_that_may_write_is_not_sent(d1: D1Api, client: CloudflareClient, database: str, sql: str) -> None:
    with client.writing(), pytest.raises(ValueError, match="could change"):
        d1.query(database, [*COUNT, SqlStatement(sql)])


@pytest.mark.sampled
@pytest.mark.parametrize(
    "body",
    [
        {"sql": "DELETE FROM loaves"},
        {"batch": [{"sql": "SELECT 1"}, {"sql": "DELETE FROM loaves"}]},
        {"sql": "SELECT 1", "batch": [{"sql": "DELETE FROM loaves"}]},
        {"batch": [{"sql": "SELECT 1", "batch": []}]},
        {"batch": []},
        {"sql": None},
        None,
    ],
)
def test_client_sends_only_reading_sql_while_planning(
    client: CloudflareClient, database: str, sandbox: Sandbox, body: object
) -> None:
    with pytest.raises(Refused) as refused:
        client.write("POST", f"/accounts/{ACCOUNT}/d1/database/{database}/query", json=body)
    assert refused.value.reason == Reason.READ_ONLY
    assert sandbox.requests == []


def test_batch_and_restore_need_a_change(d1: D1Api, database: str, sandbox: Sandbox) -> None:
    bookmark = d1.read_bookmark(database)
    for write in (lambda: d1.run_batch(database, BATCH), lambda: d1.restore(database, bookmark)):
        with pytest.raises(Refused):
            write()
    assert {each.method for each in sandbox.requests} == {"GET"}


@pytest.mark.slow
def test_restore_is_undone_with_previous_bookmark(
    d1: D1Api, client: CloudflareClient, database: str, sandbox: Sandbox
) -> None:
    empty = sandbox.clock.now()
    sandbox.clock.advance(60)
    with client.writing():
        d1.run_batch(database, BATCH)
        restored = d1.restore(database, d1.read_bookmark(database, empty + timedelta(seconds=59)))
        assert _count(d1, database) == 0
        d1.restore(database, restored.previous_bookmark)
    assert _count(d1, database) == 1


@pytest.mark.slow
def test_rejected_batch_changed_nothing(d1: D1Api, client: CloudflareClient, database: str) -> None:
    with client.writing(), pytest.raises(CloudflareApiError, match="no such table: ovens") as rejected:
        d1.run_batch(database, [*BATCH, SqlStatement("DELETE FROM ovens")])
    assert rejected.value.message.endswith("this was not applied")
    assert _count(d1, database) == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"code": 7500, "message": "internal error", "applied": True},
        {"status": 503, "applied": True},
        {"lost": "after"},
        {"body": '{"success": true, "result": [{}]}', "applied": True},
    ],
)
def test_unclear_batch_may_be_applied(
    d1: D1Api, client: CloudflareClient, database: str, sandbox: Sandbox, fault: dict[str, object]
) -> None:
    sandbox.fault(method="POST", path="**/query", content_type="application/json", **fault)
    with client.writing(), pytest.raises(UnclearWrite):
        d1.run_batch(database, BATCH)
    assert _count(d1, database) == 1


@pytest.mark.parametrize("fault", [{"lost": "after"}, {"body": '{"success": true, "result": null}', "applied": True}])
def test_restore_with_lost_answer_is_unclear(
    d1: D1Api, client: CloudflareClient, database: str, sandbox: Sandbox, fault: dict[str, object]
) -> None:
    bookmark = d1.read_bookmark(database)
    sandbox.fault(path="**/restore", content_type="application/json", **fault)
    with client.writing():
        d1.run_batch(database, BATCH)
        with pytest.raises(UnclearWrite):
            d1.restore(database, bookmark)
    assert _count(d1, database) == 0


@pytest.mark.slow
def test_query_is_repeated_after_internal_error(d1: D1Api, database: str, sandbox: Sandbox) -> None:
    sandbox.fault(path="**/query", code=7500, message="internal error; reference = e_PVSMDp")
    assert _count(d1, database) == 0
    assert len(sandbox.requests) == 2
    with pytest.raises(CloudflareApiError, match="no such table"):
        d1.query(database, [SqlStatement("SELECT * FROM ovens")])
    assert len(sandbox.requests) == 3


@pytest.mark.slow
def test_query_with_timeout_is_sent_once(d1: D1Api, database: str, sandbox: Sandbox) -> None:
    sandbox.fault(path="**/query", status=503, times=None)
    with pytest.raises(ProviderError):
        d1.query(database, COUNT, timeout=5)
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("rows", ['{"results": [], "success": false}', '{"results": [{"n": true}], "success": true}'])
def test_malformed_result_is_an_error(d1: D1Api, database: str, sandbox: Sandbox, rows: str) -> None:
    answer = f'{{"success": true, "errors": [], "messages": [], "result": [{rows}]}}'
    sandbox.fault(path="**/query", body=answer, content_type="application/json")
    with pytest.raises(ProviderError, match="a query of"):
        d1.query(database, COUNT)


@pytest.mark.slow
def test_bookmark_of_the_future_is_rejected(d1: D1Api, database: str, sandbox: Sandbox) -> None:
    with pytest.raises(CloudflareApiError) as rejected:
        d1.read_bookmark(database, sandbox.clock.now() + timedelta(hours=1))
    assert rejected.value.code == 7400
