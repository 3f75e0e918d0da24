"""Options: completed in a shell without a network call, and left out where only one value fits."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from ops.app.scope import find_config
from ops.cli import cli
from ops.cli.options import SHELLS, VARIABLE, render_script
from tests.cli.test_help import parse
from tests.conftest import ROOT, Outcome, World
from tests.status.test_incident_menu import forty_services
from tests.support.commands import LIST, Command
from tests.support.configurations import ONE_WORKER, PAGES_ONLY, TEN_SERVICES
from tests.support.in_process import held
from tests.support.reference import commands
from tests.support.shop import Shop, open_shop

COMMANDS_OF_JOBS = {"gate", "recover", "remove-banner", "site", "ai-failback"}


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


@pytest.mark.parametrize("token", ["", "of nobody", "shop"])
def test_versions_are_completed_with_a_token_alone(shop: Shop, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.world.sandbox.add_token("shop", ["Workers Scripts Read"])
    monkeypatch.chdir(shop.folder)
    for name, value in {**shop.world.sandbox.environ(), "SHOP_TOKEN": token, VARIABLE: "zsh_complete"}.items():
        monkeypatch.setenv(name, value)

    found = complete("ops rollback-worker --to ")

    assert found == ([shop.good[:8], shop.old[:8]] if token == "shop" else [])
    assert complete(f"ops rollback-worker --to {shop.old[:3]}") == [each for each in found if each == shop.old[:8]]


@pytest.mark.slow
def test_slow_server_does_not_hold_a_shell(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.folder)
    for name, value in {**shop.world.sandbox.environ(), "SHOP_TOKEN": "shop", VARIABLE: "zsh_complete"}.items():
        monkeypatch.setenv(name, value)
    shop.world.sandbox.add_token("shop", ["Workers Scripts Read"])

    with held(shop.world.sandbox.faults, **LIST):
        assert complete("ops rollback-worker --to ") == []


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


def lines_of(outcome: Outcome) -> list[str]:
    return [line.strip() for line in outcome.err.splitlines()]


@pytest.mark.slow
def test_run_needs_no_service_and_environment_where_one_fits(shop: Shop) -> None:
    outcome = shop.ops("rollback-worker", "--yes")

    assert outcome.code == 0, outcome.err
    assert shop.live == {shop.good: 100}
    assert "Plan: rollback-worker web in live\n" in outcome.out


@pytest.mark.slow
def test_only_site_is_chosen_for_its_own_runbook(shop: Shop) -> None:
    outcome = shop.ops("rollback-pages", "--dry-run", "--json")

    assert (outcome.result["service"], outcome.result["environment"]) == ("docs", "live")


@pytest.mark.slow
def test_confirmation_names_the_chosen_place(shop: Shop) -> None:
    command = Command(shop.world, service="", environment="", environ=shop.environ(CLOUDFLARE_API_TOKEN=""))
    with command.on_terminal() as terminal:
        terminal.until('Type "web" to go on in live')
        terminal.type("web\n")
        code = terminal.end()

    assert code == 0, terminal.shown
    assert shop.live == {shop.good: 100}


@pytest.mark.parametrize(
    "arguments",
    [(), ("--service", "web")],
)
def test_several_places_are_refused_with_full_commands(world: World, arguments: tuple[str, ...]) -> None:
    shop = open_shop(world, staging=True)
    more = ("--reason", "new tax rule", "--began", "2026-11-24T03:05Z", "--to", shop.good, "--yes")

    outcome = shop.ops("rollback-worker", *arguments, *more)

    assert outcome.code == 2
    assert re.match("error: .*: web in live, web in staging\n", outcome.err)
    commands = [line for line in lines_of(outcome) if line.startswith("ops ")]
    assert [parse(command).params["environment"] for command in commands] == ["live", "staging"]
    assert world.sandbox.requests == []
    context = parse(commands[0])
    assert (context.params["service"], context.params["to"], context.params["yes"]) == ("web", shop.good, True)
    assert (context.params["reason"], str(context.params["began"])) == ("new tax rule", "2026-11-24 03:05:00+00:00")
    assert world.ops(*shlex.split(commands[0])[1:], **shop.environ()).code == 0
    assert shop.live == {shop.good: 100}


def test_refusal_is_json_on_request(world: World) -> None:
    result = open_shop(world, staging=True).ops("rollback-worker", "--json").result

    assert (result["exit_code"], result["reason"], len(result["problems"])) == (2, "unknown_name", 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rollback-worker", "--service", "wep"), '"wep" .*rollback-worker.*"web"'),
        (("rollback-worker", "--environment", "life"), '"life" .*rollback-worker'),
        (("rollback-worker", "--service", "docs"), '"docs" .*rollback-worker.*: web$'),
        (("feature", "--name", "x", "--state", "on"), r"ops\.yml .*feature"),
    ],
)
def test_name_that_fits_nothing_is_refused(shop: Shop, arguments: tuple[str, ...], said: str) -> None:
    outcome = shop.ops(*arguments)

    assert outcome.code == 2
    assert re.search(f"(?m)^error: .*{said}", outcome.err)
    assert re.search(r"\n hint: .*(: web in live\.|`runtime`)", outcome.err)


@pytest.mark.parametrize("arguments", [("status",), ("evidence", "--since", "2h")])
def test_reading_command_takes_the_only_environment(world: World, arguments: tuple[str, ...]) -> None:
    shop = open_shop(world)
    assert shop.ops(*arguments).code == 0

    open_shop(world, staging=True)
    outcome = shop.ops(*arguments)

    assert outcome.code == 2
    commands = [line for line in lines_of(outcome) if line.startswith("ops ")]
    assert [parse(command).params["environment"] for command in commands] == ["live", "staging"]


@pytest.mark.slow
def test_job_of_the_gate_names_its_environment(shop: Shop) -> None:
    outcome = shop.ops("recover", "--runbook", "rollback-worker", "--yes")

    assert outcome.code == 2
    assert "missing option --environment" in outcome.err


@pytest.fixture
def checkout(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in the checkout of the shop's operations repository, which is the current one."""
    (shop.folder / ".git").mkdir()
    below = shop.folder / "docs" / "on call"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    return below


@pytest.mark.slow
def test_configuration_is_found_from_a_folder_of_the_checkout(shop: Shop, checkout: Path) -> None:
    outcome = shop.world.ops("rollback-worker", "--dry-run", **shop.environ())

    assert outcome.code == 0, outcome.err
    assert "using ../../ops.yml\n" in outcome.err
    assert "--config" not in outcome.out
    assert list((shop.folder / ".ops" / "runs").iterdir())


@pytest.mark.slow
def test_found_configuration_leaves_events_on_stderr_readable(shop: Shop, checkout: Path) -> None:
    outcome = shop.world.ops("rollback-worker", "--dry-run", "--json", **shop.environ())

    assert outcome.result["decision"] == "planned"
    assert all(json.loads(line) for line in outcome.err.splitlines())


def test_nearest_configuration_and_the_option_win(shop: Shop, checkout: Path) -> None:
    near = checkout.parent / "ops.yml"
    near.write_text("environments: 1\n")

    assert "../ops.yml:1" in shop.world.ops("status", **shop.environ()).err
    assert shop.ops("status").code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("checkout")
def test_checkout_of_another_user_is_not_used() -> None:
    """Such as /tmp/.git and /tmp/ops.yml, which everybody can write."""
    assert find_config() == Path("../../ops.yml")
    assert find_config(os.getuid() + 1) == Path("ops.yml")


def test_configuration_above_the_checkout_is_not_used(shop: Shop, checkout: Path) -> None:
    shutil.rmtree(shop.folder / ".git")
    (checkout.parent / ".git").write_text("gitdir: elsewhere\n")  # of a worktree

    outcome = shop.world.ops("status", **shop.environ())

    assert outcome.code == 2
    assert "error: ops.yml " in outcome.err


def test_choices_of_forty_services_say_how_many_are_left_out(shop: Shop) -> None:
    shop.world.config.write_text(forty_services())

    refused = shop.ops("rollback-worker", "--dry-run").err

    assert "checkout-11 in production, and 68 more\n" in refused
    assert refused.count("--service checkout-") == 12
