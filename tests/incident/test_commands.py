"""Commands in the menu of an incident: they match the configuration and run as printed."""

import re
import shlex
from collections import Counter

import pytest

from ops.app.registry import discover_runbooks
from tests.conftest import Incident, World
from tests.support.commands import unwrapped

ACCOUNT = "1234567890abcdef1234567890abcdef"
WORKER_ONLY = f"""\
environments:
  live:
    account_id: {ACCOUNT}
    services:
      checkout:
        worker: shop-checkout
        url: https://checkout.shop.example
"""
PAGES_ONLY = WORKER_ONLY.replace("checkout:\n        worker: shop-checkout", "blog:\n        pages: shop-blog").replace(
    "checkout.", "blog."
)
SWITCHES = (
    WORKER_ONLY
    + f"""\
    runtime:
      service: checkout
      namespace: {ACCOUNT}
      switches:
        guest-checkout: {{}}
        search:
          states: [full, titles, none]
"""
)
COMMAND = re.compile(r"^```\n(.+)\n```$", re.MULTILINE)


def opened(incident: Incident, service: str) -> str:
    options = ["--severity", "sev2", "--title", "It fails", "--config", str(incident.world.config)]
    done = incident.ops("incident", "open", "--service", service, *options)
    assert done.code == 0, done.err
    (menu,) = incident.github.issue(int(done.out.split()[0].removeprefix("#"))).comments
    return menu.body


def assert_run(incident: Incident, menu: str) -> list[str]:
    """Run every command in the menu as a dry run, and return the commands."""
    commands = COMMAND.findall(unwrapped(menu))
    for command in commands:
        _, *arguments = shlex.split(command)
        dry = ["--dry-run"] if arguments[0] in discover_runbooks() else []
        done = incident.ops(*arguments, *dry)
        assert done.code not in {1, 2}, f"{command}: {done.out}{done.err}"
    return commands


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "service", "runbooks", "unfit"),
    [
        (WORKER_ONLY, "checkout", ["maintenance", "maintenance", "rollback-worker"], {"all-clear", "feature"}),
        (PAGES_ONLY, "blog", ["rollback-pages"], {"redeploy-pages", "maintenance", "rollback-worker", "all-clear"}),
        (
            SWITCHES,
            "checkout",
            ["all-clear", "feature", "feature", "maintenance", "maintenance", "rollback-worker"],
            {"ai-failover"},
        ),
    ],
    ids=["a Worker", "a site", "switches"],
)
def test_incident_commands_match_the_configuration(
    incident: Incident, config: str, service: str, runbooks: list[str], unfit: set[str]
) -> None:
    """The names are literal, because the choice by configuration is the subject of this test."""
    incident.world.config.write_text(config)

    commands = assert_run(incident, opened(incident, service))

    named = Counter(shlex.split(command)[1] for command in commands)
    never = {"propose-limits", "reset-durable-object", "rotate-secrets"}
    assert {name: named[name] for name in runbooks} == Counter(runbooks)
    assert named.keys() & (unfit | never) == set()


@pytest.mark.slow
@pytest.mark.parametrize("service", ["api", "frontend"])
def test_incident_commands_match_the_shipped_configuration(world: World, service: str) -> None:
    hub = world.sandbox.github
    hub.add_user("alice")
    assert len(assert_run(Incident(world, 1), opened(Incident(world, 1), service))) > 1


def test_runbook_texts_contain_no_application_example() -> None:
    for name, runbook in discover_runbooks().items():
        assert "such as" not in runbook.when, name
