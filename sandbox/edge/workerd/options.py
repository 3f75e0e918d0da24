"""Options of miniflare for a version: modules, bindings, and the sandbox's clock."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.clock import FakeClock
from sandbox.cloudflare.workers.state import SOURCE_MAP, Module, WorkerUpload
from sandbox.edge.embedded import version_metadata
from sandbox.edge.front_door import RunningVersion

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
