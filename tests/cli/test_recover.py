"""`ops recover`: a runbook by name and its parameters as JSON, as a job gets them from the gate."""

import json

import pytest

from tests.conftest import Outcome, Releases, World


def recover(world: World, runbook: str, params: str) -> Outcome:
    where = ["--environment", "production", "--incident", "42", "--config", str(world.config), "--yes", "--json"]
    return world.ops("recover", "--runbook", runbook, "--params", params, *where)


def test_runs_what_the_gate_let_through(world: World, releases: Releases) -> None:
    outcome = recover(world, "rollback-worker", json.dumps({"service": "api", "reason": "incident #42"}))

    assert outcome.result["decision"] == "recovered"
    assert world.live == {releases.good: 100}


@pytest.mark.parametrize(
    ("runbook", "params", "said"),
    [
        ("rollback-wroker", "{}", 'no runbook "rollback-wroker"; did you mean "rollback-worker"?'),
        ("rollback-worker", "{", "is no JSON object of rollback-worker's parameters"),
        ("rollback-worker", "[]", "is no JSON object of rollback-worker's parameters"),
        ("rollback-worker", '{"service": "api", "force": "true"}', "is no JSON object of rollback-worker's parameters"),
        ("rollback-worker", '{"service": 7}', "is no JSON object of rollback-worker's parameters"),
        ("rollback-worker", '{"service": "api", "accept_changed_secrets": "A"}', "is no JSON object"),
        ("rollback-worker", '{"service": "api", "current_secrets": "true"}', "is no JSON object"),
        ("rollback-worker", "{}", "--params lacks service"),
    ],
)
def test_refuses_what_no_gate_passes(world: World, releases: Releases, runbook: str, params: str, said: str) -> None:
    outcome = recover(world, runbook, params)

    assert outcome.code == 2
    assert said in outcome.err
    assert world.live == {releases.bad: 100}
