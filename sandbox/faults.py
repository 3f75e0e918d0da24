"""Faulty responses on purpose: rules by method and path that wrap the normal response."""

import itertools
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal

from sandbox.server import HttpRequest, HttpResponse, Responder


@dataclass(eq=False, kw_only=True)
class Fault:
    """Rule for requests with this method, path and host. Its effects apply in field order, from `before` on."""

    method: str = "*"
    path: str = "**"
    """Glob over the path, with or without /client/v4: `*` within one segment, `**` across segments."""
    host: str = "*"
    """Glob over the Host header; only the edge has several hosts."""
    sends: str = ""
    """Text in the body of the request."""
    when: Callable[[HttpRequest], bool] = lambda _: True
    """Further condition."""
    times: int | None = 1
    """Number of requests that it affects; None for all."""
    skip: int = 0
    """Number of matching requests that it ignores first."""

    before: Callable[[], Any] | None = None
    delay: float = 0.0
    """In real seconds."""
    lost: Literal["before", "after"] | None = None
    """Close the connection without a response, before or after the request took effect."""
    status: int | None = None
    code: int | None = None
    message: str = "a fault of the sandbox"
    body: bytes | str | None = None
    """Sent instead of the JSON envelope."""
    content_type: str | None = None
    applied: bool = False
    """With `status`, `code` or `body`: whether the request still takes effect."""
    after: Callable[[], Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    truncate: int | None = None
    """Declare the full content length, send only this many bytes of the body, and close the connection."""

    id: int = 0
    hits: int = 0
    remove: Callable[[], None] = field(default=lambda: None, repr=False)
    is_prompt: bool = False
    """Whether `before` and `after` wait for nothing that another thread of the client does."""

    def __post_init__(self) -> None:
        if self.lost not in {None, "before", "after"}:
            raise ValueError(f'lost must be "before" or "after", not {self.lost!r}')

    def applies_to(self, request: HttpRequest) -> bool:
        """Return whether the fault affects this request, and count it."""
        host = request.headers.get("host", "").partition(":")[0].lower()
        if self.method not in {"*", request.method} or not self._matches_path(request.path):
            return False
        if self.host != "*" and not re.fullmatch(re.escape(self.host).replace(r"\*", ".*"), host):
            return False
        if self.sends.encode() not in request.body or not self.when(request):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.hits == self.times:
            return False
        self.hits += 1
        return True

    def _matches_path(self, path: str) -> bool:
        glob = _glob(self.path)
        return any(glob.fullmatch(form) for form in (path, path.removeprefix("/client/v4")))

    def apply(self, answer: Responder, wait: Callable[[float], object], request: HttpRequest) -> HttpResponse | None:
        if self.before:
            self.before()
        if self.delay:
            wait(self.delay)
        if self.lost == "before":
            return None
        replaced = any(value is not None for value in (self.status, self.code, self.body))
        response = answer(request) if self.applied or not replaced else None
        if self.after:
            self.after()
        if self.lost == "after":
            return None
        return self._modify(self._replacement() if replaced else response)

    def _replacement(self) -> HttpResponse:
        if self.body is None:
            errors = [{"code": self.code or 10013, "message": self.message}]
            body = json.dumps({"success": False, "errors": errors, "messages": [], "result": None}).encode()
        else:
            body = self.body.encode() if isinstance(self.body, str) else self.body
        content_type = self.content_type or ("application/json" if self.body is None else "text/html")
        status = self.status or (400 if self.code else 200)
        return HttpResponse(status=status, headers=[("content-type", content_type)], body=body)

    def _modify(self, response: HttpResponse | None) -> HttpResponse | None:
        if response is not None:
            response.headers += self.headers.items()
            response.truncate_at = response.truncate_at if self.truncate is None else self.truncate
        return response


class Faults:
    """The active faults. If several affect one request, the first added is the outermost."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def add(self, fault: Fault) -> Fault:
        fault.id = next(self._ids)
        fault.remove = partial(self._remove, fault)
        self.rules.append(fault)
        return fault

    def clear(self) -> None:
        self.rules.clear()

    @property
    def may_wait(self) -> bool:
        """Whether a rule can hold a request back in real time."""
        return any(rule.delay or ((rule.before or rule.after) and not rule.is_prompt) for rule in self.rules)

    def close(self) -> None:
        """End every delay at once."""
        self._closed.set()

    def wrap(self, answer: Responder, request: HttpRequest) -> HttpResponse | None:
        with self._lock:
            active = [rule for rule in self.rules if rule.applies_to(request)]
        for rule in reversed(active):
            answer = partial(rule.apply, answer, self._closed.wait)
        return answer(request)

    def _remove(self, fault: Fault) -> None:
        if fault in self.rules:
            self.rules.remove(fault)


@cache
def _glob(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts))
