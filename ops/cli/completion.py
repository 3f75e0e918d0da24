"""Complete commands, options and values in a shell: `ops completion` and its scripts.

Values come from ops.yml alone: a completion never sends a request. Without a valid ops.yml there are none.
"""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.app.config_path import find_config
from ops.app.registry import load_runbook, runbook_names, scheduled_files
from ops.cli.help import PROGRAM, ExampleCommand
from ops.cli.output import echo
from ops.core.errors import ConfigError

if TYPE_CHECKING:
    from ops.config import Config, Environment

VARIABLE = "_OPS_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops completion bash
    ops completion zsh
    ops completion fish
    """,
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that completes commands in a shell.

    bash: eval "$(ops completion bash)" in ~/.bashrc.

    zsh: eval "$(ops completion zsh)" in ~/.zshrc, after compinit.

    fish: ops completion fish | source in ~/.config/fish/config.fish.
    """
    echo(render_script(shell, os.environ.get("OPS_PROGRAM", "")))


def render_script(shell: str, program: str) -> str:
    """Return the script for a shell. With a program such as `./run ops` it also defines the command `ops`."""
    from click import shell_completion

    found = shell_completion.get_completion_class(shell)
    assert found is not None
    script = (found.source_template % found(click.Command(PROGRAM), {}, PROGRAM, VARIABLE).source_vars()).strip()
    if not program:
        return script
    path, *words = shlex.split(program)
    call = shlex.join([str(Path(path).absolute()), *words])
    define = f"function ops; {call} $argv; end" if shell == "fish" else f'ops() {{ {call} "$@"; }}'
    lines = [line for line in script.splitlines() if "$+commands[ops]" not in line]
    return "\n".join([define, *(_call_instead(line, call) for line in lines)])


def _call_instead(line: str, call: str) -> str:
    """Replace the call of the program in a line of click's script: `env` cannot start a function of the shell."""
    for end in ("bash_complete $1)", "zsh_complete ops)", "(commandline -t) ops)"):
        if end in line:
            words = end.rpartition(" ")[0]
            return line.replace(end, f"{words} {call})")
    return line


def answer_shell(cli: click.Group) -> int | None:
    """Answer a shell that asks for completions; None if this process was started for something else."""
    instruction = os.environ.get(VARIABLE)
    if not instruction:
        return None
    from click.shell_completion import shell_complete

    return shell_complete(cli, {}, PROGRAM, VARIABLE, instruction)


def complete_environment(context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    config = _read_config(context)
    return _beginning(incomplete, config.environments if config else ())


def complete_service(context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the services that fit the runbook, of the environment if one was typed."""
    from ops.app.buttons import fitting_services

    name, environments = context.command.name, _environments(context)
    if name not in {*runbook_names(), *scheduled_files()}:
        return _beginning(incomplete, (service for each in environments for service in each.services))
    runbook = load_runbook(str(name))
    return _beginning(incomplete, (service for each in environments for service in fitting_services(each, runbook)))


def complete_choice(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the values that the button of the runbook offers for this parameter."""
    runbook = load_runbook(str(context.command.name))
    choices = (runbook.parameter_choices(each).get(str(param.name), ()) for each in _environments(context))
    return _beginning(incomplete, (value for values in choices for value in values))


def complete_drill(_context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from ops.drills import names

    return _beginning(incomplete, names())


def _environments(context: click.Context) -> "list[Environment]":
    config = _read_config(context)
    if config is None:
        return []
    typed = config.environments.get(context.params.get("environment") or "")
    return [typed] if typed else list(config.environments.values())


def _read_config(context: click.Context) -> "Config | None":
    from ops.app.configuration import read_config

    try:
        return read_config(context.params.get("config") or find_config())[0]
    except ConfigError:
        return None


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    """Return the names that start with the typed text, each once."""
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
