"""A drill on a measured platform passes and fails as a recovery there would."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.configurations import ONE_WORKER
from tests.support.drills import drill
from tests.support.platform_files import platform_text

NOW = datetime.now(UTC) - timedelta(days=3)


def measured(tmp_path: Path, answers: dict[str, Any]) -> tuple[str, str]:
    file = tmp_path / "platform.json"
    file.write_text(platform_text(NOW, answers))
    return "--platform", str(file)


def test_slower_platform_takes_longer_and_another_answer_is_a_second_run(tmp_path: Path) -> None:
    usual = drill()

    result = drill(*measured(tmp_path, {"worker-propagation": 40.0, "unknown-token": "HTTP 401"}))

    assert result["platform"]["decisions"] == ["recovered", "recovered"]
    assert [len(played) for played in result["platform"]["runs"]] == [1, 2]
    assert result["durations"]["trigger_to_verified"] > usual["durations"]["trigger_to_verified"]
    assert result["targets"].keys() == usual["targets"].keys()
    seconds = [{name: each["seconds"] for name, each in one["targets"].items()} for one in (result, usual)]
    assert seconds[0] == seconds[1], "no profile changes a target"


@pytest.mark.parametrize(
    ("name", "answers", "decisions"),
    [
        ("rollback-worker", {"worker-propagation": None}, 1),
        ("rollback-pages", {"pages-deployment-open": "HTTP 302"}, 2),
        ("feature", {"kv-edge-lag": None}, 1),
    ],
)
def test_platform_on_which_the_recovery_fails_fails_the_drill(
    tmp_path: Path, name: str, answers: dict[str, Any], decisions: int
) -> None:
    result = drill(*measured(tmp_path, answers), name=name, ok=False)

    found = result["platform"]["decisions"]
    assert (len(found), found[:-1]) == (decisions, ["recovered"] * (decisions - 1))
    assert result["decision"] == found[-1] != "recovered"


def test_another_team_by_button(tmp_path: Path) -> None:
    given = ("--config", str(ONE_WORKER), "--environment", "live", "--trigger", "button")

    result = drill(*given, *measured(tmp_path, {"version-readable": "2 reads too early"}))

    assert result["platform"]["runs"] == [["version_visible_after_reads=2"]]
    assert result["trigger"] == "button"


def test_all_drills_get_the_file_too(tmp_path: Path) -> None:
    platform = measured(tmp_path, {"worker-propagation": None})
    only = ("--only", "rollback-worker", "--trigger", "command", "--edge", "embedded")

    card = drill(*only, *platform, name="all", ok=False)

    assert [each["outcome"] for each in card["drills"]] == ["failed"]
    assert card["platform"]["runs"] == [["propagation_seconds=240.0"]]
