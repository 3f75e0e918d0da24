"""The action hold-check, by SHA from another repository, in a deploy workflow, before and after a rollback by a real button, run by act."""

from pathlib import Path
from typing import Any

from ops.tools import own_program
from sandbox.actions import Runner
from sandbox.github.actions.state import FakeRun
from tests.conftest import ACCOUNT, WORKER
from tests.support.actions import BUTTON, Stage, stage

ACTIONS, PINNED = "backout-tools/backout", "5ea1" * 10
"""Repository and commit that the application's workflow uses: its own repository has no file of Backout."""
DEPLOY = f"""\
name: deploy
on:
  workflow_dispatch:
    inputs:
      commit: {{required: true}}
permissions: {{}}
jobs:
  deploy:
    name: deploy
    runs-on: ubuntu-latest
    permissions:
      contents: read
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          persist-credentials: false
      - id: hold
        uses: {ACTIONS}/.github/actions/hold-check@{PINNED}
        with:
          worker: {WORKER}
          account-id: {ACCOUNT}
          commit: ${{{{ inputs.commit }}}}
        env:
          CLOUDFLARE_API_TOKEN: ${{{{ secrets.HOLD_CHECK_TOKEN }}}}
      - name: deploy
        run: echo deployed as "$DECISION"
        env:
          DECISION: ${{{{ steps.hold.outputs.decision }}}}
"""


def commit(world: Stage, message: str) -> str:
    return str(world.github.add_commit(message, "alice", files={"version.txt": message}))


def deploy(world: Stage, runner: Runner, sha: str) -> FakeRun:
    run = world.github.dispatch("deploy.yml", {"commit": sha}, by="alice")
    runner.wait()
    return run


def outcome(run: FakeRun) -> tuple[Any, ...]:
    """Return the conclusions of the check and of the step that deploys."""
    (job,) = run.jobs
    return tuple(step.conclusion for step in job.steps[2:4])


def test_action_refuses_the_rolled_back_commit_until_a_commit_names_the_incident(
    pip_cache: Path, tmp_path: Path
) -> None:
    own_program.write_program(tmp_path)
    with stage(pip_cache) as world:
        hub, sandbox = world.github, world.sandbox
        hub.add_commit("Deploy workflow", "alice", files={".github/workflows/deploy.yml": DEPLOY})
        hub.put_secret("HOLD_CHECK_TOKEN", sandbox.add_token("sandbox-hold-check", ["Workers Scripts Read"]))
        bad, incident = commit(world, "New tax rule"), world.incident()
        sandbox.deploy(WORKER, sandbox.upload(WORKER, code="tax", tag=bad, behaviour={"status": 500}))
        with world.runner(actions={ACTIONS: tmp_path}) as runner:
            before = deploy(world, runner, bad)
            inputs = {"service": "api", "environment": "production", "incident": str(incident), "dry_run": False}
            sandbox.clock.advance(2)  # GitHub's times are whole seconds: the deployment is older than the request
            hub.dispatch(BUTTON, inputs, by="alice")
            runner.wait()
            again = deploy(world, runner, bad)
            fix = commit(world, f"Restore the tax rule\n\nFixes-Incident: {incident}")
            fixed = deploy(world, runner, fix)
            log = "\n".join(line for run in (before, again, fixed) for line in runner.log(run.id))

    assert [outcome(each) for each in (before, again, fixed)] == [
        ("success", "success"),
        ("failure", "skipped"),
        ("success", "success"),
    ], log
    assert f"Fixes-Incident: {incident}" in log
    assert "deployed as go" in log
    assert "sandbox-hold-check" not in log
