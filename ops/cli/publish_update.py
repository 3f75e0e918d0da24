"""Updates to users, and the page with them: `ops publish-update` and `ops status-page`."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli.help import ExampleCommand, ExampleGroup
from ops.cli.options import CONFIG, INCIDENT, YES_HELP, github_environ
from ops.cli.output import annotate, echo
from ops.core.clock import current_time
from ops.core.errors import IMPLICIT_DRY_RUN
from ops.core.public_update import PublicState
from ops.core.redaction import Redactor
from ops.github import actions

if TYPE_CHECKING:
    from ops.config import Config
    from ops.status_page.publish import Publication

STATES = click.Choice([each.value for each in PublicState], case_sensitive=False)
COMPONENT = "Component, or NAME=CONDITION; repeatable (default: those of the incident)"


@click.command(
    "publish-update",
    cls=ExampleCommand,
    epilog="""
    ops publish-update --incident 42 --state identified
    ops publish-update --incident 42 --state investigating --component Shop='major outage'
    ops publish-update --incident 42 --state monitoring --text 'Orders work again. We keep watching.'
    ops publish-update --incident 42 --state identified --corrects last --text 'Only orders by card fail.'
    """,
)
@click.option("--incident", "number", type=INCIDENT, help="Incident of the update")
@click.option("--state", type=STATES, help="Public state")
@click.option("--component", "components", multiple=True, metavar="NAME", help=COMPONENT)
@click.option("--text", default="", metavar="TEXT", help="Own text (default: the standard text of the state)")
@click.option("--corrects", default="", metavar="ID", help="Update that this one replaces: its id, or last")
@click.option("--starts", default="", metavar="TIME", help="Planned start of a maintenance, in UTC")
@click.option("--ends", default="", metavar="TIME", help="Planned end of a maintenance: 2h, or a time in UTC")
@click.option("--yes", "-y", is_flag=True, help=YES_HELP)
@click.option("--dry-run", is_flag=True, help="Show the update, publish nothing")
@CONFIG
@click.pass_obj
def publish_update(
    redactor: Redactor,
    /,
    *,
    number: int | None,
    state: str | None,
    components: tuple[str, ...],
    yes: bool,
    dry_run: bool,
    config: Path,
    **texts: str,
) -> int:
    """Publish an update to users, in the words of ops.yml or your own.

    On a laptop it shows the update and presses the button: only a job publishes, after it checked your permission. In
    that job, without options, it reads the request from the event.
    """
    from ops.app.configuration import load_config
    from ops.status_page import publish as work

    environ = github_environ(config, redactor)
    if number is None and state is None and actions.is_job(environ):
        show: dict[str, Any] = {"say": echo, "warn": partial(echo, err=True), "annotate": annotate}
        return work.publish_event(config, os.environ, redactor, tell_team=partial(_tell_team, redactor), **show)
    if number is None or state is None:
        raise click.UsageError("give --incident NUMBER and --state STATE")
    request = work.typed_request(number, PublicState(state), components, current_time(environ), **texts)
    loaded = load_config(config, environ, redactor)
    update = work.preview_update(request, loaded, environ, redactor)
    echo(f"public update, {update.state.words}: {update.text}")
    for each in update.components:
        echo(f"  {each.name}{f': {each.condition.words}' if each.condition else ''}")
    if dry_run or not (yes or (sys.stdin.isatty() and sys.stdout.isatty())):
        echo("nothing was published" if dry_run else "nothing was published: add --yes")
        return 0 if dry_run else IMPLICIT_DRY_RUN
    if not yes:
        click.confirm("Publish this to everybody?", abort=True, err=True)
    echo(f"requested: {work.press_publish_button(request, loaded, environ, redactor)}")
    return 0


def _tell_team(redactor: Redactor, config: "Config", publication: "Publication") -> None:
    """Post the update to the team's chats, which never fails."""
    from ops.publish.incident_chat import post_message, update_chat_message

    update = publication.update
    post_message(
        os.environ, config.notify, redactor, update_chat_message(update.state, update.text), publication.incident
    )


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
