"""Read and query D1 databases, and restore them with Time Travel.

developers.cloudflare.com/api/resources/d1/subresources/database
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ops.cloudflare.client import CloudflareClient, paginate_by_length, reads
from ops.cloudflare.response import UUID, CloudflareResponse, parse_result, require_answer_id, require_answer_text
from ops.cloudflare.types.d1 import (
    D1Database,
    D1Restore,
    Migration,
    SqlResult,
    SqlStatement,
    SqlValue,
    quote_identifier,
)
from ops.cloudflare.types.inventory import NamedResource
from ops.cloudflare.types.site_config import nested_table
from ops.core.clock import parse_utc
from ops.core.errors import ProviderError, Reason, UnclearWrite
from ops.core.names import quote_name
from ops.core.sql import is_read_only

WRITE_PERMISSION = "D1 Write"
"""The dashboard calls it D1 Edit. A query that reads needs only D1 Read by its page
(developers.cloudflare.com/api/resources/d1/subresources/database/methods/query); no run has measured it yet."""
PAGE_SIZE = 100
WRITE_TIMEOUT = 35.0
"""Seconds to wait for a write. Cloudflare ends it after 30 (developers.cloudflare.com/d1/platform/limits)."""


def _only_reads(body: Any) -> bool:
    """Return whether the body of a query provably changes nothing."""
    match body:
        case {"batch": [_, *_] as batch, **others} if not others:
            return all(isinstance(each, dict) and _only_reads(each) and "batch" not in each for each in batch)
        case {"sql": str(sql), **others} if others.keys() <= {"params"}:
            return is_read_only(sql)
    return False


class D1Api:
    """D1 API of one account. A database runs one query after the other."""

    def __init__(self, client: CloudflareClient, account_id: str) -> None:
        self._client = client
        self._databases = f"/accounts/{account_id}/d1/database"

    @reads("GET /accounts/{account}/d1/database")
    def list_databases(self) -> tuple[NamedResource, ...]:
        page = self._client.list_reader(self._databases, "the D1 databases", _parse_listed_database)
        return tuple(paginate_by_length(page, per_page=PAGE_SIZE))

    @reads("GET /accounts/{account}/d1/database/{database}")
    def read_database(self, database: str) -> D1Database:
        """Return a database by its ID. Raises ProviderError, with code 7404 if there is none."""
        answer = self._client.read(f"{self._databases}/{database}")
        return parse_result(answer, f"D1 database {database}", lambda: _parse_database(answer.result))

    @reads("POST /accounts/{account}/d1/database/{database}/query", body=_only_reads)
    def query(
        self, database: str, statements: Sequence[SqlStatement], *, timeout: float | None = None
    ) -> tuple[SqlResult, ...]:
        """Run statements that only read, as one transaction, and return a result per statement.

        With a timeout in seconds the query is sent once; else it is retried like a GET.

        Raises:
            ValueError: a statement could write; `is_read_only` tells.
            ProviderError: D1 rejected the query, failed, or did not answer in time.
        """
        body = _batch_body(statements)
        if not _only_reads(body):
            writing = [each.sql for each in statements if not is_read_only(each.sql)]
            raise ValueError(f"this query could change the database: {writing}")
        path = f"{self._databases}/{database}/query"
        answer = self._client.read_by_post(path, body, timeout=timeout)
        return parse_result(
            answer, f"a query of {database}", lambda: _parse_sql_results(answer.result, len(statements))
        )

    def list_migrations(self, database: str, table: str, *, timeout: float | None = None) -> tuple[Migration, ...]:
        """Return the applied migrations in wrangler's table of this name, oldest first.

        Raises:
            ProviderError: they cannot be read, such as if the table does not exist.
        """
        statement = SqlStatement(f"SELECT name, applied_at FROM {quote_identifier(table)} ORDER BY id")  # noqa: S608
        (applied,) = self.query(database, [statement], timeout=timeout)
        return tuple(_parse_migration(table, row) for row in applied.rows)

    @reads("GET /accounts/{account}/d1/database/{database}/time_travel/bookmark")
    def read_bookmark(self, database: str, at: datetime | None = None) -> str:
        """Return the current bookmark, or that of the latest state at or before a time.

        After a restore, the current bookmark may still be the previous one, so it proves nothing about the restore.

        Raises:
            ProviderError: with code 7400 for a time in the future or beyond retention.
        """
        params = {} if at is None else {"timestamp": at.astimezone(UTC).isoformat().replace("+00:00", "Z")}
        path = f"{self._databases}/{database}/time_travel/bookmark"
        answer = self._client.read(path, params=params)
        return parse_result(
            answer, f"the bookmark of {database}", lambda: require_answer_text(answer.result["bookmark"])
        )

    def run_batch(
        self, database: str, statements: Sequence[SqlStatement], *, timeout: float = WRITE_TIMEOUT
    ) -> tuple[SqlResult, ...]:
        """Run statements as one transaction; sent once, with a timeout in seconds.

        Raises:
            NotApplied, CloudflareApiError: nothing was changed.
            UnclearWrite: it is unknown whether D1 applied the batch.
        """
        return self._run_writing_sql(database, _batch_body(statements), len(statements), timeout=timeout)

    def run_script(self, database: str, sql: str) -> None:
        """Run the statements of a text as one transaction, as wrangler sends a migration; sent once.

        Raises:
            NotApplied, CloudflareApiError: nothing was changed.
            UnclearWrite: it is unknown whether D1 applied the text.
        """
        self._run_writing_sql(database, {"sql": sql})

    def _run_writing_sql(
        self, database: str, body: Mapping[str, Any], count: int | None = None, *, timeout: float = WRITE_TIMEOUT
    ) -> tuple[SqlResult, ...]:
        """Send SQL once, and return its results: `count` of them, if it is known."""
        answer = self._post_d1_write(f"{self._databases}/{database}/query", json=body, timeout=timeout)
        try:
            return _parse_sql_results(answer.result, len(answer.result) if count is None else count)
        except (LookupError, TypeError, ValueError, AttributeError):
            raise _unclear_sql(f"the answer to a change of {database} has no results", answer) from None

    def restore(self, database: str, bookmark: str) -> D1Restore:
        """Restore the state of a bookmark in place; sent once. D1 cancels the queries that run.

        Raises:
            NotApplied, CloudflareApiError: nothing was changed.
            UnclearWrite: it is unknown whether D1 restored the state.
        """
        path = f"{self._databases}/{database}/time_travel/restore"
        answer = self._post_d1_write(path, params={"bookmark": bookmark})
        try:
            return D1Restore(*(require_answer_text(answer.result[name]) for name in ("bookmark", "previous_bookmark")))
        except (LookupError, TypeError, ValueError):
            raise _unclear_sql(f"the answer to a restore of {database} has no bookmark", answer) from None

    def _post_d1_write(self, path: str, *, timeout: float = WRITE_TIMEOUT, **content: Any) -> CloudflareResponse:
        return self._client.write("POST", path, timeout=timeout, **content)


def _batch_body(statements: Sequence[SqlStatement]) -> dict[str, Any]:
    return {"batch": [{"sql": each.sql, "params": list(each.params)} for each in statements]}


def _unclear_sql(message: str, answer: CloudflareResponse) -> UnclearWrite:
    return UnclearWrite(f"{message} (cf-ray {answer.ray_id or 'none'})", reason=Reason.UNCLEAR)


def _parse_listed_database(row: Mapping[str, Any]) -> NamedResource:
    return NamedResource(require_answer_id(row["uuid"], UUID), require_answer_text(row["name"]))


def _parse_database(row: Mapping[str, Any]) -> D1Database:
    return D1Database(
        id=require_answer_id(row["uuid"], UUID),
        name=require_answer_text(row["name"]),
        created_on=parse_utc(row["created_at"]),
        size=_parse_whole_number(row.get("file_size")),
        has_replicas=nested_table(row, "read_replication").get("mode") == "auto",
    )


def _parse_sql_results(result: Any, count: int) -> tuple[SqlResult, ...]:
    """Return the results. Raises ValueError if their number differs from that of the statements."""
    if len(result) != count:
        raise ValueError(len(result))
    return tuple(_parse_sql_result(each) for each in result)


def _parse_sql_result(row: Mapping[str, Any]) -> SqlResult:
    meta = nested_table(row, "meta")
    if row["success"] is not True:
        raise ValueError(row["success"])
    return SqlResult(
        rows=tuple(
            {require_answer_text(name): _parse_sql_value(value) for name, value in each.items()}
            for each in row["results"]
        ),
        changes=_parse_whole_number(meta.get("changes")) or 0,
        duration_ms=float(meta.get("duration") or 0),
        size_after=_parse_whole_number(meta.get("size_after")),
    )


def _parse_migration(table: str, row: Mapping[str, SqlValue]) -> Migration:
    try:
        return Migration(str(row["name"]), parse_utc(str(row["applied_at"])).replace(microsecond=0))
    except ValueError:
        raise ProviderError(
            f"D1 returned a malformed time for {quote_name(str(row['name']))} in {table}",
            reason=Reason.MALFORMED_ANSWER,
            hint="Restore with `wrangler d1 time-travel restore`, after you have checked the migrations by hand.",
        ) from None


def _parse_sql_value(value: Any) -> SqlValue:
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float | list)):
        raise TypeError(type(value))
    return value


def _parse_whole_number(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
