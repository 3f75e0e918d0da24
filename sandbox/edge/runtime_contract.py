"""The runtime contract (docs/reference/runtime-contract.md) on the embedded edge.

`/api/charts/calculate` counts against the limit `calc`; paths that start with `/api/ai` or `/api/charts/interpret`
count against `ai`, in fixed windows. Requests with the same Authorization header belong to the same user; the address
is `cf-connecting-ip`. KV is read on each request, through the cache of the request's location.
"""

import hashlib
import json
import math
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox.clock import FakeClock
from sandbox.cloudflare.kv.state import KvStore
from sandbox.edge.front_door import RunningVersion
from sandbox.server import HttpRequest, HttpResponse

VERSION = 1

Check = Callable[[Any], bool]

_NAME = re.compile(r"[a-z][a-z0-9]{0,39}(-[a-z0-9]{1,20}){0,4}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def parse_instant(text: str) -> datetime:
    """Parse an RFC 3339 time, which always has a time zone."""
    return datetime.fromisoformat(text.upper())


def is_limits(value: Any) -> bool:
    return _has_fields(
        value,
        {
            "version": lambda version: version == VERSION and version is not True,
            "revision": lambda text: _is_text(text) and bool(re.fullmatch("[0-9a-f]{12}-[0-9a-f]{8}", text)),
            "limits": lambda limits: (
                isinstance(limits, dict) and all(map(_is_name, limits)) and all(map(_is_limit, limits.values()))
            ),
        },
    )


def is_switch(value: Any) -> bool:
    return _has_fields(
        value,
        {
            "version": lambda version: version == VERSION and version is not True,
            "revision": lambda text: _is_text(text) and text != "",
            "state": _is_name,
            "until": _or_null(_is_time),
            "review_at": _or_null(_is_time),
            "message": _is_text,
            "paths": lambda paths: (
                isinstance(paths, list) and all(_is_text(path) and path.startswith("/") for path in paths)
            ),
            "owner": _is_text,
            "incident": _or_null(_is_whole),
            "since": _is_time,
        },
    )


def _is_limit(value: Any) -> bool:
    checks: dict[str, Check] = {
        "limit": _is_positive,
        "period": _is_positive,
        "key": lambda key: key in ("ip", "user"),
    }
    allowed: dict[str, Check] = {
        "probe": lambda probe: isinstance(probe, bool),
        "temporary": lambda temporary: _has_fields(temporary, {"limit": _is_positive, "until": _is_time}),
    }
    return _has_fields(value, checks, allowed)


def _has_fields(value: Any, required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> bool:
    """Return whether the value is an object whose fields pass the checks. Other fields are allowed."""
    if not isinstance(value, dict) or not required.keys() <= value.keys():
        return False
    checks = {**required, **(optional or {})}
    return all(check(value[name]) for name, check in checks.items() if name in value)


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(_NAME.fullmatch(value))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return _is_whole(value) and value >= 1


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        parse_instant(value)
    except ValueError:
        return False
    return True


BINDING = "OPS_RUNTIME"
_AI_PATHS = ("/api/ai", "/api/charts/interpret")
_AI_ORDER = ("groq", "cerebras", "iflow")
_AI_SECONDS = 300
_HEALTH, _DRILL = "/health", "OPS_DRILL_UNTIL"
"""Path that a drill lets fail, and the variable that says until when."""
_PROBES = "/__ops/limits/"
_PROBE_BUCKETS = 16
_BANNER = "banner"
_WARNINGS = ("investigating", "identified")
"""States of the switch `banner` whose level is a warning; the level of others is info."""
_RETRY_AFTER = 60
"""Seconds, for a switch without an end."""

Behaviour = dict[str, Any]
Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class EffectiveSettings:
    """Effective limits and switches by name, as in the status endpoint, and details that it omits."""

    revision: str | None
    limits: Mapping[str, Mapping[str, Any]]
    probe_limits: frozenset[str]
    """Limits that a probe may test."""
    switches: Mapping[str, Mapping[str, Any]]
    details: Mapping[str, Mapping[str, Any]]
    """`message` and `paths` of each switch that has not expired."""

    def state(self, switch: str) -> str | None:
        shown = self.switches.get(switch)
        return None if shown is None else str(shown["state"])


class RuntimeContract:
    def __init__(self, kv: KvStore, clock: FakeClock) -> None:
        self._kv = kv
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        """Location, version and key → last valid value."""
        self._buckets: dict[tuple[str, ...], tuple[tuple[int, int], int]] = {}
        """Worker, limit and client → period and window, and its number of requests. A new version keeps the counts."""
        self.outcomes: dict[str, Mapping[str, Mapping[str, int]]] = {}
        """Worker → provider → `ok` and `failed`, as the status endpoint reports them."""

    def handle(
        self,
        running: RunningVersion,
        request: HttpRequest,
        behaviour: Behaviour,
        answer: Callable[[Behaviour], HttpResponse],
    ) -> HttpResponse:
        """Return the response of the contract, or of `answer` with the behaviour for the current switches."""
        binding = running.version.upload.find_binding("kv_namespace", BINDING)
        if binding is None or "runtime" not in behaviour:
            return answer(behaviour)
        declared = behaviour["runtime"]
        with self._lock:
            now = self._effective_settings(running, binding["namespace_id"], declared)
        if (request.method, request.path) == ("GET", "/__ops/runtime"):
            return _json(200, self._report(running, declared, now), [("cache-control", "no-store")])
        if request.path == _HEALTH and self._drilled_until(running, declared):
            return _json(503, {"error": "drill"}, [("cache-control", "no-store")])
        if _is_closed(now, request.path):
            return self._refuse(now, "maintenance")
        if request.path.startswith(_PROBES):
            return self._probe(running, request, now)
        if now.state("ai") == "off" and request.path.startswith(_AI_PATHS):
            return self._refuse(now, "ai")
        name = _limit_name(request.path)
        if name not in now.limits:
            return answer(behaviour | _switched_behaviour(behaviour, now, request.path))
        taken, headers = self._count(running.worker, name, now, _client(now.limits[name]["key"], request))
        if not taken:
            return _json(429, {"error": "too many requests"}, headers)
        response = answer(behaviour | _switched_behaviour(behaviour, now, request.path))
        response.headers += headers
        return response

    def _effective_settings(
        self, running: RunningVersion, namespace: str, declared: Mapping[str, Any]
    ) -> EffectiveSettings:
        now = self._clock.now()
        written = self._read(running, namespace, "ops/limits", is_limits)
        own = {name: {"probe": False, **limit} for name, limit in declared.get("limits", {}).items()}
        limits = {name: (written or {"limits": {}})["limits"].get(name, limit) for name, limit in own.items()}
        values = {
            name: self._read(running, namespace, f"ops/switch/{name}", is_switch)
            for name in declared.get("switches", {})
        }
        lasting = {name: value for name, value in values.items() if value and not _has_passed(value["until"], now)}
        return EffectiveSettings(
            revision=written["revision"] if written else None,
            limits={name: _effective_limit(value, now) for name, value in limits.items()},
            probe_limits=frozenset(name for name, value in limits.items() if value.get("probe")),
            switches={
                name: _effective_switch(values[name], now, states)
                for name, states in declared.get("switches", {}).items()
            },
            details=lasting,
        )

    def _read(
        self, running: RunningVersion, namespace: str, key: str, fits: Callable[[Any], bool]
    ) -> Mapping[str, Any] | None:
        """Return the current value, or the last valid one; None if there was never a valid value."""
        where = (running.location, running.version.id, key)
        entry = self._kv.entry_seen_at(running.location, namespace, key) if namespace in self._kv.namespaces else None
        try:
            value = json.loads(entry.value) if entry else None
        except (ValueError, RecursionError):
            value = None
        if value is not None and fits(value):
            self._last[where] = value
        return self._last.get(where)

    def _report(self, running: RunningVersion, declared: Mapping[str, Any], now: EffectiveSettings) -> dict[str, Any]:
        has_id = running.version.upload.find_binding("version_metadata") is not None
        shown: dict[str, Any] = {
            "contract": VERSION,
            "worker": running.version.id if has_id else None,
            "limits": {"revision": now.revision, "values": now.limits},
            "switches": now.switches,
        }
        if _BANNER in declared.get("switches", {}):
            shown[_BANNER] = _shown_banner(now)
        if "drill" in declared:
            shown["drill"] = {"until": self._drilled_until(running, declared)}
        if "ai" in declared:
            order = _provider_order(declared["ai"].get("order", _AI_ORDER), now.state("ai"))
            outcomes = self.outcomes.get(running.worker, {})
            shown["ai"] = {"seconds": _AI_SECONDS, "order": order, "outcomes": outcomes}
        return shown

    def _drilled_until(self, running: RunningVersion, declared: Mapping[str, Any]) -> str | None:
        """Return until when a drill lets the health path fail; None without one, or if the code knows no drills."""
        until = running.version.upload.plain_text(_DRILL) or ""
        is_on = "drill" in declared and _is_time(until) and not _has_passed(until, self._clock.now())
        return until if is_on else None

    def _refuse(self, now: EffectiveSettings, switch: str) -> HttpResponse:
        details = now.details.get(switch, {"message": "", "until": None})
        left = parse_instant(details["until"]) - self._clock.now() if details["until"] else None
        after = _RETRY_AFTER if left is None else math.ceil(left.total_seconds())
        mark = [("ops-maintenance", "switch")] if switch == "maintenance" else []
        return _json(503, {"error": details["message"] or "unavailable"}, [("retry-after", str(after)), *mark])

    def _probe(self, running: RunningVersion, request: HttpRequest, now: EffectiveSettings) -> HttpResponse:
        """Count a probe in a separate bucket, without other effects."""
        name, mark = request.path.removeprefix(_PROBES), request.headers.get("ops-probe", "")
        if request.method != "GET" or name not in now.probe_limits:
            return _json(404, {"error": "not found"}, [])
        if not re.fullmatch("[A-Za-z0-9-]{8,64}", mark):
            return _json(400, {"error": "Ops-Probe must be 8 to 64 letters, digits or hyphens"}, [])
        bucket = hashlib.sha256(mark.encode()).digest()[0] % _PROBE_BUCKETS
        taken, headers = self._count(running.worker, name, now, f"probe {bucket}")
        return (
            HttpResponse(status=204, headers=headers) if taken else _json(429, {"error": "too many requests"}, headers)
        )

    def _count(self, worker: str, name: str, now: EffectiveSettings, who: str) -> tuple[bool, Headers]:
        """Count a request. Return whether the limit allows it, and the headers that report the limit.

        datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers
        """
        limit, period = now.limits[name]["limit"], now.limits[name]["period"]
        seconds = self._clock.now().timestamp()
        window = (period, int(seconds // period))
        with self._lock:
            counted_in, count = self._buckets.get((worker, name, who), (window, 0))
            count = count if counted_in == window else 0
            taken = count < limit
            self._buckets[worker, name, who] = (window, count + taken)
        left = math.ceil(period - seconds % period)
        policy = ("ratelimit-policy", f'"{name}";q={limit};w={period}')
        state = ("ratelimit", f'"{name}";r={max(0, limit - count - taken)};t={left}')
        return taken, [policy, state, *([] if taken else [("retry-after", str(left))])]


def _effective_limit(value: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    shown = {name: value[name] for name in ("limit", "period", "key")}
    temporary = value.get("temporary")
    if temporary is None or _has_passed(temporary["until"], now):
        return shown
    return shown | {"limit": temporary["limit"], "until": temporary["until"]}


def _effective_switch(value: Mapping[str, Any] | None, now: datetime, states: Mapping[str, str]) -> dict[str, Any]:
    """Return the state of a switch. `states` are the declared `normal` and `on_unknown`."""
    if value is None:
        return {"state": states["on_unknown"], "revision": None}
    if _has_passed(value["until"], now):
        return {"state": states["normal"], "revision": value["revision"]}
    until = {"until": value["until"]} if value["until"] else {}
    return {"state": value["state"], "revision": value["revision"], **until}


def _shown_banner(now: EffectiveSettings) -> dict[str, Any] | None:
    """Return level, text and end of the banner; None without one."""
    state, value = now.state(_BANNER), now.details.get(_BANNER)
    if value is None or state == "off" or not value["message"]:
        return None
    until = {"until": value["until"]} if value["until"] else {}
    return {"level": "warning" if state in _WARNINGS else "info", "text": value["message"], **until}


def _has_passed(until: str | None, now: datetime) -> bool:
    return until is not None and parse_instant(until) <= now


def _is_closed(now: EffectiveSettings, path: str) -> bool:
    if now.state("maintenance") != "on" or path == "/health" or path.startswith(("/health/", "/__ops/")):
        return False
    paths = now.details.get("maintenance", {"paths": []})["paths"]
    return not paths or path.startswith(tuple(paths))


def _limit_name(path: str) -> str:
    if path == "/api/charts/calculate":
        return "calc"
    return "ai" if path.startswith(_AI_PATHS) else ""


def _client(key: str, request: HttpRequest) -> str:
    address = f"ip {request.headers.get('cf-connecting-ip', '127.0.0.1')}"
    user = request.headers.get("authorization") if key == "user" else None
    return f"user {user}" if user else address


def _provider_order(order: Any, state: str | None) -> list[str]:
    """Return the order in which the next request tries providers. The provider named by the state comes first."""
    if state == "off":
        return []
    return sorted(order, key=lambda name: name != state)


def _switched_behaviour(behaviour: Behaviour, now: EffectiveSettings, path: str) -> Behaviour:
    """Return the behaviour that `switched` sets for the current states on this path."""
    for name, states in behaviour.get("switched", {}).items():
        response = states.get(now.state(name), {})
        if response.get("path") == path:
            return {key: value for key, value in response.items() if key != "path"}
    return {}


def _json(status: int, value: Mapping[str, Any], headers: Headers) -> HttpResponse:
    body = json.dumps(value).encode()
    return HttpResponse(status=status, headers=[("content-type", "application/json"), *headers], body=body)
