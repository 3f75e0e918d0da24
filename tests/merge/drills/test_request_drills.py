"""Drills in which a request or a deployment is refused until a person decides."""

from typing import get_args

import pytest

from ops.drills.support import Trigger
from tests.support.configurations import ONE_WORKER
from tests.support.drills import IN_A_JOB, drill, unsupported_reason

TRIGGERS = [each for each in get_args(Trigger) if not unsupported_reason("stopped", "embedded", each)]


def configuration(trigger: str) -> list[str]:
    """Return the options of a foreign configuration for the trigger that needs no workflow files."""
    return ["--config", str(ONE_WORKER), "--environment", "live"] if trigger not in IN_A_JOB else []


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_stop_refuses_until_its_lift_or_an_override(trigger: str) -> None:
    result = drill("--trigger", trigger, *configuration(trigger), name="stopped")

    assert (result["decision"], result["reason"], result["trigger"]) == ("recovered", "verified", trigger), result
    assert result["report"] is not None
    overrides = [each for each in result["timeline"] if each["kind"] == "warning" and "stopped" in each["text"]]
    assert bool(overrides) == (trigger == "command")


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_next_deployment_is_held_until_a_fix_or_a_lift(trigger: str) -> None:
    result = drill("--trigger", trigger, *configuration(trigger), name="held-deploy")

    assert (result["decision"], result["reason"], result["trigger"]) == ("recovered", "verified", trigger), result
    assert ("lifted the hold" in result["message"]) == (trigger in IN_A_JOB)  # only a workflow can lift
