"""The `browser` probe without a browser; with one: tests/acceptance/test_browser.py."""

from datetime import timedelta
from pathlib import Path

import pytest

from ops.config.probes import BrowserProbe, Probe
from ops.core.verdict import Verdict
from tests.conftest import World
from tests.probes.test_probes import HEALTH, json_answer, probe_set, prober, service
from tests.support.browser import PASSWORD, STEPS, add_probe, look

HEALTHY, UNHEALTHY, INCONCLUSIVE = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.INCONCLUSIVE


def test_missing_browser_or_variable_is_named(tmp_path: Path) -> None:
    missing = look({}, tmp_path, path="/no/chromium")
    unset = look({}, tmp_path, steps=STEPS, environ={"DEMO_EMAIL": "", "DEMO_PASSWORD": ""})

    assert missing.detail == "browser no Chromium or Chrome at /no/chromium; run: apt-get install chromium"
    assert unset.detail == "browser DEMO_EMAIL and DEMO_PASSWORD is not set, but its steps need it"
    assert missing.verdict == unset.verdict == INCONCLUSIVE


@pytest.mark.parametrize(("required", "verdict"), [(True, INCONCLUSIVE), (False, HEALTHY)])
def test_only_a_required_browser_affects_the_verdict(required: bool, verdict: Verdict) -> None:
    absent = Probe(name="visit", browser=BrowserProbe(path="/no/chromium", required=required))
    with service(lambda _: json_answer()) as web:
        result = prober(web).run_until_healthy(probe_set(HEALTH, absent), on_round=lambda *_: None)

    assert result.verdict == verdict
    assert "visit" in result.detail
    assert "no Chromium or Chrome at /no/chromium" in result.detail
    assert verdict != HEALTHY or result.notes[0].startswith("visit: browser: no Chromium")


@pytest.mark.sampled
@pytest.mark.parametrize("required", [True, False])
def test_missing_browser_does_not_hide_http_failures(required: bool) -> None:
    absent = Probe(name="visit", browser=BrowserProbe(path="/no/chromium", required=required))
    with service(lambda _: json_answer(status=500)) as web:
        before = prober(web).run_round(probe_set(HEALTH, absent))
        after = prober(web).run_until_healthy(probe_set(HEALTH, absent), on_round=lambda *_: None)

    assert before.verdict == after.verdict == UNHEALTHY
    assert "visit" not in after.detail


def test_required_browser_is_inconclusive_before_a_run() -> None:
    absent = Probe(name="visit", browser=BrowserProbe(path="/no/chromium", required=True))
    with service(lambda _: json_answer()) as web:
        before = prober(web).run_round(probe_set(HEALTH, absent))

    assert before.verdict == INCONCLUSIVE
    assert "visit inconclusive: browser starts only after a run" in before.detail


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "said"),
    [("echo broken; exit 3", "it did not start (exit 3) broken"), ("sleep 60", "it did not start in time")],
)
def test_browser_that_fails_to_start_is_inconclusive(tmp_path: Path, script: str, said: str) -> None:
    program = tmp_path / "chromium"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)

    result = look({"/": "x"}, tmp_path, path=str(program), timeout="1s")

    assert result.verdict == INCONCLUSIVE
    assert said in result.detail


def test_filled_in_values_are_redacted(world: World) -> None:
    world.release(timedelta(hours=2), code="good")
    world.release(timedelta(minutes=10), code="bad", behaviour={"status": 500})
    steps = "[{goto: /}, {fill: {field: input, variable: DEMO_PASSWORD}}]"
    add_probe(world, f"{{path: /no/chromium, steps: {steps}}}")

    outcome = world.rollback("--reason", f"{PASSWORD} does not work", DEMO_PASSWORD=PASSWORD)

    assert outcome.result["decision"] == "recovered"
    assert PASSWORD not in outcome.out + outcome.err + str(world.sandbox.requests)
    assert "*** does not work" in outcome.out
