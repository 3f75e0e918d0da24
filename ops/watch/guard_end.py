"""Report a bad deployment: its texts, incident and rollback, and how a person goes on.

Many guards may find it, and open one incident.

The body of the incident names the deployment in its hidden record, which counts only in an issue of the bot, of the
owner of this token, or of a person with write access.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ops.app.configuration import load_config, published_prefix, read_config
from ops.app.menu import build_menu
from ops.app.scope import Place
from ops.cloudflare.types.workers import short_id
from ops.core.clock import Clock, find_clock, format_utc
from ops.core.errors import OpsError, ProviderError, Reason, UnclearWrite
from ops.core.names import first_of, join_sentences
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.core.run_record import RunRecord, embed_record
from ops.core.sequential_test import ShareVerdict
from ops.github.actions import job_number, repository_page
from ops.github.client import CHECK_HINT, connect, provider_errors, write_errors
from ops.github.issues import close_duplicate, find_recorded_incidents, open_incident_issue
from ops.github.list_lag import await_listed
from ops.publish.chat_services import ChatMessage, PagingAction
from ops.publish.comment import render_incident_body
from ops.publish.incident_chat import post_message
from ops.render import to_one_line
from ops.watch.guard import GuardResult
from ops.watch.guard_start import Guards
from ops.watch.judgment import Metric, format_share

if TYPE_CHECKING:
    from ops.core.run import EndedRun
    from ops.github.client import Repository

SOURCE = "guard"
"""Source of the record."""
SEVERITY = "sev2"


@dataclass(frozen=True)
class GuardIncident:
    number: int
    url: str
    is_new: bool = False
    is_closed: bool = False


def guard_marker(deployment: str) -> str:
    """Return the run ID of the record that names the deployment."""
    return f"{SOURCE}-{deployment}"


def find_guard_incident(repository: "Repository", result: GuardResult) -> GuardIncident | None:
    """Return the oldest incident of the deployment, also a closed one. Raises ProviderError."""
    with provider_errors(CHECK_HINT):
        found = find_recorded_incidents(
            repository, guard_marker(result.deployment.id), since=result.deployment.created_on
        )
    oldest = min(found, key=lambda each: each.number, default=None)
    return GuardIncident(oldest.number, oldest.html_url, is_closed=oldest.state == "closed") if oldest else None


def open_guard_incident(
    result: GuardResult, config_path: Path, environ: Mapping[str, str], redactor: Redactor, *, job: str
) -> GuardIncident:
    """Open the incident of the deployment, or find it. `job`: URL of this job; empty on a laptop.

    Two guards may open one at the same time: the older one stays.

    Raises:
        ConfigError: no token, or no repository.
        UnclearWrite: GitHub gave no answer, and shows no incident now: it may be open.
        ProviderError: GitHub failed or refused, and none is open.
    """
    config, repository = load_config(config_path, environ, redactor), connect(environ, redactor)
    if known := find_guard_incident(repository, result):
        return known
    program, page = published_prefix(environ, config_path, config), repository_page(environ)
    record = RunRecord(guard_marker(result.deployment.id), source=SOURCE, job=job_number(environ))
    body = embed_record(incident_body(result, redactor, job=job), record)

    def guard_menu(number: str) -> str:
        return build_menu(config, program, number, page).render([result.service])

    title = redactor.redact_text(incident_title(result))
    with write_errors(CHECK_HINT):
        opened = open_incident_issue(repository, title, lambda _: body, guard_menu, [SEVERITY])
    found = GuardIncident(opened.number, opened.url)
    first = _find_first_incident(repository, result, find_clock(environ))
    if first is not None and first.number < found.number:
        with suppress(ProviderError), provider_errors():
            close_duplicate(repository, found.number, first.number)
        return first
    message = ChatMessage(guard_headline(result), "opened", PagingAction.TRIGGER)
    post_message(environ, config.notify, redactor, message, found.number)
    return replace(found, is_new=True)


def _find_first_incident(repository: "Repository", result: GuardResult, clock: Clock) -> GuardIncident | None:
    """Return the oldest incident of the deployment, once GitHub lists one; None if it does not show it."""
    with suppress(ProviderError):
        return await_listed(partial(find_guard_incident, repository, result), clock)
    return None


def incident_body(result: GuardResult, redactor: Redactor, *, job: str) -> str:
    """Return the visible body of the incident."""
    text = render_incident_body(
        service=result.service,
        environment=result.environment,
        severity=SEVERITY,
        symptom=incident_symptom(result, job),
        began=f"{result.deployment.created_on:%Y-%m-%d %H:%M}",
    )
    return redactor.redact_text(text)


def prefilled_link(result: GuardResult, environ: Mapping[str, str], redactor: Redactor, *, job: str) -> str:
    """Return the address where a person opens the incident; empty if the operations repository is unknown."""
    page = repository_page(environ)
    title = redactor.redact_text(incident_title(result))
    return guard_incident_link(page, title, incident_body(result, redactor, job=job)) if page else ""


CLOSED = "a person closed the incident of this deployment"


@dataclass
class GuardEnd:
    """End of the guard of one deployment."""

    place: Place
    config: Path
    environ: Mapping[str, str]
    redactor: Redactor
    job: str
    """URL of this job; empty on a laptop."""
    show: Callable[[str], object]
    """Gets each note."""
    incident: GuardIncident | None = None
    notes: list[str] = field(default_factory=list)
    """Sentences about the incident and the rollback."""
    is_not_the_cause: bool = False
    """Whether a rollback mends nothing, as the evidence for it shows."""

    def report(self, result: GuardResult) -> None:
        """Open the incident, or find it; else post to chat, and note how a person opens it."""
        try:
            opened = open_guard_incident(result, self.config, self.environ, self.redactor, job=self.job)
        except OpsError as error:
            is_unclear = isinstance(error, UnclearWrite)
            what = "It is not known whether an incident was opened" if is_unclear else "No incident was opened"
            how = "If there is none, open it" if is_unclear else "Open it"
            link = prefilled_link(result, self.environ, self.redactor, job=self.job)
            self.note(f"{what}: {error.message}. {f'{how}: {link}' if link else error.hint}")
            text = f"{guard_headline(result)}. {what}: {error.message}"
            message = ChatMessage(text, "not opened", PagingAction.TRIGGER)
            post_message(self.environ, read_config(self.config)[0].notify, self.redactor, message, None)
            return
        self.incident = opened
        state = "opened" if opened.is_new else "closed by a person" if opened.is_closed else "open already"
        self.note(f"Incident #{opened.number} ({state}): {opened.url}")

    def permits_rollback(
        self,
        result: GuardResult,
        guards: Guards,
        show_wait: Callable[[str], object],
        objections: Iterable[Callable[[], str]],
    ) -> bool:
        """Return whether the deployment may be rolled back; else note why not.

        `objections`: each reads one more reason against a rollback; empty if there is none.
        """
        if objection := self._find_early_objection(result):
            return self._refuse_rollback(objection)
        evidence = guards.wait_for_second_source(result, show_wait)
        self.is_not_the_cause = evidence.is_not_the_cause
        later = (lambda: evidence.objection, *objections, self._find_closed_incident)
        if objection := next(filter(None, (find() for find in later)), ""):
            return self._refuse_rollback(objection)
        self.note(f"A second source shows it too: {evidence.source.text}")
        return True

    def _refuse_rollback(self, why: str) -> bool:
        self.note(f"No rollback: {why}")
        return False

    def _find_early_objection(self, result: GuardResult) -> str:
        """Return why no wait for a second source can permit a rollback; empty if it can."""
        if self.incident is not None and self.incident.is_closed:
            return CLOSED
        return (
            "" if result.has_failing_probes else "the probes do not fail, and Cloudflare's figures are one source only"
        )

    def _find_closed_incident(self) -> str:
        """Return that a person closed the incident; empty else. If it cannot be read, that is a note."""
        if self.incident is None:
            return ""
        try:
            with provider_errors():
                issue = connect(self.environ, self.redactor, read_only=True).get_issue(self.incident.number)
        except OpsError as error:
            self.note(f"warning: cannot check whether the incident is closed ({error.message})")
            return ""
        return CLOSED if issue.state == "closed" else ""

    def next_step(self, result: GuardResult, rollback: "EndedRun | None") -> str:
        """Return how a person goes on; empty if nothing is left to do."""
        program, *more = published_prefix(self.environ, self.config, read_config(self.config)[0])
        where: dict[str, Any] = {"service": self.place.service, "environment": self.place.environment}
        options = {**where, "incident": self.incident.number if self.incident else None}
        if rollback is not None and rollback.exit_code:
            return join_sentences(f"The rollback ended as {rollback.decision}: {rollback.message}", rollback.hint)
        if rollback is not None:
            watch = build_command(program, "watch", options, *more)
            return f"The next deployment of this code is bad again. To see a relapse: `{watch}`"
        if result.is_bad and not self.is_not_the_cause:
            return f"Roll it back: `{build_command(program, f'rollback-{result.kind}', options, *more)}`"
        if result.exit_code:
            return f"Look at the service: `{build_command(program, 'versions', where, *more)}`"
        return ""

    def note(self, text: str) -> None:
        """Add a sentence about the incident and the rollback."""
        shown = to_one_line(self.redactor.redact_text(text)).strip()
        self.notes.append(shown)
        self.show(shown)


INCIDENT_LABELS = ("incident",)


def name_deployment(result: GuardResult) -> str:
    """Return the new versions of the deployment, or the deployment of a site."""
    return " and ".join(map(short_id, result.deployment.versions or (result.deployment.id,)))


def start_line(result: GuardResult) -> str:
    """Return the first line of a guard: the deployment that it judges, and until when."""
    deployment = result.deployment
    where = f"{result.service} in {result.environment}"
    return (
        f"guarding deployment {short_id(deployment.id)} of {where} until {result.state.until:%H:%M} UTC: "
        f"{deployment.text}"
    )


def guard_round_line(result: GuardResult) -> str:
    """Return the line of the command for the latest minute."""
    metrics = [*([result.judgment.probes] if result.judgment.has_probes else []), *result.judgment.rates]
    counted = "; ".join(_describe_metric_counts(each) for each in metrics if each.share.has_counts)
    return f"{format_utc(result.state.seen_at)}  {counted or 'no evidence yet'}"


def _describe_metric_counts(metric: Metric) -> str:
    share = metric.share
    return f"{metric.name}: {share.failed:,.0f} of {share.total:,.0f} {metric.unit} failed"


def guard_headline(result: GuardResult) -> str:
    where, name = f"{result.service} in {result.environment}", name_deployment(result)
    texts = {
        Reason.GOOD_DEPLOYMENT: f"{where}: {name} is good",
        Reason.BAD_DEPLOYMENT: f"{where}: {name} is bad: {result.judgment.cause}",
        Reason.NO_EVIDENCE: f"{where}: nothing shows whether {name} is good",
        Reason.REPLACED: f"{where}: another deployment is live: {result.deployment.replacement}",
        Reason.ALREADY_STEPPED_BACK: f"{where}: {name} was already rolled back: {result.deployment.replacement}",
    }
    return texts[result.reason] if result.reason else start_line(result)


def guard_detail_lines(result: GuardResult) -> Iterator[str]:
    """Yield the counts, with the shares that are good and bad, and the missing data."""
    if result.judgment.has_probes:
        yield f"{_describe_metric_counts(result.judgment.probes)}{_describe_limits(result.judgment.probes.share)}"
    else:
        yield "No probe: only Cloudflare's error rates decide"
    for rate in result.judgment.rates:
        yield f"{_describe_metric_counts(rate)}{_describe_limits(rate.share)}"
    if result.deployment.predecessors:
        yield f"Compared with {', '.join(first_of([short_id(each) for each in result.deployment.predecessors]))}"
    yield from (note[:1].upper() + note[1:] for note in result.notes)


def _describe_limits(share: ShareVerdict) -> str:
    good, bad = map(format_share, (share.limits.good, share.limits.bad))
    return f"; above {bad} is bad, below {good} is good"


def incident_title(result: GuardResult) -> str:
    return f"Bad deployment of {result.service} in {result.environment}: {name_deployment(result)}"


def incident_symptom(result: GuardResult, job: str) -> str:
    """Return the facts of the incident in one paragraph. `job`: URL of the job that guarded; empty on a laptop."""
    found = f"Found by `ops guard`{f' in {job}' if job else ''}."
    return f"Deployment {short_id(result.deployment.id)}: {result.deployment.text}. {result.judgment.cause}. {found}"


def guard_incident_link(page: str, title: str, body: str) -> str:
    """Return the address of a new issue with this content. `page`: URL of the operations repository."""
    return f"{page}/issues/new?{urlencode({'labels': ','.join(INCIDENT_LABELS), 'title': title, 'body': body})}"
