"""The automatic step while GitHub's lists are behind by two seconds."""

from tests.conftest import World
from tests.support.relapse import open_relapse


def test_step_waits_for_its_record(world: World) -> None:
    relapse = open_relapse(world)
    relapse.incident.github.switches.lists_lag_seconds = 2.0

    outcome = relapse.step()

    assert (outcome.code, outcome.result["decision"]) == (0, "recovered"), outcome.err
    assert relapse.shop.live == {relapse.shop.old: 100}
