"""Probes that failed now and then before the bad deployment: the watch compares with that. Not for FortuneT."""

from datetime import UTC, datetime, timedelta

import pytest
from annotated_types import Le

from ops.config.probes import VerificationRule
from ops.watch.judgment import ErrorRates, LiveVersions, judge_watch
from ops.watch.state import INTERVAL, WatchState
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


def test_highest_share_still_lets_a_watch_see_an_outage_within_a_quarter_of_an_hour() -> None:
    (most,) = (
        float(str(each.le)) for each in VerificationRule.model_fields["usual_failures"].metadata if isinstance(each, Le)
    )
    rounds, start = "huh" * 8 + "u" * (timedelta(minutes=15) // INTERVAL), datetime(2026, 11, 30, tzinfo=UTC)
    state = WatchState("x", start, start + timedelta(minutes=30), "d1", rounds, usual_failures=most)

    assert judge_watch(state, LiveVersions(), ErrorRates()).is_relapse
