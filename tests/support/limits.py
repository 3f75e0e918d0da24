"""Helpers for tests of limits: an application that reads them, limits.yml on GitHub, people."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sandbox.github import GitHub
from tests.conftest import REFERENCE, Outcome, World
from tests.support.users import send_requests

NAMESPACE = "c0ffee00c0ffee00c0ffee00c0ffee00"
SHIPPED = (REFERENCE / "limits.yml").read_text()
DECLARED = {
    "limits": {
        "calc": {"limit": 30, "period": 60, "key": "ip", "probe": True},
        "ai": {"limit": 10, "period": 60, "key": "user"},
    }
}
TOKEN = "kv-writing"


@dataclass
class LimitsWorld:
    """A folder with ops.yml and limits.yml, equal to main. No run has applied the limits."""

    world: World
    sha: str
    """Checked-out commit of main."""

    @property
    def github(self) -> GitHub:
        return self.world.sandbox.github

    @property
    def environ(self) -> dict[str, Any]:
        """Variables of a job of the workflow."""
        return {
            **self.github.environ(),
            "GITHUB_ACTIONS": "true",
            "GITHUB_SHA": self.sha,
            "CLOUDFLARE_API_TOKEN": TOKEN,
        }

    def ops(self, *arguments: str, **environ: Any) -> Outcome:
        return self.world.ops("limits", *arguments, "--config", str(self.world.config), **{**self.environ, **environ})

    def apply(self, *arguments: str, **environ: Any) -> Outcome:
        return self.ops("apply", "--environment", "production", "--yes", "--json", *arguments, **environ)

    def reconcile(self, *arguments: str, **environ: Any) -> Outcome:
        return self.ops("reconcile", "--environment", "production", "--yes", "--json", *arguments, **environ)

    def write(self, text: str) -> None:
        (self.world.folder / "limits.yml").write_text(text)

    def commit(self, text: str, *, checked_out: bool = True) -> str:
        """Commit to main, and check it out unless `checked_out` is false."""
        sha = self.github.add_commit("Limits", "alice", files={"limits.yml": text})
        if checked_out:
            self.sha = sha
            self.write(text)
        return sha

    def pull(self, text: str, author: str = "alice") -> int:
        branch = f"limits-{len(self.github._repository.threads)}"
        self.github.add_commit("Raise a limit", author, files={"limits.yml": text}, branch=branch)
        return self.github.open_pull("Raise a limit", branch, author)

    def merge(self, number: int, method: str = "merge") -> None:
        """Merge as a person, and check out the result."""
        self.sha = self.github.merge(number, "alice", method)
        self.write(self.github.files()["limits.yml"].decode())

    @property
    def stored(self) -> Any:
        text = self.world.sandbox.kv.get(NAMESPACE, "ops/limits")
        return None if text is None else json.loads(text)

    def put(self, value: Any) -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        self.world.sandbox.kv.put(NAMESPACE, "ops/limits", text)

    def comments(self, number: int) -> list[str]:
        return [comment.body for comment in self.github.issue(number).comments]

    def calculate(self, times: int) -> list[int]:
        """Return the HTTP statuses of that many requests of one user."""
        return send_requests(self.world.sandbox.edge_url, "api.fortunet.example", "/api/charts/calculate", times)


def limits_world(world: World) -> LimitsWorld:
    sandbox = world.sandbox
    sandbox.switches.kv_staleness_seconds = 0
    sandbox.kv.add(NAMESPACE)
    sandbox.add_token(TOKEN, ["Workers KV Storage Write"])
    bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": NAMESPACE}]
    world.release(timedelta(hours=2), code="api", bindings=bound, behaviour={"runtime": DECLARED})
    sandbox.github.add_user("alice")
    found = LimitsWorld(world, "")
    found.commit(SHIPPED)
    return found


def changed(limit: int = 60, text: str = SHIPPED) -> str:
    return text.replace("limit: 30", f"limit: {limit}")


def temporary(limit: int, until: str, text: str = SHIPPED) -> str:
    more = f', temporary: {{limit: {limit}, until: "{until}", reason: many users}}'
    return text.replace("probe: true}", f"probe: true{more}}}")
