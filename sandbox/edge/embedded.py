"""In-process replacement for a Workers runtime: each version describes its own responses.

A version's plain-text variable SANDBOX_BEHAVIOUR holds JSON with these optional fields:

- `status`, `body`, `content_type`, `headers`, `delay` (seconds): the response to every path. Defaults: those of a
  healthy FortuneT API. In a body, `{{version}}` is the version's ID. `paths` holds the same fields, and `sql`, for
  single paths or for a path with its query.
- `secrets`, a list of names: each JSON response shows the SHA-256 of the current value of each (null if missing). So it
  shows which generation of a secret is live, without the value.
- `upstream`, such as `{"provider": "groq", "secret": "NAME"}`: request a completion from that provider of the sandbox
  with the secret as the key; answer 502 on failure, as an application with a revoked key does.
- `runtime`: follow the runtime contract (`runtime_contract.py`), if a KV namespace is bound as OPS_RUNTIME. It declares
  `{"limits": {NAME: {"limit", "period", "key", "probe"}}, "switches": {NAME: {"normal", "on_unknown"}}, "ai": {},
  "drill": true}`.
- `throws`, a text: throw an exception with it, which the code does not catch. `share` (0 to 1) is the share of the
  requests that get `status` or `throws`, at regular intervals; the others are healthy. Default: all.
- `sql`: run this statement on the D1 database bound first, and answer `body` or its rows; 500 if it fails.
- `switched`, such as `{NAME: {STATE: {"path": PATH, "status": 200}}}`: the response while a switch has that state.
- `objects`: its Durable Objects (`EmbeddedObjects`).
- `cache_api`, in seconds: the code stores its responses with 200 in the Cache API, by URL, and answers from there.
- `fetch_cache`, such as `{"url": URL, "seconds": 600}`: the code returns the response of that URL, which `fetch`
  caches.

A version with the main module `ops-drill.js` adds the header of that module. A Worker named ops-maintenance answers
as the source of that Worker does, and so does a version with the main module `backout_verify.js`.
"""

import hashlib
import hmac
import html
import json
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from sandbox.clock import FakeClock, timestamp
from sandbox.cloudflare.d1.sqlite import SqlError
from sandbox.cloudflare.d1.state import D1Databases
from sandbox.cloudflare.kv.state import KvStore
from sandbox.cloudflare.workers.state import FakeWorkerVersion
from sandbox.edge.cache import ResponseCache
from sandbox.edge.front_door import RunningVersion, UncaughtException
from sandbox.edge.runtime_contract import Behaviour, RuntimeContract
from sandbox.server import HttpRequest, HttpResponse

BEHAVIOUR = "SANDBOX_BEHAVIOUR"
_DRILL_MODULE = "ops-drill.js"
"""Main module that a staging drill puts around the code."""

_VERIFY_MODULE = "backout_verify.js"
"""Main module of the Worker of `ops verify-platform`."""

_CHART = {
    "birth": {"date": "2000-01-01", "time": "12:00"},
    "chart": {"animal": "Dragon", "element": "Metal", "hour": "Horse"},
}


class EmbeddedRuntime:
    def __init__(
        self,
        accepts_key: Callable[[str, str], bool],
        clock: FakeClock,
        contract: RuntimeContract,
        databases: D1Databases,
        kv: KvStore,
    ) -> None:
        """`accepts_key` returns whether a provider, by its name, gives a completion for a key."""
        self._databases = databases
        self._kv = kv
        self._accepts_key = accepts_key
        self._contract = contract
        self._clock = clock
        self.objects = EmbeddedObjects()
        self.cache = ResponseCache(clock)
        """The Cache API and the cache of `fetch`, which all versions share."""
        self._requests: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def may_wait(self, versions: Iterable[FakeWorkerVersion]) -> bool:
        return any('"delay"' in (each.upload.plain_text(BEHAVIOUR) or "") for each in versions)

    def serve(self, running: RunningVersion, request: HttpRequest) -> HttpResponse:
        if running.worker == MAINTENANCE_WORKER:
            return answer_maintenance(running.version, request, self._clock.now())
        if running.version.upload.main_module == _VERIFY_MODULE:
            return answer_verification(running, request, self._kv)
        try:
            behaviour = json.loads(running.version.upload.plain_text(BEHAVIOUR) or "{}")
        except ValueError as error:
            return _response(500, f"{BEHAVIOUR} is not JSON: {error}", None)
        paths = behaviour.get("paths", {})
        behaviour |= paths.get(_known_target(request, paths)) or paths.get(request.path, {})
        produce = partial(self._contract.handle, running, request, behaviour, partial(self._respond, running, request))
        if running.version.upload.main_module == _DRILL_MODULE:
            return _with_drill_header(produce())
        if request.path.startswith("/__ops/"):
            return produce()
        if fetched := behaviour.get("fetch_cache"):
            return self.cache.answer_for(("fetch", fetched["url"]), fetched["seconds"], produce)
        if seconds := behaviour.get("cache_api"):
            key = ("cache api", running.location, request.headers.get("host", ""), request.target)
            return self.cache.answer_for(key, seconds, produce)
        return produce()

    def _respond(self, running: RunningVersion, request: HttpRequest, behaviour: Behaviour) -> HttpResponse:
        if answered := self.objects.answer(running, request, behaviour.get("objects", {})):
            return answered
        self._closed.wait(behaviour.get("delay", 0.0))
        if "share" in behaviour and not self._falls_due(running.version.id, behaviour["share"]):
            behaviour = {name: value for name, value in behaviour.items() if name not in {"status", "throws"}}
        if "throws" in behaviour:
            raise UncaughtException(behaviour["throws"])
        healthy, answer = _healthy_response(running.version, request)
        status = behaviour.get("status", healthy)
        if status >= 400 and status != healthy:
            answer = {"error": f"the behaviour of this version sets status {status}"}
        if upstream := behaviour.get("upstream"):
            key = running.secrets.get(upstream["secret"], "")
            if not self._accepts_key(upstream["provider"], key):
                status, answer = 502, {"error": f"{upstream['provider']} gave no completion"}
        if sql := behaviour.get("sql"):
            queried, answer = self._query(running.version, sql)
            status = queried if queried >= 400 else behaviour.get("status", queried)
        body = behaviour.get("body", answer)
        if isinstance(body, dict) and "secrets" in behaviour:
            body = body | {"secrets": {name: _digest(running.secrets.get(name)) for name in behaviour["secrets"]}}
        response = _response(status, body, behaviour.get("content_type"))
        response.headers += behaviour.get("headers", {}).items()
        response.body = response.body.replace(b"{{version}}", running.version.id.encode())
        return response

    def _falls_due(self, version: str, share: float) -> bool:
        """Return whether this request of a version is one of the share."""
        with self._lock:
            self._requests[version] += 1
            number = self._requests[version]
        return int(number * share) > int((number - 1) * share)

    def _query(self, version: FakeWorkerVersion, sql: str) -> tuple[int, dict[str, Any]]:
        binding = version.upload.find_binding("d1")
        if binding is None:
            return 500, {"error": "no D1 database is bound"}
        try:
            return 200, {"rows": self._databases.query(binding["id"], sql)}
        except SqlError as error:
            return 500, {"error": f"D1_ERROR: {error}"}

    def close(self) -> None:
        self._closed.set()


def _with_drill_header(response: HttpResponse) -> HttpResponse:
    """Return the response as the module of a staging drill does. A test compares both on workerd."""
    response.headers.append(("ops-drill", "bad"))
    return response


def _known_target(request: HttpRequest, paths: Mapping[str, Any]) -> str:
    """Return the target in `paths` whose query the request has, with or without more parameters behind it."""
    return next((each for each in paths if "?" in each and f"{request.target}&".startswith(f"{each}&")), request.target)


def _digest(value: str | None) -> str | None:
    return None if value is None else hashlib.sha256(value.encode()).hexdigest()


def _healthy_response(version: FakeWorkerVersion, request: HttpRequest) -> tuple[int, dict[str, Any]]:
    match request.path:
        case "/health":
            return 200, {"status": "ok", **_version_shown(version)}
        case "/api/charts/calculate":
            return 200, _CHART
        case path if path.startswith("/health/"):
            return 200, {"status": "ok", **_version_shown(version)}
    return 404, {"error": "not found"}


def _version_shown(version: FakeWorkerVersion) -> dict[str, Any]:
    """Return the values of a version_metadata binding, if the version has one.

    developers.cloudflare.com/workers/runtime-apis/bindings/version-metadata
    """
    return {"version": version_metadata(version)} if version.upload.find_binding("version_metadata") else {}


def version_metadata(version: FakeWorkerVersion) -> dict[str, str]:
    tag = version.annotations.get("workers/tag", "")
    return {"id": version.id, "tag": tag, "timestamp": timestamp(version.created_on)}


def _response(status: int, body: Any, content_type: str | None) -> HttpResponse:
    is_text = isinstance(body, str)
    content_type = content_type or ("text/plain; charset=utf-8" if is_text else "application/json")
    payload = body if is_text else json.dumps(body)
    return HttpResponse(status=status, headers=[("content-type", content_type)], body=payload.encode())


def answer_verification(running: RunningVersion, request: HttpRequest, kv: KvStore) -> HttpResponse:
    """Answer as the source of the Worker of `ops verify-platform` does. A test compares both on workerd."""
    namespace, key = running.version.upload.find_binding("kv_namespace"), request.query.get("key")
    seen = kv.entry_seen_at(running.location, namespace["namespace_id"], key) if namespace and key else None
    shown = {
        "version": running.version.id,
        "generation": running.secrets.get("GENERATION"),
        "value": seen and seen.value.decode(),
    }
    is_broken = running.version.upload.plain_text("RELEASE") == "broken"
    response = _response(500 if is_broken else 200, shown, None)
    response.headers.append(("cache-control", "no-store"))
    return response


INTERPRET_PATH = "/api/charts/interpret"
_OBJECT_PATH = re.compile(r"/__ops/objects/([a-z0-9-]+)(/reset)?")


class EmbeddedObjects:
    """Durable Objects: their memory is lost with each version, their storage stays.

    A version with `"objects": {"ai-mutex": {}}` in its behaviour counts each request to /api/charts/interpret, in
    memory and as a quota in storage. With `"stuck": 3` the object hangs at the third request in memory: /health and
    /api/charts/interpret then answer 503 until its memory is reset. GET /__ops/objects/NAME shows both counters, and
    POST …/NAME/reset clears the memory. Both need the Worker's secret ADMIN_TOKEN as a bearer token, and answer 404 if
    the Worker has no such secret. `instance` changes after each start, as in the example application.
    """

    def __init__(self) -> None:
        self._memory: Counter[tuple[str, str, str]] = Counter()
        """Worker, version, object → requests."""
        self._quota: Counter[tuple[str, str]] = Counter()
        self._resets: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()

    def answer(self, running: RunningVersion, request: HttpRequest, objects: Mapping[str, Any]) -> HttpResponse | None:
        """Return the response, or None if no object handles the request."""
        with self._lock:
            if found := _OBJECT_PATH.fullmatch(request.path):
                return self._admin_response(
                    running, request, found[1] if found[1] in objects else "", reset=bool(found[2])
                )
            stuck = [name for name, rule in objects.items() if self._is_stuck(running, name, rule)]
            if stuck and request.path in {INTERPRET_PATH, "/health"}:
                return _response(503, {"error": f"{stuck[0]} does not answer"}, None)
            if objects and request.path == INTERPRET_PATH:
                for name in objects:
                    self._memory[running.worker, running.version.id, name] += 1
                    self._quota[running.worker, name] += 1
                return _response(200, {"reading": "a good year"}, None)
        return None

    def memory_of(self, worker: str, version: str, name: str) -> int:
        return self._memory[worker, version, name]

    def quota(self, worker: str, name: str) -> int:
        return self._quota[worker, name]

    def _is_stuck(self, running: RunningVersion, name: str, rule: Mapping[str, Any]) -> bool:
        return "stuck" in rule and self._memory[running.worker, running.version.id, name] >= rule["stuck"]

    def _admin_response(self, running: RunningVersion, request: HttpRequest, name: str, *, reset: bool) -> HttpResponse:
        token = running.secrets.get("ADMIN_TOKEN")
        if not token or not name or request.method != ("POST" if reset else "GET"):
            return _response(404, {"error": "not found"}, None)
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return _response(401, {"error": "not authorised"}, None)
        one = running.worker, running.version.id, name
        if reset:
            self._memory[one] = 0
            self._resets[one] += 1
        instance = f"{running.version.id}-{self._resets[one]}"
        memory, quota = {"answered": self._memory[one]}, {"iflow": {"used": self._quota[running.worker, name]}}
        return _response(200, {"object": name, "instance": instance, "memory": memory, "quota": quota}, None)


MAINTENANCE_WORKER = "ops-maintenance"
_NO_WINDOW: dict[str, Any] = {"message": "This service is off for maintenance. Please try again later.", "until": ""}
_RETRY_AFTER = 600
_CORS = [("access-control-allow-origin", "*"), ("access-control-expose-headers", "ops-maintenance, retry-after")]


def answer_maintenance(version: FakeWorkerVersion, request: HttpRequest, now: datetime) -> HttpResponse:
    """Answer as the source of the Worker ops-maintenance does. A test compares both on workerd."""
    run = version.upload.plain_text("RUN") or ""
    if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
        return HttpResponse(status=204, headers=[*_preflight(request), ("ops-maintenance", run)])
    block = _maintenance_window(version, request) or _NO_WINDOW
    left = (datetime.fromisoformat(block["until"]) - now).total_seconds() if block["until"] else 0
    as_html = "text/html" in request.headers.get("accept", "")
    body = (
        _maintenance_page(block["message"])
        if as_html
        else json.dumps({"error": "maintenance", "message": block["message"]})
    )
    return HttpResponse(
        status=503,
        headers=[
            *_CORS,
            ("cache-control", "no-store"),
            ("content-type", "text/html; charset=utf-8" if as_html else "application/json"),
            ("ops-maintenance", run),
            ("retry-after", str(math.ceil(left) if left > 0 else _RETRY_AFTER)),
            ("vary", "accept"),
        ],
        body=body.encode(),
    )


def _preflight(request: HttpRequest) -> list[tuple[str, str]]:
    return [
        *_CORS,
        ("access-control-allow-headers", request.headers.get("access-control-request-headers", "*")),
        ("access-control-allow-methods", request.headers["access-control-request-method"]),
        ("access-control-max-age", "0"),
        ("cache-control", "no-store"),
    ]


def _maintenance_window(version: FakeWorkerVersion, request: HttpRequest) -> dict[str, Any] | None:
    host, path = request.headers.get("host", "").partition(":")[0], quote(request.path, safe="/%:@!$&'()*+,;=~")
    values = {b["name"]: b["json"] for b in version.upload.bindings if b["type"] == "json"}
    windows = [value for name, value in values.items() if name.startswith("BLOCK_")]
    blocks = [each for each in windows if any(_matches_host(p, host) for p in _closed_patterns(each, values))]
    return max((b for b in blocks if path.startswith(b["path"])), key=lambda b: len(b["path"]), default=None)


def _closed_patterns(window: dict[str, Any], values: dict[str, Any]) -> Iterator[str]:
    for part in window["closed"]:
        yield from (pattern for _, pattern, *_ in (values[part] if isinstance(part, str) else [part]))


def _matches_host(pattern: str, host: str) -> bool:
    own = pattern.partition("/")[0]
    return host.endswith(own[1:]) if own.startswith("*") else host == own


def _maintenance_page(message: str) -> str:
    return f"<!doctype html><title>Maintenance</title><h1>Maintenance</h1><p>{html.escape(message)}</p>"
