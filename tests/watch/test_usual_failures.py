"""Probes that failed now and then before the bad deployment: the watch compares with that. Not for FortuneT."""

import pytest

from tests.support.shop import WORKER, Shop
from tests.watch.test_watch import shop, watch

__all__ = ["shop"]


@pytest.mark.parametrize(("declared", "decision"), [("", "no_evidence"), (", usual_failures: 0.15", "mitigated")])
def test_rounds_that_always_failed_now_and_then_are_compared_with_that(
    shop: Shop, declared: str, decision: str
) -> None:
    """Each seventh request fails, as before the bad deployment."""
    shop.world.edit_config("path: /cart", "path: /health")
    flaky = {"status": 500, "share": 1 / 7, "body": {"version": "{{version}}"}}
    shop.world.sandbox.deploy(WORKER, shop.world.sandbox.upload(WORKER, code="flaky", behaviour=flaky))
    shop.world.edit_config("successes: 1, interval: 500ms", f"successes: 1, interval: 500ms{declared}")

    found = watch(shop)

    assert found.decision == decision, found.state.rounds
    assert any("15 % of the rounds failed before" in note for note in found.notes) == bool(declared)
