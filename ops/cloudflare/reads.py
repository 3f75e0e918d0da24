"""Allow-list of reads during planning, declared at the methods that send them."""

import re
from collections.abc import Callable
from typing import TypeVar

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
}
"""Placeholder of a template → pattern of a path segment."""

DECLARED_READS: dict[tuple[str, str], re.Pattern[str]] = {}
"""Method and template → pattern, of all imported modules of ops.cloudflare."""


def reads(*requests: str) -> Callable[[F], F]:
    """Declare requests of a method, such as `GET /zones/{zone}/workers/routes`, that change nothing at Cloudflare.

    Raises KeyError for an unknown placeholder.
    """

    def declare(method: F) -> F:
        for request in requests:
            verb, _, template = request.partition(" ")
            pattern = re.sub(r"\\\{(\w+)\\\}", lambda part: PATH_PARTS[part[1]], re.escape(template))
            DECLARED_READS[verb, template] = re.compile(pattern)
        return method

    return declare


def is_declared_read(method: str, path: str) -> bool:
    return any(verb == method and pattern.fullmatch(path) for (verb, _), pattern in DECLARED_READS.items())
