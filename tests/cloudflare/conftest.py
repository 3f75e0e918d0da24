"""The client of Cloudflare's API, on the sandbox."""

from collections.abc import Iterator

import pytest

from ops.cloudflare.client import Client
from ops.core.redaction import Secret
from ops.core.system_clock import SandboxClock
from sandbox import Sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    clock = SandboxClock(sandbox.clock_url)
    client = Client(sandbox.api_url, Secret(sandbox.token), token_name="CLOUDFLARE_API_TOKEN", clock=clock)
    yield client
    client.close()
