"""Lifts of holds as teams make them: by label and button through the gate, and on a laptop."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sandbox.github import GitHub
from sandbox.github.users.state import ACTIONS_BOT
from tests.conftest import Outcome, World
from tests.gate.support import parse_outputs, workflow_file
from tests.support.hold_histories import HeldShop, decision, open_history

LABEL, LIFTED = "hold:lift", "hold:lifted"
LABELS = f"""\
labels:
  {LABEL}:
    runbook: lift-commit-hold
    environment: live
"""
HELD: dict[str, Any] = {"commits": ["A", "B", "C"], "deployments": ["A", "B", {"rollback": "A", "blames": "B"}]}
APPLICATION = "shop/web"
"""The repository of the application, which is not that of its incidents."""


@dataclass
class Operations:
    """The operations repository of a shop whose application is in another one. alice responds, zoe only triages."""

    shop: HeldShop
    incident: int

    @property
    def world(self) -> World:
        return self.shop.world

    @property
    def hub(self) -> GitHub:
        return self.world.sandbox.github

    @property
    def labels(self) -> set[str]:
        return {label.name for label in self.hub.issue(self.incident).labels}

    def answer(self, name: str = "C", **environ: Any) -> dict[str, Any]:
        """Return the answer of the check in the application's job, which names the operations repository."""
        self.hub.catch_up()  # jobs start seconds apart
        hub = {**self.hub.environ(), "OPERATIONS_TOKEN": self.hub.token, "GITHUB_REPOSITORY": APPLICATION}
        found = decision(self.shop.alone(name, "--operations", self.hub.repository, **{**hub, **environ}))
        assert found == decision(self.shop.ops(name, "--operations", self.hub.repository, **{**hub, **environ}))
        return found

    def lift(self, *more: str, **environ: Any) -> Outcome:
        """Run the command with the token of a workflow, or with another one."""
        where = ["--incident", str(self.incident), "--environment", "live", "--config", str(self.world.config)]
        variables = {**self.hub.environ(), "SHOP_TOKEN": self.world.sandbox.token, "CLOUDFLARE_API_TOKEN": None}
        self.world.sandbox.clock.advance(60)
        return self.world.ops("hold", "lift", *where, "--yes", "--json", *more, **{**variables, **environ})

    def by_label(self, by: str = "alice") -> Outcome:
        """Add the label, and run gate and acting job."""
        return self._drive("issues", self.hub.label(self.incident, LABEL, by))

    def by_button(self, by: str = "alice") -> Outcome:
        """Press the button, and run gate and acting job."""
        inputs = {"environment": "live", "incident": str(self.incident)}
        declared = "".join(f"\n      {name}: {{type: string}}" for name in inputs)
        text = f"on:\n  workflow_dispatch:\n    inputs:{declared}\njobs: {{}}\n"
        self.hub.add_commit("Button", "alice", files={".github/workflows/lift-commit-hold.yml": text})
        return self._drive("workflow_dispatch", self.hub.dispatch("lift-commit-hold.yml", inputs, by=by).payload)

    def _drive(self, event: str, payload: Mapping[str, Any]) -> Outcome:
        """Return the outcome of the acting job; that of the gate if it refuses."""
        output = self.world.folder / "output"
        job = self._job(event, payload, output)
        gate = self.world.ops("gate", "--config", str(self.world.config), **{**job, "SHOP_TOKEN": None})
        given = parse_outputs(output.read_text())
        if given["go"] != "true":
            return gate
        options = {name: given[name] for name in ("runbook", "params", "environment", "attempt", "permission")}
        options |= {"approved-runbook": given["runbook"], "approved-environment": given["environment"]}
        options |= {"approved-for": given["power"], "incident": given["incident"], "requested-by": given["actor"]}
        options |= {"requested-at": given["requested_at"]} | ({"comment": given["comment"]} if given["comment"] else {})
        listed = [f"--{name}={value}" for name, value in options.items()]
        self.world.sandbox.clock.advance(60)
        return self.world.ops("recover", *listed, "--config", str(self.world.config), "--yes", "--json", **job)

    def _job(self, event: str, payload: Mapping[str, Any], output: Path) -> dict[str, str | None]:
        output.unlink(missing_ok=True)
        (self.world.folder / "event.json").write_text(json.dumps(payload))
        return {
            **self.hub.environ(),
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(self.world.folder / "event.json"),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_RUN_ID": "9001",
            "GITHUB_TRIGGERING_ACTOR": payload["sender"]["login"],
            "GITHUB_WORKFLOW_REF": f"{self.hub.repository}/{workflow_file(payload)}@refs/heads/main",
            "SHOP_TOKEN": self.world.sandbox.token,
            "CLOUDFLARE_API_TOKEN": None,
        }


def open_operations(world: World, history: Mapping[str, Any] = HELD) -> Operations:
    """Open the incident whose rollback holds a commit of the shop."""
    hub = world.sandbox.github
    hub.add_user("alice")
    hub.add_user("zoe", "triage")
    opened = world.sandbox.clock.now() - timedelta(hours=1)
    incident = hub.open_issue("The cart fails", labels=["incident"], author="alice", at=opened)
    steps = [{**step, "incident": incident} if "rollback" in step else step for step in history["deployments"]]
    shop = open_history(world, {**history, "deployments": steps})
    text = world.config.read_text().replace(
        "        worker: shop-web\n", "        worker: shop-web\n        hold_check: true\n"
    )
    world.config.write_text(text + LABELS)
    hub.add_commit("Configure", "alice", files={"ops.yml": world.config.read_text()})
    hub.add_label(LABEL)
    return Operations(shop, incident)


def add_lifted(operations: Operations, by: str = ACTIONS_BOT) -> None:
    """Add the label that lifts, as somebody."""
    operations.world.sandbox.clock.advance(60)
    operations.hub.label(operations.incident, LIFTED, by)


def bury_hold(operations: Operations, deployments: int = 40) -> None:
    """Deploy above the hold, by default as often as is read in small pages: Cloudflare refuses larger ones."""
    operations.world.sandbox.fault(
        method="GET", path="**/deployments", when=lambda sent: "per_page" in sent.query, status=400, times=None
    )
    operations.shop.deploy([{"many": deployments, "of": "A"}])
