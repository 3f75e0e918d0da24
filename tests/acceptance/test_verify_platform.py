"""`ops verify-platform` with its Worker in workerd: the embedded runtime answers as the source does."""

from ops.platform.measurements import read_assumptions
from ops.platform.verification import STEPS
from tests.support.verification import measured_account, outcomes_of


def test_source_of_the_worker_shows_what_the_checks_read() -> None:
    with measured_account(edge="workerd") as measured:
        outcomes = outcomes_of(measured.measure())

        left = measured.left()
    assert {name for name, outcome in outcomes.items() if outcome == "confirmed"} == {
        each.id for each in read_assumptions() if each.check in STEPS
    }
    assert left == []
