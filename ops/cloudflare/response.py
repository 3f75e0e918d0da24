"""Decode responses of Cloudflare's API into a value or a typed error, by its error code.

Envelope: developers.cloudflare.com/fundamentals/api/how-to/make-api-calls. `success` decides, not only the status.

There is one table of codes per product, because products reuse numbers. Sources, by their short names in the rows:

- errors: developers.cloudflare.com/workers/observability/errors ("Errors on Worker upload")
- auth: developers.cloudflare.com/fundamentals/api/troubleshooting
- pages: developers.cloudflare.com/pages/platform/known-issues and the errors that wrangler 4 handles in Pages
- d1: developers.cloudflare.com/d1/observability/debug-d1
- r2: developers.cloudflare.com/r2/api/error-codes
- wrangler: codes that wrangler 4 names in its source
- workers-sdk: error texts in the issues of github.com/cloudflare/workers-sdk
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from ops.core.clock import parse_http_date
from ops.core.errors import ProviderError, Reason

T = TypeVar("T")


SETTINGS = "ops.yml"
"""File that names the account and its resources."""


class ErrorKind(Enum):
    """Meaning of an error code for the caller."""

    AUTH = "auth"
    NOT_FOUND = "not found"
    NOT_APPLIED = "not applied"
    TRANSIENT = "transient"
    REFUSED = "refused"


class ErrorCode(NamedTuple):
    kind: ErrorKind
    meaning: str
    source: str


ErrorCodes = Mapping[int, ErrorCode]

COMMON: ErrorCodes = {
    6003: ErrorCode(ErrorKind.AUTH, "the request headers are invalid", "auth"),
    6111: ErrorCode(ErrorKind.AUTH, "the Authorization header is malformed", "auth"),
    7000: ErrorCode(ErrorKind.NOT_FOUND, "there is no such route", "workers-sdk"),
    7003: ErrorCode(
        ErrorKind.NOT_FOUND, "the path cannot be routed: an account or object id in it may be wrong", "workers-sdk"
    ),
    9106: ErrorCode(ErrorKind.AUTH, "the authentication headers are missing or malformed", "auth"),
    9109: ErrorCode(ErrorKind.AUTH, "the token is invalid, or may not use this account or zone", "auth"),
    10000: ErrorCode(ErrorKind.AUTH, "the token is wrong, expired, filtered by address, or lacks a permission", "auth"),
}
"""Codes of the gateway in front of every product."""

WORKERS: ErrorCodes = {
    10006: ErrorCode(ErrorKind.REFUSED, "the Worker's code could not be parsed", "errors"),
    10007: ErrorCode(ErrorKind.NOT_FOUND, "there is no such Worker or workers.dev subdomain", "errors"),
    10013: ErrorCode(ErrorKind.TRANSIENT, "an unknown error of Workers", "workers-sdk"),
    10015: ErrorCode(ErrorKind.REFUSED, "the account is not entitled to use Workers", "errors"),
    10016: ErrorCode(ErrorKind.REFUSED, "the name of the Worker is not valid", "errors"),
    10021: ErrorCode(ErrorKind.REFUSED, "the script failed validation", "errors"),
    10026: ErrorCode(ErrorKind.REFUSED, "the request body could not be parsed", "errors"),
    10027: ErrorCode(ErrorKind.REFUSED, "the Worker exceeds the size limit", "errors"),
    10034: ErrorCode(ErrorKind.REFUSED, "the account's e-mail address is not verified", "wrangler"),
    10035: ErrorCode(ErrorKind.NOT_APPLIED, "another client changed the same Worker at the same time", "errors"),
    10037: ErrorCode(ErrorKind.REFUSED, "the account has too many Workers", "errors"),
    10052: ErrorCode(ErrorKind.REFUSED, "a binding has no name", "errors"),
    10054: ErrorCode(ErrorKind.REFUSED, "a variable or secret exceeds the size limit", "errors"),
    10055: ErrorCode(ErrorKind.REFUSED, "there are too many variables and secrets", "errors"),
    10056: ErrorCode(ErrorKind.NOT_FOUND, "there is no such binding or secret", "errors"),
    10057: ErrorCode(ErrorKind.REFUSED, "an inherited binding cannot be resolved", "workers-sdk"),
    10061: ErrorCode(ErrorKind.REFUSED, "a Durable Object class cannot be created as requested", "workers-sdk"),
    10064: ErrorCode(ErrorKind.REFUSED, "a Durable Object class is in use", "workers-sdk"),
    10068: ErrorCode(ErrorKind.REFUSED, "the script registers no handler", "errors"),
    10069: ErrorCode(ErrorKind.REFUSED, "the script registers a handler that Workers does not support", "errors"),
    10090: ErrorCode(ErrorKind.NOT_FOUND, "there is no such Worker", "wrangler"),
    10092: ErrorCode(ErrorKind.NOT_FOUND, "there is no such environment", "wrangler"),
    10211: ErrorCode(ErrorKind.REFUSED, "a Durable Object migration needs a full deployment", "workers-sdk"),
    10214: ErrorCode(ErrorKind.REFUSED, "the latest version is not the deployed one", "wrangler"),
    10215: ErrorCode(ErrorKind.REFUSED, "the latest version is not the deployed one", "wrangler"),
    10220: ErrorCode(ErrorKind.REFUSED, "secrets have changed since that version", "wrangler"),
    10222: ErrorCode(ErrorKind.NOT_FOUND, "there is no version yet", "wrangler"),
    100146: ErrorCode(ErrorKind.NOT_FOUND, "the version cannot be found, or not yet", "workers-sdk"),
    100160: ErrorCode(ErrorKind.REFUSED, "too many secrets in one call", "workers-sdk"),
    100402: ErrorCode(ErrorKind.REFUSED, "the Durable Object exports could not be reconciled", "wrangler"),
    100405: ErrorCode(ErrorKind.REFUSED, "the versions of a split export different Durable Objects", "wrangler"),
    100406: ErrorCode(ErrorKind.REFUSED, "a binding needs an export that does not exist yet", "wrangler"),
}
PAGES: ErrorCodes = {
    8000000: ErrorCode(ErrorKind.TRANSIENT, "an unknown error of Pages", "pages"),
    8000002: ErrorCode(ErrorKind.REFUSED, "there is a Pages project of that name already", "pages"),
    8000007: ErrorCode(ErrorKind.NOT_FOUND, "there is no such Pages project", "pages"),
    8000009: ErrorCode(ErrorKind.NOT_FOUND, "there is no such Pages deployment", "pages"),
    8000013: ErrorCode(ErrorKind.AUTH, "the upload token is no longer valid", "pages"),
    8000024: ErrorCode(ErrorKind.REFUSED, "the requested page size or page number is invalid", "pages"),
    8000034: ErrorCode(ErrorKind.REFUSED, "the deployment serves production", "pages"),
    8000035: ErrorCode(ErrorKind.REFUSED, "an alias leads to the deployment", "pages"),
}
KV: ErrorCodes = {
    10009: ErrorCode(ErrorKind.NOT_FOUND, "there is no such key", "workers-sdk"),
    10013: ErrorCode(ErrorKind.NOT_FOUND, "there is no such KV namespace", "workers-sdk"),
    10014: ErrorCode(ErrorKind.REFUSED, "there is a KV namespace of that title already", "workers-sdk"),
}
D1: ErrorCodes = {
    7400: ErrorCode(ErrorKind.REFUSED, "D1 could not read the request", "d1"),
    7404: ErrorCode(ErrorKind.NOT_FOUND, "there is no such D1 database", "d1"),
    7500: ErrorCode(ErrorKind.REFUSED, "D1 rejected the SQL; the message has SQLite's own text", "d1"),
}
NO_R2 = 10042
"""The account has no subscription: developers.cloudflare.com/r2/api/error-codes. Its status 403 concerns no token."""
R2: ErrorCodes = {
    10006: ErrorCode(ErrorKind.NOT_FOUND, "there is no such R2 bucket in that jurisdiction", "r2"),
    NO_R2: ErrorCode(ErrorKind.REFUSED, "the account has no R2 subscription", "r2"),
}
D1_INTERNAL = ErrorCode(ErrorKind.TRANSIENT, "an internal error of D1", "workers-sdk")
"""Meaning of 7500 with a text that is not SQLite's: github.com/cloudflare/workers-sdk/issues/14731 and 15449."""
SQL_REJECTED = re.compile(r"\bSQLITE_[A-Z]+|Wrong number of parameter bindings|To execute a transaction")
"""Text of D1 for SQL that it rejected."""
ROUTES: ErrorCodes = {
    10007: ErrorCode(ErrorKind.NOT_FOUND, "there is no such Worker", "workers-sdk"),
    10009: ErrorCode(ErrorKind.NOT_FOUND, "there is no such route", "workers-sdk"),
    10020: ErrorCode(ErrorKind.REFUSED, "there is a route with that pattern already", "workers-sdk"),
}
"""Zones and Workers routes."""
TOKENS: ErrorCodes = {
    1000: ErrorCode(ErrorKind.AUTH, "the API token is invalid", "auth"),
    1001: ErrorCode(ErrorKind.NOT_FOUND, "there is no such API token", "auth"),
}

PRODUCTS: tuple[tuple[str, str, ErrorCodes], ...] = (
    ("Workers Observability", r"/accounts/[^/]+/workers/observability/.*", {}),
    ("Workers", r"/accounts/[^/]+/workers/.*", WORKERS),
    ("Pages", r"/accounts/[^/]+/pages/.*|/pages/.*", PAGES),
    ("KV", r"/accounts/[^/]+/storage/kv/.*", KV),
    ("D1", r"/accounts/[^/]+/d1/.*", D1),
    ("R2", r"/accounts/[^/]+/r2/.*", R2),
    ("Routes", r"/zones(/.*)?", ROUTES),
    ("Access", r"/accounts/[^/]+/access/.*", {}),
    ("API tokens", r"(/user|/accounts/[^/]+)/tokens(/.*)?", TOKENS),
    ("accounts", r"/accounts", {}),
    ("the audit log", r"/accounts/[^/]+/logs/audit", {}),
    ("GraphQL", r"/graphql", {}),
)
"""Product name, path pattern and codes. An empty table: Cloudflare documents no codes [unsure: error-codes]."""


def find_error_code(path: str, code: int | None, text: str | None = None) -> ErrorCode | None:
    """Return the meaning of a code, with its text if that matters, at a path; None if it is unknown."""
    if code is None:
        return None
    own: ErrorCodes = next((codes for _, pattern, codes in PRODUCTS if re.fullmatch(pattern, path)), {})
    if own is D1 and code == 7500 and text is not None and not SQL_REJECTED.search(text):
        return D1_INTERNAL
    return own.get(code) or COMMON.get(code)


HINTS: Mapping[ErrorKind, str] = {
    ErrorKind.AUTH: "Check the token and its permissions.",
    ErrorKind.NOT_FOUND: f"Compare the names and account_id in {SETTINGS} with the Cloudflare dashboard.",
    ErrorKind.NOT_APPLIED: "Run the same command again in a minute.",
    ErrorKind.TRANSIENT: "Check https://www.cloudflarestatus.com/, then run the same command again.",
    ErrorKind.REFUSED: (
        "Cloudflare will reject the same request again. Check the Worker or site in the dashboard, "
        "or send the cf-ray to "
        "Cloudflare support."
    ),
}


@dataclass(frozen=True)
class CloudflareResponse:
    result: Any
    result_info: Mapping[str, Any] = field(default_factory=dict)
    """Paging part of the envelope."""
    status: int = 200
    ray_id: str = ""


class CloudflareApiError(ProviderError):
    """Error response of Cloudflare's API."""

    def __init__(
        self, method: str, path: str, *, status: int, code: int | None, text: str, ray: str, retry_after: float
    ) -> None:
        call = f"{method} {without_account(path)}"
        self.status, self.code, self.text = status, code, text
        self.ray_id, self.retry_after = ray, retry_after
        known = find_error_code(path, code, text)
        self.kind = _error_kind(status, known.kind if known else None)
        said = f"code {code}: {text}" if code is not None else text
        super().__init__(
            f"Cloudflare answered {call} with HTTP {status}, {said} (cf-ray {ray or 'none'})",
            reason=Reason.RATE_LIMITED if status == 429 else _error_reason(self.kind),
            hint=" ".join(filter(None, [f"This means: {known.meaning}." if known else "", HINTS[self.kind]])),
        )


class MalformedCloudflareResponse(ProviderError):
    """Unreadable response of Cloudflare or of a proxy."""

    def __init__(self, call: str, *, status: int, ray: str, what: str) -> None:
        self.status, self.ray, self.retry_after = status, ray, 0.0
        super().__init__(
            f"the response to {call} cannot be read: {what} (HTTP {status}, cf-ray {ray or 'none'})",
            reason=Reason.MALFORMED_ANSWER,
            hint="Check https://www.cloudflarestatus.com/, or send the cf-ray to Cloudflare support.",
        )


def _error_kind(status: int, told: ErrorKind | None) -> ErrorKind:
    """`told` by the code, where it is known. An answer of 500 and up says nothing of what is there."""
    if status == 429 or told == ErrorKind.NOT_APPLIED:
        return ErrorKind.NOT_APPLIED
    if told is not None and status < 500:
        return told
    if status >= 500:
        return ErrorKind.TRANSIENT
    return {401: ErrorKind.AUTH, 403: ErrorKind.AUTH, 404: ErrorKind.NOT_FOUND}.get(status, ErrorKind.REFUSED)


def _error_reason(kind: ErrorKind) -> Reason:
    if kind == ErrorKind.AUTH:
        return Reason.NOT_AUTHORISED
    return Reason.PROVIDER_UNAVAILABLE if kind == ErrorKind.TRANSIENT else Reason.PROVIDER_REFUSED


def decode_response(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> CloudflareResponse:
    """Decode a response. `headers` have lower-case names.

    Raises:
        CloudflareApiError: Cloudflare returned an error.
        MalformedCloudflareResponse: the response cannot be read.
    """
    call = f"{method} {without_account(path)}"
    ray = headers.get("cf-ray", "")
    if not body and status in {204, 205}:
        return CloudflareResponse(None, status=status, ray_id=ray)
    if headers.get("cf-mitigated") == "challenge":
        what = "Cloudflare's firewall answered with a challenge, as it does for some IP addresses"
        raise MalformedCloudflareResponse(call, status=status, ray=ray, what=what)
    envelope = _json_object(call, status, ray, headers, body)
    if envelope.get("success") is True and status < 400:
        if method == "GET" and envelope.get("result") is None:  # documented for no read that Backout sends
            raise MalformedCloudflareResponse(call, status=status, ray=ray, what="an answer without a result")
        info = envelope.get("result_info")
        return CloudflareResponse(envelope.get("result"), info if isinstance(info, dict) else {}, status, ray)
    if not isinstance(envelope.get("success"), bool) and status < 400:
        raise MalformedCloudflareResponse(call, status=status, ray=ray, what="JSON without Cloudflare's envelope")
    code, text = _first_api_error(envelope)
    raise CloudflareApiError(
        method, path, status=status, code=code, text=text, ray=ray, retry_after=parse_retry_after(headers)
    )


def decode_graphql_response(
    method: str, path: str, status: int, headers: Mapping[str, str], body: bytes
) -> CloudflareResponse:
    """Return the `data` of a GraphQL response. Only a rejected request has Cloudflare's envelope.

    Errors come with HTTP 200 (developers.cloudflare.com/analytics/graphql-api/errors). A depleted budget counts as
    HTTP 429, a missing permission as 403. Raises CloudflareApiError and MalformedCloudflareResponse.
    """
    call, ray = f"{method} {without_account(path)}", headers.get("cf-ray", "")
    value = _json_object(call, status, ray, headers, body)
    if status >= 400 or "success" in value:
        return decode_response(method, path, status, headers, body)
    errors = value.get("errors")
    if isinstance(errors, list) and errors:
        known = [error for error in errors if isinstance(error, dict)]
        said = "; ".join(answer_text_or_empty(error.get("message")) for error in known)
        denied = any(
            isinstance(more := error.get("extensions"), dict) and more.get("code") == "authz" for error in known
        )
        status = 429 if "budget depleted" in said else 403 if denied else status
        raise CloudflareApiError(
            method,
            path,
            status=status,
            code=None,
            text=said or "no reason given",
            ray=ray,
            retry_after=parse_retry_after(headers),
        )
    if not isinstance(value.get("data"), dict):
        raise MalformedCloudflareResponse(call, status=status, ray=ray, what="JSON without data")
    return CloudflareResponse(value["data"], status=status, ray_id=ray)


def _json_object(call: str, status: int, ray: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        if not body:
            what = "an empty body"
        elif "html" in headers.get("content-type", "") or body.lstrip()[:1] == b"<":
            what = "an HTML page"
        else:
            what = f"{len(body)} bytes of invalid or truncated JSON"
        raise MalformedCloudflareResponse(call, status=status, ray=ray, what=what) from None
    if not isinstance(value, dict):
        raise MalformedCloudflareResponse(call, status=status, ray=ray, what="JSON that is not an object")
    return value


def _first_api_error(envelope: Mapping[str, Any]) -> tuple[int | None, str]:
    """Return code and text of the first error with its chain. Some old handlers send {"error": …, "code": …}."""
    errors = envelope.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else None
    if first is None:
        code = envelope.get("code")
        return (code if isinstance(code, int) else None), str(envelope.get("error") or "no reason given")
    chain = first.get("error_chain")
    texts = [first, *(chain if isinstance(chain, list) else [])]
    text = ": ".join(str(item.get("message", "")) for item in texts if isinstance(item, dict))
    code = first.get("code")
    return (code if isinstance(code, int) else None), text or "no reason given"


def parse_retry_after(headers: Mapping[str, str]) -> float:
    """Return Retry-After in seconds; 0 if it is absent or unreadable.

    The header has seconds or an HTTP date (RFC 9110, 10.2.3), which is compared with the response's Date.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return float(value)
    try:
        until, now = (parse_http_date(text) for text in (value, headers.get("date", "")))
        return max(0.0, (until - now).total_seconds())
    except ValueError:
        return 0.0


def without_account(path: str) -> str:
    """Return the path without the account, such as /workers/scripts/NAME/deployments."""
    return re.sub(r"^/accounts/[^/]+", "", path)


def parse_result(answer: CloudflareResponse, subject: str, build: Callable[[], T]) -> T:
    """Return `build()`. Raises MalformedCloudflareResponse for a missing or wrong field."""
    try:
        return build()
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError):
        raise unexpected_shape(answer, subject) from None


def parse_rows(answer: CloudflareResponse, subject: str, build: Callable[[Any], object]) -> CloudflareResponse:
    """Return the response with `build` of each row. Raises MalformedCloudflareResponse."""
    if not isinstance(answer.result, list):
        raise unexpected_shape(answer, subject)
    return replace(answer, result=parse_result(answer, subject, lambda: [build(row) for row in answer.result]))


def unexpected_shape(answer: CloudflareResponse, subject: str) -> MalformedCloudflareResponse:
    return MalformedCloudflareResponse(
        f"GET {subject}", status=answer.status, ray=answer.ray_id, what="unexpected JSON"
    )


def require_answer_text(value: Any) -> str:
    """Return a text that is not empty.

    Raises:
        ValueError: it is no text, or empty; `parse_result` turns it into a malformed response.
    """
    if not isinstance(value, str) or not value:
        raise ValueError(value)
    return value


HEX_ID, UUID = re.compile("[0-9a-f]{32}"), re.compile("[0-9a-f-]{36}")
"""Forms of Cloudflare's IDs."""


def require_answer_id(value: Any, pattern: re.Pattern[str]) -> str:
    """Return a text that matches the pattern. Raises ValueError."""
    if not pattern.fullmatch(require_answer_text(value)):
        raise ValueError(value)
    return str(value)


def answer_flag(value: Any) -> bool | None:
    """Return a truth value; None for a value of another type."""
    return value if isinstance(value, bool) else None


def answer_text_or_empty(value: Any) -> str:
    """Return a text; empty for a value of another type."""
    return value if isinstance(value, str) else ""
