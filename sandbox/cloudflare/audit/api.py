"""Read the audit log, version 2."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from sandbox.cloudflare.audit.state import FILTERS, FakeAuditEntry, matches_filters
from sandbox.cloudflare.call import CloudflareAnswer, CloudflareCall, Route, Routes, invalid

ROUTES = Routes()
_PAGING = {"since", "before", "limit", "cursor", "direction"}


@ROUTES.add("GET", "/accounts/{account}/logs/audit")
def list_entries(call: CloudflareCall) -> CloudflareAnswer:
    """Return the entries between two required times, newest first by default. `count` is a string.

    developers.cloudflare.com/fundamentals/account/account-security/audit-logs
    """
    query, account = call.request.query, call.account
    for name in query:
        if name not in _PAGING and name.removesuffix(".not") not in FILTERS:
            raise invalid(f"query.{name}", "is not known")
    since, before = (_parse_time(call, name) for name in ("since", "before"))
    known = account.clock.now() - timedelta(seconds=account.switches.audit_lag_seconds)
    seen = [entry for entry in account.audit if since <= entry.at < before and entry.at <= known]
    rows = [row for row in (entry.to_json(account.id) for entry in seen) if matches_filters(row, query)]
    if query.get("direction", "desc") == "desc":
        rows.reverse()
    first, limit = int(query.get("cursor") or 0), int(query.get("limit", "100"))
    page, left = rows[first : first + limit], len(rows) > first + limit
    cursor = str(first + limit) if left else ""
    info: dict[str, Any] = {"count": str(len(page))}
    if account.switches.audit_names_next_page:
        info |= {"cursors": {"after": cursor}} if account.switches.audit_cursor_after else {"cursor": cursor}
    return CloudflareAnswer(page, result_info=info)


def make_entry(call: CloudflareCall, route: Route, *, status: int, ray: str) -> FakeAuditEntry:
    """Return the log entry of a call."""
    words = route.template.strip("/").split("/")
    literal = [word for word in words if not word.startswith("{")]
    at, token = list(call.parameters.values()), call.token
    return FakeAuditEntry(
        id=str(call.account.new_id()),
        at=call.account.clock.now(),
        email=token.email,
        token_id=token.id,
        token_name=token.name,
        owner=token.owner,
        method=call.request.method,
        uri=call.request.path,
        status=status,
        ray=ray,
        user_agent=call.request.headers.get("user-agent", ""),
        product=literal[1] if len(literal) > 1 else literal[0],
        type=literal[-1],
        resource_id=quote(at[-1], safe="") if at else "",
        zone=call.parameters.get("zone", ""),
    )


def _parse_time(call: CloudflareCall, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(call.request.query[name])
    except (KeyError, ValueError):
        raise invalid(f"query.{name}", "must be a time as in RFC 3339") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=call.account.clock.now().tzinfo)
