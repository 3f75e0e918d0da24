"""Client of Cloudflare's API: retries reads, sends each write once, and counts its calls.

While a run plans, the client sends only requests that API methods declare with `@reads`. So a dry run cannot
write. GraphQL is used only for analytics, which has no mutations. SQL is checked to only read. Cloudflare limits the
calls of all users of a token together: developers.cloudflare.com/fundamentals/api/reference/limits
"""

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import httpx

from ops.cloudflare.response import (
    SETTINGS,
    CloudflareApiError,
    CloudflareResponse,
    ErrorKind,
    MalformedCloudflareResponse,
    decode_graphql_response,
    decode_response,
    parse_rows,
    unexpected_shape,
    without_account,
)
from ops.core.bounded_http import open_client, read_answer, ssl_context
from ops.core.client_guards import WriteGuard, is_loopback
from ops.core.clock import Clock
from ops.core.errors import NotApplied, ProviderError, Reason, Refused, UnclearWrite
from ops.core.permissions import ANY_TOKEN, find_graphql_permission, find_permission
from ops.core.redaction import Secret
from ops.core.threads import CallTracker

LIMIT_PERIOD = 300.0
MOST_CALLS, CALLS_FOR_OTHERS = 1200, 300
"""Calls that all users of a token may make in LIMIT_PERIOD seconds, and those that a run leaves to others.

Beyond the limit Cloudflare refuses each call for the next LIMIT_PERIOD.
"""
OWN_CALLS = MOST_CALLS - CALLS_FOR_OTHERS


class CallBudget:
    """Counts the calls of one client; thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: deque[float] = deque(maxlen=MOST_CALLS)
        self._lock = threading.Lock()
        self.made = 0

    def note_call(self) -> None:
        with self._lock:
            self.made += 1
            self._times.append(self._clock.monotonic())

    def find_pause(self, calls: int, *, reserved: int = 0) -> float:
        """Return the seconds to wait so that this many calls fit, and `reserved` later ones too; 0 if they do now.

        After a wait half of the budget is free, so that a run waits seldom, and not before each call.
        """
        most, now = limit_calls(reserved), self._clock.monotonic()
        with self._lock:
            recent = [time for time in self._times if time > now - LIMIT_PERIOD]
        last_over = len(recent) - most // 2 - 1
        if len(recent) + calls <= most or last_over < 0:
            return 0.0
        return max(0.0, recent[last_over] + LIMIT_PERIOD - now)


def limit_calls(reserved: int) -> int:
    """Return the calls that a run makes in LIMIT_PERIOD while it reserves some: never more than two thirds."""
    return max(OWN_CALLS - reserved, OWN_CALLS // 3)


MAX_CONNECTIONS = 20
TIMEOUT = httpx.Timeout(10.0, connect=3.0)
LONGEST_CALL = 60.0
"""Seconds for a whole call without a timeout of its own, and for any write, which may upload code."""
MAX_BYTES = 16_000_000
"""Longest answer in bytes. The largest lists of the API are pages of at most 1,000 rows."""
RETRY_DELAYS = (0.2, 0.5, 1.0)
"""Seconds before the first, second and third retry of a read; a longer Retry-After of the response wins."""
RETRY_BUDGET = 20.0
"""Seconds that a read may take with all retries; a Retry-After beyond it ends the read."""
MAX_PAGES = 100
GRAPHQL = "/graphql"

Decoder = Callable[[str, str, int, Mapping[str, str], bytes], CloudflareResponse]
F = TypeVar("F", bound=Callable[..., object])

_ID, _UUID = "[0-9a-f]{32}", "[0-9a-f-]{36}"
PATH_PARTS = {
    "account": _ID,
    "zone": _ID,
    "namespace": _ID,
    "script": "[A-Za-z0-9_-]+",
    "project": "[a-z0-9-]+",
    "version": _UUID,
    "deployment": _UUID,
    "database": _UUID,
    "bucket": "[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
    "token": _ID,
}
"""Placeholder of a template → pattern of a path segment."""

DECLARED_READS: dict[tuple[str, str], re.Pattern[str]] = {}
"""Method and template → pattern, of all imported modules of ops.cloudflare."""
BODY_CHECKS: dict[tuple[str, str], Callable[[Any], bool]] = {}
"""Method and template → whether a request with this JSON body only reads. Other reads take any body."""


def reads(*requests: str, body: Callable[[Any], bool] | None = None) -> Callable[[F], F]:
    """Declare requests of a method, such as `GET /zones/{zone}/workers/routes`, that change nothing at Cloudflare.

    With `body`, only those whose JSON body it accepts change nothing.

    Raises KeyError for an unknown placeholder.
    """

    def declare_reads(method: F) -> F:
        for request in requests:
            verb, _, template = request.partition(" ")
            pattern = re.sub(r"\\\{(\w+)\\\}", lambda part: PATH_PARTS[part[1]], re.escape(template))
            DECLARED_READS[verb, template] = re.compile(pattern)
            if body is not None:
                BODY_CHECKS[verb, template] = body
        return method

    return declare_reads


def is_declared_read(method: str, path: str, body: Any = None) -> bool:
    """Return whether a request with this JSON body is declared to change nothing."""
    return any(
        request[0] == method and pattern.fullmatch(path) and (request not in BODY_CHECKS or BODY_CHECKS[request](body))
        for request, pattern in DECLARED_READS.items()
    )


class CloudflareClient(WriteGuard):
    """Client for one account's token; thread-safe. Error messages call the token `token_name`."""

    def __init__(
        self,
        base_url: str,
        token: Secret,
        *,
        token_name: str,
        clock: Clock,
        transport: httpx.BaseTransport | None = None,
        settings: str = SETTINGS,
    ) -> None:
        """`settings` is the file that names the account and its resources, for error messages."""
        self.base_url = base_url.rstrip("/")
        self._token = token
        self._token_name = token_name
        self._clock = clock
        self._transport = transport
        self._settings = settings
        self._http: httpx.Client | None = None
        self._under_way = CallTracker(self._close_http_client)
        self.budget = CallBudget(clock)
        self.server_date = ""
        """Header `Date` of the latest response, by Cloudflare's clock; empty before the first one."""

    def __repr__(self) -> str:
        return f"Client({self.base_url!r}, {self._token_name})"

    def open(self) -> None:
        """Create the connection pool. Call it before threads share the client."""
        # A proxy from the environment does not apply to a sandbox on loopback.
        trust = not is_loopback(self.base_url)
        is_secure = self.base_url.startswith("https:")
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
        self._http = open_client(
            timeout=TIMEOUT,
            limits=limits,
            verify=ssl_context(verify=is_secure, trust_env=trust),
            trust_env=trust,
            auth=self._add_authorization,
            transport=self._transport,
        )

    def close(self) -> None:
        self._under_way.close()

    def _close_http_client(self) -> None:
        if self._http is not None:
            self._http.close()

    def _add_authorization(self, request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        return request

    def read(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        most: int = MAX_BYTES,
    ) -> CloudflareResponse:
        """Send a GET; retry 429, 5xx, unreadable responses and transport errors. `most`: bytes of the answer.

        Raises ProviderError.
        """
        return self._send_with_retries(
            f"GET {without_account(path)}",
            lambda: self._send_api_request("GET", path, params=params, headers=headers, most=most),
        )

    def list_reader(
        self,
        path: str,
        subject: str,
        build: Callable[[Any], object],
        *,
        params: Mapping[str, str] | None = None,
    ) -> "PageReader":
        """Return a function that reads one page of a list, with `build` of each row; it raises ProviderError."""

        def read(page: Mapping[str, str]) -> CloudflareResponse:
            answer = self.read(path, params={**(params or {}), **page})
            return parse_rows(answer, subject, build)

        return read

    def query_graphql(
        self, query: str, *, variables: Mapping[str, Any], timeout: float | None = None
    ) -> CloudflareResponse:
        """Send a GraphQL query and return its `data`; retried like a read, with a timeout in seconds once.

        developers.cloudflare.com/analytics/graphql-api

        Raises ProviderError.
        """
        body, limits = {"query": query, "variables": dict(variables)}, _read_limits(timeout)

        def send_once() -> CloudflareResponse:
            return self._send_api_request("POST", GRAPHQL, decoder=decode_graphql_response, json=body, **limits)

        return self._send_with_retries(f"POST {GRAPHQL}", send_once, RETRY_DELAYS if timeout is None else ())

    def read_by_post(self, path: str, body: Mapping[str, Any], *, timeout: float | None = None) -> CloudflareResponse:
        """Send a read that uses POST, retried like a GET; with a timeout in seconds, once. Raises ProviderError."""

        def send_once() -> CloudflareResponse:
            return self._send_api_request("POST", path, json=dict(body), **_read_limits(timeout))

        return self._send_with_retries(
            f"POST {without_account(path)}", send_once, RETRY_DELAYS if timeout is None else ()
        )

    def _send_with_retries(
        self, call: str, send: Callable[[], CloudflareResponse], pauses: tuple[float, ...] = RETRY_DELAYS
    ) -> CloudflareResponse:
        deadline = self._clock.monotonic() + RETRY_BUDGET
        for pause in (*pauses, None):
            try:
                return send()
            except (CloudflareApiError, MalformedCloudflareResponse, httpx.RequestError) as error:
                wait = _retry_pause(error, pause)
                if wait is None or self._clock.monotonic() + wait > deadline:
                    raise _final_error(error, call) from None
            self._clock.sleep(wait)
        raise AssertionError("the last pause is None and ends the loop")

    def write(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        files: Any = None,
        content: bytes | None = None,
        timeout: float | None = None,
    ) -> CloudflareResponse:
        """Send a write once, as JSON, a form or bytes, with a timeout in seconds.

        Raises:
            NotApplied: Cloudflare did not apply the write; it may be sent again.
            UnclearWrite: it is unknown whether Cloudflare applied the write.
            CloudflareApiError: Cloudflare rejected the write and changed nothing.
        """
        call = f"{method} {without_account(path)}"
        try:
            body = {"json": json, "files": files, "content": content, "timeout": timeout or TIMEOUT}
            within = max(timeout or 0.0, LONGEST_CALL)
            return self._send_api_request(method, path, within=within, params=params, headers=headers, **body)
        except CloudflareApiError as error:
            if error.kind == ErrorKind.NOT_APPLIED:
                retry = error.retry_after
                raise NotApplied(error.message, reason=error.reason, hint=error.hint, retry_after=retry) from None
            if error.status >= 500 or error.kind == ErrorKind.TRANSIENT:
                raise UnclearWrite(error.message, reason=Reason.UNCLEAR, hint=error.hint) from None
            error.message += "; this was not applied"
            raise
        except MalformedCloudflareResponse as error:
            raise UnclearWrite(error.message, reason=Reason.UNCLEAR, hint=error.hint) from None
        except httpx.RequestError as error:
            raise UnclearWrite(f"no answer to {call} ({type(error).__name__})", reason=Reason.UNCLEAR) from None

    def _send_api_request(
        self,
        method: str,
        path: str,
        *,
        decoder: Decoder = decode_response,
        within: float = LONGEST_CALL,
        most: int = MAX_BYTES,
        **content: Any,
    ) -> CloudflareResponse:
        if not self._may_write and not is_declared_read(method, path, content.get("json")):
            raise Refused(
                f"{method} {without_account(path)} is a write to Cloudflare, and only reads are allowed",
                reason=Reason.READ_ONLY,
            )
        if self._http is None:
            self.open()
        assert self._http is not None
        self.budget.note_call()
        with self._under_way.call():
            response, body = read_answer(self._http, method, self.base_url + path, within=within, most=most, **content)
        self.server_date = response.headers.get("date", "")
        try:
            return decoder(method, path, response.status_code, response.headers, body)
        except CloudflareApiError as error:
            if error.kind == ErrorKind.AUTH:
                error.permission = _needed_permission(method, path, content.get("json"))
                error.hint = self._permission_hint(path, error.permission)
            error.hint = error.hint.replace(SETTINGS, self._settings)
            raise

    def _permission_hint(self, path: str, permission: str) -> str:
        """Return the hint for a rejected token. Cloudflare uses one code for a wrong permission and a wrong account."""
        account = re.match(r"/accounts/([0-9a-f]{32})", path)
        where = f"account {account[1]}" if account else "this account"
        also = f" Check also `account_id` in {SETTINGS}: {account[1]}." if account else ""
        return (
            f"Check the token {self._token_name} at dash.cloudflare.com → Manage account → API tokens: it must be "
            f'active, allowed from this IP address, and have the permission "{permission}" on {where}.{also}'
        )


def _needed_permission(method: str, path: str, body: Any) -> str:
    if path == GRAPHQL:
        return find_graphql_permission(body["query"])
    row = find_permission("cloudflare", method, path)
    return (row.needs if row else "") or ANY_TOKEN


def _read_limits(timeout: float | None) -> dict[str, Any]:
    """Return the limits of a read with this timeout in seconds for the whole call; None: those of the client."""
    return {} if timeout is None else {"timeout": timeout, "within": timeout}


def _retry_pause(
    error: CloudflareApiError | MalformedCloudflareResponse | httpx.RequestError, pause: float | None
) -> float | None:
    """Return the seconds until the next retry; None for no retry.

    An unreadable 200 is retried like a 5xx, since a proxy may have changed it.
    """
    if pause is None:
        return None
    if isinstance(error, httpx.RequestError) or (isinstance(error, MalformedCloudflareResponse) and error.status < 300):
        return pause
    retryable = error.status == 429 or error.status >= 500 or getattr(error, "kind", None) == ErrorKind.TRANSIENT
    return max(pause, error.retry_after) if retryable else None


def _final_error(
    error: CloudflareApiError | MalformedCloudflareResponse | httpx.RequestError, call: str
) -> ProviderError:
    """Return the error to raise. The text of a transport error is dropped: it may hold an address or a header."""
    if isinstance(error, httpx.RequestError):
        return ProviderError(
            f"Cloudflare's API is unreachable: {call} failed with {type(error).__name__}",
            reason=Reason.PROVIDER_UNAVAILABLE,
            hint="Check https://www.cloudflarestatus.com/ and this machine's network, then run the command again.",
        )
    return error


PageReader = Callable[[Mapping[str, str]], CloudflareResponse]


def paginate_by_total(read: PageReader, *, per_page: int = 50) -> Iterator[Any]:
    """Yield the rows of a list with a reliable `result_info.total_count`: zones, Pages deployments, KV namespaces.

    Raises MalformedCloudflareResponse.
    """
    for page in range(1, MAX_PAGES + 1):
        answer = read({"page": str(page), "per_page": str(per_page)})
        yield from _page_rows(answer)
        total = answer.result_info.get("total_count") or 0
        if not isinstance(total, int):
            raise unexpected_shape(answer, "a list")
        if page * per_page >= total:
            return


def paginate_by_length(read: PageReader, *, per_page: int) -> Iterator[Any]:
    """Yield the rows of a list without a reliable total: Pages projects, D1 databases. A short page is the last."""
    for page in range(1, MAX_PAGES + 1):
        rows = _page_rows(read({"page": str(page), "per_page": str(per_page)}))
        yield from rows
        if len(rows) < per_page:
            return


def paginate_by_cursor(read: PageReader, *, per_page: int = 100, size_parameter: str = "per_page") -> Iterator[Any]:
    """Yield the rows of a list with a cursor: KV keys, Durable Objects, audit log."""
    cursor = ""
    for _ in range(MAX_PAGES):
        answer = read({size_parameter: str(per_page), **({"cursor": cursor} if cursor else {})})
        yield from _page_rows(answer)
        cursor = next_cursor(answer)
        if not cursor:
            return


def next_cursor(answer: CloudflareResponse) -> str:
    """Return the cursor of the next page; empty on the last page.

    Most lists use `result_info.cursor`; for the audit log, Cloudflare's SDKs read `result_info.cursors.after`.
    """
    cursors = answer.result_info.get("cursors")
    after = cursors.get("after") if isinstance(cursors, Mapping) else None
    return str(answer.result_info.get("cursor") or after or "")


def _page_rows(answer: CloudflareResponse) -> list[Any]:
    """Return the rows of one page. Raises MalformedCloudflareResponse."""
    if not isinstance(answer.result, list):
        raise unexpected_shape(answer, "a list")
    return answer.result
