"""Runs with several changes: each is compared, written once, read back and reported.

Two Workers of a team with names, an account and a token of its own; a rotation changes one secret in both.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops import cli
from ops.cli.runbook_command import runbook_command
from ops.engine.context import Context
from ops.engine.step import ObservedState, StepPlan
from ops.rotation.steps import EditSecrets
from ops.runbooks.rotate_secrets import RotateSecrets
from sandbox import Sandbox
from tests.conftest import Outcome, World
from tests.support.commands import ended, texts

ACCOUNT = "5109de5c5109de5c5109de5c5109de5c"
BASKET, STOCK = "shopdesk-basket", "shopdesk-stock"
KEY, FORMER, FRESH = "STRIPE_KEY", "rk-former-0123456789", "rk-fresh-0123456789"
BULK = {"method": "PATCH", "path": "/accounts/*/workers/scripts/*/secrets-bulk"}
OF_BASKET = {**BULK, "path": f"/accounts/*/workers/scripts/{BASKET}/secrets-bulk"}
OF_STOCK = {**BULK, "path": f"/accounts/*/workers/scripts/{STOCK}/secrets-bulk"}
CONFIG = f"""
environments:
  live:
    account_id: {ACCOUNT}
    token: SHOPDESK_TOKEN
    services:
      basket:
        worker: {BASKET}
        url: https://basket.shopdesk.example
        probes: [{{name: up, http: {{path: /health}}}}]
      stock:
        worker: {STOCK}
        url: https://stock.shopdesk.example
        probes: [{{name: up, http: {{path: /health}}}}]
    secrets:
      {KEY}:
        rotate: provided
        consumers: [basket, stock]
        proofs:
          basket: [{{path: /health, version: version.id}}]
          stock: [{{path: /health, version: version.id}}]
contacts:
  - {{role: On-call, contact: "+44 1", availability: 24/7}}
"""


@dataclass
class Shop:
    world: World

    def rotate(self, name: str = "rotate-secrets") -> Outcome:
        where = ["--service", "basket", "--environment", "live", "--config", str(self.world.config)]
        given = {"SHOPDESK_TOKEN": self.world.sandbox.token, f"NEW_{KEY}": FRESH, f"OLD_{KEY}": FORMER}
        return self.world.ops(name, *where, "--yes", "--json", CLOUDFLARE_API_TOKEN=None, **given)

    def value(self, worker: str) -> str:
        (version,) = self.world.sandbox.live(worker)
        return self.world.sandbox.deployments(worker)[0].secrets[version][KEY]

    def colleague(self, worker: str) -> Callable[[], str]:
        """Return a function that uploads and deploys Dana's hotfix of a Worker."""
        sandbox, dana = self.world.sandbox, "dana@shopdesk.example"
        return lambda: sandbox.deploy(worker, sandbox.upload(worker, code="hotfix", author=dana), author=dana)

    def count_writes(self, worker: str) -> int:
        return sum(write.path.endswith(f"/{worker}/secrets-bulk") for write in self.world.writes())


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Sandbox(account_id=ACCOUNT, virtual_clock=True) as sandbox:
        for worker, host in ((BASKET, "basket.shopdesk.example"), (STOCK, "stock.shopdesk.example")):
            sandbox.route(host, worker)
            at = sandbox.clock.now() - timedelta(hours=3)
            sandbox.deploy(worker, sandbox.upload(worker, code="good", secrets={KEY: FORMER}, at=at), at=at)
        (tmp_path / "ops.yml").write_text(CONFIG)
        yield Shop(World(sandbox, tmp_path))


def change_outcomes(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome of each change of a value, without empty lists. The marks come after all of them."""
    values = {
        name: [target for target in targets if not target.startswith("mark of ")]
        for name, targets in outcome.result["outcome"].items()
    }
    return {name: targets for name, targets in values.items() if targets}


BOTH = [f"Worker {BASKET}", f"Worker {STOCK}"]


@pytest.mark.slow
def test_result_lists_each_change(shop: Shop) -> None:
    outcome = shop.rotate()

    assert ended(outcome)[:2] == (0, "healthy_as_before"), outcome.err
    assert change_outcomes(outcome) == {"changed": BOTH}
    assert [shop.value(worker) for worker in (BASKET, STOCK)] == [FRESH, FRESH]
    assert [shop.count_writes(worker) for worker in (BASKET, STOCK)] == [1, 1]


@pytest.mark.slow
def test_deployment_between_two_changes_is_not_overwritten(shop: Shop) -> None:
    shop.world.sandbox.fault(**OF_BASKET, after=shop.colleague(STOCK))

    outcome = shop.rotate()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "the live state changed after the plan" in outcome.result["message"]
    assert "dana@shopdesk.example" in outcome.result["message"]
    assert change_outcomes(outcome) == {"changed": BOTH[:1], "not_changed": BOTH[1:]}
    assert shop.count_writes(STOCK) == 0


def test_replaced_change_stops_the_run(shop: Shop) -> None:
    shop.world.sandbox.fault(**OF_BASKET, after=shop.colleague(BASKET))

    outcome = shop.rotate()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "our change was made and then replaced" in outcome.result["message"]
    assert change_outcomes(outcome) == {"replaced": BOTH[:1], "not_changed": BOTH[1:]}
    assert outcome.result["wrote"]
    assert shop.count_writes(STOCK) == 0


@pytest.mark.slow
def test_unreadable_change_stops_the_run(shop: Shop) -> None:
    listed = {"method": "GET", "path": f"/accounts/*/workers/scripts/{BASKET}/deployments"}
    shop.world.sandbox.fault(**OF_BASKET, after=lambda: shop.world.sandbox.fault(**listed, status=503, times=None))

    outcome = shop.rotate()

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert change_outcomes(outcome) == {"unknown": BOTH[:1], "not_changed": BOTH[1:]}
    assert shop.count_writes(STOCK) == 0


class WritesBetween(RotateSecrets):
    """Greedy."""

    name = "writes-between"

    def plan(self, ctx: Context[RotateSecrets.Params]) -> StepPlan:
        plan = super().plan(ctx)
        first, second, *others = plan.changes
        return replace(plan, changes=(first, GreedyStep(**vars(second)), *others))


class GreedyStep(EditSecrets):
    def check(self, ctx: Context[Any]) -> ObservedState:
        """Write while comparing the second change, after the first one was written."""
        ctx.cloudflare.workers.set_subdomain(STOCK, ctx.cloudflare.workers.read_subdomain(STOCK))
        return super().check(ctx)


def test_client_is_read_only_between_two_writes(shop: Shop) -> None:
    cli.cli.add_command(runbook_command(WritesBetween()))
    try:
        outcome = shop.rotate(WritesBetween.name)
    finally:
        del cli.cli.commands[WritesBetween.name]

    assert ended(outcome) == (4, "failed", "read_only")
    assert change_outcomes(outcome) == {"changed": BOTH[:1], "not_changed": BOTH[1:]}
    assert [write.method for write in shop.world.writes()] == ["PATCH"]


REFUSALS: dict[str, dict[str, Any]] = {
    "10035": {"code": 10035},
    "429": {"status": 429},
    "429 for long": {"status": 429, "headers": {"retry-after": "300"}},
    "400": {"code": 10021},
}


@pytest.mark.sampled
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_rejection_after_unclear_write_is_unknown_outcome(shop: Shop, refusal: dict[str, Any]) -> None:
    """A secret edit carries no mark, so the author of the newer version is unknown after the second attempt."""
    shop.world.sandbox.fault(**OF_BASKET, lost="after")
    shop.world.sandbox.fault(**OF_BASKET, **refusal, skip=1)

    outcome = shop.rotate()

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert change_outcomes(outcome) == {"unknown": BOTH[:1], "not_changed": BOTH[1:]}
    assert f"unknown: Worker {BASKET}" in outcome.result["message"]
    assert "othing was changed" not in outcome.result["message"] + outcome.result["hint"]
    assert shop.value(BASKET) == FRESH


@pytest.mark.slow
def test_unclear_write_after_rejection_is_unknown_outcome(shop: Shop) -> None:
    shop.world.sandbox.fault(**OF_BASKET, code=10035)
    shop.world.sandbox.fault(**OF_BASKET, lost="after", skip=1)

    outcome = shop.rotate()

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert change_outcomes(outcome) == {"unknown": BOTH[:1], "not_changed": BOTH[1:]}


def test_rate_limit_after_a_change_reports_the_change(shop: Shop) -> None:
    shop.world.sandbox.fault(**OF_STOCK, status=429, headers={"retry-after": "300"})

    outcome = shop.rotate()

    assert ended(outcome) == (4, "failed", "rate_limited")
    assert " 5 min" in outcome.result["message"]
    assert "othing was changed" not in outcome.result["message"] + outcome.result["hint"]
    assert change_outcomes(outcome) == {"changed": BOTH[:1], "not_changed": BOTH[1:]}
    assert f"changed: Worker {BASKET}; not changed: Worker {STOCK}" in outcome.result["message"]


def test_rate_limit_before_any_change_reads_back(shop: Shop) -> None:
    shop.world.sandbox.fault(**OF_BASKET, status=429, headers={"retry-after": "300"})

    outcome = shop.rotate()

    assert ended(outcome) == (4, "failed", "rate_limited")
    assert outcome.result["message"].startswith("nothing was changed: ")
    assert "is live, as planned" in outcome.result["hint"]
    assert "is live, as planned" in texts(outcome, "compared")[-1]


def test_rejected_write_without_read_back_is_not_applied(shop: Shop) -> None:
    listed = {"method": "GET", "path": f"/accounts/*/workers/scripts/{BASKET}/deployments"}
    shop.world.sandbox.fault(
        **OF_BASKET, code=10035, after=lambda: shop.world.sandbox.fault(**listed, status=503, times=None)
    )

    outcome = shop.rotate()

    assert ended(outcome) == (4, "failed", "not_applied")
    assert "othing was changed" not in outcome.result["message"] + outcome.result["hint"]
    assert change_outcomes(outcome) == {"not_changed": BOTH}
