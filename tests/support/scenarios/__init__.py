"""Worlds in which a runbook has something to do, for tests that run every runbook.

`tests/support/scenarios/RUNBOOK.py` has the name of the runbook's file. A runbook without one runs with its own example
in `reference_world`.
"""

import importlib
import importlib.util
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any

import click

from ops import cli
from ops.app.registry import (
    added_runbook_names,
    button_runbooks,
    discover_runbooks,
    find_runbook_file,
    load_runbook,
    scheduled_files,
)
from ops.engine.runbook import Runbook
from sandbox.records import RequestRecord
from tests.conftest import SITE, WORKER, World
from tests.support import limits, offline, switches

LEAKED, FRESH = "gsk-leaked-0123456789", "gsk-fresh-0123456789"
SECRETS: Mapping[str, str] = {
    "NEW_GROQ_API_KEY": FRESH,
    "OLD_GROQ_API_KEY": LEAKED,
    "GH_SECRETS_TOKEN": "ghs_rotator",
    "FORTUNET_ADMIN_TOKEN": "admin-0123456789",
}
"""Variables of a run with secrets given by people."""


@dataclass(frozen=True)
class Given:
    """Input of a run that the world must also know."""

    secrets: Mapping[str, str] = field(default_factory=lambda: SECRETS)
    incident: int = 42


def reference_world(world: World, given: Given) -> None:
    """Prepare the services of ops.yml, both healthy: a Worker with a route and the runtime contract, and a site."""
    switches.prepared(world)
    world.sandbox.kv.put(switches.NAMESPACE, "ops/limits", json.dumps(limits.DECLARED))
    zone = world.sandbox.zones.all[world.sandbox.zones.add("fortunet.example")]
    world.sandbox.zones.add_route(zone, "api.fortunet.example/*", WORKER)
    world.sandbox.set_subdomain(WORKER, enabled=True, previews_enabled=True)
    world.site(timedelta(hours=2), "good", commit="a" * 40)
    world.site(timedelta(hours=1), "better", commit="b" * 40)


def deploy_hotfix(world: World) -> None:
    """Deploy new code, as a person."""
    by = "dana@example.com"
    world.sandbox.deploy(WORKER, world.sandbox.upload(WORKER, code="hotfix", author=by), author=by)


def edit_secret(world: World) -> None:
    """Change a secret, as a person."""
    world.sandbox.put_secret(WORKER, "OTHER", "new", author="dana@example.com")


@dataclass(frozen=True)
class Scenario:
    """How to prepare and check one use of a runbook.

    `strangers` are changes by people at any time; `reached` returns whether the world has the run's goal.
    """

    prepare: Callable[[World, Given], None] = reference_world
    reached: Callable[[World], bool] = lambda _: True
    strangers: tuple[Callable[[World], object], ...] = (deploy_hotfix, edit_secret)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that differ from the runbook's example."""
    write: tuple[str, str] | None = None
    """Its deciding write, if that is not the runbook's first."""
    sends: str = ""
    """Text in the body of that write, where reads have the same method and path."""
    by_a_person: bool = False
    """Whether a person without an incident made its state, so that a run of an incident is refused."""
    reads_github: bool = False
    """Whether GitHub says what to run, so that nothing runs without it."""
    is_slow: bool = False
    """Whether it builds something, which takes seconds."""
    is_like_another: bool = False
    """Whether other scenarios take the same path, so that a few interruptions are enough."""
    proves_by_probes: bool = True
    """Whether the probes of the service decide. Probes of a service in maintenance prove nothing."""
    refuses_together: Mapping[str, str] = field(default_factory=dict)
    """Secret that the run refuses together with another → variable that holds the other."""
    counts: Callable[[RequestRecord], bool] = lambda _: True
    """Whether a write is a change of the plan, not a part of one."""
    environ: Callable[[World], Mapping[str, str]] = lambda _: {}
    """Variables of its job."""


@dataclass(frozen=True)
class Case:
    """A runbook in one of its scenarios."""

    runbook: Runbook[Any]
    variant: str
    scenario: Scenario

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.runbook.name, self.variant]))

    @property
    def params(self) -> Any:
        """Parameters of the run."""
        return replace(self.runbook.example, **self.scenario.options)

    @property
    def arguments(self) -> list[str]:
        """Parameters as options of the command."""
        return arguments(self.params, options_of(self.runbook.name))

    @property
    def command(self) -> list[str]:
        """Words of its command."""
        return self.runbook.name.split()

    @property
    def writes(self) -> tuple[tuple[str, str], ...]:
        """Method and path of its writes; the first one decides."""
        return (self.scenario.write, *self.runbook.writes) if self.scenario.write else self.runbook.writes

    @property
    def write_rule(self) -> dict[str, str]:
        """Return the rule of a fault for its deciding write."""
        method, path = self.writes[0]
        return {"method": method, "path": path, "sends": self.scenario.sends}


def options_of(name: str) -> frozenset[str]:
    """Return the options of a runbook's command. A command that finds due work takes no parameters."""
    command: click.Command = cli.cli
    words = name.split()
    while words:
        assert isinstance(command, click.Group)
        _, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None
        command = found
    return frozenset(option for each in command.params for option in each.opts)


def arguments(params: Any, known: frozenset[str] | None = None) -> list[str]:
    """Return the options of a command for these parameters. `known`: its options (default: all)."""
    found = []
    for each in fields(params):
        value, option = getattr(params, each.name), f"--{each.name.replace('_', '-')}"
        if known is not None and option not in known:
            continue
        if value is True:
            found.append(option)
        elif isinstance(value, tuple):
            found += [text for name in value for text in (option, name)]
        elif value and value != each.default:
            found += [option, value]
    return found


def program_of(case: Case) -> tuple[str, ...]:
    """Return how Python starts `ops` with a runbook that lies outside; nothing for another one."""
    if case.runbook.name not in added_runbook_names():
        return ()
    return "-m", "tests.support.outside_runbook", str(inspect.getfile(type(case.runbook)))


def part_of(path: str) -> str:
    """Return the API of a write path: cloudflare or github."""
    return "github" if path.startswith("/repos/") else "cloudflare"


def writes_to(runbook: Runbook[Any], part: str) -> bool:
    """Return whether a runbook writes to that API."""
    return any(part_of(path) == part for _, path in runbook.writes)


def runbooks() -> list[str]:
    """Return the names of runbooks that generic tests run: all, with scheduled ones, or those of `--runbook`."""
    return list(added_runbook_names() or [*discover_runbooks(), *scheduled_files()])


def shipped() -> list[str]:
    """Return the names of the runbooks of this repository that have a button."""
    return list(button_runbooks())


def cases(name: str) -> list[Case]:
    """Return a runbook in each of its scenarios; the first has the parameters of its example."""
    made, module = load_runbook(name), f"{__name__}.{find_runbook_file(name).module}"
    known = importlib.import_module(module).SCENARIOS if importlib.util.find_spec(module) else {"": Scenario()}
    return [Case(made, variant, scenario) for variant, scenario in known.items()]


def all_cases() -> Iterator[Case]:
    """Yield every runbook in each of its scenarios."""
    for name in runbooks():
        yield from cases(name)


# Shared by several scenarios:


def switched(world: World, given: Given) -> None:
    """Prepare an API whose AI switch was set by an incident."""
    place = switches.prepared(world)
    place.put("ai", state="groq", incident=given.incident)
    world.sandbox.clock.advance(60)  # KV accepts one write per key and second


def state_of(world: World, name: str) -> str:
    """Return the state of a switch in KV, or nothing."""
    text = world.sandbox.kv.get(switches.NAMESPACE, f"ops/switch/{name}")
    return str(json.loads(text)["state"]) if text else ""


def set_switch(name: str, world: World) -> None:
    """Set a switch as another run does."""
    switches.SwitchWorld(world).put(name, state="groq" if name == "ai" else "on", owner="dana")


def leaked(world: World, given: Given) -> None:
    """Prepare a key in a Worker and its copy on GitHub. The provider accepts the new key, and no longer the old one."""
    hub = world.sandbox.github
    world.sandbox.providers["groq"].add_key(given.secrets["NEW_GROQ_API_KEY"])
    works = {"paths": {"/health/ai/groq": {"upstream": {"provider": "groq", "secret": "GROQ_API_KEY"}}}}
    secrets = {"GROQ_API_KEY": given.secrets["OLD_GROQ_API_KEY"], "OTHER": "kept"}
    world.release(timedelta(hours=3), code="good", behaviour=works, secrets=secrets)
    world.edit_config("fortunet/fortunet", hub.repository)
    hub.add_environment("production")
    hub.add_user("rotator[bot]", "admin", "Bot")
    hub.add_token(given.secrets["GH_SECRETS_TOKEN"], "rotator[bot]", ["environments:write"])


def routed(world: World, given: Given) -> None:
    """Prepare an API behind two routes, and the Worker that answers during maintenance."""
    world.release(timedelta(hours=2), code="good")
    sandbox = world.sandbox
    zone = sandbox.zones.all[sandbox.zones.add("fortunet.example")]
    sandbox.zones.add_route(zone, "api.fortunet.example/*", WORKER)
    sandbox.zones.add_route(zone, "api.fortunet.example/old/*", WORKER)
    sandbox.deploy(offline.MAINTENANCE_WORKER, sandbox.upload(offline.MAINTENANCE_WORKER, vars={"RUN": "prepared"}))


def refuse_bad_page(world: World) -> None:
    """Make the probe of the site's page expect the good content."""
    world.edit_config("content-type: text/html\n", "content-type: text/html\n              body: good\n")


def served_site(world: World) -> Any:
    """Return the live deployment of the site."""
    return world.sandbox.pages.projects[SITE].live
