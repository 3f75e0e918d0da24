"""Messages that no test makes in the process of a run, by reason. The whole suite fails for each other one."""

_REASONS = {
    "a test starts another program for it": (
        "ops/cli/__init__.py output_error ConfigError",
        "ops/cli/runbook_command.py confirm_name Refused not_confirmed",
        "ops/drills/settings.py require_sandbox ConfigError",
        "ops/scheduled/staging_drill/drill.py StagingDrill._require_seen Interrupted",
        "ops/setup/init/command.py choose_actions_repository ConfigError",
    ),
    "this machine has the tool, and root reads every file": (
        "ops/app/database_guard.py _read_migration_files ConfigError 2",
        "ops/setup/doctor/repository_files.py examine_probe_tools Finding 2",
        "ops/setup/doctor/machine.py _default_package_index NotProvable",
        "ops/site_build/__init__.py SiteBuilder._run_build_program _missing_tool",
        "ops/site_build/__init__.py SiteBuilder._wrangler_arguments _missing_tool",
    ),
    "only a broken example or tool of a drill leads to it": (
        "ops/drills/application.py deploy_bad_release ConfigError",
        "ops/drills/database_content.py _Tables.add_missing ConfigError",
        "ops/drills/github.py run_action ConfigError",
        "ops/drills/github.py finish_workflows ConfigError",
        "ops/drills/github.py prepare_repository ConfigError",
        "ops/drills/github.py prepare_repository ConfigError 2",
        "ops/drills/scenario_database.py _DrilledApplication.release_example ConfigError",
        "ops/drills/scenario_database.py _DatabaseDrill.bind.run ConfigError",
        "ops/drills/scenario_guard.py deploy_bad ConfigError",
        "ops/drills/scenario_release.py _commit_site ConfigError",
        "ops/drills/scenario_release.py _run_git_in_source ConfigError",
        "ops/drills/scenario_release.py run_wrangler_on_example ConfigError",
        "ops/drills/scenario_switch.py _DrilledFailure.require ConfigError",
    ),
    "another check refuses first; this one protects the next change of the code": (
        "ops/github/lift_labels.py LiftLabels._require_writing Refused read_only",
        "ops/github/pulls.py PullRequests._write_pull_request Refused read_only",
        "ops/github/secrets.py EnvironmentSecrets.put Refused read_only",
    ),
    "tests make it, but in a context manager, where the call that names it is not on the stack": (
        "ops/setup/github_setup.py GitHubSetup._write_environment _explain_missing_plan",
        "ops/setup/github_setup.py GitHubSetup._write_environment _explain_missing_plan 2",
    ),
    "a test would wait for 10 s": ("ops/github/secrets.py AppTokens.token ProviderError provider_unavailable",),
    "no test yet": (
        "ops/maintenance/closure_by_routes.py RouteClosure._plan_reopening ProviderError malformed_answer",
    ),
}
NEVER = {key: reason for reason, keys in _REASONS.items() for key in keys}
