"""Comment of `ops check-outage` on the incident: verdict, signs, and a message for users."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from ops.core.errors import ProviderError
from ops.core.next_step import build_command
from ops.core.outage import OutageVerdict
from ops.core.redaction import Redactor
from ops.core.run_record import RecordRow, RunRecord, embed_record
from ops.core.version import __version__
from ops.github import actions
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.render.markdown import collapse_blank_lines, load_templates
from ops.status.outage import OutageReport

if TYPE_CHECKING:
    from ops.github.comments import RunComments

SOURCE = "outage"
"""Source of its records."""
UPDATE = timedelta(minutes=30)
"""Time until the next message to users."""
MAX_CHECKS = 20
"""Newest checks that the record of one comment keeps."""
HEADLINES = {
    OutageVerdict.THEIRS: ("☁️", "theirs, an outage of a provider"),
    OutageVerdict.OURS: ("🔧", "ours, no sign of an outage"),
    OutageVerdict.UNCLEAR: ("❔", "unclear, an outage or our fault"),
}


def publish_outage(
    report: OutageReport, incident: int | None, program: Sequence[str], environ: Mapping[str, str], redactor: Redactor
) -> str:
    """Write the job summary and the comment on the incident; return the comment's URL, or an empty string.

    A new comment is posted, so that people see an answer to each request. Only if the newest comment of the issue is
    the same verdict of ours, it is edited. Raises ProviderError and ConfigError.
    """
    from ops.github.comments import RunComments, newest_own_record

    body = redactor.redact_text(render_comment(report, incident, program, environ))
    actions.write_summary(environ, body)
    if incident is None:
        return ""
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        newest = newest_own_record(repository, incident)
        place = (SOURCE, report.environment, report.service, report.finding.verdict.value)
        is_same = newest is not None and (newest.source, newest.environment, newest.service, newest.decision) == place
        new = f"{SOURCE}-{report.read_at:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
        run, earlier = (newest.run, newest.rows) if newest and is_same else (new, ())
        record = RunRecord(
            run,
            source=SOURCE,
            environment=report.environment,
            service=report.service,
            decision=report.finding.verdict.value,
            rows=(*earlier, _row(report))[-MAX_CHECKS:],
            program=__version__,
        )
        comments = RunComments(repository, incident, run, may_exist=True)
    _save(comments, embed_record(body, record))
    return comments.url


def _save(comments: "RunComments", body: str) -> None:
    """Write the comment; after an error once more, because the answer may be lost. Then `put` looks for it first."""
    try:
        with provider_errors():
            comments.put(1, body)
    except ProviderError:
        with provider_errors(CHECK_HINT):
            comments.put(1, body)


def _row(report: OutageReport) -> RecordRow:
    found = report.finding
    signs = "; ".join((*found.theirs, *found.ours)) or "no sign of either kind"
    return RecordRow(report.read_at, "note", f"outage check of {report.place}: {found.verdict.value}: {signs}")


def render_comment(
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
    yield f"Parts of {_listed(failing)} do not work at the moment. Our checks failed at {report.read_at:%H:%M} UTC."
    if not report.is_suspended:
        yield from _provider_lines(report)
    yield f"Next update: {report.read_at + UPDATE:%H:%M} UTC."


def _provider_lines(report: OutageReport) -> Iterator[str]:
    troubled = [page for page in report.evidence.pages if page.troubled]
    for page in troubled:
        is_known = page.since is not None and page.since <= report.read_at
        since = f" since {page.since:%Y-%m-%d %H:%M} UTC" if page.since and is_known else ""
        yield f"Our provider Cloudflare reports trouble with {_listed(page.troubled)}{since}."
    down = report.evidence.silent_providers
    if down:
        yield f"Our AI provider {_listed(down)} does not answer."
    if not troubled and not down:
        yield "Our provider Cloudflare does not answer as usual."


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
