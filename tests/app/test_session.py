"""Sessions that end while a thread still requests a client."""

from contextlib import ExitStack

import pytest

from ops.app.configuration import read_config
from ops.app.session import Session
from tests.conftest import World


def test_client_created_after_the_end_is_closed(world: World) -> None:
    config, _ = read_config(world.config)
    with ExitStack() as ending:
        session = Session(config, "production", world.sandbox.environ(), ending)

    with pytest.raises(RuntimeError, match="has ended"):
        session.cloudflare.workers.list_deployments("any")
    assert world.sandbox.requests == []


@pytest.mark.slow
def test_each_client_is_created_once(world: World) -> None:
    config, _ = read_config(world.config)
    with ExitStack() as ending:
        session = Session(config, "production", world.sandbox.environ(), ending)

        assert session.client is session.client
        assert session.cloudflare.workers is session.cloudflare.workers
