"""Make the context of a plan; plan a rollback for commands that only show its target.

A run adds records and earlier runs.
"""

import functools
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app import registry
from ops.app.configuration import SecretVariables, command_prefix
from ops.app.registry import load_rollback, record_rules
from ops.app.row_store import make_row_store
from ops.app.run_files import RUNS, read_records
from ops.app.session import Session
from ops.core.errors import Refused
from ops.core.redaction import Redactor
from ops.core.run_record import PreviousRuns, parse_job_run
from ops.core.timeline import Timeline
from ops.engine.context import Context, OperationsRepository, RequestInfo
from ops.engine.runbook import RollbackReach, params_type
from ops.engine.step import StepPlan
from ops.github import actions
from ops.publish import LOCAL_USER, Publisher
from ops.tools import process

if TYPE_CHECKING:
    from ops.config import Service
    from ops.site_build import SiteBuilder
    from ops.tools.source_files import SourceFiles


def planning_context(
    *,
    params: Any,
    session: Session,
    path: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    ending: ExitStack,
    request: RequestInfo | None = None,
    run_id: str = "",
    timeline: Timeline | None = None,
) -> Context[Any]:
    """Return a context in which a runbook can plan, and change and publish nothing. `path` is that of ops.yml.

    A run gives its ID and timeline.
    """
    folder, clock = path.resolve().parent, session.clock
    run_id = run_id or new_run_id(environ, clock.now())
    return Context(
        params=params,
        config=session.config,
        environment=session.environment,
        request=request or RequestInfo(actor=LOCAL_USER),
        run_id=run_id,
        clock=clock,
        timeline=timeline or Timeline(clock, redactor),
        cloudflare=session.cloudflare,
        github=OperationsRepository(
            folder, environ, redactor, clock=clock, write_guards=session.write_guards, ending=ending
        ),
        web=session.web,
        make_site=lambda: make_site(environ, folder, redactor, ending, session),
        read_source=functools.partial(read_source, folder, environ, redactor),
        secret_values=SecretVariables(environ, redactor, session.config),
        kept_rows=make_row_store(folder / RUNS / run_id, session, run_id, is_job=actions.is_job(environ)),
        previous_runs=lambda: PreviousRuns,
        runs_of_incidents=lambda _: (),
        local_runs=tuple,
        service_kinds=registry.service_kinds,
        command_prefix=command_prefix(environ, path),
    )


def new_run_id(environ: Mapping[str, str], now: datetime) -> str:
    """Return a unique id: GitHub's run and attempt, or the time; and four random digits.

    One job may run two commands. Deployment messages hold the id, so it must never repeat.
    """
    digits = secrets.token_hex(2)
    of_a_job = f"{actions.run_id(environ)}.{environ.get('GITHUB_RUN_ATTEMPT', '1')}-{digits}"
    return of_a_job if parse_job_run(of_a_job) else f"{now:%Y%m%dT%H%M%S}-{digits}"


def make_site(
    environ: Mapping[str, str],
    folder: Path,
    redactor: Redactor,
    ending: ExitStack,
    session: Session | None = None,
    *,
    elsewhere: bool = False,
) -> "SiteBuilder":
    """Return the builder of sites.

    `folder` is that of ops.yml. Without a session it cannot deploy. `elsewhere`: another job builds.
    """
    from ops.site_build import DeployAccount, SiteBuilder

    def find_exposed_secrets(application: str) -> str:
        from ops.github import protection

        return protection.source_exposure(environ, redactor, application)

    return SiteBuilder(
        environ,
        folder,
        redactor,
        scratch=lambda: ending.enter_context(process.scratch_folder()),
        may_build=elsewhere or not actions.is_job(environ),
        exposed=lambda of: find_exposed_secrets(of) if elsewhere and actions.is_job(environ) else "",
        account=DeployAccount(session.base_url, session.account_id, session.token) if session else None,
    )


def read_source(
    folder: Path, environ: Mapping[str, str], redactor: Redactor, repository: str | None, paths: Sequence[str]
) -> "SourceFiles":
    """Return files of a repository: in a job those that an earlier job saved, else of the checkout. Raises Refused."""
    from ops.tools import source_files

    if actions.is_job(environ):
        return source_files.load_source_files(environ)
    return source_files.read_source_files(folder, environ, redactor, repository, paths)


@dataclass(frozen=True)
class RollbackPreview:
    """Plan of a rollback with its default target, or the refusal."""

    outcome: StepPlan | Refused
    reach: RollbackReach | None
    """None if the rollback was refused before its history was read."""


def preview_rollback(
    session: Session,
    service: "Service",
    *,
    path: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    ending: ExitStack,
) -> RollbackPreview:
    """Plan the rollback with the default target; `path` is that of ops.yml.

    It reads the same records as a run without an incident, so that both refuse the same. Raises OpsError if the state
    cannot be read.
    """
    runbook, folder = load_rollback(service.kind), path.resolve().parent
    context = planning_context(
        params=params_type(runbook)(service=service.name),
        session=session,
        path=path,
        environ=environ,
        redactor=redactor,
        ending=ending,
    )
    publisher = Publisher(environ, session.config, redactor, session.clock, run=context.run_id, incident=None)
    context = replace(
        context,
        runs_of_incidents=lambda numbers: publisher.read_runs_of(
            numbers, context.timeline, record_rules(session.config)
        ),
        local_runs=functools.partial(read_records, folder / RUNS, runbook.name, session.sandbox, redactor),
    )
    reach: RollbackReach | None = None
    try:
        situation = runbook.read(context)
        reach = situation.reach
        return RollbackPreview(runbook.choose(context, situation), reach)
    except Refused as refusal:
        return RollbackPreview(refusal, reach)
