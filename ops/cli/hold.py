"""Check before a deployment whether its commit was rolled back: `ops hold check`."""

import contextlib
import os
from dataclasses import asdict
from pathlib import Path

import click

from ops.cli.help import ExampleGroup
from ops.cli.options import CONFIG, ENVIRONMENT, choose_service_place, complete_service
from ops.cli.output import annotate, echo, echo_json
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.redaction import Redactor
from ops.github import actions


@click.group(cls=ExampleGroup)
def hold() -> None:
    """Keep a rolled back commit from being deployed again."""


@hold.command(
    epilog="""
    ops hold check --service api --environment production
    ops hold check --service api --commit 4f2a9c1 --folder ../shop
    """
)
@click.option("--service", default="", shell_complete=complete_service, help="Service (default: the only one)")
@ENVIRONMENT
@click.option("--commit", default="", metavar="SHA", help="Commit to deploy (default: the one that is checked out)")
@click.option("--folder", default=".", help="Folder of the application's clone (default: here)")
@click.option(
    "--on-unreadable",
    default="warn",
    type=click.Choice(["warn", "refuse"]),
    help="If holds cannot be read: warn or refuse (default: warn)",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
@CONFIG
@click.pass_obj
def check(
    redactor: Redactor,
    /,
    *,
    service: str,
    environment: str,
    commit: str,
    folder: str,
    on_unreadable: str,
    as_json: bool,
    config: Path,
) -> None:
    """Refuse a commit that contains a rolled back one.

    It passes if a later commit has the trailer `Fixes-Incident: 42`. Exit code 3: refused. It only reads.
    """
    from ops.app.configuration import load_config
    from ops.app.session import Session
    from ops.tools import hold_check

    options = {"commit": commit, "folder": folder, "json": as_json}
    chosen = choose_service_place("hold check", service, environment, config, options, is_argument=False)
    place = load_config(config, os.environ, redactor).environment(chosen.environment)
    asked = place.service(chosen.service)
    repository = asked.repository or os.environ.get("GITHUB_REPOSITORY", "")
    question = hold_check.Question(place.account_id, asked.worker, asked.pages, commit, folder, repository)
    with contextlib.ExitStack() as ending:
        token = Session(place, os.environ, ending).token.reveal()
    try:
        answer = hold_check.check(question, os.environ, token=token, refuses_unread=on_unreadable == "refuse")
    except hold_check.UsageError as wrong:
        message, hint = wrong.args
        raise ConfigError(message, hint=hint) from None
    actions.write_job_outputs(os.environ, {"decision": answer.decision})
    if as_json:
        echo_json({"schema": 1, **asdict(answer)})
    if answer.decision == hold_check.REFUSED:
        is_held = any(each.state == hold_check.HELD for each in answer.holds)
        raise Refused(answer.message, reason=Reason.COMMIT_HELD if is_held else Reason.HOLD_UNREAD, hint=answer.hint)
    if answer.decision == hold_check.NOT_CHECKED:
        annotate("warning", "ops hold check", f"not checked: {answer.message} {answer.hint}")
    if not as_json:
        echo(f"{answer.decision.replace('_', ' ')}: {answer.message} {answer.hint}".strip())
