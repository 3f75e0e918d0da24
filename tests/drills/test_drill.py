"""`ops drill`: the whole way, in real time, with the shipped ops.yml."""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.app.run import read_config
from ops.config import RecoveryTarget
from ops.drills import DRILLS, scenario_leak, status_check
from ops.drills.github import contradicted
from ops.drills.score import scored
from sandbox.switches import Switches, parse
from tests.conftest import ACCOUNT, ROOT, WORKER, World
from tests.support.switches import prepared


def drill(*arguments: str, name: str = "rollback-worker", ok: bool = True) -> dict[str, Any]:
    command = [sys.executable, "-m", "ops", "drill", name, "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


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


SWITCHES: dict[str, list[list[str]]] = {
    "rotate-secrets": [
        [
            "deployments_lag_reads=2",
            "code_update_strategy_answered=true",
            "iflow_models_open=false",
            "propagation_seconds=0",
        ],
        [
            "version_visible_after_reads=2",
            "deployments_listed=null",
            "iflow_refuses_with_200=false",
            "secret_edit_ends_split=true",
            "propagation_seconds=3",
        ],
    ],
    "rotate-secrets-after-rollback": [
        [
            "deployments_lag_reads=2",
            "content_of_deployed=true",
            "code_update_strategy_answered=true",
            "iflow_models_open=false",
            "propagation_seconds=0",
        ],
        [
            "version_visible_after_reads=2",
            "deployments_listed=null",
            "secret_edit_ends_split=true",
            "forced_rollback_restores_secrets=true",
            "iflow_refuses_with_200=false",
            "propagation_seconds=3",
        ],
    ],
    "maintenance": [
        ["deployments_lag_reads=2", "urls_normalized=false", "propagation_seconds=3"],
        [
            "version_visible_after_reads=2",
            "deployments_listed=null",
            "code_update_strategy_answered=true",
            "propagation_seconds=0",
        ],
    ],
}
"""Drill → groups of switches that do not hide each other: what makes Cloudflare's lists late stands in two of them."""
OF_OTHERS = {
    "rotate-secrets": {
        *("migration_tag_before_deploy", "forced_rollback_restores_secrets", "content_of_deployed"),
        "urls_normalized",
    },
    "rotate-secrets-after-rollback": {"migration_tag_before_deploy", "urls_normalized"},
    "maintenance": {
        *("migration_tag_before_deploy", "forced_rollback_restores_secrets", "content_of_deployed"),
        *("secret_edit_ends_split", "iflow_models_open", "iflow_refuses_with_200"),
    },
}
"""Drill → what it never meets: a migration, a forced rollback, code that is downloaded, a zone, a secret, a provider."""
OF_NONE = (
    *("pages_", "audit_", "zone_analytics_", "telemetry_", "auth_error_", "kv_", "edge_"),
    *("deployments_paged", "assets_", "has_assets_"),
)
ALL_PROVIDED = "IFLOW_API_KEY, GROQ_API_KEY, CEREBRAS_API_KEY"


def turned(*switches: str) -> list[str]:
    return [argument for switch in switches for argument in ("--switch", switch)]


def switched(name: str, group: int) -> list[str]:
    return turned(*SWITCHES[name][group])


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_that_can_matter_to_a_drill_is_turned_in_one_of_its_groups(name: str) -> None:
    usual = Switches()
    known = {field.name for field in fields(Switches) if not field.name.startswith(OF_NONE)}
    tried = [switch for group in SWITCHES[name] for switch in group]

    assert {switch.partition("=")[0] for switch in tried} == known - OF_OTHERS[name]
    assert all(parse([switch]) != usual for switch in tried)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [[], switched("rotate-secrets", 0), ["--trigger", "command", *switched("rotate-secrets", 1)]], ids=str
)
def test_the_drill_of_leaked_keys_ends_recovered(more: list[str]) -> None:
    result = drill(*more, name="rotate-secrets")

    assert result["decision"] == "recovered", result
    assert result["plan"]["changes"][0]["after"].endswith(f"with new values of {ALL_PROVIDED}")
    assert 0 < result["durations"]["trigger_to_verified"] < 10


@pytest.mark.slow
def test_the_drill_of_a_leak_after_a_rollback_ends_recovered_with_what_serves_uploaded_anew() -> None:
    name = "rotate-secrets-after-rollback"
    result = drill(*switched(name, 0), name=name)

    assert (result["decision"], result["drill"]) == ("recovered", name), result
    assert [change["after"][8:] for change in result["plan"]["changes"]] == [
        " rebuilt with new secrets, not deployed",
        " rebuilt with new secrets",
    ]
    assert 0 < result["durations"]["trigger_to_verified"] < 10


@pytest.mark.slow
def test_the_button_of_rotate_secrets_takes_the_values_out_of_its_environment() -> None:
    name = "rotate-secrets-after-rollback"
    result = drill("--trigger", "button", *switched(name, 1), name=name)

    assert (result["decision"], result["journal"], result["report"]["number"]) == ("recovered", True, 2), result
    assert "the sandbox serves the good release, healthy" in result["message"]
    log = "\n".join(result["workflow_run"]["log"])
    assert not [value for value in (*scenario_leak.FRESH.values(), *scenario_leak.LEAKED.values()) if value in log]


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["kv_api_staleness_seconds=0"]], ids=["KV's API lags", "KV's API at once"])
@pytest.mark.parametrize(("name", "state"), [("feature", "off"), ("ai-failover", "groq"), ("ai-off", "off")])
def test_the_drill_of_a_switch_ends_recovered(name: str, state: str, more: list[str]) -> None:
    result = drill(*turned("kv_staleness_seconds=0", *more), name=name)

    assert (result["decision"], result["drill"], result["service"]) == ("recovered", name, "api"), result
    assert f" is {state}, seen at one location" in result["message"]
    assert 0 < result["durations"]["trigger_to_write"] < result["durations"]["trigger_to_verified"] < 10


@pytest.mark.slow
def test_a_label_sets_a_switch_by_the_job_that_may_write_kv() -> None:
    result = drill("--trigger", "label", "--switch", "kv_staleness_seconds=0", name="ai-failover")

    assert (result["decision"], result["journal"], result["report"]["number"]) == ("recovered", True, 2), result
    assert "the sandbox serves the good release, healthy" in result["message"]


IN_WORKERD = {
    "feature": ("sessions", "session-do is off, seen at one location"),
    "ai-failover": ("ai", "ai is groq, seen at one location"),
    "ai-off": ("ai", "ai is off, seen at one location"),
    "reset-durable-object": ("ai", "the probes failed before and are healthy now"),
}
"""Drill → the probe that alone fails before it, and what the run says in the end."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "probe", "said"), [(name, *row) for name, row in IN_WORKERD.items()], ids=IN_WORKERD)
def test_the_example_itself_recovers_in_workerd_as_its_own_probes_say(name: str, probe: str, said: str) -> None:
    result = drill("--edge", "workerd", "--switch", "kv_staleness_seconds=0", name=name)

    assert (result["decision"], result["drill"], result["edge"]) == ("recovered", name, "workerd"), result
    assert result["message"].startswith(said)
    before = next(event["text"] for event in result["timeline"] if event["text"].startswith("before: "))
    assert f"{probe} unhealthy: status 503, wanted 200" in before
    assert "health healthy: status 200" in before
    has_target = name in {"feature", "reset-durable-object"}  # in ops.yml
    assert result["within_target"] is (True if has_target else None)


def test_what_is_drilled_on_the_embedded_edge_alone_says_so(world: Any) -> None:
    outcome = world.ops("drill", "rotate-secrets", "--config", str(world.config), "--edge", "workerd")

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
        turned("deployments_listed=null", "code_update_strategy_answered=true", "migration_tag_before_deploy=true"),
        turned("propagation_seconds=0", "deployments_lag_reads=2"),
        turned("deployments_paged=false", "has_assets_listed=false", "assets_binding_shown=true"),
    ],
    ids=str,
)
def test_the_drill_ends_recovered_under_the_other_answer_of_every_switch(switches: list[str]) -> None:
    assert drill(*switches)["decision"] == "recovered"


@pytest.mark.slow
def test_the_drill_of_a_site_ends_recovered_within_ten_seconds() -> None:
    result = drill(name="rollback-pages")

    assert (result["decision"], result["drill"], result["service"]) == ("recovered", "rollback-pages", "frontend")
    assert 0 < result["durations"]["trigger_to_write"] < result["durations"]["trigger_to_verified"] < 10


AT_ONCE = turned("pages_partial_source_taken=true", "pages_reads_until_deployed=0", "propagation_seconds=0")
LATE = turned("pages_refusal_code=8000099", "propagation_seconds=3")
FOLLOWS = turned("pages_canonical_follows_rollbacks=true")
LAGS = [*FOLLOWS, *turned("pages_canonical_lag_reads=2")]
"""A canonical deployment that a rollback does not change cannot lag behind one."""


@pytest.mark.slow
@pytest.mark.parametrize("switches", [AT_ONCE, [*FOLLOWS, *LATE], LAGS], ids=str)
def test_the_drill_of_a_site_ends_recovered_under_the_other_answer_of_every_switch(switches: list[str]) -> None:
    assert drill(*switches, name="rollback-pages")["decision"] == "recovered"


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--trigger", "command", *AT_ONCE], [*LAGS, *LATE]], ids=str)
def test_the_drill_of_a_redeployment_builds_the_example_and_ends_recovered(arguments: list[str]) -> None:
    result = drill(*arguments, name="redeploy-pages")

    assert (result["decision"], result["drill"], result["service"]) == ("recovered", "redeploy-pages", "frontend")
    assert 0 < result["durations"]["trigger_to_write"] < result["durations"]["trigger_to_verified"] < 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--edge", "workerd"], switched("maintenance", 0), switched("maintenance", 1)], ids=str
)
def test_the_drill_of_maintenance_takes_it_offline_and_opens_it_again(arguments: list[str]) -> None:
    result = drill(*arguments, name="maintenance")

    assert (result["decision"], result["drill"], result["service"]) == ("recovered", "maintenance", "api")
    assert result["message"].endswith("; it was opened again, and the probes are healthy")
    assert 0 < result["durations"]["trigger_to_write"] < result["durations"]["trigger_to_verified"] < 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--trigger", "label"],
        *(["--switch", s] for s in ("deployments_lag_reads=2", "version_visible_after_reads=2")),
    ],
    ids=str,
)
def test_the_drill_of_a_stuck_object_empties_its_memory(arguments: list[str]) -> None:
    result = drill(*arguments, name="reset-durable-object")

    assert (result["decision"], result["service"]) == ("recovered", "api"), result
    assert any(event["text"].endswith("ai-mutex began anew") for event in result["timeline"])
    assert result["within_target"]


@pytest.mark.slow
def test_a_label_takes_it_offline_by_the_job_that_may_change_routes_and_another_one_opens_it() -> None:
    result = drill("--trigger", "label", name="maintenance")

    assert (result["decision"], result["journal"], result["report"]["number"]) == ("recovered", True, 2), result
    assert result["message"].endswith("; it was opened again, and the probes are healthy")
    ended = {job["name"]: job["conclusion"] for job in result["workflow_run"]["jobs"]}
    assert (ended["recover-security"], ended["recover"]) == ("success", "skipped")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rotate-secrets-after-rollback", "no label asks for rotate-secrets of api only=IFLOW_API_KEY,"),
        ("redeploy-pages", "which no local runner does"),
    ],
)
def test_what_no_label_asks_for_cannot_be_drilled_by_one(world: Any, name: str, said: str) -> None:
    outcome = world.ops("drill", name, "--trigger", "label", "--config", str(ROOT / "ops.yml"))

    assert outcome.code == 2
    assert said in outcome.err


def test_a_redeployment_cannot_be_drilled_by_its_button(world: Any) -> None:
    outcome = world.ops("drill", "redeploy-pages", "--trigger", "button", "--config", str(world.config))

    assert outcome.code == 2
    assert "which no local runner does" in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("has_headers", [True, False])
def test_a_drill_behind_a_bot_challenge_ends_recovered_if_its_probes_identify_themselves(
    tmp_path: Path, has_headers: bool
) -> None:
    config, text = tmp_path / "ops.yml", (ROOT / "ops.yml").read_text()
    header = "              request_headers: {X-Pass: PROBE_PASS}\n"
    lines = text.splitlines(keepends=True)
    passes = [line + header if line.startswith("              path: ") else line for line in lines]
    config.write_text("".join(passes if has_headers else lines))

    result = drill("--config", str(config), *turned("edge_challenges_runners=true"), ok=has_headers)

    assert (result["decision"] == "recovered") is has_headers
    assert has_headers or "request_headers" in result["hint"]


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

    assert (result["decision"], result["exit_code"]) == ("still_unhealthy", 6)
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


def test_without_a_target_a_recovery_is_neither_in_time_nor_late_and_with_an_incident_a_report_is_wanted() -> None:
    ended = {"decision": "recovered", "exit_code": 0, "durations": {}}

    alone, told = (
        scored(ended, None, runbook="x", edge="embedded", with_incident=with_it) for with_it in (False, True)
    )

    assert (alone["targets"], alone["within_target"], alone["exit_code"]) == ({}, None, 0)
    assert (told["within_target"], told["exit_code"]) == (False, 6)


def test_the_help_and_the_reference_name_every_drill(world: World) -> None:
    names = {*DRILLS, "limits"}
    (row,) = [line for line in (ROOT / "docs/reference.md").read_text().splitlines() if "| `ops drill NAME` |" in line]

    help_text = world.ops("drill", "--help").out

    assert set(help_text.partition("Drills:\n")[2].split()) == names
    assert [name for name in names if f"`{name}`" not in row] == []


@pytest.mark.slow
def test_a_drill_whose_runbook_has_no_target_says_so(tmp_path: Path) -> None:
    (tmp_path / "ops.yml").write_text((ROOT / "ops.yml").read_text().partition("recovery_targets:")[0])
    argv = [sys.executable, "-m", "ops", "drill", "rollback-worker"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}

    printed = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True).stdout

    assert "RECOVERED: " in printed
    assert "  target: none, since recovery_targets in ops.yml has no entry for this runbook" in printed


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


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--edge", "workerd"], ["--trigger", "label"]], ids=str)
def test_the_drill_of_limits_goes_from_the_first_refusal_to_the_day_after(arguments: list[str]) -> None:
    result = drill("--switch", "kv_staleness_seconds=0", *arguments, name="limits")

    assert (result["decision"], result["drill"], result["runbook"]) == ("recovered", "limits", "propose-limits")
    assert "after 4 h the former limit held again" in result["message"]
    assert result["report"]


def test_after_a_drill_status_is_held_against_what_the_sandbox_itself_holds(world: World) -> None:
    environment = read_config(world.config)[0].environment("production")
    bad, good = world.release(timedelta(hours=1)), world.release(timedelta(minutes=10), deploy=False)
    assert status_check.contradictions(world.sandbox, environment, world.config) == ()

    world.sandbox.switches.deployments_lag_reads = 1
    client = httpx.Client(headers={"Authorization": f"Bearer {world.sandbox.token}"})
    body = {"strategy": "percentage", "versions": [{"version_id": good, "percentage": 100}]}
    with client:
        client.post(f"{world.sandbox.api_url}/accounts/{ACCOUNT}/workers/scripts/{WORKER}/deployments", json=body)
    (wrong,) = status_check.contradictions(world.sandbox, environment, world.config)

    assert bad in wrong.partition("not")[0]
    assert good in wrong.partition("not")[2]
    assert status_check.contradictions(world.sandbox, environment, world.config) == ()


def test_after_a_drill_a_switch_that_status_does_not_show_is_named(world: World) -> None:
    """A switch whose end is over is off; one that is on, and that KV answers as if it never was, is named."""
    environment = read_config(world.config)[0].environment("production")
    place, now = prepared(world), world.sandbox.clock.now()
    place.put("ai", state="groq", until=f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}")
    assert status_check.contradictions(world.sandbox, environment, world.config) == ()

    place.put("session-do", state="off")
    assert status_check.contradictions(world.sandbox, environment, world.config) == ()
    body = json.dumps({"success": True, "errors": [], "messages": [], "result": {"values": {}}})
    world.sandbox.fault(method="POST", path="/accounts/*/storage/kv/namespaces/*/bulk/get", body=body, times=None)

    assert status_check.contradictions(world.sandbox, environment, world.config) == (
        "that these switches are on: {}, not {'session-do': 'off'}",
    )
