"""Commands to set up a repository and check it: `ops init`, `setup github` and `doctor`."""

import functools
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli.help import ExampleCommand, ExampleGroup
from ops.cli.options import AS_JSON, CONFIG, ENVIRONMENT_FILTER, YES_HELP, ask_read_only_tokens, github_environ
from ops.cli.output import echo, echo_json, silent, to_masked_line
from ops.cli.runbook_command import confirm_name
from ops.core.client_guards import uses_one_sandbox
from ops.core.errors import IMPLICIT_DRY_RUN, ConfigError
from ops.core.names import join_sentences
from ops.core.redaction import Redactor, Secret

if TYPE_CHECKING:
    from ops.setup.github_secrets import MissingSecret
    from ops.setup.github_setup import ChangeResult, GitHubSetup, SettingChange, SetupPlan
    from ops.setup.init.command import InitTarget
    from ops.setup.init.discovery import InitRequest

INCOMPLETE, UNCLEAR = 4, 5


_REQUEST_OPTIONS = (
    click.option("--account", "accounts", multiple=True, metavar="[ENVIRONMENT=]ID", help="Cloudflare account ID"),
    click.option(
        "--worker",
        "workers",
        multiple=True,
        metavar="[SERVICE=]NAME",
        help="Worker to include (default: all but names such as api-staging)",
    ),
    click.option("--pages", "sites", multiple=True, metavar="[SERVICE=]NAME", help="Pages project to include"),
    click.option(
        "--url",
        "urls",
        multiple=True,
        metavar="SERVICE=URL",
        help="URL, best with the path of a health check (default: from domains and routes)",
    ),
    click.option(
        "--wrangler", multiple=True, type=click.Path(path_type=Path), help="Read a wrangler file, or that of a folder"
    ),
    click.option(
        "--token-name", "tokens", multiple=True, metavar="[ENVIRONMENT=]NAME", help="NAME of the secret with the token"
    ),
    click.option("--repository", default="", metavar="OWNER/NAME", help="Repository of the application, for links"),
)
"""Options that are fields of InitRequest."""
_TARGET_OPTIONS = (
    click.option("--token-location", default="", help="Place where people on call find the token"),
    click.option("--contact", default="", help="Person to call when a recovery fails: name, number or link"),
    click.option(
        "--label",
        "labels",
        multiple=True,
        metavar="SERVICE",
        help="Service that gets a label (default: the only one; for adopt, the first)",
    ),
    click.option("--owner", default="", metavar="@TEAM", help="GitHub user or team that reviews changes"),
    click.option("--actions", default="", metavar="OWNER/NAME@SHA", help="Commit of Backout (default: this program's)"),
    click.option("--force", multiple=True, metavar="FILE", help="File to overwrite, such as README.md (repeatable)"),
)
"""Options that are fields of InitTarget."""


@dataclass(frozen=True)
class DescribeOptions:
    """The values of the options. Empty: ask, or accept the proposal."""

    for_request: Mapping[str, Any]
    for_target: Mapping[str, Any]

    @property
    def request(self) -> "InitRequest":
        from ops.setup.init.discovery import InitRequest

        return InitRequest(**self.for_request)

    def add_readers(self, environ: Mapping[str, str], redactor: Redactor) -> bool:
        """Redact the tokens to read with from now on; return whether there is one."""
        from ops.setup.init.accounts import split_account_name, token_variables

        names = token_variables(environ, (split_account_name(each, "")[1] for each in self.request.tokens))
        for name in names:
            redactor.add_secret(environ[name])
        return bool(names)

    def target(self, folder: Path) -> "InitTarget":
        from ops.setup.init.command import InitTarget

        return InitTarget(folder, **{**self.for_target, "force": frozenset(self.for_target["force"])})


def init_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets them as `described`."""

    @functools.wraps(command)
    def described(*arguments: Any, **options: Any) -> Any:
        for_request = {name: options.pop(name) for name in _option_names(_REQUEST_OPTIONS)}
        for_target = {name: options.pop(name) for name in _option_names(_TARGET_OPTIONS)}
        return command(*arguments, described=DescribeOptions(for_request, for_target), **options)

    for option in reversed((*_REQUEST_OPTIONS, *_TARGET_OPTIONS)):
        described = option(described)
    return described


def _option_names(options: Iterable[Callable[..., Any]]) -> list[str]:
    """Return the names under which click passes the options."""

    def holder() -> None:
        """Hold the parameters of the options."""

    for option in options:
        option(holder)
    return [each.name for each in holder.__click_params__]  # type: ignore[attr-defined]


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops init operations
    ops init operations --worker web=shop-web --url web=https://shop.example
    """,
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@init_options
@click.option("--yes", is_flag=True, help="Ask nothing: accept every proposal (default without a terminal)")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result, and ask nothing")
@click.pass_obj
def init(
    redactor: Redactor,
    /,
    *,
    folder: Path,
    described: DescribeOptions,
    yes: bool,
    as_json: bool,
) -> int:
    """Describe your application in a new operations repository, for github.com.

    Asks at most seven questions. Each option answers one of them. With a read-only token, of CLOUDFLARE_API_TOKEN or
    pasted, it lists Workers, Pages projects and their URLs. An account with a token of its own: export it with the
    name of its environment, such as STAGING_CLOUDFLARE_API_TOKEN. Run again, it adds new environments to ops.yml.
    Nothing is overwritten without --force; exit code 2: a file was kept.
    """
    from ops.app.configuration import find_person_token
    from ops.setup.init import command
    from ops.setup.init.github_findings import find_on_github
    from ops.setup.init.questions import Questions
    from ops.setup.server import require_github_com

    asks = sys.stdin.isatty() and sys.stdout.isatty() and not (yes or as_json)
    environ = require_github_com(os.environ, folder, redactor)
    has_readers = described.add_readers(environ, redactor)
    if asks and not described.request.wrangler and not has_readers:
        url = command.read_only_token_url()
        environ = {**environ, **ask_read_only_tokens(url, redactor, without="type names and URLs")}
    questions, say = Questions(ask_question if asks else None), silent if as_json else echo
    login = {**environ, "GITHUB_TOKEN": find_person_token(environ)}
    found = find_on_github(login, folder, described.request.repository, redactor)
    target = replace(described.target(folder), found=found)
    result = command.init_repository(described.request, target, questions, environ, say)
    if as_json:
        echo_json(result.to_json())
    return result.exit_code


def ask_question(question: str, default: str) -> str:
    """Ask on the terminal. Enter accepts the default."""
    answer: str = click.prompt(question, default=default, show_default=bool(default))
    return answer


@click.group(cls=ExampleGroup)
def setup() -> None:
    """Set up the operations repository."""


@setup.command(
    "template",
    epilog="ops setup template operations-template\nops setup template operations-template --actions OWNER/NAME@SHA",
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--actions", default="", metavar="OWNER/NAME@SHA", help="Commit of Backout (default: this program's)")
@AS_JSON
def template(*, folder: Path, actions: str, as_json: bool) -> int:
    """Write a template repository: one example Worker, and two files to edit.

    Needs no token and sends nothing. Push the folder to GitHub, and tick *Template repository* in its settings. A file
    that differs is kept: exit code 2.
    """
    from ops.setup.init.template_repository import write_template

    result = write_template(folder, actions, os.environ, silent if as_json else echo)
    if as_json:
        echo_json(result.to_json())
    return result.exit_code


@setup.command("github", epilog="ops setup github --dry-run\nops setup github --repo acme/operations")
@click.option(
    "--repo", default="", metavar="OWNER/NAME", help="Repository (default: GITHUB_REPOSITORY, or git's origin)"
)
@click.option(
    "--reviewer",
    "reviewers",
    multiple=True,
    metavar="LOGIN",
    help="Person or ORGANIZATION/TEAM who approves; repeatable",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing")
@click.option("--yes", is_flag=True, help=YES_HELP)
@AS_JSON
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
        return _end_setup(plan, [], "planned", code, as_json=as_json)
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
        return _end_setup(plan, results, "incomplete", code, as_json=as_json)
    return _end_setup(plan, results, "done" if results else "nothing_to_do", 0, as_json=as_json)


def _ask_tokens(own: "GitHubSetup", plan: "SetupPlan", environ: Mapping[str, str], redactor: Redactor) -> None:
    """Ask for each missing Cloudflare token, check and store it, and take it off the plan's list."""
    missing = [each for each in plan.secrets if each.account_id]
    if not missing or not uses_one_sandbox(environ):
        return
    later = " The first label needs only that of `recovery`." if missing[0].purpose == "recovery" else ""
    echo(f"\nCloudflare tokens to create: {len(missing)}.{later} Enter skips one until you run this command again.")
    for number, needed in enumerate(missing, start=1):
        echo(f"\n{number} of {len(missing)}: {needed.purpose}\n  {needed.about}\n  {needed.url}")
        if value := ask_token(needed, environ, redactor):
            result = own.store(needed, value)
            if result.problem:
                echo(f"NOT stored {needed.name}: {to_masked_line(result.problem)}", err=True)
                continue
            plan.secrets.remove(needed)
            place = own.token_location(needed) or "your password manager"
            echo(f"  stored {needed.name} in {result.change.details}. Keep a copy now in: {to_masked_line(place)}")


def ask_token(needed: "MissingSecret", environ: Mapping[str, str], redactor: Redactor) -> "Secret | None":
    """Return a token that passed the checks; None if the person skips it."""
    from ops.setup.github_secrets import check_token

    text = "  Continue to summary, Create Token, and paste it here (it stays hidden)"
    while value := click.prompt(text, default="", show_default=False, hide_input=True).strip():
        redactor.add_secret(value)
        try:
            problems, unproved = check_token(value, needed, environ)
        except ConfigError as error:
            problems, unproved = [join_sentences(error.message, error.hint)], ""
        if not problems:
            echo(f"  accepted. {unproved}".rstrip())
            return Secret(value)
        echo(f"  not stored: {to_masked_line('; '.join(problems))}")
    return None


def _ask_reviewers(environment: str, default: tuple[str, ...]) -> tuple[str, ...]:
    text = f"Reviewers of {environment} (GitHub logins or ORGANIZATION/TEAM, comma-separated)"
    typed = click.prompt(text, default=", ".join(default), show_default=bool(default))
    return tuple(login.strip().removeprefix("@") for login in typed.split(",") if login.strip())


def _plan_lines(plan: "SetupPlan") -> Iterator[str]:
    yield f"Plan: settings of {plan.repository.full_name} on GitHub"
    for (kind, action), changes in groupby(plan.changes, lambda each: (each.kind, each.action)):
        yield from _change_lines(kind, action, list(changes))
    if not (plan.changes or plan.impossible):
        yield "  nothing to do"
    yield from (f"  not possible: {to_masked_line(text)}" for text in plan.impossible)
    yield from (f"  note: {to_masked_line(text)}" for text in plan.notices)


def _change_lines(kind: str, action: str, changes: "Sequence[SettingChange]") -> Iterator[str]:
    if kind == "label":
        yield f"  {action} labels {', '.join(each.name for each in changes)}"
    else:
        yield from (f"  {action} {kind} {each.name}: {each.details}" for each in changes)


def _result_line(result: "ChangeResult") -> str:
    change = result.change
    done = f"{'created' if change.action == 'create' else 'changed'} {change.kind} {change.name}"
    return f"NOT {done}: {to_masked_line(result.problem)}" if result.problem else done


def _end_setup(plan: "SetupPlan", results: "Sequence[ChangeResult]", decision: str, code: int, *, as_json: bool) -> int:
    if as_json:
        echo_json(_setup_to_json(plan, results, decision, code))
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
        lines += [f"  {to_masked_line(text)}" for text in missing]
        lines += ["Correct this, or use the token of an admin. Then run the same command again."]
    if code == IMPLICIT_DRY_RUN:
        lines += ["", "Nothing was changed: add --yes, or run it on a terminal."]
    if lines:
        echo("\n".join(lines))
    return code


def _setup_to_json(plan: "SetupPlan", results: "Sequence[ChangeResult]", decision: str, code: int) -> dict[str, Any]:
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


@click.command(
    cls=ExampleCommand, epilog="ops doctor\nops doctor --fix\nops doctor --only token-valid --environment production"
)
@ENVIRONMENT_FILTER
@click.option("--only", multiple=True, metavar="ID", help="Check to run; repeat it for several (default: all)")
@click.option(
    "--github-environment", default="", metavar="NAME", help="Check the token of this GitHub environment, by its reads"
)
@click.option("--collect", is_flag=True, hidden=True, help="Check the repository, and add results of earlier jobs")
@click.option("--issue", is_flag=True, hidden=True, help="Keep one issue with what is wrong")
@click.option("--fix", is_flag=True, help="Also create missing labels and write the workflows")
@AS_JSON
@CONFIG
@click.pass_obj
def doctor(
    redactor: Redactor,
    /,
    *,
    environment: str,
    only: tuple[str, ...],
    github_environment: str,
    collect: bool,
    issue: bool,
    fix: bool,
    as_json: bool,
    config: Path,
) -> int:
    """Check the set-up: configuration, tokens, services, GitHub and this machine.

    It changes nothing without --fix, and nothing at Cloudflare. Exit code 2: an answer is wrong.
    """
    from ops.github.actions import is_job
    from ops.setup.doctor.examination import examine, repair_findings
    from ops.setup.doctor.facts import Facts, FactScope
    from ops.setup.doctor.results import collect_results, doctor_exit_code, publish_results, result_lines, write_results

    say = silent if as_json else echo
    scope = FactScope(environment, github_environment, only_repository=collect)
    with ExitStack() as ending:

        def read_doctor_facts() -> Facts:
            return Facts(config, os.environ, redactor, ending, scope)

        results = examine(read_doctor_facts(), only)
        if fix and repair_findings(read_doctor_facts(), results, say):
            results = examine(read_doctor_facts(), only)
    if collect:
        results = (*results, *collect_results(os.environ))
    results = tuple(each.redacted(redactor) for each in results)
    is_part = bool(github_environment) and is_job(os.environ)
    if is_part:
        write_results(results, github_environment, os.environ)
    if collect and (published := publish_results(results, os.environ, redactor, with_issue=issue)):
        say(published)
    code = 0 if is_part else doctor_exit_code(results)  # the last job of the workflow reports
    if as_json:
        checks = [each.to_json() for each in results]
        echo_json({"schema": 1, "exit_code": code, "checks": checks}, is_masked=True)
        return code
    for line in result_lines(results):
        echo(line)
    return code


@click.command(
    "on-call-card",
    cls=ExampleCommand,
    epilog="""
    ops on-call-card
    ops on-call-card --check
    """,
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 2 if the card is out of date")
@click.option("--force", is_flag=True, help="Also overwrite files that a person changed")
@CONFIG
@click.pass_obj
def on_call_card(redactor: Redactor, /, *, check: bool, force: bool, config: Path) -> int:
    """Write the on-call card: on-call.md for GitHub, on-call.html to print.

    For each symptom: label, button, command, responders, and the time of the last staging drill. It changes nothing
    else. A file that a person changed is kept, without --force.
    """
    from ops.app.configuration import load_config
    from ops.setup.on_call_card import write_card
    from ops.status.last_runs import start_reading_drills

    environ = github_environ(config, redactor, is_quiet=True)
    finish_drills = start_reading_drills(config, environ, redactor)
    configuration = load_config(config, environ, redactor)
    root = config.resolve().parent
    return write_card(root, configuration, environ, finish_drills(), check=check, force=force, echo=echo)
