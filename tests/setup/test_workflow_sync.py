"""`ops workflows sync` in a repository of a team: files, settings, hostile texts and linters."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from ops.app import registry
from ops.config.sections import ScheduledTask
from ops.setup.workflow_jobs import DOCTOR_MINUTE, GUARD_MINUTE, WATCH_MINUTE
from tests.conftest import REFERENCE, World
from tests.setup.test_workflows import CONFIGURATIONS, SECRET, workflow
from tests.support import plain_yaml
from tests.support.configurations import BAKERY, SHOPDESK, with_banner
from tests.support.workflows import add_actions, generated


class TeamRepository:
    """A team's repository in which `ops workflows sync` runs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.workflows = world.folder / ".github" / "workflows"

    def sync(self, *options: str) -> Any:
        return self.world.ops("workflows", "sync", "--config", str(self.world.config), *options)

    def github(self, text: str) -> None:
        self.world.config.write_text(f"{self.world.config.read_text()}\ngithub:\n{text}")

    def file(self, name: str) -> Path:
        return self.workflows / f"{name}.yml"

    def read(self, name: str) -> dict[Any, Any]:
        found: dict[Any, Any] = plain_yaml.load(self.file(name).read_text())
        return found


@pytest.fixture
def team(world: World) -> TeamRepository:
    add_actions(world.folder)
    return TeamRepository(world)


@pytest.mark.slow
def test_second_sync_writes_nothing(team: TeamRepository) -> None:
    first, second = team.sync(), team.sync()

    assert (first.code, second.code) == (0, 0)
    assert "written: .github/workflows/rollback-worker.yml (is missing)" in first.out
    assert "Commit .github and push it to main" in first.out
    assert "Every file is as ops.yml has it." in second.out
    assert "Schedules: none, so they use 0 minutes a month." in second.out
    assert team.sync("--check").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["run", ""], ids=["one", "all"])
def test_folder_without_the_actions_gets_no_workflows(team: TeamRepository, gone: str) -> None:
    """Also at the second time, and also with --check and --force."""
    actions = team.world.folder / ".github/actions"
    shutil.rmtree(actions / gone)

    for options in ([], ["--check"], ["--force"]):
        done = team.sync(*options)

        assert done.code == 2
        assert ".github/actions/run" in done.err
        assert (".github/actions/gate" in done.err) == (not gone)
        assert "`github: {actions: OWNER/NAME}`" in done.err
        assert not team.workflows.exists()

    team.github("  actions: backout-tools/backout\n")
    assert team.sync("--actions", f"backout-tools/backout@{'a' * 40}").code == 0


@pytest.mark.slow
def test_check_prints_diff_and_writes_nothing(team: TeamRepository) -> None:
    team.sync()
    before = team.file("rollback-worker").read_text()
    team.world.edit_config("  staging:", "  rehearsal:")

    done = team.sync("--check")

    assert done.code == 2
    assert "+          - rehearsal" in done.out
    assert "would write: .github/workflows/rollback-worker.yml (differs from ops.yml)" in done.out
    assert team.file("rollback-worker").read_text() == before


def test_sync_removes_unused_button(team: TeamRepository) -> None:
    team.sync()
    team.world.config.write_text(CONFIGURATIONS["one_url"].read_text())

    done = team.sync()

    assert done.code == 0
    assert "removed: .github/workflows/propose-limits.yml (no longer applies to this ops.yml)" in done.out
    assert not team.file("propose-limits").exists()


@pytest.mark.slow
def test_edited_file_is_kept_without_force(team: TeamRepository) -> None:
    team.sync()
    file = team.file("recover")
    changed = file.read_text().replace("timeout-minutes: 15", "timeout-minutes: 21")
    file.write_text(changed)

    kept, checked = team.sync(), team.sync("--check")
    assert (kept.code, checked.code, file.read_text()) == (2, 2, changed)
    assert "-    timeout-minutes: 21" in kept.out
    assert "kept: .github/workflows/recover.yml (was edited since the last sync)" in kept.out

    forced = team.sync("--force")
    assert forced.code == 0
    assert "timeout-minutes: 21" not in file.read_text()


@pytest.mark.slow
def test_program_of_the_workflows_is_a_generated_file(team: TeamRepository) -> None:
    first = team.sync()
    file = team.world.folder / ".github/scripts/tell.py"
    (file.parent / "own.py").write_text("print()\n")
    whole = file.read_text()
    file.write_text(f"{whole}\nprint()\n")
    checked = team.sync("--check")
    file.unlink()
    again = team.sync()

    assert "written: .github/scripts/tell.py (is missing)" in first.out
    assert (checked.code, "kept: .github/scripts/tell.py" in checked.out) == (2, True)
    assert (again.code, file.read_text()) == (0, whole)
    assert (file.parent / "own.py").exists()


@pytest.mark.slow
def test_sync_keeps_action_versions_of_team(team: TeamRepository) -> None:
    """Sync keeps versions changed by dependency updates, and uses them for new files."""
    team.sync()
    for file in team.workflows.glob("*.yml"):
        file.write_text(
            re.sub(r"actions/checkout@\w+ # v[\d.]+", f"actions/checkout@{'a' * 40} # v9.9.9", file.read_text())
        )
    team.file("propose").unlink()
    team.world.edit_config("  staging:", "  rehearsal:")

    assert team.sync().code == 0

    found = {
        file.stem: re.findall(r"actions/checkout@(\S+ # \S+)", file.read_text())
        for file in team.workflows.glob("*.yml")
    }
    assert found["propose"]
    assert {pin for each in found.values() for pin in each} == {f"{'a' * 40} # v9.9.9"}
    assert team.sync("--check").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v4", "main", "refs/pull/7/head"])
def test_sync_ignores_mutable_action_version(team: TeamRepository, version: str) -> None:
    team.workflows.mkdir(parents=True)
    (team.workflows / "ci.yml").write_text(f"jobs:\n  a:\n    steps:\n      - uses: actions/checkout@{version}\n")

    assert team.sync().code == 0

    files = [file for file in team.workflows.glob("*.yml") if file.stem != "ci"]
    pins = {pin for file in files for pin in re.findall(r"uses: actions/\S+@(\S+)", file.read_text())}
    assert [pin for pin in pins if not re.fullmatch("[0-9a-f]{40}", pin)] == []


@pytest.mark.slow
def test_diff_is_safe_in_job_log(team: TeamRepository) -> None:
    """Any pull request can change the file, and ops-check prints the difference."""
    team.sync()
    file = team.file("incident")
    file.write_text(file.read_text().replace("jobs:\n", "  ::error::no\n\x1b[2Jwiped\njobs:\n  ##[error]x: y\n"))

    done = team.world.ops("workflows", "sync", "--check", "--config", str(team.world.config), GITHUB_ACTIONS="true")

    assert "[2Jwiped" in done.out
    assert "\x1b" not in done.out
    assert "##[" not in done.out
    assert not re.search(r"(?m)^\s*::error::no", done.out)


@pytest.mark.slow
def test_check_reports_mutable_action_version(team: TeamRepository) -> None:
    team.sync()
    file = team.file("recover")
    file.write_text(re.sub(r"actions/checkout@\w+ # v[\d.]+", "actions/checkout@main", file.read_text(), count=1))

    done = team.sync("--check")

    assert (done.code, "-      - uses: actions/checkout@main" in done.out) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--check",), ("--force",)])
def test_sync_keeps_other_workflow_files(team: TeamRepository, options: tuple[str, ...]) -> None:
    """Without a configured schedule, sync does not own the name of this file."""
    team.sync()
    own = team.file("scheduled")
    own.write_text("name: nightly\non:\n  schedule: [{cron: '1 1 * * *'}]\n")
    team.file("photo").write_bytes(b"\xff\xfe is no UTF-8")
    team.file("folder").mkdir()

    done = team.sync(*options)

    assert (done.code, own.read_text()[:13]) == (0, "name: nightly")
    assert "Every file is as ops.yml has it." in done.out


@pytest.mark.slow
def test_without_environments_secrets_are_repository_secrets(team: TeamRepository) -> None:
    team.github("  environments: false\n")

    done = team.sync()

    assert done.code == 0
    assert "everyone who can push can read them" in done.out
    for file in team.workflows.glob("*.yml"):
        assert not [job for job in team.read(file.stem)["jobs"].values() if "environment" in job]
    text = team.file("recover").read_text()
    assert "CLOUDFLARE_API_TOKEN: ${{ secrets.RECOVERY_CLOUDFLARE_API_TOKEN }}" in text
    assert "CLOUDFLARE_API_TOKEN: ${{ secrets.REPORT_CLOUDFLARE_API_TOKEN }}" in text
    assert "secrets.SECURITY_NEW_GROQ_API_KEY" in text


def test_enterprise_server_files_omit_newer_keys(team: TeamRepository) -> None:
    team.github("  enterprise_server: true\n  schedules: {ai-failback: 12h}\n")

    done = team.sync()

    assert done.code == 0
    assert "GitHub keeps only the newest" in " ".join(done.out.split())
    for file in team.workflows.glob("*.yml"):
        assert "queue:" not in file.read_text()
        assert "deployment: false" not in file.read_text()
        assert "cache-mode:" not in file.read_text()


def test_kind_of_server_decides_the_version_that_hands_over_files(team: TeamRepository) -> None:
    """Version 4 and later of these actions fail on an Enterprise Server, and version 3 on github.com."""

    def majors() -> set[str]:
        texts = [file.read_text() for file in team.workflows.glob("*.yml")]
        return {
            major for text in texts for major in re.findall(r"/(?:up|down)load-artifact@[0-9a-f]{40} # v(\d+)", text)
        }

    team.sync()
    on_github = majors()
    team.github("  enterprise_server: true\n")
    team.sync()
    on_server, again = majors(), team.sync("--check")
    team.world.edit_config("enterprise_server: true", "enterprise_server: false")
    differing = team.sync("--check")
    team.sync()

    assert (min(map(int, on_github)) >= 4, on_server, again.code, differing.code) == (True, {"3"}, 0, 2)
    assert majors() == on_github


@pytest.mark.slow
def test_branch_and_responders_come_from_ops_yml(team: TeamRepository) -> None:
    team.github("  branch: trunk\n")
    team.world.edit_config("responders: []", "responders: [alice, bob]")

    team.sync()

    assert team.read("limits")[True]["push"]["branches"] == ["trunk"]
    assert (
        """contains(fromJSON('["alice", "bob"]'), github.event.sender.login)"""
        in team.read("incident")["jobs"]["recover"]["if"]
    )


@pytest.mark.slow
def test_configured_schedules_get_their_own_jobs(team: TeamRepository) -> None:
    team.github(
        "  schedules: {ai-failback: 1h, reopen-maintenance: 6h, reconcile-limits: 24h}\n  accept_minutes: 1740\n"
    )

    done = team.sync()

    found = team.read("scheduled")
    assert [each["cron"] for each in found[True]["schedule"]] == ["3 * * * *", "7 */6 * * *", "41 4 * * *"]
    assert found["jobs"].keys() == {
        f"{task}-{place}"
        for task in ("ai-failback", "reopen-maintenance", "reconcile-limits")
        for place in ("production", "staging")
    }
    for job in found["jobs"].values():
        assert not job["concurrency"]["group"].startswith("recover-")
        assert job["environment"]["deployment"] is False
    # 720 + 120 + 30 runs, each with one job for each of two environments
    assert (done.code, "1,740 minutes a month" in done.out) == (0, True)


def test_scheduled_watch_continues_stopped_ones(team: TeamRepository) -> None:
    team.github("  schedules: {watch: 30m}\n  accept_minutes: 1440\n")

    done = team.sync()

    job = team.read("scheduled")["jobs"]["watch"]
    assert (done.code, "1,440 minutes a month" in done.out) == (0, True)
    assert (job["environment"]["name"], job["timeout-minutes"]) == ("report", 70)
    assert job["concurrency"]["group"] == "scheduled-watch"
    assert job["steps"][-1]["with"]["stopped"] == "true"


@pytest.mark.slow
def test_report_continues_a_stopped_watch() -> None:
    job = workflow("recover")["jobs"]["watch"]

    assert "needs.gate.outputs.go == 'false' && needs.gate.outputs.report == 'true'" in job["if"]
    assert job["steps"][-2]["with"]["stopped"] == "${{ needs.gate.outputs.go == 'false' }}"


@pytest.mark.slow
def test_watch_gets_the_secret_headers_of_probes(team: TeamRepository) -> None:
    team.world.edit_config("path: /health\n", "path: /health\n              request_headers: {x-pass: SHOP_PASS}\n")

    assert team.sync().code == 0

    step = team.read("recover")["jobs"]["watch"]["steps"][-2]
    assert step["env"]["SHOP_PASS"] == "${{ secrets.SHOP_PASS }}"
    assert "SHOP_PASS" not in team.read("recover")["jobs"]["report"]["steps"][-1]["env"]


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "limit"), [("45m", 100), ("150s", 30), ('"off"', None)])
def test_watch_has_the_time_of_an_extended_one(team: TeamRepository, setting: str, limit: int | None) -> None:
    team.world.edit_config("\nresponders: []\n", f"\nresponders: []\nwatch: {setting}\n")

    assert team.sync().code == 0

    found = team.read("recover")["jobs"]
    assert found.get("watch", {}).get("timeout-minutes") == limit
    assert ("watch" in found["tell-later"]["needs"]) == (limit is not None)


def test_each_schedule_has_one_scheduled_runbook() -> None:
    made = [registry.load_runbook(name) for name in registry.scheduled_files()]
    found = [each.schedule for each in made if each.schedule]

    assert sorted([*(each.task for each in found), "doctor", "guard", "watch"]) == sorted(get_args(ScheduledTask))
    assert len({*(each.minute for each in found), DOCTOR_MINUTE, GUARD_MINUTE, WATCH_MINUTE}) == len(found) + 3


def test_schedules_over_half_of_plan_minutes_are_refused(team: TeamRepository) -> None:
    team.github("  schedules: {ai-failback: 1h}\n")

    done = team.sync()

    assert (done.code, team.workflows.exists()) == (2, False)
    assert re.match(r"error: .* 1,440 minutes .* 2,000\b", done.err)
    team.world.edit_config(
        "  schedules: {ai-failback: 1h}\n", "  schedules: {ai-failback: 1h}\n  included_minutes: 0\n"
    )
    assert team.sync().code == 0


@pytest.mark.slow
def test_ops_yml_text_is_not_an_expression(team: TeamRepository) -> None:
    quote = "recover:it's"
    team.world.edit_config("  recover:rollback-api:", f"  {quote}:")
    service = "    params:\n      service: api\n"
    team.world.edit_config(
        f"  {quote}:\n    runbook: rollback-worker\n    environment: production\n{service}",
        f"  {quote}:\n    runbook: rollback-worker\n    environment: production\n{service}"
        "      reason: ${{ secrets.CLOUDFLARE_API_TOKEN }}\n",
    )

    assert team.sync().code == 0

    jobs = team.read("recover")["jobs"]
    assert not [name for name in ("gate", "tell", "tell-later") if "${{ secrets." in str(jobs[name])]


@pytest.mark.slow
def test_place_of_a_token_is_not_an_expression(team: TeamRepository) -> None:
    """A job would print the value of the secret on the incident."""
    place = "${{ toJSON(secrets) }}"
    team.world.edit_config("    services:\n", f'    token_location: "{place}"\n    services:\n')

    assert team.sync().code == 0

    assert not [path for path in team.workflows.glob("*.yml") if "toJSON(secrets)" in path.read_text()]
    script = (team.workflows.parent / "scripts" / "tell.py").read_text()
    assert place not in script
    texts = {each.value for each in ast.walk(ast.parse(script)) if isinstance(each, ast.Constant)}
    assert any(place in text for text in texts if isinstance(text, str))


def test_label_with_expression_syntax_is_refused(team: TeamRepository) -> None:
    team.world.edit_config("  recover:rollback-api:", "  recover:${{x}}:")

    done = team.sync()

    assert (done.code, team.workflows.exists()) == (2, False)
    assert "GitHub reads ${{ as an expression" in done.err


@pytest.mark.slow
def test_reserved_step_variables_are_refused_as_secrets(team: TeamRepository) -> None:
    """GitHub refuses a step that sets a variable twice. PYTHONPATH is set by the action."""
    team.github("  schedules: {ai-failback: 24h, reopen-maintenance: 24h, reconcile-limits: 24h}\n")
    team.sync()
    steps = [
        step["env"]
        for file in team.workflows.glob("*.yml")
        for job in team.read(file.stem)["jobs"].values()
        for step in job.get("steps", ())
        if any(SECRET.search(str(value)) for value in step.get("env", {}).values())
    ]
    own = {name for step in steps for name, value in step.items() if not SECRET.search(str(value))}
    assert {"GITHUB_TOKEN", "OPS_COMMIT", "OPS_BUILT"} <= own

    for name in sorted({*own, "PYTHONPATH"}):
        team.world.edit_config("    token: CLOUDFLARE_API_TOKEN\n", f"    token: {name}\n")
        done = team.world.ops("config", "check", "--config", str(team.world.config))
        assert (done.code, "is reserved in a job" in done.err) == (2, True), name + done.err
        team.world.edit_config(f"    token: {name}\n", "    token: CLOUDFLARE_API_TOKEN\n")


LINTERS = [
    ["actionlint", "-no-color", "-oneline"],
    ["zizmor", "--offline", "--no-progress", "-q", "--persona", "auditor", ".github"],
]


@pytest.mark.slow
@pytest.mark.parametrize("path", [*CONFIGURATIONS.values(), SHOPDESK], ids=[*CONFIGURATIONS, "shopdesk"])
@pytest.mark.parametrize("command", LINTERS, ids=lambda command: command[0])
def test_generated_files_pass_linters(command: list[str], path: Path) -> None:
    lint(command, path)


@pytest.mark.slow
@pytest.mark.parametrize("command", LINTERS, ids=lambda command: command[0])
def test_files_of_all_schedules_pass_linters(command: list[str], tmp_path: Path) -> None:
    schedules = ", ".join(f"{task}: 24h" for task in get_args(ScheduledTask))
    path = tmp_path / "ops.yml"
    path.write_text(f"{(REFERENCE / 'ops.yml').read_text()}\ngithub: {{schedules: {{{schedules}}}}}\n")

    lint(command, path)
    assert "watch" in workflow("scheduled", path)["jobs"]


@pytest.mark.slow
@pytest.mark.parametrize("command", LINTERS, ids=lambda command: command[0])
def test_files_of_a_status_page_pass_linters(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "ops.yml"
    text = BAKERY.read_text().replace("status_page:\n", "status_page:\n  rebuilt: 1h\n", 1)
    path.write_text(with_banner(text))

    lint(command, path)
    assert {"publish", "deploy", "compare", "remove-banner"} <= set(workflow("publish-update", path)["jobs"])


def lint(command: list[str], path: Path) -> None:
    """Run a linter on the files that sync generates from this ops.yml."""
    program = Path(sys.executable).parent / command[0]

    done = subprocess.run([program, *command[1:]], cwd=generated(path), capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_environments_command_prints_team_names(team: TeamRepository) -> None:
    team.world.config.write_text(CONFIGURATIONS["ten_services"].read_text())

    done = team.world.ops("workflows", "environments", "--config", str(team.world.config))

    assert done.code == 0
    assert "| `approve-prod` | acting jobs of prod | none | none | `main` only | required |" in done.out
    assert "`NORDMART_PROD_TOKEN`" in done.out


@pytest.mark.slow
def test_doctor_keeps_an_issue_only_with_a_schedule(team: TeamRepository) -> None:
    def read() -> dict[Any, Any]:
        assert team.sync().code == 0
        parsed: dict[Any, Any] = plain_yaml.load((team.workflows / "doctor.yml").read_text())
        return parsed

    by_button = read()
    team.github("  schedules: {doctor: 7d}\n")
    weekly = read()

    assert ("schedule" in by_button[True], by_button["jobs"]["doctor"]["permissions"]["issues"]) == (False, "read")
    assert weekly[True]["schedule"] == [{"cron": "37 4 * * 1"}]
    assert weekly["jobs"]["doctor"]["permissions"]["issues"] == "write"
    assert weekly["jobs"]["doctor"]["steps"][-1]["with"]["issue"] == "true"
