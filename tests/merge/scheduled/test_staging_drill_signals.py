"""Signals to the process of a staging drill while it waits for the recovery."""

import signal

import pytest

from tests.support.commands import Command
from tests.support.staging_drill import DrillWorld


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signalled_drill_is_undone_by_itself_or_by_resume(place: DrillWorld, number: signal.Signals) -> None:
    environ = {name: value for name, value in place.environ().items() if value is not None}
    command = Command(place.world, "staging-drill run", service="", environment="", environ=environ)
    place.answer(command.send(number))

    ended = command.run()

    is_killed = number == signal.SIGKILL
    assert ended.code == (-number if is_killed else 130), ended.err
    assert (place.served == {place.good: 100}) is not is_killed
    assert place.resume("--now").code == 0
    assert place.served == {place.good: 100}
    assert place.drill.state == "closed"


WRITES = {
    "upload": {"method": "POST", "path": "/accounts/*/workers/scripts/*/versions"},
    "deployment": {"method": "POST", "path": "/accounts/*/workers/scripts/*/deployments"},
    "incident": {"method": "POST", "path": "/repos/*/*/issues"},
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_before_the_wait_leaves_nothing_that_resume_cannot_undo(
    place: DrillWorld, number: signal.Signals, write: str
) -> None:
    environ = {name: value for name, value in place.environ().items() if value is not None}
    command = Command(place.world, "staging-drill run", service="", environment="", environ=environ)
    faults = place.sandbox.github if write == "incident" else place.sandbox
    faults.fault(**WRITES[write], after=command.send(number))

    ended = command.run()

    is_killed = number == signal.SIGKILL
    assert ended.code == (-number if is_killed else 130), ended.err
    assert is_killed or place.served == {place.good: 100}
    assert place.resume("--now").code == 0
    assert place.served == {place.good: 100}
    assert all(each.state == "closed" for each in place.issues if each.find_label("incident"))
