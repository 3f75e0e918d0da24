"""A team without runners of GitHub: its jobs wait for its own one, which takes one job at a time. Not for FortuneT."""

from pathlib import Path
from typing import Any

from ops.tools import own_program
from tests.support.actions import ANSWER, conclusions, stage
from tests.support.configurations import SMALL_REPOSITORY


def test_label_waits_for_an_own_runner_and_then_recovers(pip_cache: Path, tmp_path: Path) -> None:
    config, text = tmp_path / "ops.yml", SMALL_REPOSITORY.read_text()
    text = text.replace("github:\n", "github:\n  runs_on: [self-hosted, recovery]\n")
    config.write_text(text.replace("{path: /}", "{path: /health, version: version.id}"))
    own_program.write_program(tmp_path / "actions")
    names: dict[str, Any] = {"account": "5e" * 16, "worker": "bakery-shop", "token": "BAKERY_TOKEN"}
    with stage(pip_cache, {"status": 200}, config=config, answers=True, **names) as world:
        hub, number = world.github, world.incident()
        with world.runner(actions={"backout-tools/backout": tmp_path / "actions"}) as runner:
            answer = hub.files()[ANSWER].decode().replace('SECONDS_TO_WAIT: "120"', 'SECONDS_TO_WAIT: "1"')
            hub.add_commit("Wait for a second", "alice", files={ANSWER: answer})
            runner.connect("office-1", "office")
            hub.label(number, "recover:shop", "alice")
            (run,) = (each for each in hub.runs if each.workflow.file == "incident.yml")
            runner.wait_until(lambda: bool(world.comments(number)))
            waiting, answered = ({job.runner_name for job in run.jobs}, world.live), world.comments(number)

            runner.connect("recovery-1", "recovery")
            runner.wait()
            log = "\n".join(runner.log(run.id))

        assert (waiting, "No answer after" in answered) == (({None}, {world.bad: 100}), True)
        assert world.live == {world.good: 100}, log
        assert {name for name, end in conclusions(run).items() if end not in {"success", "skipped"}} == set(), log
        assert {job.runner_name for job in run.jobs if job.conclusion == "success"} == {"recovery-1"}
