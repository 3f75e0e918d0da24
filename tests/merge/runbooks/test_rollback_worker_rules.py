"""Random histories that one rule of the reference decides: `ops rollback-worker` follows each rule."""

import random

import pytest

from ops.core.clock import format_rfc3339
from tests.conftest import World
from tests.support.commands import ours
from tests.support.local_runs import record_local_run
from tests.support.properties import is_hunt
from tests.support.simulated_history import INCIDENTS, moment_of, random_past, replay
from tests.support.target_reference import Judge, Past

EACH = 50 if is_hunt() else 15
"""Histories for each rule."""


def find_history(rule: str, seed: int) -> tuple[Past, int | None, float | None]:
    """Return a history, an incident and a stated start for which the answer depends on the rule."""
    draw = random.Random(f"{rule} {seed}")
    for _ in range(20_000):
        past = random_past(draw, rule)
        if rule != "deployable":
            past.undeployable.clear()
        incident, start = draw.choice(INCIDENTS), None
        if "start" in rule:
            start = draw.uniform(max(0.0, past.now - 300), past.now)
        if Judge(past, start=start).answer(incident) != Judge(past, start=start, without={rule}).answer(incident):
            return past, incident, start
    raise AssertionError(rule)


@pytest.mark.sampled(3 * EACH)
@pytest.mark.parametrize(("rule", "seed"), [(rule, seed) for rule in Judge.RULES for seed in range(EACH)])
def test_random_history_that_a_rule_decides_gets_its_target(world: World, rule: str, seed: int) -> None:
    past, incident, start = find_history(rule, seed)
    names = replay(world.sandbox, past)
    record_local_run(world, "r1", [each.id for each in ours(world)])
    options = [] if incident is None else ["--incident", str(incident)]
    if start is not None:
        options += ["--began", format_rfc3339(moment_of(world.sandbox, past, start))]
    before = world.live

    outcome = world.rollback("--accept-changed-secrets", "KEY", *options)

    answer = Judge(past, start=start).answer(incident)
    live = {names[answer]: 100} if isinstance(answer, int) else before
    assert world.live == live, (answer, outcome.err)
    assert len([write for write in world.writes() if write.status == 200]) == isinstance(answer, int)
