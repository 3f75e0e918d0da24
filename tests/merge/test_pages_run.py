"""Pages run: each command of the documentation does what its page says, in a world on the sandbox.

A page begins with a failure of a drill, or with good releases, and with a person on call. Drills have tests of their
own. The file pages_not_run.toml has the commands that cannot run there, with their reasons.
"""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ops import drills
from ops.app.configuration import read_config
from ops.drills.observation import break_example
from ops.drills.release_answers import build_behavior
from tests.conftest import REFERENCE, ROOT, WORKER, World
from tests.support import plain_yaml
from tests.support.page_commands import BLOCK, GENERATED_OUTPUT, PageCommand, commands_of, differing_line, split_block
from tests.support.page_world import INCIDENT, LEAD, page_world, push_clone

DOCS = ROOT / "docs"
HOW_TO = {page.stem: commands_of(page) for page in sorted((DOCS / "how-to").glob("*.md")) if page.stem != "README"}
PAGES = HOW_TO | {
    f"{page.parent.name}/{page.stem}": commands_of(page)
    for folder in ("decisions", "explanation", "reference")
    for page in sorted((DOCS / folder).glob("*.md"))
}
RULES = tomllib.loads((ROOT / "tests" / "merge" / "pages_not_run.toml").read_text())
NOT_RUN: Mapping[str, Mapping[str, str]] = RULES["not_run"]
CODES: Mapping[str, Mapping[str, dict[str, int]]] = RULES["codes"]
ANSWERS: Mapping[str, Mapping[str, str]] = RULES["answers"]
RUN = [page for page, commands in PAGES.items() if commands and "*" not in NOT_RUN.get(page, {})]
DRILLS = {
    **dict.fromkeys(("exit-5", "incidents", "other-ci", "public-updates", "recent-changes"), "rollback-worker"),
    "reference/faq": "rollback-worker",
    **{page: page for page in HOW_TO if page in drills.names() and page not in {"feature", "maintenance"}},
}
"""Page → drill whose failure is there when it begins. A feature or a service is also switched off if it works."""
Step = Callable[[World, Mapping[str, str]], object]


def nothing(world: World, environ: Mapping[str, str]) -> None:
    """Make no step."""


def give(text: str) -> Step:
    """Return the step of a reader who has given this command before."""

    def step(world: World, environ: Mapping[str, str]) -> None:
        done = world.ops(*text.split(), "--yes", **environ)
        assert done.code == 0, done.err

    return step


def rehearse(world: World, environ: Mapping[str, str]) -> None:
    """Close the incident, and let a person recover staging when the drill requests it."""
    hub, clock = world.sandbox.github, world.sandbox.clock
    hub.close(INCIDENT, "mia")

    def react(*_: object) -> None:
        for issue in hub.issues:
            if any("please recover" in each.body for each in issue.comments):
                clock.on_sleep = lambda: None
                text = f"rollback-worker --service api --environment staging --incident {issue.number}"
                give(text)(world, environ)

    clock.on_sleep = react


def push_workflows(world: World, environ: Mapping[str, str]) -> None:
    give(RECOVER)(world, environ)
    assert world.ops("workflows", "sync", **environ).code == 0
    push_clone(world, ".github")


def wait_for_the_afternoon(world: World, _: Mapping[str, str]) -> None:
    """Wait for 14:00 UTC, because the page notes what happened at 13:20."""
    clock = world.sandbox.clock
    clock.advance((clock.now().replace(hour=14, minute=0) - clock.now()).total_seconds() % 86_400)


def open_folders_of_runbooks(world: World, _: Mapping[str, str]) -> None:
    for name in ("ops/runbooks", "tests/runbooks", "docs/how-to"):
        (world.folder / name).mkdir(parents=True)


def deploy_page(world: World, _: Mapping[str, str]) -> None:
    """Deploy the status page that the command before built."""
    folder = world.folder / "public"
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    world.sandbox.pages.add_project("status", domains=["status.fortunet.example"])
    world.sandbox.pages.add_deployment("status", files=files)


RECOVER = "rollback-worker --service api --environment production --incident 42"
PREPARE = give("maintenance prepare --environment production")
STEPS: Mapping[str, Step] = {
    "add-runbook": open_folders_of_runbooks,
    "action-items": lambda world, environ: world.ops("incident", "report", "42", **environ),
    **dict.fromkeys(("incidents", "reference/faq"), give(RECOVER)),
    "maintenance": PREPARE,
    "public-updates": push_workflows,
    "restore-database": PREPARE,
    "reference/incident-state": wait_for_the_afternoon,
    "staging-drill": rehearse,
    "ops status-page compare public": deploy_page,
}
"""Page or command → step before it."""
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
"""It has `gh`."""
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
        program, env={"PATH": PATH, **environ}, cwd=folder, capture_output=True, text=True, check=False
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
def test_page_runs_as_written(world: World, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    monkeypatch.chdir(world.folder)
    wrong = []
    with page_world(world, page, drill=DRILLS.get(page, "")) as environ:
        STEPS.get(page, nothing)(world, environ)
        for command in PAGES[page]:
            if command.words[:1] == ("drill",) or command.text in NOT_RUN.get(page, {}):
                continue
            STEPS.get(command.text, nothing)(world, environ)
            typed = fill(command, world, ANSWERS.get(page, {}).get(command.text, ""))
            code, printed = run(world, typed, environ)
            expected = CODES.get(page, {}).get(command.text, {"code": 0})["code"]
            if code != expected or (command.output and differing_line(command.output, printed)):
                wrong.append((command.text, code, printed))

    assert wrong == []


def fill(command: PageCommand, world: World, answers: str) -> PageCommand:
    """Return the command with names of this world, and the options that answer its questions on a terminal."""
    newest = max((each.name for each in (world.folder / ".ops" / "runs").glob("*")), default="")
    known = {"COMMAND": "last", "RUN": newest, "LOGIN": LEAD, "OWNER/REPO": world.sandbox.github.repository}
    text = re.sub(rf"\b({'|'.join(known)})\b", lambda found: known[found[0]], command.text)
    return PageCommand(f"{text} {answers}".rstrip(), command.output)


def test_each_exception_is_a_command_of_its_page() -> None:
    known = {(page, command.text) for page, commands in PAGES.items() for command in commands}
    named = {(page, text) for rules in RULES.values() for page, texts in rules.items() for text in texts}

    assert {each for each in named - known if each[1] != "*" or each[0] not in PAGES} == set()


PROGRAMS = ("./run", "ops", "curl", "export", "gh", "git", "npx", "pipx", "python3", "uv")


def test_blocks_are_commands_or_captures_that_a_run_is_compared_with() -> None:
    """Any other block names its language: `plain` for a diagram."""
    wrong = []
    for page in sorted(DOCS.rglob("*.md")):
        shown = page.read_text(encoding="utf-8")
        compared = {command.output for command in commands_of(page)}
        for _, language, block in BLOCK.findall(GENERATED_OUTPUT.sub("", shown)):
            is_commands = all(re.match(rf"({'|'.join(PROGRAMS)}) ", each) for each in split_block(block))
            if (language == "text" and block not in compared) or not (language or is_commands):
                wrong.append((page.name, block))

    assert wrong == []


def test_page_about_exit_5_ends_an_unknown_outcome(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.folder)
    again, *_ = HOW_TO["exit-5"]
    deployments = "/accounts/*/workers/scripts/*/deployments"
    with page_world(world, "exit-5", drill="rollback-worker") as environ:

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
