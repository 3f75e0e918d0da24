"""The job that watches a service after a recovery, under act: a lost runner and a relapse."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from ops.tools import own_program
from sandbox.cloudflare.analytics.state import THREW
from tests.acceptance.test_small_repository import ACTIONS, LABEL
from tests.support.actions import conclusions, read_bodies, release, stage
from tests.support.configurations import SMALL_REPOSITORY


def test_closing_the_incident_continues_a_watch_that_lost_its_runner(pip_cache: Path, tmp_path: Path) -> None:
    names: dict[str, Any] = {"account": "5e" * 16, "worker": "bakery-shop", "token": "BAKERY_TOKEN"}
    own_program.write_program(tmp_path)
    with stage(pip_cache, {"status": 200}, config=SMALL_REPOSITORY, is_watched=True, **names) as world:
        sandbox, hub, number = world.sandbox, world.github, world.incident()
        ends = sandbox.clock.now() + timedelta(minutes=10)
        with world.runner(actions={ACTIONS: tmp_path}) as runner:

            def lose() -> None:
                if sandbox.clock.now() > ends:
                    sandbox.clock.on_sleep = lambda: None
                    runner.crash_job(hub.runs[-1].id, "watch")

            sandbox.clock.longest_sleep, sandbox.clock.on_sleep = 0.0, lose
            hub.label(number, LABEL, "alice")
            runner.wait()
            first = hub.runs[-1]
            sandbox.clock.advance(331)
            hub.close(number, "alice")
            runner.wait()
            log = "\n".join(runner.log(hub.runs[-1].id))

    found, continued = conclusions(first), conclusions(hub.runs[-1])
    assert [found[name] for name in ("watch", "tell", "tell-later")] == ["failure", "skipped", "success"], log
    assert (continued["report"], continued["watch"]) == ("success", "success"), log
    _, watched, answer, *_ = read_bodies(hub, number)
    assert "shop in production is mitigated: healthy since" in watched
    assert "not probed" in watched
    assert answer.startswith("**The watch stopped early, and the service is not watched:** ")


def test_relapse_starts_the_automatic_step(pip_cache: Path, tmp_path: Path) -> None:
    """The version of the rollback fails after four minutes, also for others; the one before it does not."""
    names: dict[str, Any] = {"account": "5e" * 16, "worker": "bakery-shop", "token": "BAKERY_TOKEN"}
    own_program.write_program(tmp_path / "program")
    config = tmp_path / "ops.yml"
    config.write_text(SMALL_REPOSITORY.read_text() + "watch: {for: 10m, on_relapse: next}\n")
    with stage(pip_cache, {"status": 200}, config=config, is_watched=True, **names) as world:
        sandbox, worker = world.sandbox, world.worker
        older = release(sandbox, "older", sandbox.clock.now() - timedelta(days=3), {"status": 200}, worker)
        sandbox.clock.longest_sleep = 0.0
        number = world.incident()

        def look() -> None:
            now = sandbox.clock.now()
            age = now - sandbox.deployments(worker)[0].created_on
            fault.status = 500 if world.live == {world.good: 100} and age > timedelta(minutes=4) else None
            for _ in range(20 if fault.status else 0):  # requests of others
                sandbox.analytics.record_invocation(
                    sandbox.account_id, worker, world.good, THREW, at=now, seconds=0.01, size=9
                )

        fault = sandbox.edge_fault(times=None, before=look)
        with world.runner(actions={ACTIONS: tmp_path / "program"}) as runner:
            world.github.label(number, LABEL, "alice")
            runner.wait()
            run = world.github.runs[-1]
            log = "\n".join(runner.log(run.id))

    ends = conclusions(run)
    assert [ends[name] for name in ("watch", "next-recovery-production", "tell", "tell-later")] == [
        *("failure", "success", "skipped", "success")
    ], log
    assert world.live == {older: 100}, log
    assert [message.partition("; ")[2] for message in world.ours] == ["automatic step after a relapse", ""]
    bodies = read_bodies(world.github, number)
    assert len(bodies) == 5, bodies  # the run, its watch, the notice, the step and its run
    assert sum("No other automatic step follows" in body for body in bodies) == 1
