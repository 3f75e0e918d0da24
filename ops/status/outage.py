"""Read the signs of an outage, and publish the verdict: `ops check-outage`.

The signs are the status pages, the API, probes, deployments and AI providers.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ops.app.configuration import probe_environ, read_config, register_secrets
from ops.app.scope import Place
from ops.app.session import Session
from ops.core.clock import format_rfc3339, format_utc
from ops.core.errors import Decision, OpsError, Reason
from ops.core.names import join_names
from ops.core.next_step import build_command
from ops.core.outage import (
    ApiState,
    OutageEvidence,
    OutageFinding,
    OutageVerdict,
    PageState,
    ServiceSigns,
    StatusDocument,
    StatusReport,
    judge_outage,
)
from ops.core.plan import RunOutcome
from ops.core.redaction import Redactor
from ops.core.run_record import HEALTHY, RecordRow, RunRecord
from ops.core.threads import run_in_batches, run_parallel, run_parallel_mixed
from ops.core.verdict import KeyAnswer, KeyVerdict, Verdict
from ops.github import actions
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.probes.provider_status import (
    CLOUDFLARE_STATUS,
    GITHUB_COMPONENTS,
    GITHUB_STATUS,
    PRODUCTS_GROUP,
    STATUS_SECONDS,
    judge_used,
    read_report,
    read_status_document,
    used_products,
)
from ops.render import collapse_blank_lines, load_templates, to_one_line
from ops.status.signs import probe_service, read_deployment

if TYPE_CHECKING:
    from ops.config import Config, Environment, Service
    from ops.config.sections import KeyProvider
    from ops.config.types import Contact

T = TypeVar("T")
MAX_CALLS = 8
"""Services that are read at the same time."""
MAX_PAUSE = timedelta(days=1)
"""Age of the newest reported incident up to which automatic runs pause: some stay open for weeks."""
SUPPORT = "https://support.cloudflare.com"
SOURCE = "outage"
"""Source of its records."""
PAGE = "docs/how-to/incidents.md#see-whether-it-is-an-outage"
UPDATE = timedelta(minutes=30)
"""Time until the next message to users."""
MAX_CHECKS = 20
"""Newest checks that the record of one comment keeps."""
HEADLINES = {
    OutageVerdict.THEIRS: ("☁️", "theirs, an outage of a provider"),
    OutageVerdict.OURS: ("🔧", "ours, no sign of an outage"),
    OutageVerdict.UNCLEAR: ("❔", "unclear, an outage or our fault"),
}


@dataclass(frozen=True)
class OutageReport:
    """Finding for one service, or for all services of an environment. Texts of providers in it are untrusted."""

    service: str
    """Empty for all services of the environment."""
    environment: str
    read_at: datetime
    evidence: OutageEvidence
    finding: OutageFinding
    contacts: "tuple[Contact, ...]" = ()
    """People to call; empty if nobody must be called."""
    docs: str = ""
    """Address of the page about its verdict, or its path in Backout."""

    @property
    def place(self) -> str:
        return str(Place(self.environment, self.service))

    @property
    def is_suspended(self) -> bool:
        return self.evidence.api == ApiState.SUSPENDED

    def to_json(self) -> dict[str, Any]:
        finding = self.finding
        return {
            "schema": 1,
            "environment": self.environment,
            "service": self.service,
            "read_at": format_rfc3339(self.read_at),
            "verdict": finding.verdict.value,
            "theirs": list(finding.theirs),
            "ours": list(finding.ours),
            "github": list(finding.github),
            "notes": list(finding.notes),
            "next": self.next_step,
            "contacts": [each.model_dump() for each in self.contacts],
            "docs": self.docs,
        }

    @property
    def next_step(self) -> str:
        if self.is_suspended:
            step = f"Escalate now: contact Cloudflare support at {SUPPORT}, with the ID of the account."
        else:
            tell = "Tell users, and wait" if self.evidence.failing else "No service fails in our probes: wait"
            step = {
                OutageVerdict.THEIRS: f"Do not roll back. {tell} for the provider.",
                OutageVerdict.OURS: "Recover the service: see its recoveries on the incident.",
                OutageVerdict.UNCLEAR: "Decide by the signs: a rollback helps only against a fault of our own.",
            }[self.finding.verdict]
        is_late = bool(self.finding.github)
        return f"{step} GitHub has trouble too: run commands on a laptop." if is_late else step


def describe_trouble(report: OutageReport) -> str:
    """Return why an older version may not help; empty if no provider has trouble."""
    finding = report.finding
    signs = dict.fromkeys((*finding.theirs, *finding.possible))
    has = "has trouble" if finding.theirs else "may have trouble"
    return f"a provider {has}, so an older version may not help: {'; '.join(signs)}" if signs else ""


def read_outage(place: Place, config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> OutageReport:
    """Read all signs in parallel, and judge them. A place without a service means all services.

    Raises:
        ConfigError: the configuration is invalid, or the token is missing.
    """
    config, _ = read_config(config_path)
    names = register_secrets(environ, config, redactor)
    environment = config.environment(place.environment)
    services = [environment.service(place.service)] if place.service else list(environment.services.values())
    with ExitStack() as ending:
        session = Session(config, environment.name, environ, ending)
        now = session.clock.now()
        variables = probe_environ(environ, names)
        probe = partial(probe_service, session, environ=variables, redactor=redactor, folder=config_path.parent)
        cloudflare, github, reads, verdicts, providers = run_parallel_mixed(
            [
                lambda: read_status_document(
                    session.probe_client(), CLOUDFLARE_STATUS, group=PRODUCTS_GROUP, within=STATUS_SECONDS
                ),
                lambda: _read_github(session, config),
                lambda: _call_outage_reads(partial(read_deployment, session, each, now) for each in services),
                lambda: _call_outage_reads(partial(probe, each) for each in services),
                lambda: _check_providers(session, environment, [each.name for each in services]),
            ]
        )
    signs = tuple(
        ServiceSigns(each.name, verdict, deployment)
        for each, verdict, (_, deployment) in zip(services, verdicts, reads, strict=True)
    )
    failing = [each for each, verdict in zip(services, verdicts, strict=True) if verdict == Verdict.UNHEALTHY]
    page = _judge_page(cloudflare, environment, failing, services)
    api = max((state for state, _ in reads), key=tuple(ApiState).index)
    near = dict(_list_ai_providers(environment, [each.name for each in failing or services]))
    used = {name: verdict for name, verdict in providers.items() if name in near}
    evidence = OutageEvidence((page,), api, signs, used, github)
    contacts = config.contacts if api == ApiState.SUSPENDED else ()
    docs = f"{actions.docs_base(environ, config.github.actions)}{PAGE}"
    report = OutageReport(place.service, environment.name, now, evidence, judge_outage(evidence), contacts, docs)
    redacted: OutageReport = redactor.redact_value(report)
    return redacted


def pause_in_outage(
    environment: str, config_path: Path, environ: Mapping[str, str], redactor: Redactor
) -> RunOutcome | None:
    """Return the end of an automatic run while Cloudflare has an outage, else None.

    Trouble of an AI provider does not count: a switch away from it may be the planned change. Reported trouble is
    enough, since the token of a schedule may not read deployments. It pauses for MAX_PAUSE from the start of the newest
    incident; trouble without a known start pauses nothing, because it might pause for weeks.
    """
    try:
        report = read_outage(Place(environment), config_path, environ, redactor)
    except OpsError:
        return None
    finding, evidence = report.finding, report.evidence
    reported = [page for page in evidence.pages if page.state == PageState.TROUBLE]
    is_theirs = evidence.is_cloudflare and finding.pauses_automatic_steps
    is_recent = any(page.newest and report.read_at - page.newest <= MAX_PAUSE for page in reported)
    if finding.ours or not (is_recent if reported else is_theirs):
        return None
    signs = "; ".join(report.finding.theirs)
    message = f"paused, and nothing was changed: Cloudflare has an outage ({signs}); the next scheduled run tries again"
    return RunOutcome(Decision.PLANNED, Reason.PROVIDER_OUTAGE, message)


def _judge_page(
    document: StatusDocument | None,
    environment: "Environment",
    failing: "Sequence[Service]",
    services: "Sequence[Service]",
) -> StatusReport:
    """Judge the products of the failing services, or of all if none fails.

    Trouble with the products of other services only is unknown: it may be wider than the page says.
    """
    near, whole = (
        judge_used(CLOUDFLARE_STATUS, document, used_products(environment, *each))
        for each in (failing or services, services)
    )
    if near.state == PageState.TROUBLE or whole.state != PageState.TROUBLE:
        return near
    evidence, possible = (
        tuple(dict.fromkeys(lines)) for lines in ((*whole.evidence, *near.evidence), (*whole.possible, *near.possible))
    )
    return StatusReport(whole.page, PageState.UNKNOWN, evidence, possible=possible)


def _call_outage_reads(calls: Iterable[Callable[[], T]]) -> list[T]:
    return run_in_batches(list(calls), MAX_CALLS)


def _read_github(session: Session, config: "Config") -> StatusReport | None:
    """Read what GitHub reports; None for a GitHub Enterprise Server, which has no public page."""
    if config.github.enterprise_server:
        return None
    return read_report(session.probe_client(), GITHUB_STATUS, GITHUB_COMPONENTS, within=STATUS_SECONDS)


def _check_providers(session: Session, environment: "Environment", services: Sequence[str]) -> Mapping[str, Verdict]:
    """Return AI provider of these services → whether it answers to a random key."""
    providers = dict(_list_ai_providers(environment, services))
    verdicts = run_parallel([partial(_check_provider, session, spec) for spec in providers.values()])
    return dict(zip(providers, verdicts, strict=True))


def _list_ai_providers(environment: "Environment", services: Sequence[str]) -> Iterator[tuple[str, "KeyProvider"]]:
    """Yield the address and settings of each AI provider of these services. A key without `consumers` counts."""
    for secret in environment.secrets.values():
        if secret.provider is not None and (not secret.consumers or set(secret.consumers) & set(services)):
            yield secret.provider.url.partition("://")[2].partition("/")[0], secret.provider


def _check_provider(session: Session, spec: "KeyProvider") -> Verdict:
    try:
        return _judge_provider_answer(session.web.check_provider_key(spec, None))
    except OpsError:
        return Verdict.INCONCLUSIVE


def _judge_provider_answer(answer: KeyAnswer) -> Verdict:
    if answer.verdict in {KeyVerdict.ACCEPTED, KeyVerdict.REFUSED}:
        return Verdict.HEALTHY
    return Verdict.UNHEALTHY if answer.text.startswith(("no answer", "status 5")) else Verdict.INCONCLUSIVE


def outage_lines(report: OutageReport) -> Iterator[str]:
    """Yield the verdict, each sign and the next step."""
    finding = report.finding
    yield f"{report.place}, read at {format_utc(report.read_at)}: {finding.verdict.value}"
    for title, signs in _outage_signs(finding):
        yield from (f"  {title:<6}  {to_one_line(sign)}" for sign in signs)
    yield f"  {report.next_step}"
    yield f"  meaning of {finding.verdict.value}: {report.docs}"
    yield from (f"  call    {to_one_line(str(each))}" for each in report.contacts)


def _outage_signs(finding: OutageFinding) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from (("theirs", finding.theirs), ("ours", finding.ours), ("github", finding.github), ("note", finding.notes))


def publish_outage(
    report: OutageReport, incident: int | None, program: Sequence[str], environ: Mapping[str, str], redactor: Redactor
) -> str:
    """Write the job summary and the comment on the incident; return the comment's URL, or an empty string.

    A new comment is posted, so that people see an answer to each request. Only if the newest comment of the issue is
    the same verdict of ours, it is edited. Raises ProviderError and ConfigError.
    """
    from ops.github.comments import newest_own_record, save_record

    body = redactor.redact_text(render_outage_comment(report, incident, program, environ))
    actions.write_summary(environ, body)
    if incident is None:
        return ""
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        newest = newest_own_record(repository, incident)
        state = HEALTHY if report.evidence.is_healthy else ""
        place = (SOURCE, report.environment, report.service, report.finding.verdict.value, state)
        same = newest and (newest.source, newest.environment, newest.service, newest.decision, newest.state)
        is_same = same == place
        new = f"{SOURCE}-{report.read_at:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
        run, earlier = (newest.run, newest.rows) if newest and is_same else (new, ())
        record = RunRecord(
            run,
            source=SOURCE,
            environment=report.environment,
            service=report.service,
            decision=report.finding.verdict.value,
            state=state,
            rows=(*earlier, _outage_row(report))[-MAX_CHECKS:],
            job=actions.job_number(environ),
        )
        return save_record(repository, incident, body, record, tries=2)


def _outage_row(report: OutageReport) -> RecordRow:
    finding = report.finding
    signs = "; ".join((*finding.theirs, *finding.ours)) or "no sign of either kind"
    return RecordRow(report.read_at, "note", f"outage check of {report.place}: {finding.verdict.value}: {signs}")


def render_outage_comment(
    report: OutageReport, incident: int | None, program: Sequence[str], environ: Mapping[str, str]
) -> str:
    """Return the comment, without its record. `program`: see `ops.app.configuration.published_prefix`."""
    icon, headline = HEADLINES[report.finding.verdict]
    head, *more = program
    name = f"check-outage {report.service}".strip()
    options = {"environment": report.environment, "incident": incident}
    text = (
        load_templates()
        .get_template("outage.md.j2")
        .render(
            icon=icon,
            headline=headline,
            report=report,
            log=actions.run_links(environ, None).get("run", ""),
            draft=tuple(draft_lines(report)),
            command=build_command(head, name, options, *more),
        )
    )
    return collapse_blank_lines(text).strip()


def draft_lines(report: OutageReport) -> Iterator[str]:
    """Yield a message to users about a provider's outage, from checked facts only.

    Nothing if no service of ours fails, or if the fault may be ours. It names products, and no text of a status page.
    """
    failing = [each.name for each in report.evidence.failing]
    if report.finding.verdict != OutageVerdict.THEIRS or not failing:
        return
    yield f"Parts of {join_names(failing)} do not work at the moment. Our checks failed at {report.read_at:%H:%M} UTC."
    if not report.is_suspended:
        yield from _provider_lines(report)
    yield f"Next update: {report.read_at + UPDATE:%H:%M} UTC."


def _provider_lines(report: OutageReport) -> Iterator[str]:
    troubled = [page for page in report.evidence.pages if page.troubled]
    for page in troubled:
        is_known = page.since is not None and page.since <= report.read_at
        since = f" since {page.since:%Y-%m-%d %H:%M} UTC" if page.since and is_known else ""
        yield f"Our provider Cloudflare reports trouble with {join_names(page.troubled)}{since}."
    down = report.evidence.silent_providers
    if down:
        yield f"Our AI provider {join_names(down)} does not answer."
    if not troubled and not down:
        yield "Our provider Cloudflare does not answer as usual."
