"""Check the whole set-up: `ops doctor`."""

import os
from contextlib import ExitStack
from pathlib import Path

import click

from ops.cli.completion import complete_environment
from ops.cli.help import ExampleCommand
from ops.cli.output import echo, echo_json, silent
from ops.cli.runbook_command import CONFIG
from ops.core.redaction import Redactor


@click.command(
    cls=ExampleCommand, epilog="ops doctor\nops doctor --fix\nops doctor --only token-valid --environment production"
)
@click.option(
    "--environment", default="", shell_complete=complete_environment, help="Environment in ops.yml (default: all)"
)
@click.option("--only", multiple=True, metavar="ID", help="Check to run; repeat it for several (default: all)")
@click.option("--github-environment", default="", hidden=True, help="GitHub environment of this job")
@click.option("--collect", is_flag=True, hidden=True, help="Check the repository, and add results of earlier jobs")
@click.option("--issue", is_flag=True, hidden=True, help="Keep one issue with what is wrong")
@click.option("--fix", is_flag=True, help="Also create missing labels and write the workflows")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
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
    from ops.setup.doctor import fixes, job, text
    from ops.setup.doctor.examination import examine
    from ops.setup.doctor.facts import Facts, Scope

    say = silent if as_json else echo
    scope = Scope(environment, github_environment, only_repository=collect)
    with ExitStack() as ending:

        def read() -> Facts:
            return Facts(config, os.environ, redactor, ending, scope)

        results = examine(read(), only)
        if fix and fixes.apply(read(), results, say):
            results = examine(read(), only)
    if collect:
        results = (*results, *job.collect_results(os.environ))
    results = tuple(each.redacted(redactor) for each in results)
    if github_environment:
        job.write_results(results, os.environ)
    if collect and (published := job.publish(results, os.environ, redactor, with_issue=issue)):
        say(published)
    code = 0 if github_environment else text.exit_code(results)  # the last job of the workflow reports
    if as_json:
        checks = [each.to_json() for each in results]
        echo_json({"schema": 1, "exit_code": code, "checks": checks}, is_masked=True)
        return code
    for line in text.lines(results):
        echo(line)
    return code
