"""Check before a deployment whether its commit was rolled back: `ops hold check`."""

import contextlib
import os
from dataclasses import asdict
from pathlib import Path

import click

from ops.app.registry import find_runbook_file
from ops.cli.migrate import migrate
from ops.cli.options import CONFIG, ENVIRONMENT, choose_service_place, complete_service
from ops.cli.output import annotate, echo, echo_json
from ops.cli.runbook_group import RunbookGroup
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.redaction import Redactor
from ops.github import actions


@click.group(cls=RunbookGroup)
def hold() -> None:
    """Keep commits and migrations that were taken back from being deployed again."""


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
    "--operations",
    default="",
    metavar="OWNER/NAME",
    help="Repository with the incidents (default: OPERATIONS_REPOSITORY)",
)
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
    operations: str,
    on_unreadable: str,
    as_json: bool,
    config: Path,
) -> None:
    """Refuse a commit that contains a rolled back one.

    It passes if a later commit has the trailer `Fixes-Incident: 42`, or if the hold was lifted. Exit code 3: refused.
    It only reads.
    """
    from ops.app.configuration import load_config
    from ops.app.session import Session
    from ops.tools.hold_check import judgment, values

    options = {"commit": commit, "folder": folder, "json": as_json}
    chosen = choose_service_place("hold check", service, environment, config, options, is_argument=False)
    place = load_config(config, os.environ, redactor).environment(chosen.environment)
    asked = place.service(chosen.service)
    own = os.environ.get("GITHUB_REPOSITORY", "")
    operations = operations or os.environ.get("OPERATIONS_REPOSITORY", "") or own
    repository = asked.repository or own
    question = values.Question(place.account_id, asked.worker, asked.pages, commit, folder, repository, operations)
    with contextlib.ExitStack() as ending:
        token = Session(place, os.environ, ending).token.reveal()
    try:
        answer = judgment.check(question, os.environ, token=token, refuses_unread=on_unreadable == "refuse")
    except values.UsageError as wrong:
        message, hint = wrong.args
        raise ConfigError(message, hint=hint) from None
    actions.write_job_outputs(os.environ, {"decision": answer.decision})
    if as_json:
        echo_json({"schema": 1, **asdict(answer)})
    if answer.decision == values.REFUSED:
        is_held = any(each.state == values.HELD for each in answer.holds)
        raise Refused(answer.message, reason=Reason.COMMIT_HELD if is_held else Reason.HOLD_UNREAD, hint=answer.hint)
    if answer.decision == values.NOT_CHECKED:
        annotate("warning", "ops hold check", f"not checked: {answer.message} {answer.hint}")
    if not as_json:
        echo(f"{answer.decision.replace('_', ' ')}: {answer.message} {answer.hint}".strip())


hold.add_command(migrate)
hold.add_runbook("lift", find_runbook_file("lift-commit-hold"))
hold.add_runbook("lift-migration", find_runbook_file("lift-hold"))
