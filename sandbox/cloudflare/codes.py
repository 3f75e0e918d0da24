"""Error codes of the sandbox by product, each with its source.

A test checks every handler against this list.

errors: developers.cloudflare.com/workers/observability/errors · auth: …/fundamentals/api/troubleshooting · pages:
…/pages/platform/known-issues · d1: …/d1/observability/debug-d1 · r2: …/r2/api/error-codes · wrangler: codes that
wrangler handles · workers-sdk: texts in the issues of github.com/cloudflare/workers-sdk · unknown: no source, and no
client reads it.
"""

import re
from collections.abc import Mapping

ANYWHERE: Mapping[int, str] = {
    971: "workers-sdk",
    7001: "auth",
    7003: "workers-sdk",
    9109: "wrangler",
    10000: "auth",
}
"""Code → source, for errors before a product is reached."""
UNREADABLE = 10026
"""Code for an invalid body or query."""
UNREADABLE_BY: Mapping[str, int] = {"d1": 7400}
"""Product → its own code for an invalid body or query."""
BY_PRODUCT: Mapping[str, Mapping[int, str]] = {
    "workers": {
        10007: "errors",
        10016: "errors",
        10021: "errors",
        10026: "errors",
        10041: "workers-sdk",
        10056: "errors",
        10057: "workers-sdk",
        10079: "workers-sdk",
        10085: "workers-sdk",
        10090: "wrangler",
        10210: "unknown",
        10211: "workers-sdk",
        10214: "wrangler",
        10215: "wrangler",
        10220: "wrangler",
        10222: "wrangler",
        11000: "workers-sdk",
        100146: "workers-sdk",
        100160: "workers-sdk",
        100402: "wrangler",
    },
    "pages": {
        8000000: "pages",
        8000002: "pages",
        8000007: "pages",
        8000009: "pages",
        8000013: "pages",
        8000024: "pages",
        8000034: "pages",
        8000035: "pages",
    },
    "kv": {
        10009: "workers-sdk",
        10013: "workers-sdk",
        10014: "workers-sdk",
        10021: "unknown",
        10022: "unknown",
        10058: "unknown",
    },
    "r2": {10006: "r2", 10007: "r2", 10042: "r2"},
    "d1": {7400: "d1", 7404: "d1", 7500: "d1", 7502: "d1"},
    "zones": {10007: "workers-sdk", 10009: "workers-sdk", 10020: "workers-sdk", 10022: "workers-sdk"},
    "tokens": {1000: "auth", 1001: "auth", 10000: "auth"},
}
"""Product → code → source."""


def product_of(path: str) -> str:
    """Return the product of a path, as named in BY_PRODUCT; empty if it has no codes of its own."""
    found = re.search(r"/accounts/[^/]+/(?:storage/)?(\w+)|/(zones|pages|tokens)(?:/|$)", path)
    name = next(filter(None, found.groups()), "") if found else ""
    return name if name in BY_PRODUCT else ""
