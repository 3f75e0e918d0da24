"""`ops drill`: the whole way, in real time, with the shipped ops.yml."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT


def drill(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "ops", "drill", "rollback-worker", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_the_embedded_drill_ends_recovered_within_five_seconds() -> None:
    result = drill()

    assert result["decision"] == "recovered"
    assert result["edge"] == "embedded"
    assert result["target_seconds"] == 300
    assert (
        0 < result["durations"]["trigger_to_write"] < result["durations"]["trigger_to_verified"] < 10
    )  # beside another test; alone it is below 5


@pytest.mark.slow
def test_the_workerd_drill_deploys_with_the_real_wrangler_and_ends_recovered() -> None:
    result = drill("--edge", "workerd")

    assert result["decision"] == "recovered"
    assert result["durations"]["trigger_to_verified"] < 15
    assert {event["text"] for event in result["timeline"]} & {"recovered"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "switch",
    [
        "deployments_listed=null",
        "code_update_strategy_answered=true",
        "migration_tag_before_deploy=true",
        "propagation_seconds=0",
        "deployments_lag_reads=2",
    ],
)
def test_the_drill_ends_recovered_under_the_other_answer_of_every_switch(switch: str) -> None:
    assert drill("--switch", switch)["decision"] == "recovered"


def test_a_drill_that_does_not_exist_is_named_with_the_nearest(world: Any) -> None:
    outcome = world.ops("drill", "rollback-wroker")

    assert outcome.code == 2
    assert 'no drill "rollback-wroker"; did you mean "rollback-worker"?' in outcome.err


def shape(text: str) -> str:
    """A drill's output without what differs from run to run."""
    text = re.sub(r"\d\d:\d\d:\d\dZ +[\d.]+ s", "HH:MM:SSZ S s", text)
    text = re.sub(r"[\d.]+ s$", "S s", text, flags=re.MULTILINE)
    text = re.sub(r"by [^)]+\)", "by USER)", text)
    text = re.sub(r"before: .*", "before: …", text)
    text = re.sub(r"(RECOVERED): .*", r"\1", text)
    return re.sub(r"\b[0-9a-f]{8}(-[0-9a-f-]+)?\b", "ID", text)


@pytest.mark.slow
def test_the_readme_shows_what_the_drill_prints(update_golden: bool) -> None:
    command = [sys.executable, "-m", "ops", "drill", "rollback-worker"]
    environ = {**os.environ, "OPS_PROGRAM": "./run ops"}
    printed = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout
    readme = ROOT / "README.md"
    found = re.search(r"<!-- drill -->\n```\n(.*?)```", readme.read_text(), re.DOTALL)
    assert found
    if update_golden:
        readme.write_text(readme.read_text().replace(found[0], f"<!-- drill -->\n```\n{printed}```"))
        return
    assert shape(printed) == shape(found[1])
