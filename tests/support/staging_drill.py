"""A shop with two accounts whose Workers have one name, and a staging drill."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from sandbox import Sandbox
from tests.conftest import Outcome, World

WORKER = "shop-web"
LIVE_ACCOUNT = "1f" * 16
LABEL = "recover:practise"
NAMESPACE = "2c0ffee0" * 4
KNOWS_DRILLS = {
    "runtime": {"drill": True},
    "paths": {"/health": {"body": {"status": "ok", "version": "{{version}}"}}},
}
"""Behaviour of a version that follows the runtime contract."""
PLAIN = {"paths": {"/health": {"body": {"status": "ok", "version": "{{version}}"}}}}


@dataclass(frozen=True)
class DrillWorld:
    """The sandbox of `world` is the account of staging; `live` is that of production."""

    world: World
    live: Sandbox
    good: str
    """Version that is live on staging."""
    service: str = "web"
    worker: str = WORKER
    token: str = "STAGING_TOKEN"
    """Name of the variable with the token of staging."""

    @property
    def sandbox(self) -> Sandbox:
        return self.world.sandbox

    @property
    def issues(self) -> list[Any]:
        return [each for each in self.sandbox.github.issues if each.find_label("drill")]

    @property
    def drill(self) -> Any:
        """The newest drill."""
        return [each for each in self.issues if each.find_label("incident")][-1]

    def environ(self) -> dict[str, str | None]:
        return {**self.sandbox.github.environ(), "CLOUDFLARE_API_TOKEN": None, self.token: self.sandbox.token}

    def ops(self, *arguments: str, **environ: Any) -> Outcome:
        return self.world.ops(*arguments, "--config", str(self.world.config), **{**self.environ(), **environ})

    def run(self, *arguments: str, **environ: Any) -> Outcome:
        return self.ops("staging-drill", "run", "--yes", "--json", *arguments, **environ)

    def resume(self, *arguments: str, **environ: Any) -> Outcome:
        return self.ops("staging-drill", "resume", "--json", *arguments, **environ)

    def recover(self) -> Outcome:
        """Recover as a person does who got the request."""
        where = ("--service", self.service, "--environment", "staging", "--incident", str(self.drill.number))
        return self.ops("rollback-worker", *where, "--yes", "--json")

    def answer(self, act: Callable[[], object]) -> None:
        """Let a person act once, in the first pause of the newest drill in which it waits for an answer."""
        clock, known = self.sandbox.clock, {each.number for each in self.issues}

        def react(*_: object) -> None:
            new = [each for each in self.issues if each.number not in known]
            if any("please recover" in each.body for issue in new for each in issue.comments):
                clock.on_sleep = lambda: None
                act()
                clock.advance(5)

        clock.on_sleep = react

    def get(self, path: str) -> httpx.Response:
        """Send a request to staging."""
        return httpx.get(f"{self.sandbox.edge_url}{path}", headers={"host": "shop-staging.example"}, verify=False)

    @property
    def served(self) -> dict[str, float]:
        return self.sandbox.live(self.worker)


def write_config(world: World, **drill: Any) -> None:
    """Write ops.yml. `drill` are keys of its section."""
    probes = [{"name": "up", "http": {"path": "/health", "version": "version"}}]
    verify = {"successes": 1, "interval": "500ms", "deadline": "5s"}
    web = {"worker": WORKER, "probes": probes, "verify": verify}
    environments = {
        "shop-live": ("https://shop.example", LIVE_ACCOUNT, "LIVE_TOKEN"),
        "staging": ("https://shop-staging.example", world.sandbox.account_id, "STAGING_TOKEN"),
    }
    config = {
        "environments": {
            name: {"account_id": account, "token": token, "services": {"web": {**web, "url": url}}}
            for name, (url, account, token) in environments.items()
        },
        "labels": {LABEL: {"runbook": "rollback-worker", "environment": "staging", "params": {"service": "web"}}},
        "recovery_targets": {"rollback-worker": {"write": "24h", "recovery": "24h"}},
        "watch": "off",
        "staging_drill": {"environment": "staging", "service": "web", **drill},
    }
    world.config.write_text(json.dumps(config, indent=1))


def open_drill_world(
    world: World, live: Sandbox, *, knows_drills: bool = True, code: str = "good", **drill: Any
) -> DrillWorld:
    """Deploy both Workers, each a day ago. `code`: of staging, for workerd. `drill` are keys of the section."""
    write_config(world, **drill)
    sandbox, at = world.sandbox, world.sandbox.clock.now() - timedelta(days=1)
    sandbox.add_account(live)
    sandbox.account.visible[:] = [sandbox.account]  # the token is one of staging alone
    sandbox.switches.kv_staleness_seconds = sandbox.switches.propagation_seconds = live.switches.propagation_seconds = 0
    sandbox.kv.add(NAMESPACE)
    bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": NAMESPACE}] if knows_drills else []
    behaviour = KNOWS_DRILLS if knows_drills else PLAIN
    good = sandbox.upload(WORKER, code=code, behaviour=behaviour, bindings=bound, tag="4f2a9c1" * 5 + "4f2a9", at=at)
    sandbox.deploy(WORKER, good, at=at)
    sandbox.route("shop-staging.example", WORKER)
    live.deploy(WORKER, live.upload(WORKER, code="live", behaviour=PLAIN, at=at), at=at)
    live.zones.add_route(live.zones.all[live.zones.add("shop.example")], "shop.example/*", WORKER)
    return DrillWorld(world, live, good)
