"""Measure a real account and a real repository: `ops verify-platform`."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.help import ExampleCommand
from ops.cli.options import AS_JSON, CONFIG, YES_HELP
from ops.cli.output import echo, echo_json, echo_line, is_for_machine, print_result, to_masked_line
from ops.cli.runbook_command import confirm_name
from ops.core.client_guards import parse_token
from ops.core.errors import IMPLICIT_DRY_RUN, ConfigError, Reason
from ops.core.redaction import Redactor
from ops.engine.signals import PROCESS_SIGNALS

if TYPE_CHECKING:
    from ops.core.clock import Clock
    from ops.platform.account import VerificationAccount
    from ops.platform.github_repository import VerificationRepository

TOKEN = "VERIFY_CLOUDFLARE_API_TOKEN"  # noqa: S105  (the name of the variable)
READ_TOKEN = "VERIFY_CLOUDFLARE_READ_TOKEN"  # noqa: S105  (the name of the variable)
GITHUB_TOKEN = "VERIFY_GITHUB_TOKEN"  # noqa: S105  (the name of the variable)
ACCOUNT_PLAN = (
    "This run creates a Worker on workers.dev, a Pages project, a KV namespace and a D1 database with one new name. "
    "It measures for ten to twenty minutes, and deletes them."
)
REPOSITORY_PLAN = (
    "This run creates branches, an environment, a label and an issue with one new name. At its end it deletes them, "
    "and closes the issue. You merge two pull requests: the first adds a harmless workflow, the second removes it. "
    "Without the first merge, workflows are not measured."
)


@click.command(
    "verify-platform",
    cls=ExampleCommand,
    epilog="""
    ops verify-platform --account 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f --repository acme/measured
    ops verify-platform --account 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f --yes --markdown
    ops verify-platform --repository acme/measured --cleanup
    """,
)
@click.option("--account", default="", metavar="ID", help="Cloudflare account to measure, best an empty one")
@click.option("--repository", default="", metavar="OWNER/NAME", help="Repository to measure, best an empty private one")
@click.option("--same-account", is_flag=True, help="Measure an account that holds a service of ops.yml")
@click.option("--same-repository", is_flag=True, help="Measure a repository that ops.yml or the checkout names")
@click.option("--cleanup", is_flag=True, help="Only delete what runs left; first wait for runs that go on")
@click.option("--yes", "-y", is_flag=True, help=YES_HELP)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("platform.json"),
    help="File for the result (default: platform.json)",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown")
@AS_JSON
@CONFIG
@click.pass_obj
def verify_platform(
    redactor: Redactor,
    /,
    *,
    account: str,
    repository: str,
    same_account: bool,
    same_repository: bool,
    cleanup: bool,
    yes: bool,
    output: Path,
    as_markdown: bool,
    as_json: bool,
    config: Path,
) -> int:
    """Measure whether your Cloudflare and GitHub behave as Backout assumes.

    Best on an empty account and an empty private repository of the team. It needs tokens of its own in
    VERIFY_CLOUDFLARE_API_TOKEN and VERIFY_GITHUB_TOKEN. The result names no account, repository, host or token. Exit
    code 4: something differs that a recovery relies on.
    """
    from ops.app.session import find_addresses

    is_quiet = is_for_machine(as_markdown=as_markdown, as_json=as_json)
    say = partial(echo_line, err=is_quiet)
    if not (account or repository):
        raise click.UsageError("add --account ID, --repository OWNER/NAME, or both")
    if not os.access(output.parent, os.W_OK):
        raise click.UsageError(f"--output: {output.parent} is not a writable folder")
    if account:
        _check_account(account, config, same_account=same_account)
    if repository:
        _check_repository(repository, config, redactor, same_repository=same_repository)
    with ExitStack() as stack:
        enter = stack.enter_context
        opened = enter(_open_account(account, os.environ, redactor)) if account else None
        clock = opened.clock if opened else find_addresses(os.environ)[2]
        watched = enter(_open_repository(repository, config.parent, redactor, clock)) if repository else None
        names = _describe_plan(opened, watched, say, cleanup=cleanup)
        is_interactive = sys.stdin.isatty() and sys.stdout.isatty() and not is_quiet
        if not (yes or is_interactive):
            say("nothing was changed: add --yes to start")
            return IMPLICIT_DRY_RUN
        for name in () if yes else names:
            confirm_name(name)
        if cleanup:
            return _delete_leftovers(opened, watched, say, as_json=as_json)
        return _measure_and_report(opened, watched, say, output, as_markdown=as_markdown, as_json=as_json)


def _describe_plan(
    account: "VerificationAccount | None",
    repository: "VerificationRepository | None",
    say: Callable[[str], object],
    *,
    cleanup: bool,
) -> list[str]:
    """Print what is going to be made and what is left, and return the names that a person types to confirm.

    Raises ProviderError: a list cannot be read, and a run is going to start.
    """
    from ops.platform.github_cleanup import RepositoryCleanup

    names = list[str]()
    for subject, plan, name, find in (
        ("Account", ACCOUNT_PLAN, account and account.read_name(), account and account.find_leftovers),
        (
            "Repository",
            REPOSITORY_PLAN,
            repository and repository.name,
            repository and RepositoryCleanup(repository).find_leftovers,
        ),
    ):
        if not (name and find):
            continue
        left, errors = find()
        if errors and not cleanup:
            raise errors[0]
        names.append(to_masked_line(name))
        say(
            f"{subject} {names[-1]}. {plan}"
            if not cleanup
            else f"{subject} {names[-1]}. The cleanup deletes {len(left)} things of all runs, also of one that goes on."
        )
        for each in left:
            say(f"  made by another run: {each.kind} {each.name}")
        if left and not cleanup:
            say("  This run keeps them: the other run may go on. After its end, `--cleanup` deletes them.")
        for error in errors:
            say(f"  a list cannot be read: {error}")
    return names


def _check_account(account: str, config: Path, *, same_account: bool) -> None:
    """Refuse an account that holds a service of ops.yml. Without an ops.yml there is none."""
    from ops.app.configuration import read_config
    from ops.platform.team_use import require_unused_account

    if not re.fullmatch("[0-9a-f]{32}", account):
        raise click.UsageError("--account takes an account ID of 32 hexadecimal digits")
    if not same_account and config.exists():
        require_unused_account(account, read_config(config)[0], config.name)


def _check_repository(repository: str, config: Path, redactor: Redactor, *, same_repository: bool) -> None:
    """Refuse a repository that ops.yml or the checkout names."""
    from ops.platform.team_use import require_unused_repository

    if not re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", repository):
        raise click.UsageError("--repository takes OWNER/NAME")
    if not same_repository:
        require_unused_repository(repository, _list_repositories(config, redactor), config.name)


def _list_repositories(config: Path, redactor: Redactor) -> Iterator[str]:
    """Yield the repositories that ops.yml, the environment and the origin of its folder name."""
    from ops.app.configuration import choose_repository, read_config
    from ops.platform.team_use import list_repositories

    if named := os.environ.get("GITHUB_REPOSITORY"):
        yield named
    environ = {key: value for key, value in os.environ.items() if key != "GITHUB_REPOSITORY"}
    with suppress(ConfigError):
        yield choose_repository("", environ, config.parent, redactor)
    if config.exists():
        yield from list_repositories(read_config(config)[0])


@contextmanager
def _open_repository(name: str, folder: Path, redactor: Redactor, clock: "Clock") -> "Iterator[VerificationRepository]":
    from ops.app.configuration import add_server
    from ops.core.client_guards import uses_one_sandbox
    from ops.platform.github_repository import VerificationRepository

    value = _read_token(GITHUB_TOKEN, os.environ, redactor)
    environ = add_server(os.environ, folder, redactor)
    if not uses_one_sandbox(environ):
        raise ConfigError(
            "GitHub or Cloudflare is a sandbox, and the other one is not",
            reason=Reason.NOT_LOOPBACK,
            hint="Run `unset GITHUB_API_URL CLOUDFLARE_API_BASE_URL OPS_EDGE_URL OPS_CLOCK_URL`.",
        )
    with VerificationRepository(environ, name, parse_token(GITHUB_TOKEN, value), clock).opened() as opened:
        yield opened


def _read_token(variable: str, environ: Mapping[str, str], redactor: Redactor) -> str:
    value = environ.get(variable, "")
    redactor.add_secret(value)
    if not value:
        raise ConfigError(
            f"the token for a verification is missing: {variable} is not set",
            reason=Reason.TOKEN_MISSING,
            hint=f"Create a token as docs/how-to/first-day.md says, and run `export {variable}=…`.",
        )
    return value


@contextmanager
def _open_account(account: str, environ: Mapping[str, str], redactor: Redactor) -> "Iterator[VerificationAccount]":
    from ops.app.session import find_addresses
    from ops.platform.account import VerificationAccount

    token = parse_token(TOKEN, _read_token(TOKEN, environ, redactor))
    read_token = (
        parse_token(READ_TOKEN, _read_token(READ_TOKEN, environ, redactor)) if environ.get(READ_TOKEN) else None
    )
    base_url, edge_url, clock = find_addresses(environ)
    with VerificationAccount(base_url, edge_url, account, token, clock, read_token=read_token).opened() as opened:
        yield opened


def _delete_leftovers(
    account: "VerificationAccount | None",
    repository: "VerificationRepository | None",
    say: Callable[[str], object],
    *,
    as_json: bool,
) -> int:
    from ops.platform.github_cleanup import RepositoryCleanup
    from ops.platform.github_verification import say_removal

    with PROCESS_SIGNALS.in_run():
        count = 0
        try:
            if account:
                count += account.delete_leftovers()
        finally:  # a failing half does not keep what is left in the other one
            if repository:
                cleanup = RepositoryCleanup(repository)
                count += cleanup.delete_leftovers()
                say_removal(repository, cleanup, say)
    if as_json:
        echo_json({"schema": 1, "deleted": count})
    else:
        echo(f"deleted {count} things that runs left" if count else "nothing was left to delete")
    return 0


def _measure_and_report(
    account: "VerificationAccount | None",
    repository: "VerificationRepository | None",
    say: Callable[[str], object],
    output: Path,
    *,
    as_markdown: bool,
    as_json: bool,
) -> int:
    from ops.platform.platform_run import measure_platform
    from ops.platform.report import PlatformReport

    with PROCESS_SIGNALS.in_run() as signals:
        report = measure_platform(account, repository, say, signals.delay)
    print_result(report, PlatformReport.lines, PlatformReport.render_markdown, as_markdown=as_markdown, as_json=as_json)
    output.write_text(json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"wrote {output}. Commit it beside ops.yml; docs/how-to/first-day.md says how to share it.")
    return report.exit_code
