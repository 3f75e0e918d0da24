"""The post-incident report of an incident: asks every source, makes or renews it, says on the incident what is open.

A source that cannot be asked is named in the report, and stops nothing. Only the incident itself must be readable.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ops.app import run as app
from ops.app.session import Session
from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion, is_commit_sha
from ops.core import system_clock
from ops.core.errors import ConfigError, OpsError, ProviderError, Reason
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.core.run_record import RunRecord, embed_record
from ops.gate.form import parse_form
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.report.evidence import Evidence, Served
from ops.status import read
from ops.status.status import Status

if TYPE_CHECKING:
    from ops.cloudflare.types import pages
    from ops.config import Config, Environment
    from ops.github.client import Repository

T = TypeVar("T")
ALL_CLEAR = "all-clear"
"""The runbook that sets back the switches of an incident."""


@dataclass(frozen=True)
class Reported:
    number: int
    url: str
    is_new: bool
    open_items: list[str]


def report(
    number: int, config_path: Path, environ: Mapping[str, str], redactor: Redactor, *, only_if_recorded: bool
) -> Reported | None:
    """None where `only_if_recorded` and no run of ours is on the incident. Raises ConfigError and ProviderError."""
    from ops.report import markdown as rendering
    from ops.report import publish

    config, _ = app.read_config(config_path)
    app.register_secrets(environ, config, redactor)
    repository = connect(environ, redactor)
    evidence = _of_github(repository, number, environ)
    if publish.LABEL in evidence.labels:
        hint = "Give the number of the incident that it is about."
        raise ConfigError(f"#{number} is itself a post-incident report", hint=hint, reason=Reason.UNKNOWN_NAME)
    if only_if_recorded and not evidence.our_runs:
        return None
    evidence = _with_cloudflare(evidence, config, environ)
    if evidence.closed_at is not None:
        evidence = _with_what_is_on(evidence, config, environ)
    evidence = redactor.value(_with_commits(evidence, config, repository))
    text = rendering.new(evidence)
    with provider_errors(CHECK_HINT):
        written = publish.write(
            repository,
            number,
            title=rendering.title(evidence),
            new=lambda: text,
            renew=lambda body: rendering.renew(body, evidence),
        )
    _tick(repository, number)
    items = rendering.open_items(written.body)
    if evidence.closed_at is not None:
        _say_what_is_open(repository, evidence, written, items)
    return Reported(written.number, written.url, written.is_new, items)


def _of_github(repository: "Repository", number: int, environ: Mapping[str, str]) -> Evidence:
    from ops.report import github

    read_at = system_clock.current_time(environ)
    with provider_errors(CHECK_HINT):
        evidence = github.on_issue(
            repository, number, read_at=read_at, stated=lambda body: parse_form(body, now=read_at)
        )
    wanted = [run for one in evidence.our_runs if (run := one.actions_run)]
    runs, why = _asked(lambda: _told(lambda: tuple(github.workflow_runs(repository, wanted))))
    return replace(evidence, runs=runs or (), unasked=tuple(f"the runs of GitHub Actions: {each}" for each in why))


def _with_cloudflare(evidence: Evidence, config: "Config", environ: Mapping[str, str]) -> Evidence:
    """The history of every service that a run was about."""
    wanted = dict.fromkeys((one.record.environment, one.record.service) for one in evidence.our_runs)
    served: list[Served] = []
    lacks: list[str] = []
    for name, service in wanted:
        environment = config.environments.get(name)
        if environment is None or service not in environment.services:
            lacks.append(f"the deployments of {service} in {name}: ops.yml does not know it (any more)")
            continue
        found, why = _asked(lambda: _served(environment, service, environ))  # noqa: B023  called before the next
        served += [found] if found else []
        lacks += [f"the deployments of {service} in {name}: {each}" for each in why]
    return replace(evidence, served=tuple(served), unasked=(*evidence.unasked, *lacks))


def _with_what_is_on(evidence: Evidence, config: "Config", environ: Mapping[str, str]) -> Evidence:
    """For the incident, in the environments where its runs acted."""
    from ops.status import text as rendering

    lines, presses = list[str](), list[str]()
    for name in dict.fromkeys(one.record.environment for one in evidence.our_runs):
        environment = config.environments.get(name)
        if environment is None:
            continue
        found, why = _asked(lambda: _on(environment, environ, evidence.number))  # noqa: B023  called before the next
        if found is None:
            lines.append(f"not known in {name}: {'; '.join(why)}")
            continue
        lines += rendering.still_on(found)
        presses += _presses(found, config, environ, evidence.number)
    return replace(evidence, still_on=tuple(lines), sets_back=tuple(presses))


def _on(environment: "Environment", environ: Mapping[str, str], number: int) -> Status:
    with ExitStack() as ending:
        return read.read(Session(environment, environ, ending), with_services=False).of_incident(number)


def _presses(found: Status, config: "Config", environ: Mapping[str, str], number: int) -> Iterator[str]:
    """A label for the switches; what is off at the edge is opened by its own command."""
    name, program = found.environment, app.program_name(environ)
    where = {"environment": name, "incident": number}
    if found.switches:
        labels = [
            put for put, label in config.labels.items() if (label.runbook, label.environment) == (ALL_CLEAR, name)
        ]
        put = f"the label {labels[0]} on the incident, within 7 days of its closing; or " if labels else ""
        yield f"{put}{build_command(program, ALL_CLEAR, where)}"
    for block in found.off:
        options = {"state": "off", "service": block.service, "path": block.path, **where}
        yield build_command(program, "maintenance", options)


def _served(environment: "Environment", name: str, environ: Mapping[str, str]) -> Served:
    account, service = environment.account_id, environment.services[name]
    dashboard = f"https://dash.cloudflare.com/{account}"
    with ExitStack() as ending:
        session = Session(environment, environ, ending)
        if service.kind == "pages":
            page = f"{dashboard}/pages/view/{service.pages}"
            deployments, versions = _of_site(session.pages.list_deployments(service.pages))
        else:
            page = f"{dashboard}/workers/services/view/{service.worker}/production/deployments"
            deployments = session.workers.list_deployments(service.worker)
            versions = session.workers.list_deployable_versions(service.worker)
    return Served(environment.name, name, page, deployments, versions)


def _of_site(
    listed: "Iterable[pages.PagesDeployment]",
) -> tuple[tuple[WorkerDeployment, ...], tuple[WorkerVersion, ...]]:
    """In the words of a Worker: a site's deployment is a version that got all of the traffic when it was made."""
    good = [each for each in listed if each.can_serve_production]
    deployments = [WorkerDeployment(d.id, d.created_on, ((d.id, 100.0),), message=d.message) for d in good]
    return tuple(deployments), tuple(WorkerVersion(d.id, tag=d.commit) for d in good)


def _with_commits(evidence: Evidence, config: "Config", repository: "Repository") -> Evidence:
    """What lies between the version that was taken away and the one that came back, where both carry their commit."""
    from ops.report.github import commits_between

    main = evidence.main_run
    served = evidence.serving(main) if main else None
    if main is None or served is None:
        return evidence
    newer, older = evidence.exchanged(main)
    name = config.environments[served.environment].services[served.service].repository
    if not (newer and older and name and is_commit_sha(newer.tag) and is_commit_sha(older.tag)):
        return evidence
    url = f"https://github.com/{name}/compare/{older.tag}...{newer.tag}"
    commits, why = _asked(lambda: _told(lambda: commits_between(repository, name, older.tag, newer.tag)))
    lacks = tuple(f"the commits that were taken back: {each}" for each in why)
    return replace(evidence, compare_url=url, commits=tuple(commits or ()), unasked=(*evidence.unasked, *lacks))


def _asked(ask: Callable[[], T]) -> tuple[T | None, tuple[str, ...]]:
    """The answer, or why there is none."""
    try:
        return ask(), ()
    except OpsError as error:
        return None, (error.message,)


def _told(ask: Callable[[], T]) -> T:
    with provider_errors():
        return ask()


def _tick(repository: "Repository", number: int) -> None:
    """Tick the post-mortem in the runs' comments of ours; the report itself is there, so a failure ends nothing."""
    from ops.github.comments import author, login, run_records
    from ops.publish.comment import add_report

    with suppress(ProviderError), provider_errors():
        me = login(repository)
        for comment, block in run_records(repository.get_issue(number)):
            is_ours = author(comment) == me and block.source in {"run", "laptop"}
            if is_ours and (body := add_report(comment.body)):
                comment.edit(body)


def _say_what_is_open(repository: "Repository", evidence: Evidence, written: Any, items: list[str]) -> None:
    """One comment on the incident, edited in place when it is closed again."""
    from ops.github.comments import RunComments
    from ops.report import markdown as rendering

    run = f"report-{evidence.number}"
    text = rendering.closing(written.number, items, evidence)
    with provider_errors(CHECK_HINT):
        RunComments(repository, evidence.number, run, look=True).put(
            1, embed_record(text, RunRecord(run, source="report"))
        )
