"""Watch with the error rate of Cloudflare's analytics, and without it."""

import re
from datetime import timedelta

import pytest

from ops.core.errors import Decision
from tests.conftest import Incident
from tests.support.shop import WORKER, Shop
from tests.watch.test_watch import HALF_HOUR, fail, incident, serve, shop, watch

__all__ = ["incident", "shop"]

QUERIES_UNTIL_RELAPSE = 10
"""Queries of the analytics until users of the flaky version are a relapse."""


def deploy_flaky(shop: Shop) -> str:
    """Deploy a version whose errors only users see, and return it. Analytics are exact and without delay."""
    sandbox = shop.world.sandbox
    sandbox.switches.analytics_sample_interval, sandbox.switches.analytics_delay_seconds = 1, 0
    flaky = sandbox.upload(WORKER, code="flaky", behaviour={"status": 200, "throws": "no", "share": 0.2})
    sandbox.deploy(WORKER, flaky)
    sandbox.clock.advance(60)
    shop.world.edit_config("path: /cart", "path: /health")
    return flaky


def test_error_rate_finds_a_relapse_that_few_probes_see(shop: Shop) -> None:
    flaky = deploy_flaky(shop)

    found = watch(shop, actions={number: serve(shop) for number in range(2, 14, 2)}, duration=HALF_HOUR)

    assert found.decision == Decision.RELAPSED
    assert re.match(rf"requests to {flaky[:8]}: \d+ of 2\d\d requests failed since ", found.judgment.cause)
    assert found.ended_at is not None
    assert found.ended_at - found.state.started_at <= timedelta(minutes=10)


def test_relapse_by_error_rate_survives_analytics_that_fail_next(shop: Shop) -> None:
    deploy_flaky(shop)
    down = shop.world.sandbox.fault(path="/graphql", skip=QUERIES_UNTIL_RELAPSE, status=503, times=None)

    found = watch(shop, actions={number: serve(shop) for number in range(2, 14, 2)}, duration=HALF_HOUR)

    assert found.decision == Decision.RELAPSED
    assert (down.skip, down.hits) == (0, 0)


@pytest.mark.parametrize(
    ("switch", "value", "said"),
    [
        ("analytics_down", True, "no error rate, so only the probes decide"),
        ("analytics_empty", True, "Cloudflare's analytics have no requests yet"),
        ("analytics_delay_seconds", 3600, "Cloudflare's analytics have no requests yet"),
    ],
)
def test_without_analytics_the_probes_decide(
    shop: Shop, incident: Incident, switch: str, value: object, said: str
) -> None:
    setattr(shop.world.sandbox.switches, switch, value)

    found = watch(shop, incident.number, actions={3: fail(shop)})

    assert found.decision == Decision.RELAPSED
    assert any(said in note for note in found.notes)
    assert said.split(",", maxsplit=1)[0] in incident.bodies[0].replace("N", "n")
