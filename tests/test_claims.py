"""Random faults and changes by others: the result of a run is always true.

A second run without faults reaches the goal, or its result names the obstacle.
"""

from functools import partial
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest

from ops.app.registry import scheduled_files
from tests.conftest import World
from tests.support.claims import GOOD_DECISIONS, assert_claims_hold, case_world, press, run
from tests.support.properties import holds_for
from tests.support.scenarios import Case, Scenario, all_cases, part_of

LONG = {"retry-after": "300"}
JSON = "application/json"
UNCLEAR: list[dict[str, Any]] = [
    {"lost": "before"},
    {"lost": "after"},
    {"status": 500, "applied": True},
    {"status": 503},
    {"status": 502, "body": "<html>bad gateway</html>", "applied": True},
    {"body": "", "applied": True},
    {"body": "[]", "content_type": JSON, "applied": True},
    {"body": '{"success": true, "errors": [], "result": null}', "content_type": JSON, "applied": True},
    {"truncate": 20},
    {"truncate": 0},
]
REFUSED: list[dict[str, Any]] = [
    {"status": 429},
    {"status": 429, "headers": {"retry-after": "3"}},
    {"status": 429, "headers": LONG},
    {"code": 10035},
    {"code": 10021},
    {"status": 403, "code": 10000},
]
METHODS = ["GET", "POST", "PUT", "PATCH", "*"]
"""Most requests are GET, so "*" usually hits a read, and the others a write."""
PARTS = ["cloudflare", "cloudflare", "cloudflare", "github", "edge"]


def random_faults(random: Random) -> list[dict[str, Any]]:
    """Return up to three random faults: part, request and failure."""
    return [
        {
            "part": (part := random.choice(PARTS)),
            "method": "GET" if part == "edge" else random.choice(METHODS),
            "skip": random.randint(0, 4),
            "times": random.choice([1, 1, 2, 6]),
            **random.choice([*UNCLEAR, *REFUSED]),
        }
        for _ in range(random.randint(0, 3))
    ]


def consecutive_faults(random: Random, case: Case) -> list[dict[str, Any]]:
    """Return two or three consecutive failures of one write, which are retried."""
    method, path = random.choice(case.writes)
    first = random.choice([0, 0, 0, 1])
    return [
        {
            "part": part_of(path),
            "method": method,
            "skip": first + nth,
            **random.choice(UNCLEAR if random.random() < (0.4 if nth else 0.8) else REFUSED),
        }
        for nth in range(random.randint(2, 3))
    ]


def add_faults(world: World, scenario: Scenario, faults: list[dict[str, Any]], random: Random) -> bool:
    """Add the faults, and sometimes a change by another person; return whether there is one.

    It comes at any request, or after the last fault, when a run reads what it knows least about.
    """
    parts = {"cloudflare": world.sandbox.fault, "github": world.sandbox.github.fault, "edge": world.sandbox.edge_fault}
    comes = random.random() < 0.4
    if comes:
        come = partial(random.choice(scenario.strangers), world)
        moment: dict[str, Any] = {random.choice(["before", "after"]): come}
        others = partial(
            world.sandbox.fault, path="/client/v4/**", skip=random.randint(0, 20), is_prompt=True, **moment
        )
        if faults and random.random() < 0.5:
            faults = [*faults[:-1], {**faults[-1], "before": others, "is_prompt": True}]
        else:
            others()
    for rule in faults:
        given = {name: value for name, value in rule.items() if name != "part"}
        if rule["part"] == "github" and given.pop("code", None):
            given["status"] = 403
        parts[rule["part"]](**given)
    return comes


def clear_faults(world: World) -> None:
    for faults in (world.sandbox.faults, world.sandbox.github.faults, world.sandbox.edge_faults):
        faults.clear()


def check_claims(case: Case, random: Random) -> None:
    scenario = case.scenario
    with case_world(case) as world:
        faults = random_faults(random) if random.random() < 0.5 else consecutive_faults(random, case)
        world.sandbox.switches.propagation_seconds = random.choice([0, 1, 3])
        world.sandbox.switches.pages_propagation_seconds = random.choice([0, 1, 3, 30])
        world.sandbox.switches.deployments_lag_reads = random.choice([0, 0, 1])
        somebody = add_faults(world, scenario, faults, random)

        result = assert_claims_hold(run(world, case, journal=random.random() < 0.3))
        assert result["decision"] not in GOOD_DECISIONS or scenario.reached(world) or somebody, [
            faults,
            result["message"],
        ]

        clear_faults(world)
        world.sandbox.clock.advance(60)
        second = assert_claims_hold(run(world, case))
        story = [faults, somebody, result["message"], second["decision"], second["message"]]
        assert scenario.reached(world) or somebody, story
        assert second["decision"] not in {"failed", "refused"} or second["hint"] or second["press"], story


CASES = list(all_cases())
SCHEDULED = [case for case in CASES if case.runbook.name in scheduled_files()]
QUICK = [case for case in CASES if not case.scenario.is_slow and case not in SCHEDULED]
SLOW = [case for case in CASES if case.scenario.is_slow]


@pytest.mark.slow
@holds_for(fast=4, slow=150, case=st.sampled_from(QUICK), random=st.randoms(use_true_random=False))
def test_run_result_is_true_and_next_run_continues(case: Case, random: Random) -> None:
    check_claims(case, random)


@pytest.mark.slow
@holds_for(fast=4, slow=150, case=st.sampled_from(QUICK), random=st.randoms(use_true_random=False))
def test_printed_command_leads_on(case: Case, random: Random) -> None:
    """Run it where it was printed: it succeeds, or it changes the state or the decision."""
    with case_world(case) as world:
        faults = random_faults(random) if random.random() < 0.5 else consecutive_faults(random, case)
        add_faults(world, case.scenario, faults, random)
        result = assert_claims_hold(run(world, case))
        printed = result["press"] or (result["plan"] or {}).get("next_step") or ""
        if result["decision"] in GOOD_DECISIONS or not printed.startswith("ops "):
            return
        clear_faults(world)
        world.sandbox.clock.advance(60)

        second = press(world, case, printed)

        story = [faults, result["message"], printed, second.code, second.out, second.err]
        if " status " in printed:
            assert second.code in {0, 4}, story  # 4: the token of this runbook cannot read each section
        else:
            moved = second.code not in {1, 2} and second.result["decision"] != result["decision"]
            assert second.code == 0 or second.result["wrote"] or moved, story


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", SLOW, ids=str)
def test_build_run_result_is_true(case: Case, seed: int) -> None:
    check_claims(case, Random(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", SCHEDULED, ids=str)
def test_scheduled_run_result_is_true(case: Case, seed: int) -> None:
    check_claims(case, Random(seed))


@pytest.mark.sampled(6)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_run_needs_only_declared_permissions_and_writes(case: Case) -> None:
    with case_world(case) as world:
        ran = run(world, case)

        assert ran.outcome.code == 0, ran.outcome.err
        assert case.scenario.reached(world)
        assert ran.effects or ran.outcome.result["decision"] == "nothing_to_do"
