"""Read the account's audit log.

developers.cloudflare.com/fundamentals/account/account-security/audit-logs (version 2)
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from ops.cloudflare.client import CloudflareClient, next_cursor, paginate_by_cursor, reads
from ops.cloudflare.response import (
    CloudflareResponse,
    parse_result,
    text_or_empty,
    unexpected_shape,
)
from ops.cloudflare.types.records import AuditLogEntry
from ops.core.clock import Period, format_rfc3339, parse_utc

READ_PERMISSION = "Account Settings Read"
MAX_ENTRIES = 5000
"""Most entries to read for one period."""
PAGE_SIZE = 100
"""Entries of one page."""


class AuditLog(NamedTuple):
    """Entries of the audit log, newest first."""

    entries: tuple[AuditLogEntry, ...]
    may_be_incomplete: bool
    """Whether older entries may be missing: the last page was full and named no next page."""


@reads("GET /accounts/{account}/logs/audit")
def read_audit_log(client: CloudflareClient, account_id: str, period: Period) -> AuditLog:
    """Read at most MAX_ENTRIES entries of a period. Cloudflare lists an entry a minute or more after its event."""
    cut = False
    between = {"since": format_rfc3339(period.since), "before": format_rfc3339(period.until)}

    def read(page: Mapping[str, str]) -> CloudflareResponse:
        answer = client.read(
            f"/accounts/{account_id}/logs/audit", permission=READ_PERMISSION, params={**between, **page}
        )
        if not isinstance(answer.result, list):
            raise unexpected_shape(answer, "the audit log")
        nonlocal cut
        cut = len(answer.result) >= PAGE_SIZE and not next_cursor(answer)
        return CloudflareResponse(
            parse_result(answer, "the audit log", lambda: list(_entries(answer.result))), answer.result_info
        )

    found = tuple(islice(paginate_by_cursor(read, per_page=PAGE_SIZE, size_parameter="limit"), MAX_ENTRIES))
    return AuditLog(found, may_be_incomplete=cut)


def _entries(rows: list[Any]) -> Iterator[AuditLogEntry]:
    for row in rows:
        action, actor, raw = row["action"], row.get("actor") or {}, row.get("raw") or {}
        yield AuditLogEntry(
            at=parse_utc(action["time"]),
            action=text_or_empty(action.get("type")),
            result=text_or_empty(action.get("result")),
            actor=text_or_empty(actor.get("email")) or text_or_empty(actor.get("type")),
            context=text_or_empty(actor.get("context")),
            token_id=text_or_empty(actor.get("token_id")),
            token_name=text_or_empty(actor.get("token_name")),
            address=text_or_empty(actor.get("ip_address")),
            method=text_or_empty(raw.get("method")),
            uri=text_or_empty(raw.get("uri")).partition("?")[0],
            status=str(raw.get("status_code") or ""),
            user_agent=text_or_empty(raw.get("user_agent")),
            ray_id=text_or_empty(raw.get("cf_ray_id")),
        )
