"""Adopt Backout with one command: `ops adopt`."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli.drill import DrillOutput
from ops.cli.help import ExampleCommand
from ops.cli.options import ask_read_only_tokens
from ops.cli.output import echo, echo_json, silent
from ops.cli.runbook_command import confirm_name
from ops.cli.setup import DescribeOptions, ask_question, ask_token, init_options
from ops.core.errors import IMPLICIT_DRY_RUN
from ops.core.names import DRILL_TOKEN, RECOVERY_TOKEN
from ops.core.redaction import Redactor, Secret

if TYPE_CHECKING:
    from ops.config import RecoveryLabel
    from ops.setup.adopt.adoption import AdoptResult
    from ops.setup.adopt.person import Person
    from ops.setup.github_secrets import MissingSecret

FOLDER = Path("operations")


def find_folder() -> Path:
    """Return this folder if it is an operations repository, else `operations` in it, or beside a git repository.

    The example in a clone of Backout is no operations repository.
    """
    from ops.setup.adopt.git_folder import find_enclosing_repository
    from ops.setup.adopt.record import PLACE
    from ops.setup.init.account_targets import is_without_config

    if PLACE.exists() or not is_without_config(Path("ops.yml")):
        return Path()
    root = find_enclosing_repository(FOLDER)
    return FOLDER if root is None else Path(os.path.relpath(root.parent / FOLDER))


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops adopt
    ops adopt --dry-run
    ops adopt operations --repo acme/operations --worker web=shop-web
    ops adopt --remove --dry-run
    """,
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option("--repo", default="", metavar="OWNER/NAME", help="Repository to create (default: YOU/operations)")
@click.option(
    "--reviewer",
    "reviewers",
    multiple=True,
    metavar="LOGIN",
    help="Person or ORGANIZATION/TEAM for approvals; repeatable",
)
@init_options
@click.option("--no-drill", is_flag=True, help="Skip the drill in the sandbox")
@click.option(
    "--drill-account", default="", metavar="ID", help="Drill on GitHub, with a throw-away Worker in this account"
)
@click.option(
    "--same-account", is_flag=True, help="Drill on GitHub, in an account that holds a service (default: the first)"
)
@click.option("--remove", is_flag=True, help="Take back what it made on GitHub, and archive the repository")
@click.option("--dry-run", is_flag=True, help="Show every step; write nothing, and ask only for a read-only token")
@click.option("--yes", is_flag=True, help="Ask nothing: accept every proposal; the token is that of OPS_RECOVERY_TOKEN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result, and ask nothing")
@click.pass_obj
def adopt(
    redactor: Redactor,
    /,
    *,
    folder: Path | None,
    repo: str,
    reviewers: tuple[str, ...],
    described: DescribeOptions,
    no_drill: bool,
    drill_account: str,
    same_account: bool,
    remove: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Adopt Backout: describe, create the repository, push, set up, check and drill.

    Asks at most seven questions, those for two Cloudflare tokens included. GitHub's token is that of GITHUB_TOKEN,
    GH_TOKEN or `gh auth token`. Interrupted anywhere, the same command goes on. Exit code 4: a step is not done.
    """
    from ops.setup.adopt.adoption import Adoption, AdoptRequest
    from ops.setup.adopt.git_folder import require_adopt_folder
    from ops.setup.adopt.person import person_environ
    from ops.setup.adopt.preview import preview_adoption

    folder = folder or find_folder()
    asks = sys.stdin.isatty() and sys.stdout.isatty() and not (yes or as_json)
    say = silent if as_json else echo
    environ = person_environ(os.environ, folder, redactor)
    if drill_account and not re.fullmatch("[0-9a-f]{32}", drill_account):
        raise click.UsageError("--drill-account takes an account ID of 32 hexadecimal digits")
    if no_drill and (drill_account or same_account):
        raise click.UsageError("--no-drill and a drill on GitHub exclude each other")
    finds = described.add_readers(environ, redactor) or bool(described.request.wrangler)
    if remove:
        return _remove_adoption(folder, environ, redactor, asks=asks, dry_run=dry_run, yes=yes, as_json=as_json)
    require_adopt_folder(folder)
    person = _make_person(environ, redactor, asks=asks, finds=finds, drills=not no_drill, is_quiet=as_json)
    request = AdoptRequest(
        described.request, described.target(folder), repo, reviewers, drill_account, same_account=same_account
    )
    if dry_run or not (asks or yes):
        result = preview_adoption(request, person, environ, redactor, say)
        return _end_adoption(result, 0 if dry_run else IMPLICIT_DRY_RUN, as_json=as_json)
    result = Adoption(request, person, environ, redactor, say).run()
    return _end_adoption(result, result.exit_code, as_json=as_json)


def _remove_adoption(
    folder: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    asks: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    from ops.setup.adopt.record import PLACE
    from ops.setup.adopt.removal import Removal, describe_plan
    from ops.setup.github_secrets import TOKEN_PAGE

    say = silent if as_json else echo
    removal = Removal(folder, environ, redactor)
    plan = removal.plan()
    decision = "nothing_to_do" if not plan else "planned" if dry_run or not (asks or yes) else "done"
    code = 0 if decision != "planned" or dry_run else IMPLICIT_DRY_RUN
    for line in describe_plan(plan):
        say(line)
    if decision == "done":
        if not yes:
            confirm_name(removal.repository)
        removal.apply(plan, say)
    commands = removal.commands() if removal.repository else []
    if as_json:
        gone = [each.text for each in plan if not each.kept]
        kept = {each.thing.name: each.kept for each in plan if each.kept}
        echo_json({"decision": decision, "exit_code": code, "removed": gone, "kept": kept, "to_delete": commands})
        return code
    if not plan:
        echo(f"Nothing to do: {folder / PLACE} records nothing on GitHub that is left.")
    if decision == "planned":
        echo("\nNothing was changed." + ("" if dry_run else " Add --yes, or run it on a terminal."))
    if commands:
        drilled = any(each.thing.kind == "drill" for each in plan)
        at_cloudflare = "" if drilled else ", and nothing at Cloudflare changed"
        echo(f"\nIncidents stay in the archived repository{at_cloudflare}. To delete the rest:")
        echo("\n".join(f"  {each}" for each in commands))
        echo(f"  and the Cloudflare tokens: {TOKEN_PAGE}")
    return code


def _make_person(
    environ: Mapping[str, str], redactor: Redactor, *, asks: bool, finds: bool, drills: bool, is_quiet: bool
) -> "Person":
    """Return the person on this terminal. `finds`: whether services are found without a pasted token."""
    from ops.drills.settings import has_sandbox
    from ops.setup.adopt.label_drill import SECRET
    from ops.setup.adopt.person import LEFT_OUT, Person
    from ops.setup.github_secrets import check_given_token
    from ops.setup.init.command import read_only_token_url
    from ops.setup.init.questions import MAX_QUESTIONS, Questions

    questions = Questions(ask_question if asks else None, LEFT_OUT)

    def paste_readers() -> Mapping[str, str]:
        if finds or not asks:
            return {}
        questions.count()
        return ask_read_only_tokens(read_only_token_url(), redactor, without="type names and URLs")

    def paste_token(needed: "MissingSecret") -> "Secret | None":
        variable = DRILL_TOKEN if needed.name == SECRET else RECOVERY_TOKEN
        if given := os.environ.get(variable):
            return check_given_token(given, needed, environ, variable)
        if not asks or questions.asked == MAX_QUESTIONS:
            return None
        questions.count()
        echo(f"  {needed.about}\n  {needed.url}")
        return ask_token(needed, environ, redactor)

    return Person(
        questions, paste_readers, paste_token, _make_drill(is_quiet=is_quiet) if drills and has_sandbox() else None
    )


def _make_drill(*, is_quiet: bool) -> Any:
    """Return the function that drills a label in the sandbox."""

    def drill(config: Path, label: "RecoveryLabel") -> Mapping[str, Any]:
        from ops import drills
        from ops.drills.settings import DrillSettings

        service = str(label.params.get("service", ""))
        settings = DrillSettings("embedded", config, label.environment, service, trigger="label")
        if is_quiet:
            return drills.run(label.runbook, settings, silent, silent)
        output = DrillOutput()
        result = drills.run(label.runbook, settings, output.line, output.event)
        output.end_rounds()
        return result

    return drill


def _end_adoption(result: "AdoptResult", code: int, *, as_json: bool) -> int:
    from ops.setup.adopt.adoption import GO_ON

    if as_json:
        echo_json({**result.to_json(), "exit_code": code})
        return code
    if code == IMPLICIT_DRY_RUN:
        echo("\nNothing was changed: add --yes, or run it on a terminal.")
    elif result.decision == "planned":
        echo("\nNothing was changed.")
    elif result.decision == "incomplete":
        open_steps = ", ".join(each.title.lower() for each in result.steps if each.state == "failed")
        echo(f"\nNot done: {open_steps}. {GO_ON}")
    else:
        still_open = f" Still open: {result.open_answers}." if result.open_answers else ""
        echo(f"\n{result.repository} is set up.{still_open}\nEveryone on call: clone it, and read its README.")
    return code
