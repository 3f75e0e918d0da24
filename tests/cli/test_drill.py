"""Output of a drill: events of jobs and commands as lines, equal probe rounds folded."""

import json
from typing import Any

import pytest

from ops.cli.drill import DrillOutput

UNHEALTHY, HEALTHY = "after, 0 of 3 in a row: home unhealthy: status 500", "after, 1 of 3 in a row: home healthy"


def event(kind: str, text: str) -> dict[str, Any]:
    data = {"schema": 1, "number": 1, "at": "2026-11-26T07:00:00Z", "seconds": 1.5, "kind": kind}
    return {**data, "text": text, "data": {}}


def test_equal_rounds_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    output = DrillOutput()

    for text in (UNHEALTHY, UNHEALTHY, UNHEALTHY, HEALTHY, UNHEALTHY, UNHEALTHY):
        output.event(event("probed", text))
    output.line("the end")

    rows = [line.partition("probed     ")[2] or line for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        *(UNHEALTHY, "  … 2 more rounds with the same results", HEALTHY),
        *(UNHEALTHY, "  … 1 more round with the same results", "the end"),
    ]


def test_other_equal_events_are_all_shown(capsys: pytest.CaptureFixture[str]) -> None:
    output = DrillOutput()

    for _ in range(2):
        output.event(event("warning", "slow"))

    assert capsys.readouterr().out.count("slow") == 2


def test_events_in_job_log_are_readable(capsys: pytest.CaptureFixture[str]) -> None:
    output = DrillOutput()

    output.line(json.dumps(event("written", "deployment c609a155")))
    output.line('{"schema": 1, "kind": "unknown"}')

    assert capsys.readouterr().out == (
        '07:00:00Z    1.50 s  written    deployment c609a155\n{"schema": 1, "kind": "unknown"}\n'
    )
