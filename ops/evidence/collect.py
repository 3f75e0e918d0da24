"""`ops evidence`: what Cloudflare and GitHub recorded in a period, collected by reads before it is kept no longer.

Each source is an exhibit of its own, and one that cannot be asked holds up none of the others: it says why, and what
a token needs for it. (`ops/report/build.py` has evidence too: what a post-incident report is made from.)
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from ops.app import run as app
from ops.app.session import Session
from ops.cloudflare.types.records import (
    DatabaseUsage,
    DatasetLimits,
    EvidenceCollection,
    EvidenceTable,
    Period,
    anonymize_table,
    clip_to_whole_hours,
    parse_period,
    split_period,
)
from ops.core.anonymization import anonymize_text as without_persons
from ops.core.clock import format_utc
from ops.core.errors import ConfigError, OpsError, ProviderError, Reason
from ops.core.redaction import Redactor
from ops.core.run_record import RecordRow, RunRecord, embed_record
from ops.core.threads import run_parallel
from ops.evidence import tables
from ops.github import actions
from ops.github.client import CHECK_HINT, connect, is_configured, provider_errors

if TYPE_CHECKING:
    from ops.config import Environment

T = TypeVar("T")
MOST_PIECES = 31
"""Questions to one data set: as many days, where it answers for a day at once."""
Asking = tuple[tuple[EvidenceTable, ...], Callable[[], Sequence[EvidenceTable]]]
"""What stands in the collection where the question fails, and the question."""


def collected(
    environment: str, span: tuple[str, str], config_path: Path, environ: Mapping[str, str], redactor: Redactor
) -> EvidenceCollection:
    """`span`: since and until, as typed. Redacted; shortened too unless GitHub says that the repository is private.

    Raises ConfigError before anything was asked.
    """
    config, _ = app.read_config(config_path)
    app.register_secrets(environ, config, redactor)
    place = config.environment(environment)
    with ExitStack() as ending:
        session = Session(place, environ, ending)
        now = session.clock.now()
        asked_for = parse_period(*span, now)
        asking = [*_Cloudflare(place, session, asked_for, now).asking(), _of_github(asked_for, environ, redactor)]
        found = [each for several in run_parallel([partial(_asked, *one) for one in asking]) for each in several]
    whole = EvidenceCollection(environment, asked_for, now, is_anonymized=True, tables=redactor.value(tuple(found)))
    if _is_private(environ, redactor):
        return replace(whole, is_anonymized=False)
    return replace(whole, tables=tuple(anonymize_table(each, without_persons) for each in whole.tables))


def _asked(blank: tuple[EvidenceTable, ...], ask: Callable[[], Sequence[EvidenceTable]]) -> Sequence[EvidenceTable]:
    try:
        return ask()
    except OpsError as error:
        return [replace(exhibit, unavailable_reason=error.message) for exhibit in blank]


@dataclass(frozen=True)
class _Cloudflare:
    place: "Environment"
    session: Session
    period: Period
    now: datetime

    @property
    def account(self) -> str:
        return self.place.account_id

    def asking(self) -> Iterator[Asking]:
        yield (tables.AUDIT, tables.TOKEN_USE), self.audit
        yield (tables.VERIFIED,), self.verified
        for service in self.place.services.values():
            title = service.worker or service.pages
            if service.kind == "worker":
                blank = replace(tables.DEPLOYMENTS, title=tables.DEPLOYMENTS.title.format(f"the Worker {title}"))
                yield (blank,), partial(self.worker, service.worker)
                blank = replace(tables.HANDLED, title=tables.HANDLED.title.format(f"the Worker {title}"))
                yield (blank,), partial(self.handled, service.worker)
            else:
                blank = replace(tables.PAGES, title=tables.PAGES.title.format(f"the site {title}"))
                yield (blank,), partial(self.site, service.pages)
        for host in dict.fromkeys(urlsplit(service.url).hostname or "" for service in self.place.services.values()):
            yield (tables.requests(host, (), notes=()),), partial(self.requests, host)
        yield (tables.D1,), self.databases

    def audit(self) -> Sequence[EvidenceTable]:
        from ops.cloudflare import audit

        log = audit.read_audit_log(self.session.client, self.account, self.period)
        told = tables.audit(log.entries, self.period, self.now, audit.MAX_ENTRIES, may_be_cut=log.may_be_incomplete)
        used = tables.token_use(log.entries)
        return told, replace(used, retained_since=told.retained_since, is_not_retained=told.is_not_retained)

    def verified(self) -> Sequence[EvidenceTable]:
        from ops.cloudflare import audit

        return (tables.verified(audit.verify_token(self.session.client, self.account)),)

    def worker(self, name: str) -> Sequence[EvidenceTable]:
        workers = self.session.workers
        return (
            tables.deployments(
                name, workers.list_deployments(name), workers.list_deployable_versions(name), self.period
            ),
        )

    def handled(self, name: str) -> Sequence[EvidenceTable]:
        from ops.cloudflare import telemetry

        found = telemetry.count_requests(self.session.client, self.account, name, self.period)
        return (tables.handled(name, found, telemetry.MAX_ROWS),)

    def site(self, name: str) -> Sequence[EvidenceTable]:
        return (tables.site(name, self.session.pages.list_deployments(name), self.period),)

    def requests(self, host: str) -> Sequence[EvidenceTable]:
        from ops.cloudflare import analytics

        client = self.session.client
        zone = analytics.find_zone(client, self.account, host)
        if zone is None:
            message = f"the token sees no zone of this account that holds {host}"
            raise ProviderError(message, reason=Reason.NOT_AUTHORISED)
        limits = analytics.read_zone_limits(client, zone)
        return (
            self._measured(
                limits,
                lambda part: analytics.count_host_requests(client, zone, host, part, max_rows=limits.max_rows),
                lambda rows, notes: tables.requests(host, rows, notes=notes),
            ),
        )

    def databases(self) -> Sequence[EvidenceTable]:
        from ops.cloudflare import analytics

        client = self.session.client
        limits = analytics.read_account_limits(client, self.account)

        def ask(part: Period) -> tuple[DatabaseUsage, ...]:
            return analytics.read_database_usage(client, self.account, part, max_rows=limits.max_rows)

        return (self._measured(limits, ask, lambda rows, notes: tables.databases(rows, notes=notes)),)

    def _measured(
        self,
        limits: DatasetLimits,
        ask: Callable[[Period], tuple[T, ...]],
        build: Callable[[list[T], list[str]], EvidenceTable],
    ) -> EvidenceTable:
        """From a data set of the analytics, in as many questions as its limits need."""
        if not limits.is_enabled:
            raise ProviderError("this data set is not a part of the plan", reason=Reason.PROVIDER_REFUSED)
        reached = clip_to_whole_hours(self.period, self.now - timedelta(seconds=limits.retention_seconds))
        if reached is None:
            kept_since = self.now - timedelta(seconds=limits.retention_seconds)
            return replace(build([], []), retained_since=kept_since, is_not_retained=True)
        parts = list(split_period(reached, timedelta(seconds=limits.max_period_seconds)))[:MOST_PIECES]
        answers = [ask(part) for part in parts]
        notes = []
        if any(len(answer) >= limits.max_rows for answer in answers):
            notes.append(f"An answer had {limits.max_rows} rows, which is the most: there may be others.")
        built = build([row for answer in answers for row in answer], notes)
        return replace(built, retained_since=parts[-1].since if parts[-1].since > self.period.since else None)


def _of_github(asked_for: Period, environ: Mapping[str, str], redactor: Redactor) -> Asking:
    def ask() -> Sequence[EvidenceTable]:
        from ops.github import environments

        repository = connect(environ, redactor)
        with provider_errors():
            return (tables.environments(environments.environment_uses(repository, asked_for), environments.MOST),)

    return (tables.ENVIRONMENTS,), ask


def _is_private(environ: Mapping[str, str], redactor: Redactor) -> bool:
    from ops.github import environments

    return is_configured(environ) and environments.is_private(connect(environ, redactor))


def write_json(collection: EvidenceCollection, path: Path) -> None:
    """Raises ConfigError where the file cannot be written."""
    try:
        path.write_text(json.dumps(collection.as_json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        hint = "Name a file in a folder that is there and may be written."
        raise ConfigError(f"the JSON cannot be written ({error.strerror})", hint=hint) from None


def published(
    collection: EvidenceCollection, number: int | None, environ: Mapping[str, str], redactor: Redactor
) -> str:
    """Onto the summary page of a job, and the same onto the incident: the address of that comment, where there is one.

    It is edited in place when it is collected again. Raises ProviderError and ConfigError.
    """
    from ops.evidence import tables
    from ops.github.comments import RunComments

    run = f"evidence-{collection.environment}"[:64]
    said = f"evidence of {collection.environment} collected, {format_utc(collection.period.since)} to then"
    block = RunRecord(run, source="evidence", rows=(RecordRow(collection.collected_at, "note", said),))
    body = embed_record(tables.text(collection), block)
    try:
        if number is None:
            return ""
        with provider_errors(CHECK_HINT):
            comments = RunComments(connect(environ, redactor), number, run, look=True)
            comments.put(1, body)
            return comments.url
    finally:
        _write_summary(environ, body)


def require_an_answer(collection: EvidenceCollection) -> None:
    """Raises ProviderError where not one source could be asked."""
    if len(collection.unavailable_tables) == len(collection.tables):
        hint = "Each source is named above with the permission that it needs."
        raise ProviderError("no source could be asked", reason=Reason.NOT_AUTHORISED, hint=hint)


def _write_summary(environ: Mapping[str, str], body: str) -> None:
    try:
        actions.write_summary(environ, body)
    except OSError as error:
        hint = "Leave GITHUB_STEP_SUMMARY as GitHub Actions sets it."
        raise ConfigError(f"the job's summary page cannot be written ({error.strerror})", hint=hint) from None
