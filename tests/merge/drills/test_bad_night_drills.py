"""Drills of a bad night: each first gets its expected answer, and then recovers."""

import pytest

from ops.drills.scenario_bad_night import SCENARIOS
from tests.support.configurations import ONE_WORKER
from tests.support.drills import Run, drill, run_id, runs

EXPECTED = {"lying-probe": "nothing_to_do"}
"""Decision of a drill that does not end as recovered."""
OTHERS: list[Run] = [(name, "embedded", "command") for name in ("token-revoked", "target-gone", "lying-probe")]


@pytest.mark.parametrize("run", [run for name in SCENARIOS for run in runs(name)], ids=run_id)
def test_bad_night_gets_its_answer_and_ends(run: Run) -> None:
    """The drill itself compares decision, answer and live version of the first request."""
    name, _, trigger = run

    result = drill("--trigger", str(trigger), name=name)

    assert (result["decision"], result["trigger"]) == (EXPECTED.get(name, "recovered"), trigger), result
    assert result["within_target"] is True
    assert result["report"] is not None


@pytest.mark.parametrize("run", OTHERS, ids=run_id)
def test_bad_night_of_another_application_gets_its_answer(run: Run) -> None:
    name, *_ = run

    result = drill("--trigger", "command", "--config", str(ONE_WORKER), "--environment", "live", name=name)

    assert (result["decision"], result["service"]) == (EXPECTED.get(name, "recovered"), "desk"), result


def test_label_drill_without_a_trigger_adds_the_label() -> None:
    result = drill(name="unauthorized-label")

    assert (result["decision"], result["trigger"]) == ("recovered", "label")
