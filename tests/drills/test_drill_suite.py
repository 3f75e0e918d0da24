"""`ops drill all`: which drills run, their scorecard, and its end by a signal."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.cli.scorecard_text import render_scorecard, scorecard_lines
from ops.core.drill_result import DrillOutcome, parse_drill_result
from ops.core.errors import EXIT_CODES, Decision
from ops.drills import unsupported
from ops.drills.command import NO_RESULT
from ops.drills.scorecard import PlannedDrill, Scorecard, score_result
from ops.drills.suite import SuiteSettings, plan_drills, run_suite
from ops.drills.support import EDGES, TRIGGERS
from sandbox.actions.act import child_processes
from tests.conftest import ROOT, World
from tests.support.configurations import ONE_WORKER, PAGES_ONLY, TEN_SERVICES
from tests.support.drills import CONFIG, matrix, unsupported_reason

RUNBOOK = "rollback-worker"
PLANNED = PlannedDrill(RUNBOOK, "embedded", "label", RUNBOOK)
AT = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
TARGETS = {"trigger_to_verified": {"seconds": 300.0, "within": True}}


def result(decision: str = "recovered", code: int = 0, seconds: float | None = 4.0, **more: Any) -> dict[str, Any]:
    durations = {"trigger_to_write": None, "trigger_to_verified": seconds}
    given = {"decision": decision, "exit_code": code, "durations": durations, "targets": TARGETS}
    return {**NO_RESULT, **given, "service": "api", "message": "all is well", **more}


def test_every_drill_of_the_reference_runs_by_each_trigger() -> None:
    planned = plan_drills(SuiteSettings(CONFIG, "production"))

    fit = {(each.name, each.edge, each.trigger) for each in planned if not each.unfit}
    supported = {run for run in matrix() if run[2] and not unsupported_reason(*run)}
    assert fit == {run for run in supported if run[1] == "embedded" or run[2] == "command"}


def test_chosen_edge_has_every_trigger() -> None:
    planned = plan_drills(SuiteSettings(CONFIG, "production", edges=("workerd",), only=("maintenance",)))

    assert [(each.edge, each.trigger, each.unfit) for each in planned] == [
        ("workerd", trigger, "") for trigger in TRIGGERS
    ]


def test_drill_without_the_chosen_trigger_says_why(world: World) -> None:
    outcome = world.ops("drill", "all", "--json", "--only", "lying-probe", "--trigger", "label")

    assert outcome.code == 8
    assert [each["reason"] for each in outcome.result["unfit"]] == [unsupported("lying-probe")["label"]]


def test_drills_that_do_not_fit_are_named_and_prove_nothing(world: World) -> None:
    given = ["--config", str(PAGES_ONLY), "--only", "maintenance", "--only", "limits"]

    outcome = world.ops("drill", "all", "--json", *given)

    assert outcome.code == 8
    card = json.loads(outcome.out)
    assert (card["passed"], card["drills"]) == (0, [])
    assert {(each["name"], each["trigger"]) for each in card["unfit"]} == {
        (name, trigger) for name in ("maintenance", "limits") for trigger in ("label", "button", "command")
    }
    assert all(each["reason"] for each in card["unfit"])


@pytest.mark.parametrize(
    ("config", "environment", "fit", "unfit"),
    [
        (ONE_WORKER, "live", {"rollback-worker", "two-labels"}, {"feature", "ai-off", "rotate-secrets", "limits"}),
        (PAGES_ONLY, "production", {"rollback-pages", "edge-outage"}, {"rollback-worker", "github-down"}),
        (TEN_SERVICES, "prod", {"rollback-worker", "rollback-pages"}, {"feature", "reset-durable-object"}),
    ],
    ids=["one Worker", "Pages only", "ten services"],
)
def test_configuration_of_others_has_the_drills_that_it_can_run(
    config: Path, environment: str, fit: set[str], unfit: set[str]
) -> None:
    planned = plan_drills(SuiteSettings(config, environment))

    by_button = {each.name: each.unfit for each in planned if each.trigger == "button" or each.name == "two-labels"}
    assert {name for name in fit if by_button[name]} == set()
    assert {name for name in unfit if not by_button[name]} == set()


@pytest.mark.parametrize(
    ("given", "outcome", "code"),
    [
        (result(), DrillOutcome.PASSED, 0),
        (result("relapsed"), DrillOutcome.PASSED, 0),
        (result("still_unhealthy", 6), DrillOutcome.FAILED, 6),
        (result("recovered", 6, 301.0), DrillOutcome.FAILED, 6),
        (result("no_evidence", 8), DrillOutcome.NO_EVIDENCE, 8),
        (result(targets={}), DrillOutcome.FAILED, 2),
        ({**NO_RESULT}, DrillOutcome.FAILED, 1),
    ],
)
def test_score_of_a_drill_follows_from_its_result(given: dict[str, Any], outcome: DrillOutcome, code: int) -> None:
    scored = score_result(PLANNED, "production", given, AT, 9.0)
    card = Scorecard("production", AT, 9.0, (score_result(PLANNED, "production", result(), AT, 9.0), scored))

    assert (scored.result.outcome, scored.exit_code, card.exit_code) == (outcome, code, code)
    assert parse_drill_result(scored.to_json()) == scored.result


def test_late_drill_says_its_time_and_target() -> None:
    scored = score_result(PLANNED, "production", result("recovered", 6, 301.0), AT, 9.0)

    assert scored.result.is_slow
    assert "301 s" in scored.message
    assert "5 min" in scored.message


def test_scorecard_shows_each_drill_and_the_command_of_a_failed_one() -> None:
    failed = score_result(PLANNED, "production", result("failed", 4, message="@all <b>down</b>"), AT, 9.0)
    passed = score_result(PlannedDrill("feature", "workerd", "command"), "production", result(), AT, 9.0)
    card = Scorecard("production", AT, 9.0, (passed, failed), not_run=(PLANNED,))
    settings = SuiteSettings(ONE_WORKER, "production", switches=("kv_staleness_seconds=0",))

    text, markdown = "\n".join(scorecard_lines(card, settings, "ops")), render_scorecard(card, settings, "ops")

    assert card.exit_code == 130
    for shown in (text, markdown):
        assert "feature" in shown
        assert "4.0 s of 5 min" in shown
        assert "drill rollback-worker --edge embedded --trigger label" in " ".join(shown.replace("\\\n", "").split())
    assert "@all" not in markdown
    assert "<b>" not in markdown


@pytest.mark.parametrize(
    "given",
    [
        ["all", "--service", "api"],
        ["all", "--github-fails", "after-permission"],
        ["all", "--json", "--markdown"],
        ["all", "--only", "rollback-wroker"],
        ["rollback-worker", "--only", "feature"],
        ["rollback-worker", "--markdown"],
    ],
)
def test_options_of_one_drill_and_of_all_exclude_each_other(world: World, given: list[str]) -> None:
    assert world.ops("drill", *given).code == 2


@pytest.mark.slow
def test_suite_runs_the_drills_of_another_application(world: World, tmp_path: Path) -> None:
    """A wrong answer to the write fails the same drill; without a target it fails too."""
    given = ["--environment", "live", "--only", "rollback-worker", "--trigger", "command", "--edge", "embedded"]
    faults, untold = tmp_path / "faults.json", tmp_path / "ops.yml"
    faults.write_text(
        '[{"method": "POST", "path": "/accounts/*/workers/scripts/*/deployments", "status": 400, "times": null}]'
    )
    untold.write_text(ONE_WORKER.read_text().partition("recovery_targets:")[0])

    good = world.ops("drill", "all", "--json", "--config", str(ONE_WORKER), *given)
    bad = world.ops("drill", "all", "--json", "--config", str(ONE_WORKER), "--faults", str(faults), *given)
    unaimed = world.ops("drill", "all", "--json", "--config", str(untold), *given)

    (drill,) = good.result["drills"]
    assert (good.code, drill["outcome"], drill["service"]) == (0, "passed", "desk")
    assert 0 < drill["write"]["seconds"] < drill["verified"]["seconds"] < drill["verified"]["target"] == 180
    assert (bad.code, bad.result["failed"], bad.result["passed"]) == (4, 1, 0)
    assert (unaimed.code, unaimed.result["failed"], unaimed.result["passed"]) == (2, 1, 0)


@pytest.mark.slow
def test_signal_ends_every_drill_and_the_scorecard_says_what_ran() -> None:
    words = ["drill", "all", "--only", "rollback-worker", "--only", "feature", "--edge", "embedded", "--json"]
    argv = [sys.executable, "-m", "ops", *words, "--config", str(CONFIG), "--jobs", "4"]
    suite = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert suite.stderr is not None
    first = suite.stderr.readline()  # a drill ended, and others run
    started = descendants(suite.pid)

    suite.send_signal(signal.SIGINT)
    out, _ = suite.communicate(timeout=120)

    assert suite.returncode == EXIT_CODES[Decision.INTERRUPTED]
    card = json.loads(out)
    assert first.startswith("[1/6]")
    assert len(card["drills"]) >= 1
    assert len(card["drills"]) + len(card["not_run"]) == 6
    assert started
    assert not wait_for_end(started)


def test_killed_drill_fails_and_names_the_signal() -> None:
    """The machine may run out of memory. Its last lines may be empty."""
    others, settings = (
        child_processes(os.getpid()),
        SuiteSettings(CONFIG, "production", EDGES[:1], ("command",), [RUNBOOK]),
    )

    def kill(*_: object) -> None:
        (started,) = (pid for pid in child_processes(os.getpid()) if pid not in others and is_running(pid))
        os.kill(started, signal.SIGKILL)

    (scored,) = run_suite(settings, on_start=kill, on_score=lambda *_: None).scored

    assert (scored.result.outcome, scored.exit_code) == (DrillOutcome.FAILED, 1)
    assert "SIGKILL" in scored.message


def descendants(pid: int) -> list[int]:
    direct = child_processes(pid)
    return [*direct, *(each for child in direct for each in descendants(child))]


def wait_for_end(pids: list[int]) -> list[int]:
    """Return those that still run after a minute."""
    until = time.monotonic() + 60
    while (left := [pid for pid in pids if is_running(pid)]) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{pid}/stat").exists() or " Z " not in Path(f"/proc/{pid}/stat").read_text()
