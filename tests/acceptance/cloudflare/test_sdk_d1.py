"""Cloudflare's official Python SDK on D1.

The test imports it, because each worker imports this module: the SDK takes 50 ms.
"""

from typing import TYPE_CHECKING

import pytest

from sandbox import Sandbox

if TYPE_CHECKING:
    from cloudflare.types.d1.database_query_params import MultipleQueriesBatch


def test_sdk_creates_queries_restores_and_deletes_database(sandbox: Sandbox) -> None:
    from cloudflare import Cloudflare, NotFoundError

    account = sandbox.account_id
    with Cloudflare(api_token=sandbox.token, base_url=sandbox.api_url, max_retries=0) as sdk:
        databases = sdk.d1.database
        made = databases.create(account_id=account, name="bakery", read_replication={"mode": "auto"})
        assert made.uuid is not None
        table = "CREATE TABLE loaves (flour TEXT); INSERT INTO loaves VALUES ('rye')"
        databases.query(made.uuid, account_id=account, sql=table)
        sandbox.clock.advance(60)
        before = databases.time_travel.get_bookmark(made.uuid, account_id=account).bookmark
        assert before is not None
        batch: list[MultipleQueriesBatch] = [
            {"sql": "UPDATE loaves SET flour = ?", "params": ["oat"]},
            {"sql": "SELECT flour FROM loaves"},
        ]
        _, selected = databases.query(made.uuid, account_id=account, batch=batch).result
        restored = databases.time_travel.restore(made.uuid, account_id=account, bookmark=before)
        (raw,) = databases.raw(made.uuid, account_id=account, sql="SELECT flour FROM loaves").result

        assert selected.results == [{"flour": "oat"}]
        assert raw.results is not None
        assert (raw.results.columns, raw.results.rows) == (["flour"], [["rye"]])
        assert before < (restored.previous_bookmark or "") < (restored.bookmark or "")
        assert [each.name for each in databases.list(account_id=account, name="bakery")] == ["bakery"]
        changed = databases.edit(made.uuid, account_id=account, read_replication={"mode": "disabled"})
        assert changed.read_replication is not None
        assert changed.read_replication.mode == "disabled"
        exported = databases.export(made.uuid, account_id=account, output_format="polling")
        assert exported.at_bookmark is not None
        done = databases.export(
            made.uuid, account_id=account, output_format="polling", current_bookmark=exported.at_bookmark
        )
        assert done.result is not None
        assert done.status == "complete"
        databases.delete(made.uuid, account_id=account)
        with pytest.raises(NotFoundError):
            databases.get(made.uuid, account_id=account)
        assert sandbox.unknown_requests == []
