"""Build the public status page: `ops status-page`."""

import os
from pathlib import Path

import click

from ops.cli.help import ExampleGroup
from ops.cli.options import CONFIG, github_environ
from ops.cli.output import echo
from ops.core.redaction import Redactor
from ops.github import actions


@click.group("status-page", cls=ExampleGroup)
def status_page() -> None:
    """Build the public status page, and check that it is served."""


@status_page.command(epilog="ops status-page build public")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@CONFIG
@click.pass_obj
def build(redactor: Redactor, /, *, folder: Path, config: Path) -> None:
    """Write the page as static files, from the public updates of all incidents.

    The folder is replaced in one step: a build that fails leaves the former page whole.
    """
    from ops.status_page.build import build_page

    built = build_page(folder, config, github_environ(config, redactor), redactor)
    actions.write_job_outputs(os.environ, {"page": str(built.build)})
    echo(f"built {built.files} files from {built.updates} updates in {built.folder}, for {built.url}")


@status_page.command(epilog="ops status-page compare public")
@click.argument("built", metavar="FOLDER|BUILD")
@CONFIG
@click.pass_obj
def compare(redactor: Redactor, /, *, built: str, config: Path) -> None:
    """Wait until the URL of the page serves this build or a newer one (12 minutes).

    BUILD is the output `page` of a job that built the page.
    """
    from ops.status_page.build import compare_page

    echo(compare_page(built, config, os.environ, redactor))
