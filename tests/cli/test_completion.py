"""Completion in a shell: commands, and values from ops.yml, without a network call."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from ops.cli import cli
from ops.cli.options import SHELLS, VARIABLE, render_script
from tests.conftest import ROOT, World
from tests.support.configurations import ONE_WORKER, PAGES_ONLY, TEN_SERVICES
from tests.support.reference import commands
from tests.support.shop import open_shop

COMMANDS_OF_JOBS = {"gate", "recover", "site", "ai-failback"}


def complete(line: str) -> list[str]:
    """Return the completions at the end of a command line."""
    *words, incomplete = line.split(" ")
    return [item.value for item in ShellComplete(cli, {}, "ops", VARIABLE).get_completions(words[1:], incomplete)]


@pytest.fixture
def ten_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TEN_SERVICES.parent)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("ops roll", ["rollback-pages", "rollback-worker"]),
        ("ops maintenance ", ["prepare"]),
        ("ops maintenance --st", ["--state"]),
        ("ops switches ", ["prepare"]),
        ("ops limits ", ["apply", "plan", "propose", "reconcile"]),
        ("ops completion ", list(SHELLS)),
        ("ops rollback-worker --environment ", ["prod", "eu"]),
        ("ops rollback-worker --service ", ["cart", "orders", "search", "mail"]),
        ("ops rollback-worker --environment eu --service ", ["cart", "orders", "mail"]),
        ("ops rollback-pages --service ", ["shop", "account"]),
        ("ops maintenance --state ", ["on", "off"]),
        ("ops feature --name ", ["suggestions"]),
        ("ops limits propose --environment p", ["prod"]),
        ("ops maintenance prepare --environment e", ["eu"]),
        ("ops status --environment ", ["prod", "eu"]),
        ("ops evidence --environment e", ["eu"]),
        ("ops versions sh", ["shop"]),
        ("ops drill rollback-w", ["rollback-worker"]),
        ("ops nonsense ", []),
        ("ops rollback-worker --reason ", []),
    ],
)
def test_word_is_completed(ten_services: None, line: str, found: list[str]) -> None:
    assert complete(line) == found


def names_of(option: str, *, without: set[str]) -> list[str]:
    """Return the commands for people that have the option."""
    found = [name for name, command in commands() if any(option in each.opts for each in command.params)]
    return [name for name in found if name.split()[1] not in COMMANDS_OF_JOBS | without]


@pytest.mark.sampled
@pytest.mark.parametrize("name", names_of("--environment", without={"drill"}))
def test_every_command_completes_its_environment(ten_services: None, name: str) -> None:
    assert complete(f"{name} --environment ") == ["prod", "eu"]


@pytest.mark.sampled
@pytest.mark.parametrize("name", names_of("--service", without={"drill"}))
def test_every_command_completes_its_service(ten_services: None, name: str) -> None:
    assert set(complete(f"{name} --service ")) <= {"shop", "account", "cart", "orders", "search", "mail"}
    assert complete(f"{name} --service ") or name == "ops reset-durable-object"


def test_commands_of_jobs_are_not_offered(ten_services: None) -> None:
    offered = set(complete("ops "))

    assert {"status", "versions", "last", "rollback-worker", "incident"} <= offered
    assert not offered & COMMANDS_OF_JOBS


@pytest.mark.parametrize(("config", "services"), [(ONE_WORKER, ["desk"]), (PAGES_ONLY, ["site"])])
def test_configuration_option_is_read(config: Path, services: list[str]) -> None:
    assert complete(f"ops versions --config {config} ") == services


def test_values_come_from_a_folder_above(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    below = open_shop(world).folder / "docs"
    (world.folder / ".git").mkdir()
    below.mkdir()
    monkeypatch.chdir(below)

    assert complete("ops rollback-pages --service ") == ["docs"]


def test_broken_configuration_offers_no_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ops.yml").write_text("environments: [\n")
    monkeypatch.chdir(tmp_path)

    assert complete("ops rollback-worker --service ") == []
    assert complete("ops roll") == ["rollback-pages", "rollback-worker"]


WATCHED = """
import os, sys

def refuse(event, _arguments):
    if event.startswith("socket."):
        os._exit(99)

sys.addaudithook(refuse)
from ops.cli import cli
from ops.cli.options import answer_shell

code = answer_shell(cli)
print(*(name for name in ("httpx", "github", "jinja2", "ops.cloudflare.client") if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.slow
def test_completion_opens_no_socket_and_loads_no_client() -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), VARIABLE: "bash_complete"}
    environ |= {"COMP_WORDS": "ops rollback-worker --service c", "COMP_CWORD": "3"}

    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        env=environ,
        cwd=TEN_SERVICES.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "plain,cart\n", "\n")


@pytest.mark.slow
@pytest.mark.parametrize("program", ["", f"{shlex.quote(str(ROOT / 'run'))} ops"])
def test_script_completes_in_bash(program: str, tmp_path: Path) -> None:
    """Both forms: an installed `ops`, and `./run ops` in a checkout."""
    script = render_script("bash", program)
    starter = tmp_path / "ops"
    starter.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m ops "$@"\n')
    starter.chmod(0o755)
    if program:
        script = script.replace(f"{program})", f"{starter})")
    typed = 'COMP_WORDS=(ops versions --environment eu ma); COMP_CWORD=4; _ops_completion ops; echo "${COMPREPLY[@]}"'

    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{typed}\ncomplete -p ops\ntype -t ops"],
        env={"PATH": f"{'' if program else tmp_path}:{os.environ['PATH']}"},
        cwd=TEN_SERVICES.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.splitlines() == [
        "mail",
        "complete -o nosort -F _ops_completion ops",
        "function" if program else "file",
    ], done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_script_of_a_checkout_calls_its_program(shell: str, world: World) -> None:
    installed = world.ops("completion", shell)
    checkout = world.ops("completion", shell, OPS_PROGRAM="/srv/operations/run ops")

    assert (installed.code, checkout.code) == (0, 0)
    assert VARIABLE in installed.out
    assert checkout.out.count("/srv/operations/run ops") == 2
    assert "/srv/operations" not in installed.out
