"""Error codes of Cloudflare's API, one table per product, because products reuse numbers.

Sources, by their short names in the rows:

- errors: developers.cloudflare.com/workers/observability/errors ("Errors on Worker upload")
- auth: developers.cloudflare.com/fundamentals/api/troubleshooting
- pages: developers.cloudflare.com/pages/platform/known-issues and the errors that wrangler 4 handles in Pages
- d1: developers.cloudflare.com/d1/observability/debug-d1
- wrangler: codes that wrangler 4 names in its source
- workers-sdk: error texts in the issues of github.com/cloudflare/workers-sdk
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple


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
    ("Routes", r"/zones(/.*)?", ROUTES),
    ("API tokens", r"(/user|/accounts/[^/]+)/tokens(/.*)?", TOKENS),
    ("accounts", r"/accounts", {}),
    ("the audit log", r"/accounts/[^/]+/logs/audit", {}),
    ("GraphQL", r"/graphql", {}),
)
"""Product name, path pattern and codes. An empty table: Cloudflare documents no codes."""


def find_error_code(path: str, code: int | None, text: str | None = None) -> ErrorCode | None:
    """Return the meaning of a code, with its text if that matters, at a path; None if it is unknown."""
    if code is None:
        return None
    own: ErrorCodes = next((codes for _, pattern, codes in PRODUCTS if re.fullmatch(pattern, path)), {})
    if own is D1 and code == 7500 and text is not None and not SQL_REJECTED.search(text):
        return D1_INTERNAL
    return own.get(code) or COMMON.get(code)
