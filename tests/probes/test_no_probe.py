"""A service without a probe: a run says at once that it has no evidence."""

from datetime import timedelta

import pytest

from tests.conftest import ACCOUNT, World
from tests.support.commands import texts

OPS_YML = f"""\
environments:
  live:
    account_id: {ACCOUNT}
    services:
      mail: {{worker: bakery-mail, url: "https://mail.bakery.example"}}
      site: {{pages: bakery-site, url: "https://www.bakery.example"}}
"""


@pytest.fixture
def bakery(world: World) -> World:
    world.config.write_text(OPS_YML)
    sandbox = world.sandbox
    sandbox.route("mail.bakery.example", "bakery-mail")
    sandbox.pages.add_project("bakery-site", domains=["www.bakery.example"])
    for hours, code in ((60, "old"), (30, "good"), (1, "bad")):
        at = sandbox.clock.now() - timedelta(hours=hours)
        sandbox.deploy("bakery-mail", sandbox.upload("bakery-mail", code=code, at=at), at=at)
        sandbox.pages.add_deployment("bakery-site", files={"index.html": code.encode()}, at=at)
    return world


@pytest.mark.parametrize("service", ["mail", "site"])
def test_run_without_a_probe_ends_at_once(bakery: World, service: str) -> None:
    clock, runbook = bakery.sandbox.clock, {"mail": "rollback-worker", "site": "rollback-pages"}[service]
    bakery.sandbox.switches.pages_propagation_seconds = 0
    began = clock.now()

    first = bakery.ops(runbook, "--service", service, "--config", str(bakery.config), "--yes", "--json")

    assert (first.code, first.result["decision"]) == (8, "no_evidence"), first.err
    assert clock.now() - began < timedelta(seconds=20)
    assert texts(first, "probed") == ["before: no probe is configured"]
    assert "ops.yml has no probe" in first.result["message"]
    assert "Look at the service yourself" in first.result["hint"]
    again = [
        bakery.ops(runbook, "--service", service, "--config", str(bakery.config), "--yes", "--json") for _ in range(2)
    ]
    assert [each.result["decision"] for each in again] == ["no_evidence", "no_evidence"]
    assert len(bakery.writes()) == 1
