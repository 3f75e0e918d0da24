"""The button `all-clear` resets the switches of an incident, in real jobs under act."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support.actions import conclusions
from tests.support.ferry_port import Port, log, opened, runner_of
from tests.support.former_stories import TOKEN, switches_set


def held(port: Port) -> set[str]:
    """Return the switches that are not normal."""
    shown: Any = port.world.ops("status", "--json", "--config", str(port.world.config), FERRY_TOKEN=TOKEN).result
    return {each["what"].partition(":")[0] for each in shown["held"] if each["kind"] == "switches"}


def test_all_clear_resets_the_switches_of_its_incident_once(pip_cache: Path, tmp_path: Path) -> None:
    with opened(tmp_path) as port, runner_of(port, pip_cache) as runner:
        port.ferry.release("fixed", ago=timedelta(minutes=9))
        switches_set(port.ferry)
        port.upgrade()
        runner.wait()
        assert held(port) == {"seat-map", "ai"}

        for _ in range(2):
            run = port.press("all-clear", "alice", environment="live")
            runner.wait()
            ran = {name: each for name, each in conclusions(run).items() if each != "skipped"}
            assert (ran["gate"], ran["recovery-live"]) == ("success", "success"), log(port, runner)
            assert held(port) == set()

        assert sum("reset to normal" in each.casefold() for each in port.comments) == 1, port.comments
