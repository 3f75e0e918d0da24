"""The command `ops setup github`."""

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli.help import ExampleGroup
from ops.cli.output import echo, echo_json, one_line
from ops.cli.runbook_command import CONFIG, YES_HELP, confirm_name
from ops.core.errors import IMPLICIT_DRY_RUN, ConfigError
from ops.core.loopback import uses_one_sandbox
from ops.core.redaction import Redactor, Secret

if TYPE_CHECKING:
    from ops.setup.github_setup import ChangeResult, GitHubSetup, SettingChange, SetupPlan
    from ops.setup.secret_commands import MissingSecret

INCOMPLETE, UNCLEAR = 4, 5


@click.group(cls=ExampleGroup)
def setup() -> None:
    """Set up the operations repository."""


@setup.command("github", epilog="ops setup github --dry-run\nops setup github --repo acme/operations")
@click.option(
    "--repo", default="", metavar="OWNER/NAME", help="Repository (default: GITHUB_REPOSITORY, or git's origin)"
)
@click.option("--reviewer", "reviewers", multiple=True, metavar="LOGIN", help="Reviewer for approvals; repeatable")
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing")
@click.option("--yes", is_flag=True, help=YES_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
@CONFIG
@click.pass_obj
def github(
    redactor: Redactor,
    /,
    *,
    repo: str,
    reviewers: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
    config: Path,
) -> int:
    """Create GitHub environments, labels and the ruleset on github.com, on a laptop.

    Needs the token of an admin in GITHUB_TOKEN or GH_TOKEN, and never stores it. Without environments in the GitHub
    plan, it sets `github.environments: false` in ops.yml. On a terminal it then asks for each missing Cloudflare token,
    checks and stores it. At the end it prints the `gh` command for each other secret. Run again, it changes only what
    differs.
    """
    from ops.setup import github_setup as work

    environ = work.laptop_environ(os.environ, repo, config.resolve().parent, redactor)
    is_interactive = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    own = work.GitHubSetup(config, environ, redactor)
    plan = own.plan(reviewers, _ask_reviewers if is_interactive and not dry_run and not yes else None)
    name = plan.repository.full_name
    if not as_json:
        echo("\n".join(_plan_lines(plan)))
    is_planned = bool(plan.changes) and (dry_run or not (yes or is_interactive))
    if is_planned:
        code = IMPLICIT_DRY_RUN if not dry_run else INCOMPLETE if plan.impossible else 0
        return _end(plan, [], "planned", code, as_json=as_json)
    if plan.changes and not yes:
        confirm_name(name)
    results = []
    for result in work.apply_changes(plan):
        results.append(result)
        if not as_json:
            echo(_result_line(result), err=bool(result.problem))
    if is_interactive and not dry_run and not yes:
        _ask_tokens(own, plan, environ, redactor)
    if plan.impossible or any(result.problem for result in results):
        code = UNCLEAR if any(result.is_unclear for result in results) else INCOMPLETE
        return _end(plan, results, "incomplete", code, as_json=as_json)
    return _end(plan, results, "done" if results else "nothing_to_do", 0, as_json=as_json)


def _ask_tokens(own: "GitHubSetup", plan: "SetupPlan", environ: Mapping[str, str], redactor: Redactor) -> None:
    """Ask for each missing Cloudflare token, check and store it, and take it off the plan's list."""
    missing = [each for each in plan.secrets if each.account_id]
    if not missing or not uses_one_sandbox(environ):
        return
    later = " The first label needs only that of `recovery`." if missing[0].purpose == "recovery" else ""
    echo(f"\nCloudflare tokens to create: {len(missing)}.{later} Enter skips one until you run this command again.")
    for number, needed in enumerate(missing, start=1):
        echo(f"\n{number} of {len(missing)}: {needed.purpose}\n  {needed.about}\n  {needed.url}")
        if value := _ask_token(needed, environ, redactor):
            result = own.store(needed, value)
            if result.problem:
                echo(f"NOT stored {needed.name}: {one_line(result.problem)}", err=True)
                continue
            plan.secrets.remove(needed)
            place = own.token_location(needed) or "your password manager"
            echo(f"  stored {needed.name} in {result.change.details}. Keep a copy now in: {one_line(place)}")


def _ask_token(needed: "MissingSecret", environ: Mapping[str, str], redactor: Redactor) -> "Secret | None":
    """Return a token that passed the checks; None if the person skips it."""
    from ops.setup.token_check import check_token

    text = "  Continue to summary, Create Token, and paste it here (it stays hidden)"
    while value := click.prompt(text, default="", show_default=False, hide_input=True).strip():
        redactor.add_secret(value)
        try:
            problems, unproved = check_token(value, needed, environ)
        except ConfigError as error:
            problems, unproved = [f"{error.message}. {error.hint}"], ""
        if not problems:
            echo(f"  accepted. {unproved}".rstrip())
            return Secret(value)
        echo(f"  not stored: {one_line('; '.join(problems))}")
    return None


def _ask_reviewers(environment: str, default: tuple[str, ...]) -> tuple[str, ...]:
    text = f"Reviewers of {environment} (GitHub logins, comma-separated)"
    typed = click.prompt(text, default=", ".join(default), show_default=bool(default))
    return tuple(login.strip().removeprefix("@") for login in typed.split(",") if login.strip())


def _plan_lines(plan: "SetupPlan") -> Iterator[str]:
    yield f"Plan: settings of {plan.repository.full_name} on GitHub"
    for (kind, action), changes in groupby(plan.changes, lambda each: (each.kind, each.action)):
        yield from _change_lines(kind, action, list(changes))
    if not (plan.changes or plan.impossible):
        yield "  nothing to do"
    yield from (f"  not possible: {one_line(text)}" for text in plan.impossible)
    yield from (f"  note: {one_line(text)}" for text in plan.notices)


def _change_lines(kind: str, action: str, changes: "Sequence[SettingChange]") -> Iterator[str]:
    if kind == "label":
        yield f"  {action} labels {', '.join(each.name for each in changes)}"
    else:
        yield from (f"  {action} {kind} {each.name}: {each.details}" for each in changes)


def _result_line(result: "ChangeResult") -> str:
    change = result.change
    done = f"{'created' if change.action == 'create' else 'changed'} {change.kind} {change.name}"
    return f"NOT {done}: {one_line(result.problem)}" if result.problem else done


def _end(plan: "SetupPlan", results: "Sequence[ChangeResult]", decision: str, code: int, *, as_json: bool) -> int:
    if as_json:
        echo_json(_json(plan, results, decision, code))
        return code
    lines = []
    if plan.secrets:
        first = " The first label needs only those of `recovery`." if plan.secrets[0].purpose == "recovery" else ""
        lines += ["", f"Secrets to set:{first}"]
    for secret in plan.secrets:
        lines += [f"  {secret.command}", f"      {secret.about}", *([f"      {secret.url}"] if secret.url else [])]
    if plan.secrets:
        places = "; ".join(plan.laptop_variables)
        lines += ["", f"GitHub never shows a value again. For laptops, keep a token where ops.yml says: {places}"]
    if plan.files:
        names = " ".join(map(shlex.quote, plan.files))
        lines += ["", f"Commit and push: git add {names} && git commit -m 'Set up GitHub' && git push"]
    problems = [f"{each.change.kind} {each.change.name}: {each.problem}" for each in results if each.problem]
    if missing := [*plan.impossible, *problems]:
        lines += ["", "Not possible:" if decision == "planned" else "Not done:"]
        lines += [f"  {one_line(text)}" for text in missing]
        lines += ["Correct this, or use the token of an admin. Then run the same command again."]
    if code == IMPLICIT_DRY_RUN:
        lines += ["", "Nothing was changed: add --yes, or run it on a terminal."]
    if lines:
        echo("\n".join(lines))
    return code


def _json(plan: "SetupPlan", results: "Sequence[ChangeResult]", decision: str, code: int) -> dict[str, Any]:
    problems = {id(result.change): result.problem for result in results}
    return {
        "decision": decision,
        "exit_code": code,
        "repository": plan.repository.full_name,
        "changes": [
            {
                "kind": each.kind,
                "name": each.name,
                "action": each.action,
                "details": each.details,
                "done": problems.get(id(each)) == "",
                "problem": problems.get(id(each), ""),
            }
            for each in plan.changes
        ],
        "impossible": plan.impossible,
        "notices": plan.notices,
        "secrets": [
            {
                "name": each.name,
                "github_environment": each.github_environment,
                "command": each.command,
                "about": each.about,
                "url": each.url,
            }
            for each in plan.secrets
        ],
    }
