"""--service, --environment and --config can be left out where only one fits."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from ops.app.config_path import find_config
from tests.cli.test_help import parse
from tests.conftest import Outcome, World
from tests.support.commands import Command
from tests.support.shop import Shop, open_shop


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
    assert "Missing option '--environment'" in outcome.err


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
