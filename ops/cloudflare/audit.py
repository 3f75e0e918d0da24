"""The account's audit log, version 2 (developers.cloudflare.com/fundamentals/account/account-security/audit-logs)."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from ops.cloudflare.client import Client, by_cursor, next_cursor
from ops.cloudflare.reads import reads
from ops.cloudflare.response import Answer, ApiError, misshapen, shaped, text
from ops.cloudflare.types.records import Entry, Period, Verified
from ops.core.clock import parse_utc, rfc3339

READ = "Account Settings Read"
MOST = 5000
"""Entries that are read of one period."""
PAGE = 100
"""Entries that one request asks for."""
_CHOSEN = "any active token"


class Log(NamedTuple):
    """Entries, newest first."""

    entries: tuple[Entry, ...]
    may_be_cut: bool
    """The last page was full and named no next one: there may be older entries."""


@reads("GET /accounts/{account}/logs/audit")
def entries(client: Client, account_id: str, period: Period) -> Log:
    """The entries of a period, MOST of them at most. Cloudflare lists an entry a minute or more after the event."""
    cut = False
    between = {"since": rfc3339(period.since), "before": rfc3339(period.until)}

    def read(page: Mapping[str, str]) -> Answer:
        answer = client.read(f"/accounts/{account_id}/logs/audit", permission=READ, params={**between, **page})
        if not isinstance(answer.result, list):
            raise misshapen(answer, "the audit log")
        nonlocal cut
        cut = len(answer.result) >= PAGE and not next_cursor(answer)
        return Answer(shaped(answer, "the audit log", lambda: list(_entries(answer.result))), answer.info)

    found = tuple(islice(by_cursor(read, per_page=PAGE, size="limit"), MOST))
    return Log(found, may_be_cut=cut)


@reads("GET /user/tokens/verify", "GET /accounts/{account}/tokens/verify")
def verified(client: Client, account_id: str) -> Verified:
    """The client's own token: a user's or the account's, and each of the two questions knows its own kind alone."""
    try:
        return _verified(client.read("/user/tokens/verify", permission=_CHOSEN), "user")
    except ApiError:
        return _verified(client.read(f"/accounts/{account_id}/tokens/verify", permission=_CHOSEN), "account")


def _verified(answer: Answer, kind: str) -> Verified:
    def build() -> Verified:
        row = answer.result
        return Verified(str(row["id"]), kind, str(row["status"]), text(row.get("expires_on")))

    return shaped(answer, "the verification of the token", build)


def _entries(rows: list[Any]) -> Iterator[Entry]:
    for row in rows:
        action, actor, raw = row["action"], row.get("actor") or {}, row.get("raw") or {}
        yield Entry(
            at=parse_utc(action["time"]),
            action=text(action.get("type")),
            result=text(action.get("result")),
            by=text(actor.get("email")) or text(actor.get("type")),
            context=text(actor.get("context")),
            token_id=text(actor.get("token_id")),
            token_name=text(actor.get("token_name")),
            address=text(actor.get("ip_address")),
            method=text(raw.get("method")),
            uri=text(raw.get("uri")).partition("?")[0],
            status=str(raw.get("status_code") or ""),
            agent=text(raw.get("user_agent")),
            ray=text(raw.get("cf_ray_id")),
        )
