"""`ops evidence`: collect the records of Cloudflare and GitHub for a period.

Cloudflare deletes records after a while, so a copy is kept on the incident. Each source is a table of its own. A source
that cannot be read is reported with the reason and the permission; the others are still read. This is independent of
the evidence in `ops/report`, from which a post-incident report is built.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from ops.app.configuration import load_config
from ops.app.context import new_run_id
from ops.app.session import Session
from ops.cloudflare.types.records import (
    DatabaseUsage,
    DatasetLimits,
)
from ops.core.anonymization import anonymize_text as without_persons
from ops.core.clock import Period, clip_to_whole_hours, format_utc, parse_period, split_period
from ops.core.errors import ConfigError, OpsError, ProviderError, Reason
from ops.core.redaction import Redactor
from ops.core.run_record import RecordRow, RunRecord, embed_record
from ops.core.threads import run_parallel
from ops.evidence import tables
from ops.evidence.tables import EvidenceCollection, EvidenceTable, anonymize_table
from ops.github import actions
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.protection import is_own_private

T = TypeVar("T")
OUTAGES = frozenset({Reason.PROVIDER_UNAVAILABLE, Reason.RATE_LIMITED, Reason.MALFORMED_ANSWER})
"""Reasons with which a source fails although the token may read it."""
MAX_QUERIES = 31
"""Most queries to one data set; as many days, if one query covers a day."""
Source = tuple[tuple[EvidenceTable, ...], Callable[[], Sequence[EvidenceTable]]]
"""Empty tables to show if the read fails, and the read."""


def collect_evidence(
    environment: str, span: tuple[str, str], config_path: Path, environ: Mapping[str, str], redactor: Redactor
) -> EvidenceCollection:
    """Collect all sources, redacted. `span` is since and until as typed.

    Unless GitHub reports the repository as private, IP and e-mail addresses are shortened. Raises ConfigError before
    the first request.
    """
    config = load_config(config_path, environ, redactor)
    with ExitStack() as ending:
        session = Session(config, environment, environ, ending)
        now = session.clock.now()
        requested_period = parse_period(*span, now)
        sources = [
            *_CloudflareSources(session, requested_period, now).sources(),
            _github_source(requested_period, environ, redactor),
        ]
        tables_read = [
            each for several in run_parallel([partial(_read_source, *one) for one in sources]) for each in several
        ]
    whole = EvidenceCollection(
        environment, requested_period, now, is_anonymized=True, tables=redactor.redact_value(tuple(tables_read))
    )
    if is_own_private(environ, redactor):
        return replace(whole, is_anonymized=False)
    return replace(whole, tables=tuple(anonymize_table(each, without_persons) for each in whole.tables))


def _read_source(
    blank: tuple[EvidenceTable, ...], read: Callable[[], Sequence[EvidenceTable]]
) -> Sequence[EvidenceTable]:
    try:
        return read()
    except OpsError as error:
        may_lack = error.reason not in OUTAGES and getattr(error, "status", 0) < 500
        return [replace(each, unavailable_reason=error.message, may_lack_permission=may_lack) for each in blank]


@dataclass(frozen=True)
class _CloudflareSources:
    session: Session
    period: Period
    now: datetime

    @property
    def account(self) -> str:
        return self.session.account_id

    def sources(self) -> Iterator[Source]:
        yield (tables.AUDIT, tables.TOKEN_USE), self.audit
        yield (tables.VERIFIED,), self.verified
        for service in self.session.environment.services.values():
            title = service.worker or service.pages
            if service.kind == "worker":
                blank = replace(tables.DEPLOYMENTS, title=tables.DEPLOYMENTS.title.format(f"the Worker {title}"))
                yield (blank,), partial(self.worker, service.worker)
                blank = replace(tables.HANDLED, title=tables.HANDLED.title.format(f"the Worker {title}"))
                yield (blank,), partial(self.handled, service.worker)
            else:
                blank = replace(tables.PAGES, title=tables.PAGES.title.format(f"the site {title}"))
                yield (blank,), partial(self.site, service.pages)
        hosts = (urlsplit(service.url).hostname for service in self.session.environment.services.values())
        for host in filter(None, dict.fromkeys(hosts)):
            yield (tables.request_table(host, (), notes=()),), partial(self.requests, host)
        yield (tables.D1,), self.databases

    def audit(self) -> Sequence[EvidenceTable]:
        from ops.cloudflare import records

        log = records.read_audit_log(self.session.client, self.account, self.period)
        table = tables.audit_table(
            log.entries, self.period, self.now, records.MAX_AUDIT_ENTRIES, may_be_cut=log.may_be_incomplete
        )
        used = tables.token_table(log.entries)
        return table, replace(used, retained_since=table.retained_since, is_not_retained=table.is_not_retained)

    def verified(self) -> Sequence[EvidenceTable]:
        from ops.cloudflare import tokens

        return (tables.verification_table(tokens.verify_token(self.session.client, self.account)),)

    def worker(self, name: str) -> Sequence[EvidenceTable]:
        workers = self.session.cloudflare.workers
        deployments = workers.list_deployments(name, rehearsals=True)
        return (tables.deployment_table(name, deployments, workers.list_deployable_versions(name), self.period),)

    def handled(self, name: str) -> Sequence[EvidenceTable]:
        from ops.cloudflare import records

        requests = records.count_requests(self.session.client, self.account, name, self.period)
        return (tables.invocation_table(name, requests, records.MAX_OBSERVABILITY_ROWS),)

    def site(self, name: str) -> Sequence[EvidenceTable]:
        return (tables.pages_table(name, self.session.cloudflare.pages.list_deployments(name), self.period),)

    def requests(self, host: str) -> Sequence[EvidenceTable]:
        from ops.cloudflare import records

        client = self.session.client
        zone = records.find_zone(client, self.account, host)
        limits = records.read_zone_limits(client, zone)
        return (
            self._query_analytics(
                limits,
                lambda part: records.count_host_requests(client, zone, host, part, max_rows=limits.max_rows),
                lambda rows, notes: tables.request_table(host, rows, notes=notes),
            ),
        )

    def databases(self) -> Sequence[EvidenceTable]:
        from ops.cloudflare import records

        client = self.session.client
        limits = records.read_account_limits(client, self.account)

        def read_evidence(part: Period) -> tuple[DatabaseUsage, ...]:
            return records.read_database_usage(client, self.account, part, max_rows=limits.max_rows)

        return (
            self._query_analytics(limits, read_evidence, lambda rows, notes: tables.database_table(rows, notes=notes)),
        )

    def _query_analytics(
        self,
        limits: DatasetLimits,
        read: Callable[[Period], tuple[T, ...]],
        build: Callable[[list[T], list[str]], EvidenceTable],
    ) -> EvidenceTable:
        """Query an analytics data set in as many parts as its limits require."""
        if not limits.is_enabled:
            raise ProviderError("this data set is not part of the Cloudflare plan", reason=Reason.PROVIDER_REFUSED)
        reached = clip_to_whole_hours(self.period, self.now - timedelta(seconds=limits.retention_seconds))
        if reached is None:
            kept_since = self.now - timedelta(seconds=limits.retention_seconds)
            return replace(build([], []), retained_since=kept_since, is_not_retained=True)
        parts = list(split_period(reached, timedelta(seconds=limits.max_period_seconds)))[:MAX_QUERIES]
        answers = [read(part) for part in parts]
        notes = []
        if any(len(answer) >= limits.max_rows for answer in answers):
            notes.append(f"An answer has the maximum of {limits.max_rows} rows: there may be others.")
        built = build([row for answer in answers for row in answer], notes)
        return replace(built, retained_since=parts[-1].since if parts[-1].since > self.period.since else None)


def _github_source(requested_period: Period, environ: Mapping[str, str], redactor: Redactor) -> Source:
    def read_evidence() -> Sequence[EvidenceTable]:
        from ops.github import protection

        repository = connect(environ, redactor)
        with provider_errors():
            return (
                tables.environment_table(
                    protection.list_github_environment_uses(repository, requested_period), protection.MOST_USES
                ),
            )

    return (tables.ENVIRONMENTS,), read_evidence


def write_evidence_json(collection: EvidenceCollection, path: Path) -> None:
    """Write the collection as JSON. Raises ConfigError if the file cannot be written."""
    write_evidence_file(json.dumps(collection.as_json(), ensure_ascii=False, indent=1) + "\n", path)


def write_evidence_file(text: str, path: Path) -> None:
    """Write a file. Raises ConfigError if that fails."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        hint = "Choose a file in an existing, writable folder."
        raise ConfigError(f"cannot write {path.name} ({error.strerror})", hint=hint) from None


def publish_evidence(
    collection: EvidenceCollection, number: int | None, environ: Mapping[str, str], redactor: Redactor
) -> str:
    """Write the collection to the job summary and to the incident; return the URL of the comment, or an empty string.

    Each collection has a comment of its own: a later one may see less, for instance with another token. Raises
    ProviderError and ConfigError.
    """
    from ops.evidence import tables
    from ops.github.comments import save_record

    run = f"evidence-{new_run_id(environ, collection.collected_at)}"
    said = f"evidence of {collection.environment} collected, {format_utc(collection.period.since)} to then"
    record = RunRecord(run, source="evidence", rows=(RecordRow(collection.collected_at, "note", said),))
    text = tables.render_evidence_comment(collection)
    try:
        if number is None:
            return ""
        with provider_errors(CHECK_HINT):
            return save_record(connect(environ, redactor), number, text, record, may_exist=False)
    finally:
        _write_evidence_summary(environ, embed_record(text, record))


def require_any_source(collection: EvidenceCollection) -> None:
    """Raise ProviderError if no source could be read."""
    if len(collection.unavailable_tables) == len(collection.tables):
        hint = "Give the token the permissions that are listed above."
        raise ProviderError("no source could be read", reason=Reason.NOT_AUTHORISED, hint=hint)


def _write_evidence_summary(environ: Mapping[str, str], body: str) -> None:
    try:
        actions.write_summary(environ, body)
    except OSError as error:
        hint = "Do not change GITHUB_STEP_SUMMARY, which GitHub Actions sets."
        raise ConfigError(f"cannot write the evidence to the job summary ({error.strerror})", hint=hint) from None
