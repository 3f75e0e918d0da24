"""Options of several commands: their types, their completion in a shell, and defaults.

Values come from ops.yml, without a request; only versions come from Cloudflare. Without a valid ops.yml there are none.
"""

import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.app.registry import load_runbook, runbook_names, scheduled_files
from ops.app.scope import DEFAULT_CONFIG, find_config
from ops.cli.help import PROGRAM, ExampleCommand
from ops.cli.output import echo
from ops.core.clock import parse_utc
from ops.core.errors import ConfigError
from ops.core.names import quote_name
from ops.core.next_step import build_command, shorten_ids
from ops.core.redaction import Redactor
from ops.core.threads import start_call
from ops.engine.runbook import Runbook, parameter_choices, params_type

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ops.app.scope import Place
    from ops.config import Config, Environment
    from ops.status.versions import Candidate

VARIABLE = "_OPS_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
YES_HELP = "Skip the confirmation (without it, no terminal means a dry run, exit code 9)"
DEFAULT = "default: the only one that fits"
VERSIONS_WAIT = 3.0
"""Seconds that a shell waits for the versions of a service."""


def _report_config(context: click.Context, _option: click.Parameter, path: Path) -> Path:
    """Name the configuration that was found in a folder above; --json keeps stderr for events.

    Without an object in the context, the words are only parsed.
    """
    is_quiet = context.resilient_parsing or context.params.get("as_json") or context.find_root().obj is None
    if path != DEFAULT_CONFIG and path == find_config() and not is_quiet:
        echo(f"using {path}", err=True)
    return path


CONFIG_OPTION: dict[str, Any] = {
    "type": click.Path(path_type=Path),
    "default": find_config,
    "callback": _report_config,
    "show_default": False,
    "help": "Configuration (default: ops.yml, here or in a folder above of this checkout)",
}
CONFIG = click.option("--config", **CONFIG_OPTION)


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

    completion_class = shell_completion.get_completion_class(shell)
    assert completion_class is not None
    script = (
        completion_class.source_template % completion_class(click.Command(PROGRAM), {}, PROGRAM, VARIABLE).source_vars()
    ).strip()
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
    config = _read_config_to_complete(context)
    return _names_to_complete(incomplete, config.environments if config else ())


def complete_service(context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the services that fit the runbook, of the environment if one was typed."""
    from ops.app.scope import fitting_services

    name, environments = context.command.name, _environments_to_complete(context)
    if name not in {*runbook_names(), *scheduled_files()}:
        return _names_to_complete(incomplete, (service for each in environments for service in each.services))
    runbook = load_runbook(str(name))
    return _names_to_complete(
        incomplete, (service for each in environments for service in fitting_services(each, runbook))
    )


def complete_choice(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the values that the button of the runbook offers for this parameter."""
    runbook = load_runbook(str(context.command.name))
    choices = (
        parameter_choices(params_type(runbook), each).get(str(param.name), ())
        for each in _environments_to_complete(context)
    )
    return _names_to_complete(incomplete, (value for values in choices for value in values))


def complete_label(context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    config = _read_config_to_complete(context)
    return _names_to_complete(incomplete, config.labels if config else ())


def complete_version(context: click.Context, _param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Return the versions that a rollback can deploy, its own choice first.

    Without a token, a certain service, or an answer within VERSIONS_WAIT there are none. Only a shell gets them: an
    error message waits for no read.
    """
    if not os.environ.get(VARIABLE):
        return []
    from click.shell_completion import CompletionItem

    from ops.status.versions import LIVE, TARGET

    reading = start_call(lambda: _read_versions(context))
    try:
        found = reading.result(timeout=VERSIONS_WAIT)
    except Exception:  # noqa: BLE001  a shell shows nothing instead
        return []
    ordered = sorted((each for each in found if each.verdict != LIVE), key=lambda each: each.verdict != TARGET)
    items = ((shorten_ids(each.id), f"{each.verdict}: {each.message or each.why}") for each in ordered)
    return [CompletionItem(name, help=text) for name, text in items if name.startswith(incomplete[:8])]


def _read_versions(context: click.Context) -> "Sequence[Candidate]":
    """Read the versions of the typed service, or of the only one. Raises OpsError."""
    from ops.status.versions import service_versions

    config = context.params.get("config") or find_config()
    typed = {name: context.params.get(name) or "" for name in ("environment", "service")}
    place = choose_runbook_place(load_runbook(str(context.command.name)), typed, config)
    return service_versions(place, None, config, os.environ, Redactor()).candidates


def complete_drill(_context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from ops.drills import names

    return _names_to_complete(incomplete, names())


def _environments_to_complete(context: click.Context) -> "list[Environment]":
    config = _read_config_to_complete(context)
    if config is None:
        return []
    typed = config.environments.get(context.params.get("environment") or "")
    return [typed] if typed else list(config.environments.values())


def _read_config_to_complete(context: click.Context) -> "Config | None":
    from ops.app.configuration import read_config

    try:
        return read_config(context.params.get("config") or find_config())[0]
    except ConfigError:
        return None


def _names_to_complete(incomplete: str, names: Iterable[str]) -> list[str]:
    """Return the names that start with the typed text, each once."""
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


ENVIRONMENT = click.option(
    "--environment",
    default="",
    shell_complete=complete_environment,
    help="Environment in ops.yml (default: the only one)",
)
ENVIRONMENT_FILTER = click.option(
    "--environment", default="", shell_complete=complete_environment, help="Environment in ops.yml (default: all)"
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
AS_MARKDOWN = click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown for an issue or a chat")


def choose_environment_option(name: str, environment: str, config: Path, **options: Any) -> str:
    """Return the environment of a command, or the only one. `options` are the other ones. Raises ConfigError."""
    if environment:
        return environment
    from ops.app.configuration import read_config
    from ops.app.scope import Place

    places = [Place(each) for each in read_config(config)[0].environments]
    return _choose_place(name, Place(), places, options, config).environment


def choose_service_place(
    name: str,
    service: str,
    environment: str,
    config: Path,
    options: Mapping[str, Any],
    *,
    is_argument: bool = True,
) -> "Place":
    """Return the place of a command for a service, or the only one. Raises ConfigError.

    `options` are the other ones. `is_argument`: the service is an argument of the command, not an option.
    """
    from ops.app.configuration import read_config
    from ops.app.scope import Place

    given = Place(environment, service)
    if environment and service:
        return given
    environments = read_config(config)[0].environments.values()
    places = [Place(each.name, service) for each in environments for service in each.services]
    return _choose_place(name, given, places, options, config, is_argument=is_argument)


def choose_runbook_place(runbook: Runbook[Any], options: Mapping[str, Any], config: Path) -> "Place":
    """Return environment and service as given in the options of a run, or the only ones. Raises ConfigError."""
    from ops.app.configuration import read_config
    from ops.app.scope import NEEDS, Place, runbook_places

    given = Place(options["environment"], options.get("service", ""))
    has_service = "service" in options
    if given.environment and (given.service or not has_service):
        return given
    places = runbook_places(read_config(config)[0], runbook, with_service=has_service)
    needs = " and ".join(filter(None, [NEEDS[runbook.kinds[0]], runbook.setting]))
    return _choose_place(runbook.name, given, places, options, config, needs=needs)


def github_environ(config: Path, redactor: Redactor, *, is_quiet: bool = False) -> Mapping[str, str]:
    """Return the environment with GitHub's repository and token, and print which repository was found on a laptop."""
    from ops.app.configuration import log_in_to_github

    environ, note = log_in_to_github(os.environ, config.resolve().parent, redactor)
    if note and not is_quiet:
        echo(note, err=True)
    return environ


def _choose_place(
    name: str,
    given: "Place",
    places: "list[Place]",
    options: Mapping[str, Any],
    config: Path,
    *,
    is_argument: bool = False,
    needs: str = "",
) -> "Place":
    """`is_argument`: the service is an argument of the command, not an option."""
    from ops.app.configuration import command_prefix
    from ops.app.scope import choose_place

    program, *extra = command_prefix(os.environ, config)

    def place_command(place: "Place") -> str:
        where = {"service": "" if is_argument else place.service, "environment": place.environment}
        full_name = f"{name} {place.service}" if is_argument else name
        return build_command(program, full_name, where | {**options, **where}, *extra)

    return choose_place(name, given, places, place_command, needs=needs)


class UtcTime(click.ParamType[datetime]):
    name = "UTC"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_utc(str(value))
        except ValueError:
            self.fail(f'"{value}" is no moment; write it as 2026-11-24T03:05Z', param, ctx)


class IncidentNumber(click.ParamType[int]):
    """Number of an issue in the operations repository: 42, #42, or the issue's URL."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        if number := re.fullmatch(r"#?([1-9][0-9]{0,9})", text, re.ASCII):
            return int(number[1])
        address = re.fullmatch(
            r"https?://([^/\s]+)/([\w.-]+/[\w.-]+)/issues/([1-9][0-9]{0,9})(?:[/?#]\S*)?", text, re.ASCII
        )
        if address is None:
            self.fail(f'"{quote_name(text)}" is no incident; write 42, "#42", or the address of the issue', param, ctx)
        server = (os.environ.get("GITHUB_SERVER_URL") or "https://github.com").partition("://")[2].rstrip("/")
        own_repository = f"{server}/{os.environ.get('GITHUB_REPOSITORY', '')}"
        if own_repository.endswith("/"):
            self.fail("GITHUB_REPOSITORY is not set, so the address cannot be checked; write the number", param, ctx)
        if f"{address[1]}/{address[2]}".lower() != own_repository.lower():
            self.fail(f"the issue is in {address[1]}/{address[2]}, and incidents are in {own_repository}", param, ctx)
        return int(address[3])


INCIDENT = IncidentNumber()


def override_option() -> click.Option:
    """Return the option of a run that a stop can refuse on a laptop."""
    return click.Option(["--override-stop"], is_flag=True, help="With --yes: go on although recoveries are stopped")


def common_options(*, needs_environment: bool = False) -> list[click.Parameter]:
    """Return the options of every run; `needs_environment`: --environment has no default."""
    default: dict[str, Any] = {"required": True} if needs_environment else {"default": ""}
    return [
        click.Option(
            ["--environment"],
            shell_complete=complete_environment,
            help=f"Environment in ops.yml ({DEFAULT})",
            **default,
        ),
        click.Option(["--incident"], type=INCIDENT, help="Incident issue: 42, #42 or its address"),
        click.Option(
            ["--began"],
            type=UtcTime(),
            help="Start of the incident in UTC; rollbacks doubt releases that were new then",
        ),
        click.Option(["--requested-at"], type=UtcTime(), help="Time of the original request in UTC (default: now)"),
        click.Option(
            ["--permission"],
            default="",
            help="Whether the requester's permission was verified: checked, or not checked",
        ),
        click.Option(["--dry-run"], is_flag=True, help="Read and show the plan; change nothing"),
        click.Option(["--verbose"], is_flag=True, help="Show long lists of the plan whole"),
        click.Option(["--yes"], is_flag=True, help=YES_HELP),
        click.Option(
            ["--json", "as_json"], is_flag=True, help="Print one JSON result on stdout, and events as JSON on stderr"
        ),
        click.Option(["--config"], **CONFIG_OPTION),
    ]


def ask_read_only_tokens(url: str, redactor: Redactor, *, without: str) -> dict[str, str]:
    """Return variable → token that a person pastes, for this command only; none if they press Enter.

    `without`: what Enter does.
    """
    from ops.config.checks import DEFAULT_TOKEN

    echo(f"A read-only Cloudflare token finds Workers, sites and URLs. Create one, and delete it afterwards:\n  {url}")
    echo("If no token reads all your accounts, create one for each, and paste them with spaces between.")
    text = f"Paste it here (it stays hidden), or Enter to {without}"
    values: list[str] = click.prompt(text, default="", show_default=False, hide_input=True).split()
    for value in values:
        redactor.add_secret(value)
    return {f"{DEFAULT_TOKEN}_{number}" if number > 1 else DEFAULT_TOKEN: each for number, each in enumerate(values, 1)}
