"""Fixture: a client of Cloudflare's API on the sandbox."""

from collections.abc import Iterator

import pytest

from ops.cloudflare.client import CloudflareClient
from ops.core.clock import SandboxClock
from ops.core.redaction import Secret
from sandbox import Sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[CloudflareClient]:
    clock = SandboxClock(sandbox.clock_url)
    client = CloudflareClient(sandbox.api_url, Secret(sandbox.token), token_name="CLOUDFLARE_API_TOKEN", clock=clock)
    yield client
    client.close()
