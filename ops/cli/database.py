"""Commands for D1 databases: files of migrations for a job, and rows that a restore lost."""

import contextlib
import json
import os
from pathlib import Path

import click

from ops.cli.help import ExampleGroup
from ops.cli.hold import migrate
from ops.cli.options import AS_JSON, CONFIG, complete_environment
from ops.cli.output import echo, echo_json, echo_line
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.redaction import Redactor
from ops.github import actions


class DatabaseGroup(ExampleGroup):
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command. `guard` is the former name of `ops hold migrate`, in workflows of 0.1."""
        return migrate if cmd_name == "guard" else super().get_command(ctx, cmd_name)


@click.group(cls=DatabaseGroup)
def database() -> None:
    """Fetch migrations for a job, and compare rows that a restore lost."""


@database.command(
    epilog='ops database fetch --params \'{"database": "orders"}\' --environment production --into a.json'
)
@click.option("--params", required=True, metavar="JSON", help="Parameters of the run, which name the database")
@click.option("--environment", required=True, shell_complete=complete_environment, help="Environment in ops.yml")
@click.option("--into", type=click.Path(path_type=Path), required=True, help="File to write")
@CONFIG
@click.pass_obj
def fetch(redactor: Redactor, *, params: str, environment: str, into: Path, config: Path) -> None:
    """Save the migrations and down files of this checkout for the job that acts.

    As a job's output: `source`, the digest of the file. The job needs no token.
    """
    from ops.app.configuration import read_config
    from ops.github.protection import source_exposure
    from ops.tools.source_files import read_source_files, save_source_files

    name = str(json.loads(params)["database"])
    database_config = read_config(config)[0].environment(environment).database(name)
    if database_config.migrations is None:
        actions.write_job_outputs(os.environ, {"source": ""})
        echo(f"database {name} has no `migrations` in ops.yml, so nothing was fetched")
        return
    if actions.is_job(os.environ) and (why := source_exposure(os.environ, redactor, database_config.repository or "")):
        raise Refused(
            f"others could read the migrations, which this job hands to the next: {why}",
            reason=Reason.BUILD_UNUSABLE,
            hint="Make the operations repository private, or run the command on a laptop.",
        )
    folder = database_config.require_migrations(name)
    paths = [folder.folder, folder.down_folder]
    where = config.resolve().parent
    files = read_source_files(where, os.environ, redactor, database_config.repository, paths, is_checked_out=True)
    actions.write_job_outputs(os.environ, {"source": save_source_files(files, into)})
    echo(f"fetched {len(files.files)} files of {files} into {into}")


@database.command(epilog="ops database conflicts kept-rows.sql --database orders --environment production")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--database", "name", required=True, help="Database in ops.yml")
@click.option("--environment", required=True, shell_complete=complete_environment, help="Environment in ops.yml")
@click.option(
    "--into", type=click.Path(path_type=Path), help="New file to write, for the present columns of the tables"
)
@AS_JSON
@CONFIG
@click.pass_obj
def conflicts(
    redactor: Redactor,
    /,
    *,
    file: Path,
    name: str,
    environment: str,
    into: Path | None,
    as_json: bool,
    config: Path,
) -> None:
    """List kept rows that the database lacks, or has with other values.

    It prints keys of rows, so it runs only on a laptop. It changes nothing.
    """
    from ops.app.configuration import load_config
    from ops.app.session import Session
    from ops.database.kept_rows import has_kept_rows_end, names_kept_database
    from ops.database.row_reads import find_conflicts, rewrite_file

    if actions.is_job(os.environ):
        text = "this command prints keys of rows, and a job's log is no place for them"
        raise Refused(text, reason=Reason.ROWS_NOT_KEPT, hint="Run `ops database conflicts` on a laptop.")
    settings = load_config(config, os.environ, redactor)
    text = _read_kept_file(file)
    with contextlib.ExitStack() as ending:
        session = Session(settings, environment, os.environ, ending)
        d1, database_id = session.cloudflare.d1, session.environment.database(name).id
        tables = list(find_conflicts(d1, database_id, text))
        if into:
            _write_kept_rows_file(into, rewrite_file(d1, database_id, text))
    if not names_kept_database(text, database_id):
        echo(f"warning: {file} does not name the database {name} ({database_id}): compare its first lines", err=True)
    if as_json:
        echo_json({"schema": 1, "tables": [each.to_json() for each in tables]})
        return
    for each in tables:
        for line in each.lines:
            echo_line(line)
    if not tables and has_kept_rows_end(text):
        echo("the file holds no rows: of the tables that are kept, the run read none, or the restore lost none")
    elif not tables:
        echo("the file holds no rows. A file of an earlier version does not show whether it was cut")


def _read_kept_file(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = type(error).__name__
        raise ConfigError(
            f"{file} cannot be read ({why})", hint="Name the file of a run: `ls .ops/runs/*/kept-rows.sql`."
        ) from None


def _write_kept_rows_file(path: Path, text: str) -> None:
    from ops.tools.process import open_private_file

    if path.exists():
        raise ConfigError(f"{path} exists", hint="Name a new file after --into: rows may be lost with the old one.")
    try:
        with open_private_file(path) as file:
            file.write(text)
    except OSError as error:
        why = f"{path} cannot be written: {error.strerror}"
        raise ConfigError(why, hint="Name a new file in another folder after --into.") from None
