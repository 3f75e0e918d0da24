"""Run the steps of redeploy-pages as separate jobs: `ops site …`. Only `fetch` has a token."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.app.registry import discover_runbooks
from ops.cli.help import ExampleGroup
from ops.cli.options import CONFIG, INCIDENT
from ops.cli.output import echo, text_event
from ops.cli.runbook_command import plan_heading, plan_printer, show_result
from ops.core.errors import Decision
from ops.core.redaction import Redactor
from ops.engine.engine import RunOptions
from ops.engine.runbook import Runbook, params_type
from ops.engine.signals import PROCESS_SIGNALS
from ops.github import actions

if TYPE_CHECKING:
    from ops.app.run import RunRequest
    from ops.config import Config
    from ops.core.run import EndedRun

RUNBOOK = "redeploy-pages"
NEXT_JOB_MESSAGE = (
    "the workflow goes on: it builds the commit and, unless this is a dry run, deploys it; if no more events appear "
    "here within some minutes, read the log of its job build"
)
"""The job that builds has no token, so it cannot report its end to the incident."""


@click.group(cls=ExampleGroup)
def site() -> None:
    """Run the steps of redeploy-pages in separate jobs."""


@site.command(epilog="ops site fetch --service frontend --environment production --into site.tar")
@click.option("--service", required=True, help="Service in ops.yml with a build")
@click.option("--environment", required=True, help="Environment in ops.yml")
@click.option("--commit", default="previous", help="Commit of the production branch, or previous")
@click.option("--incident", type=INCIDENT, help="Incident whose rolled back commits are skipped")
@click.option(
    "--into", type=click.Path(path_type=Path), required=True, help="Tar archive to write the files of the commit to"
)
@click.option("--requested-by", default="", metavar="LOGIN", help="Login of the requester, from the gate")
@click.option(
    "--configuration",
    type=click.Path(path_type=Path),
    help="File for the wrangler configuration (default: configuration.json beside the tar)",
)
@CONFIG
@click.pass_obj
def fetch(
    redactor: Redactor,
    *,
    service: str,
    environment: str,
    commit: str,
    incident: int | None,
    into: Path,
    requested_by: str,
    configuration: Path | None,
    config: Path,
) -> int:
    """Plan, and pack the files of the commit without running any.

    As a job's outputs: `commit`, `branch`, and the digest of the `configuration`. In a job it holds a token, so it
    refuses without the approval that ops.yml demands.
    """
    from ops import site_build
    from ops.app import run
    from ops.app.configuration import read_config
    from ops.app.context import make_site
    from ops.gate.approval import require_review

    runbook: Runbook[Any] = discover_runbooks()[RUNBOOK]
    if actions.is_job(os.environ):
        place = read_config(config)[0].environment(environment)
        require_review(place, runbook, {"service": service}, os.environ, redactor, requester=requested_by)
    request = run.RunRequest(
        runbook=runbook,
        params=params_type(runbook)(service, commit),
        environment=environment,
        config=config,
        incident=incident,
    )
    result, loaded = _plan_build(request, redactor)
    show_result(result, loaded)
    _, problem = run.write_run_summary(result, loaded.contacts, config, os.environ, redactor)
    if problem:
        echo(f"warning: {problem}", err=True)
    plan = result.full_plan if result.decision == Decision.PLANNED else None
    with ExitStack() as ending:
        site_files = make_site(os.environ, config.resolve().parent, redactor, ending)
        fetched = site_build.pack_commit(site_files, plan, into, configuration or into.with_name("configuration.json"))
    actions.write_job_outputs(os.environ, fetched)
    if fetched == site_build.NO_OUTPUTS:
        echo("nothing was fetched, so the jobs after this one do nothing")
        return result.exit_code
    echo(f"fetched {fetched['commit']} of {fetched['branch']} into {into}")
    return 0


def _plan_build(request: "RunRequest", redactor: Redactor) -> "tuple[EndedRun, Config]":
    """Run up to the plan: a later job builds and deploys."""
    from ops.app import run

    service = str(request.params.service)
    show_plan = plan_printer(plan_heading(RUNBOOK, service, request.environment), is_whole=True)
    options = RunOptions(
        dry_run=False, confirm=lambda _: False, show_plan=show_plan, probe_wait=0.0, next_job_message=NEXT_JOB_MESSAGE
    )
    with PROCESS_SIGNALS.in_run() as signals:
        return run.run_runbook(request, os.environ, redactor, sink=text_event, options=options, signals=signals)


@site.command(
    epilog="ops site build --service frontend --environment production --commit SHA --branch main --tree a.tar --into b"
)
@click.option("--service", required=True, help="Service in ops.yml with a build")
@click.option("--environment", required=True, help="Environment in ops.yml")
@click.option("--commit", required=True, help="Full SHA of the fetched commit")
@click.option("--branch", required=True, help="Production branch")
@click.option("--tree", type=click.Path(path_type=Path), required=True, help="Fetched tar archive")
@click.option("--into", type=click.Path(path_type=Path), required=True, help="Folder to write the built site to")
@CONFIG
@click.pass_obj
def build(
    redactor: Redactor,
    *,
    service: str,
    environment: str,
    commit: str,
    branch: str,
    tree: Path,
    into: Path,
    config: Path,
) -> None:
    """Build the fetched files.

    The build runs the commit's own code: give the job no token.
    """
    from ops import site_build
    from ops.app.configuration import read_config, register_secrets
    from ops.app.context import make_site
    from ops.core.names import GitCommit

    configuration, _ = read_config(config)
    site_build.check_no_secrets(os.environ, register_secrets(os.environ, configuration, redactor), configuration)
    service_config = configuration.environment(environment).service(service)
    with ExitStack() as ending:
        site_files = make_site(os.environ, config.resolve().parent, redactor, ending)
        count = site_build.build_packed_commit(
            site_files, service_config, GitCommit(commit), branch, tree=tree, into=into
        )
    echo(f"built {count} files of {commit} in {into}")
