"""`ops rollback-pages`: main path, plan and refusals."""

import re
from datetime import timedelta

import pytest

from ops.app.registry import discover_runbooks
from ops.pages.plan_text import CHANGES_SECTION, LIVE_SECTION, TARGET_SECTION
from tests.conftest import SITE, Outcome, Releases, World
from tests.support.commands import Command, ended


@pytest.mark.slow
def test_rollback_restores_the_good_deployment(world: World, sites: Releases) -> None:
    outcome = world.rollback_pages("--reason", "blank page", "--incident", "42")

    assert outcome.code == 0, outcome.err
    assert outcome.result["decision"] == "recovered"
    assert world.served == sites.good
    assert outcome.result["plan"]["done"] == f"Rolled back frontend to {sites.good[:8]}"
    (write,) = world.writes()
    assert write.path.endswith(f"/pages/projects/fortunet-frontend/deployments/{sites.good}/rollback")


@pytest.mark.slow
def test_repeated_rollback_suggests_the_next_older_deployment(world: World, sites: Releases) -> None:
    oldest = world.site(timedelta(days=3), "oldest")
    world.rollback_pages()

    outcome = world.rollback_pages()

    assert outcome.result["decision"] == "nothing_to_do", outcome.err
    assert outcome.result["reason"] == "already_stepped_back"
    assert re.search(rf": {sites.good[:8]} .* {sites.bad[:8]}, ", outcome.result["message"])
    assert f"--to {oldest[:8]}" in outcome.result["plan"]["next_step"]
    assert len(world.writes()) == 1
    assert world.served == sites.good


def test_undo_command_restores_the_previous_deployment(world: World, sites: Releases) -> None:
    result = world.rollback_pages().result
    (undo,), (change,) = result["undo"], result["plan"]["changes"]

    outcome = world.rollback_pages("--to", undo.partition("--to ")[2].split()[0])

    assert world.served == sites.bad
    where = "Actions → rollback-pages → Run workflow: service = frontend; environment = production"
    assert change["undo_button"] == f"{where}; to = {sites.bad[:8]}"
    assert any("is newer than the live one" in warning for warning in outcome.result["plan"]["warnings"])


@pytest.mark.slow
def test_run_without_yes_or_terminal_is_a_dry_run(world: World, sites: Releases) -> None:
    where = ["--service", "frontend", "--environment", "production", "--config", str(world.config)]

    outcome = world.ops("rollback-pages", *where)

    assert outcome.code == 9
    assert "PLANNED" in outcome.out
    assert world.served == sites.bad
    assert world.writes() == []


# The plan


def dry_run(world: World, *arguments: str) -> Outcome:
    outcome = world.rollback_pages("--dry-run", *arguments)
    assert outcome.code == 0, outcome.err
    return outcome


def test_plan_describes_both_deployments_and_differences(world: World) -> None:
    world.sandbox.pages.add_project(
        SITE, domains=["fortunet.example"], repository="fortunet/fortunet", env_vars={"A": "1"}
    )
    good = world.site(timedelta(hours=2), "good", commit="a" * 40, message="prices")
    world.sandbox.pages.projects[SITE].configs["production"]["env_vars"] = {
        "B": {"type": "plain_text", "value": "s3cr"}
    }
    bad = world.site(timedelta(minutes=10), "bad", commit="b" * 40, dirty=True, rules={"_worker.bundle": b"x"})

    outcome = dry_run(world)

    plan = outcome.result["plan"]
    (change,) = plan["changes"]
    assert (change["target"], change["before"], change["after"]) == (f"Pages {SITE}", bad[:8], good[:8])
    assert (
        f"{bad}, created 10 min ago, commit bbbbbbbbbbbb, with uncommitted changes" in plan["sections"][LIVE_SECTION][0]
    )
    assert f'{good}, created 2 h ago, commit aaaaaaaaaaaa, branch main, "prices"' in plan["sections"][TARGET_SECTION][0]
    assert plan["sections"][CHANGES_SECTION] == [
        "commits aaaaaaaaaaaa..bbbbbbbbbbbb",
        f"https://github.com/fortunet/fortunet/compare/{'a' * 40}...{'b' * 40}",
        "Functions: only the live one has them",
        "environment variable +A",
        "environment variable -B",
    ]
    assert plan["not_undone"][:2] == ["data in the stores that the site uses", "database migrations"]
    assert "the next push to main replaces this deployment: revert it first (commit bbbbbbbbbbbb)" in plan["follows"][0]
    assert "Branch control" in plan["follows"][0]
    assert "s3cr" not in outcome.out + outcome.err


@pytest.mark.slow
def test_running_build_is_a_warning(world: World, sites: Releases) -> None:
    fix = world.site(timedelta(minutes=1), "fix", status="active")

    warnings = dry_run(world).result["plan"]["warnings"]

    assert any(warning.startswith(fix[:8]) and "is being built" in warning for warning in warnings)


def test_failed_latest_build_is_reported_with_a_next_step(world: World, sites: Releases) -> None:
    world.site(timedelta(minutes=1), "fix", status="failure")

    plan = dry_run(world).result["plan"]

    assert plan["summary"].startswith(
        f"the latest build failed, so {sites.bad[:8]} is still live and there is nothing to roll back"
    )
    assert f"--to {sites.good[:8]}" in plan["next_step"]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("ago", "said"),
    [(timedelta(minutes=20), "if that start time is right, this is not the cause"), (timedelta(0), None)],
    ids=["before it", "now"],
)
def test_incident_start_only_adds_warnings(world: World, sites: Releases, ago: timedelta, said: str | None) -> None:
    began = (world.sandbox.clock.now() - ago).isoformat()

    plan = dry_run(world, "--began", began).result["plan"]

    assert any(said in warning for warning in plan["warnings"]) if said else plan["warnings"] == []
    assert plan["changes"][0]["after"] == sites.good[:8]


# Options


@pytest.mark.parametrize(
    ("runbook", "service", "said", "hint"),
    [
        (
            "rollback-pages",
            "api",
            "api is a service with worker",
            "Name one of: frontend. For api there is ",
        ),
        (
            "rollback-worker",
            "frontend",
            "frontend is a service with pages",
            "Name one of: api. For frontend there is ",
        ),
    ],
)
def test_service_of_the_wrong_kind_is_refused(world: World, runbook: str, service: str, said: str, hint: str) -> None:
    where = ["--service", service, "--environment", "production", "--config", str(world.config), "--yes", "--json"]

    outcome = world.ops(runbook, *where)

    assert (outcome.code, outcome.result["reason"]) == (2, "unknown_name")
    assert said in outcome.result["message"]
    assert outcome.result["hint"].startswith(hint)
    of_kind = [name for name, other in discover_runbooks().items() if f"a service with {other.kinds[0]}" in said]
    assert re.findall("`ops (.+?)`", outcome.result["hint"]) == of_kind
    assert world.sandbox.requests == []


def test_missing_target_suggests_a_redeployment(world: World) -> None:
    world.site(timedelta(minutes=10), "bad")
    outcome = world.rollback_pages("--incident", "42")

    assert ended(outcome) == (3, "refused", "no_target")
    where = "--service frontend --environment production --incident 42"
    assert outcome.result["press"].startswith(f"ops redeploy-pages {where}")
    assert outcome.result["press_button"].startswith("Actions → redeploy-pages → Run workflow: service = frontend")


def test_missing_target_without_build_suggests_to_option(world: World) -> None:
    world.site(timedelta(minutes=10), "bad")
    text = world.config.read_text()
    start = text.index("        build: #")
    world.config.write_text(text[:start] + text[text.index("        verify:", start) :])

    outcome = world.rollback_pages()

    assert "add `build` to" in outcome.result["hint"]
    assert "--to DEPLOYMENT" in outcome.result["press"]


def test_project_without_deployment_has_no_target(world: World) -> None:
    world.site(timedelta(hours=1), "preview", branch="fix")

    outcome = world.rollback_pages()

    assert ended(outcome) == (3, "refused", "no_target")
    assert SITE in outcome.result["message"]


def test_preview_is_no_target(world: World, sites: Releases) -> None:
    preview = world.site(timedelta(hours=1), "preview", branch="fix")

    outcome = world.rollback_pages("--to", preview)

    assert ended(outcome) == (3, "refused", "not_deployable")
    assert preview[:8] in outcome.result["message"]
    assert world.served == sites.bad


def test_deployment_during_the_plan_is_refused(world: World, sites: Releases) -> None:
    listed = f"/accounts/*/pages/projects/{SITE}/deployments"
    world.sandbox.fault(path=listed, skip=1, before=lambda: world.site(timedelta(0), "newer"))

    outcome = world.rollback_pages()

    assert ended(outcome) == (3, "refused", "world_moved")
    assert world.writes() == []


@pytest.mark.slow
def test_unlisted_deployment_needs_its_full_id(world: World) -> None:
    oldest = world.site(timedelta(days=9), "oldest")
    for number in range(30):
        world.site(timedelta(hours=30 - number), f"site {number}")

    by_start = world.rollback_pages("--to", oldest[:8])
    outcome = world.rollback_pages("--to", oldest)

    assert ended(by_start) == (3, "refused", "unknown_name")
    assert outcome.code == 0, outcome.err
    assert world.served == oldest


@pytest.mark.slow
def test_missing_permission_is_named(world: World, sites: Releases) -> None:
    token = world.sandbox.add_token("workers-only-token", ["Workers Scripts Write"])

    outcome = world.rollback_pages(CLOUDFLARE_API_TOKEN=token)

    assert outcome.code == 4
    assert '"Pages Read"' in outcome.result["hint"]
    assert world.served == sites.bad


# A person at the terminal


@pytest.mark.parametrize("meanwhile", ["deployed", "rolled back to another", "the same rollback", "deleted"])
@pytest.mark.slow
def test_change_during_confirmation_stops_the_write(world: World, sites: Releases, meanwhile: str) -> None:
    world.sandbox.switches.pages_propagation_seconds = 0
    oldest = world.site(timedelta(days=3), "oldest")
    with Command(world, "rollback-pages", "frontend").on_terminal() as terminal:
        terminal.until('Type "frontend" to go on')
        match meanwhile:
            case "deployed":
                world.site(timedelta(), "hotfix")
            case "rolled back to another":
                world.sandbox.pages.rollback(SITE, oldest)
            case "the same rollback":
                world.sandbox.pages.rollback(SITE, sites.good)
            case "deleted":
                project = world.sandbox.pages.projects[SITE]
                project.deployments = [d for d in project.deployments if d.id != sites.good]
        terminal.type("frontend\n")
        code = terminal.end()

    assert code == (0 if meanwhile == "the same rollback" else 4 if meanwhile == "deleted" else 3), terminal.shown
    assert (meanwhile == "deleted") == bool(world.writes())
    if meanwhile == "the same rollback":
        assert "NOTHING TO DO" in terminal.shown
