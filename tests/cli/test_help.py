"""Help: sections of `ops --help`, and examples that the commands accept."""

import re
import shlex

import click
import pytest

from ops.app.registry import find_runbook_file, load_runbook, runbook_names, scheduled_files
from ops.cli import cli
from ops.cli.help import SECTIONS
from tests.conftest import World
from tests.support.reference import commands, examples

EXAMPLES = [(name, example) for name, command in commands() for example in examples(command)]
HIDDEN = {"ai-failback", "gate", "maintenance due", "recover", "remove-banner", "site", "switches clear"}


def parse(line: str) -> click.Context:
    """Parse a command line as `ops` does, without running it."""
    program, *words = shlex.split(line)
    assert program == "ops"
    group: click.Group = cli
    context = click.Context(group, info_name=program)
    while True:
        name, command, words = group.resolve_command(context, words)
        assert command is not None
        if not isinstance(command, click.Group):
            return command.make_context(name, words, parent=context)
        context, group = click.Context(command, parent=context, info_name=name), command


def test_every_command_has_an_example() -> None:
    assert {name for name, _ in EXAMPLES} == {name for name, _ in commands()}


IN_A_GROUP = {
    ("ops limits propose", "ops propose-limits"),
    ("ops hold lift", "ops lift-commit-hold"),
    ("ops hold lift-migration", "ops lift-hold"),
}
"""Command of a group, and that of the same runbook, which its examples show."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_example_is_accepted_by_its_command(name: str, example: str) -> None:
    context = parse(example)

    assert context.command_path == name or (name, context.command_path) in IN_A_GROUP


def test_example_parser_refuses_an_unknown_option() -> None:
    with pytest.raises(click.UsageError):
        parse("ops status --environment production --servise api")


def test_help_has_each_command_in_one_section(world: World) -> None:
    out = world.ops("--help").out

    shown = re.findall(r"^  ([a-z][a-z-]*(?: [a-z]+)?)  ", out, re.MULTILINE)
    assert sorted(shown) == sorted({*cli.list_commands(click.Context(cli))} - HIDDEN)
    assert re.findall(r"^(\w.*):$", out, re.MULTILINE) == ["Options", *SECTIONS]


@pytest.mark.sampled
@pytest.mark.parametrize("name", [name for name, command in cli.commands.items() if isinstance(command, click.Group)])
def test_help_of_a_group_has_whole_lines(name: str, world: World) -> None:
    assert "..." not in world.ops(name, "--help").out.replace("[ARGS]...", "")


@pytest.mark.parametrize("name", sorted(HIDDEN))
def test_hidden_command_works(name: str, world: World) -> None:
    assert world.ops(*name.split(), "--help").code == 0


@pytest.mark.sampled
@pytest.mark.parametrize("name", [*runbook_names(), *scheduled_files()])
def test_section_is_read_from_the_file_of_the_runbook(name: str) -> None:
    section = find_runbook_file(name).section

    assert section == load_runbook(name).section
    assert section in {*SECTIONS, ""}


def test_examples_begin_with_the_program_that_was_called(world: World) -> None:
    assert "\n  ops status --environment production\n" in world.ops("status", "--help").out
    called = world.ops("status", "--help", OPS_PROGRAM="./run ops").out
    assert "\n  ./run ops status --environment production\n" in called


@pytest.mark.parametrize("words", [(), ("rollback-worker",), ("incident", "note")])
def test_word_help_shows_the_help(words: tuple[str, ...], world: World) -> None:
    outcome = world.ops("help", *words)

    assert (outcome.code, outcome.out) == (0, world.ops(*words, "--help").out)


def test_former_names_still_work() -> None:
    """Workflows of 0.1 use them; no help lists them."""
    assert parse("ops database guard --dry-run").command is parse("ops hold migrate --dry-run").command
    assert "guard" not in {name.rpartition(" ")[2] for name, _ in EXAMPLES if name.startswith("ops database ")}
