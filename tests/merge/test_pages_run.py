"""Pages run: each command of a tutorial or how-to page does what the page says, in a world on the sandbox.

Every page begins with the world of `ops sandbox --example`: a good and a bad release, and a person on call. The file
pages_not_run.toml has the commands that cannot run there, with their reasons.
"""

import os
import re
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from ops.app.configuration import read_config
from ops.drills.observation import break_example
from ops.drills.release_answers import build_behavior
from tests.conftest import REFERENCE, ROOT, WORKER, World
from tests.support import plain_yaml
from tests.support.page_commands import PageCommand, commands_of, differing_line
from tests.support.page_world import LEAD, page_world

DOCS = ROOT / "docs"
HOW_TO = {page.stem: commands_of(page) for page in sorted((DOCS / "how-to").glob("*.md")) if page.stem != "README"}
RULES = tomllib.loads((ROOT / "tests" / "merge" / "pages_not_run.toml").read_text())
NOT_RUN: Mapping[str, Mapping[str, str]] = RULES["not_run"]
CODES: Mapping[str, Mapping[str, dict[str, int]]] = RULES["codes"]
RUN = [page for page, commands in HOW_TO.items() if commands and "*" not in NOT_RUN.get(page, {})]
BROKEN = {
    **dict.fromkeys(("exit-5", "incidents", "other-ci", "recent-changes", "rollback-worker"), "api"),
    "rollback-pages": "frontend",
}
"""Page → service that is broken when it begins."""
RECOVER = "rollback-worker --service api --environment production --incident 42 --yes"
BEFORE = {
    "action-items": "incident report 42",
    "incidents": RECOVER,
    "maintenance": "maintenance prepare --environment production --yes",
}
"""Page → command that its reader has run before."""
NOT_CONFIRMED = 9
"""Exit code of a command that asks on a terminal. The reader agrees, so the test adds `--yes`."""


@pytest.fixture
def example(world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the variables that `ops sandbox --example` prints, in a folder with the files of a fresh clone."""
    world.sandbox.clock.longest_sleep = 0.0
    for name in ("ops.yml", "limits.yml"):
        (world.folder / name).write_text((REFERENCE / name).read_text())
    monkeypatch.chdir(world.folder)
    return {**world.sandbox.environ(), **break_example(world.sandbox), "OPS_PROGRAM": "./run ops"}


def run_shell(command: str, environ: dict[str, str], folder: Path) -> tuple[int, str]:
    program = ["bash", "-c", f"set -o pipefail; {command}"]
    done = subprocess.run(
        program, env={"PATH": os.environ["PATH"], **environ}, cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def run(world: World, command: PageCommand, environ: dict[str, str]) -> tuple[int, str]:
    """Return the exit code and what the terminal shows."""
    if not command.is_ops:
        return run_shell(command.text, environ, world.folder)
    outcome = world.ops(*command.words, **environ)
    if outcome.code == NOT_CONFIRMED:
        outcome = world.ops(*command.words, "--yes", **environ)
    return outcome.code, outcome.out + outcome.err


def test_tutorial_runs_as_written(world: World, example: dict[str, str]) -> None:
    start, *rest = commands_of(DOCS / "tutorial" / "first-incident.md")
    assert start.words == ("sandbox", "--example")

    wrong, printed = [], ""
    for command in rest:
        if command.words[:1] == ("drill",):  # `ops drill` has tests of its own
            continue
        code, printed = run(world, command, example)
        if code or (command.output and differing_line(command.output, printed)):
            wrong.append((command.text, code, differing_line(command.output, printed), printed))

    assert wrong == []
    assert printed.startswith("## What happened\n")
    assert "a variable is missing" in printed
    assert world.sandbox.github.issue(1).state == "closed"


@pytest.mark.parametrize("page", RUN)
def test_how_to_page_runs_as_written(world: World, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    monkeypatch.chdir(world.folder)
    wrong = []
    with page_world(world, page, broken=BROKEN.get(page, "")) as environ:
        if page in BEFORE:
            assert world.ops(*BEFORE[page].split(), **environ).code == 0
        for command in HOW_TO[page]:
            if command.text in NOT_RUN.get(page, {}):
                continue
            code, printed = run(world, fill(command, world.folder), environ)
            expected = CODES.get(page, {}).get(command.text, {"code": 0})["code"]
            if code != expected or (command.output and differing_line(command.output, printed)):
                wrong.append((command.text, code, printed))

    assert wrong == []


def fill(command: PageCommand, folder: Path) -> PageCommand:
    """Return the command with a person and a run of this world in place of LOGIN and RUN."""
    newest = max((each.name for each in (folder / ".ops" / "runs").glob("*")), default="")
    return PageCommand(re.sub(r"\bRUN\b", newest, re.sub(r"\bLOGIN\b", LEAD, command.text)), command.output)


def test_each_exception_is_a_command_of_its_page() -> None:
    known = {(page, command.text) for page, commands in HOW_TO.items() for command in commands}
    named = {(page, text) for rules in RULES.values() for page, texts in rules.items() for text in texts}

    assert {each for each in named - known if each[1] != "*" or each[0] not in HOW_TO} == set()


def test_page_about_exit_5_ends_an_unknown_outcome(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.folder)
    again, *_ = HOW_TO["exit-5"]
    deployments = "/accounts/*/workers/scripts/*/deployments"
    with page_world(world, "exit-5", broken="api") as environ:

        def lose_all_reads() -> None:
            world.sandbox.fault(method="GET", path=deployments, status=500, times=None)

        world.sandbox.fault(method="POST", path=deployments, lost="after", after=lose_all_reads)
        lost, said = run(world, again, environ)
        world.sandbox.faults.clear()
        found, _ = run(world, again, environ)

    assert (lost, found) == (5, 0)
    assert "docs/how-to/exit-5.md\n" in said
    assert len([each for each in world.writes() if each.path.endswith("/deployments")]) == 1


def test_example_of_another_ci_guards_and_recovers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.folder)
    text = (DOCS / "how-to" / "other-ci.md").read_text()
    jobs = plain_yaml.load(text.partition("```yaml\n")[2].partition("```")[0])
    scripts = [line for job in jobs.values() for line in job["script"] if line.startswith("ops ")]
    with page_world(world, "other-ci") as environ:
        commit = run_shell("git rev-parse HEAD", {}, world.folder)[1].strip()
        config, _ = read_config(world.folder / "ops.yml")
        behaviour = build_behavior(config.environment("production").service("api").probes)
        world.sandbox.deploy(WORKER, world.sandbox.upload(WORKER, tag=commit, behaviour=behaviour))
        ended = [run(world, PageCommand(line.replace("$CI_COMMIT_SHA", commit)), environ)[0] for line in scripts]
        check = next(each for each in HOW_TO["other-ci"] if each.words[:2] == ("hold", "check"))
        ended.append(run(world, check, environ)[0])

    assert [line.split()[1] for line in scripts] == ["guard", "rollback-worker"]
    assert ended == [0, 0, 3]
