"""Build the public status page: `ops status-page`."""

from pathlib import Path

import click

from ops.cli.help import ExampleGroup
from ops.cli.options import CONFIG, github_environ
from ops.cli.output import echo
from ops.core.redaction import Redactor

FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.group("status-page", cls=ExampleGroup)
def status_page() -> None:
    """Build the public status page, and check that it is served."""


@status_page.command(epilog="ops status-page build public")
@FOLDER
@CONFIG
@click.pass_obj
def build(redactor: Redactor, /, *, folder: Path, config: Path) -> None:
    """Write the page as static files, from the public updates of all incidents.

    The folder is replaced in one step: a build that fails leaves the former page whole.
    """
    from ops.status_page.build import build_page

    built = build_page(folder, config, github_environ(config, redactor), redactor)
    echo(f"built {built.files} files from {built.updates} updates in {built.folder}, for {built.url}")


@status_page.command(epilog="ops status-page compare public")
@FOLDER
@CONFIG
@click.pass_obj
def compare(redactor: Redactor, /, *, folder: Path, config: Path) -> None:
    """Wait until the URL of the page serves this build, for at most twelve minutes."""
    import os

    from ops.status_page.build import compare_page

    echo(compare_page(folder, config, os.environ, redactor))
