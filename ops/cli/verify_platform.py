"""Measure a real account: `ops verify-platform`."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.help import ExampleCommand
from ops.cli.options import CONFIG, YES_HELP
from ops.cli.output import echo, echo_json, is_for_machine, one_line, print_result
from ops.cli.runbook_command import confirm_name
from ops.core.client_guards import parse_token
from ops.core.errors import IMPLICIT_DRY_RUN, ConfigError, Reason, Refused
from ops.core.redaction import Redactor
from ops.engine.signals import PROCESS_SIGNALS

if TYPE_CHECKING:
    from ops.platform.account import VerificationAccount

TOKEN = "VERIFY_CLOUDFLARE_API_TOKEN"  # noqa: S105  (the name of the variable)
PLAN = (
    "It makes a Worker on workers.dev, a Pages project, a KV namespace and a D1 database, each with one new name, "
    "measures for ten to twenty minutes, and deletes them."
)


@click.command(
    "verify-platform",
    cls=ExampleCommand,
    epilog="""
    ops verify-platform --account 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
    ops verify-platform --account 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f --yes --markdown
    ops verify-platform --account 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f --cleanup
    """,
)
@click.option("--account", required=True, metavar="ID", help="Cloudflare account to measure, best an empty one")
@click.option("--same-account", is_flag=True, help="Measure an account that holds a service of ops.yml")
@click.option("--cleanup", is_flag=True, help="Only delete what killed runs left")
@click.option("--yes", "-y", is_flag=True, help=YES_HELP)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("platform.json"),
    help="File for the result (default: platform.json)",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
@CONFIG
@click.pass_obj
def verify_platform(
    redactor: Redactor,
    /,
    *,
    account: str,
    same_account: bool,
    cleanup: bool,
    yes: bool,
    output: Path,
    as_markdown: bool,
    as_json: bool,
    config: Path,
) -> int:
    """Measure whether Cloudflare behaves as Backout assumes, on an account of your own.

    It needs a token of its own in VERIFY_CLOUDFLARE_API_TOKEN. The result names no account, host or token. Exit code 4:
    something differs that a recovery relies on.
    """
    is_quiet = is_for_machine(as_markdown=as_markdown, as_json=as_json)
    say = partial(_print_progress, is_quiet=is_quiet)
    if not os.access(output.parent, os.W_OK):
        raise click.UsageError(f"--output: {output.parent} is no folder that can be written")
    _check_account(account, config, same_account=same_account)
    with _open_account(account, os.environ, redactor) as opened:
        name = one_line(opened.read_name())
        left, errors = opened.find_leftovers()
        if errors and not cleanup:
            raise errors[0]
        say(f"Account {name}. {PLAN}" if not cleanup else f"Account {name}: {len(left)} resources of earlier runs")
        for each in left:
            say(f"  left by an earlier run: {each.kind} {each.name}")
        for error in errors:
            say(f"  a list cannot be read: {error}")
        is_interactive = sys.stdin.isatty() and sys.stdout.isatty() and not is_quiet
        if not (yes or is_interactive):
            say("nothing was changed: add --yes to start")
            return IMPLICIT_DRY_RUN
        if not yes:
            confirm_name(name)
        if cleanup:
            return _delete_leftovers(opened, as_json=as_json)
        return _measure_and_report(opened, say, output, as_markdown=as_markdown, as_json=as_json)


def _print_progress(text: str, *, is_quiet: bool) -> None:
    echo(one_line(text), err=is_quiet)


def _check_account(account: str, config: Path, *, same_account: bool) -> None:
    """Refuse an account that holds a service of ops.yml. Without an ops.yml there is none."""
    from ops.app.configuration import read_config

    if not re.fullmatch("[0-9a-f]{32}", account):
        raise click.UsageError("--account takes an account ID of 32 hexadecimal digits")
    if same_account or not config.exists():
        return
    holding = [
        f"{each.name} ({', '.join(each.services)})"
        for each in read_config(config)[0].environments.values()
        if each.account_id == account and each.services
    ]
    if holding:
        raise Refused(
            f"the account holds services of {config.name}: {'; '.join(holding)}",
            reason=Reason.NOT_AUTHORISED,
            hint="Take an empty account, or add `--same-account`: a run writes only to resources of its own.",
        )


@contextmanager
def _open_account(account: str, environ: Mapping[str, str], redactor: Redactor) -> "Iterator[VerificationAccount]":
    from ops.app.session import find_addresses
    from ops.platform.account import VerificationAccount

    value = environ.get(TOKEN, "")
    redactor.add_secret(value)
    if not value:
        raise ConfigError(
            f"the token for a verification is missing: {TOKEN} is not set",
            reason=Reason.TOKEN_MISSING,
            hint=f"Create a token as docs/how-to/first-day.md says, and run `export {TOKEN}=…`.",
        )
    base_url, edge_url, clock = find_addresses(environ)
    with VerificationAccount(base_url, edge_url, account, parse_token(TOKEN, value), clock).opened() as opened:
        yield opened


def _delete_leftovers(opened: "VerificationAccount", *, as_json: bool) -> int:
    with PROCESS_SIGNALS.in_run():
        count = opened.delete_leftovers()
    if as_json:
        echo_json({"schema": 1, "deleted": count})
    else:
        echo(f"deleted {count} resources of earlier runs" if count else "nothing was left to delete")
    return 0


def _measure_and_report(
    opened: "VerificationAccount",
    say: Callable[[str], object],
    output: Path,
    *,
    as_markdown: bool,
    as_json: bool,
) -> int:
    from ops.platform.report import PlatformReport
    from ops.platform.verification import measure_account

    began, at = opened.clock.monotonic(), opened.clock.now()
    with PROCESS_SIGNALS.in_run() as signals:
        results = measure_account(opened, say, signals.delay)
    report = PlatformReport(at, opened.clock.monotonic() - began, opened.requests, results)
    print_result(report, PlatformReport.lines, PlatformReport.render_markdown, as_markdown=as_markdown, as_json=as_json)
    output.write_text(json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"wrote {output}")
    return report.exit_code
