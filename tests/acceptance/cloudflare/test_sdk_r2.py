"""Cloudflare's official Python SDK, and wrangler, on R2.

The test imports the SDK, because each worker imports this module: it takes 50 ms.
"""

from pathlib import Path

import pytest

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.r2 import R2Api
from ops.core.clock import SandboxClock
from ops.core.redaction import Secret
from sandbox import Sandbox
from tests.support.wrangler import run_wrangler

CONTENT = "rows: é😀\n"


def test_sdk_writes_reads_and_deletes_objects(sandbox: Sandbox) -> None:
    from cloudflare import Cloudflare, NotFoundError

    account = sandbox.account_id
    sandbox.add_token("rows", ["Workers R2 Storage Write"])
    sandbox.account.r2.add("bakery", jurisdiction="eu")
    with Cloudflare(api_token="rows", base_url=sandbox.api_url, max_retries=0) as sdk:
        objects, domains = sdk.r2.buckets.objects, sdk.r2.buckets.domains
        with pytest.raises(NotFoundError):
            domains.managed.list("bakery", account_id=account)
        written = objects.upload(
            "a.sql", CONTENT.encode(), account_id=account, bucket_name="bakery", cf_r2_jurisdiction="eu"
        )
        read = objects.get("a.sql", account_id=account, bucket_name="bakery", cf_r2_jurisdiction="eu")
        (listed,) = objects.list("bakery", account_id=account, cf_r2_jurisdiction="eu")

        assert written is not None
        assert read.read().decode() == CONTENT
        assert (listed.key, listed.etag, listed.size) == ("a.sql", written.etag, len(CONTENT.encode()))
        assert domains.managed.list("bakery", account_id=account, cf_r2_jurisdiction="eu").enabled is False
        domains.managed.update("bakery", account_id=account, enabled=True, cf_r2_jurisdiction="eu")
        assert domains.managed.list("bakery", account_id=account, cf_r2_jurisdiction="eu").enabled is True
        assert domains.custom.list("bakery", account_id=account, cf_r2_jurisdiction="eu").domains == []
        objects.delete("a.sql", account_id=account, bucket_name="bakery", cf_r2_jurisdiction="eu")
        with pytest.raises(NotFoundError):
            objects.get("a.sql", account_id=account, bucket_name="bakery", cf_r2_jurisdiction="eu")
        assert sandbox.unknown_requests == []


def test_wrangler_downloads_what_our_client_wrote(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.account.r2.add("bakery")
    sandbox.add_token("rows", ["Workers R2 Storage Write"])
    clock = SandboxClock(sandbox.clock_url)
    client = CloudflareClient(sandbox.api_url, Secret("rows"), token_name="TOKEN", clock=clock)
    with client.writing():
        R2Api(client, sandbox.account_id, "bakery", "default").put_object("a.sql", CONTENT.encode())
    client.close()
    sandbox.add_token(sandbox.token, ["Workers R2 Storage Write"])

    run_wrangler(sandbox, tmp_path, "r2", "object", "get", "bakery/a.sql", "--file", "b.sql", "--remote", home=tmp_path)

    assert (tmp_path / "b.sql").read_text() == CONTENT
