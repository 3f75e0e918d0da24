"""A guard of a bad deployment under act: by the schedule, and by the action in a deploy workflow."""

from pathlib import Path
from typing import Any

from ops.tools import own_program
from sandbox.cloudflare.analytics.state import THREW
from tests.acceptance.test_small_repository import ACTIONS
from tests.support.actions import conclusions, stage
from tests.support.configurations import SMALL_REPOSITORY
from tests.support.workflows import PINNED

DEPLOY = f"""\
name: deploy
on: workflow_dispatch
permissions: {{}}
jobs:
  deploy:
    name: deploy
    runs-on: ubuntu-latest
    permissions:
      contents: read
      issues: write
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          persist-credentials: false
      - uses: {ACTIONS}/.github/actions/setup@{PINNED}
      - id: guard
        uses: {ACTIONS}/.github/actions/guard@{PINNED}
        with: {{service: shop, environment: production, on-bad: rollback}}
        env:
          BAKERY_TOKEN: ${{{{ secrets.GUARD_TOKEN }}}}
          GITHUB_TOKEN: ${{{{ github.token }}}}
      - name: ended
        if: always()
        run: echo "$ENDED"
        env:
          ENDED: ended by ${{{{ steps.guard.outputs.reason }}}} in ${{{{ steps.guard.outputs.incident }}}}
"""
GUARDED = SMALL_REPOSITORY.read_text().replace(
    "  leads:", "  schedules: {guard: 30m}\n  accept_minutes: 1440\n  leads:"
)


def test_schedule_opens_the_incident_and_the_action_rolls_back(pip_cache: Path, tmp_path: Path) -> None:
    names: dict[str, Any] = {"account": "5e" * 16, "worker": "bakery-shop", "token": "BAKERY_TOKEN"}
    own_program.write_program(tmp_path / "program")
    config = tmp_path / "ops.yml"
    config.write_text(GUARDED.replace("        verify:", "        guard: {for: 10m}\n        verify:"))
    with stage(pip_cache, {"status": 200}, config=config, **names) as world:
        hub, sandbox = world.github, world.sandbox
        hub.add_commit("Deploy workflow", "alice", files={".github/workflows/deploy.yml": DEPLOY})
        rights = ["Workers Scripts Write", "Account Analytics Read", "Analytics Read", "Zone Read"]
        hub.put_secret("GUARD_TOKEN", sandbox.add_token("sandbox-guard", rights))

        def send_requests() -> None:
            for _ in range(20 if world.live == {world.bad: 100} else 0):
                sandbox.analytics.record_invocation(
                    sandbox.account_id, world.worker, world.bad, THREW, at=sandbox.clock.now(), seconds=0.01, size=9
                )

        sandbox.clock.longest_sleep, sandbox.clock.on_sleep = 0.0, send_requests
        with world.runner(actions={ACTIONS: tmp_path / "program"}) as runner:
            runner.schedule("scheduled.yml")
            runner.wait()
            scheduled = hub.runs[-1]
            before = world.live
            deployed = hub.dispatch("deploy.yml", {}, by="alice")
            runner.wait()
            log = "\n".join(line for run in (scheduled, deployed) for line in runner.log(run.id))

    assert [*conclusions(scheduled).values(), *conclusions(deployed).values()] == ["failure", "failure"], log
    assert (before, world.live) == ({world.bad: 100}, {world.good: 100}), log
    (incident,) = hub.issues
    assert f"ended by bad_deployment in {incident.number}" in log, log
    assert f"Compared with {world.good[:8]}\n" in log
    assert "sandbox-guard" not in log
