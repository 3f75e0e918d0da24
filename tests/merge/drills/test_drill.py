"""`ops drill`: complete drills in real time, with the configuration of the reference app."""

import time
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ops.drills import DRILLS, scenario_bad_night, scenario_held_deploy, scenario_leak, scenario_outage, scenario_stop
from ops.drills.support import Edge
from ops.github.actions import job_id
from sandbox.switches import Switches, parse
from tests.support.configurations import ONE_WORKER
from tests.support.drills import (
    IN_A_JOB,
    OPS,
    Run,
    assert_prompt,
    assert_recovered,
    drill,
    run_id,
    runbook_of,
    runs,
    switch_arguments,
    taken,
    untested_runs,
)

PLAIN: tuple[Edge, None] = ("embedded", None)


@pytest.mark.parametrize("run", [*runs("rollback-worker"), *runs("rollback-pages")], ids=run_id)
def test_rollback_drills_recover_on_each_edge_and_trigger(run: Run) -> None:
    name, _, trigger = run
    result = assert_recovered(run, *switch_arguments("pages_propagation_seconds=1"))

    service = OPS.environments[result["environment"]].services[result["service"]]
    assert service.kind == DRILLS[name].service_kind
    assert result["timeline"][-1]["text"] == "recovered"
    if trigger in IN_A_JOB:
        said = "the incident's journal says recovered; the sandbox serves the good release, healthy"
        assert result["message"] == said
    else:
        assert_prompt(result)


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
    "restore-database": [
        [
            "d1_time_travel_days=30",
            "d1_later_bookmarks_kept=true",
            "d1_bookmark_shows_restore=true",
            "d1_replica_lag_seconds=0",
            "d1_read_is_enough=true",
            "deployments_lag_reads=2",
            "urls_normalized=false",
            "propagation_seconds=0",
        ],
        [
            "d1_stale_reads=3",
            "version_visible_after_reads=2",
            "deployments_listed=null",
            "code_update_strategy_answered=true",
            "propagation_seconds=3",
        ],
    ],
    "revert-migration": [
        [
            "d1_time_travel_days=30",
            "d1_later_bookmarks_kept=true",
            "d1_bookmark_shows_restore=true",
            "d1_replica_lag_seconds=0",
            "d1_read_is_enough=true",
            "propagation_seconds=0",
        ],
        ["d1_stale_reads=3", "propagation_seconds=3"],
    ],
}
"""Groups of switches that do not hide each other, by drill. Two of them delay Cloudflare's lists.

Literal, since no declaration says which responses hide each other. The test below finds missing switches.
"""
D1 = {field.name for field in fields(Switches) if field.name.startswith("d1_")}
OF_OTHERS = {
    "rotate-secrets": {
        *D1,
        *("migration_tag_before_deploy", "forced_rollback_restores_secrets", "content_of_deployed"),
        "urls_normalized",
    },
    "rotate-secrets-after-rollback": {*D1, "migration_tag_before_deploy", "urls_normalized"},
    "maintenance": {
        *D1,
        *("migration_tag_before_deploy", "forced_rollback_restores_secrets", "content_of_deployed"),
        *("secret_edit_ends_split", "iflow_models_open", "iflow_refuses_with_200"),
    },
    "restore-database": {
        *("migration_tag_before_deploy", "forced_rollback_restores_secrets", "content_of_deployed"),
        *("secret_edit_ends_split", "iflow_models_open", "iflow_refuses_with_200"),
    },
    "revert-migration": {
        *("migration_tag_before_deploy", "forced_rollback_restores_secrets", "content_of_deployed", "urls_normalized"),
        *("secret_edit_ends_split", "iflow_models_open", "iflow_refuses_with_200", "code_update_strategy_answered"),
        *("deployments_lag_reads", "version_visible_after_reads", "deployments_listed"),
    },
}
"""Switches without effect by drill: those of migrations, forced rollbacks, code, zones, secrets, providers or D1."""
OF_NONE = (
    *("pages_", "audit_", "analytics_", "zone_analytics_", "worker_analytics_", "telemetry_", "auth_error_"),
    *("kv_", "edge_", "access_", "static_files_", "status_page", "statuspage_", "calls_per_", "variables_per_"),
    *("deployments_paged", "route_precedes_", "assets_", "has_assets_", "secrets_checked_without_traffic"),
)
ALL_PROVIDED = "IFLOW_API_KEY, GROQ_API_KEY, CEREBRAS_API_KEY"


def switch_options(name: str, group: int) -> list[str]:
    return switch_arguments(*SWITCHES[name][group])


@pytest.mark.parametrize("name", SWITCHES)
def test_switch_groups_cover_relevant_sandbox_switches(name: str) -> None:
    usual = Switches()
    known = {field.name for field in fields(Switches) if not field.name.startswith(OF_NONE)}
    tried = [switch for group in SWITCHES[name] for switch in group]

    assert {switch.partition("=")[0] for switch in tried} == known - OF_OTHERS[name]
    assert all(parse([switch]) != usual for switch in tried)


LEAKS: list[tuple[Run, list[str]]] = [
    (("rotate-secrets", *PLAIN), switch_options("rotate-secrets", 0)),
    *((run, switch_options("rotate-secrets", 1)) for run in taken(("rotate-secrets", "embedded", "command"))),
]


@pytest.mark.parametrize(("run", "switches"), LEAKS, ids=run_id)
def test_rotate_secrets_drill_recovers(run: Run, switches: list[str]) -> None:
    result = assert_recovered(run, *switches)

    assert result["plan"]["changes"][0]["after"].endswith(f"with new values of {ALL_PROVIDED}")
    assert_prompt(result)


@pytest.mark.parametrize("run", taken(("rotate-secrets-after-rollback", *PLAIN)), ids=run_id)
def test_rotate_secrets_after_rollback_drill_reuploads_version(run: Run) -> None:
    result = assert_recovered(run, *switch_options(run[0], 0))

    assert [change["after"][8:] for change in result["plan"]["changes"]] == [
        " uploaded again with new secrets, not deployed",
        " uploaded again with new secrets",
    ]
    assert_prompt(result)


@pytest.mark.parametrize("run", taken(("rotate-secrets-after-rollback", "embedded", "button")), ids=run_id)
def test_rotate_secrets_button_keeps_values_out_of_log(run: Run) -> None:
    result = assert_recovered(run, *switch_options(run[0], 1))

    assert result["report"]["number"] == 2
    assert result["workflow_run"]["event"] == "workflow_dispatch"
    assert result["workflow_run"]["jobs"][0]["conclusion"] == "success"
    assert "the sandbox serves the good release, healthy" in result["message"]
    log = "\n".join(result["workflow_run"]["log"])
    assert not [value for value in (*scenario_leak.FRESH.values(), *scenario_leak.LEAKED.values()) if value in log]


STATES: dict[str, str] = {"feature": "off", "ai-failover": "groq", "ai-off": "off"}
"""Final state of the switch, by drill."""


@pytest.mark.parametrize("more", [[], ["kv_api_staleness_seconds=0"]], ids=["KV's API lags", "KV's API at once"])
@pytest.mark.parametrize("run", taken(*((name, *PLAIN) for name in STATES)), ids=run_id)
def test_feature_switch_drills_recover(run: Run, more: list[str]) -> None:
    result = assert_recovered(run, *switch_arguments(*more))

    assert result["service"] == "api"
    assert f" is {STATES[run[0]]}, seen from FRA" in result["message"]
    assert_prompt(result)


IN_WORKERD = {
    runbook_of(name): runs(name, "workerd") for name, kind in DRILLS.items() if kind.in_workerd and not kind.configure
}
"""Runbook → its last drill that breaks the example in a different way on this edge, besides those of its database."""


@pytest.mark.parametrize("run", [run for found in IN_WORKERD.values() for run in found], ids=run_id)
def test_example_recovers_in_workerd_by_its_own_probes(run: Run) -> None:
    kind = DRILLS[run[0]].in_workerd
    assert kind

    result = assert_recovered(run)

    *_, state = kind.params.values() or [None]
    said = f" is {state}, seen from FRA" if state else "the probes are healthy"
    assert said in result["message"]
    environment = OPS.environments[result["environment"]]
    service = environment.services[result["service"]]
    (probe,) = (each for each in kind.probes(environment, service) if each not in service.probes)
    before = next(event["text"] for event in result["timeline"] if event["text"].startswith("before: "))
    assert f"{probe.name} unhealthy: status 503, wanted 200" in before
    assert "health healthy: status 200" in before


@pytest.mark.parametrize(
    "switches",
    [
        switch_arguments(
            "deployments_listed=null", "code_update_strategy_answered=true", "migration_tag_before_deploy=true"
        ),
        switch_arguments("propagation_seconds=0", "deployments_lag_reads=2"),
        switch_arguments("deployments_paged=false", "has_assets_listed=false", "assets_binding_shown=true"),
    ],
    ids=str,
)
def test_rollback_worker_drill_recovers_under_api_variants(switches: list[str]) -> None:
    assert drill(*switches)["decision"] == "recovered"


AT_ONCE = switch_arguments(
    "pages_partial_source_taken=true", "pages_reads_until_deployed=0", "pages_propagation_seconds=0"
)
LATE = switch_arguments("pages_refusal_code=8000099", "pages_propagation_seconds=3")
FOLLOWS = switch_arguments("pages_canonical_follows_rollbacks=true")
LAGS = [*FOLLOWS, *switch_arguments("pages_canonical_lag_reads=2")]
"""A canonical deployment that a rollback does not change cannot lag behind one."""


@pytest.mark.parametrize("switches", [AT_ONCE, [*FOLLOWS, *LATE], LAGS], ids=str)
def test_rollback_pages_drill_recovers_under_api_variants(switches: list[str]) -> None:
    assert drill(*switches, name="rollback-pages")["decision"] == "recovered"


REDEPLOYMENTS: list[tuple[Run, list[str]]] = [
    *((run, AT_ONCE) for run in taken(("redeploy-pages", "embedded", "command"))),
    (("redeploy-pages", *PLAIN), [*LAGS, *LATE]),
]


@pytest.mark.parametrize(("run", "switches"), REDEPLOYMENTS, ids=run_id)
def test_redeploy_pages_drill_builds_example_and_recovers(run: Run, switches: list[str]) -> None:
    result = assert_recovered(run, *switches)

    assert result["service"] == "frontend"
    assert 0 < result["durations"]["trigger_to_write"] < result["durations"]["trigger_to_verified"] < 90


MAINTENANCE = [
    *((run, []) for run in runs("maintenance")),
    *((("maintenance", *PLAIN), switch_options("maintenance", group)) for group in range(2)),
]


@pytest.mark.parametrize(("run", "switches"), MAINTENANCE, ids=run_id)
def test_maintenance_drill_closes_and_reopens_service(run: Run, switches: list[str]) -> None:
    result = assert_recovered(run, *switches)

    assert result["service"] == "api"
    assert "opened again" in result["message"]
    if run[2] == "button":  # only the security job may change routes
        ended = {job_id(job["name"]): job["conclusion"] for job in result["workflow_run"]["jobs"]}
        assert (ended["security-production"], ended.get("recovery-production")) == ("success", "skipped")


STUCK = [
    *((run, []) for run in runs("reset-durable-object", "embedded")),
    *(
        (("reset-durable-object", *PLAIN), switch_arguments(switch))
        for switch in ("deployments_lag_reads=2", "version_visible_after_reads=2")
    ),
]


@pytest.mark.parametrize(("run", "switches"), STUCK, ids=run_id)
def test_durable_object_drill_restarts_object(run: Run, switches: list[str]) -> None:
    result = assert_recovered(run, *switches)

    assert result["service"] == "api", result
    assert any(event["text"].endswith("ai-mutex restarted") for event in result["timeline"])
    assert result["within_target"]


@pytest.mark.parametrize("run", runs("limits"), ids=run_id)
def test_limits_drill_restores_previous_limit_after_expiry(run: Run) -> None:
    result = assert_recovered(run)

    assert result["runbook"] == "propose-limits"
    assert "after 4 h the former limit held again" in result["message"]


OUTAGES = [run for name in scenario_outage.OUTAGES for run in ((name, *PLAIN), *runs(name))]


@pytest.mark.parametrize("run", OUTAGES, ids=run_id)
def test_outage_ends_as_theirs_without_a_rollback(run: Run) -> None:
    name, _, trigger = run
    given = ["--trigger", trigger] if trigger else []
    # Without a trigger it is another application than FortuneT.
    shop = [] if trigger else ["--config", str(ONE_WORKER), "--environment", "live"]

    result = drill(*given, *shop, name=name)

    assert (result["decision"], result["reason"], result["verdict"]) == ("nothing_to_do", "provider_outage", "theirs")
    assert "0 writes to Cloudflare; after the outage the same version serves" in result["message"]
    assert result["durations"]["trigger_to_write"] is None
    assert result.get("trigger") == trigger
    if trigger:
        assert result["journal"] is True
        assert result["incident"]["url"].endswith("/acme/operations/issues/1")
    if trigger in IN_A_JOB:
        jobs = {job_id(job["name"]): job["conclusion"] for job in result["workflow_run"]["jobs"]}
        assert result["workflow_run"]["event"] == IN_A_JOB[trigger]
        assert [name for name, ended in jobs.items() if ended == "success"] == [
            *(["gate"] if trigger == "label" else []),
            "check-outage",
        ]
        assert result["workflow_run"]["conclusion"] == "success"


RELAPSES = [("relapse", *PLAIN), *taken(("relapse", "embedded", "label"), ("relapse", "embedded", "command"))]


@pytest.mark.parametrize("run", RELAPSES, ids=run_id)
def test_relapse_is_found_by_a_watch_that_lost_its_runner(run: Run) -> None:
    name, _, trigger = run
    given = ["--trigger", trigger] if trigger else []
    # Without a trigger it is another application than FortuneT.
    shop = [] if trigger else ["--config", str(ONE_WORKER), "--environment", "live"]

    result = drill(*given, *shop, name=name)

    assert (result["decision"], result["reason"]) == ("relapsed", "relapsed"), result
    assert "the watch found the relapse, and said so" in result["message"]
    if trigger:
        assert (result["journal"], result["report"] is not None) == (True, True)
    if trigger in IN_A_JOB:
        jobs = {job_id(job["name"]): job["conclusion"] for job in result["workflow_run"]["jobs"]}
        assert (jobs["recovery-production"], jobs["watch"], jobs["tell-later"]) == ("success", "failure", "success")


LONG: list[tuple[Run, list[str]]] = [
    *((run, []) for run in taken(("long-incident", "embedded", "label"))),
    (("long-incident", "embedded", "command"), ["--config", str(ONE_WORKER), "--environment", "live"]),
]


@pytest.mark.parametrize(("run", "configuration"), LONG, ids=run_id)
def test_long_incident_has_a_true_state_and_report(run: Run, configuration: list[str]) -> None:
    """Two recoveries by two people, a reopening, and a third press that changes nothing."""
    name, _, trigger = run

    result = drill("--trigger", str(trigger), *configuration, name=name)

    assert (result["decision"], result["trigger"], result["journal"]) == ("recovered", trigger, True)
    assert "the report counts the 80 failed requests of users" in result["message"]


NOISES = [("noisy-watch", *PLAIN), *taken(("noisy-watch", "embedded", "command"))]


@pytest.mark.parametrize("run", NOISES, ids=run_id)
def test_noise_is_no_relapse(run: Run) -> None:
    """A relapse by label runs the same jobs."""
    name, _, trigger = run
    given = ["--trigger", trigger] if trigger else []
    shop = [] if trigger else ["--config", str(ONE_WORKER), "--environment", "live"]

    result = drill(*given, *shop, name=name)

    assert (result["decision"], result["reason"]) == ("recovered", "verified"), result
    assert "the watch saw the noise, and said mitigated" in result["message"]


def is_of_database(run: Run) -> bool:
    """Return whether test_database_drills.py tests the run."""
    return run[0] in DRILLS and DRILLS[run[0]].configure is not None


def is_of_requests(run: Run) -> bool:
    """Return whether test_request_drills.py tests the run."""
    return run[0] in {scenario_stop.NAME, scenario_held_deploy.NAME}


def is_of_bad_night(run: Run) -> bool:
    """Return whether test_bad_night_drills.py tests the run."""
    return run[0] in scenario_bad_night.SCENARIOS


@pytest.mark.parametrize(
    "run",
    [
        run
        for run in untested_runs()
        if not is_of_database(run) and not is_of_requests(run) and not is_of_bad_night(run)
    ],
    ids=run_id,
)
def test_other_drills_recover_on_each_edge_and_trigger(run: Run) -> None:
    name, _, trigger = run
    with TemporaryDirectory() as folder:
        secrets = DRILLS[name].environ(Path(folder)).values()

    result = assert_recovered(run, *switch_arguments("pages_propagation_seconds=1"))

    if trigger in IN_A_JOB:
        assert result["workflow_run"]["event"] == IN_A_JOB[trigger]
        assert result["workflow_run"]["jobs"][0]["conclusion"] == "success"
        assert "the sandbox serves the good release, healthy" in result["message"]
        log = "\n".join(result["workflow_run"]["log"])
        assert not [value for value in secrets if value in log]
    if trigger == "label":  # only the security job may change secrets
        ended = {job_id(job["name"]): job["conclusion"] for job in result["workflow_run"]["jobs"]}
        found = ended["security-production"], ended["recovery-production"]
        assert found == (("success", "skipped") if name == "rotate-secrets" else ("skipped", "success"))


def test_every_pages_switch_is_tested() -> None:
    source = Path(__file__).read_text(encoding="utf-8")

    assert all(f'"{field.name}=' in source for field in fields(Switches) if field.name.startswith("pages_"))


COMMENTS = "/repos/*/*/issues/*/comments"
COMMENT = "/repos/*/*/issues/comments/*"
PERMISSION = "/repos/*/*/collaborators/*/permission"


def test_label_drill_recovers_despite_later_github_outage() -> None:
    began = time.monotonic()
    result = drill("--trigger", "label", "--github-fails", "after-permission")

    assert time.monotonic() - began < 120, "it does not wait for the answer, which reads GitHub for so long"
    assert result["decision"] == "recovered"
    assert (result["journal"], result["imported"], result["report"]["number"]) == (False, True, 2)
    assert "the sandbox serves the good release, healthy" in result["message"]
    assert 0 < result["durations"]["trigger_to_write"] <= result["durations"]["total"] + 1
    jobs = {job_id(job["name"]): job["conclusion"] for job in result["workflow_run"]["jobs"]}
    assert (jobs["gate"], jobs["recovery-production"]) == ("success", "success")


def test_label_drill_is_refused_if_permission_is_unreadable() -> None:
    result = drill("--trigger", "label", "--github-fails", f"GET:{PERMISSION}", ok=False)

    assert (result["decision"], result["exit_code"]) == ("refused", 3)
    assert "serves the bad release" in result["message"]
    laptop = " on a laptop: ./run ops rollback-worker --service api --environment production --incident 1"
    assert laptop in result["workflow_run"]["log"]


@pytest.mark.parametrize("fails", ["after-permission", f"POST:{COMMENTS}", f"PATCH:{COMMENT}"])
def test_command_drill_imports_record_after_github_outage(fails: str) -> None:
    result = drill("--trigger", "command", "--github-fails", fails)

    assert result["decision"] == "recovered"
    assert (result["journal"], result["imported"], result["report"]["number"]) == (False, True, 2)
