"""The world in which a how-to page runs: the example application in two accounts, an incident #42, and a clone."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from ops.app.configuration import read_config
from ops.config import Environment
from ops.drills import release_answers, scenario_maintenance, scenario_release, scenario_switch
from ops.drills.observation import back_in_time, break_example
from sandbox import Sandbox
from sandbox.permissions import permission_groups
from tests.conftest import REFERENCE, ROOT, World

INCIDENT = 42
TOKEN, STAGING_TOKEN, ADMIN_TOKEN = "page-token", "page-staging-token", "page-admin"
LEAD = "zoe"
SECTIONS: Mapping[str, str] = {
    "action-items": "action_items: {required_from: sev2}\n",
    "status-page": """\
status_page:
  url: https://status.fortunet.example
  title: FortuneT status
  components: [{name: API, services: [api]}]
""",
    "staging-drill": "staging_drill: {environment: staging, service: api}\n",
}
"""Page → section of ops.yml that it describes."""


def open_clone(world: World, section: str) -> None:
    """Put the files of a fresh clone that commands read into the folder, as a repository with one commit."""
    (world.folder / "ops.yml").write_text((REFERENCE / "ops.yml").read_text() + section)
    shutil.copy(REFERENCE / "limits.yml", world.folder / "limits.yml")
    shutil.copytree(ROOT / ".github" / "actions", world.folder / ".github" / "actions")
    git = ["git", "-c", "user.name=mia", "-c", "user.email=mia@example.com"]
    for words in (["init", "-q", "-b", "main"], ["add", "ops.yml", "limits.yml"], ["commit", "-q", "-m", "Begin"]):
        subprocess.run([*git, *words], cwd=world.folder, check=True)


@contextmanager
def page_world(world: World, page: str, *, broken: str = "") -> Iterator[dict[str, str]]:
    """Yield the variables of an admin whose tokens may do everything.

    `broken`: the service whose last release is bad; "" if all work.
    """
    sandbox, github = world.sandbox, world.sandbox.github
    environ = break_example(sandbox)
    config, _ = read_config(REFERENCE / "ops.yml")
    environment = config.environment("production")
    scenario_maintenance.add_route(sandbox, environment.service("api"))
    if broken == "frontend":
        scenario_release.SITE.release(sandbox, environment.service("frontend"), "bad", "embedded", Path())
    if broken != "api":
        release_with_switches(sandbox, environment)
    open_clone(world, SECTIONS.get(page, ""))
    with staging(sandbox, config.environment("staging")):
        sandbox.add_token(TOKEN, permission_groups())
        github.add_user("mia", "admin")
        github.add_user(LEAD)
        github.add_token(ADMIN_TOKEN, "mia")
        while github.open_issue("An older issue", author="mia") < INCIDENT - 1:
            pass
        github.open_issue("The API answers 500", "", ["incident"], "mia")
        tokens = {
            "CLOUDFLARE_API_TOKEN": TOKEN,
            "STAGING_CLOUDFLARE_API_TOKEN": STAGING_TOKEN,
            "GITHUB_TOKEN": ADMIN_TOKEN,
        }
        yield {**sandbox.environ(), **environ, **tokens, "OPS_PROGRAM": "./run ops"}


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
        scenario_switch.write_normal_states(other, environment.require_runtime())
        for service in environment.services.values():
            scenario = scenario_release.WORKER if service.worker else scenario_release.SITE
            with back_in_time(other, timedelta(hours=2)):
                scenario.release(other, service, "good", "embedded", Path())
        sandbox.add_account(other)
        yield
