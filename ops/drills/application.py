"""The application of a drill in another repository: its job checks, deploys and guards."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ops.core.errors import ConfigError
from ops.drills import github, release_answers
from ops.drills.command import DrillWorld, Say
from ops.drills.repository import UNPINNED
from ops.drills.support import Trigger

if TYPE_CHECKING:
    from ops.config import Service
    from sandbox.github import GitHubRepository
    from sandbox.github.actions.state import FakeRun

REPOSITORY = "acme/application"
"""It is not that of the incidents, and no token of its jobs reads the other one."""
GOOD, BAD, GO = "good", "bad", "go"
CHECK_TOKEN, DEPLOY_TOKEN, GUARD_TOKEN = "sandbox-hold-check", "sandbox-deploy", "sandbox-guard"
OPERATIONS_TOKEN = "github_pat_sandbox_application"  # noqa: S105
"""They open nothing but the sandbox."""
BROKEN_FOR = timedelta(minutes=10)
"""Time from the bad deployment to the incident."""
_CHECKOUT = f"actions/checkout@{UNPINNED}"
_DEPLOY_PROGRAM = """\
import json
import os
import urllib.request

BOUNDARY = "part-of-the-release"
WORKER = "{CLOUDFLARE_API_BASE_URL}/accounts/{CLOUDFLARE_ACCOUNT_ID}/workers/scripts/{WORKER}".format(**os.environ)


def post(path, body, kind):
    headers = {"Authorization": "Bearer " + os.environ["CLOUDFLARE_API_TOKEN"], "Content-Type": kind}
    with urllib.request.urlopen(urllib.request.Request(WORKER + path, body.encode(), headers)) as answer:
        return json.load(answer)["result"]


def part(name, kind, text):
    head = f'Content-Disposition: form-data; name="{name}"; filename="{name}"\\r\\nContent-Type: {kind}'
    return f"--{BOUNDARY}\\r\\n{head}\\r\\n\\r\\n{text}\\r\\n"


metadata = json.load(open("metadata.json")) | {"annotations": {"workers/tag": os.environ["COMMIT"]}}
form = part("metadata", "application/json", json.dumps(metadata))
form += part("worker.js", "application/javascript+module", open("worker.js").read()) + f"--{BOUNDARY}--\\r\\n"
version = post("/versions", form, f"multipart/form-data; boundary={BOUNDARY}")["id"]
shares = [{"version_id": version, "percentage": 100}]
post("/deployments", json.dumps({"strategy": "percentage", "versions": shares}), "application/json")
print("deployed", version)
"""
"""Deploys the release in the current folder by Cloudflare's API, with its commit as tag."""


@dataclass(frozen=True)
class Application:
    """The application's repository, and its deploy workflow."""

    world: DrillWorld
    service: "Service"
    say: Say

    @property
    def hub(self) -> "GitHubRepository":
        assert self.world.application is not None, "the scenario has an application"
        return self.world.application

    def prepare(self, *, on_bad: str = "") -> None:
        """Add workflow and secrets. `on_bad`: what a guard after the deployment does; "" for no guard."""
        world, hub, sandbox = self.world, self.hub, self.world.sandbox
        hub.add_user(world.responder)
        read, figures = ["Workers Scripts Read"], ["Account Analytics Read", "Analytics Read", "Zone Read"]
        write = ["Workers Scripts Write"]
        scopes = ["contents:read", "issues:write"] if on_bad else ["issues:read"]
        for secret, value in {
            "HOLD_CHECK_TOKEN": sandbox.add_token(CHECK_TOKEN, read),
            "DEPLOY_TOKEN": sandbox.add_token(DEPLOY_TOKEN, write),
            "GUARD_TOKEN": sandbox.add_token(GUARD_TOKEN, [*(write if on_bad == "rollback" else read), *figures]),
            "OPERATIONS_TOKEN": sandbox.github.add_token(OPERATIONS_TOKEN, world.responder, scopes),
            **world.environ,
        }.items():
            hub.put_secret(secret, value)
        workflow = json.dumps(
            self._build_deploy_workflow([*self._deploy_steps(), *(self._guard_steps(on_bad) if on_bad else ())])
        )
        hub.add_commit(
            "Deploy", world.responder, files={".github/workflows/deploy.yml": workflow, "deploy.py": _DEPLOY_PROGRAM}
        )

    def commit(self, message: str, release: str = GOOD) -> str:
        """Commit the good or the bad release to the main branch, and return the SHA."""
        behavior = release_answers.build_behavior(self.service.probes) if release == GOOD else {"status": 500}
        bindings = [
            {"type": "plain_text", "name": "SANDBOX_BEHAVIOUR", "text": json.dumps(behavior)},
            {"type": "version_metadata", "name": "CF_VERSION_METADATA"},
        ]
        metadata = {"main_module": "worker.js", "bindings": bindings, "keep_bindings": ["secret_text"]}
        code = f"// the {release} release\nexport default {{ fetch() {{}} }};\n"
        files = {"metadata.json": json.dumps(metadata), "worker.js": code}
        return self.hub.add_commit(message, self.world.responder, files=files)

    def deploy(self, commit: str, what: str) -> "tuple[str, FakeRun]":
        """Let the job deploy a commit. Return the decision of its hold check, and its run. Raises ConfigError."""
        lines = list[str]()

        def add_line(line: str) -> None:
            lines.append(line)
            self.say(line)

        hub, person = self.hub, self.world.responder
        self.say(f"{person} pressed the button of deploy.yml in {REPOSITORY} for {what}")
        (run,) = github.finish_workflows(
            self.world, lambda: hub.dispatch("deploy.yml", {"commit": commit}, person), add_line, hub
        )
        said = [line.removeprefix("hold check: ") for line in lines if line.startswith("hold check: ")]
        return (said[-1] if said else ""), run

    def _build_deploy_workflow(self, steps: list[dict[str, Any]]) -> dict[str, Any]:
        job = {"name": "deploy", "runs-on": "ubuntu-latest", "permissions": {"contents": "read"}, "steps": steps}
        inputs = {"commit": {"description": "SHA to deploy", "required": True}}
        on = {"workflow_dispatch": {"inputs": inputs}}
        return {"name": "deploy", "on": on, "permissions": {}, "jobs": {"deploy": job}}

    def _deploy_steps(self) -> Iterator[dict[str, Any]]:
        """Yield the steps of docs/how-to/hold.md, and the deployment."""
        world, commit = self.world, "${{ inputs.commit }}"
        yield {"uses": _CHECKOUT, "with": {"ref": commit, "persist-credentials": False}}
        yield self._build_action_step(
            "hold-check",
            {
                "worker": self.service.worker,
                "account-id": world.environment.account_id,
                "commit": commit,
                "operations": world.sandbox.github.repository,
                "operations-token": "${{ secrets.OPERATIONS_TOKEN }}",
            },
            {"CLOUDFLARE_API_TOKEN": "${{ secrets.HOLD_CHECK_TOKEN }}"},
        )
        decision = {"DECISION": "${{ steps.hold-check.outputs.decision }}"}
        yield {"if": "always()", "run": 'echo "hold check: $DECISION"', "env": decision}
        variables = {"CLOUDFLARE_API_TOKEN": "${{ secrets.DEPLOY_TOKEN }}", "COMMIT": commit}
        variables["WORKER"] = self.service.worker
        yield {"name": "deploy", "run": "python3 deploy.py", "env": variables}

    def _guard_steps(self, on_bad: str) -> Iterator[dict[str, Any]]:
        """Yield the steps of docs/how-to/guard.md."""
        world, token = self.world, "${{ secrets.OPERATIONS_TOKEN }}"
        operations = world.sandbox.github.repository
        yield {"uses": _CHECKOUT, "with": {"repository": operations, "path": "operations", "token": token}}
        yield self._build_action_step("setup", {}, {})
        given = {"service": self.service.name, "environment": world.environment.name, "on-bad": on_bad}
        yield self._build_action_step(
            "guard",
            {**given, "config": "operations/ops.yml", "commit": "${{ inputs.commit }}"},
            {
                world.environment.token: "${{ secrets.GUARD_TOKEN }}",
                "GITHUB_TOKEN": token,
                "OPERATIONS_REPOSITORY": operations,
                **{name: f"${{{{ secrets.{name} }}}}" for name in world.environ},
            },
        )

    def _build_action_step(self, name: str, given: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, Any]:
        uses = f"{github.drilled_actions_repository(self.world)}/.github/actions/{name}@{UNPINNED}"
        return {"id": name, "uses": uses, "with": dict(given), "env": dict(variables)}


def deploy_bad_release(world: DrillWorld, service: "Service", _trigger: Trigger, say: Say) -> int:
    """Let the application's job deploy the bad release, and the responder open an incident. Return its number.

    Raises ConfigError.
    """
    application = Application(world, service, say)
    application.prepare()
    (good,) = world.sandbox.live(service.worker)
    decision, run = application.deploy(application.commit("New tax rule", BAD), "the bad release")
    if (decision, run.conclusion) != (GO, "success") or good in world.sandbox.live(service.worker):
        raise ConfigError(
            f"the deployment of the bad release ended as {run.conclusion}, and its hold check says {decision}",
            hint="Read the output of `hold-check` and of the deployment.",
        )
    world.sandbox.clock.advance(BROKEN_FOR.total_seconds())
    incident = github.open_drill_incident(world)
    say(f"{world.responder} opened the incident #{incident.number}")
    return incident.number
