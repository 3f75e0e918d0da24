"""Show what happened just now: `ops last`."""

from pathlib import Path

import click

from ops.cli.help import ExampleCommand
from ops.cli.output import echo, echo_json, one_line, show_headline
from ops.cli.place import github_environ
from ops.cli.runbook_command import CONFIG
from ops.core.redaction import Redactor


@click.command(
    cls=ExampleCommand,
    epilog="""
    ops last
    ops last --count 5
    """,
)
@click.option("--count", type=click.IntRange(1, 50), metavar="N", default=1, help="Number of runs to show (default: 1)")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON result")
@CONFIG
@click.pass_obj
def last(redactor: Redactor, /, *, count: int, as_json: bool, config: Path) -> None:
    """Show the newest runs: decision, change, undo and link.

    It reads the records in .ops/runs and, with GITHUB_TOKEN and GITHUB_REPOSITORY, the open incidents.
    """
    from ops.status.last_runs import NO_RESULT, read_last_runs, run_lines

    found = read_last_runs(count, config, github_environ(config, redactor, is_quiet=as_json), redactor)
    if as_json:
        echo_json(found.to_json())
        return
    for run in found.runs:
        show_headline(run.state or NO_RESULT, run.headline, exit_code=run.exit_code)
        for line in run_lines(run, found.read_at):
            echo(one_line(line))
    if not found.runs:
        echo("No run is recorded here." if found.has_read_local else "No run was read.")
    for note in found.notes:
        echo(one_line(note), err=True)
