"""Refuse a deployment of what was taken back: `ops hold check` and `ops hold migrate`."""

import contextlib
import json
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.app.registry import find_runbook_file
from ops.cli.help import ExampleCommand
from ops.cli.options import AS_JSON, CONFIG, ENVIRONMENT, choose_service_place, complete_service
from ops.cli.output import annotate, echo, echo_json, silent
from ops.cli.runbook_group import RunbookGroup
from ops.core.errors import ConfigError, OpsError, Reason, Refused
from ops.core.names import join_sentences
from ops.core.redaction import Redactor
from ops.github import actions
from ops.render import code_span, escape_markdown

if TYPE_CHECKING:
    from ops.database.guard_result import MigrationGuardResult


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops hold migrate --dry-run
    ops hold migrate --wrangler backend/wrangler.jsonc --database orders
    """,
)
@click.option("--wrangler", type=click.Path(path_type=Path), help="Wrangler file (default: the one in this folder)")
@click.option("--database", "name", default="", help="Name or binding of the database (default: the only one)")
@click.option("--env", "environment", default="", help="Environment of the wrangler file (default: CLOUDFLARE_ENV)")
@click.option("--account-id", default="", help="Cloudflare account (default: CLOUDFLARE_ACCOUNT_ID or wrangler file)")
@click.option("--known-as", default="", metavar="NAME", help="Name of the database in ops.yml, for the way back")
@click.option("--checks", default="", metavar="SQL", help="SELECTs, one per line, each of which must return 0")
@click.option("--message", default="", help="First text of the output message")
@click.option("--dry-run", is_flag=True, help="Test the migrations, and change nothing")
@AS_JSON
@click.pass_obj
def migrate(
    redactor: Redactor,
    /,
    *,
    wrangler: Path | None,
    name: str,
    environment: str,
    account_id: str,
    known_as: str,
    checks: str,
    message: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Test the pending migrations, apply them unless one is held, and check the data.

    It needs no ops.yml. As a job's outputs: `bookmark`, `applied`, and `message` for the deployment that follows.
    """
    from ops.app import database_guard
    from ops.database.guard_result import MigrationGuardResult

    options = database_guard.GuardOptions(wrangler, name, environment, account_id, known_as, checks)
    guarded, account = database_guard.describe_database(options, os.environ)
    say = silent if as_json else echo
    result = MigrationGuardResult(guarded)
    try:
        database_guard.run_guard(
            result, account, os.environ, dry_run=dry_run, say=say, keep=partial(_write_outputs, result, message)
        )
    except OpsError as error:
        _write_summary(redactor, result, join_sentences(error.message, error.hint))
        raise
    for warning in result.warnings:
        annotate("warning", "ops hold migrate", warning)
        say(f"warning: {warning}")
    _write_summary(redactor, result, result.way_back if result.applied else "")
    if as_json:
        echo_json(_to_json(result, message))


def _write_outputs(result: "MigrationGuardResult", message: str) -> None:
    actions.write_job_outputs(
        os.environ,
        {
            "bookmark": result.bookmark,
            "applied": json.dumps(result.applied),
            "message": result.deployment_message(message),
        },
    )


def _to_json(result: "MigrationGuardResult", message: str) -> dict[str, object]:
    return {
        "schema": 1,
        "database": result.database.name,
        "pending": list(result.pending),
        "applied": result.applied,
        "last": result.last,
        "bookmark": result.bookmark,
        "message": result.deployment_message(message),
        "warnings": result.warnings,
        "accepted": {each.file: list(each.tables) for each in result.losses},
        "rows": {
            table: {"before": result.counts.tables.get(table), "after": result.rows_after.get(table)}
            for table in sorted(result.counts.tables.keys() | result.rows_after.keys())
        },
    }


def _write_summary(redactor: Redactor, result: "MigrationGuardResult", text: str) -> None:
    names = ", ".join(map(code_span, result.applied)) or "none"
    lines = [f"### D1 database {code_span(result.database.name)}", f"Applied migrations: {names}"]
    texts = (*result.describe_rows(), *result.warnings, text)
    lines += [escape_markdown(redactor.redact_text(each)) for each in texts if each]
    with contextlib.suppress(OSError):
        actions.write_summary(os.environ, "\n\n".join(lines) + "\n")


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
@AS_JSON
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
    settings = load_config(config, os.environ, redactor)
    place = settings.environment(chosen.environment)
    asked = place.service(chosen.service)
    own = os.environ.get("GITHUB_REPOSITORY", "")
    operations = operations or os.environ.get("OPERATIONS_REPOSITORY", "") or own
    repository = asked.repository or own
    question = values.Question(place.account_id, asked.worker, asked.pages, commit, folder, repository, operations)
    with contextlib.ExitStack() as ending:
        token = Session(settings, place.name, os.environ, ending).token.reveal()
    try:
        answer = judgment.check_commit(question, os.environ, token=token, refuses_unread=on_unreadable == "refuse")
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
