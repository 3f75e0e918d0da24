"""The world in which a how-to page runs: the example application in two accounts, an incident #42, and a clone."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from ops.app.configuration import read_config
from ops.config import Environment
from ops.drills import (
    GOOD_RELEASE_AGE,
    RELEASES,
    choose_scenario,
    deploy_release,
    release_answers,
    scenario_maintenance,
    scenario_release,
    scenario_switch,
)
from ops.drills.observation import back_in_time, break_example
from sandbox import Sandbox
from sandbox.permissions import permission_groups
from tests.conftest import REFERENCE, ROOT, World

INCIDENT = 42
TOKEN, STAGING_TOKEN, ADMIN_TOKEN = "page-token", "page-staging-token", "page-admin"
LEAD = "zoe"
SECTIONS: Mapping[str, str] = {
    "action-items": "action_items: {required_from: sev2}\n",
    **dict.fromkeys(
        ("public-updates", "status-page"),
        """\
status_page:
  url: https://status.fortunet.example
  title: FortuneT status
  components: [{name: API, services: [api]}]
""",
    ),
    "staging-drill": "staging_drill: {environment: staging, service: api}\n",
}
"""Page → section of ops.yml that it describes."""
EXAMPLES = ("", "rollback-worker")
"""Drills whose world is that of `ops sandbox --example`: its last release is bad, or repaired."""


def open_clone(world: World, section: str) -> None:
    """Put the files of a fresh clone that commands read into the folder, as a repository with one commit."""
    (world.folder / "ops.yml").write_text((REFERENCE / "ops.yml").read_text() + section)
    shutil.copy(REFERENCE / "limits.yml", world.folder / "limits.yml")
    shutil.copytree(ROOT / ".github" / "actions", world.folder / ".github" / "actions")
    run_git(world.folder, "init", "-q", "-b", "main")
    push_clone(world, "ops.yml", "limits.yml")


def push_clone(world: World, *paths: str) -> None:
    """Commit the files, and let GitHub's default branch be that of the clone."""
    github = world.sandbox.github
    address = github.urls.html.replace("://", f"://x-access-token:{ADMIN_TOKEN}@")
    run_git(world.folder, "add", *paths)
    run_git(world.folder, "commit", "-q", "-m", "Begin")
    run_git(world.folder, "push", "-q", "--force", f"{address}/{github.repository}.git", "main")


def run_git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=mia", "-c", "user.email=mia@example.com", *arguments], cwd=folder, check=True
    )


def configure_gh(world: World) -> Mapping[str, str]:
    """Let `gh` reach the sandbox by a socket. The system allows about 100 characters for its path."""
    folder = world.folder / "gh"
    folder.mkdir()
    world.sandbox.github.listen(folder / "s")
    (folder / "config.yml").write_text(f'version: "1"\nhttp_unix_socket: {folder / "s"}\n')
    return {"GH_CONFIG_DIR": str(folder), "GH_TOKEN": ADMIN_TOKEN}


@contextmanager
def page_world(world: World, page: str, *, drill: str = "") -> Iterator[dict[str, str]]:
    """Yield the variables of an admin whose tokens may do everything.

    `drill`: the one whose failure is there; "" if all works.
    """
    sandbox, github = world.sandbox, world.sandbox.github
    config, _ = read_config(REFERENCE / "ops.yml")
    environment = config.environment("production")
    more = _break_by_drill(world, environment, drill) if drill not in EXAMPLES else {}
    if drill in EXAMPLES:
        break_example(sandbox)
    if not drill:
        release_with_switches(sandbox, environment)
    if not sandbox.zones.all:
        scenario_maintenance.add_route(sandbox, environment.service("api"))
    with staging(sandbox, config.environment("staging")):
        sandbox.add_token(TOKEN, permission_groups())
        github.add_user("mia", "admin")
        github.add_user(LEAD)
        github.add_token(ADMIN_TOKEN, "mia", ["repo", "workflow"])
        while github.open_issue("An older issue", author="mia") < INCIDENT - 1:
            pass
        github.open_issue("The API answers 500", "", ["incident"], "mia")
        open_clone(world, SECTIONS.get(page, ""))
        github.switches.actions_may_create_pull_requests = True
        tokens = {
            "CLOUDFLARE_API_TOKEN": TOKEN,
            "STAGING_CLOUDFLARE_API_TOKEN": STAGING_TOKEN,
            "GITHUB_TOKEN": ADMIN_TOKEN,
        }
        yield {
            **sandbox.environ(),
            **github.environ(),
            **more,
            **tokens,
            **configure_gh(world),
            "OPS_PROGRAM": "./run ops",
        }


def _break_by_drill(world: World, environment: Environment, name: str) -> Mapping[str, str]:
    """Break a service as the drill does, beside good releases of the others. Return the variables of its command."""
    sandbox, folder = world.sandbox, world.folder / "drill"
    scenario, service = choose_scenario(name, "embedded", environment, "")
    folder.mkdir()
    sandbox.kv.add(environment.require_runtime().namespace)
    with back_in_time(sandbox, GOOD_RELEASE_AGE):
        scenario.prepare(sandbox, environment, service)
        for each in environment.services.values():
            kind = scenario_release.WORKER if each.worker else scenario_release.SITE
            if each != service:
                kind.release(sandbox, each, "good", "embedded", folder)
    for release in RELEASES:
        deploy_release(sandbox, scenario, service, release, edge="embedded", folder=folder, say=lambda _: None)
    return scenario.environ(folder)


def release_with_switches(sandbox: Sandbox, environment: Environment) -> None:
    """Release an API that works and reads its switches, an hour ago."""
    runtime, service = environment.require_runtime(), environment.service("api")
    declared = {name: {"normal": rules.normal, "on_unknown": rules.normal} for name, rules in runtime.switches.items()}
    behaviour = {**release_answers.build_behavior(service.probes), "runtime": {"switches": declared}}
    bindings = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": runtime.namespace}]
    version = sandbox.upload(service.worker, code="repaired", tag="repaired", behaviour=behaviour, bindings=bindings)
    sandbox.deploy(service.worker, version)
    sandbox.clock.advance(3600)


@contextmanager
def staging(sandbox: Sandbox, environment: Environment) -> Iterator[None]:
    """Add the account of staging, with a good release of each service."""
    with Sandbox(account_id=environment.account_id, virtual_clock=True) as other:
        other.add_token(STAGING_TOKEN, permission_groups())
        other.switches.propagation_seconds = 0  # its clock stands still
        scenario_switch.write_normal_states(other, environment.require_runtime())
        for service in environment.services.values():
            scenario = scenario_release.WORKER if service.worker else scenario_release.SITE
            with back_in_time(other, timedelta(hours=2)):
                scenario.release(other, service, "good", "embedded", Path())
            if service.worker:
                zone = other.zones.all[other.zones.add(service.host)]
                other.zones.add_route(zone, f"{service.host}/*", service.worker)
        sandbox.add_account(other)
        yield
