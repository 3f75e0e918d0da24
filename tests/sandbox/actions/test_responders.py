"""Job start where ops.yml lists responders: the generated `if` decides before a runner does."""

import pytest

from sandbox import Sandbox
from sandbox.actions import Runner
from tests.support.actions import conclusions
from tests.support.configurations import ONE_WORKER
from tests.support.workflows import operations_repository

LABEL = "recover:desk"


@pytest.mark.parametrize("by", ["mallory", "helper[bot]"])
def test_only_labels_by_responders_start_jobs(sandbox: Sandbox, by: str) -> None:
    hub = sandbox.github
    hub.add_user("dana")
    hub.add_user(by, "triage")
    hub.add_commit("All of it", "dana", files=operations_repository(ONE_WORKER))
    issues = [hub.open_issue("Down", labels=["incident"], author="dana") for _ in range(150)]

    with Runner(hub, {}) as runner:
        runner.hold_jobs("gate")
        for number in issues:
            hub.label(number, LABEL, by)
        hub.label(hub.open_issue("Down", author="dana"), LABEL, "dana")
        *others, _, run = hub.runs  # each label starts answer.yml too
        gate = (run.jobs[0].name, run.jobs[0].status)

    assert {other.conclusion for other in others} == {"skipped"}
    assert {result for other in others for result in conclusions(other).values()} == {"skipped"}
    assert len(others) == 300
    assert gate == ("recover / gate", "queued")
