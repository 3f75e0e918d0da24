"""Options of miniflare for a version: modules, bindings, D1, and the sandbox's clock.

A D1 binding is a *remote* one of miniflare, as `wrangler dev` makes for a real database: workerd runs its own D1
client, and the sandbox answers its requests. The SQLite files of miniflare's local D1 were the alternative. They have
no bookmark for the write of a Worker, and a running workerd does not see a file that a restore replaced.
"""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from sandbox.clock import FakeClock
from sandbox.cloudflare.d1.api import ResultsFormat, results_to_json
from sandbox.cloudflare.d1.sqlite import SqlError, Statement, split_statements
from sandbox.cloudflare.d1.state import D1Databases, DatabaseStore, QueryAnswer
from sandbox.cloudflare.workers.state import SOURCE_MAP, Module, WorkerUpload
from sandbox.edge.embedded import version_metadata
from sandbox.edge.front_door import RunningVersion
from sandbox.server import HttpRequest, HttpResponse, Server

_BOOKMARK = "x-cf-d1-session-commit-token"
_PRIMARY = "first-primary"
_ANY = "first-unconstrained"
# developers.cloudflare.com/workers/configuration/multipart-upload-metadata → miniflare's names of module types
_MODULE_TYPES = {
    "application/javascript+module": "ESModule",
    "application/javascript": "CommonJS",
    "application/wasm": "CompiledWasm",
    "application/octet-stream": "Data",
    "text/plain": "Text",
}

# Binding type → option of miniflare, and its value for one binding.
_BINDINGS: dict[str, tuple[str, Callable[[Mapping[str, Any]], Any]]] = {
    "plain_text": ("bindings", lambda binding: binding["text"]),
    "json": ("bindings", lambda binding: binding["json"]),
    "kv_namespace": ("kvNamespaces", lambda binding: binding["namespace_id"]),
    "d1": ("d1Databases", lambda binding: binding["id"]),
    "r2_bucket": ("r2Buckets", lambda binding: binding["bucket_name"]),
    "queue": ("queueProducers", lambda binding: binding["queue_name"]),
    "durable_object_namespace": (
        "durableObjects",
        lambda binding: {"className": binding["class_name"], "useSQLite": True},
    ),
    "ratelimit": ("ratelimits", lambda binding: {key: binding[key] for key in ("namespace_id", "simple")}),
}

THREW_HEADER = "sandbox-threw"
"""Header of a response in place of an exception that a Worker did not catch."""
_ESM = "application/javascript+module"
_ENTRY, _CLOCK = "sandbox-entry.js", "sandbox-clock.js"

# Imports are evaluated in order, before the code after them, so the clock is set before the code of the Worker.
# The exceptions of a module Worker are marked; those of a class look like the response of miniflare.
_ENTRY_CODE = """import "./sandbox-clock.js";
import * as main from MAIN;
export * from MAIN;
const mark = (error) =>
  new Response(String(error?.stack ?? error), { status: 500, headers: { "THREW_HEADER": "true" } });
const watch = (worker) => new Proxy(worker, {
  get(target, name) {
    const value = Reflect.get(target, name, target);
    if (name !== "fetch" || typeof value !== "function") return value;
    return async (...args) => {
      try {
        return await value.apply(target, args);
      } catch (error) {
        return mark(error);
      }
    };
  },
});
export default main.default && typeof main.default === "object" ? watch(main.default) : main.default;
"""
_CLOCK_CODE = """const Real = Date;
const now = () => NOW;
globalThis.Date = new Proxy(Real, {
  construct: (target, args, made) => Reflect.construct(target, args.length ? args : [now()], made),
  apply: () => new Real(now()).toString(),
  get: (target, name, receiver) => (name === "now" ? now : Reflect.get(target, name, receiver)),
});
Real.prototype.constructor = globalThis.Date;
"""


class BindingServer:
    """Answers the D1 bindings of all running versions."""

    def __init__(self, databases: D1Databases) -> None:
        self._databases = databases
        self._server = Server(self._answer)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def options(self, bindings: Mapping[str, str]) -> dict[str, Any]:
        """Return miniflare's options for bindings, given as name → database ID. All share one URL."""
        url = f"{self._server.url}/?{urlencode(bindings)}"
        return {name: {"id": id_, "remoteProxyConnectionString": url} for name, id_ in bindings.items()}

    def _answer(self, request: HttpRequest) -> HttpResponse:
        """Answer a request of workerd's D1 client. Each text has the result of its last statement.

        github.com/cloudflare/workerd, src/cloudflare/internal/d1-api.ts
        """
        headers = request.headers
        store = self._databases.store(request.query[headers["mf-binding"]])
        endpoint = urlsplit(headers["mf-url"])
        texts = json.loads(request.body)
        texts = texts if isinstance(texts, list) else [texts]
        try:
            results = _run(store, texts, headers.get(f"mf-header-{_BOOKMARK}", _PRIMARY), endpoint.query)
        except SqlError as error:
            return _json({"success": False, "error": str(error)}, store)
        return _json(results, store)


def _run(store: DatabaseStore, texts: list[Any], session: str, query: str) -> list[dict[str, Any]]:
    statements: list[Statement] = []
    last: list[int] = []
    for text in texts:
        parts = list(split_statements(text["sql"]))
        # Only the last statement of a text can have parameters.
        statements += [(part, []) for part in parts[:-1]] + [(part, text.get("params") or []) for part in parts[-1:]]
        if parts:
            last.append(len(statements) - 1)
    if not statements:
        raise SqlError("No SQL statements detected.")
    answer = _run_in_session(store, statements, session)
    results_format: ResultsFormat = "ROWS_AND_COLUMNS" if "ROWS_AND_COLUMNS" in query else "ARRAY_OF_OBJECTS"
    shown = results_to_json(answer, results_format, region="WEUR")
    return [shown[index] for index in last]


def _run_in_session(store: DatabaseStore, statements: list[Statement], session: str) -> QueryAnswer:
    if session == _PRIMARY:
        return store.run(statements)
    return store.run_in_session(statements, "" if session == _ANY else session)


def _json(value: Any, store: DatabaseStore) -> HttpResponse:
    headers = [("content-type", "application/json"), (_BOOKMARK, store.history.current.bookmark)]
    return HttpResponse(headers=headers, body=json.dumps(value).encode())


def clock_expression(clock: FakeClock) -> str:
    """Return `Date.now()` of a Worker as JavaScript. It changes when the clock is moved, not when it ticks."""
    if clock.virtual:
        return str(int(clock.now().timestamp() * 1000))
    return f"Real.now() + {round(clock.offset.total_seconds() * 1000)}"


def miniflare_options(running: RunningVersion, now: str) -> dict[str, Any]:
    """Return the options of miniflare. Bindings of types that miniflare does not know are left out."""
    upload = running.version.upload
    options: dict[str, Any] = {
        "name": running.worker,
        "modules": _modules(upload, now),
        "compatibilityDate": upload.compatibility_date,
        "compatibilityFlags": upload.compatibility_flags,
        "bindings": dict(running.secrets),
    }
    for binding in upload.bindings:
        if binding["type"] == "version_metadata":
            options["bindings"][binding["name"]] = version_metadata(running.version)
        elif binding["type"] in _BINDINGS:
            option, value = _BINDINGS[binding["type"]]
            options.setdefault(option, {})[binding["name"]] = value(binding)
    return options


def _modules(upload: WorkerUpload, now: str) -> list[dict[str, str]]:
    """Return the modules, with our entry first: it sets the clock and then exports the main module."""
    modules = sorted(upload.modules, key=lambda module: module.name != upload.main_module)
    if modules[0].content_type == _ESM:
        entry = _ENTRY_CODE.replace("MAIN", json.dumps(f"./{upload.main_module}")).replace("THREW_HEADER", THREW_HEADER)
        ours = {_ENTRY: entry, _CLOCK: _CLOCK_CODE.replace("NOW", now)}
        added = [Module(name=name, content_type=_ESM, content=code.encode()) for name, code in ours.items()]
        modules = [*added, *modules]
    return [
        {
            "type": _MODULE_TYPES[module.content_type],
            "path": module.name,
            "contents": base64.b64encode(module.content).decode(),
        }
        for module in modules
        if module.content_type != SOURCE_MAP
    ]
