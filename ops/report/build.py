"""Build the post-incident report from all sources, and list its open items.

A source that cannot be read is named in the report. Only the incident itself must be readable.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ops.app.configuration import load_config, program_name
from ops.app.registry import record_rules
from ops.app.session import Session
from ops.cloudflare.types.workers import (
    WorkerDeployment,
    WorkerVersion,
    describe_split,
    leave_out_rehearsals,
    list_traffic_changes,
)
from ops.core.anonymization import anonymize_text
from ops.core.clock import current_time, find_clock
from ops.core.errors import ConfigError, OpsError, ProviderError, Reason
from ops.core.names import is_sha
from ops.core.next_step import SuggestedCommand, build_command
from ops.core.recent_change import RecentChange
from ops.core.redaction import Redactor
from ops.core.run_record import RunRecord
from ops.github import actions
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.issues import get_incident
from ops.github.journal import read_journal
from ops.publish.incident_chat import incident_chat_message, post_message
from ops.report.action_issues import read_tracked
from ops.report.action_items import TrackedItem, find_action_items
from ops.report.checklist import proved_steps
from ops.report.evidence import IncidentEvidence, ReportedHistory, list_commits, read_workflow_runs
from ops.report.impact_sources import read_impact
from ops.report.messages import add_missing_texts
from ops.report.state_comment import publish_state
from ops.status.incident import find_environments, read_live_held
from ops.status.recent_changes import read_changes_of
from ops.status.status import describe_live_schema

if TYPE_CHECKING:
    from ops.cloudflare.types import pages
    from ops.config import Config, Environment
    from ops.github.client import Repository

T = TypeVar("T")


@dataclass(frozen=True)
class ReportResult:
    number: int
    url: str
    is_new: bool
    open_items: list[str]
    state_problem: str = ""
    """Why the comment with the state is not up to date; empty if it is."""
    notes: tuple[str, ...] = ()
    """Edits of people that the update replaced."""


def write_report(
    number: int, config_path: Path, environ: Mapping[str, str], redactor: Redactor, *, only_if_recorded: bool
) -> ReportResult | None:
    """Create or update the report. Returns None with `only_if_recorded` if the incident has no run of ours.

    Raises ConfigError for an issue that is no incident and has no run of ours, and ProviderError.
    """
    from ops.report import issue

    config = load_config(config_path, environ, redactor)
    repository = connect(environ, redactor)
    evidence = _read_incident_on_github(repository, number, config, environ)
    if issue.LABEL in evidence.labels:
        hint = "Use the number of its incident."
        raise ConfigError(
            f"#{number} is a post-incident report, not an incident", hint=hint, reason=Reason.UNKNOWN_NAME
        )
    if not evidence.our_runs:
        if only_if_recorded:
            return None
        with provider_errors(CHECK_HINT):
            get_incident(repository, number)
    held = read_live_held(config, config_path, environ, number, find_environments(evidence, config))
    evidence = replace(evidence, live=held)
    state_problem = publish_state(evidence, evidence.state, config, environ, redactor)
    evidence = _add_histories(evidence, config, environ)
    start = evidence.start.at or evidence.opened_at
    recent = read_changes_of(evidence, start, config, environ, redactor).with_others(_list_deployments(evidence))
    evidence = replace(evidence, impact=read_impact(evidence, config, environ), recent=recent)
    if config.action_items:
        evidence = replace(evidence, action_items=_read_actions(repository, number, environ))
    evidence = redactor.redact_value(_add_commits(evidence, config, repository))
    with provider_errors(CHECK_HINT):
        written = issue.publish_report(
            repository,
            number,
            title=issue.report_title(evidence),
            new=lambda: issue.render_report(evidence),
            renew=lambda body: issue.update_report(body, evidence),
            clock=find_clock(environ),
        )
    _tick_comments(repository, number, proved_steps(evidence))
    with suppress(ProviderError):
        add_missing_texts(evidence, config, environ, redactor)
    items = issue.open_report_items(written.body)
    if evidence.closed_at is not None:
        _comment_open_items(repository, evidence, written, items)
        if actions.is_event_about(environ, "issues", "closed", number):
            post_message(environ, config.notify, redactor, incident_chat_message(number, "closed"), number)
    return ReportResult(written.number, written.url, written.is_new, items, state_problem, written.notes)


def _read_incident_on_github(
    repository: "Repository", number: int, config: "Config", environ: Mapping[str, str]
) -> IncidentEvidence:
    read_at = current_time(environ)
    with provider_errors(CHECK_HINT):
        journal = read_journal(repository, number, record_rules(config), read_at=read_at, is_incident=False)
    evidence = IncidentEvidence(**vars(journal), places=config.places)
    run_ids = [run for one in evidence.our_runs if (run := one.actions_run)]
    runs, unavailable = _try_report_source(
        "GitHub Actions runs", lambda: tuple(read_workflow_runs(repository, run_ids))
    )
    return replace(evidence, runs=runs or (), unavailable=unavailable)


def _add_histories(evidence: IncidentEvidence, config: "Config", environ: Mapping[str, str]) -> IncidentEvidence:
    """Read the deployment history of every service that a run acted on."""
    run_ids = dict.fromkeys((one.record.environment, one.record.service) for one in evidence.our_runs)
    served: list[ReportedHistory] = []
    unavailable: list[str] = []
    for name, service in run_ids:
        environment = config.environments.get(name)
        if environment is None or service not in environment.services:
            unavailable.append(f"deployments of {service} in {name}: the service is not in ops.yml (any more)")
            continue
        read = partial(_read_history, config, environment, service, environ, evidence)
        history, problems = _try_report_source(f"deployments of {service} in {name}", read)
        served += [history] if history else []
        unavailable += problems
    return replace(evidence, histories=tuple(served), unavailable=(*evidence.unavailable, *unavailable))


def _read_actions(repository: "Repository", number: int, environ: Mapping[str, str]) -> tuple[TrackedItem, ...] | None:
    """Return the action items of the report with their state; None without a report that has their table."""
    from ops.report.issue import find_report

    with provider_errors(CHECK_HINT):
        report = find_report(repository, number)
        items = find_action_items(report.body or "", environ["GITHUB_REPOSITORY"]) if report else None
        return None if items is None else read_tracked(repository, items)


def _list_deployments(evidence: IncidentEvidence) -> Iterator[RecentChange]:
    """Yield the deployments of the services that runs acted on: a token may read these and no audit log."""
    for history in evidence.histories:
        for each in history.deployments:
            what = f"deployment of {history.service} in {history.environment}: {describe_split(each.split)}"
            yield RecentChange(each.created_on, what, anonymize_text(each.author), history.url)


def _read_history(
    config: "Config", environment: "Environment", name: str, environ: Mapping[str, str], evidence: IncidentEvidence
) -> ReportedHistory:
    def suggest_in_report(runbook: str, **params: str) -> SuggestedCommand:
        options = {**params, "environment": environment.name, "incident": evidence.number}
        return SuggestedCommand(build_command(program_name(environ), runbook, options))

    schema: tuple[str, ...] = ()
    account, service = environment.account_id, environment.services[name]
    dashboard = f"https://dash.cloudflare.com/{account}"
    with ExitStack() as ending:
        session = Session(config, environment.name, environ, ending)
        if service.kind == "pages":
            page = f"{dashboard}/pages/view/{service.pages}"
            deployments, versions = _convert_deployments(session.cloudflare.pages.list_deployments(service.pages))
        else:
            page = f"{dashboard}/workers/services/view/{service.worker}/production/deployments"
            listed = session.cloudflare.workers.list_deployments(service.worker, rehearsals=True)
            deployments = list_traffic_changes(listed)
            versions = session.cloudflare.workers.list_deployable_versions(service.worker)
            schema = describe_live_schema(
                session,
                name,
                deployments=leave_out_rehearsals(listed),
                versions=versions,
                now=evidence.read_at,
                suggest=suggest_in_report,
            )
    return ReportedHistory(environment.name, name, page, deployments, versions, schema)


def _convert_deployments(
    listed: "Iterable[pages.PagesDeployment]",
) -> tuple[tuple[WorkerDeployment, ...], tuple[WorkerVersion, ...]]:
    """Convert Pages deployments to Worker types: each is a version that got all traffic at its creation."""
    good = [each for each in listed if each.can_serve_production]
    deployments = [WorkerDeployment(d.id, d.created_on, ((d.id, 100.0),), message=d.message) for d in good]
    return tuple(deployments), tuple(WorkerVersion(d.id, tag=d.commit) for d in good)


def _add_commits(evidence: IncidentEvidence, config: "Config", repository: "Repository") -> IncidentEvidence:
    """Read the commits between the replaced and the restored version, if both have a commit."""
    main = evidence.main_run
    served = evidence.find_history(main) if main else None
    if main is None or served is None:
        return evidence
    newer, older = evidence.find_versions(main)
    name = config.environments[served.environment].services[served.service].repository
    if not (newer and older and name and is_sha(newer.tag) and is_sha(older.tag)):
        return evidence
    url = f"https://github.com/{name}/compare/{older.tag}...{newer.tag}"
    commits, problems = _try_report_source(
        "reverted commits", lambda: list_commits(repository, name, older.tag, newer.tag)
    )
    unavailable = (*evidence.unavailable, *problems)
    return replace(evidence, compare_url=url, commits=tuple(commits or ()), unavailable=unavailable)


def _try_report_source(source: str, read: Callable[[], T]) -> tuple[T | None, tuple[str, ...]]:
    """Return the result, or None and why the source is unavailable."""
    try:
        with provider_errors():
            return read(), ()
    except OpsError as error:
        return None, (f"{source}: {error.message}",)


def _tick_comments(repository: "Repository", number: int, proved: Collection[str]) -> None:
    """Tick the proved steps in the comments of our runs. A failure is ignored, because the report itself exists."""
    from ops.github.comments import own_records
    from ops.publish.comment import tick_steps

    with suppress(ProviderError), provider_errors():
        for comment, record in own_records(repository.get_issue(number)):
            if record.source in {"run", "laptop"} and (body := tick_steps(comment.body, proved)):
                comment.edit(body)


def _comment_open_items(repository: "Repository", evidence: IncidentEvidence, written: Any, items: list[str]) -> None:
    """Write one comment with the open items to the incident; a later closing edits it."""
    from ops.github.comments import save_record
    from ops.report import issue

    run = f"report-{evidence.number}"
    text = issue.render_closing(written.number, items, evidence)
    with provider_errors(CHECK_HINT):
        save_record(repository, evidence.number, text, RunRecord(run, source="report"))
