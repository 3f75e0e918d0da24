"""The jobs of the staging drill under act: the button breaks, recovers and undoes; a dead drill is undone."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from tests.support.actions import Stage, conclusions, release, stage
from tests.support.configurations import STAGED_SHOP

WORKER = "teashop-web"
GOOD = {"status": 200, "body": "up"}


@pytest.fixture
def world(pip_cache: Path, tmp_path: Path) -> Iterator[Stage]:
    config = tmp_path / "ops.yml"
    quick = "        min_served: 1m\n        verify: {interval: 10ms, deadline: 20s}\n        probes:\n"
    text = STAGED_SHOP.read_text().replace("        probes:\n", quick)
    config.write_text(text.replace("  service: web\n  schedule", "  service: web\n  unattended: true\n  schedule"))
    names: dict[str, Any] = {"account": "7c" * 16, "worker": WORKER, "token": "TEASHOP_STAGING_TOKEN"}
    with stage(pip_cache, GOOD, config=config, **names) as made, Sandbox(account_id="6b" * 16) as live:
        live.deploy(WORKER, live.upload(WORKER, behaviour=GOOD))
        live.zones.add_route(live.zones.all[live.zones.add("tea.example")], "tea.example/*", WORKER)
        made.sandbox.add_account(live)
        made.sandbox.account.visible[:] = [made.sandbox.account]
        made.sandbox.clock.longest_sleep = 1.0
        made.github.put_secret("TEASHOP_ACCESS_ID", "access-0123456789", "recovery")
        yield made


def test_button_drills_and_leaves_staging_as_before(world: Stage) -> None:
    hub, sandbox = world.github, world.sandbox
    good = release(sandbox, "fixed", sandbox.clock.now() - timedelta(minutes=5), GOOD, WORKER)

    with world.runner() as runner:
        run = hub.dispatch("staging-drill.yml", {"action": "run"}, by="alice")
        runner.wait()
        log = "\n".join(runner.log(run.id))

    assert conclusions(run) == {"drill": "success", "undo": "success"}, log
    assert sandbox.live(WORKER) == {good: 100}
    drills = [each for each in hub.issues if each.find_label("drill") and each.find_label("incident")]
    assert [(each.state, each.state_reason) for each in drills] == [("closed", "completed")]
    assert "access-0123456789" not in log


def test_label_of_a_person_recovers_while_the_drill_waits(world: Stage) -> None:
    hub, sandbox = world.github, world.sandbox
    config = hub.files()["ops.yml"].decode().replace("  unattended: true\n", "")
    hub.add_commit("Ask a person", "alice", files={"ops.yml": config})
    good = release(sandbox, "fixed", sandbox.clock.now() - timedelta(minutes=5), GOOD, WORKER)

    def answer() -> None:
        for issue in hub.issues:
            if any("please recover" in each.body for each in issue.comments):
                sandbox.clock.on_sleep = lambda: time.sleep(1)  # the job of the label needs real time
                hub.label(issue.number, "recover:practise-web", "alice")

    sandbox.clock.on_sleep = answer
    with world.runner() as runner:
        run = hub.dispatch("staging-drill.yml", {"action": "run"}, by="alice")
        runner.wait()
        log = "\n".join(line for each in hub.runs for line in runner.log(each.id))

    assert conclusions(run) == {"drill": "success", "undo": "success"}, log
    assert sandbox.live(WORKER) == {good: 100}
    (drill,) = [each for each in hub.issues if each.find_label("drill") and each.find_label("incident")]
    assert (drill.state, drill.state_reason) == ("closed", "completed")
    assert any("rollback-worker" in each.body and "alice" in each.body for each in drill.comments)
