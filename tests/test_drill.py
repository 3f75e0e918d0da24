"""`ops drill`: the whole way, in real time, with the shipped ops.yml."""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ops.drill.github import contradicted
from ops.drill.score import scored
from ops.model.config import RecoveryTarget
from ops.sandbox.switches import Switches
from tests.conftest import ROOT


def drill(*arguments: str, name: str = "rollback-worker", ok: bool = True) -> dict[str, Any]:
    command = [sys.executable, "-m", "ops", "drill", name, "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def switched(*switches: str) -> list[str]:
    """One drill tries several: what one of them changes, the others do not touch."""
    return [word for switch in switches for word in ("--switch", switch)]


@pytest.mark.slow
def test_the_embedded_drill_ends_recovered_within_five_seconds() -> None:
    result = drill()

    assert result["decision"] == "recovered"
    assert result["edge"] == "embedded"
    assert result["targets"] == {
        "trigger_to_write": {"seconds": 60, "within": True},
        "trigger_to_verified": {"seconds": 300, "within": True},
    }
    assert (
        0 < result["durations"]["trigger_to_write"] < result["durations"]["trigger_to_verified"] < 10
    )  # beside another test; alone it is below 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--trigger", "command", *switched("deployments_lag_reads=2", "version_visible_after_reads=2")],
        switched("secret_edit_ends_split=true"),
    ],
    ids=str,
)
def test_the_drill_of_a_leaked_key_ends_recovered(more: list[str]) -> None:
    result = drill(*more, name="rotate-secrets")

    assert result["decision"] == "recovered", result
    assert result["plan"]["changes"][0]["after"].endswith("with new values of GROQ_API_KEY")
    assert 0 < result["durations"]["trigger_to_verified"] < 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "switches",
    [
        ["forced_rollback_restores_secrets=true", "secret_edit_ends_split=true"],
        ["version_visible_after_reads=2", "deployments_lag_reads=2"],
    ],
)
def test_the_drill_of_a_leak_after_a_rollback_ends_recovered_under_every_switch(switches: list[str]) -> None:
    result = drill(*switched(*switches), name="rotate-secrets-after-rollback")

    assert (result["decision"], result["drill"]) == ("recovered", "rotate-secrets-after-rollback"), result
    assert [change["after"][8:] for change in result["plan"]["changes"]] == [
        " rebuilt with new secrets, not deployed",
        " rebuilt with new secrets",
    ]
    assert 0 < result["durations"]["trigger_to_verified"] < 10


@pytest.mark.parametrize("options", [["--trigger", "button"], ["--edge", "workerd"]])
def test_a_leak_is_drilled_by_command_on_the_embedded_edge_alone(world: Any, options: list[str]) -> None:
    outcome = world.ops("drill", "rotate-secrets", "--config", str(world.config), *options)

    assert outcome.code == 2
    assert " hint: " in outcome.err


@pytest.mark.slow
def test_the_workerd_drill_deploys_with_the_real_wrangler_and_ends_recovered() -> None:
    result = drill("--edge", "workerd")

    assert result["decision"] == "recovered"
    assert result["durations"]["trigger_to_verified"] < 15
    assert {event["text"] for event in result["timeline"]} & {"recovered"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "switches",
    [
        ["deployments_listed=null", "code_update_strategy_answered=true", "migration_tag_before_deploy=true"],
        ["propagation_seconds=0", "deployments_lag_reads=2"],
    ],
)
def test_the_drill_ends_recovered_under_the_other_answer_of_every_switch(switches: list[str]) -> None:
    assert drill(*switched(*switches))["decision"] == "recovered"


@pytest.mark.slow
def test_the_drill_of_a_site_ends_recovered_within_ten_seconds() -> None:
    result = drill(name="rollback-pages")

    assert (result["decision"], result["drill"], result["service"]) == ("recovered", "rollback-pages", "frontend")
    assert 0 < result["durations"]["trigger_to_write"] < result["durations"]["trigger_to_verified"] < 10


AT_ONCE = switched("pages_partial_source_taken=true", "pages_reads_until_deployed=0", "propagation_seconds=0")
LATE = switched("pages_canonical_lag_reads=2", "pages_refusal_code=8000099", "propagation_seconds=3")
FOLLOWS = switched("pages_canonical_follows_rollbacks=true")


@pytest.mark.slow
@pytest.mark.parametrize("switches", [AT_ONCE, LATE, FOLLOWS, [*FOLLOWS, *LATE]])
def test_the_drill_of_a_site_ends_recovered_under_the_other_answer_of_every_switch(switches: list[str]) -> None:
    assert drill(*switches, name="rollback-pages")["decision"] == "recovered"


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--trigger", "command", *AT_ONCE], [*FOLLOWS, *LATE]])
def test_the_drill_of_a_redeployment_builds_the_example_and_ends_recovered(arguments: list[str]) -> None:
    result = drill(*arguments, name="redeploy-pages")

    assert (result["decision"], result["drill"], result["service"]) == ("recovered", "redeploy-pages", "frontend")
    assert 0 < result["durations"]["trigger_to_write"] < result["durations"]["trigger_to_verified"] < 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--edge", "workerd"],
        switched("urls_normalized=false", "propagation_seconds=3"),
        switched("deployments_lag_reads=2", "version_visible_after_reads=2"),
    ],
)
def test_the_drill_of_maintenance_takes_it_offline_and_opens_it_again(arguments: list[str]) -> None:
    result = drill(*arguments, name="maintenance")

    assert (result["decision"], result["drill"], result["service"]) == ("recovered", "maintenance", "api")
    assert result["message"].endswith("; it was opened again, and the probes are healthy")
    assert 0 < result["durations"]["trigger_to_write"] < result["durations"]["trigger_to_verified"] < 20


@pytest.mark.parametrize("trigger", ["button", "label"])
def test_maintenance_cannot_be_drilled_by_its_button(world: Any, trigger: str) -> None:
    outcome = world.ops("drill", "maintenance", "--trigger", trigger, "--config", str(world.config))

    assert outcome.code == 2
    assert "stands in the environment security" in outcome.err


def test_a_redeployment_cannot_be_drilled_by_its_button(world: Any) -> None:
    outcome = world.ops("drill", "redeploy-pages", "--trigger", "button", "--config", str(world.config))

    assert outcome.code == 2
    assert "which no local runner does" in outcome.err


def test_every_switch_of_pages_is_tried_above() -> None:
    source = Path(__file__).read_text(encoding="utf-8")

    assert all(f'"{field.name}=' in source for field in fields(Switches) if field.name.startswith("pages_"))


def test_a_drill_on_a_service_that_it_cannot_break_is_refused(world: Any) -> None:
    outcome = world.ops("drill", "rollback-pages", "--service", "api", "--config", str(world.config))

    assert outcome.code == 2
    assert "api has no pages" in outcome.err
    assert "Name one of: frontend." in outcome.err


def test_a_drill_that_does_not_exist_is_named_with_the_nearest(world: Any) -> None:
    outcome = world.ops("drill", "rollback-wroker")

    assert outcome.code == 2
    assert 'no drill "rollback-wroker"; did you mean "rollback-worker"?' in outcome.err


COMMENTS = "/repos/*/*/issues/*/comments"
COMMENT = "/repos/*/*/issues/comments/*"
PERMISSION = "/repos/*/*/collaborators/*/permission"


@pytest.mark.slow
def test_the_button_drill_reads_the_decision_from_the_incident_and_looks_at_what_serves() -> None:
    result = drill("--trigger", "button")

    assert result["decision"] == "recovered"
    assert result["journal"] is True
    assert result["message"] == "the incident's journal says recovered; the sandbox serves the good release, healthy"
    assert result["incident"]["number"] == 1
    assert result["report"]["number"] == 2
    assert result["workflow_run"]["event"] == "workflow_dispatch"
    assert result["workflow_run"]["jobs"][0]["conclusion"] == "success"
    assert 0 < result["durations"]["trigger_to_write"] < result["durations"]["trigger_to_verified"]
    assert result["timeline"][-1]["text"] == "recovered"


@pytest.mark.slow
def test_a_label_recovers_though_github_fails_after_the_permission_check_and_the_log_completes_the_record() -> None:
    result = drill("--trigger", "label", "--github-fails", "after-permission")

    assert result["decision"] == "recovered"
    assert (result["journal"], result["imported"], result["report"]["number"]) == (False, True, 2)
    assert "the sandbox serves the good release, healthy" in result["message"]
    assert 0 < result["durations"]["trigger_to_write"] <= result["durations"]["total"] + 1
    assert [job["conclusion"] for job in result["workflow_run"]["jobs"]][:2] == ["success", "success"]


@pytest.mark.slow
def test_a_label_is_refused_with_the_laptop_command_where_the_permission_cannot_be_asked() -> None:
    result = drill("--trigger", "label", "--github-fails", f"GET:{PERMISSION}", ok=False)

    assert (result["decision"], result["exit_code"]) == ("refused", 3)
    assert "serves the bad release" in result["message"]
    laptop = " on a laptop: ./run ops rollback-worker --service api --environment production --incident 1"
    assert laptop in result["workflow_run"]["log"]


@pytest.mark.slow
@pytest.mark.parametrize("fails", ["after-permission", f"POST:{COMMENTS}", f"PATCH:{COMMENT}"])
def test_a_command_recovers_though_github_fails_and_its_record_is_posted_later(fails: str) -> None:
    result = drill("--trigger", "command", "--github-fails", fails)

    assert result["decision"] == "recovered"
    assert (result["journal"], result["imported"], result["report"]["number"]) == (False, True, 2)


@pytest.mark.slow
def test_a_command_with_an_incident_is_told_there() -> None:
    result = drill("--trigger", "command")

    assert (result["decision"], result["journal"], result["imported"]) == ("recovered", True, False)
    assert result["incident"]["url"].endswith("/acme/operations/issues/1")
    assert result["report"]["url"].endswith("/acme/operations/issues/2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--github-fails", "after-permission"], "--github-fails needs a GitHub"),
        (["--trigger", "command", "--github-fails", "issues"], 'error: --github-fails "issues" is no METHOD:PATH'),
        (["--trigger", "label"], "is no checkout of a git repository"),
    ],
)
def test_a_drill_that_cannot_be_says_why_and_what_to_do(world: Any, arguments: list[str], said: str) -> None:
    outcome = world.ops("drill", "rollback-worker", "--config", str(world.config), *arguments)

    assert outcome.code == 2
    assert said in outcome.err
    assert " hint: " in outcome.err


@pytest.mark.parametrize(("serves", "is_well"), [("bad", True), ("good", False), ("no known", True)])
def test_a_recovery_that_the_sandbox_does_not_bear_out_is_none(serves: str, is_well: bool) -> None:
    result = contradicted({"decision": "recovered", "message": "it says so"}, serves=serves, is_well=is_well)

    assert (result["decision"], result["exit_code"]) == ("unverified", 6)
    assert f"it says so; the sandbox serves the {serves} release" in result["message"]


TARGET = RecoveryTarget.model_validate({"write": "1m", "recovery": "5m"})
SCORES: dict[str, tuple[dict[str, float | None], str, bool, list[str]]] = {
    "both in time": ({"trigger_to_write": 60, "trigger_to_verified": 300}, "recovered", True, []),
    "a late write": ({"trigger_to_write": 60.1, "trigger_to_verified": 61}, "recovered", False, ["trigger_to_write"]),
    "a late proof": (
        {"trigger_to_write": 1, "trigger_to_verified": 300.1},
        "recovered",
        False,
        ["trigger_to_verified"],
    ),
    "unknown, and the whole job was in time": (
        {"trigger_to_write": None, "trigger_to_verified": None, "total": 50},
        "recovered",
        True,
        [],
    ),
    "unknown": (
        {"trigger_to_write": None, "trigger_to_verified": None},
        "recovered",
        False,
        ["trigger_to_write", "trigger_to_verified"],
    ),
    "in time, and no recovery": ({"trigger_to_write": 1, "trigger_to_verified": 2}, "healthy_as_before", False, []),
}


@pytest.mark.parametrize(("durations", "decision", "reached", "missed"), SCORES.values(), ids=SCORES)
def test_the_score_holds_the_write_and_the_recovery_to_their_targets(
    durations: dict[str, float | None], decision: str, reached: bool, missed: list[str]
) -> None:
    ended = {"decision": decision, "exit_code": 0, "durations": durations}

    result = scored(ended, TARGET, runbook="rollback-worker", edge="embedded", with_incident=False)

    assert (result["within_target"], result["exit_code"]) == (reached, 0 if reached else 6)
    assert [name for name, target in result["targets"].items() if not target["within"]] == missed


def test_without_a_target_a_recovery_is_enough_and_with_an_incident_a_report_is_wanted() -> None:
    ended = {"decision": "recovered", "exit_code": 0, "durations": {}}

    alone, told = (
        scored(ended, None, runbook="x", edge="embedded", with_incident=with_it) for with_it in (False, True)
    )

    assert (alone["targets"], alone["within_target"], told["within_target"]) == ({}, True, False)


def shape(text: str) -> str:
    """A drill's output without what differs from run to run."""
    text = re.sub(r"\d\d:\d\d:\d\dZ +[\d.]+ s", "HH:MM:SSZ S s", text)
    text = re.sub(r"[\d.]+ s(?= \(target|$)", "S s", text, flags=re.MULTILINE)
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
