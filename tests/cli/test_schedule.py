"""Consecutive scheduled runs: an interruption ends them all, a failure ends only its group."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.cli.runbook_group import ScheduledRuns
from ops.core.errors import ConfigError, Interrupted, OpsError, Reason, most_urgent_exit_code
from ops.core.redaction import Redactor

SCHEDULED = ScheduledRuns(Redactor(), dry_run=False, yes=True, as_json=False, config=Path("ops.yml"))
NO_TOKEN = ConfigError("SHOPDESK_TOKEN is not set", reason=Reason.TOKEN_MISSING)
STOPPED = Interrupted("SIGINT ended the run before its first step", reason=Reason.SIGNAL)


def group(*ends: int | OpsError) -> Callable[[], Iterator[int]]:
    def runs() -> Iterator[int]:
        for end in ends:
            if isinstance(end, OpsError):
                raise end
            yield end

    return runs


def test_failed_group_does_not_stop_others_and_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    begun: list[int] = []

    def last() -> Iterator[int]:
        begun.append(1)
        yield 0

    other = ConfigError("OTHER_TOKEN is not set", reason=Reason.TOKEN_MISSING)
    with pytest.raises(ConfigError) as raised:
        SCHEDULED.run_all([group(0, NO_TOKEN), group(other), last])

    assert raised.value is NO_TOKEN
    assert begun == [1]
    assert capsys.readouterr().err == "error: OTHER_TOKEN is not set\n"


@pytest.mark.parametrize("end", [130, STOPPED], ids=["in a run", "before its first step"])
def test_interruption_starts_no_further_run(end: int | OpsError) -> None:
    assert SCHEDULED.run_all([group(0, end, 0), group(0)]) == [0, 130]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codes", "code"), [([], 0), ([0, 9], 9), ([9, 6], 6), ([8, 5], 5), ([6, 8, 4], 6), ([6, 130], 130)]
)
def test_most_urgent_exit_code_wins(codes: list[int], code: int) -> None:
    assert most_urgent_exit_code(codes) == code
