"""Helpers for tests of switches: an API with the runtime contract, and its KV namespace."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from tests.conftest import Outcome, World

NAMESPACE = "c0ffee00c0ffee00c0ffee00c0ffee00"
"""KV namespace of production in ops.yml."""
HOST = "api.fortunet.example"
PERMISSIONS = ["Workers KV Storage Write", "Workers Scripts Read", "Pages Read", "Zone Read", "Workers Routes Read"]
DECLARED: dict[str, Any] = {
    "limits": {},
    "switches": {
        "maintenance": {"normal": "off", "on_unknown": "off"},
        "session-do": {"normal": "on", "on_unknown": "on"},
        "ai": {"normal": "auto", "on_unknown": "auto"},
    },
    "ai": {"order": ["iflow", "groq", "cerebras"]},
}
PUT = {"method": "PUT", "path": "/accounts/*/storage/kv/namespaces/*/values/*"}
READ = {"method": "POST", "path": "/accounts/*/storage/kv/namespaces/*/bulk/get"}


@dataclass
class SwitchWorld:
    """World of a switch: `value` returns the one in KV, `shown` the one of the public endpoint."""

    world: World

    def ops(self, *arguments: str, **environ: str) -> Outcome:
        """Run a runbook in production with --yes and --json."""
        where = ["--environment", "production", "--config", str(self.world.config), "--yes", "--json"]
        return self.world.ops(*arguments, *where, **{"CLOUDFLARE_API_TOKEN": "switching", **environ})

    def feature(self, state: str, *arguments: str, name: str = "session-do", **environ: str) -> Outcome:
        return self.ops("feature", "--name", name, "--state", state, *arguments, **environ)

    def value(self, name: str = "session-do") -> dict[str, Any] | None:
        text = self.world.sandbox.kv.get(NAMESPACE, f"ops/switch/{name}")
        found: dict[str, Any] | None = None if text is None else json.loads(text)
        return found

    def put(self, name: str = "session-do", **fields: Any) -> dict[str, Any]:
        """Write a value as another run does."""
        value = {
            "version": 1,
            "revision": "5d41402abc4b",
            "state": "off",
            "until": None,
            "review_at": None,
            "message": "",
            "paths": [],
            "owner": "bob",
            "incident": 7,
            "since": f"{self.world.sandbox.clock.now() - timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}",
        } | fields
        self.world.sandbox.kv.put(NAMESPACE, f"ops/switch/{name}", json.dumps(value))
        return value

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.world.sandbox.edge_url}{path}", headers={"host": HOST}, verify=False)

    @property
    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/__ops/runtime").json()
        return found

    @property
    def puts(self) -> list[str]:
        """Keys written through the API, in order."""
        return [r.path.rpartition("%2F")[2] for r in self.world.sandbox.requests if r.method == "PUT"]


def deploy(world: World, declared: dict[str, Any] = DECLARED, **behaviour: Any) -> None:
    bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": NAMESPACE}]
    world.release(timedelta(hours=2), code="api", bindings=bound, behaviour={"runtime": declared, **behaviour})


def prepared(world: World) -> SwitchWorld:
    """Prepare the API. Its locations see KV writes at once."""
    sandbox = world.sandbox
    sandbox.switches.kv_staleness_seconds = 0
    sandbox.switches.propagation_seconds = 0
    sandbox.kv.add(NAMESPACE)
    sandbox.add_token("switching", PERMISSIONS)
    deploy(world)
    return SwitchWorld(world)


def off_at_the_edge(world: World, *, incident: int = 42, until: str = "") -> None:
    """Close a path of the API as ops-maintenance stores it."""
    block = {
        "service": "api",
        "worker": "fortunet-api",
        "path": "/api/ai",
        "message": "m",
        "until": until,
        "since": "2026-11-24T05:00:00Z",
        "run": "r",
        "incident": incident,
        "closed": [],
        "subdomain": None,
    }
    bindings = [{"type": "json", "name": "BLOCK_00", "json": block}]
    stored = {"RUN": "r", "BASE": ""}
    world.sandbox.deploy("ops-maintenance", world.sandbox.upload("ops-maintenance", vars=stored, bindings=bindings))
