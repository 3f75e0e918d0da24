"""Control API for other processes: JSON under /sandbox on the API's port, without a token."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Protocol

from sandbox.clock import FakeClock, timestamp
from sandbox.faults import Fault, Faults
from sandbox.records import RequestRecord
from sandbox.server import HttpRequest, HttpResponse, json_response

PREFIX = "/sandbox"

_FAULT_FIELDS = {field.name for field in fields(Fault)} - {"before", "after", "when", "id", "hits", "remove"}


class ControlTarget(Protocol):
    """The Cloudflare part or the GitHub part of a sandbox."""

    clock: FakeClock
    faults: Faults
    requests: list[RequestRecord]

    @property
    def switches(self) -> Any: ...

    def describe(self) -> dict[str, Any]: ...

    def fault(self, **rule: Any) -> Fault: ...


ControlHandlers = Mapping[tuple[str, str], Callable[[Any], Any]]
"""Method and path below /sandbox → handler, which takes the parsed body."""


def is_for(request: HttpRequest) -> bool:
    return request.path == PREFIX or request.path.startswith(f"{PREFIX}/")


class ControlApi:
    def __init__(self, sandbox: ControlTarget, extra: ControlHandlers) -> None:
        """`own` are the additional handlers of this part."""
        self._sandbox = sandbox
        self._handlers: ControlHandlers = {
            ("GET", ""): lambda _: sandbox.describe(),
            ("GET", "/clock"): lambda _: self._clock(),
            ("POST", "/clock"): self._move_clock,
            ("GET", "/faults"): lambda _: [_fault_to_json(fault) for fault in sandbox.faults.rules],
            ("POST", "/faults"): lambda body: _fault_to_json(sandbox.fault(**_check_fields(body, _FAULT_FIELDS))),
            ("DELETE", "/faults"): lambda _: sandbox.faults.clear(),
            ("GET", "/switches"): lambda _: asdict(sandbox.switches),
            ("POST", "/switches"): self._set_switches,
            ("GET", "/requests"): lambda _: [record.to_json() for record in sandbox.requests],
            **extra,
        }

    def answer(self, request: HttpRequest) -> HttpResponse:
        handler = self._handlers.get((request.method, request.path.removeprefix(PREFIX).rstrip("/")))
        if handler is None:
            return json_response(404, {"error": f"the sandbox has no {request.method} {request.path}"})
        try:
            return json_response(200, handler(_body(request)))
        except (TypeError, ValueError) as error:
            return json_response(400, {"error": str(error)})

    def _clock(self) -> dict[str, Any]:
        clock = self._sandbox.clock
        return {"now": timestamp(clock.now()), "virtual": clock.virtual, "longest_sleep": clock.longest_sleep}

    def _move_clock(self, body: Any) -> dict[str, Any]:
        clock = self._sandbox.clock
        match body:
            case {"set": str(instant), **rest} if not rest:
                clock.set(datetime.fromisoformat(instant))
            case {"advance": int() | float() as seconds, **rest} if not rest:
                clock.advance(seconds)
                clock.on_sleep()
            case _:
                raise ValueError('the clock takes {"set": "2026-11-20T10:00:00Z"} or {"advance": 60}')
        return self._clock()

    def _set_switches(self, body: Any) -> dict[str, Any]:
        switches = self._sandbox.switches
        for name, value in _check_fields(body, {field.name for field in fields(switches)}).items():
            setattr(switches, name, value)
        return asdict(switches)


def _fault_to_json(fault: Fault) -> dict[str, Any]:
    values = {name: getattr(fault, name) for name in ("id", "hits", *sorted(_FAULT_FIELDS))}
    return {name: value.decode("latin-1") if isinstance(value, bytes) else value for name, value in values.items()}


def _check_fields(body: Any, names: set[str]) -> dict[str, Any]:
    if not isinstance(body, dict) or not body.keys() <= names:
        raise ValueError(f"expected an object with some of: {', '.join(sorted(names))}")
    return body


def _body(request: HttpRequest) -> Any:
    """Return the parsed body of a POST; None for other methods.

    The content type must be JSON, which a form of a web page cannot send.

    Raises:
        ValueError: the body or its content type is not JSON.
    """
    if request.method != "POST":
        return None
    if request.headers.get_content_type() != "application/json":
        raise ValueError("expected application/json")
    return json.loads(request.body)
