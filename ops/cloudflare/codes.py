"""Error codes of Cloudflare's API, one table per product: the same number means different things in different products.

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


class Kind(Enum):
    """What an error code means for the caller."""

    AUTH = "auth"
    NOT_FOUND = "not found"
    NOT_APPLIED = "not applied"
    TRANSIENT = "transient"
    REFUSED = "refused"


class Code(NamedTuple):
    kind: Kind
    meaning: str
    source: str


Codes = Mapping[int, Code]

COMMON: Codes = {
    6003: Code(Kind.AUTH, "the request headers are invalid", "auth"),
    6111: Code(Kind.AUTH, "the Authorization header is malformed", "auth"),
    7000: Code(Kind.NOT_FOUND, "there is no such route", "workers-sdk"),
    7003: Code(Kind.NOT_FOUND, "the path cannot be routed: an account or object id in it may be wrong", "workers-sdk"),
    9106: Code(Kind.AUTH, "the authentication headers are missing or malformed", "auth"),
    9109: Code(Kind.AUTH, "the token is invalid, or may not use this account or zone", "auth"),
    10000: Code(Kind.AUTH, "the token is wrong, expired, filtered by address, or lacks a permission", "auth"),
}
"""Answered by the gateway in front of every product."""

WORKERS: Codes = {
    10006: Code(Kind.REFUSED, "the Worker's code could not be parsed", "errors"),
    10007: Code(Kind.NOT_FOUND, "there is no such Worker or workers.dev subdomain", "errors"),
    10013: Code(Kind.TRANSIENT, "an unknown error of Workers", "workers-sdk"),
    10015: Code(Kind.REFUSED, "the account is not entitled to use Workers", "errors"),
    10016: Code(Kind.REFUSED, "the name of the Worker is not valid", "errors"),
    10021: Code(Kind.REFUSED, "the script failed validation", "errors"),
    10026: Code(Kind.REFUSED, "the request body could not be parsed", "errors"),
    10027: Code(Kind.REFUSED, "the Worker exceeds the size limit", "errors"),
    10034: Code(Kind.REFUSED, "the account's e-mail address is not verified", "wrangler"),
    10035: Code(Kind.NOT_APPLIED, "somebody changed the same Worker at the same time", "errors"),
    10037: Code(Kind.REFUSED, "the account has too many Workers", "errors"),
    10052: Code(Kind.REFUSED, "a binding has no name", "errors"),
    10054: Code(Kind.REFUSED, "a variable or secret exceeds the size limit", "errors"),
    10055: Code(Kind.REFUSED, "there are too many variables and secrets", "errors"),
    10056: Code(Kind.NOT_FOUND, "there is no such binding or secret", "errors"),
    10057: Code(Kind.REFUSED, "an inherited binding cannot be resolved", "workers-sdk"),
    10061: Code(Kind.REFUSED, "a Durable Object class cannot be created as asked", "workers-sdk"),
    10064: Code(Kind.REFUSED, "a Durable Object class is in use", "workers-sdk"),
    10068: Code(Kind.REFUSED, "the script registers no handler", "errors"),
    10069: Code(Kind.REFUSED, "the script registers a handler that Workers does not support", "errors"),
    10090: Code(Kind.NOT_FOUND, "there is no such Worker", "wrangler"),
    10092: Code(Kind.NOT_FOUND, "there is no such environment", "wrangler"),
    10211: Code(Kind.REFUSED, "a Durable Object migration needs a full deployment", "workers-sdk"),
    10214: Code(Kind.REFUSED, "the latest version is not the deployed one", "wrangler"),
    10215: Code(Kind.REFUSED, "the latest version is not the deployed one", "wrangler"),
    10220: Code(Kind.REFUSED, "secrets have changed since that version", "wrangler"),
    10222: Code(Kind.NOT_FOUND, "there is no version yet", "wrangler"),
    100146: Code(Kind.NOT_FOUND, "the version cannot be found, or not yet", "workers-sdk"),
    100160: Code(Kind.REFUSED, "too many secrets in one call", "workers-sdk"),
    100402: Code(Kind.REFUSED, "the Durable Object exports could not be reconciled", "wrangler"),
    100405: Code(Kind.REFUSED, "the versions of a split export different Durable Objects", "wrangler"),
    100406: Code(Kind.REFUSED, "a binding needs an export that does not exist yet", "wrangler"),
}
PAGES: Codes = {
    8000000: Code(Kind.TRANSIENT, "an unknown error of Pages", "pages"),
    8000002: Code(Kind.REFUSED, "there is a Pages project of that name already", "pages"),
    8000007: Code(Kind.NOT_FOUND, "there is no such Pages project", "pages"),
    8000009: Code(Kind.NOT_FOUND, "there is no such Pages deployment", "pages"),
    8000013: Code(Kind.AUTH, "the upload token is no longer valid", "pages"),
    8000024: Code(Kind.REFUSED, "that page of the list cannot be asked for", "pages"),
    8000034: Code(Kind.REFUSED, "the deployment serves production", "pages"),
    8000035: Code(Kind.REFUSED, "an alias leads to the deployment", "pages"),
}
KV: Codes = {
    10009: Code(Kind.NOT_FOUND, "there is no such key", "workers-sdk"),
    10013: Code(Kind.NOT_FOUND, "there is no such KV namespace", "workers-sdk"),
    10014: Code(Kind.REFUSED, "there is a KV namespace of that title already", "workers-sdk"),
}
D1: Codes = {
    7400: Code(Kind.REFUSED, "D1 could not read the request", "d1"),
    7404: Code(Kind.NOT_FOUND, "there is no such D1 database", "d1"),
    7500: Code(Kind.REFUSED, "D1 failed; the message has SQLite's own text", "d1"),
}
ROUTES: Codes = {
    10007: Code(Kind.NOT_FOUND, "there is no such Worker", "workers-sdk"),
    10009: Code(Kind.NOT_FOUND, "there is no such route", "workers-sdk"),
    10020: Code(Kind.REFUSED, "there is a route with that pattern already", "workers-sdk"),
}
"""Zones and the routes of Workers in them."""
TOKENS: Codes = {
    1000: Code(Kind.AUTH, "the API token is invalid", "auth"),
    1001: Code(Kind.NOT_FOUND, "there is no such API token", "auth"),
}

PRODUCTS: tuple[tuple[str, str, Codes], ...] = (
    ("Workers Observability", r"/accounts/[^/]+/workers/observability/.*", {}),
    ("Workers", r"/accounts/[^/]+/workers/.*", WORKERS),
    ("Pages", r"/accounts/[^/]+/pages/.*|/pages/.*", PAGES),
    ("KV", r"/accounts/[^/]+/storage/kv/.*", KV),
    ("D1", r"/accounts/[^/]+/d1/.*", D1),
    ("Routes", r"/zones(/.*)?", ROUTES),
    ("API tokens", r"(/user|/accounts/[^/]+)/tokens(/.*)?", TOKENS),
    ("the audit log", r"/accounts/[^/]+/logs/audit", {}),
    ("GraphQL", r"/graphql", {}),
)
"""Name of the product, its paths, and its codes. An empty table: no code of it is documented."""


def product_of(path: str) -> str:
    """The name of the product that answers at a path; nothing where it is not in the table."""
    return next((name for name, pattern, _ in PRODUCTS if re.fullmatch(pattern, path)), "")


def meaning_of(path: str, code: int | None) -> Code | None:
    """What the product at that path means by a code; None where that is not known."""
    if code is None:
        return None
    own: Codes = next((codes for _, pattern, codes in PRODUCTS if re.fullmatch(pattern, path)), {})
    return own.get(code) or COMMON.get(code)
